"""A batch filled up: rows of its own, weights that keep the mean."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from prefetcher.order.shard import Filling
from prefetcher.padding import padded

X = np.arange(6.0).reshape(3, 2)
Y = np.arange(3)
FILLING = Filling(own=2, rows=4, weight=4 / 3)


def test_it_is_filled_up_by_its_own_rows_and_they_weigh_nothing() -> None:
    x, y, weight = padded((X, Y), FILLING)
    assert x.tolist() == [[0, 1], [2, 3], [4, 5], [0, 1]]
    assert y.tolist() == [0, 1, 2, 0]
    assert weight.dtype == np.float32
    assert weight.tolist() == np.array([4 / 3, 4 / 3, 0, 0], np.float32).tolist()


def test_inputs_alone_have_no_weights() -> None:
    (x,) = padded((X,), FILLING)
    assert x.tolist() == [[0, 1], [2, 3], [4, 5], [0, 1]]


def test_structures_keep_their_shape() -> None:
    x, y, weight = padded(({"a": X, "b": (Y, [X])}, (Y, Y)), FILLING)
    assert x["b"][0].tolist() == [0, 1, 2, 0]
    assert isinstance(x["b"][1], list)
    assert x["b"][1][0].shape == (4, 2)
    assert [len(each) for each in y] == [4, 4]
    assert weight.shape == (4,)


class Pair(NamedTuple):
    """What a transform may return."""

    left: Any
    right: Any


def test_named_tuples_stay_what_they_are() -> None:
    x, _, _ = padded((Pair(X, Y), Y), FILLING)
    assert isinstance(x, Pair)
    assert x.right.tolist() == [0, 1, 2, 0]


def test_weights_of_its_own_are_multiplied() -> None:
    given = {"y": np.array([1.0, 2, 3]), "z": np.array([[1, 2], [3, 4], [5, 6]])}
    _, _, weight = padded((X, Y, given), FILLING)
    assert weight["y"].dtype == np.float64
    assert weight["y"].tolist() == pytest.approx([4 / 3, 8 / 3, 0, 0])
    assert weight["z"].dtype == np.float32
    assert weight["z"] == pytest.approx(np.array([[4 / 3, 8 / 3], [4, 16 / 3], [0, 0], [0, 0]]))


def test_one_own_row_of_none_weighs_nothing() -> None:
    """Where there are fewer samples than processes, some have none of them."""
    _, _, weight = padded((X[:1], Y[:1]), Filling(own=0, rows=2, weight=2.0))
    assert weight.tolist() == [0, 0]


def test_a_full_batch_keeps_its_arrays() -> None:
    x, y, weight = padded((X, Y), Filling(own=3, rows=3, weight=1.0))
    assert x is X
    assert y is Y
    assert weight.tolist() == [1, 1, 1]


@pytest.mark.parametrize("samples", range(1, 13))
def test_the_mean_over_all_rows_is_that_over_the_samples(samples: int) -> None:
    losses: Any = np.random.default_rng(samples).random(samples)
    rows = -(-samples // 4) * 4
    filled, _, weight = padded((losses, losses), Filling(samples, rows, rows / samples))
    assert np.mean(filled * weight) == pytest.approx(losses.mean())
