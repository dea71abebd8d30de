"""Promise 8: an error takes the place of its batch and reaches whoever asks, `fit` included."""

from __future__ import annotations

import itertools
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any

import h5py
import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.callbacks import CountEpochs
from helpers.files import ids_of
from helpers.leaks import open_hdf5_files, pipeline_threads
from helpers.models import id_model
from helpers.sequences import BATCH, ids, small

from prefetcher import PrefetchError, PrefetchSequence, ReadError, TransformError

N = 90
STEPS = 23
BAD_ROW = 45
BAD_BATCH = BAD_ROW // BATCH


def raised_by_fit(error: type[Exception]) -> type[Exception]:
    """What `fit` raises for our error: TensorFlow wraps it, and keeps its text."""
    if keras.backend.backend() != "tensorflow":
        return error
    import tensorflow as tf

    wrapped: type[Exception] = tf.errors.OpError
    return wrapped


class Trap:
    """A transform that goes wrong at one sample, until it is disarmed."""

    def __init__(self, wrong: Callable[[Any, Any], Any]) -> None:
        self.armed = Event()
        self.armed.set()
        self._wrong = wrong

    def __call__(self, x: Any, y: Any) -> Any:
        return self._wrong(x, y) if self.armed.is_set() and BAD_ROW in x else (x, y)


def raises_value_error(x: Any, y: Any) -> Any:
    raise ValueError("the sample is too dark")


WRONG = [
    pytest.param(raises_value_error, "ValueError: the sample is too dark", id="raises"),
    pytest.param(lambda x, y: (x[1:], y), "4 samples", id="too few x"),
    pytest.param(lambda x, y: (x, np.concatenate([y, y])), "4 samples", id="too many y"),
    pytest.param(lambda x, y: (x, {"a": y[:2]}), "4 samples", id="too few within a dict"),
    pytest.param(lambda x, y: (x, y, 1.0), "4 samples", id="weight of no sample"),
    pytest.param(lambda x, y: None, "returned", id="nothing"),
    pytest.param(lambda x, y: (x, y, y, y), "4 parts", id="too many parts"),
]


@pytest.mark.parametrize(("wrong", "says"), WRONG)
def test_a_transform_that_goes_wrong(samples: MakeSamples, wrong: Any, says: str) -> None:
    """The message names file, rows and stage; the batches around it still come, in place."""
    trap = Trap(wrong)
    with small(samples(N), transform=trap, shuffle=False, batchers=2) as train:
        for i in range(BAD_BATCH):
            assert ids(train[i]) == list(range(i * BATCH, (i + 1) * BATCH))
        with pytest.raises(TransformError, match=says) as caught:
            train[BAD_BATCH]
        for i in range(BAD_BATCH + 1, STEPS):
            assert ids(train[i])[0] == i * BATCH
        trap.armed.clear()
        assert BAD_ROW in ids(train[BAD_BATCH])
    for word in ("transform", "contiguous-90.h5", "44, 45, 46, 47"):
        assert word in str(caught.value)


def test_the_users_error_is_the_cause(samples: MakeSamples) -> None:
    with (
        small(samples(N), transform=Trap(raises_value_error)) as train,
        pytest.raises(TransformError) as caught,
    ):
        list(train)
    assert isinstance(caught.value.__cause__, ValueError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, MemoryError, StopIteration])
def test_no_error_is_lost_on_a_thread(samples: MakeSamples, error: type[BaseException]) -> None:
    """Not even one that ends a program, or an iteration, where it is raised."""

    def leave(x: Any, y: Any) -> Any:
        raise error

    with small(samples(N), transform=leave) as train, pytest.raises((PrefetchError, error)):
        train[0]


def test_errors_of_several_batchers(samples: MakeSamples) -> None:
    """Each batch has its own error, whatever the others do at the same time."""

    def never(x: Any, y: Any) -> Any:
        raise ValueError(f"sample {int(x[0, 0])}")

    with small(samples(N), transform=never, shuffle=False, readers=2, batchers=3) as train:
        for i in range(STEPS):
            with pytest.raises(TransformError, match=f"sample {i * BATCH} "):
                train[i]


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        pytest.param(raises_value_error, "ValueError: the sample is too dark", id="raises"),
        pytest.param(lambda x, y: (x[1:], y), "every array it returns must have", id="too few"),
    ],
)
def test_fit_gets_the_error_of_a_transform(
    samples: MakeSamples, model: Any, wrong: Any, says: str
) -> None:
    """And the fit after it, once the transform works, gets everything exactly once."""
    trap, seen = Trap(wrong), CountEpochs()
    with small(samples(N), transform=trap) as train:
        with pytest.raises(raised_by_fit(TransformError)) as caught:
            model.fit(train, shuffle=False, epochs=2, verbose=0)
        assert says in str(caught.value)
        assert "contiguous-90.h5" in str(caught.value)
        assert f'File "{__file__}", line ' in str(caught.value)
        trap.armed.clear()
        model.fit(train, epochs=2, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=2)


def test_fit_refuses_a_list_for_the_parts_of_a_batch(samples: MakeSamples, model: Any) -> None:
    """Keras would take it for two inputs and no target."""
    with (
        small(samples(N), transform=Trap(lambda x, y: [x, y])) as train,
        pytest.raises(raised_by_fit(TransformError), match="return a tuple"),
    ):
        model.fit(train, shuffle=False, verbose=0)


@pytest.mark.parametrize("use", ["evaluate", "predict"])
def test_evaluate_and_predict_get_the_error(samples: MakeSamples, use: str) -> None:
    model = id_model()  # on JAX, Keras leaves a model without its variables after this
    with (
        small(samples(N), shuffle=False, transform=Trap(raises_value_error)) as data,
        pytest.raises(raised_by_fit(TransformError), match="too dark"),
    ):
        getattr(model, use)(data, verbose=0)


def test_the_sequence_can_be_closed_after_an_error(samples: MakeSamples, model: Any) -> None:
    trap = Trap(raises_value_error)
    with small(samples(N), transform=trap, readers=2, batchers=2) as train:
        with pytest.raises(raised_by_fit(TransformError), match="too dark"):
            model.fit(train, shuffle=False, verbose=0)
        train.close()
        assert not pipeline_threads()
        assert not open_hdf5_files()


def test_an_error_with_nobody_to_get_it(samples: MakeSamples) -> None:
    """Read ahead, never asked for: it hurts nobody."""
    failed = Event()

    def wrong(x: Any, y: Any) -> Any:
        if ids_of(x)[0] >= 2 * BATCH:
            failed.set()
            raise ValueError("beyond what is asked for")
        return x, y

    with small(samples(N), shuffle=False, transform=wrong) as train:
        assert ids(train[0]) == [0, 1, 2, 3]
        assert failed.wait(30)
        assert ids(train[1]) == [4, 5, 6, 7]


# reading


@pytest.fixture
def damaged(samples: MakeSamples, tmp_path: Path) -> Path:
    """A compressed file with checksums whose rows 40 to 47 do not decode."""
    file = Path(shutil.copy(samples(N, "gzip"), tmp_path / "damaged.h5"))
    with h5py.File(file) as h5:
        stored = h5["x"].id.get_chunk_info_by_coord((40, 0))
    with file.open("r+b") as raw:
        raw.seek(stored.byte_offset)
        raw.write(b"\xff" * stored.size)
    return file


@pytest.fixture
def read_damaged(damaged: Path) -> PrefetchSequence:
    return small(damaged, shuffle=False, readers=2, chunk_size=8)


@pytest.mark.usefixtures("row_way")
def test_a_read_that_fails(read_damaged: PrefetchSequence) -> None:
    """The error names file, dataset and rows, comes for the rows it is about, and no others."""
    with read_damaged as train:
        for i in range(STEPS):
            if i in (10, 11):
                with pytest.raises(ReadError, match=r"rows 40 .*\bx in damaged\.h5"):
                    train[i]
            else:
                assert ids(train[i])[0] == i * BATCH


def test_fit_gets_the_error_of_a_read(read_damaged: PrefetchSequence, model: Any) -> None:
    with read_damaged as train:
        for _ in range(2):
            with pytest.raises(raised_by_fit(ReadError), match=r"damaged\.h5"):
                model.fit(train, shuffle=False, verbose=0)
    assert not pipeline_threads()
    assert not open_hdf5_files()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows removes no file that is open")
def test_a_file_that_is_removed_while_it_is_read(samples: MakeSamples, tmp_path: Path) -> None:
    """The file is open, so its samples are still there: the pass goes on to its end."""
    file = Path(shutil.copy(samples(N), tmp_path / "removed.h5"))
    with small(file, shuffle=False) as train:
        assert ids(train[0]) == [0, 1, 2, 3]
        file.unlink()
        rest = [ids(train[i]) for i in range(1, STEPS)]
    assert list(itertools.chain(*rest)) == list(range(BATCH, N))
