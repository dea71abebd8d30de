"""Which rows go where: every row once, shares kept in every class, the same for the same seed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.conversion.order import portions
from prefetcher.errors import DatasetError

SPLIT = {"train": 0.7, "val": 0.2, "test": 0.1}


@given(
    n=st.integers(100, 400), seed=st.integers(0, 9), classes=st.integers(1, 9), mix=st.booleans()
)
def test_every_row_once(n: int, seed: int, classes: int, mix: bool) -> None:
    rows = np.arange(5, 5 + n)
    dealt = portions(rows, np.arange(n) % classes, SPLIT, seed, shuffle=mix)
    assert [portion.name for portion in dealt] == list(SPLIT)
    assert np.array_equal(np.sort(np.concatenate([p.rows for p in dealt])), rows)
    if not mix:
        assert all((np.diff(p.rows) > 0).all() for p in dealt)


def test_shares_hold_in_every_class() -> None:
    classes = np.repeat([0, 1, 2], [1000, 100, 10])
    for portion in portions(np.arange(1110), classes, SPLIT, 3, shuffle=True):
        counts = np.bincount(classes[portion.rows], minlength=3)
        wanted = SPLIT[portion.name] * np.array([1000, 100, 10])
        assert np.abs(counts - wanted).max() <= 1


def test_the_seed_decides() -> None:
    def order(seed: int) -> list[int]:
        (portion,) = portions(np.arange(50), None, None, seed, shuffle=True)
        return [int(row) for row in portion.rows]

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == list(range(50)) != order(1)


def test_nothing_for_a_group_is_said() -> None:
    with pytest.raises(DatasetError, match="2 rows leave none for val"):
        portions(np.arange(2), None, {"train": 0.999, "val": 0.001}, 3, shuffle=False)
    with pytest.raises(DatasetError, match="none for the file"):
        portions(np.arange(0), None, None, 0, shuffle=False)
