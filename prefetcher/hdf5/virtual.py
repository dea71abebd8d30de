"""What virtual datasets are made of, opened before HDF5 opens it.

HDF5 fills with the fill value, in silence, what it cannot open of a virtual dataset: a source that
is missing, as it should, but also one that a disk or a limit of the system kept it from reading.
And a virtual dataset over itself crashes it. So each source is opened here first. It stays open, so
that HDF5 finds it in memory, and opening it again cannot fail.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import count
from pathlib import Path

import h5py

from prefetcher.errors import DatasetError, FileError, UnsafeFileError
from prefetcher.hdf5.links import Refused, find, key_of
from prefetcher.hdf5.opening import open_file

_DEEPEST = 32
"""Virtual datasets over each other: HDF5 takes some of a thread's stack for each."""
_SHOWN = 4


@contextmanager
def open_sources(
    dataset: h5py.Dataset, *, allow_external: bool = True
) -> Iterator[list[h5py.Dataset]]:
    """Keeps all that a virtual dataset takes its rows from open, through others too.

    Missing sources are left out; of a dataset that is not virtual there are none. Do not ask for
    the shape of a virtual dataset before: HDF5 would open sources to answer.

    Raises:
        DatasetError: The sources lead in a circle, or too deep, or one cannot be opened.
        UnsafeFileError: One lies outside the file, be it through a link, and `allow_external` is
            False; it was not opened.
        FileError: The file of a source is there, but cannot be used.
        OSError: The system could not read a source.
        LookupError: A file is damaged. Any other builtin of h5py too.
    """
    with ExitStack() as undo:
        opened = _Sources(undo, allow_external=allow_external)
        opened.add(dataset, [])
        yield list(opened.found.values())


class _Sources:
    """The sources found so far, by what tells them apart, and the files that they lie in."""

    def __init__(self, undo: ExitStack, *, allow_external: bool) -> None:
        self._undo = undo
        self._allow_external = allow_external
        self._files: dict[Path, h5py.File] = {}
        self.found: dict[tuple[int, int], h5py.Dataset] = {}

    def add(self, dataset: h5py.Dataset, above: list[h5py.Dataset]) -> None:
        """Adds the sources of `dataset`, which is itself a source of the last one `above`."""
        chain = [*above, dataset]
        if key_of(dataset) in map(key_of, above):
            raise DatasetError(f"its sources lead in a circle: {_names(chain)}")
        if len(chain) > _DEEPEST:
            raise DatasetError(
                f"it is a virtual dataset over more than {_DEEPEST} others, each over the next: "
                f"{_names(chain)}"
            )
        for source in self._direct(dataset):
            if key_of(source) not in self.found:
                self.add(source, chain)
                self.found[key_of(source)] = source

    def _direct(self, dataset: h5py.Dataset) -> Iterator[h5py.Dataset]:
        properties = dataset.id.get_create_plist()
        if properties.get_layout() != h5py.h5d.VIRTUAL:
            return
        mappings = range(properties.get_virtual_count())
        names = dict.fromkeys(
            (properties.get_virtual_filename(at), properties.get_virtual_dsetname(at))
            for at in mappings
        )
        for file, name in names:
            yield from self._numbered(dataset.file, file, name)

    def _numbered(self, primary: h5py.File, file: str, name: str) -> Iterator[h5py.Dataset]:
        """A source, or where its names count ("part-%b.h5") all of them up to the first missing."""
        for number in count() if _counts(file) or _counts(name) else (0,):
            source = self._open(primary, _with_number(file, number), _with_number(name, number))
            if source is None:
                return
            yield source

    def _open(self, primary: h5py.File, file: str, name: str) -> h5py.Dataset | None:
        if file != "." and not self._allow_external:
            raise UnsafeFileError(f"{name} of {file} is one of its sources")
        place = primary if file == "." else self._file(primary, file)
        if place is None:
            return None
        found = find(place, name, allow_external=self._allow_external)
        if isinstance(found, Refused) and not found.missing:
            raise (UnsafeFileError if found.outside else DatasetError)(found.why)
        return found if isinstance(found, h5py.Dataset) else None

    def _file(self, primary: h5py.File, name: str) -> h5py.File | None:
        path, swmr = _found(Path(primary.filename), name), bool(primary.swmr_mode)
        if path is not None and path not in self._files:
            self._files[path] = open_file(path, swmr=swmr)
            self._undo.callback(self._files[path].close)
        return None if path is None else self._files[path]


def _names(chain: list[h5py.Dataset]) -> str:
    names = [str(dataset.name) for dataset in chain]
    return " -> ".join(names if len(names) <= _SHOWN else [*names[: _SHOWN - 1], "...", names[-1]])


def _counts(name: str) -> bool:
    return "%b" in name.replace("%%", "")


def _with_number(name: str, number: int) -> str:
    """A name as HDF5 understands it: "%b" stands for a number, "%%" for a percent sign."""
    return "%".join(part.replace("%b", str(number)) for part in name.split("%%"))


def _found(primary: Path, name: str) -> Path | None:
    """The file of that name where HDF5 would find it, None if there is none."""
    for path in _candidates(primary, name):
        try:
            mode = path.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            continue
        if stat.S_ISREG(mode):
            return path
        if not stat.S_ISDIR(mode):
            raise FileError(f"{path} is not a regular file")
    return None


def _candidates(primary: Path, name: str) -> Iterator[Path]:
    """Where HDF5 looks for a file that `primary` names, in its order."""
    if Path(name).is_absolute():
        yield Path(name)
        name = Path(name).name
    folder = primary.absolute().parent
    if prefixes := os.environ.get("HDF5_VDS_PREFIX"):
        yield from (Path(prefix, name).absolute() for prefix in prefixes.split(os.pathsep))
        if prefixes.startswith("${ORIGIN}"):
            yield Path(str(folder) + prefixes.removeprefix("${ORIGIN}"), name)
    yield folder / name
    yield Path(name).absolute()
    yield primary.resolve().parent / name
