"""Promise 1: in a pass every sample reaches the training step once, however `fit` is called."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.callbacks import AskLength, CountEpochs
from helpers.files import STORAGES
from helpers.models import CAPACITY, assert_each, counted, id_model
from helpers.sequences import BATCH, small

ONE_STEP_AT_A_TIME = keras.backend.backend() == "torch"

SIZES = [
    pytest.param(96, id="whole batches and chunks"),
    pytest.param(90, id="short last batch, broken chunk"),
    pytest.param(92, id="whole batches, broken chunk"),
    pytest.param(13, id="less than a chunk"),
    pytest.param(5, id="two batches, as many as tf.data tries"),
    pytest.param(3, id="less than a batch"),
]


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("shuffle_indices", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_every_epoch_of_fit(
    samples: MakeSamples, model: Any, n: int, shuffle: bool, shuffle_indices: bool
) -> None:
    seen = CountEpochs()
    with small(samples(n), shuffle=shuffle) as train:
        history = model.fit(train, epochs=3, shuffle=shuffle_indices, callbacks=[seen], verbose=0)
    seen.assert_each_once(n, epochs=3)
    assert_each(model, n, times=3)
    assert history.history["loss"] == [0.0] * 3, "an x came with the y of another sample"


@pytest.mark.parametrize("built", [True, False])
def test_a_model_that_keras_still_has_to_build(samples: MakeSamples, built: bool) -> None:
    model, seen = id_model(built=built), CountEpochs()
    with small(samples(90)) as train:
        model.fit(train, epochs=2, callbacks=[seen], verbose=0)
    seen.assert_each_once(90, epochs=2)


@pytest.mark.parametrize(
    ("chunk_size", "block_size"),
    [(4, 1), (4, 4), (12, 5), (16, 3), (50, 7), (50, 16), (3200, 1), (3200, None)],
)
def test_any_blocks_and_chunks(
    samples: MakeSamples, model: Any, chunk_size: int, block_size: int | None
) -> None:
    with small(samples(90), chunk_size=chunk_size, block_size=block_size) as train:
        model.fit(train, epochs=2, verbose=0)
    assert_each(model, 90, times=2)


@pytest.mark.usefixtures("row_way")
@pytest.mark.parametrize("storage", STORAGES)
def test_any_storage(samples: MakeSamples, model: Any, storage: str) -> None:
    with small(samples(90, storage), readers=2, batchers=2) as train:
        history = model.fit(train, epochs=2, verbose=0)
    assert_each(model, 90, times=2)
    assert history.history["loss"] == [0.0] * 2


@pytest.mark.parametrize("ask", [False, True], ids=["", "asking for the length"])
@pytest.mark.parametrize(
    ("n", "batch", "steps", "passes"),
    [
        pytest.param(96, 4, 6, 2, id="a quarter pass each"),
        pytest.param(96, 4, 1, 1, id="one step each"),
        pytest.param(90, 4, 23, 3, id="exactly a pass each"),
        pytest.param(96, 1, 8, 2, id="longer than tf.data runs ahead"),
    ],
)
def test_epochs_of_a_few_steps_share_a_pass(
    samples: MakeSamples, model: Any, n: int, batch: int, steps: int, passes: int, ask: bool
) -> None:
    seen = CountEpochs()
    epochs_per_pass = math.ceil(n / batch) // steps
    epochs = passes * epochs_per_pass
    with small(samples(n), batch_size=batch) as train:
        watchers = [seen, AskLength(train)] if ask else [seen]
        model.fit(train, epochs=epochs, steps_per_epoch=steps, callbacks=watchers, verbose=0)
    seen.assert_each_once(n, epochs, epochs_per_pass)


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_steps_that_do_not_divide_a_pass(samples: MakeSamples, model: Any) -> None:
    """Keras cuts the epoch in which the data end: 24 batches make epochs of 10, 10 and 4."""
    seen = CountEpochs()
    with small(samples(96)) as train:
        model.fit(train, epochs=6, steps_per_epoch=10, callbacks=[seen], verbose=0)
    assert [int(c.sum()) // BATCH for c in seen.epochs] == [10, 10, 4] * 2
    seen.assert_each_once(96, epochs=6, epochs_per_pass=3)


@pytest.mark.parametrize("shuffle_indices", [True, False])
def test_callbacks_that_ask_for_the_length(
    samples: MakeSamples, model: Any, shuffle_indices: bool
) -> None:
    seen = CountEpochs()
    with small(samples(90)) as train, small(samples(13)) as val:
        ask = [AskLength(train), AskLength(val)]
        model.fit(
            train,
            validation_data=val,
            epochs=3,
            shuffle=shuffle_indices,
            callbacks=[seen, *ask],
            verbose=0,
        )
    assert all(a.asked > 2 * 3 * len(train) for a in ask)
    seen.assert_each_once(90, epochs=3)
    assert_each(model, 13, times=3, weight="evaluated")


@pytest.mark.skipif(ONE_STEP_AT_A_TIME, reason="Keras refuses steps_per_execution > 1 on PyTorch")
@pytest.mark.parametrize("n", [96, 16])
def test_several_steps_per_execution(samples: MakeSamples, n: int) -> None:
    model, seen = id_model(steps_per_execution=4), CountEpochs()
    with small(samples(n)) as train:
        model.fit(train, epochs=3, callbacks=[seen], verbose=0)
    seen.assert_each_once(n, epochs=3)


def test_two_fits_in_a_row(samples: MakeSamples, model: Any) -> None:
    with small(samples(90)) as train:
        for fits in (1, 2):
            model.fit(train, epochs=2, verbose=0)
            assert_each(model, 90, times=2 * fits)


def test_one_sequence_for_two_models(samples: MakeSamples, model: Any) -> None:
    other = id_model()
    with small(samples(90)) as train:
        model.fit(train, verbose=0)
        other.fit(train, verbose=0)
    assert_each(model, 90, times=1)
    assert_each(other, 90, times=1)


def test_dropping_the_remainder(samples: MakeSamples, model: Any) -> None:
    """The samples that are left over are others in each pass."""
    seen = CountEpochs()
    with small(samples(90), drop_remainder=True) as train:
        assert len(train) == 90 // BATCH
        model.fit(train, epochs=4, callbacks=[seen], verbose=0)
    left = [frozenset(np.flatnonzero(c[:90] == 0)) for c in seen.epochs]
    assert all(int(c.sum()) == 88 and c.max() == 1 for c in seen.epochs)
    assert len(set(left)) > 1


@pytest.mark.parametrize(
    "rows", [slice(10, 60, 3), (20, 70), np.array([5, 80, 2, 33, 34, 35, 89])], ids=str
)
def test_only_the_rows_asked_for(samples: MakeSamples, model: Any, rows: Any) -> None:
    chosen = np.arange(90)[slice(*rows) if isinstance(rows, tuple) else rows]
    expected = np.zeros(CAPACITY, np.int64)
    expected[chosen] = 2
    with small(samples(90), rows=rows) as train:
        assert len(train) == math.ceil(len(chosen) / BATCH)
        model.fit(train, epochs=2, verbose=0)
    assert (counted(model) == expected).all()


@pytest.mark.parametrize("n", [96, 90, 13, 4, 3, 1])
def test_length(samples: MakeSamples, n: int) -> None:
    with small(samples(n)) as train:
        assert len(train) == train.num_batches == math.ceil(n / BATCH)
