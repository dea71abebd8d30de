"""What `import prefetcher` does, and does not do."""

from __future__ import annotations

import ast
import tomllib
from collections import defaultdict
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from helpers.processes import run_script

import prefetcher

PACKAGE = Path(prefetcher.__file__).parent
DESIGN = PACKAGE.parent / "docs" / "design.md"


def test_importing_starts_nothing() -> None:
    """Keras and its backend are imported first: what they start is theirs."""
    run_script(
        """
import os, threading
import keras, h5py, psutil
threads = set(threading.enumerate())
import prefetcher
from prefetcher import PrefetchSequence
assert set(threading.enumerate()) == threads, threading.enumerate()
assert PrefetchSequence.__mro__[1] is keras.utils.Sequence
assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", keras.backend.backend())
"""
    )


def test_a_log_is_read_without_keras() -> None:
    run_script("import sys, prefetcher; prefetcher.read_log; assert 'keras' not in sys.modules")


def test_every_public_name_is_there() -> None:
    assert len(set(prefetcher.__all__)) == len(prefetcher.__all__)
    for name in prefetcher.__all__:
        assert getattr(prefetcher, name).__doc__


def test_a_terminal_completes_every_public_name_and_no_other() -> None:
    listed = dir(prefetcher)
    assert listed == sorted(listed)
    assert [name for name in listed if not name.startswith("__")] == sorted(prefetcher.__all__)
    assert {"__version__", "__doc__", "__all__"} <= set(listed)


def test_the_version_is_that_of_the_project() -> None:
    project = tomllib.loads((PACKAGE.parent / "pyproject.toml").read_text())["project"]
    assert prefetcher.__version__ == project["version"]


def test_imports_go_one_way() -> None:
    """Between folders, with a module beside them counted as one; and between all modules."""
    folders, modules = defaultdict[str, set[str]](set), defaultdict[str, set[str]](set)
    for importer, imported in _imports():
        modules[importer].add(imported)
        above, below = importer.split(".")[1], imported.split(".")[1]
        if above != below:
            folders[above].add(below)
    order = list(TopologicalSorter(folders).static_order())  # raises CycleError, which names it
    assert {"pipeline", "monitor", "verdict", "storage"} <= set(order)
    list(TopologicalSorter(modules).static_order())


def test_the_design_draws_the_house_that_stands() -> None:
    drawn = DESIGN.read_text()
    tree = drawn[drawn.index("    prefetcher/\n") : drawn.index("Imports go down")]
    rows = {line.split()[0]: at for at, line in enumerate(tree.splitlines()) if line[6:7].strip()}
    for path in PACKAGE.iterdir():
        name = f"{path.name}/" if path.is_dir() else path.name
        if path.suffix == ".py" or path.is_dir():
            assert name in rows or name.startswith("__"), f"{name} is not drawn"
    for importer, imported in _imports():
        above, below = (_row(rows, module) for module in (importer, imported))
        assert above <= below, f"{importer} is drawn below {imported}, which it imports"


def _row(rows: dict[str, int], module: str) -> int:
    name = module.split(".")[1]
    return rows[f"{name}/"] if f"{name}/" in rows else rows[f"{name}.py"]


def _imports() -> Iterator[tuple[str, str]]:
    """Yields (importing module, imported module) of the package; the public names are left out."""
    for path in PACKAGE.rglob("*.py"):
        importer = ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts)
        if path.parent == PACKAGE and path.name.startswith("__"):
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prefetcher."):
                for name in node.names:
                    inner = PACKAGE.joinpath(*(node.module or "").split(".")[1:], f"{name.name}.py")
                    yield (
                        importer,
                        f"{node.module}.{name.name}" if inner.is_file() else str(node.module),
                    )
