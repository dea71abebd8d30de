"""Promises 5 and 9: a fit that is broken off loses nothing, and nothing is left running."""

from __future__ import annotations

import gc
import itertools
import weakref
from collections.abc import Callable
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import keras
import pytest
from conftest import MakeSamples
from helpers.callbacks import AskLength, AtBatch, CountEpochs, raises, stop
from helpers.leaks import join_pipeline_threads, open_hdf5_files, pipeline_threads
from helpers.models import id_model
from helpers.sequences import ids, passes, small
from helpers.waiting import Task, wait_for

from prefetcher import ClosedError, PrefetchSequence
from prefetcher.pipeline.stream import Feed

N = 90
STEPS = 23
KEEPS_SEQUENCES = keras.backend.backend() == "tensorflow"


class OnPurposeError(Exception):
    """Raised by a callback."""


ENDINGS = [
    pytest.param(stop, None, id="stop_training"),
    pytest.param(raises(OnPurposeError()), OnPurposeError, id="exception"),
    pytest.param(raises(KeyboardInterrupt()), KeyboardInterrupt, id="Ctrl-C"),
]


def broken_fit(
    model: Any, train: Any, ending: Callable[[Any], None], error: Any, at: int, **how: Any
) -> None:
    """A fit that comes to its ending after training batch `at` (from 0)."""
    fit = partial(model.fit, train, callbacks=[AtBatch(at, ending)], verbose=0, **how)
    if error is None:
        fit()
    else:
        with pytest.raises(error):
            fit()


# a fit that is broken off


@pytest.mark.parametrize("at", [0, 9, STEPS - 1, STEPS + 5])
@pytest.mark.parametrize(("ending", "error"), ENDINGS)
@pytest.mark.parametrize("shuffle", [True, False])
def test_a_fit_after_a_broken_fit(
    samples: MakeSamples, model: Any, shuffle: bool, ending: Any, error: Any, at: int
) -> None:
    with small(samples(N), shuffle=shuffle) as train:
        broken_fit(model, train, ending, error, at, epochs=3)
        seen = CountEpochs()
        model.fit(train, epochs=2, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=2)


@pytest.mark.parametrize("ask", [False, True], ids=["", "asking for the length"])
@pytest.mark.parametrize(("ending", "error"), ENDINGS)
def test_a_fit_after_a_broken_fit_of_short_epochs(
    samples: MakeSamples, model: Any, ending: Any, error: Any, ask: bool
) -> None:
    """The iterator that ran over several epochs is gone with the fit that made it."""
    with small(samples(96)) as train:
        watch = [AskLength(train)] if ask else []
        broken_fit(model, train, ending, error, at=14, epochs=4, steps_per_epoch=6)
        seen = CountEpochs()
        model.fit(train, epochs=8, steps_per_epoch=6, callbacks=[seen, *watch], verbose=0)
    seen.assert_each_once(96, epochs=8, epochs_per_pass=4)


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize(("ending", "error"), ENDINGS)
def test_another_model_after_a_broken_fit(
    samples: MakeSamples, model: Any, ending: Any, error: Any, built: bool
) -> None:
    with small(samples(N)) as train:
        broken_fit(model, train, ending, error, at=9)
        other, seen = id_model(built=built), CountEpochs()
        other.fit(train, epochs=2, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=2)


def test_broken_again_and_again(samples: MakeSamples, model: Any) -> None:
    with small(samples(N)) as train:
        for at in (3, 0, 17, 3):
            broken_fit(model, train, raises(OnPurposeError()), OnPurposeError, at)
        seen = CountEpochs()
        model.fit(train, epochs=2, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=2)


def test_broken_in_validation(samples: MakeSamples, model: Any) -> None:
    class Break(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_test_batch_end(self, batch: int, logs: Any = None) -> None:
            raise OnPurposeError

    with small(samples(N)) as train, small(samples(13)) as val:
        with pytest.raises(OnPurposeError):
            model.fit(train, validation_data=val, callbacks=[Break()], verbose=0)
        seen = CountEpochs()
        history = model.fit(train, validation_data=val, epochs=2, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=2)
    assert history.history["val_loss"] == [0.0] * 2


def test_early_stopping(samples: MakeSamples, model: Any) -> None:
    """The loss is 0 from the start, so training stops after the second epoch: both were whole."""
    early = keras.callbacks.EarlyStopping("loss", patience=1)
    with small(samples(N)) as train:
        seen = CountEpochs()
        model.fit(train, epochs=9, callbacks=[early, seen], verbose=0)
        seen.assert_each_once(N, epochs=2)
        again = CountEpochs()
        model.fit(train, epochs=2, callbacks=[again], verbose=0)
    again.assert_each_once(N, epochs=2)


def test_fewer_steps_than_a_pass_then_a_whole_fit(samples: MakeSamples, model: Any) -> None:
    seen = CountEpochs()
    with small(samples(N)) as train:
        model.fit(train, steps_per_epoch=5, verbose=0)
        model.fit(train, epochs=2, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=2)


# close


def test_close_in_mid_pass(samples: MakeSamples) -> None:
    train = small(samples(N), readers=2, batchers=2)
    train[0]
    assert pipeline_threads()
    train.close()
    assert not pipeline_threads(), "close() joins"
    assert not open_hdf5_files()


def test_close_twice_and_before_anything(samples: MakeSamples) -> None:
    train = small(samples(N))
    train.close()
    train.close()
    with pytest.raises(ClosedError, match=r"contiguous-90\.h5"):
        train[0]


def test_closed_for_whoever_asks(samples: MakeSamples, model: Any) -> None:
    with small(samples(N)) as train:
        train[0]
    for use in (lambda: train[1], lambda: list(train), lambda: model.fit(train, verbose=0)):
        with pytest.raises(ClosedError):
            use()
    assert len(train) == STEPS


def test_an_exception_in_the_with_block(samples: MakeSamples, model: Any) -> None:
    with pytest.raises(OnPurposeError), small(samples(N)) as train:
        model.fit(train, callbacks=[AtBatch(5, raises(OnPurposeError()))], verbose=0)
    assert not pipeline_threads()
    assert not open_hdf5_files()


def test_close_while_another_thread_waits(samples: MakeSamples) -> None:
    """Whoever waits for a batch is told at once, even while a transform is still running."""
    began, goes_on = Event(), Event()

    def slow(x: Any, y: Any) -> Any:
        began.set()
        wait_for(goes_on, "the waiting thread was told that the sequence is closed")
        return x, y

    def ask() -> str:
        try:
            train[0]
        except ClosedError:
            return "closed"
        finally:
            goes_on.set()
        return "a batch"

    train = small(samples(N), transform=slow)
    waiting = Task(ask)
    wait_for(began, "the transform runs")
    train.close()
    assert waiting.result() == "closed"
    assert not pipeline_threads()


def test_close_from_many_threads(samples: MakeSamples) -> None:
    train = small(samples(N), readers=2)
    train[0]
    for closing in [Task(train.close) for _ in range(4)]:
        closing.result()
    assert not pipeline_threads()


def test_close_while_threads_iterate(samples: MakeSamples) -> None:
    """Each of them gets ClosedError; none hangs and none gets a broken batch."""
    train = small(samples(N), readers=2, batchers=2)
    first = Event()

    def forever() -> None:
        for batch in itertools.chain.from_iterable(itertools.repeat(train)):
            ids(batch)
            first.set()

    iterating = [Task(forever) for _ in range(3)]
    wait_for(first, "a first batch")
    train.close()
    for task in iterating:
        with pytest.raises(ClosedError):
            task.result()


# without close


@pytest.mark.parametrize("asked", [1, STEPS, 2 * STEPS + 1])
def test_garbage_collection_ends_the_threads(samples: MakeSamples, asked: int) -> None:
    train = small(samples(N), readers=2, batchers=2)
    for i in range(asked):
        train[i % STEPS]
    assert pipeline_threads()
    gone = weakref.ref(train)
    del train
    gc.collect()
    assert gone() is None, "the threads hold the sequence"
    join_pipeline_threads()
    assert not open_hdf5_files()


def test_a_batch_outlives_its_sequence(samples: MakeSamples) -> None:
    train = small(samples(N), shuffle=False)
    batch = train[3]
    del train
    gc.collect()
    join_pipeline_threads()
    assert ids(batch) == [12, 13, 14, 15]


@pytest.mark.skipif(KEEPS_SEQUENCES, reason="TensorFlow never frees a sequence it was given")
@pytest.mark.parametrize("how", [{}, {"steps_per_epoch": 5}], ids=["whole", "short"])
def test_a_sequence_that_only_fit_knew(
    samples: MakeSamples, model: Any, how: dict[str, Any]
) -> None:
    model.fit(small(samples(N)), verbose=0, **how)
    gc.collect()
    join_pipeline_threads()
    assert not open_hdf5_files()


@pytest.fixture(params=[0.2, 0.0], ids=["soon", "at once"])
def impatient(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> Callable[[Path], PrefetchSequence]:
    """Makes sequences whose threads end soon, or as soon as nobody is waiting for a batch."""
    monkeypatch.setattr("prefetcher.feed.Feed", partial(Feed, idle=request.param))
    return small


def test_threads_that_nobody_asks_end_and_come_back(
    samples: MakeSamples, impatient: Callable[[Path], PrefetchSequence]
) -> None:
    expected = passes(samples(N), 2)
    with impatient(samples(N)) as train:
        for number, one_pass in enumerate(expected):
            for i in range(STEPS):
                assert ids(train[i]) == one_pass[i], f"pass {number}, position {i}"
                if i in (0, 9, 10, STEPS - 1):
                    join_pipeline_threads()
                    assert not open_hdf5_files()


def test_a_fit_whose_threads_end_between_its_epochs(
    samples: MakeSamples, model: Any, impatient: Callable[[Path], PrefetchSequence]
) -> None:
    """As in a long validation. TensorFlow never frees the sequence, and it need not."""

    class Validate(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            join_pipeline_threads()

    seen = CountEpochs()
    train = impatient(samples(N))
    model.fit(train, epochs=3, callbacks=[seen, Validate()], verbose=0)
    seen.assert_each_once(N, epochs=3)
