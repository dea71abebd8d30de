"""PrefetchSequence: an HDF5 file as a Keras dataset."""

from __future__ import annotations

import operator
import os
import threading
import warnings
import weakref
from collections.abc import Iterator, Mapping
from dataclasses import fields
from types import TracebackType
from typing import Any, NoReturn, Self, SupportsIndex

import keras
import numpy as np

from prefetcher.arguments import Groups, KeyedFiles, Names, Rows, Share, Threads, Transform, Weights
from prefetcher.balance import warning as range_warning
from prefetcher.batch import Batch
from prefetcher.columns.memory import InMemory
from prefetcher.config import DEFAULT_X, DEFAULT_Y, Settings
from prefetcher.distribution import check_of
from prefetcher.errors import DatasetError, ProcessError, RowsError, SettingsError
from prefetcher.feed import axis_advice, feed_of, mixing_advice, sharing_advice
from prefetcher.making import value_of
from prefetcher.monitor import Monitor, claimed, wait_scope
from prefetcher.naming import PARTS, leaves, read_packed, written
from prefetcher.order.plan import Plan
from prefetcher.order.shard import Shard
from prefetcher.pipeline.stats import Stats
from prefetcher.pipeline.stream import Feed, Stream
from prefetcher.remarks import Remarks
from prefetcher.sharding import process_of
from prefetcher.state import Identity
from prefetcher.tickets.askers import Askers
from prefetcher.tickets.tickets import Tickets


class PrefetchSequence(keras.utils.Sequence):  # type: ignore[misc]  # keras has no types
    """An HDF5 file as a `keras.utils.Sequence` that reads ahead in threads of its own.

    Hand it to `fit`, `evaluate` or `predict`. In every pass each sample reaches the model exactly
    once, or each draw where there are `weights`; with `shuffle=True` an index is only a ticket for
    the next batch, with `shuffle=False` ``seq[i]`` is samples ``i * batch_size`` on. No thread
    starts and no sample is read before the first request, but for a look at a few labels where
    `rows` is a range. Any thread may ask; a request blocks until its batch is there.

    Args:
        file: Path of the HDF5 file; or a pattern such as "train-*.h5", a manifest, or a list of
            paths, which are one data set in that order. Where x and y lie in different files, a
            dict of these: ``{"x": "x.h5", "y": "y-*.h5"}``. Row i of one belongs to row i of the
            others, however many files each has. Other keys stand before names:
            ``{"left": "a.h5", "right": "b.h5"}`` and ``x=("left:images", "right:images")``.
        x: The inputs: the name of a dataset; a pattern such as "data/demo_*/images", which stands
            for those of all groups that match; a column, such as `Window`; an array with a value
            for each sample, which is copied if it can be written to; or a tuple or dict of these.
            A file that was made by `prefetcher convert` knows the names of its x and y, so they
            can be left out.
        y: The same for the targets; None for predicting.
        sample_weight: The same for sample weights; None for none.
        split: A group of the file, such as "train", that x, y and sample_weight are within; what
            `prefetcher convert --split` wrote knows the names. None for the whole file.
        groups: Which of the groups that patterns stand for: the name of a dataset of names, such as
            "mask/train", or the names themselves, such as ["demo_0", "demo_7"]; None for all.
        batch_size: Samples in a batch.
        chunk_size: Samples that are read and shuffled together; rounded down to whole batches, and
            to whole storage chunks if it stays near. With `chunk_queue` it bounds the memory. None
            takes 3200, or more where storage chunks are long: as many as mix well, or as
            `chunk_queue` chunks in 256 MiB can have.
        block_size: Neighbouring rows that stay together until they are in a chunk: 1 shuffles
            fully, `chunk_size` reads in one run. None reads at full speed and mixes well.
        rows: The samples that are used, by their numbers, which are those of rows unless columns
            say otherwise: a slice, a (start, stop) pair, numbers or a boolean mask; None for all.
            `prefetcher.split` and `prefetcher.folds` give row numbers for training and validation.
        weights: How often each sample is drawn, in proportion: one number for each sample that
            `rows` names, in their order, or the name of a dataset with one for each row, which is
            read now. A pass is then as many draws as there are samples, others in each pass: with
            `w = n * weight / sum(weights)`, a sample comes `w` times on average and always fewer
            than two off it. Needs `shuffle=True`. It is not `sample_weight`, which comes with the
            batch and weighs the loss.
        balance: Name of a dataset of classes, numbers or text or one-hot rows, or of a field as in
            "events[label]": each class that the samples have is drawn as often as the others.
            Shorthand for such `weights`. The class of a window is that of the row where `y` begins.
        shuffle: False keeps the order of the file, or of `rows`.
        seed: 0 to 2**64 - 1; the same seed gives the same order, whatever the threads do.
        drop_remainder: True leaves out a last batch that is not full.
        shard: Which share of every batch this process has, where several train as one: "auto" asks
            what launched them (Ray Train, torchrun, keras.distribution, SLURM, MPI), (index, count)
            says it; None for all of it. `batch_size`, `chunk_size`, positions and `len` are those
            of all processes together, so the same script trains the same with any number of them;
            batches, `memory_bytes` and `stats` are this process's (see docs/distributed.md).
        pad_to: Fills a last batch up to a multiple of this many rows, the number of devices, by
            rows that it has already. Every batch then has sample weights: 0 for what is filled up,
            and for samples what makes the mean over all rows the mean over the samples.
        transform: Called as ``transform(x, y)`` with as many arguments as the batch has parts, on
            the batcher threads; returns x, (x, y) or (x, y, sample_weight), as a tuple. Rows of
            variable length reach it as an array of objects: an array, or bytes, each. A parameter
            named `rng` gets a `numpy.random.Generator` keyed by (seed, pass, position), and one
            named `rows` the numbers of the samples, int64 (samples,).
        readers: Threads that read and decode. "auto" begins with 1; after a pass that waited for
            them there is one more, which stays if it gains 3 %, up to the CPUs allowed, and 8.
        batchers: Threads that make batches and run `transform`, or "auto".
        chunk_queue: Chunks in memory at once.
        batch_queue: Batches kept ready.
        monitor: A `Monitor`, or the path of the log that one is to write; None for none.
        retries: Times a read is tried again after a passing I/O error.
        allow_external: True follows links and storage outside the file.
        swmr: True reads a file that another process writes in HDF5's SWMR mode (see
            docs/swmr.md): the rows that all of the datasets have at construction, as they were
            flushed. Make a new sequence for those that came later.

    Raises:
        SettingsError: A setting cannot work; the message says what to write instead.
        FileError: The file is missing, not HDF5, cut short, or open for writing elsewhere.
        DatasetError: A dataset is missing, or they differ in length, or cannot be batched.
        RowsError: `rows` names rows that are not there, or none.

    Each default's reason is told at `prefetcher.config.Settings`.
    """

    def __init__(
        self,
        file: KeyedFiles,
        x: Names = DEFAULT_X,
        y: Names | None = DEFAULT_Y,
        sample_weight: Names | None = None,
        *,
        split: str | None = None,
        groups: Groups = None,
        batch_size: int = 32,
        chunk_size: int | None = None,
        block_size: int | None = None,
        rows: Rows = None,
        weights: Weights = None,
        balance: str | None = None,
        shuffle: bool = True,
        seed: int = 0,
        drop_remainder: bool = False,
        shard: Share = None,
        pad_to: int | None = None,
        transform: Transform | None = None,
        readers: Threads = 1,
        batchers: Threads = 1,
        chunk_queue: int = 2,
        batch_queue: int = 16,
        monitor: Monitor | str | os.PathLike[str] | None = None,
        retries: int = 3,
        allow_external: bool = False,
        swmr: bool = False,
    ) -> None:
        super().__init__()
        settings = Settings(
            file=file,
            x=x,
            y=y,
            sample_weight=sample_weight,
            split=split,
            groups=groups,
            batch_size=batch_size,
            chunk_size=chunk_size,
            block_size=block_size,
            rows=rows,
            weights=weights,
            balance=balance,
            shuffle=shuffle,
            seed=seed,
            drop_remainder=drop_remainder,
            shard=shard,
            pad_to=pad_to,
            transform=transform,
            readers=readers,
            batchers=batchers,
            chunk_queue=chunk_queue,
            batch_queue=batch_queue,
            retries=retries,
            allow_external=allow_external,
            swmr=swmr,
        )
        self._settings = settings
        self._feed = feed_of(settings)
        if settings.transform is None and keras.backend.backend() == "torch":
            _refuse_uint64(self._feed)
        for of_feed in (axis_advice, mixing_advice, range_warning, sharing_advice):
            advice = of_feed(self._feed)
            if advice is not None:
                warnings.warn(advice, UserWarning, stacklevel=2)
        self._identity = Identity(self._feed)
        self._tickets = Tickets(self.plan.num_batches, in_file_order=not settings.shuffle)
        # Held while a batch is waited for, so that tickets and the stream keep the same order.
        self._turn = threading.Lock()
        self._askers = Askers(self._tickets)
        self._check_distribution = check_of(self._feed)
        self._remarks = Remarks(self._feed.where, shuffle=settings.shuffle)
        self._monitor = claimed(monitor, self.plan.shard, process_of(self.plan.shard))
        self._stream = Stream(self._feed, self._monitor, _run_info(self._feed))
        weakref.finalize(self, self._stream.abandon)

    def __len__(self) -> int:
        """Batches in a pass: ceil(samples / batch_size), or the whole ones only.

        After `load_state_dict`, until that pass has ended: those of it that are left.
        """
        self._askers.length_read()
        return len(self._tickets)

    def __getitem__(self, index: SupportsIndex) -> Batch:
        """The batch that answers a request for `index`: (x,), (x, y) or (x, y, sample_weight).

        Arrays have the dataset's dtype in native byte order and shape (samples, ...); they are the
        caller's and never change. Blocks until the batch is there; any thread may ask.

        Raises:
            RowsError: `index` is outside of -len to len - 1.
            ClosedError: The sequence was closed.
            ProcessError: This process was forked from the one that made the sequence.
            ReadError: Reading failed. Asking again tries again.
            TransformError: The transform failed.
        """
        self._stream.check()
        request = self._askers.request()
        number = self._in_range(operator.index(index), request.batches)
        with self._turn:
            batch = self._stream.get(self._askers.place(number, request))
        self._remarks.on_replays(*self._stream.replays)
        return batch

    def __iter__(self) -> Iterator[Batch]:
        """Yields every batch of a pass, from its beginning, whatever else is asked for meanwhile.

        Several iterators at once are each whole. Those that do not keep the same pace read batches
        again, so for more speed make a sequence for each.
        """
        self._stream.check()
        return self._batches()

    @property
    def num_batches(self) -> int:
        """The same as `len`; Keras reads it before it makes an iterator.

        Raises:
            SettingsError: `keras.distribution` would train on other batches than `shard` says, or
                the devices of this process cannot share a batch.
        """
        self._stream.check_process()
        self._check_distribution()
        self._tickets.num_batches_read()
        self._askers.length_read()
        return self._tickets.left

    def on_epoch_begin(self) -> None:
        """For Keras: an epoch begins."""
        self._stream.check_process()
        if self._askers.epoch_begin() == "predict":
            self._remarks.on_predict()

    def on_epoch_end(self) -> None:
        """For Keras: an epoch ended, or a fit is about to begin."""
        self._stream.check_process()
        self._askers.epoch_end()

    def state_dict(self, trained: int | None = None) -> dict[str, Any]:
        """Where training stands in the data, for JSON: below 4 KB, if batches came in order.

        The first call reads a few rows of the file, to know it again.

        Args:
            trained: Batches of this iteration that were trained, in the order of asking. None
                counts all that were handed out, which is right for a loop of your own; Keras runs
                ahead, so there count its training steps (`prefetcher.Backup` does).

        Raises:
            SettingsError: So many batches were not handed out.
            ProcessError: This process was forked from the one that made the sequence.
        """
        self._stream.check_process()
        pass_number, rest = self._tickets.after(trained)
        return self._identity.state(pass_number, rest)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Makes the next iteration go on where `state` was taken.

        Until the pass has ended, `len` is what is left of it. Keras reads that once for a whole
        fit, so a broken epoch is a fit of its own (`prefetcher.fit` sees to that). Call it while
        nobody iterates.

        Raises:
            StateError: The state is of another file, or of settings that give another order;
                readers, batchers, queues and `transform` may differ.
        """
        self._stream.check()
        self._tickets.resume(*self._identity.place(state))

    def stats(self) -> Stats:
        """A frozen snapshot of all counters. Any thread, never waits."""
        return self._stream.stats()

    def close(self) -> None:
        """Ends the threads, closes the file and waits for both. Any thread, any number of times."""
        self._stream.close()

    @property
    def monitor(self) -> Monitor | None:
        """The monitor that writes this sequence's log, if there is one."""
        return self._monitor

    @property
    def plan(self) -> Plan:
        """Which rows in which order."""
        return self._feed.plan

    @property
    def shard(self) -> Shard:
        """Which share of every batch this process has."""
        return self.plan.shard

    @property
    def memory_bytes(self) -> int:
        """The most that queues, buffers and workers hold together.

        Of rows of variable length it is an estimate, as nothing says beforehand how long they are:
        through `Padded` each counts as its `length`, otherwise as the file's bytes by its rows,
        which is at least their average. A chunk of longer ones takes more. So do pictures while
        they are decoded: some 10 bytes for each of their own pixels.

        What `transform` allocates is not in it, nor batches that the caller keeps. On TensorFlow
        the caller is tf.data, whose own buffer keeps some. JAX keeps the batches of steps that were
        dispatched and have not run yet; an evaluation can dispatch many.
        """
        return self._feed.memory_bytes

    @property
    def workers(self) -> int:
        """Keras's own threads around this sequence: always 1, as ours are inside.

        More would not only wait for ours: the queue that Keras then puts around us keeps batches of
        a round that it stopped, and loses others for them.
        """
        return 1

    @workers.setter
    def workers(self, value: int) -> None:
        if value > 1:
            warnings.warn(
                f"workers={value} is left at 1: the threads are already inside a PrefetchSequence. "
                "Write readers= and batchers= instead",
                UserWarning,
                stacklevel=2,
            )

    @property
    def use_multiprocessing(self) -> bool:
        """Always False: threads and an open file do not travel to other processes."""
        return False

    @use_multiprocessing.setter
    def use_multiprocessing(self, value: bool) -> None:
        if value:
            raise SettingsError(
                "use_multiprocessing=True: the threads are already inside a PrefetchSequence and "
                "do not travel to other processes. Leave it out and write readers= and batchers="
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __reduce__(self) -> NoReturn:
        raise ProcessError(
            f"a PrefetchSequence over {self._feed.where} cannot be pickled: its threads and its "
            "open file do not travel. A DataLoader needs num_workers=0, as the threads are inside; "
            "otherwise make one in each process, out of the same arguments"
        )

    def __repr__(self) -> str:
        plan = self.plan
        share = f", share {plan.shard}" if plan.shard.count > 1 else ""
        return (
            f"<PrefetchSequence {self._feed.where}: {plan.num_samples} samples in "
            f"{len(self)} batches of {plan.batch_size}{share}>"
        )

    def _batches(self) -> Iterator[Batch]:
        """A `for` loop, which asks through `self[index]` because a subclass may change that."""
        loop = self._askers.loop()
        for index in range(len(loop)):
            with self._askers.of_loop(loop):
                batch = self[index]
            yield batch

    def _in_range(self, index: int, batches: int) -> int:
        number = index + batches if index < 0 else index
        if not 0 <= number < batches:
            raise RowsError(f"batch {index} of {self!r}: ask for 0 to {batches - 1}")
        return number


def _refuse_uint64(feed: Feed) -> None:
    """Keras has no PyTorch dtype for it, which it says in mid-fit."""
    for part, leaf in leaves(feed.settings):
        dtype = (
            leaf.array.dtype if isinstance(leaf, InMemory) else value_of(leaf, feed.shards).dtype
        )
        if dtype.newbyteorder("=") == np.uint64:
            raise DatasetError(
                f"{part}={leaf} of {feed.shards.name} holds uint64, which Keras takes on every "
                "backend but PyTorch: pass a transform that returns int64 or float32"
            )


def _told(weights: Weights) -> str | None:
    """Weights as a log has them: not one by one."""
    return weights if weights is None or isinstance(weights, str) else f"{len(weights)} numbers"


def _run_info(feed: Feed) -> dict[str, object]:
    """What a monitor's log says of the run."""
    backend = keras.config.backend()
    # The monitor says of itself which share it watches.
    names = [field.name for field in fields(Settings) if field.name != "shard"]
    settings = {name: getattr(feed.settings, name) for name in names}
    parts = {part: written(settings[part]) for part in PARTS}
    return {
        "backend": backend,
        "wait_scope": wait_scope(backend),
        "settings": settings
        | parts
        | {"file": feed.shards.name, "rows": len(feed.plan.samples)}
        | {"weights": _told(feed.settings.weights)}
        | {"chunk_size": feed.plan.chunk_size, "block_size": feed.plan.block_size},
        "file": {
            "name": feed.shards.name,
            "bytes": feed.shards.size,
            "datasets": [f"{dataset} {dataset.way}" for dataset in feed.datasets],
            "packed": [
                {"name": name, "packing": str(packing)}
                for name, packing in read_packed(feed.settings, feed.shards).items()
            ],
        },
    }
