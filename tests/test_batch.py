"""A batch: names in, structures of arrays out, and the user's transform in between."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from prefetcher.batch import Recipe
from prefetcher.errors import TransformError
from prefetcher.plan import Place

ARRAYS = {"a": np.arange(3), "b": np.arange(3) * 10, "c": np.arange(3) * 100}
HERE = Place(1, 2)


def where() -> str:
    return "batch 2"


def make(*parts: Any, transform: Callable[..., Any] | None = None) -> tuple[Any, ...]:
    return Recipe(parts, transform, seed=5).make(ARRAYS, HERE, where)


def test_one_name_a_part() -> None:
    x, y = make("a", "b")
    assert x is ARRAYS["a"]
    assert y is ARRAYS["b"]


def test_tuples_and_dicts_keep_their_shape() -> None:
    x, y = make({"left": "a", "right": ("b", "c")}, "c")
    assert x["left"] is ARRAYS["a"]
    assert x["right"] == (ARRAYS["b"], ARRAYS["c"])
    assert y is ARRAYS["c"]


def test_each_dataset_is_named_once_though_it_is_used_twice() -> None:
    assert Recipe((("a", "b"), "a")).names == ("a", "b")


def test_foreign_byte_order_is_turned_round() -> None:
    (x,) = Recipe(("a",)).make({"a": np.array([1, 2], ">f4")}, HERE, where)
    assert x.dtype.isnative
    assert x.tolist() == [1, 2]


def test_a_transform_gets_the_parts_and_may_change_their_number() -> None:
    assert make("a", transform=lambda x: (x, x + 1))[1].tolist() == [1, 2, 3]
    assert make("a", "b", transform=lambda x, y: x + y)[0].tolist() == [0, 11, 22]


def test_a_transform_with_rng_gets_the_same_numbers_for_the_same_place() -> None:
    def noise(x: Any, rng: np.random.Generator) -> Any:
        return x + rng.random(3)

    again = make("a", transform=noise)[0]
    assert make("a", transform=noise)[0].tolist() == again.tolist()
    other_place = Recipe(("a",), noise, seed=5).make(ARRAYS, Place(1, 3), where)[0]
    other_seed = Recipe(("a",), noise, seed=6).make(ARRAYS, HERE, where)[0]
    assert other_place.tolist() != again.tolist()
    assert other_seed.tolist() != again.tolist()


def test_a_transform_without_a_signature() -> None:
    assert make("a", transform=np.negative)[0].tolist() == [0, -1, -2]


def test_what_a_transform_raises_is_kept_as_the_cause() -> None:
    def broken(x: Any) -> Any:
        raise KeyError("colour")

    with pytest.raises(TransformError, match=re.escape("KeyError: 'colour' (at batch 2)")) as told:
        make("a", transform=broken)
    assert isinstance(told.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ((), "0 parts"),
        ((1, 2, 3, 4), "4 parts"),
        (np.zeros((2, 5)), "shape (2, 5) for 3 samples"),
        ((np.zeros(3), {"y": np.zeros(4)}), "shape (4,) for 3 samples"),
        (None, "did you forget `return`?"),
        ((np.zeros(3), None), "shape () for 3 samples"),
    ],
)
def test_a_result_that_is_no_batch(result: Any, says: str) -> None:
    with pytest.raises(TransformError, match=re.escape(says)):
        make("a", transform=lambda x: result)
