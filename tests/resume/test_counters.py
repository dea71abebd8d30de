"""What a callback counts is saved and put back; what it was told to do is not."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from prefetcher.errors import StateError
from prefetcher.resume.counters import Counters, freeze, thaw


class Callback:
    """As Keras's callbacks are written."""

    def __init__(self, patience: int = 3, path: str = "a") -> None:
        self.patience = patience
        self.path = path
        self.where = f"{path}/log"
        self.wait = 0
        self.best: float | None = None
        self.weights: Any = None
        self.compare: Any = None


def moved(source: Callback, to: Callback) -> Callback:
    """Trains `source`, saves it through JSON and puts it back into `to`."""
    counters = Counters([source])
    source.wait, source.best, source.compare = 2, float("inf"), max
    source.weights = [np.arange(3), {"b": np.float32(1.5), "c": (1, True)}]
    source.patience = -source.patience
    frozen, arrays = counters.freeze()
    Counters([to]).thaw(json.loads(json.dumps(frozen)), arrays)
    return to


def test_counters_come_back() -> None:
    callback = moved(Callback(), Callback())
    assert (callback.wait, callback.best) == (2, float("inf"))
    np.testing.assert_array_equal(callback.weights[0], np.arange(3))
    assert callback.weights[1] == {"b": np.float32(1.5), "c": [1, True]}


def test_settings_stay_as_they_are_written_now() -> None:
    callback = moved(Callback(), Callback(patience=9, path="b"))
    assert (callback.patience, callback.path) == (9, "b")
    assert callback.where == "b/log", "it did not change while training, so it is no counter"
    assert callback.compare is None, "a function cannot be saved"


def test_callbacks_of_one_class_are_told_apart_and_others_passed_over() -> None:
    before = [Callback(), Callback()]
    counters = Counters(before)
    before[1].wait = 5
    frozen, arrays = counters.freeze()
    after = [Callback(), Callback()]
    Counters(after).thaw(frozen, arrays)
    assert [callback.wait for callback in after] == [0, 5]
    Counters([object]).thaw(frozen, arrays)


def test_only_what_the_callback_itself_counts_is_put_back() -> None:
    """A backup from a stranger may name any attribute."""
    callback = Callback(path="mine")
    counters = Counters([callback])
    told = {"path": 1, "where": 2, "wait": 7, "on_epoch_end": 3, "__class__": 4, "weights": [5]}
    counters.thaw({"Callback.0": told}, {})
    assert vars(callback) == vars(Callback(path="mine")) | {"wait": 7, "weights": [5]}


def test_texts_are_settings_because_they_may_be_paths() -> None:
    before, after = Callback(), Callback()
    counters = Counters([before])
    before.where, before.weights, before.wait = "elsewhere", ["elsewhere"], 5
    frozen, arrays = counters.freeze()
    assert frozen == {"Callback.0": {"wait": 5}}
    Counters([after]).thaw(frozen, arrays)
    assert (after.where, after.wait) == ("a/log", 5)


@pytest.mark.parametrize(
    "value",
    ["text", ["text"], {}, {"array": "gone"}, {"array": 1}, {"dict": 1}, {"dict": {"a": "text"}},
     {"array": "text"}],
)  # fmt: skip
def test_what_freeze_did_not_make_is_no_state(value: Any) -> None:
    with pytest.raises(StateError, match="where a number or an array should be"):
        Counters([Callback()]).thaw({"Callback.0": {"wait": value}}, {"text": np.array("text")})


def test_a_frozen_array_is_a_copy() -> None:
    values = np.zeros(3)
    arrays: dict[str, Any] = {}
    frozen = freeze(values, "values", arrays)
    values[:] = 1
    np.testing.assert_array_equal(thaw(frozen, arrays), np.zeros(3))
