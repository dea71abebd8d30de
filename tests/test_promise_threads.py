"""Keras's threads around ours, and what does not travel: other processes and pickles."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import pytest
from conftest import MakeSamples
from helpers.callbacks import CountEpochs
from helpers.leaks import pipeline_threads
from helpers.models import assert_each, id_model
from helpers.sequences import ids, small

from prefetcher import PrefetchSequence, ProcessError, SettingsError

N = 90


@pytest.mark.parametrize("built", [True, False])
@pytest.mark.parametrize("shuffle_indices", [True, False])
@pytest.mark.parametrize("shuffle", [True, False])
def test_workers_of_keras(
    samples: MakeSamples, shuffle: bool, shuffle_indices: bool, built: bool
) -> None:
    model, seen = id_model(built=built), CountEpochs()
    with small(samples(N), shuffle=shuffle) as train:
        with pytest.warns(UserWarning, match="readers"):
            train.workers = 4
        model.fit(train, epochs=3, shuffle=shuffle_indices, callbacks=[seen], verbose=0)
        model.evaluate(train, verbose=0)
    seen.assert_each_once(N, epochs=3)
    assert_each(model, N, times=1, weight="evaluated")


@pytest.mark.parametrize("shuffle_indices", [True, False])
def test_threads_of_keras_around_us(
    samples: MakeSamples, model: Any, shuffle_indices: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Even where they cannot be kept away. The first fit is of arrays: in the first after
    compiling, Keras's own queue keeps batches of a stopped round and loses others for them."""
    seen = CountEpochs()
    with small(samples(N)) as train:
        model.fit(*train[0], verbose=0)
        monkeypatch.setattr(PrefetchSequence, "workers", 4)
        model.fit(train, epochs=3, shuffle=shuffle_indices, callbacks=[seen], verbose=0)
    seen.assert_each_once(N, epochs=3)


def test_predictions_line_up_with_workers_of_keras(samples: MakeSamples, model: Any) -> None:
    with small(samples(N), shuffle=False) as data:
        with pytest.warns(UserWarning, match="readers"):
            data.workers = 4
        assert model.predict(data, verbose=0)[:, 0].tolist() == list(range(N))


def test_one_worker_needs_no_warning(samples: MakeSamples) -> None:
    with small(samples(N)) as train:
        train.workers = 1
        assert train.workers == 1


def test_processes_of_keras_are_refused(samples: MakeSamples) -> None:
    with small(samples(N)) as train:
        with pytest.raises(SettingsError, match="readers"):
            train.use_multiprocessing = True
        assert not train.use_multiprocessing
        train.use_multiprocessing = False
        assert len(ids(train[0])) == 4


@pytest.mark.parametrize("running", [True, False])
@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_a_copy_is_refused(samples: MakeSamples, duplicate: Any, running: bool) -> None:
    with small(samples(N)) as train:
        if running:
            train[0]
        with pytest.raises(ProcessError, match=r"contiguous-90\.h5"):
            duplicate(train)
        assert len(ids(train[1])) == 4, "and the original goes on"


def test_nothing_starts_at_construction(samples: MakeSamples) -> None:
    with small(samples(N)) as train:
        assert len(train) == 23
        assert repr(train)
        assert not pipeline_threads()
