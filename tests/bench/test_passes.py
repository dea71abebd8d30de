"""Every system reads every row, and one that does not is found out."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bench.child import call
from bench.files import Kind, kinds, make, numbers_in
from bench.passes import Count, read
from bench.systems import SYSTEMS, Batch, Feed, System, article

ROWS, CHUNK = 136, 64


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("bench"), kinds()[0], ROWS)


def told(system: str, file: Path) -> dict[str, Any]:
    return read(system, str(file), ROWS, passes=2, chunk_size=CHUNK)


def broken(monkeypatch: pytest.MonkeyPatch, way: Any) -> str:
    """Makes a system out of this function."""
    module = ModuleType("broken")
    module.batches = way  # type: ignore[attr-defined]
    monkeypatch.setitem(SYSTEMS, "broken", System("", "broken:batches"))
    monkeypatch.setitem(sys.modules, "bench.systems.broken", module)
    return "broken"


@pytest.mark.parametrize("system", ["article", "two threads", "ours", "ours, 2 readers"])
def test_a_system_reads_every_row(file: Path, system: str) -> None:
    run = told(system, file)
    assert run["problem"] is None
    assert run["nbytes"] == ROWS * 128 * 128 * 3
    assert len(run["seconds"]) == len(run["cpu_s"]) == 2
    assert 0 < run["first_batch_s"] <= run["seconds"][0]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.name)
def test_every_kind_of_file_can_be_read_in_a_process_of_its_own(tmp_path: Path, kind: Kind) -> None:
    """There nobody else has told HDF5 of the plugin filters."""
    rows = kind.rows(ROWS)
    path = str(make(tmp_path, kind, ROWS))
    what: dict[str, Any] = {
        "system": "article",
        "path": path,
        "rows": rows,
        "passes": 1,
        "chunk_size": CHUNK,
    }
    run = call("bench.passes:read", timeout_s=60, **what)
    assert run["problem"] is None


@pytest.mark.slow
@pytest.mark.parametrize("system", [name for name, one in SYSTEMS.items() if not one.missing])
def test_every_installed_system_reads_every_row_in_its_process(file: Path, system: str) -> None:
    run = call(
        "bench.passes:read",
        timeout_s=60,
        system=system,
        path=str(file),
        rows=ROWS,
        passes=2,
        chunk_size=CHUNK,
    )
    assert run["problem"] is None


def test_a_system_that_loses_a_batch_is_found_out(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lossy(feed: Feed) -> Iterator[Batch]:
        for number, batch in enumerate(article.batches(Feed(feed.path, 1, feed.rows))):
            if number != 2:
                yield batch

    assert told(broken(monkeypatch, lossy), file)["problem"] == "104 rows instead of 136"


def test_a_system_that_gives_a_batch_twice_instead_of_another_is_found_out(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def doubling(feed: Feed) -> Iterator[Batch]:
        kept: Batch | None = None
        for number, batch in enumerate(article.batches(feed)):
            yield kept if kept and number == 1 else batch
            kept = batch

    problem = told(broken(monkeypatch, doubling), file)["problem"]
    assert problem == "some rows twice, others not at all"


def test_a_picture_with_anothers_target_is_found_out() -> None:
    pictures = np.zeros((3, 2, 2, 3), np.uint8)
    pictures[:, 0, 0, 2] = [0, 1, 2]
    count = Count()
    count.add((pictures, np.array([0, 2, 1])))
    assert count.problem(3) == "2 rows with another's target"


def test_pictures_carry_their_rows_number() -> None:
    pictures = np.zeros((3, 2, 2, 3), np.uint8)
    pictures[:, 0, 0] = [[0, 0, 7], [0, 2, 1], [1, 0, 0]]
    assert numbers_in(pictures).tolist() == [7, 513, 65536]
    assert numbers_in(pictures.astype(np.float32)).tolist() == [7, 513, 65536]
