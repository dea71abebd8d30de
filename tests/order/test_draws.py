"""What a pass draws: counts that a sample can have, and the same answers both ways."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from prefetcher.order.draws import EachOnce, Weighted
from prefetcher.order.permutation import key_of
from prefetcher.order.samples import Samples

WEIGHTS = st.lists(st.sampled_from([0.0, 1e-9, 0.3, 1.0, 1.0, 2.5, 40.0]), min_size=1, max_size=80)


def counts(draws: Weighted, key: int, rows: int) -> NDArray[np.int64]:
    drawn = draws.rows(key_of(key), np.arange(draws.count))
    assert (np.diff(drawn) >= 0).all()
    return np.bincount(drawn, minlength=rows)


@given(WEIGHTS, st.integers(0, 2**64 - 1), st.booleans())
def test_a_sample_comes_fewer_than_two_off_its_share(
    weights: list[float], key: int, turned: bool
) -> None:
    wanted = np.array([*weights, 1.0])
    n = len(wanted)
    samples: Samples = range(n)[::-1] if turned else range(n)
    shares = n * wanted / wanted.sum()
    found = counts(Weighted(samples, wanted), key, n)
    assert found.sum() == n
    shares = shares[::-1] if turned else shares
    assert (abs(found - shares) < 2).all()
    assert not found[shares == 0].any()


@given(WEIGHTS, st.integers(0, 1000), st.integers(-5, 400))
def test_the_first_draw_from_a_row_on(weights: list[float], key: int, row: int) -> None:
    samples = 3 * np.arange(len(weights) + 1)
    draws = Weighted(samples, np.array([*weights, 1.0]))
    rows = draws.rows(key_of(key), np.arange(draws.count))
    first = int(draws.first_from(key_of(key), np.array([row]))[0])
    assert first == np.searchsorted(rows, row)


@pytest.mark.parametrize("weight", [0.1, 1.0, 3.0, 1e-300, 1e300])
def test_equal_weights_draw_each_sample_once(weight: float) -> None:
    n = 100_003
    assert (counts(Weighted(range(n), np.full(n, weight)), 1, n) == 1).all()


def test_rounding_does_not_reach_the_next_draw() -> None:
    """Far out on the line a fraction near 1 would be rounded up to the next whole number."""
    n = 1 << 22
    draws = Weighted(range(n), np.ones(n))
    for key in range(4):
        last = np.arange(n - 100_000, n)
        assert (draws.rows(np.uint64(key), last) == last).all()


@given(WEIGHTS, st.integers(0, 99))
def test_no_sample_comes_more_often_than_is_said(weights: list[float], key: int) -> None:
    draws = Weighted(range(len(weights) + 1), np.array([*weights, 1.0]))
    found = counts(draws, key, len(weights) + 1)
    starts = np.cumsum(found)[:-1][found[1:] > 0]
    starts = np.unique(np.append(0, starts))
    most = draws.copies_in(key_of(key), starts).most
    assert (np.maximum.reduceat(found, draws.rows(key_of(key), starts)) <= most).all()


def test_over_many_passes_the_mean_is_the_share() -> None:
    weights = np.random.default_rng(0).exponential(size=500)
    draws, passes = Weighted(range(500), weights), 4000
    found = sum(counts(draws, key, 500) for key in range(passes)) / passes
    # A count is one of two neighbours, or of three: a variance of half at most.
    assert abs(found - 500 * weights / weights.sum()).max() < 4.5 * np.sqrt(0.5 / passes)


def test_neighbours_are_drawn_apart_and_together() -> None:
    """With weights of a half, not every second row in each pass: all four pairs are seen."""
    weights = np.tile([1.0, 1.0, 1.0, 1.0, 4.0], 100)
    draws = Weighted(range(500), weights)
    seen = {tuple(counts(draws, key, 500)[20:22].clip(max=1)) for key in range(200)}
    assert len(seen) >= 3


def test_passes_and_seeds_draw_anew() -> None:
    draws = Weighted(range(1000), np.arange(1000.0))
    first, second = (draws.rows(key_of(0, turn), np.arange(1000)) for turn in range(2))
    assert (first != second).any()
    assert (first == draws.rows(key_of(0, 0), np.arange(1000))).all()


def test_weights_out_of_any_range_are_a_proportion() -> None:
    found = counts(Weighted(range(4), np.array([1e308, 1e308, 0, 1e308])), 0, 4)
    assert found.sum() == 4
    assert found[2] == 0


@given(st.lists(st.integers(0, 30), min_size=1), st.integers(0, 30))
def test_each_once_sorts_rows_and_finds_them(rows: list[int], row: int) -> None:
    draws = EachOnce(np.array(rows))
    key = np.uint64(0)
    assert draws.rows(key, np.arange(draws.count)).tolist() == sorted(rows)
    assert draws.first_from(key, np.array([row]))[0] == sum(each < row for each in rows)
    assert draws.copies == (len(set(rows)) < len(rows))
