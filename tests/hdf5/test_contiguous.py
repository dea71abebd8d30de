"""Contiguous rows: the bytes of every run, in few calls where rows are small."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prefetcher.errors import CorruptError
from prefetcher.hdf5.contiguous import joined
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source

ROWS = 40_000
LABELS = np.arange(ROWS)
PICTURES = np.random.default_rng(0).integers(0, 256, (60, 7_000), np.uint8)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("contiguous") / "a.h5"
    with h5py.File(path, "w") as written:
        written["labels"] = LABELS
        written["pictures"] = PICTURES
    return path


@pytest.fixture
def source(file: Path) -> Iterator[Source]:
    source = Source(describe(file), ["labels", "pictures"])
    yield source
    source.close()


@pytest.fixture
def calls(source: Source, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The bytes of each call of preadv, once the source is open."""
    counts: list[int] = []
    preadv = os.preadv

    def note(file: int, pieces: Any, offset: int) -> int:
        counts.append(preadv(file, pieces, offset))
        return counts[-1]

    monkeypatch.setattr(os, "preadv", note)
    return counts


def labels(source: Source, runs: list[tuple[int, int]]) -> list[int]:
    out = np.empty((sum(stop - start for start, stop in runs), 8), np.uint8)
    source.read("labels", runs, [out])
    return [int(label) for label in out.view(LABELS.dtype)[:, 0]]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.lists(st.tuples(st.integers(0, ROWS - 50), st.integers(0, 50)), max_size=40))
def test_runs_in_any_order_come_as_they_were_asked_for(
    source: Source, starts: list[tuple[int, int]]
) -> None:
    runs = [(start, start + count) for start, count in starts]
    assert labels(source, runs) == [row for run in runs for row in range(*run)]
    assert labels(source, sorted(runs)) == [row for run in sorted(runs) for row in range(*run)]


def test_small_rows_near_each_other_cost_one_call(source: Source, calls: list[int]) -> None:
    runs = [(start, start + 20) for start in range(100, 20_000, 1_000)]
    assert labels(source, runs) == [row for run in runs for row in range(*run)]
    assert len(calls) == 1


def test_what_lies_far_away_is_not_read(source: Source, calls: list[int]) -> None:
    labels(source, [(0, 20), (30_000, 30_020)])
    assert calls == [160, 160]


def test_large_rows_are_read_alone(source: Source, calls: list[int]) -> None:
    out = np.empty((4, 7_000), np.uint8)
    source.read("pictures", [(0, 2), (50, 52)], [out])
    assert calls == [14_000, 14_000]
    assert (out == PICTURES[[0, 1, 50, 51]]).all()


def test_damage_is_named_by_its_own_rows_not_by_those_that_were_read_with_them(
    file: Path, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    with h5py.File(file) as opened:
        end: int = opened["labels"].id.get_offset() + 150 * 8
    preadv = os.preadv

    def cut_short(file: int, pieces: Any, offset: int) -> int:
        return max(0, min(preadv(file, pieces, offset), end - offset))

    monkeypatch.setattr(os, "preadv", cut_short)
    with pytest.raises(CorruptError, match=r"rows 200 to 220 of labels in a\.h5 are damaged"):
        labels(source, [(100, 120), (200, 220), (240, 245)])


@pytest.mark.parametrize(
    ("runs", "gap", "expected"),
    [
        ([(0, 2), (3, 4), (9, 12)], 1, [[(0, 2), (3, 4)], [(9, 12)]]),
        ([(0, 2), (3, 4), (9, 12)], 5, [[(0, 2), (3, 4), (9, 12)]]),
        ([(0, 2), (2, 4)], 0, [[(0, 2)], [(2, 4)]]),
        ([(5, 6), (0, 2), (1, 3)], 9, [[(5, 6)], [(0, 2)], [(1, 3)]]),  # they do not ascend
        ([(0, 1), (4, 4), (1, 2), (7, 7)], 9, [[(0, 1), (1, 2)]]),
        ([(4, 4)], 9, []),
    ],
)
def test_runs_that_lie_near_each_other_are_joined(
    runs: list[tuple[int, int]], gap: int, expected: list[list[tuple[int, int]]]
) -> None:
    assert list(joined(runs, gap)) == expected


def test_every_second_row_is_taken_out_of_what_they_span(source: Source, calls: list[int]) -> None:
    rows = list(range(1, ROWS, 2))
    assert labels(source, [(row, row + 1) for row in rows]) == rows
    assert max(calls) <= 8 << 10
    assert sum(calls) <= 8 * ROWS


def test_short_runs_go_to_places_of_their_own(source: Source) -> None:
    rows = [3, 5, 9_000, 9_002, 9_003]
    out = [np.empty((1, 8), np.uint8) for _ in rows]
    source.read("labels", [(3, 4), (5, 6), (9_000, 9_001), (9_002, 9_004)], out)
    assert [int(place.view(LABELS.dtype)[0, 0]) for place in out] == rows


def test_short_runs_far_apart_are_read_over_in_one_call(source: Source, calls: list[int]) -> None:
    rows = list(range(0, ROWS, 1_000))
    assert labels(source, [(row, row + 1) for row in rows]) == rows
    assert len(calls) == 1
