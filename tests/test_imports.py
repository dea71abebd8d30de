"""What `import prefetcher` does, and does not do."""

from __future__ import annotations

from helpers.processes import run_script

import prefetcher


def test_importing_starts_nothing() -> None:
    """Keras and its backend are imported first: what they start is theirs."""
    run_script(
        """
import os, threading
import keras, h5py, psutil
threads = set(threading.enumerate())
import prefetcher
from prefetcher import PrefetchSequence
assert set(threading.enumerate()) == threads, threading.enumerate()
assert PrefetchSequence.__mro__[1] is keras.utils.Sequence
assert keras.backend.backend() == os.environ.get("KERAS_BACKEND", keras.backend.backend())
"""
    )


def test_a_log_is_read_without_keras() -> None:
    run_script("import sys, prefetcher; prefetcher.read_log; assert 'keras' not in sys.modules")


def test_every_public_name_is_there() -> None:
    assert len(set(prefetcher.__all__)) == len(prefetcher.__all__)
    for name in prefetcher.__all__:
        assert getattr(prefetcher, name).__doc__
