"""One time through a pass: tickets, and what is left of it."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.errors import SettingsError
from prefetcher.iteration import Iteration, Rest

N = 9


def iteration(rest: Rest = range(N), *, in_file_order: bool = False) -> Iteration:
    return Iteration(3, rest, "anybody", in_file_order=in_file_order)


@given(st.permutations(range(N)), st.booleans())
def test_each_position_is_given_once(indices: Sequence[int], in_file_order: bool) -> None:
    one = iteration(in_file_order=in_file_order)
    positions = []
    for index in indices:
        assert not one.complete
        positions.append(one.place(index).position)
        assert one.place(index) == (3, positions[-1]), "asked again, the same"
    assert one.complete
    assert positions == (list(indices) if in_file_order else list(range(N)))


@given(st.permutations(range(N)), st.integers(0, N), st.integers(0, N), st.booleans())
def test_what_is_left_is_what_was_not_trained(
    indices: Sequence[int], asked: int, trained: int, in_file_order: bool
) -> None:
    one = iteration(in_file_order=in_file_order)
    given_out = [one.place(index).position for index in indices[:asked]]
    if trained > asked:
        with pytest.raises(SettingsError, match=f"trained={trained}"):
            one.left(trained)
    else:
        assert sorted([*one.left(trained), *given_out[:trained]]) == list(range(N))
    assert sorted([*one.left(None), *given_out]) == list(range(N))


def test_a_rest_with_gaps() -> None:
    one = iteration(np.array([2, 3, 7]))
    assert len(one) == 3
    assert [one.place(index) for index in (1, 0)] == [(3, 2), (3, 3)]
    assert list(one.left(None)) == [7]


def test_in_order_it_takes_no_memory() -> None:
    indices = list(range(10_000))
    in_order, shuffled = (iteration(range(10_000)) for _ in range(2))
    for index in indices:
        in_order.place(index)
    random.Random(0).shuffle(indices)
    for index in indices:
        shuffled.place(index)
    assert len(in_order.drawn._others) == 0
    assert len(shuffled.drawn._others) > 9000
