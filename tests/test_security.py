"""SECURITY.md: what it promises of files from strangers holds, and what it names exists."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "SECURITY.md").read_text()
SOURCES = sorted((ROOT / "prefetcher").rglob("*.py"))
RUNS_WHAT_IT_READS = {
    "pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib", "yaml",
    "code", "runpy",
}  # fmt: skip


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


def imported(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.partition(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and not node.level:
        return {(node.module or "").partition(".")[0]}
    return set()


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_runs_what_it_reads(path: Path) -> None:
    for node in nodes(path):
        assert not imported(node) & RUNS_WHAT_IT_READS
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            assert called not in {"eval", "exec"}, ast.unparse(node)
            pickles = [word for word in node.keywords if word.arg == "allow_pickle"]
            assert all(ast.unparse(word.value) == "False" for word in pickles), ast.unparse(node)


def test_it_is_under_a_page_and_names_what_exists() -> None:
    assert len(PAGE.splitlines()) < 66
    for path in re.findall(r"`(tests/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists(), path
    assert "\ncorpus:" in (ROOT / "Makefile").read_text()
    assert not re.search(r"\S+@\S+|https?://", PAGE), "an address that may not exist"
