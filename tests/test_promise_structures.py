"""Exactly once for every shape of batch, and for `evaluate`, `predict` and validation."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.callbacks import CountEpochs
from helpers.files import CLASSES, WIDTH
from helpers.models import (
    CountSamples,
    WeightById,
    assert_each,
    compile_model,
    counted,
    id_model,
    mean_layer,
)
from helpers.sequences import BATCH, small

N = 90
IDS = np.arange(N)


def two_by_two_model(outputs: Any) -> Any:
    """Inputs `a` (x) and `b` (other), each counted; outputs their ids, arranged by `outputs`."""
    a, b = keras.Input((WIDTH,), name="a"), keras.Input((2,), name="b")
    of_a = mean_layer(WIDTH, "of_a")(CountSamples(name="count_a")(a))
    of_b = mean_layer(2, "of_b")(CountSamples(name="count_b")(b))
    model = keras.Model([a, b], outputs(of_a, of_b))
    compile_model(model)
    return model


def weights_by_id(metric: WeightById) -> Any:
    """What reached the step since metrics were last reset."""
    return keras.ops.convert_to_numpy(metric.sums.value)


# several inputs and outputs


@pytest.mark.parametrize("x", [{"a": "x", "b": "other"}, ("x", "other")], ids=["dict", "tuple"])
@pytest.mark.parametrize(
    ("y", "outputs"),
    [
        ({"of_a": "y", "of_b": "half"}, lambda a, b: {"of_a": a, "of_b": b}),
        (("y", "half"), lambda a, b: [a, b]),
    ],
    ids=["dict", "tuple"],
)
def test_several_inputs_and_outputs(samples: MakeSamples, x: Any, y: Any, outputs: Any) -> None:
    """The targets are the id and the id + 0.5: a loss of 0 says that all four belong together."""
    model = two_by_two_model(outputs)
    with small(samples(N), x, y) as train:
        history = model.fit(train, epochs=2, verbose=0)
    assert history.history["loss"] == [0.0] * 2
    for layer in ("count_a", "count_b"):
        assert_each(model, N, times=2, layer=layer)


def test_the_same_dataset_twice(samples: MakeSamples) -> None:
    """An autoencoder's targets are its inputs."""
    with small(samples(N), "x", "x") as train:
        for x, y in train:
            assert (x == y).all()


def test_structures_keep_their_kind(samples: MakeSamples) -> None:
    with small(samples(N), {"a": "x"}, ("y", "double"), shuffle=False) as train:
        x, y = train[1]
    assert isinstance(x, dict)
    assert list(x) == ["a"]
    assert isinstance(y, tuple)
    assert [part.shape for part in y] == [(BATCH, 1)] * 2
    assert (y[1] == 2 * y[0]).all()


def test_inputs_alone(samples: MakeSamples) -> None:
    """Without targets a batch is (x,): a bare dict or tuple would be taken for (x, y)."""
    with small(samples(N), ("x", "other"), None) as data:
        (x,) = data[0]
    assert isinstance(x, tuple)
    assert len(x) == 2


# weights


def test_sample_weights_reach_their_samples(samples: MakeSamples) -> None:
    metric, seen = WeightById(), CountEpochs()
    model = id_model(weighted_metrics=[metric])
    with small(samples(N), sample_weight="weight") as train:
        model.fit(train, epochs=2, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=2)
    found = weights_by_id(metric)
    assert (found[:N] == IDS + 1).all()
    assert not found[N:].any()


def test_class_weights_reach_their_samples(samples: MakeSamples) -> None:
    weights = {label: 10.0**label for label in range(CLASSES)}
    metric, seen = WeightById(), CountEpochs()
    model = id_model(weighted_metrics=[metric])
    with small(samples(N), y="label") as train:
        model.fit(train, epochs=2, class_weight=weights, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=2)
    expected = np.array([weights[i % CLASSES] for i in range(N)])
    assert (weights_by_id(metric)[:N] == expected).all()


# validation, evaluate, predict


@pytest.mark.parametrize("val_shuffle", [False, True])
@pytest.mark.parametrize("val_n", [N, 13, 3])
def test_validation_with_a_second_sequence(
    samples: MakeSamples, model: Any, val_n: int, val_shuffle: bool
) -> None:
    seen = CountEpochs()
    with small(samples(N)) as train, small(samples(val_n), shuffle=val_shuffle) as val:
        history = model.fit(train, validation_data=val, epochs=3, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=3)
    assert_each(model, val_n, times=3, weight="evaluated")
    assert history.history["val_loss"] == [0.0] * 3


def test_validation_out_of_the_same_file(samples: MakeSamples, model: Any) -> None:
    file = samples(N)
    with small(file, rows=(0, 60)) as train, small(file, rows=(60, N)) as val:
        model.fit(train, validation_data=val, epochs=2, verbose=0)
    assert_each(model, 60, times=2)
    found = counted(model, "evaluated")
    assert (found[60:N] == 2).all()
    assert found.sum() == 2 * (N - 60)


@pytest.mark.parametrize("epochs", [1, 3])
def test_validation_steps(samples: MakeSamples, model: Any, epochs: int) -> None:
    """Each validation takes the first 4 batches of the file, and training loses nothing."""
    seen = CountEpochs()
    with small(samples(N)) as train, small(samples(N), shuffle=False) as val:
        model.fit(
            train,
            validation_data=val,
            validation_steps=4,
            epochs=epochs,
            callbacks=[seen],
            verbose=0,
        )
    seen.assert_each_once(N, epochs)
    assert_each(model, 4 * BATCH, epochs, weight="evaluated")


def test_validating_every_second_epoch(samples: MakeSamples, model: Any) -> None:
    seen = CountEpochs()
    with small(samples(N)) as train, small(samples(13)) as val:
        model.fit(
            train, validation_data=val, validation_freq=2, epochs=4, callbacks=[seen], verbose=0
        )
    seen.assert_each_once(N, epochs=4)
    assert_each(model, 13, times=2, weight="evaluated")


@pytest.mark.parametrize("steps", [None, 23])
def test_validating_on_the_training_sequence(
    samples: MakeSamples, model: Any, steps: int | None
) -> None:
    """Two iterators take turns on one sequence."""
    seen = CountEpochs()
    with small(samples(N)) as train:
        model.fit(
            train,
            validation_data=train,
            epochs=3,
            steps_per_epoch=steps,
            callbacks=[seen],
            verbose=0,
        )
    seen.assert_each_once(N, epochs=3)
    assert_each(model, N, times=3, weight="evaluated")


def test_a_callback_that_evaluates(samples: MakeSamples, model: Any) -> None:
    """As loggers do, on the training sequence at the end of each epoch."""

    class Evaluate(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.evaluate(train, verbose=0)

    seen = CountEpochs()
    with small(samples(N)) as train:
        model.fit(train, epochs=3, callbacks=[seen, Evaluate()], verbose=0)
    seen.assert_each_once(N, epochs=3)
    assert_each(model, N, times=3, weight="evaluated")


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("n", [N, 96, 13, 3])
def test_evaluate(samples: MakeSamples, n: int, shuffle: bool) -> None:
    """Every sample once, and the metric is numpy's: `double` is off by the id."""
    model = id_model(metrics=["mae"])
    with small(samples(n), y="double", shuffle=shuffle) as data:
        for times in (1, 2):
            loss, mae = model.evaluate(data, verbose=0)
            assert_each(model, n, times, weight="evaluated")
            assert mae == pytest.approx(np.arange(n).mean())
            assert loss == pytest.approx((np.arange(n) ** 2).mean())


@pytest.mark.parametrize("y", ["y", None])
@pytest.mark.parametrize("n", [N, 96, 13, 3])
def test_predictions_line_up_with_the_file(
    samples: MakeSamples, model: Any, n: int, y: str | None
) -> None:
    with small(samples(n), y=y, shuffle=False) as data:
        for _ in range(2):
            assert model.predict(data, verbose=0)[:, 0].tolist() == list(range(n))


def test_predictions_line_up_after_a_fit(samples: MakeSamples, model: Any) -> None:
    """The sequence that was fitted, in whatever order Keras asked for its batches."""
    with small(samples(N), shuffle=False) as data:
        model.fit(data, epochs=2, shuffle=True, verbose=0)
        assert model.predict(data, verbose=0)[:, 0].tolist() == list(range(N))
        model.fit(data, steps_per_epoch=5, verbose=0)
        assert model.predict(data, verbose=0)[:, 0].tolist() == list(range(N))


@pytest.mark.parametrize("y", ["y", None])
@pytest.mark.parametrize("how", ["built", "unbuilt", "some steps"])
def test_predictions_out_of_order_are_warned_of(
    samples: MakeSamples, y: str | None, how: str
) -> None:
    """Once for a sequence, at the user's line; a fit and an evaluation are no predictions."""
    model = id_model(built=how != "unbuilt")
    steps = {"steps": 5} if how == "some steps" else {}
    with small(samples(N), y=y) as data:
        if y is not None and how == "built":
            model.fit(data, validation_data=data, verbose=0)
            model.evaluate(data, verbose=0)
        with pytest.warns(UserWarning, match="shuffle=False") as caught:
            model.predict(data, verbose=0, **steps)
        model.predict(data, verbose=0, **steps)
    ours = [warning.filename for warning in caught if warning.category is UserWarning]
    assert ours == [__file__]


def test_predictions_in_file_order_are_not_warned_of(samples: MakeSamples, model: Any) -> None:
    """Nor is a prediction of anything else in a callback of a fit."""

    class Predict(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
            self.model.predict(data, verbose=0)
            self.model.predict(np.zeros((3, WIDTH)), verbose=0)

    with small(samples(N)) as train, small(samples(N), shuffle=False) as data:
        model.fit(train, epochs=2, callbacks=[Predict()], verbose=0)


@pytest.mark.filterwarnings("ignore:predict over")
def test_everything_in_turn(samples: MakeSamples, model: Any) -> None:
    """One sequence, fitted, evaluated, predicted from and fitted again."""
    with small(samples(N)) as data:
        for turn in (1, 2):
            model.fit(data, verbose=0)
            model.evaluate(data, verbose=0)
            predicted = model.predict(data, verbose=0)[:, 0]
            assert sorted(predicted) == list(range(N))
            assert_each(model, N, times=turn)
            assert_each(model, N, times=2 * turn, weight="evaluated")
