"""The comparison over a folder of foreign files: it sees what is wrong and counts what is right."""

from __future__ import annotations

import itertools
import os
from pathlib import Path
from typing import Any

import corpus
import h5py
import numpy as np
import pytest
from helpers import beside_h5py, readings
from helpers.beside_h5py import CRASH, EQUAL, ESCAPED, MEMORY, UNCOMPARED, WRONG, Verdict

STUB = """
import json, os, sys
sys.path.insert(0, {helpers!r})
from helpers import readings
real = readings.ours
def ours(job, blobs):
    {body}
    yield from real(job, blobs)
readings.ours = ours
import h5py
readings.main(sys.argv[1], readings.Path(sys.argv[2]))
"""


def folder_of(tmp_path: Path) -> Path:
    """Two files with HDF5's signature, one of them damaged, and one of another kind."""
    folder = tmp_path / "files"
    (folder / "below").mkdir(parents=True)
    with h5py.File(folder / "below" / "good.hdf", "w", userblock_size=512) as file:
        file["x"] = np.arange(20)
        file["scalar"] = 3
    (folder / "damaged.mat").write_bytes(corpus.HDF5 + bytes(100))
    (folder / "notes.h5").write_text("no HDF5")
    os.mkfifo(folder / "pipe.h5")
    return folder


def test_a_folder_without_faults_exits_with_0_and_tells_how_many_of_what(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert corpus.main([str(folder_of(tmp_path)), "--verbose"]) == 0
    told = capsys.readouterr().out
    rows = dict(line.rsplit(maxsplit=1) for line in told.splitlines() if not line.startswith("/"))
    assert (rows["files"], rows["datasets"], rows["equal"], rows["refused"]) == ("2", "2", "1", "2")
    assert (rows["  NotHDF5Error"], rows["  DatasetError"], rows["wrong"]) == ("1", "1", "0")


def test_a_folder_without_hdf5_exits_with_2(tmp_path: Path) -> None:
    assert corpus.main([str(tmp_path)]) == 2


@pytest.mark.parametrize(
    ("kind", "status"), [(WRONG, 4), (ESCAPED, 4), (CRASH, 4), (MEMORY, 4), (UNCOMPARED, 0)]
)
def test_the_exit_status_tells_a_fault(
    kind: str, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    folder = folder_of(tmp_path)
    found = Verdict(folder / "damaged.mat", "x", kind, "this")
    monkeypatch.setattr(corpus, "verdicts", lambda *_, **__: [found])
    assert corpus.main([str(folder)]) == status
    assert (f"damaged.mat x: {kind}: this" in capsys.readouterr().out) == (status == 4)


def outcome(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, limit_s: float = 60
) -> list[Verdict]:
    """Verdicts over two files while reading the one named bad does what `body` says."""
    for name in ("bad", "good"):
        with h5py.File(tmp_path / f"{name}.h5", "w") as file:
            file["x"] = np.arange(20)
    body = f"if 'bad' in job['path']: {body}"
    script = tmp_path / "stub.py"
    script.write_text(STUB.format(helpers=str(Path(beside_h5py.__file__).parents[1]), body=body))
    monkeypatch.setattr(beside_h5py, "CHILD", (str(script),))
    paths = [tmp_path / "bad.h5", tmp_path / "good.h5"]
    return list(beside_h5py.verdicts(paths, limit_s=limit_s))


@pytest.mark.parametrize(
    ("body", "kind", "detail"),
    [
        ("os.kill(os.getpid(), 11)", CRASH, "status -11: File"),
        ("import threading; threading.Event().wait()", CRASH, "hang: File"),
        ("os._exit(3)", CRASH, "status 3"),
        ("job['path'] = None", ESCAPED, "TypeError"),
    ],
)
def test_a_child_that_ends_tells_the_file_and_the_others_are_read(
    body: str, kind: str, detail: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = outcome(tmp_path, monkeypatch, body, limit_s=8)
    assert [(v.path.stem, v.kind) for v in found] == [("bad", kind), ("good", EQUAL)]
    assert detail in found[0].detail


def test_other_bytes_are_found_in_both_ways_of_reading(tmp_path: Path) -> None:
    path = tmp_path / "a.h5"
    rows = np.arange(24, dtype=np.uint8).reshape(6, 4)
    for at in (0, 1):
        both = np.stack([rows, rows])
        both[at, 3, 1] ^= 1
        found = judged(path, both, np.stack([rows, rows]))
        assert found.kind == WRONG
        assert "1 bytes differ" in found.detail
        assert ("random runs" in found.detail) == (at == 1)
    assert judged(path, np.stack([rows, rows]), np.stack([rows, rows])).kind == EQUAL


def test_bytes_without_a_value_are_not_compared(tmp_path: Path) -> None:
    valued = np.array([1, 2, 3, 4], np.uint8)
    alone = np.stack([valued, valued])
    alone[:, 2] = [0, 0xFF]
    ours = np.stack([valued, valued])
    ours[:, 2] = 77
    assert judged(tmp_path / "a.h5", ours, alone).kind == EQUAL


def judged(
    path: Path,
    ours: np.ndarray,
    alone: np.ndarray,
    right: dict[str, Any] | None = None,
    **facts: Any,
) -> Verdict:
    """The verdict over bytes that are made up."""
    mine, theirs = path.with_suffix(".ours"), path.with_suffix(".alone")
    ours.tofile(mine)
    alone.tofile(theirs)
    common = {"shape": [6, 4], "dtype": "uint8"}
    told = {"blob": str(mine), **common, "way": "general", "row_bytes": 4, "grown": 0, "allowed": 0}
    return beside_h5py._judged(
        path,
        "x",
        told | facts,
        {"blob": str(theirs), **common},
        (common | right) if right else None,
    )


def test_rows_that_hdf5_reads_wrong_itself_are_not_compared_where_both_read_through_it(
    tmp_path: Path,
) -> None:
    rows = np.arange(24, dtype=np.uint8).reshape(6, 4)
    damaged = rows.copy()
    damaged[3, 1] ^= 1
    sound = tmp_path / "sound"
    np.stack([rows, rows]).tofile(sound)
    known = {"blob": str(sound)}
    ours = np.stack([rows, rows])
    ours[:, 3, 2] = 99
    alone = np.stack([damaged, damaged])
    assert judged(tmp_path / "a.h5", ours, alone, known).kind == EQUAL
    assert judged(tmp_path / "a.h5", ours, alone, known, way="storage chunks").kind == WRONG
    ours[:, 2, 2] = 99
    assert judged(tmp_path / "a.h5", ours, alone, known).kind == WRONG
    other = known | {"shape": [5, 4]}
    assert judged(tmp_path / "a.h5", ours, alone, other).kind == UNCOMPARED


def test_another_shape_or_type_and_too_much_memory_are_faults(tmp_path: Path) -> None:
    rows = np.zeros((2, 24), np.uint8)
    assert judged(tmp_path / "a.h5", rows, rows, shape=[5, 4]).kind == WRONG
    assert judged(tmp_path / "a.h5", rows, rows, dtype=">u2").kind == WRONG
    grown = beside_h5py.SLACK_BYTES + 101
    assert judged(tmp_path / "a.h5", rows, rows, grown=grown, allowed=100).kind == MEMORY
    assert judged(tmp_path / "a.h5", rows, rows, grown=grown, allowed=101).kind == EQUAL


def test_the_peak_of_memory_is_measured() -> None:
    base = readings._reset_peak()
    if not base:
        pytest.skip("only Linux tells the peak of resident memory")
    np.ones(40 << 20, np.uint8)
    assert 30 << 20 < readings._peak() - base < 60 << 20
    again = readings._reset_peak()
    assert again < base + (20 << 20)


def test_large_datasets_are_compared_in_stretches_that_hold_their_ends() -> None:
    spans = readings.spans_of(10**12, 1000)
    assert spans[0][0] == 0
    assert spans[-1][1] == 10**12
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))
    assert sum(stop - start for start, stop in spans) * 1000 <= readings.MOST_BYTES * 1.1
    assert readings.spans_of(100, 1000) == [(0, 100)]


def test_names_behind_every_link_are_found_and_circles_end(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a/x"] = [1]
        file["b"] = file["a"]
        file["a/up"] = file["/"]
        file["soft"] = h5py.SoftLink("/a/x")
        file["outside"] = h5py.ExternalLink("b.h5", "x")
        names = {name for name, _ in readings.datasets_of(file, follow=False)}
    assert {"a/x", "b/x", "soft"} <= names
    assert "outside" not in names
