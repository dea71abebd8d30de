"""The settings of a sequence: frozen, checked at construction, each default with its reason."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from prefetcher.arguments import (
    AUTO,
    Groups,
    KeyedFiles,
    Names,
    Rows,
    Share,
    Threads,
    Transform,
    Weights,
    checked_files,
    checked_groups,
    checked_names,
    checked_shard,
    checked_split,
    checked_weights,
    flag,
    whole_number,
)
from prefetcher.errors import SettingsError
from prefetcher.order.sizes import CHUNK_SIZE

DEFAULT_X, DEFAULT_Y = "x", "y"
"""Names that stand for those that a file was made with, should it have others."""

IDLE_SECONDS = 60.0
"""Threads end after this long without a request: longer than most validations take, so they
survive those; short enough that a sequence TensorFlow never frees gives its memory back."""


class Workers(NamedTuple):
    """How many threads each stage has."""

    readers: int
    batchers: int


@dataclass(frozen=True, slots=True)
class Settings:
    """What the user asked for.

    Attributes:
        file: The HDF5 file; or a pattern that matches several, their manifest, or a list. Their
            rows follow each other. Or a dict of these, where x and y lie in different files.
        x: Name or names of the inputs.
        y: Name or names of the targets; None for predicting.
        sample_weight: Name of the sample weights; None for equal weights.
        split: The group of the file that the names are within; None for the file itself.
        groups: Which of the groups that patterns stand for; None for all.
        batch_size: Samples in a batch. 32, as in Keras.
        chunk_size: Samples read and shuffled together. None takes
            `prefetcher.order.sizes.default_chunk_size`: 3200, which is 100 batches and 157 MB of
            128x128 colour pictures, or more where storage chunks are long, as a chunk would mix
            too few of them otherwise. A number is rounded down to whole batches, at least one.
        block_size: Neighbouring rows that stay together until they are in a chunk. None takes
            `prefetcher.order.sizes.default_block_size`: about 1 MiB, whole storage chunks, at least
            64 to a chunk.
        rows: The rows that are samples; None for all.
        weights: How often each sample is drawn, in proportion: a number for each sample that `rows`
            names, or the name of a dataset with one for each row. None for once each, so that no
            sample is lost unless asked for. Not `sample_weight`, which weighs the loss.
        balance: Name of a dataset of classes, each of which is drawn as often as the others. None
            for as often as there are samples, which is what a model is evaluated on.
        shuffle: True shuffles each pass anew; False keeps the order of the file.
        seed: 0 to 2**64 - 1. The same seed gives the same order on every machine.
        drop_remainder: True leaves out a last batch that is not full. Off, so that no sample is
            lost unless asked for.
        shard: Which share of every batch this process has, where several train as one. None for
            all of it, as most trainings have one process. "auto" asks what launched the processes.
        pad_to: A last batch is filled up to a multiple of this many rows, with rows of weight 0.
            None for no filling, which one process on one device does not need.
        transform: Changes batches on the batcher threads.
        readers: Threads that read. 1 keeps up with most models from a warm or uncompressed file;
            decoding compressed files gains from one for each spare core. "auto" begins with 1,
            adds one after a pass that waited for them, and keeps it if that gained 3 %.
        batchers: Threads that make batches, or "auto". 1 is enough without a transform.
        chunk_queue: Chunks in memory at once. 2: one is filled while one is emptied.
        batch_queue: Batches kept ready. 16 covers a hiccup of half a chunk's reading at little
            memory.
        retries: Times a read is tried again after a passing I/O error (EIO, ESTALE, ETIMEDOUT),
            0 or more. 3 outlast a network file system's hiccup.
        allow_external: True follows links and storage outside the file. Off, because a file from
            a stranger could then read whatever this user can.
        swmr: True reads a file that is written meanwhile in HDF5's SWMR mode: the rows that are
            there at construction. Off, because storage chunks are then read through h5py, one
            thread at a time, and a file that was written to is no longer noticed.
    """

    file: KeyedFiles
    x: Names = DEFAULT_X
    y: Names | None = DEFAULT_Y
    sample_weight: Names | None = None
    split: str | None = None
    groups: Groups = None
    batch_size: int = 32
    chunk_size: int | None = None
    block_size: int | None = None
    rows: Rows = None
    weights: Weights = None
    balance: str | None = None
    shuffle: bool = True
    seed: int = 0
    drop_remainder: bool = False
    shard: Share = None
    pad_to: int | None = None
    transform: Transform | None = None
    readers: Threads = 1
    batchers: Threads = 1
    chunk_queue: int = 2
    batch_queue: int = 16
    retries: int = 3
    allow_external: bool = False
    swmr: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", checked_files(self.file))
        for part in ("x", "y", "sample_weight"):
            object.__setattr__(self, part, checked_names(part, getattr(self, part)))
        object.__setattr__(self, "split", checked_split(self.split))
        object.__setattr__(self, "groups", checked_groups(self.groups))
        if self.x is None:
            raise SettingsError("x=None: name the dataset of the inputs")
        for name in ("shuffle", "drop_remainder", "allow_external", "swmr"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        _at_least_one(self, "batch_size", "a batch holds one sample or more")
        if self.chunk_size is not None:
            _at_least_one(self, "chunk_size", "a chunk holds one batch or more")
            whole = max(self.batch_size, self.chunk_size - self.chunk_size % self.batch_size)
            object.__setattr__(self, "chunk_size", whole)
        _threads(self, "readers", "somebody has to read")
        _threads(self, "batchers", "somebody has to make batches")
        _at_least_one(self, "chunk_queue", "2 lets one chunk be read while one is emptied")
        _at_least_one(self, "batch_queue", "a queue of 0 could never hold a batch")
        if whole_number("retries", self.retries) < 0:
            raise SettingsError(f"retries={self.retries}: write 0 or more")
        object.__setattr__(self, "shard", checked_shard(self.shard))
        self._check_block_size()
        self._check_padding()
        self._check_seed()
        self._check_drawing()
        if self.transform is not None and not callable(self.transform):
            raise SettingsError(
                f"transform={self.transform!r} cannot be called: pass a function of (x, y)"
            )
        if self.y is None and self.sample_weight is not None:
            raise SettingsError(
                f"sample_weight={self.sample_weight!r} without y: weights belong to targets, "
                "so name those too, or leave out sample_weight"
            )

    def workers(self, auto: int) -> Workers:
        """The threads of each stage, with `auto` of them where the user left it open."""
        readers, batchers = (auto if n == AUTO else n for n in (self.readers, self.batchers))
        return Workers(readers, batchers)

    def _check_block_size(self) -> None:
        if self.block_size is None:
            return
        _at_least_one(self, "block_size", "1 is a full shuffle; leave it out for the default")
        chunk_size = self.chunk_size or max(CHUNK_SIZE, self.batch_size)
        if self.block_size > chunk_size:
            raise SettingsError(
                f"block_size={self.block_size} is more than a chunk of {chunk_size} samples: "
                f"a chunk is made of blocks, so write block_size={chunk_size} or less"
            )

    def _check_padding(self) -> None:
        if self.pad_to is None:
            return
        _at_least_one(self, "pad_to", "it is the number of devices")
        if self.drop_remainder:
            raise SettingsError(
                f"pad_to={self.pad_to} with drop_remainder=True: no batch is short then. Leave out "
                "one of them"
            )
        if self.batch_size % self.pad_to:
            raise SettingsError(
                f"pad_to={self.pad_to} does not divide batch_size={self.batch_size}: a full batch "
                "is not filled up. Write the number of devices as pad_to, and a multiple of it as "
                "batch_size"
            )

    def _check_drawing(self) -> None:
        object.__setattr__(self, "weights", checked_weights(self.weights))
        if self.balance is not None and not isinstance(self.balance, str):
            raise SettingsError(
                f"balance={self.balance!r}: write the name of a dataset of classes; numbers of "
                "your own are weights="
            )
        if self.balance is not None and self.weights is not None:
            raise SettingsError("weights and balance both say what is drawn: leave out one")
        name = "weights" if self.weights is not None else "balance"
        if getattr(self, name) is not None and not self.shuffle:
            raise SettingsError(
                f"{name} with shuffle=False: draws have no order of the file. Leave out {name}, or "
                "shuffle=False; what weighs the loss is sample_weight="
            )

    def _check_seed(self) -> None:
        seed = whole_number("seed", self.seed)
        if not 0 <= seed < 2**64:
            raise SettingsError(f"seed={seed}: write a number from 0 to 2**64 - 1")
        object.__setattr__(self, "seed", seed)


def _at_least_one(settings: Settings, name: str, reason: str) -> None:
    value = whole_number(name, getattr(settings, name))
    if value < 1:
        raise SettingsError(f"{name}={value}: write {name}=1 or more; {reason}")
    object.__setattr__(settings, name, value)


def _threads(settings: Settings, name: str, reason: str) -> None:
    value = getattr(settings, name)
    if isinstance(value, str) and value != AUTO:
        raise SettingsError(f'{name}={value!r}: write a number of threads, or "{AUTO}"')
    if value != AUTO:
        _at_least_one(settings, name, reason)
