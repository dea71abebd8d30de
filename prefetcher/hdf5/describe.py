"""What is in a file, how each dataset is stored, and which way of reading fits it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import h5py
import numpy as np

from prefetcher.columns.ragged import elements_of
from prefetcher.config import normal_path
from prefetcher.errors import (
    DatasetError,
    FileChangedError,
    FileError,
    NoDatasetError,
    PrefetchError,
    UnsafeFileError,
)
from prefetcher.hdf5.dataset import Csr, Dataset, check_batchable
from prefetcher.hdf5.faults import RAISED, damage_reported, system_error
from prefetcher.hdf5.links import Item, Refused, dataset_names, find, names_of, walk
from prefetcher.hdf5.opening import open_file, status_of
from prefetcher.hdf5.packing import packing_of
from prefetcher.hdf5.patterns import Match, matching
from prefetcher.hdf5.properties import (
    layout_of,
    missing_storage,
    storage_files,
    stored_filters,
    unavailable,
)
from prefetcher.hdf5.sparse import NO_PARTS, SparseGroup, sparse_group, why_no_rows
from prefetcher.hdf5.virtual import open_sources
from prefetcher.hdf5.ways import choose, dtype_of, why_no_dtype
from prefetcher.messages.suggestions import listed, missing
from prefetcher.storage.protocol import Identity, check_identity, identity_of, is_same
from prefetcher.storage.retry import Result, Retry

_FEW = 8  # datasets of a file that are looked through: a dict for each of many files costs more


@dataclass(frozen=True)
class FileDescription:
    """A file and its datasets as they were at one moment."""

    path: Path
    size: int
    """Bytes of the whole file."""
    identity: Identity
    """What a change of the file cannot keep; compared at opening and after every read."""
    datasets: tuple[Dataset, ...]
    """Those that were described: of `describe` every dataset of every group, in the file's own
    order, also what cannot be read; of `identify` none, until they are looked up."""
    allow_external: bool = False
    """As it was described with, like the next."""
    retries: int = 3
    manifest: str = ""
    """The name of the manifest that told it, so that it is yet to be checked; "" for none."""
    swmr: bool = False
    """Whether a writer in SWMR mode may append to it meanwhile; then it is of no manifest."""

    def dataset(self, name: str) -> Dataset:
        """The dataset of that name, if it can be cut into batches.

        Any path that HDF5 follows is a name. One that `datasets` has not, as it leads through links
        to groups, is looked up in the file.

        Raises:
            NoDatasetError: there is none; the message names the nearest of those there are.
            DatasetError: it is a scalar, its elements are not of one fixed size, or it cannot be
                read.
            UnsafeFileError: it lies outside the file, and `allow_external` is False.
            FileError: the file was asked, and cannot be used or is no longer the same.
            ReadError: the file was asked, and the system could not read it.
        """
        wanted = normal_path(name)
        found = self.described(wanted) or self._looking(partial(_looked_up, self, wanted))
        check_batchable(self.path.name, found)
        return found

    def described(self, name: str) -> Dataset | None:
        """The dataset of that name, a plain path, if it was described; the file is not asked."""
        if len(self.datasets) > _FEW:
            return self._by_name.get(name)
        return next((each for each in self.datasets if each.name == name), None)

    @cached_property
    def _by_name(self) -> dict[str, Dataset]:
        return {each.name: each for each in self.datasets}

    def has_dataset(self, name: str) -> bool:
        """Whether a path leads to a dataset, be it one that cannot be read. Raises as `dataset`."""
        wanted = normal_path(name)
        return bool(self.described(wanted) or self._looking(partial(_present, self, [wanted])))

    def has_group(self, name: str) -> bool:
        """Whether a path leads to a group, through whatever links. Raises as `dataset` does."""
        return self._looking(partial(_leads_to_group, self, normal_path(name)))

    def groups(self) -> list[str]:
        """The groups that hold datasets, links left out; for a message. Raises as `dataset`."""
        names = self._looking(partial(_dataset_names, self))
        return list(dict.fromkeys(name.rpartition("/")[0] for name in names if "/" in name))

    def matching(self, patterns: Iterable[str]) -> dict[str, dict[Match, str]]:
        """The paths that each pattern stands for; none of one that is the name of a dataset.

        Raises:
            FileError: The file cannot be used, or is no longer the same.
            ReadError: The system could not read it.
        """
        return self._looking(partial(_matches, self, list(patterns)))

    def texts(self, name: str) -> list[str]:
        """What a small dataset of text holds, such as a list of names. Raises as `dataset`."""
        return self._looking(partial(_texts, self, self.dataset(name).name))

    def including(self, names: Iterable[str]) -> FileDescription:
        """The same with these in `datasets`, as far as they are there: the file is opened once.

        Raises:
            FileError: The file cannot be used, or is no longer the same.
            ReadError: The system could not read it.
        """
        wanted = [name for name in dict.fromkeys(map(normal_path, names)) if name]
        new = [name for name in wanted if self.described(name) is None]
        if not new:
            return self
        found = self._looking(partial(_present, self, new))
        return replace(self, datasets=(*self.datasets, *found)) if found else self

    def samples(self, strides: Mapping[str, int]) -> int | None:
        """How many samples all of these `datasets` have; None where none of them has rows.

        Args:
            strides: For each dataset, how many rows of it one sample goes on by.
        """
        own = [each for each in self.datasets if each.name in strides and each.shape]
        return min((-(-each.rows // strides[each.name]) for each in own), default=None)

    def level(self, strides: Mapping[str, int], samples: int) -> FileDescription:
        """The same with so many samples in each of these `datasets`, which have them.

        A writer appends to one dataset after the other. Those that are not described, or have no
        rows, are left as they are.

        Args:
            strides: As of `samples`.
            samples: How many.
        """
        own = [each for each in self.datasets if each.name in strides and each.shape]
        # As many rows too in those of one stride, also of a last sample that has not all of them.
        rows = {stride: samples * stride for stride in strides.values()}
        for each in own:
            rows[strides[each.name]] = min(rows[strides[each.name]], each.rows)
        shorter = {
            each.name: replace(each, shape=(rows[strides[each.name]], *each.row_shape))
            for each in own
        }
        return replace(self, datasets=tuple(shorter.get(each.name, each) for each in self.datasets))

    def _looking(self, look: Callable[[], Result]) -> Result:
        return Retry(self.retries).opening(self.path.name, look)


def describe(
    path: str | os.PathLike[str],
    *,
    allow_external: bool = False,
    retries: int = 3,
    swmr: bool = False,
) -> FileDescription:
    """Opens the file, looks at every dataset in every group, and closes it again.

    Args:
        path: An HDF5 file.
        allow_external: Whether to follow external links, external storage and virtual datasets
            into other files. Off, because a data set from a stranger could read anything that
            this user can read.
        retries: How often it is tried again after EIO, ESTALE or ETIMEDOUT.
        swmr: Whether a writer in SWMR mode may append to the file meanwhile.

    Raises:
        FileError: a subclass for each thing that can be wrong with the file.
        ReadError: the system could not read it, also not after the retries.
    """
    path = Path(path)
    look = partial(_described, path, allow_external, retries, swmr)
    return Retry(retries).opening(path.name, look)


def identify(
    path: str | os.PathLike[str],
    *,
    allow_external: bool = False,
    retries: int = 3,
    swmr: bool = False,
) -> FileDescription:
    """A file of which nothing is described yet: it is looked for, and not opened.

    The arguments are those of `describe`.

    Raises:
        FileMissingError: There is no such file.
        FileError: It cannot be looked at.
        ReadError: The system could not tell, also not after the retries.
    """
    path = Path(path)
    status = Retry(retries).opening(path.name, partial(status_of, path))
    identity = identity_of(status, grows=swmr)
    return FileDescription(path, status.st_size, identity, (), allow_external, retries, swmr=swmr)


def _described(
    path: Path,
    allow_external: bool,  # noqa: FBT001 - for partial
    retries: int,
    swmr: bool,  # noqa: FBT001
) -> FileDescription:
    with open_file(path, swmr=swmr) as file, damage_reported(path):
        status = path.stat()
        datasets = tuple(
            _describe(file, name, found, allow_external=allow_external)
            for name, found in walk(file, allow_external=allow_external)
        )
    identity = identity_of(status, grows=swmr)
    return FileDescription(
        path, status.st_size, identity, datasets, allow_external, retries, swmr=swmr
    )


@contextmanager
def _found(description: FileDescription, name: str) -> Iterator[tuple[h5py.File, Item | None]]:
    """What a path leads to, and the file, which is open meanwhile."""
    path, allow_external = description.path, description.allow_external
    with open_file(path, swmr=description.swmr) as file, damage_reported(path):
        opened = os.fstat(file.id.get_vfd_handle())
        check_same(description, opened)
        yield file, None if "\0" in name else find(file, name, allow_external=allow_external)


def check_same(description: FileDescription, status: os.stat_result) -> None:
    """Raises `FileChangedError` if that is not the state of the file that was described."""
    if description.manifest and not is_same(status, description.identity):
        raise FileChangedError(
            f"{description.path.name} is not the file that {description.manifest} describes "
            f"({_state(identity_of(status))}, not {_state(description.identity)}): {_ANEW}"
        )
    check_identity(description.path.name, status, description.identity)


_ANEW = "if it is the right one, make the manifest anew with `prefetcher manifest`"


def _state(identity: Identity) -> str:
    size, mtime_ns, _ = identity
    return f"{size} bytes, time {mtime_ns / 1e9:.6f}" if mtime_ns else f"{size} bytes"


def check_told(file: h5py.File, description: FileDescription, names: Iterable[str]) -> None:
    """Compares with the open file what a manifest says of these datasets.

    Raises:
        FileChangedError: It says something else than the file.
        PrefetchError: A dataset cannot be read here; see `FileDescription.dataset`.
    """
    for name in names:
        found, told = find(file, name, allow_external=False), description.described(name)
        actual = (
            _describe(file, name, found, allow_external=False)
            if isinstance(found, h5py.Dataset | Refused)
            else None
        )
        if actual is not None:
            check_batchable(description.path.name, actual)
        if told is None or actual is None or _facts(actual) != _facts(told):
            raise FileChangedError(
                f"{description.path.name} holds {_stored(actual) if actual else f'no {name}'}, but "
                f"{description.manifest} says {_stored(told) if told else 'nothing'}: {_ANEW}"
            )


def _facts(dataset: Dataset) -> tuple[object, ...]:
    return (
        dataset.shape, dataset.dtype, dataset.layout, dataset.storage_chunk, dataset.filters,
        dataset.stored_bytes, dataset.way,
    )  # fmt: skip


def _stored(dataset: Dataset) -> str:
    filters = f" ({', '.join(dataset.filters)})" if dataset.filters else ""
    return f"{dataset}, {dataset.layout}{filters}, {dataset.stored_bytes} bytes"


def _leads_to_group(description: FileDescription, name: str) -> bool:
    with _found(description, name) as (_, found):
        if isinstance(found, Refused):
            refused = _refused(name, np.dtype(object), "unknown", found)
            check_batchable(description.path.name, refused)
        return isinstance(found, h5py.Group)


def _looked_up(description: FileDescription, name: str) -> Dataset:
    """The dataset that a path leads to, under that name."""
    path = description.path
    with _found(description, "") as (file, _):
        found = None if "\0" in name else _at(file, name, description)
        if isinstance(found, Dataset):
            return found
        have = _Shown(file, description)
        if found is None or any(each.startswith(f"{name}/") for each in have):
            raise NoDatasetError(missing("dataset", name, path.name, have))
        raise NoDatasetError(f"{name or '/'!r} in {path.name} is {_other_kind(found, name)}")


class _Shown(Mapping[str, str]):
    """How each dataset of a file is shown, by name; looked up only for those that are."""

    def __init__(self, file: h5py.File, description: FileDescription) -> None:
        self._file = file
        self._allow_external = description.allow_external
        self._names = dict.fromkeys(dataset_names(file))

    def __getitem__(self, name: str) -> str:
        allow_external = self._allow_external
        found = find(self._file, name, allow_external=allow_external)
        if not isinstance(found, h5py.Dataset | Refused):
            return name
        return str(_describe(self._file, name, found, allow_external=allow_external))

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def _dataset_names(description: FileDescription) -> list[str]:
    with _found(description, "") as (file, _):
        return dataset_names(file)


def _present(description: FileDescription, names: Sequence[str]) -> list[Dataset]:
    """Those of these datasets that are there, whatever can be done with them."""
    with _found(description, "") as (file, _):
        found = (_at(file, name, description) for name in names if "\0" not in name)
        return [each for each in found if isinstance(each, Dataset)]


def _at(file: h5py.File, name: str, description: FileDescription) -> Dataset | Item | None:
    """The dataset at a path, sparse rows included; else what lies there."""
    allow_external = description.allow_external
    found = find(file, name, allow_external=allow_external)
    if isinstance(found, h5py.Dataset | Refused):
        return _describe(file, name, found, allow_external=allow_external)
    if isinstance(found, h5py.Group) and (group := sparse_group(found)):
        return _sparse(file, name, group, allow_external=allow_external)
    return found


def _matches(description: FileDescription, patterns: Sequence[str]) -> dict[str, dict[Match, str]]:
    allow_external = description.allow_external
    with _found(description, "") as (file, _):
        return {
            pattern: matching(file, pattern, allow_external=allow_external)
            for pattern in patterns
            if find(file, pattern, allow_external=allow_external) is None
        }


def _texts(description: FileDescription, name: str) -> list[str]:
    with _found(description, name) as (_, found):
        if not isinstance(found, h5py.Dataset) or h5py.check_string_dtype(found.dtype) is None:
            raise DatasetError(f"{name} in {description.path.name} holds no text")
        return [str(each) for each in np.ravel(found.asstr()[()])]


def _other_kind(found: h5py.HLObject, name: str) -> str:
    if not isinstance(found, h5py.Group):
        return "a named type, not a dataset"
    inside = [normal_path(f"{name}/{each}") for each in names_of(found)]
    return f"a group of {listed(inside)}: name a dataset in it" if inside else "an empty group"


def _describe(
    file: h5py.File, name: str, found: h5py.Dataset | Refused, *, allow_external: bool
) -> Dataset:
    if isinstance(found, Refused):
        return _refused(name, np.dtype(object), "unknown", found)
    try:
        with open_sources(found, allow_external=allow_external) as sources:
            return _readable(file, name, found, sources)
    except UnsafeFileError as error:
        refused = Refused(f"{name} is a virtual dataset, and {error}", outside=True)
    except (DatasetError, FileError) as error:
        refused = Refused(str(error))
    except PrefetchError:
        raise
    except RAISED as error:
        if system_error(error):
            raise
        refused = Refused(f"HDF5 cannot tell how it is stored: {error}")
    # HDF5 is not asked for more than it knows without its sources.
    return _refused(name, dtype_of(found), layout_of(found.id.get_create_plist()), refused)


def _sparse(
    file: h5py.File, name: str, group: SparseGroup | Refused, *, allow_external: bool
) -> Dataset:
    """Sparse rows, which count as a dataset of whole ones."""
    if isinstance(group, Refused):
        return _refused(name, np.dtype(object), "csr", group)
    found = [
        find(file, f"{name}/{part}", allow_external=allow_external)
        for part in ("data", "indices", "indptr")
    ]
    if not all(isinstance(each, h5py.Dataset | Refused) for each in found):
        return _refused(name, np.dtype(object), "csr", Refused(NO_PARTS))
    data, indices, indptr = (
        _describe(file, f"{name}/{part}", each, allow_external=allow_external)
        for part, each in zip(("data", "indices", "indptr"), found, strict=True)
    )
    parts = (data, indices, indptr)
    if why := next((f"{part.name}: {part.refused}" for part in parts if part.refused), ""):
        return _refused(name, data.dtype, "csr", Refused(why, any(part.outside for part in parts)))
    if why := why_no_rows(group, *((part.shape, part.dtype) for part in parts)):
        return _refused(name, data.dtype, "csr", Refused(why))
    slowest = max((data, indices), key=lambda part: part.way == "general")
    return Dataset(
        name, (group.rows, group.columns), data.dtype, "csr", None, data.filters,
        sum(part.stored_bytes for part in parts), slowest.way, slowest.why,
        csr=Csr(data, indices, indptr, group.said),
    )  # fmt: skip


def _refused(name: str, dtype: np.dtype[np.generic], layout: str, refused: Refused) -> Dataset:
    return Dataset(
        name, (), dtype, layout, None, (), 0, "general", refused.why,
        refused=refused.why, outside=refused.outside,
    )  # fmt: skip


def _readable(
    file: h5py.File, name: str, dataset: h5py.Dataset, sources: list[h5py.Dataset]
) -> Dataset:
    properties = dataset.id.get_create_plist()
    filters = stored_filters(properties)
    missing = unavailable(filters)
    way, why = choose(file, dataset)
    return Dataset(
        name=name,
        shape=dataset.shape or (),
        dtype=dtype_of(dataset),
        layout=layout_of(properties),
        storage_chunk=dataset.chunks,
        filters=tuple(stored.name for stored in filters),
        stored_bytes=dataset.id.get_storage_size(),
        way=way,
        why=why,
        # What is decoded outside HDF5 needs no filter of HDF5's.
        missing_filter=missing.name if missing and way == "general" else "",
        packing=packing_of(dataset),
        refused=why_no_dtype(dataset) or missing_storage(storage_files(dataset)),
        heap_bytes=_most_heap(dataset, sources) if elements_of(dtype_of(dataset)) else 0,
    )


def _most_heap(dataset: h5py.Dataset, sources: list[h5py.Dataset]) -> int:
    """Bytes of the files that rows of variable length lie in."""
    files = {each.file.filename: each.file for each in (dataset, *sources)}
    return sum(file.id.get_filesize() for file in files.values())
