"""Promises 1, 2 and 5 where several ask one sequence: loops after a fit, within it, in turns."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable
from typing import Any

import keras
import pytest
from conftest import MakeSamples
from helpers.callbacks import AtBatch, Call, CountEpochs, raises
from helpers.models import assert_each
from helpers.sequences import BATCH, ids, passes, small

from prefetcher import PrefetchSequence

N = 90
STEPS = 23
ON_TENSORFLOW = keras.backend.backend() == "tensorflow"


class BrokenOffError(Exception):
    """Raised by a callback."""


def by_index(sequence: Any) -> list[int]:
    return [i for index in range(len(sequence)) for i in ids(sequence[index])]


def by_for(sequence: Any) -> list[int]:
    return [i for batch in sequence for i in ids(batch)]


LOOPS = pytest.mark.parametrize("loop", [by_index, by_for])


def assert_whole_and_different(loops: Iterable[list[int]]) -> None:
    """Each loop had each sample once, and no two had the same order."""
    orders = list(loops)
    assert [sorted(order) for order in orders] == [list(range(N))] * len(orders)
    assert all(one != other for one, other in itertools.combinations(orders, 2))


# loops after a fit


@LOOPS
@pytest.mark.filterwarnings("ignore:Your input ran out of data")
@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("epochs", [1, 3])
@pytest.mark.parametrize("steps", [1, 5, STEPS - 1, STEPS])
def test_loops_after_a_fit_of_short_epochs(
    samples: MakeSamples, model: Any, steps: int, epochs: int, batch: int, loop: Any
) -> None:
    """Batches of one sample make a pass that is longer than tf.data runs ahead."""
    with small(samples(N), batch_size=batch) as train:
        model.fit(train, steps_per_epoch=steps, epochs=epochs, verbose=0)
        assert_whole_and_different(loop(train) for _ in range(3))


@LOOPS
@pytest.mark.parametrize("at", [0, 9, STEPS - 1])
def test_loops_after_a_fit_that_was_broken_off(
    samples: MakeSamples, model: Any, at: int, loop: Any
) -> None:
    """An abandoned iterator of tf.data may still ask meanwhile."""
    breaking = AtBatch(at, raises(BrokenOffError()))
    with small(samples(N)) as train:
        with pytest.raises(BrokenOffError):
            model.fit(train, callbacks=[breaking], verbose=0)
        assert_whole_and_different(loop(train) for _ in range(3))
        model.fit(train, verbose=0)
        assert_whole_and_different(loop(train) for _ in range(2))


@LOOPS
@pytest.mark.filterwarnings("ignore:predict over")
def test_loops_between_fits_evaluations_and_predictions(
    samples: MakeSamples, model: Any, loop: Any
) -> None:
    seen = CountEpochs()
    with small(samples(N)) as train:
        orders = []
        for _ in range(2):
            model.evaluate(train, steps=3, verbose=0)
            orders.append(loop(train))
            model.predict(train, steps=4, verbose=0)
            orders.append(loop(train))
            model.fit(train, callbacks=[seen], verbose=0)
            orders.append(loop(train))
    assert_whole_and_different(orders)
    seen.assert_each_once(N, epochs=2)


# callbacks that ask


@LOOPS
@pytest.mark.parametrize("when", ["batches", "epochs", "both"])
@pytest.mark.parametrize("steps", [5, 23])
def test_a_callback_that_loops_over_all(
    samples: MakeSamples, model: Any, steps: int, when: str, loop: Any
) -> None:
    """Neither it nor the fit loses a sample, in short epochs whose iterator goes on meanwhile."""
    n, epochs = (N, 3) if steps == STEPS else (80, 8)
    seen, orders = CountEpochs(), list[list[int]]()
    with small(samples(n)) as train:
        look = Call(lambda: orders.append(loop(train)), when)
        how: dict[str, Any] = {"steps_per_epoch": steps, "epochs": epochs}
        model.fit(train, callbacks=[seen, look], verbose=0, **how)
        orders.append(loop(train))
    seen.assert_each_once(n, epochs, epochs_per_pass=-(-(n // BATCH) // steps))
    assert all(sorted(order) == list(range(n)) for order in orders)


@pytest.mark.parametrize("steps", [None, 5])
@pytest.mark.parametrize("when", ["batches", "epochs"])
def test_a_callback_that_looks_at_single_batches(
    samples: MakeSamples, model: Any, when: str, steps: int | None
) -> None:
    seen, dice = CountEpochs(), random.Random(1)
    with small(samples(80)) as train:
        look = Call(lambda: train[dice.randrange(len(train))], when)
        model.fit(train, epochs=8, steps_per_epoch=steps, callbacks=[seen, look], verbose=0)
        loops = [by_index(train) for _ in range(2)]
    seen.assert_each_once(80, epochs=8, epochs_per_pass=1 if steps is None else 4)
    assert all(sorted(loop) == list(range(80)) for loop in loops)


@pytest.mark.parametrize("steps", [None, 5])
def test_a_callback_that_evaluates_in_mid_epoch(
    samples: MakeSamples, model: Any, steps: int | None
) -> None:
    """On the very sequence that is being trained."""
    seen, batches = CountEpochs(), list[int]()

    class Evaluate(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            batches.append(batch)
            if batch % 3 == 1:
                self.model.evaluate(train, verbose=0)

    with small(samples(80)) as train:
        model.fit(train, epochs=4, steps_per_epoch=steps, callbacks=[seen, Evaluate()], verbose=0)
    seen.assert_each_once(80, epochs=4, epochs_per_pass=1 if steps is None else 4)
    evaluations = sum(batch % 3 == 1 for batch in batches)
    assert_each(model, 80, times=evaluations, weight="evaluated")


# sequences around ours


class Around(keras.utils.Sequence):  # type: ignore[misc]  # keras has no types
    """Somebody's own sequence, which takes its batches from ours and knows its own length."""

    def __init__(self, inner: PrefetchSequence) -> None:
        super().__init__()
        self.inner = inner

    def __len__(self) -> int:
        return len(self.inner)

    def __getitem__(self, index: int) -> Any:
        return self.inner[index]


class AroundFixed(Around):
    """The same, without asking ours for its length, and with the calls around epochs."""

    def __len__(self) -> int:
        return STEPS

    def on_epoch_begin(self) -> None:
        self.inner.on_epoch_begin()

    def on_epoch_end(self) -> None:
        self.inner.on_epoch_end()


@pytest.mark.parametrize("wrapped", [Around, AroundFixed])
@pytest.mark.parametrize("shuffle_indices", [True, False])
def test_a_sequence_around_ours(
    samples: MakeSamples, model: Any, wrapped: type[Around], shuffle_indices: bool
) -> None:
    seen = CountEpochs()
    with small(samples(N)) as inner:
        train = wrapped(inner)
        model.fit(train, steps_per_epoch=5, shuffle=shuffle_indices, verbose=0)
        model.fit(train, epochs=3, shuffle=shuffle_indices, callbacks=[seen], verbose=0)
        assert_whole_and_different(by_for(train) for _ in range(2))
    seen.assert_each_once(N, epochs=3)


def test_a_subclass_that_changes_its_batches(samples: MakeSamples) -> None:
    """It changes them in a loop too, whole, and whatever else it asks for."""

    class Doubled(PrefetchSequence):
        def __getitem__(self, index: Any) -> Any:
            super().__getitem__(0)
            x, y = super().__getitem__(index)
            return 2 * x, 2 * y

    with Doubled(samples(N), "x", "y", batch_size=BATCH) as train:
        for _ in range(2):
            assert sorted(by_for(train)) == list(range(0, 2 * N, 2))


# iterators that take turns


@pytest.mark.parametrize("shuffle", [True, False])
def test_two_for_loops_that_take_turns(samples: MakeSamples, shuffle: bool) -> None:
    expected = passes(samples(N), 2, shuffle=shuffle)
    with small(samples(N), shuffle=shuffle) as train:
        for one_pass in expected:
            pairs = [(ids(one), ids(other)) for one, other in zip(train, train, strict=True)]
            assert pairs == [(batch, batch) for batch in one_pass]


def test_two_for_loops_at_their_own_pace(samples: MakeSamples) -> None:
    with small(samples(N)) as train:
        first, second = iter(train), iter(train)
        orders: list[list[int]] = [[], []]
        for batch in itertools.islice(first, 9):
            orders[0] += ids(batch)
        for one, other in zip(first, second, strict=False):
            orders[0] += ids(one)
            orders[1] += ids(other)
        for batch in second:
            orders[1] += ids(batch)
    assert [sorted(order) for order in orders] == [list(range(N))] * 2


def test_a_loop_within_a_loop(samples: MakeSamples) -> None:
    with small(samples(22)) as train:
        outer, inner = [], []
        for batch in train:
            outer += ids(batch)
            inner.append(by_for(train))
            inner.append(by_index(train))
    assert sorted(outer) == list(range(22))
    assert [sorted(order) for order in inner] == [list(range(22))] * len(inner)


def test_two_plain_loops_that_take_turns(samples: MakeSamples) -> None:
    """The same index twice is the same batch again."""
    expected = passes(samples(N), 2)
    with small(samples(N)) as train:
        for one_pass in expected:
            for index, batch in enumerate(one_pass):
                assert ids(train[index]) == batch
                assert ids(train[index]) == batch


def test_iterators_that_take_turns_are_remarked_on(
    samples: MakeSamples, caplog: pytest.LogCaptureFixture
) -> None:
    """Once: all but one of them read each batch on its own."""
    with small(samples(N), batch_size=1) as train:
        for _ in range(3):
            for _one, _other in zip(train, train, strict=True):
                pass
    assert [record.message.count("each iterator") for record in caplog.records] == [1]


def test_many_fits_and_evaluations_are_not_remarked_on(
    samples: MakeSamples, model: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """TensorFlow draws two batches twice for each of them."""
    with small(samples(80)) as train:
        for _ in range(60):
            model.evaluate(train, verbose=0)
    assert not caplog.records


@pytest.mark.skipif(not ON_TENSORFLOW, reason="tf.data comes with TensorFlow")
def test_tf_data_takes_turns(samples: MakeSamples) -> None:
    import tensorflow as tf

    spec = (tf.TensorSpec((None, 4)), tf.TensorSpec((None, 1)))
    with small(samples(N)) as train:
        data = tf.data.Dataset.from_generator(lambda: iter(train), output_signature=spec)
        for _ in range(2):
            pairs = list(tf.data.Dataset.zip(data, data.prefetch(3)).as_numpy_iterator())
            for side in (0, 1):
                assert sorted(i for pair in pairs for i in ids(pair[side])) == list(range(N))


@pytest.mark.skipif(not ON_TENSORFLOW, reason="tf.data comes with TensorFlow")
def test_keras_adapters_of_one_sequence_take_turns(samples: MakeSamples) -> None:
    import tensorflow as tf
    from keras.src.trainers.data_adapters.py_dataset_adapter import PyDatasetAdapter

    with small(samples(N)) as train:
        data = [PyDatasetAdapter(train, shuffle=True).get_tf_dataset() for _ in range(2)]
        for _ in range(2):
            pairs = list(tf.data.Dataset.zip(*data).as_numpy_iterator())
            for side in (0, 1):
                assert sorted(i for pair in pairs for i in ids(pair[side])) == list(range(N))
