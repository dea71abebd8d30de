"""A batch: names in, structures of arrays out, and the user's transform in between."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from prefetcher.batch import Made, Recipe
from prefetcher.columns.column import Column, Span, View
from prefetcher.columns.memory import InMemory
from prefetcher.errors import TransformError
from prefetcher.order.plan import Place
from prefetcher.pipeline.lane import Key

ARRAYS = {"a": np.arange(3), "b": np.arange(3) * 10, "c": np.arange(3) * 100}
HERE = Place(1, 2)


def where() -> str:
    return "batch 2"


ROWS = np.array([7, 8, 9])
MADE: dict[str | Column, Made] = {name: (View(name, Span()), np.asarray) for name in ARRAYS}


def make(
    *parts: Any,
    transform: Callable[..., Any] | None = None,
    seed: int = 5,
    place: Place = HERE,
    arrays: dict[str, NDArray[Any]] = ARRAYS,
) -> tuple[Any, ...]:
    by_view: dict[Key, NDArray[Any]] = {View(name, Span()): array for name, array in arrays.items()}
    return Recipe(parts, MADE, transform, seed).make(by_view, ROWS, place, where)


def test_one_name_a_part() -> None:
    x, y = make("a", "b")
    assert x is ARRAYS["a"]
    assert y is ARRAYS["b"]


def test_tuples_and_dicts_keep_their_shape() -> None:
    x, y = make({"left": "a", "right": ("b", "c")}, "c")
    assert x["left"] is ARRAYS["a"]
    assert x["right"] == (ARRAYS["b"], ARRAYS["c"])
    assert y is ARRAYS["c"]


def test_foreign_byte_order_is_turned_round() -> None:
    (x,) = make("a", arrays={"a": np.array([1, 2], ">f4")})
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
    other_place = make("a", transform=noise, place=Place(1, 3))[0]
    other_seed = make("a", transform=noise, seed=6)[0]
    assert other_place.tolist() != again.tolist()
    assert other_seed.tolist() != again.tolist()


def test_a_transform_with_rows_gets_the_numbers_of_the_samples() -> None:
    def numbered(x: Any, y: Any, *, rows: Any) -> Any:
        return x, rows

    assert make("a", "b", transform=numbered)[1] is ROWS
    assert make("a", "b", transform=lambda x, y, rows, rng: (x, rows + rng.integers(1)))[1][0] == 7


def test_rows_are_never_the_targets() -> None:
    """A parameter of that name is no part of the batch, wherever it stands."""
    with pytest.raises(TransformError, match="multiple values for argument 'rows'"):
        make("a", "b", transform=lambda x, rows: (x, rows))


def test_what_is_in_memory_is_a_part_as_it_is() -> None:
    known = InMemory(np.arange(100))
    recipe = Recipe(("a", known), MADE)
    arrays: dict[Key, NDArray[Any]] = {View("a", Span()): ARRAYS["a"], known: np.array([7, 8, 9])}
    assert recipe.make(arrays, ROWS, HERE, where)[1].tolist() == [7, 8, 9]


def test_a_transform_without_a_signature() -> None:
    assert make("a", transform=np.negative)[0].tolist() == [0, -1, -2]


def test_what_a_transform_raises_is_kept_as_the_cause() -> None:
    def broken(x: Any) -> Any:
        raise KeyError("colour")

    with pytest.raises(TransformError, match=re.escape("KeyError: 'colour' (at batch 2)")) as told:
        make("a", transform=broken)
    assert isinstance(told.value.__cause__, KeyError)


def test_an_error_of_a_transform_names_the_users_own_line() -> None:
    """The innermost of it: numpy's frames below it are nobody's to mend."""

    def stack(x: Any) -> Any:
        return np.stack([x, x[1:]])  # this line

    def augment(x: Any) -> Any:
        return stack(x)

    with pytest.raises(TransformError) as told:
        make("a", transform=augment)
    line = stack.__code__.co_firstlineno + 1
    assert f'File "{__file__}", line {line}, in stack' in str(told.value)
    assert "return np.stack([x, x[1:]])  # this line" in str(told.value)
    assert "site-packages" not in str(told.value)


def two_arguments(x: Any, y: Any) -> Any:
    return x, y


class Augment:
    def __call__(self, x: Any, y: Any) -> Any:
        return x, y


@pytest.mark.parametrize(
    ("transform", "line"),
    [
        (two_arguments, "def two_arguments(x: Any, y: Any) -> Any:"),
        (partial(two_arguments), "def two_arguments(x: Any, y: Any) -> Any:"),
        (Augment(), "def __call__(self, x: Any, y: Any) -> Any:"),
        (lambda: None, "(lambda: None,"),
    ],
)
def test_a_transform_that_takes_another_number_of_parts_is_named(transform: Any, line: str) -> None:
    with pytest.raises(TransformError, match="argument") as told:
        make("a", transform=transform)
    assert f'File "{__file__}", line ' in str(told.value)
    assert line in str(told.value)


def test_a_wrong_result_names_the_transform() -> None:
    with pytest.raises(TransformError, match="shape") as told:
        make("a", "b", transform=lambda x, y: (x[1:], y))
    assert "lambda x, y: (x[1:], y)" in str(told.value)


def test_a_library_s_transform_is_named_itself() -> None:
    with pytest.raises(TransformError, match=r"ValueError: .*\n  File .*numpy"):
        make("a", transform=partial(np.linalg.norm, ord="none"))


def test_a_transform_without_python_code_fails_with_its_own_words() -> None:
    with pytest.raises(TransformError, match=r"TypeError: .* \(at batch 2\)$"):
        make("a", "b", transform=len)


LIST = "return a tuple (x, y)"


@pytest.mark.parametrize(
    ("result", "says"),
    [
        ([np.zeros(3), np.zeros(3)], LIST),
        ([np.zeros(3), np.zeros(3)], "([a, b],) for a model with two inputs"),
        ([[1.0], [2.0], [3.0]], LIST),
        ([np.zeros(3)], LIST),
        ({"x": np.zeros(3), "y": np.zeros(3)}, LIST),
        ({"x": np.zeros(3), "y": np.zeros(3)}, "({...},) for a model with inputs of these names"),
        ((np.zeros(3), [1.0, 2.0, 3.0]), "returned a float of shape () for 3 samples (at batch 2)"),
        (([[1], [2], [3]], np.zeros(3)), "a list stands for several arrays: np.asarray makes one"),
        (({"a": iter([1, 2, 3])}, np.zeros(3)), "returned a list_iterator of shape ()"),
        (
            (leaf for leaf in "abc"),
            "returned a generator (at batch 2): write `return`, not `yield`",
        ),
        (map(abs, [1, 2, 3]), "returned a map of shape ()"),
        ("cat", "returned a str of shape ()"),
        ((np.zeros(3), set()), "returned a set of shape ()"),
        ((np.zeros(3), []), "no array in y"),
        (({}, np.zeros(3)), "no array in x"),
    ],
)
def test_a_result_that_could_be_mistaken(result: Any, says: str) -> None:
    with pytest.raises(TransformError, match=re.escape(says)):
        make("a", "b", transform=lambda x, y: result)


def test_several_inputs_may_be_a_list_within_the_tuple() -> None:
    inputs, targets = make("a", "b", transform=lambda x, y: ([x, x + 1], y))
    assert [leaf.tolist() for leaf in inputs] == [[0, 1, 2], [1, 2, 3]]
    assert targets is ARRAYS["b"]
    named = {"x": ARRAYS["a"], "y": ARRAYS["b"]}
    assert make("a", "b", transform=lambda x, y: (named,)) == (named,)
    assert make("a", transform=lambda x: {"left": x})[0]["left"] is ARRAYS["a"]


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
