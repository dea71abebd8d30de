"""The README: short, its example runs as pasted, and its links lead somewhere."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest

import prefetcher

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def test_it_is_short() -> None:
    assert len(README.splitlines()) < 150
    assert len([line for line in EXAMPLES[0].splitlines() if line]) <= 12


@pytest.mark.parametrize("example", EXAMPLES)
def test_an_example_runs_as_pasted(
    example: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    exec(compile(example, "README.md", "exec"), {})
    assert "s for data" in capsys.readouterr().out
    assert prefetcher.read_log("run.jsonl")[-1]["samples"] >= 5 * 960


def test_links_lead_somewhere() -> None:
    targets = re.findall(r"\]\(([^)]+)\)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists()] == []


def test_the_settings_table_names_real_settings_and_their_defaults() -> None:
    table = README.partition("## Settings")[2].partition("\n\nKeras")[0]
    parameters = inspect.signature(prefetcher.PrefetchSequence).parameters
    rows = re.findall(r"^\| (`.*?`) \| (.*?) \|", table, re.MULTILINE)
    told = {
        name: default
        for names, defaults in rows
        for name, default in zip(re.findall(r"`(\w+)`", names), defaults.split(", "), strict=True)
    }
    keyword_only = {name for name, p in parameters.items() if p.kind is p.KEYWORD_ONLY}
    assert set(told) == keyword_only - {"monitor"}
    for name, default in told.items():
        assert parameters[name].default is None or str(parameters[name].default) == default
