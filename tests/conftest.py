"""The harness of every test: nothing may hang, and nothing may be left behind."""

from __future__ import annotations

import faulthandler
import os
import random
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from helpers.files import write_samples
from helpers.leaks import join_pipeline_threads, open_hdf5_files
from helpers.poison import poison_memory
from hypothesis import settings

TEST_LIMIT_S = 180.0
"""Seconds after which a test counts as hung: all stacks are written and the run ends."""
SLOW_TEST_LIMIT_S = 1200.0
"""The same for a test that is marked slow."""

MakeSamples = Callable[..., Path]

KERAS_WARNS_ITSELF = "ignore:__array__ implementation doesn't accept a copy:DeprecationWarning"
"""Keras 3.15 on TensorFlow and PyTorch turns a tensor into an array in NumPy 1's way."""

_stderr = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the real stderr, which pytest hides while a test runs."""
    config.stash[_stderr] = os.dup(2)
    settings.register_profile("untimed", deadline=None)  # no test depends on the machine's speed
    settings.load_profile("untimed")
    config.addinivalue_line("filterwarnings", KERAS_WARNS_ITSELF)


def pytest_unconfigure(config: pytest.Config) -> None:
    os.close(config.stash[_stderr])


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Ends a hung run with the stacks of all its threads, setting up and tearing down included."""
    limit = SLOW_TEST_LIMIT_S if item.get_closest_marker("slow") else TEST_LIMIT_S
    faulthandler.dump_traceback_later(limit, exit=True, file=item.config.stash[_stderr])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    """Fails a test that leaves a pipeline thread or an open HDF5 file."""
    before = Counter(open_hdf5_files())
    yield
    join_pipeline_threads()
    assert not Counter(open_hdf5_files()) - before, "an HDF5 file stayed open"


@pytest.fixture(autouse=True)
def poisoned(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was not read must never look as if it was: as zeros, or as the right rows of before."""
    poison_memory(monkeypatch)


@pytest.fixture(autouse=True)
def same_dice() -> None:
    """Keras draws the order of indices from `random`: a failure must come again."""
    random.seed(0)


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> MakeSamples:
    """Makes `samples(n, storage="contiguous")`: a file of n samples, written once per session."""
    folder = tmp_path_factory.mktemp("samples")

    @cache
    def make(n: int, storage: str = "contiguous") -> Path:
        return write_samples(folder / f"{storage}-{n}.h5", n, storage)

    return make


@pytest.fixture(params=["gathered", "placed"])
def row_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Runs a test for both ways that rows get to their batches, whatever size its rows have."""
    way: str = request.param
    smallest_placed = 0 if way == "placed" else 1 << 40
    monkeypatch.setattr("prefetcher.pipeline.lanes._PLACED_ROW_BYTES", smallest_placed)
    return way


@pytest.fixture(scope="session")
def _shared_model() -> Any:
    from helpers.models import id_model

    return id_model()


@pytest.fixture
def model(_shared_model: Any) -> Any:
    """A built model that counts ids (helpers.models.id_model), freshly compiled, nothing counted.

    Fresh, because the first fit after compiling draws a batch that it does not train on.
    """
    from helpers.models import compile_model

    _shared_model.get_layer("count").clear()
    compile_model(_shared_model)
    return _shared_model
