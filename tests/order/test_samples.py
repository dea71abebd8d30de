"""Rows that are samples: a range and an array of the same rows give the same answers."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.order.samples import (
    even_samples,
    first_from,
    has_copies,
    is_ascending,
    rows_at,
    storage_chunks_of,
)

STRIDED = st.builds(
    lambda start, count, step: range(start, start + count * step, step),
    st.integers(0, 50),
    st.integers(1, 60),
    st.integers(1, 20),
)


@given(STRIDED, st.integers(0, 1500))
def test_the_first_sample_from_a_row_on(samples: range, row: int) -> None:
    first = int(first_from(samples, np.array([row]))[0])
    assert first == int(first_from(np.array(samples), np.array([row]))[0])
    assert first == sum(sample < row for sample in samples)


@given(STRIDED)
def test_rows_by_number(samples: range) -> None:
    numbers = np.arange(len(samples))
    for each in (samples, samples[::-1]):
        assert rows_at(each, numbers).tolist() == list(each)
        assert rows_at(np.array(each), numbers).tolist() == list(each)


@given(st.lists(st.integers(0, 9), min_size=1))
def test_what_samples_are_like(rows: list[int]) -> None:
    assert is_ascending(np.array(rows)) == (sorted(rows) == rows)
    assert has_copies(np.array(sorted(rows))) == (len(set(rows)) < len(rows))
    assert storage_chunks_of(np.array(rows), 4) == len({row // 4 for row in rows})


def test_an_array_longer_than_one_look() -> None:
    """The first sample of a look is compared with the last of the look before."""
    rows = np.arange(1 << 21)
    assert is_ascending(rows)
    assert not has_copies(rows)
    rows[1 << 20] -= 1
    assert has_copies(rows)
    rows[1 << 20] -= 1
    assert not is_ascending(rows)


@given(STRIDED, st.integers(1, 40))
def test_multiples_of_even_samples_cut_no_storage_chunk(samples: range, align: int) -> None:
    even = even_samples(samples, align)
    begin = next((at for at in range(len(samples)) if at and begins(samples, at, align)), None)
    if begin is None or even == 1:
        return
    assert all(begins(samples, at, align) for at in range(begin, len(samples), even))
    assert even_samples(samples[::-1], align) == even


def begins(samples: range, at: int, align: int) -> bool:
    return samples[at] // align != samples[at - 1] // align


def test_uneven_samples_have_none() -> None:
    assert even_samples(np.arange(100), 10) == 1
    assert even_samples(range(0, 100, 10), 10) == 1
    assert even_samples(range(100), 10) == 10
    assert even_samples(range(0, 100, 4), 10) == 5
