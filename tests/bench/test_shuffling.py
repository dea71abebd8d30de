"""The bench's measure of mixing: a wrong one would flatter somebody without a sign."""

from __future__ import annotations

import numpy as np
import pytest

from bench.orders import WAYS, Way, buffered, entropy


def test_entropy_of_known_batches() -> None:
    one_class, two_classes, all_four = [3, 3, 3, 3], [0, 0, 2, 2], [0, 1, 2, 3]
    assert entropy(np.array(one_class), 4) == 0
    assert entropy(np.array(two_classes), 4) == pytest.approx(1)
    assert entropy(np.array(one_class + all_four), 4) == pytest.approx(1)
    assert entropy(np.array([*all_four, 2], np.uint8), 4) == pytest.approx(1)  # the last is short


@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
def test_every_order_has_every_row_once(way: Way) -> None:
    for rows in (6433, 100):
        assert sorted(way.order(rows, 3, 1)) == list(range(rows))


def test_a_shuffle_buffer_never_gives_a_row_that_it_has_not_reached() -> None:
    order = buffered(10_000, 0, 0)
    assert (order - np.arange(10_000)).max() < 3200
    assert not np.array_equal(order, np.arange(10_000))
