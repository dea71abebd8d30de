"""The choice of a codec: measured on the data, by a rule that is told."""

from __future__ import annotations

import numpy as np
import pytest

from prefetcher.writing.codec import FAST_ENOUGH, Trial, available, best, choose, measure

SMOOTH = np.repeat(np.arange(60, dtype=np.uint8)[:, None], 1 << 16, axis=1)
NOISE = np.random.default_rng(0).integers(0, 256, (48, 1 << 16), np.uint8)


@pytest.mark.parametrize("codec", ["gzip", "lz4", "zstd"])
def test_ratio_and_speed_are_measured(codec: str) -> None:
    (trial,) = (measure(name, SMOOTH) for name in available() if name == codec)
    assert trial.ratio > 20
    assert trial.decode_bytes_per_s > 1e6
    assert measure(trial.codec, NOISE).ratio == pytest.approx(1, abs=0.02)


def test_what_does_not_get_smaller_stays_as_it_is() -> None:
    chosen, trials = choose(NOISE)
    assert chosen == "none"
    assert [trial.codec for trial in trials] == ["gzip", "lz4", "zstd"]


def test_the_smallest_of_those_that_are_fast() -> None:
    slow = Trial("gzip", 9.0, FAST_ENOUGH / 2)
    fast = Trial("lz4", 2.0, FAST_ENOUGH * 4)
    both = Trial("zstd", 3.0, FAST_ENOUGH * 2)
    assert best([slow, fast, both]) == "zstd"
    assert best([slow, fast]) == "lz4"
    assert best([slow, Trial("lz4", 1.05, FAST_ENOUGH * 4)]) == "none"
    assert best([]) == "none"


def test_one_row_that_is_larger_than_a_storage_chunk() -> None:
    assert measure("gzip", np.zeros((1, 3 << 20), np.uint8)).ratio > 100
