"""What is in a file: its datasets, its groups, and what the patterns of names stand for in it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path

import h5py
import numpy as np

from prefetcher.arguments import normal_path
from prefetcher.columns.axis import along, parted
from prefetcher.errors import DatasetError, NoDatasetError
from prefetcher.hdf5.absent import why_absent
from prefetcher.hdf5.axes import turned
from prefetcher.hdf5.dataset import Dataset, check_batchable
from prefetcher.hdf5.faults import damage_reported
from prefetcher.hdf5.links import Item, Refused, dataset_names, find, walk
from prefetcher.hdf5.looking import dataset_of, look_at, refused_dataset
from prefetcher.hdf5.opening import open_file, status_of
from prefetcher.hdf5.patterns import Match, matching
from prefetcher.hdf5.told import check_same
from prefetcher.storage.protocol import Identity, identity_of
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
            found = self._by_name.get(name)
        else:
            found = next((each for each in self.datasets if each.name == name), None)
        base, axis = parted(name)
        if found is not None or axis is None:
            return found
        stored = self.described(base)
        return None if stored is None else self.turned(stored, name, axis)

    def turned(self, stored: Dataset, name: str, axis: int) -> Dataset:
        """One of these datasets with its rows along an axis, as it is called then."""
        if self.swmr:
            why = f"a file that is written is read along its first axis alone, not along {axis}"
            return replace(stored, name=name, refused=why)
        return turned(stored, name, axis)

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
        more = [each for each in found if self.described(each.name) is None]
        return replace(self, datasets=(*self.datasets, *more)) if more else self

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
            dataset_of(file, name, found, allow_external=allow_external)
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
        check_same(path.name, description.identity, description.manifest, opened)
        yield file, None if "\0" in name else find(file, name, allow_external=allow_external)


def _leads_to_group(description: FileDescription, name: str) -> bool:
    with _found(description, name) as (_, found):
        if isinstance(found, Refused):
            refused = refused_dataset(name, np.dtype(object), "unknown", found)
            check_batchable(description.path.name, refused)
        return isinstance(found, h5py.Group)


def _looked_up(description: FileDescription, name: str) -> Dataset:
    """The dataset that a path leads to, under that name."""
    allow_external = description.allow_external
    with _found(description, "") as (file, _):
        found = None if "\0" in name else _at(file, name, description)
        if isinstance(found, Dataset):
            return found
        file_name = description.path.name
        raise NoDatasetError(
            why_absent(file, file_name, name, found, allow_external=allow_external)
        )


def _dataset_names(description: FileDescription) -> list[str]:
    with _found(description, "") as (file, _):
        return dataset_names(file)


def _present(description: FileDescription, names: Sequence[str]) -> list[Dataset]:
    """Those of these datasets that are there, whatever can be done with them.

    A group of sparse rows brings the datasets that it is made of.
    """
    present: dict[str, Dataset] = {}
    with _found(description, "") as (file, _):
        for name in names:
            if "\0" in name or name in present:
                continue
            found = _at(file, name, description)
            if isinstance(found, Dataset):
                present |= {each.name: each for each in (found, *_made_of(found))}
    return list(present.values())


def _made_of(dataset: Dataset) -> tuple[Dataset, ...]:
    csr = dataset.csr
    return () if csr is None else (csr.data, csr.indices, csr.indptr)


def _at(file: h5py.File, name: str, description: FileDescription) -> Dataset | Item | None:
    """What lies at a path, which may say an axis too."""
    found = look_at(file, name, allow_external=description.allow_external)
    base, axis = parted(name)
    if found is None and axis is not None:
        stored = look_at(file, base, allow_external=description.allow_external)
        if isinstance(stored, Dataset):
            return description.turned(stored, name, axis)
    return found


def _matches(description: FileDescription, patterns: Sequence[str]) -> dict[str, dict[Match, str]]:
    allow_external = description.allow_external
    with _found(description, "") as (file, _):
        return {
            pattern: _matching(file, pattern, allow_external=allow_external)
            for pattern in patterns
            if find(file, pattern, allow_external=allow_external) is None
        }


def _matching(file: h5py.File, pattern: str, *, allow_external: bool) -> dict[Match, str]:
    """The paths that a pattern stands for, each with the axis that the pattern has."""
    base, axis = parted(pattern)
    found = matching(file, base, allow_external=allow_external)
    return {match: along(path, axis or 0) for match, path in found.items()}


def _texts(description: FileDescription, name: str) -> list[str]:
    with _found(description, name) as (_, found):
        if not isinstance(found, h5py.Dataset) or h5py.check_string_dtype(found.dtype) is None:
            raise DatasetError(f"{name} in {description.path.name} holds no text")
        return [str(each) for each in np.ravel(found.asstr()[()])]
