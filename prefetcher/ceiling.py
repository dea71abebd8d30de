"""The ceiling: a few batches from memory again and again, as fast as loading could ever be."""

from __future__ import annotations

import os
import threading
from itertools import islice
from typing import Self

import keras

from prefetcher.batch import Batch, flatten
from prefetcher.errors import ProcessError, SettingsError
from prefetcher.monitor import Monitor, claimed, wait_scope
from prefetcher.order.plan import Place
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.stats import Counters, Stats
from prefetcher.sequence import PrefetchSequence
from prefetcher.sharding import process_of


def replay(
    sequence: PrefetchSequence,
    batches: int = 32,
    *,
    monitor: Monitor | str | os.PathLike[str] | None = None,
) -> Replay:
    """A sequence of the same length that hands out the same few batches from memory.

    The pace of a fit with it is what perfect loading would reach: what a fit with `sequence` lacks
    is what loading costs. `prefetcher report LOG REPLAY_LOG` shows it. What the model learns from
    it is worth nothing.

    Args:
        sequence: Where the batches come from; it stays open, and its next pass is whole.
        batches: How many are kept. They should be more than the processor's cache holds, as a file
            is: 32 batches of pictures are 50 MB, enough for most, but servers have caches of 300.
        monitor: A `Monitor`, or the path of the log that one is to write; None for none.

    Raises:
        SettingsError: `batches` is less than 1, or the monitor is another sequence's.
    """
    if batches < 1:
        raise SettingsError(f"batches={batches}: write 1 or more, more than a cache holds")
    own = claimed(monitor, sequence.shard, process_of(sequence.shard))
    return Replay(sequence, batches, own)


class Replay(keras.utils.Sequence):  # type: ignore[misc]  # keras has no types
    """What `replay` returns. Draws its batches at the first request; any thread may ask."""

    def __init__(self, sequence: PrefetchSequence, batches: int, monitor: Monitor | None) -> None:
        super().__init__()
        self.monitor = monitor
        self._sequence = sequence
        self._count = min(batches, len(sequence))
        self._kept: list[Batch] = []
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._counters = Counters(0, 0, Meter())

    def __len__(self) -> int:
        """Batches in a pass, as many as the sequence has."""
        return len(self._sequence)

    def __getitem__(self, index: int) -> Batch:
        """One of the kept batches: of index 0, 1, 2, ... in turn.

        Raises:
            PrefetchError: At the first request, if the sequence could not be read.
            ProcessError: This is a forked process: what it gets would be counted nowhere.
        """
        if self._pid != os.getpid():
            raise ProcessError(
                f"a replay was made in process {self._pid}, and this is process {os.getpid()}, "
                "forked from it: use it there (a DataLoader needs num_workers=0)"
            )
        with self._lock:
            if not self._kept:
                self._kept = list(islice(self._sequence, self._count))
                self._start()
            self._counters.requested()
            batch = self._kept[index % self._count]
            self._deliver(batch)
        return batch

    def stats(self) -> Stats:
        """Counters as of a sequence; it has no workers and no queues."""
        return self._counters.snapshot((0, 0), (0, 0))

    def close(self) -> None:
        """Ends the monitor; the sequence stays open. Any number of times."""
        if self.monitor is not None:
            self.monitor.stop()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> None:
        if self.monitor is None:
            return
        backend = keras.config.backend()
        settings = {"replay": self._count, "batch_size": self._sequence.plan.batch_size}
        run = {"backend": backend, "wait_scope": wait_scope(backend), "settings": settings}
        counters = self._counters  # not self: a monitor's thread must not keep the batches alive
        self.monitor.start(run | {"file": {}}, lambda: counters.snapshot((0, 0), (0, 0)))

    def _deliver(self, batch: Batch) -> None:
        leaves = list(flatten(batch))
        place = Place(*divmod(self._counters.batches, len(self)))
        nbytes = sum(getattr(leaf, "nbytes", 0) for leaf in leaves)
        self._counters.delivered(place, len(leaves[0]), nbytes)
