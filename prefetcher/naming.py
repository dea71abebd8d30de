"""Which datasets x, y and sample_weight are: as the user wrote, as the file says, in a split."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

from prefetcher.batch import flatten, not_numbers
from prefetcher.columns.column import Column, Packing, Value
from prefetcher.columns.fields import written_field
from prefetcher.columns.memory import InMemory
from prefetcher.columns.packed import Unpacked
from prefetcher.columns.ragged import TEXT, elements_of
from prefetcher.columns.sparse import Sparse
from prefetcher.config import DEFAULT_X, DEFAULT_Y, Settings
from prefetcher.errors import (
    DatasetError,
    FileError,
    NoDatasetError,
    SettingsError,
    UnsafeFileError,
)
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.shards import Shards
from prefetcher.making import nested, value_of
from prefetcher.messages.suggestions import listed, missing

Rename = Callable[[str], str | Column]

PARTS = ("x", "y", "sample_weight")
DEFAULTS = {"x": DEFAULT_X, "y": DEFAULT_Y}


def named(settings: Settings, shards: Shards) -> Settings:
    """The same settings with the paths of datasets that are there, and no split.

    Raises:
        NoDatasetError: A file has no dataset or no split of that name; the message names the
            parameter.
        DatasetError: A dataset cannot be cut into batches, its rows differ between the files, or
            it holds no numbers and there is no transform to make them.
        UnsafeFileError: A dataset lies outside the file, and `allow_external` is False.
    """
    split = settings.split or ""
    settings = _with_full_names(settings, shards, split)
    if split:
        _check_split(split, settings, shards)
    settings = _with_own_names(settings, shards, split)
    shards.look_up(names_in(settings))
    found = {part: _found(part, getattr(settings, part), shards) for part in PARTS}
    settings = replace(settings, **found)
    for part, leaf in leaves(settings):
        if not isinstance(leaf, InMemory):
            _check(part, leaf, shards, numbers=settings.transform is None)
        elif settings.transform is None and (what := not_numbers(leaf.array.dtype)):
            raise SettingsError(
                f"{part} is an array that holds {what}, and Keras takes numbers and booleans: pass "
                "those, or a transform that returns them"
            )
    return settings


def leaves(settings: Settings) -> Iterator[tuple[str, Any]]:
    """Yields each name, column and array, and the parameter that it stands in."""
    for part in PARTS:
        for leaf in flatten(getattr(settings, part)):
            if leaf is not None:
                yield part, leaf


def names_in(settings: Settings) -> Iterator[str]:
    """Yields the names of the datasets that are asked for, as they are written."""
    for _, leaf in leaves(settings):
        if isinstance(leaf, str):
            field = written_field(leaf)
            yield leaf
            if field is not None:
                yield field.dataset
        elif isinstance(leaf, Column):
            yield leaf.dataset


def written(names: Any) -> Any:
    """The same structure as text, for a log."""
    if isinstance(names, dict):
        return {key: written(name) for key, name in names.items()}
    if isinstance(names, tuple):
        return [written(name) for name in names]
    return names if names is None else str(names)


def read_packed(settings: Settings, shards: Shards) -> dict[str, Packing]:
    """The datasets whose packed numbers reach batches as they are stored, and how to unpack them.

    Args:
        settings: With the names that `named` gives.
        shards: The files.
    """
    unpacked, found = set[str](), dict[str, Packing]()
    for _, leaf in leaves(settings):
        if isinstance(leaf, InMemory):
            continue
        name = leaf if isinstance(leaf, str) else leaf.dataset
        if any(isinstance(each, Unpacked) for each in nested(leaf)):
            unpacked.add(name)
        dataset = shards.dataset(name)
        if dataset.packing and not dataset.packing.fault and not dataset.dtype.names:
            found[name] = dataset.packing
    return {name: packing for name, packing in found.items() if name not in unpacked}


def _with_full_names(settings: Settings, shards: Shards, group: str) -> Settings:
    """The names with the keys of their files, as paths from a file's root."""
    if settings.sample_weight is None and "sample_weight" in shards.keys:
        raise SettingsError(
            "file= has files for sample_weight, and sample_weight is None: name a dataset in them, "
            "or leave them out"
        )
    found = {
        part: _renamed(getattr(settings, part), partial(shards.full_name, part, group=group))
        for part in PARTS
    }
    return replace(settings, split=None, **found)


def _renamed(names: Any, rename: Rename) -> Any:
    """The same structure with other names of datasets."""
    if isinstance(names, dict):
        return {key: _renamed(name, rename) for key, name in names.items()}
    if isinstance(names, tuple):
        return tuple(_renamed(name, rename) for name in names)
    if isinstance(names, Column):
        return names.renamed(rename)
    return rename(names) if isinstance(names, str) else names


def _found(part: str, names: Any, shards: Shards) -> Any:
    """The same with columns for what is no dataset.

    `Field` for names such as "events[energy]", and `Sparse` for groups that have sparse rows.
    """

    def found(name: str) -> str | Column:
        field = written_field(name)
        try:
            csr = shards.dataset(name).csr
            if csr is not None and csr.said:
                return Sparse(name)
        except NoDatasetError:
            if field is None:
                return name
            _check(part, field, shards, numbers=False)
            return field
        except (DatasetError, FileError):  # told where it is checked
            pass
        return name

    return _renamed(names, found)


def _with_own_names(settings: Settings, shards: Shards, group: str) -> Settings:
    """Names that were left out, as the file or the split itself has them.

    A file of both x and y is asked if x was left out. Where each has files of its own, each says.
    """
    left_out = [part for part in DEFAULTS if _is_left_out(settings, part, shards, group)]
    asked = left_out if shards.keys else left_out[:1] if "x" in left_out else []
    for part in asked:
        name = getattr(settings, part)
        file = shards.files_of(name)[0]
        own = _renamed(_said(file, group, settings), partial(shards.full_name, part))
        if own[part] is None or (own[part] != name and file.has_dataset(shards.path(name))):
            continue
        found = own if not shards.keys else {part: own[part]}
        settings = replace(settings, **{each: found[each] for each in found if each in left_out})
    return settings


def _is_left_out(settings: Settings, part: str, shards: Shards, group: str) -> bool:
    """Whether a name is the one that stands for another."""
    if shards.keys and part not in shards.keys:
        return False
    name = getattr(settings, part)
    return isinstance(name, str) and name == shards.full_name(part, DEFAULTS[part], group)


def _said(file: FileDescription, group: str, settings: Settings) -> dict[str, Any]:
    """What a file says that its x and y are called; None where it does not say."""
    own = read_attributes(
        file.path,
        group,
        allow_external=settings.allow_external,
        retries=settings.retries,
        swmr=settings.swmr,
    )
    return {"x": own.x, "y": own.y}


def _check_split(split: str, settings: Settings, shards: Shards) -> None:
    """Refuses a group that a file lacks."""
    files = (shards.files_of(name)[0] for name in names_in(settings))
    for file in {file.path: file for file in files}.values():
        if not file.has_group(split):
            have = {group: group for group in file.groups()}
            raise NoDatasetError(
                f"split={split!r}: {missing('group', split, file.path.name, have)}"
            )


def _check(part: str, leaf: str | Column, shards: Shards, *, numbers: bool) -> None:
    name = leaf if isinstance(leaf, str) else leaf.dataset
    shown = repr(leaf) if isinstance(leaf, str) else str(leaf)
    try:
        value = value_of(leaf, shards)
        if numbers:
            _check_numbers(shards.dataset(name), value, shards.name)
    except NoDatasetError as error:
        told = _splits(shards.path(name), shards.files_of(name)[0]) or str(error)
        raise NoDatasetError(f"{part}={shown}: {told}") from None
    except (DatasetError, UnsafeFileError) as error:
        raise type(error)(f"{part}={shown}: {error}") from None


def _check_numbers(dataset: Dataset, value: Value, file: str) -> None:
    """Refuses here what Keras would refuse in mid-fit, whatever the backend."""
    if elements_of(value.dtype) is not None:
        raise DatasetError(
            f"{dataset} in {file} has rows of variable length, and Keras takes arrays: "
            f"{_for_ragged(dataset)}"
        )
    if found := not_numbers(value.dtype):
        fields = value.dtype.names
        use = f"name a field, as in '{dataset.name}[{fields[0]}]'" if fields else "name another"
        raise DatasetError(
            f"{dataset} in {file} holds {found}, and Keras takes numbers and booleans: "
            f"pass a transform that returns these, or {use}"
        )


def _for_ragged(dataset: Dataset) -> str:
    """What makes arrays of rows of variable length."""
    transform = "pass a transform, which gets them as an array of objects"
    elements, name = dataset.elements, dataset.name
    if elements is None or elements == TEXT or elements.subdtype:
        return transform
    pictures = f" or prefetcher.Picture({name!r}, size=(height, width)) for encoded pictures,"
    return (
        f"write prefetcher.Padded({name!r}, length) for one length,"
        f"{pictures if elements.itemsize == 1 else ''} or {transform}"
    )


def _splits(name: str, file: FileDescription) -> str:
    """What to write for a file that `prefetcher convert` has split; "" for any other."""
    splits = read_attributes(file.path, swmr=file.swmr).splits
    if not splits or name.partition("/")[0] in splits:
        return ""
    return (
        f"no dataset {name!r} in {file.path.name}, which is split into {listed(splits)}: "
        f"write split={splits[0]!r}"
    )
