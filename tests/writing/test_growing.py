"""What a growing dataset remembers of its rows, to compare with when they are read back."""

from __future__ import annotations

import numpy as np

from prefetcher.writing.growing import Witness


def test_a_witness_is_spread_over_all_rows_and_stays_small() -> None:
    witness = Witness()
    for start in range(0, 100_000, 1000):
        witness.see(start, np.arange(start, start + 1000))
    rows = [row for row, _ in witness.state()["sums"]]
    assert 32 <= len(rows) <= 64
    assert max(np.diff(rows)) == min(np.diff(rows))
    assert rows[-1] > 90_000
    assert witness.state()["last"][0] == 99_999
