"""Part of the rows costs about one decoding of each storage chunk, whichever rows they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from prefetcher import PrefetchSequence
from prefetcher.filters.decode import Decoder

N, ALIGN = 32_000, 32
PASSES = 5
GOAL = 1.1
"""Decodings in a pass, over those of a pass through all rows. Reading ahead is among them."""


@pytest.fixture(scope="module")
def gzipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("rows") / "gzip.h5"
    ids = np.arange(N, dtype=np.int32)
    with h5py.File(path, "w") as file:
        x = np.repeat(ids[:, None], 4, axis=1)
        file.create_dataset("x", data=x, chunks=(ALIGN, 4), compression="gzip")
        file["y"] = ids
    return path


@pytest.fixture
def decodings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Grows by one for each storage chunk that is decoded."""
    found: list[int] = []
    decode = Decoder.decode

    def counted(self: Decoder, data: Any, mask: int) -> Any:
        found.append(1)
        return decode(self, data, mask)

    monkeypatch.setattr(Decoder, "decode", counted)
    return found


RNG = np.random.default_rng(0)
HALF = RNG.permutation(N)[: N // 2]
KINDS = {
    "a mask of 80 %": RNG.random(N) < 0.8,
    "every second": slice(0, None, 2),
    "every third, backwards": slice(None, None, -3),
    "a sorted half": np.sort(HALF),
    "twice each of some": np.repeat(np.arange(0, N, 4), 2),
}


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("rows", KINDS.values(), ids=KINDS)
def test_each_storage_chunk_is_decoded_about_once(
    gzipped: Path, decodings: list[int], rows: Any, shuffle: bool
) -> None:
    named = np.sort(np.arange(N)[rows])
    with PrefetchSequence(gzipped, rows=rows, shuffle=shuffle) as train:
        decodings.clear()  # opening proved the way with two of them
        for _ in range(PASSES):
            labels = np.concatenate([y for _, y in train])
            assert (np.sort(labels) == named).all()
        assert len(decodings) <= GOAL * PASSES * N / ALIGN


def test_the_order_of_row_numbers_costs_nothing_where_they_are_shuffled(
    gzipped: Path, decodings: list[int]
) -> None:
    with PrefetchSequence(gzipped, rows=HALF) as train:
        for _ in range(PASSES):
            for _ in train:
                pass
        assert len(decodings) <= GOAL * PASSES * N / ALIGN


def test_file_order_keeps_the_order_of_rows_exactly(gzipped: Path, decodings: list[int]) -> None:
    """Each chunk of samples decodes a storage chunk once, however its rows lie."""
    rows = np.concatenate([HALF, HALF[:99]])
    with PrefetchSequence(gzipped, rows=rows, shuffle=False) as train:
        labels = np.concatenate([y for _, y in train])
        assert labels.tolist() == rows.tolist()
        chunks = train.plan.num_chunks
        assert len(decodings) <= (chunks + train._settings.chunk_queue) * N / ALIGN


def test_repeats_of_a_row_lie_in_different_batches(gzipped: Path) -> None:
    rows = np.repeat(np.arange(0, N, 40), 10)
    with PrefetchSequence(gzipped, rows=rows) as train:
        for _, y in train:
            assert len(set(y.tolist())) == len(y)
