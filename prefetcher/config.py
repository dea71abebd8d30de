"""The settings of a sequence: frozen, checked at construction, each default with its reason."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from typing import Any, Final, Literal, NamedTuple, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.column import Column
from prefetcher.columns.memory import InMemory, check_unmasked
from prefetcher.errors import RowsError, SettingsError
from prefetcher.order.shard import Shard
from prefetcher.order.sizes import CHUNK_SIZE

File = str | os.PathLike[str]
Files = File | Iterable[File]
"""A path, a pattern such as "train-*.h5", a manifest, or a list of these in order of their rows."""

KeyedFiles = Files | Mapping[str, Files]
"""The same; or such for x, y and sample_weight each, or for keys of names, as in "key:name"."""

Names = str | Column | InMemory | NDArray[Any] | tuple["Names", ...] | dict[str, "Names"]
"""A dataset's name, a column or an array; or a tuple or dict of these, for several inputs or
outputs."""

_KEY = re.compile(r"[\w.-]+")

Groups = str | Sequence[str] | None
"""Which groups of a pattern: the name of a dataset of their names, or these names, or all."""

Rows = slice | tuple[int, int] | Sequence[int] | NDArray[Any] | None
"""Which rows to use: a slice, a (start, stop) pair, an index array, a boolean mask, or all.

A list of two numbers is refused, because it could be either of two.
"""

Weights = str | Sequence[float] | NDArray[Any] | None
"""How often samples are drawn: a number for each sample, or the name of a dataset of them."""

Threads = int | Literal["auto"]
"""How many threads of a kind: a number, or "auto" for as many as bring something."""

AUTO: Final = "auto"

Share = Shard | tuple[int, int] | Literal["auto"] | None
"""Which share of each batch: (index, count), what the launcher of the processes says, or all."""

Transform = Callable[..., Any]
"""Called as ``transform(x, y)`` with as many arguments as the batch has parts, on a batcher."""

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
            object.__setattr__(self, part, _names(part, getattr(self, part)))
        object.__setattr__(self, "split", _split(self.split))
        object.__setattr__(self, "groups", _groups(self.groups))
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
        if _integer("retries", self.retries) < 0:
            raise SettingsError(f"retries={self.retries}: write 0 or more")
        object.__setattr__(self, "shard", _share(self.shard))
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
        object.__setattr__(self, "weights", _weights(self.weights))
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
        seed = _integer("seed", self.seed)
        if not 0 <= seed < 2**64:
            raise SettingsError(f"seed={seed}: write a number from 0 to 2**64 - 1")
        object.__setattr__(self, "seed", seed)


def checked_files(file: Any) -> KeyedFiles:
    """The same path, pattern or manifest, or a tuple of them; or a dict of these.

    Raises:
        SettingsError: It is something else, such as an open file: the threads open it themselves.
    """
    if not isinstance(file, Mapping):
        return _files(file, "file={}")
    for key in file:
        if not isinstance(key, str) or not _KEY.fullmatch(key):
            raise SettingsError(
                f"file={{{key!r}: ...}}: the keys are 'x', 'y' and 'sample_weight', or words that "
                "names then begin with, as in x='camera:images'"
            )
    if not file:
        raise SettingsError("file={}: name the files of x and y, as in {'x': 'x.h5', 'y': 'y.h5'}")
    return {key: _files(files, f"file={{{{{key!r}: {{}}}}}}") for key, files in file.items()}


def _files(file: Any, what: str) -> Files:
    """The files of one key. `what` shows a value as it was written."""
    if isinstance(file, str | os.PathLike):
        return file
    opened = next(filter(None, map(_opened_path, file if isinstance(file, list) else [file])), None)
    if opened is not None:
        raise SettingsError(f"{what.format(repr(file))} is open: pass its path, {opened!r}")
    # Neither a set, which has another order in each process, nor the keys of a dict.
    ordered = isinstance(file, Iterable) and not isinstance(file, AbstractSet | Mapping | bytes)
    paths = tuple(file) if ordered else ()
    if not ordered or not all(isinstance(path, str | os.PathLike) for path in paths):
        deeper = (
            ". Files of single inputs have keys of their own: file={'left': ..., 'right': ...}, "
            "x=('left:images', 'right:images')"
            if isinstance(file, Mapping)
            else ""
        )
        raise SettingsError(
            f"{what.format(repr(file))}: write a path, a pattern such as 'train-*.h5', a manifest, "
            f"or a list of these{deeper}"
        )
    return paths


def _opened_path(file: Any) -> str | None:
    """The path of an open HDF5 or other file, None for what is none."""
    if isinstance(file, str | os.PathLike):
        return None
    names = (getattr(getattr(file, "file", file), "filename", None), getattr(file, "name", None))
    return next((name for name in names if isinstance(name, str)), None)


def normal_path(name: str) -> str:
    """A path within a file as all of this package writes it: "a/b" for "/a//./b".

    HDF5 skips empty parts and "."; ".." has no meaning to it.
    """
    return "/".join(part for part in name.split("/") if part not in ("", "."))


def _names(part: str, names: Any) -> Names | None:
    """The same as strings, columns, `InMemory`, tuples and dicts, without leading slashes."""
    if names is None or isinstance(names, InMemory):
        return names
    if isinstance(names, str):
        return normal_path(names)
    if isinstance(names, Column):
        return names.renamed(normal_path)
    if hasattr(names, "__array__") and not hasattr(names, "file"):  # which h5py's datasets have
        return _in_memory(part, names)
    if isinstance(names, dict) and names:
        return {key: _name_in(part, name) for key, name in names.items()}
    if isinstance(names, range) or (isinstance(names, tuple | list) and _are_numbers(names)):
        raise SettingsError(
            f"{part} is a {type(names).__name__} of {len(names)} numbers: pass an array of them, "
            f"{part}=np.array(...)"
        )
    if isinstance(names, tuple | list) and names:
        return tuple(_name_in(part, name) for name in names)
    if isinstance(name := getattr(names, "name", None), str):
        raise SettingsError(f"{part}={names!r}: pass its name, {part}={name.strip('/')!r}")
    raise SettingsError(
        f"{part}={names!r}: expected a dataset's name, a column or an array, or a tuple or dict of "
        "these"
    )


def _are_numbers(values: Sequence[Any]) -> bool:
    return bool(values) and all(isinstance(each, int | float | np.number) for each in values)


def _in_memory(part: str, values: Any) -> InMemory:
    check_unmasked(
        part, values, "pass its filled(value); to leave samples out, give their numbers to rows="
    )
    array = np.asarray(values)
    if not array.ndim or array.dtype.hasobject:
        raise SettingsError(
            f"{part} is an array {array.dtype} {array.shape}: pass one with a number, or an array "
            "of numbers, for each sample"
        )
    return InMemory(array)


def _weights(weights: Any) -> Weights:
    """The same name, or the same numbers as float64."""
    if weights is None or isinstance(weights, str):
        return weights
    check_unmasked("weights", weights, "pass its filled(0) to draw those samples never")
    try:
        numbers = np.asarray(weights)
        if numbers.ndim == 1 and numbers.dtype.kind in "biuf":
            return numbers.astype(np.float64)
        found = f"{numbers.dtype} of shape {numbers.shape}"
    except ValueError:
        found = "lists of different lengths"
    raise SettingsError(
        f"weights is {found}: pass a number for each sample, how often it is drawn, or the name of "
        "a dataset of them"
    )


def _groups(groups: Any) -> Groups:
    if groups is None or (isinstance(groups, str) and normal_path(groups)):
        return groups and normal_path(groups)
    names = tuple(groups) if isinstance(groups, list | tuple | np.ndarray) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise SettingsError(
            f"groups={groups!r}: write the name of a dataset of names, as 'mask/train', or a list "
            "of the groups' own names, as 'demo_0'"
        )
    return tuple(map(str, names))


def _share(shard: Any) -> Share:
    """The same as a `Shard`, "auto" or None."""
    if shard is None:
        return None
    if isinstance(shard, str) and shard == AUTO:
        return AUTO
    given = (shard.index, shard.count) if isinstance(shard, Shard) else shard
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise SettingsError(
            f'shard={shard!r}: write (index, count), "auto" for what launched the processes, or '
            "None for all of the data"
        )
    index, count = (_integer("shard", number) for number in given)
    if not 0 <= index < count:
        raise SettingsError(
            f"shard=({index}, {count}): write this process's number, from 0 to "
            f"{max(count, 1) - 1}, and how many there are"
        )
    return Shard(index, count)


def _split(name: Any) -> str | None:
    if name is None:
        return None
    if not isinstance(name, str) or not normal_path(name):
        raise SettingsError(f"split={name!r}: write the name of a group of the file, as in 'train'")
    return normal_path(name)


def _name_in(part: str, names: Any) -> Names:
    name = _names(part, names)
    if name is None:
        raise SettingsError(f"{part} holds None: every entry must be a dataset's name")
    return name


def flag(name: str, value: object) -> bool:
    """The value of a setting that is True or False, numpy's booleans included.

    Raises:
        SettingsError: It is something else: "False" and "no" would count as true.
    """
    if not isinstance(value, bool | np.bool_):
        raise SettingsError(f"{name}={value!r}: write True or False")
    return bool(value)


def _integer(name: str, value: SupportsIndex) -> int:
    if isinstance(value, bool | np.bool_):
        raise SettingsError(f"{name}={value!r}: expected a whole number")
    try:
        return operator.index(value)
    except TypeError:
        raise SettingsError(f"{name}={value!r}: expected a whole number") from None


def _at_least_one(settings: Settings, name: str, reason: str) -> None:
    value = _integer(name, getattr(settings, name))
    if value < 1:
        raise SettingsError(f"{name}={value}: write {name}=1 or more; {reason}")
    object.__setattr__(settings, name, value)


def _threads(settings: Settings, name: str, reason: str) -> None:
    value = getattr(settings, name)
    if isinstance(value, str) and value != AUTO:
        raise SettingsError(f'{name}={value!r}: write a number of threads, or "{AUTO}"')
    if value != AUTO:
        _at_least_one(settings, name, reason)


def samples_of(
    rows: Rows, length: int, file: str, of_rows: int | None = None
) -> range | NDArray[np.int64]:
    """The number of each sample that `rows` names, of `length` samples.

    Args:
        rows: As the user wrote it.
        length: Samples that there are.
        file: For messages.
        of_rows: Rows that the samples are made of, where these are not one each.

    Raises:
        RowsError: A number lies outside of 0 to length - 1, or none is left.
        SettingsError: `rows` is none of the forms it may have.
    """
    each = _Numbered(length, file, of_rows)
    samples = _named_rows(rows, each)
    if len(samples) == 0:
        raise RowsError(f"rows={rows!r} leaves no sample of the {length} {each.kind} of {file}")
    return samples


@dataclass(frozen=True)
class _Numbered:
    """What the numbers of `rows` count."""

    length: int
    file: str
    of_rows: int | None

    @property
    def kind(self) -> str:
        """The word for one of them."""
        return "rows" if self.of_rows is None else "samples"

    @property
    def remedy(self) -> str:
        """What to write where rows are named and samples are meant; "" where both are one."""
        if self.of_rows is None:
            return ""
        return (
            f". rows= counts samples, of which there are {self.length} in {self.of_rows} rows: "
            f"have split and folds deal out those, with rows=(0, {self.length})"
        )


def _named_rows(rows: Rows, numbered: _Numbered) -> range | NDArray[np.int64]:
    length = numbered.length
    if rows is None:
        return range(length)
    if isinstance(rows, slice):
        return range(*rows.indices(length))
    if isinstance(rows, range):
        return _checked_pair(rows, min(rows, default=0), max(rows, default=-1) + 1, numbered)
    if isinstance(rows, list) and len(rows) == 2 and not isinstance(rows[0], bool | np.bool_):
        raise _list_of_two(rows)
    if isinstance(rows, tuple) and len(rows) == 2:
        start, stop = (_integer("rows", bound) for bound in rows)
        return _checked_pair(range(start, stop), start, stop, numbered)
    given = np.asarray(rows)
    how = "filled(False)" if given.dtype == np.bool_ else "compressed()"
    check_unmasked("rows", rows, f"pass its {how} to leave those out")
    return _checked_indices(given, numbered)


def _list_of_two(rows: list[Any]) -> SettingsError:
    """JSON and YAML have no tuples, so a range that comes from there is a list."""
    first, second = rows
    return SettingsError(
        f"rows=[{first}, {second}] is a list of two: write rows=({first}, {second}) for the range, "
        f"or rows=np.array([{first}, {second}]) for these two samples"
    )


def _checked_pair(samples: range, start: int, stop: int, numbered: _Numbered) -> range:
    if start < 0 or stop > numbered.length:
        raise RowsError(
            f"rows {start} to {stop} of {numbered.file}: it has {numbered.kind} 0 to "
            f"{numbered.length}{numbered.remedy}"
        )
    return samples


def _checked_indices(rows: NDArray[Any], numbered: _Numbered) -> NDArray[np.int64]:
    length, kind = numbered.length, numbered.kind
    if rows.ndim == 1 and rows.dtype == np.bool_ and len(rows) == length:
        return np.flatnonzero(rows)
    if rows.ndim != 1 or (len(rows) and rows.dtype.kind not in "iu"):
        raise SettingsError(
            f"rows is {rows.dtype} of shape {rows.shape}: pass a slice, a (start, stop) pair, "
            f"a one-dimensional array of row numbers, or a mask of {length} booleans, one for each "
            f"of the {kind}{numbered.remedy}"
        )
    outside = np.flatnonzero((rows < 0) | (rows >= length))
    if len(outside):
        at = int(outside[0])
        raise RowsError(
            f"rows[{at}] is {rows[at]}, but {numbered.file} has {kind} 0 to {length - 1} "
            f"({len(outside)} of {len(rows)} are outside){numbered.remedy}"
        )
    return rows.astype(np.int64)
