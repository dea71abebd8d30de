"""What the stack tells of Keras, by the real adapter of the Keras that is installed."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

from prefetcher.tickets import callers

N = 5


class Noting(keras.utils.Sequence):  # type: ignore[misc]  # keras has no types
    """Notes who called, and what."""

    def __init__(self) -> None:
        super().__init__()
        self.begun: list[callers.Asker] = []
        self.asked: list[callers.Asker | None] = []
        self.epochs: list[tuple[str, bool, str | None]] = []

    def __len__(self) -> int:
        if (asker := callers.keras_begins()) is not None:
            self.begun.append(asker)
        return N

    def __getitem__(self, index: int) -> Any:
        self.asked.append(callers.keras_asks())
        return np.zeros((2, 3)), np.zeros((2, 1))

    def on_epoch_begin(self) -> None:
        self.epochs.append(("begin", callers.keras_adapter() is not None, callers.keras_method()))

    def on_epoch_end(self) -> None:
        kind = "reset" if callers.keras_resets() else "end"
        self.epochs.append((kind, callers.keras_adapter() is not None, callers.keras_method()))


class Around(keras.utils.Sequence):  # type: ignore[misc]  # keras has no types
    """Hands on what is asked."""

    def __init__(self, inner: Any) -> None:
        super().__init__()
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        return self._fetched(index)

    def _fetched(self, index: int) -> Any:
        return self.inner[index]


def adapted(data: Any) -> Iterator[Any]:
    iterator: Iterator[Any] = PyDatasetAdapter(data, shuffle=True).get_numpy_iterator()
    return iterator


@pytest.mark.parametrize("around", [lambda data: data, Around, lambda data: Around(Around(data))])
def test_each_iterator_of_keras_has_an_identity(around: Callable[[Any], Any]) -> None:
    data = Noting()
    for _ in zip(adapted(around(data)), adapted(around(data)), strict=True):
        pass
    first, second = data.begun
    assert first != second
    assert data.asked == [first, second] * N


def test_a_base_class_that_iterates_is_an_iterator_too() -> None:
    data = Noting()
    for _ in data:
        pass
    (iterator,) = data.begun
    assert data.asked == [iterator] * N


def test_anybody_else_is_none() -> None:
    data = Noting()

    def own() -> Iterator[Any]:
        for index in range(data.num_batches):
            yield data[index]

    for _ in own():
        data[0]
    list(map(data.__getitem__, range(len(data))))
    assert data.begun == []
    assert set(data.asked) == {None}


def test_keras_own_threads_ask_as_one() -> None:
    data = Noting()
    data.workers = 3
    adapter = PyDatasetAdapter(data, shuffle=True)
    adapter.on_epoch_begin()
    for _ in adapter.get_numpy_iterator():
        pass
    adapter.on_epoch_end()
    (asker,) = set(data.asked)
    assert asker in data.begun


def model() -> Any:
    built = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    built.compile("sgd", "mse")
    return built


def test_what_draws_shapes_is_known_by_name() -> None:
    if keras.backend.backend() != "tensorflow":
        pytest.skip("only TensorFlow draws batches to learn their shapes")
    data = Noting()
    model().fit(data, verbose=0)
    assert data.asked[:2] == [callers.SHAPES] * 2
    assert callers.SHAPES not in data.asked[2:]


@pytest.mark.parametrize("method", ["fit", "evaluate", "predict"])
def test_an_epoch_is_one_of_a_method(method: str) -> None:
    data, built = Noting(), model()
    getattr(built, method)(data, verbose=0)
    assert None not in data.asked
    assert all(by_keras for _, by_keras, _ in data.epochs)
    assert {found for _, _, found in data.epochs} == {method}
    assert [kind for kind, _, _ in data.epochs][-2:] == ["begin", "end"]
    assert any(kind == "reset" for kind, _, _ in data.epochs) is (method != "predict")
    assert callers.keras_method() is None


def test_the_innermost_method_counts() -> None:
    outer, inner, built = Noting(), Noting(), model()

    class Evaluate(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.evaluate(inner, verbose=0)

    built.fit(outer, epochs=2, callbacks=[Evaluate()], verbose=0)
    assert {found for _, _, found in outer.epochs} == {"fit"}
    assert {found for _, _, found in inner.epochs} == {"evaluate"}


def test_epochs_that_a_loop_tells_of_are_not_keras() -> None:
    data = Noting()

    def fit() -> None:
        data.on_epoch_begin()
        data.on_epoch_end()

    fit()
    assert data.epochs == [("begin", False, None), ("end", False, None)]


def test_a_warning_points_at_the_users_line() -> None:
    class Warns(Noting):
        def on_epoch_begin(self) -> None:
            warnings.warn("look here", UserWarning, stacklevel=callers.user_stacklevel())

    with pytest.warns(UserWarning, match="look here") as caught:
        model().predict(Warns(), verbose=0)
    assert caught[0].filename == __file__
