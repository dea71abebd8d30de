"""What a user may write for each setting, and the one form that the package has of it."""

from __future__ import annotations

import operator
import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any, Final, Literal, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.column import Column
from prefetcher.columns.memory import InMemory, check_unmasked
from prefetcher.errors import SettingsError
from prefetcher.order.shard import Shard

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


def checked_names(part: str, names: Any) -> Names | None:
    """The same as strings, columns, `InMemory`, tuples and dicts, without leading slashes.

    Raises:
        SettingsError: It is something else.
    """
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


def checked_weights(weights: Any) -> Weights:
    """The same name, or the same numbers as float64.

    Raises:
        SettingsError: It is something else.
    """
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


def checked_groups(groups: Any) -> Groups:
    """The same name of a dataset, or a tuple of names of groups; None for all.

    Raises:
        SettingsError: It is something else.
    """
    if groups is None or (isinstance(groups, str) and normal_path(groups)):
        return groups and normal_path(groups)
    names = tuple(groups) if isinstance(groups, list | tuple | np.ndarray) else ()
    if not names or not all(isinstance(name, str) for name in names):
        raise SettingsError(
            f"groups={groups!r}: write the name of a dataset of names, as 'mask/train', or a list "
            "of the groups' own names, as 'demo_0'"
        )
    return tuple(map(str, names))


def checked_shard(shard: Any) -> Share:
    """The same as a `Shard`, "auto" or None.

    Raises:
        SettingsError: It is something else.
    """
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
    index, count = (whole_number("shard", number) for number in given)
    if not 0 <= index < count:
        raise SettingsError(
            f"shard=({index}, {count}): write this process's number, from 0 to "
            f"{max(count, 1) - 1}, and how many there are"
        )
    return Shard(index, count)


def checked_split(name: Any) -> str | None:
    """The same path of a group, without slashes at its ends; None for the whole file.

    Raises:
        SettingsError: It is something else.
    """
    if name is None:
        return None
    if not isinstance(name, str) or not normal_path(name):
        raise SettingsError(f"split={name!r}: write the name of a group of the file, as in 'train'")
    return normal_path(name)


def _name_in(part: str, names: Any) -> Names:
    name = checked_names(part, names)
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


def whole_number(name: str, value: SupportsIndex) -> int:
    """The value of a setting that is a whole number, numpy's included.

    Raises:
        SettingsError: It is something else: True would count as 1.
    """
    if isinstance(value, bool | np.bool_):
        raise SettingsError(f"{name}={value!r}: expected a whole number")
    try:
        return operator.index(value)
    except TypeError:
        raise SettingsError(f"{name}={value!r}: expected a whole number") from None
