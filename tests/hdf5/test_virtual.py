"""Virtual datasets: where their sources are found, and those that HDF5 would crash over."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from prefetcher.errors import DatasetError, FileBusyError, FileChangedError, FileError, ReadError
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source
from prefetcher.hdf5.virtual import open_sources

ROWS = np.arange(1, 81, dtype="u1").reshape(20, 4)


def view(file: h5py.File, name: str, of: str | Path, rows: str, *, endless: bool = False) -> None:
    """A virtual dataset over all of another one."""
    limit = (None, 4) if endless else None
    layout = h5py.VirtualLayout(ROWS.shape, "u1", maxshape=limit)
    source = h5py.VirtualSource(of, rows, ROWS.shape, maxshape=limit)
    every = slice(h5py.h5s.UNLIMITED) if endless else slice(None)
    layout[every] = source[every]
    file.create_virtual_dataset(name, layout)


def rows_of(path: Path, name: str = "x") -> bytes:
    description = describe(path, allow_external=True)
    rows = description.dataset(name)
    out = np.full((rows.rows, rows.row_bytes), 0xA5, np.uint8)
    with closing(Source(description, [name])) as source:
        source.read(name, [(0, rows.rows)], [out])
    return out.tobytes()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with rows in data/rows.h5."""
    (tmp_path / "data").mkdir()
    with h5py.File(tmp_path / "data" / "rows.h5", "w") as file:
        file.create_dataset("group/rows", data=ROWS, maxshape=(None, 4), chunks=(6, 4))
    return tmp_path


def beside(folder: Path) -> tuple[Path, str]:
    return folder / "data" / "view.h5", "rows.h5"


def below(folder: Path) -> tuple[Path, str]:
    return folder / "view.h5", "data/rows.h5"


def absolute(folder: Path) -> tuple[Path, str]:
    return folder / "view.h5", str(folder / "data" / "rows.h5")


def moved(folder: Path) -> tuple[Path, str]:
    """It was made elsewhere, with a whole path, and lies beside its source now."""
    return folder / "data" / "view.h5", "/nowhere/to/be/found/rows.h5"


def linked(folder: Path) -> tuple[Path, str]:
    """The file is a link, and its source lies beside what it leads to."""
    (folder / "view.h5").symlink_to(folder / "data" / "real.h5")
    return folder / "view.h5", "rows.h5"


def under_a_prefix(folder: Path) -> tuple[Path, str]:
    os.environ["HDF5_VDS_PREFIX"] = f"/nowhere{os.pathsep}{folder / 'data'}"
    return folder / "view.h5", "rows.h5"


def where_the_process_is(folder: Path) -> tuple[Path, str]:
    (folder / "other").mkdir()
    return folder / "other" / "view.h5", "data/rows.h5"


def with_a_percent_sign(folder: Path) -> tuple[Path, str]:
    (folder / "data" / "rows.h5").rename(folder / "data" / "50%b.h5")
    return folder / "data" / "view.h5", "50%%b.h5"


@pytest.mark.parametrize(
    "place",
    [
        beside, below, absolute, moved, linked, under_a_prefix, where_the_process_is,
        with_a_percent_sign,
    ],
)  # fmt: skip
@pytest.mark.parametrize("endless", [False, True])
def test_a_source_is_found_where_hdf5_finds_it(
    folder: Path, place: object, monkeypatch: pytest.MonkeyPatch, endless: bool
) -> None:
    monkeypatch.chdir(folder)
    monkeypatch.setenv("HDF5_VDS_PREFIX", "")
    assert callable(place)
    path, name = place(folder)
    with h5py.File(path, "w") as file:
        view(file, "x", name, "group/rows", endless=endless)
    with h5py.File(path) as file:
        assert file["x"][...].tobytes() == ROWS.tobytes()
    assert rows_of(path) == ROWS.tobytes()
    assert [found.parent.resolve() for found in opened_for(path)] == [folder / "data"]


def opened_for(path: Path) -> list[Path]:
    """The files of the sources of "x", as they were found."""
    with h5py.File(path) as file, open_sources(file["x"]) as sources:
        return [Path(source.file.filename) for source in sources]


def test_a_prefix_may_begin_where_the_file_lies(folder: Path) -> None:
    """HDF5 looks for that as it starts."""
    with h5py.File(folder / "view.h5", "w") as file:
        view(file, "x", "rows.h5", "group/rows")
    script = (
        "import sys; sys.path[0] = sys.argv[1]; import test_virtual as own; import pathlib;"
        "assert own.rows_of(pathlib.Path(sys.argv[2])) == own.ROWS.tobytes()"
    )
    here = Path(__file__).parent
    env = os.environ | {
        "HDF5_VDS_PREFIX": "${ORIGIN}/data",
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    command = [sys.executable, "-c", script, str(here), str(folder / "view.h5")]
    subprocess.run(command, env=env, check=True, timeout=60)


def circle_of_one(folder: Path) -> Iterator[str]:
    with h5py.File(folder / "a.h5", "a") as file:
        view(file, "x", ".", "x")
    yield "/x -> /x"


def circle_of_two(folder: Path) -> Iterator[str]:
    with h5py.File(folder / "a.h5", "a") as file:
        view(file, "x", ".", "y")
        view(file, "y", ".", "x")
    yield "/x -> /y -> /x"


def circle_by_another_name(folder: Path) -> Iterator[str]:
    with h5py.File(folder / "a.h5", "a") as file:
        view(file, "x", ".", "group/y")
        file["group/y"] = file["x"]
    yield "/x -> /"


def endless_circle(folder: Path) -> Iterator[str]:
    with h5py.File(folder / "a.h5", "a") as file:
        view(file, "x", ".", "x", endless=True)
    yield "/x -> /x"


def circle_of_files(folder: Path) -> Iterator[str]:
    with h5py.File(folder / "a.h5", "a") as file:
        view(file, "x", "b.h5", "y")
    with h5py.File(folder / "b.h5", "a") as file:
        view(file, "y", "a.h5", "x")
    yield "/x -> /y -> /x"


def onto_a_circle(folder: Path) -> Iterator[str]:
    with h5py.File(folder / "a.h5", "a") as file:
        view(file, "x", ".", "y")
        view(file, "y", ".", "y")
    yield "/x -> /y -> /y"


def too_deep(folder: Path) -> Iterator[str]:
    with h5py.File(folder / "a.h5", "a") as file:
        file["0"] = ROWS
        for number in range(1, 40):
            view(file, "x" if number == 39 else str(number), ".", str(number - 1))
    yield "more than 32 others"


@pytest.mark.parametrize(
    "make",
    [
        circle_of_one, circle_of_two, circle_by_another_name, endless_circle, circle_of_files,
        onto_a_circle, too_deep,
    ],
)  # fmt: skip
def test_what_leads_in_a_circle_is_refused_alone(tmp_path: Path, make: object) -> None:
    """HDF5 runs out of stack over it, and takes the process along."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["good"] = ROWS
    assert callable(make)
    says = next(make(tmp_path))
    description = describe(tmp_path / "a.h5", allow_external=True)
    with pytest.raises(DatasetError, match=rf"x in a.h5 cannot be read: .*{says}"):
        description.dataset("x")
    refused = next(dataset for dataset in description.datasets if dataset.name == "x")
    assert says in refused.refused
    assert (refused.rows, refused.layout, refused.dtype) == (0, "virtual", np.dtype("u1"))
    assert rows_of(tmp_path / "a.h5", "good") == ROWS.tobytes()


def test_many_over_the_same_are_no_circle(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["0"] = ROWS
        for number in range(1, 30):  # 2 ** 29 ways from the last to the first
            layout = h5py.VirtualLayout(ROWS.shape, "u1")
            for half in (slice(0, 10), slice(10, 20)):
                layout[half] = h5py.VirtualSource(".", str(number - 1), ROWS.shape)[half]
            file.create_virtual_dataset(str(number), layout)
    assert describe(tmp_path / "a.h5").dataset("29").shape == ROWS.shape
    assert rows_of(tmp_path / "a.h5", "9") == ROWS.tobytes()


def test_a_limit_of_the_system_is_no_missing_source(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """HDF5 alone would fill the rows of a source with zeros where no more files can be opened."""
    with h5py.File(folder / "view.h5", "w") as file:
        view(file, "x", "data/rows.h5", "group/rows")
    description = describe(folder / "view.h5", allow_external=True)
    opened = h5py.h5f.open

    def failing(name: bytes, *arguments: object, **options: object) -> object:
        if name.endswith(b"rows.h5"):
            raise OSError(errno.EMFILE, "unable to open file: errno = 24")
        return opened(name, *arguments, **options)

    monkeypatch.setattr(h5py.h5f, "open", failing)
    with pytest.raises(FileError, match=r"rows.h5 cannot be opened: .*Too many open files"):
        Source(description, ["x"])


def test_a_source_that_is_written_to_is_not_read_as_zeros(folder: Path) -> None:
    with h5py.File(folder / "view.h5", "w") as file:
        view(file, "x", "data/rows.h5", "group/rows")
    description = describe(folder / "view.h5", allow_external=True)
    with (
        h5py.File(folder / "data" / "rows.h5", "r+"),
        pytest.raises(FileBusyError, match=r"rows.h5"),
    ):
        Source(description, ["x"])


def test_a_source_that_is_no_file_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "data" / "pipe.h5")
    with h5py.File(folder / "view.h5", "w") as file:
        file["good"] = ROWS
        view(file, "x", "data/pipe.h5", "rows")
    description = describe(folder / "view.h5", allow_external=True)
    with pytest.raises(DatasetError, match=r"x in view.h5 cannot be read: .*not a regular file"):
        description.dataset("x")
    assert description.dataset("good").shape == ROWS.shape


def test_a_source_that_grew_since_is_told(folder: Path) -> None:
    with h5py.File(folder / "view.h5", "w") as file:
        view(file, "x", "data/rows.h5", "group/rows", endless=True)
    description = describe(folder / "view.h5", allow_external=True)
    with h5py.File(folder / "data" / "rows.h5", "r+") as file:
        file["group/rows"].resize(30, axis=0)
    with pytest.raises(FileChangedError, match=r"x in view.h5 was uint8 \(20, 4\) and is .*30"):
        Source(description, ["x"])


def test_damage_in_a_source_is_not_read_as_zeros(folder: Path) -> None:
    with h5py.File(folder / "view.h5", "w") as file:
        view(file, "x", "data/rows.h5", "group/rows")
    whole = (folder / "data" / "rows.h5").read_bytes()
    damaged = whole.replace(b"TREE", b"FREE")
    assert damaged != whole
    (folder / "data" / "rows.h5").write_bytes(damaged)
    with pytest.raises((DatasetError, FileError, ReadError), match=r"(rows|view)\.h5"):
        rows_of(folder / "view.h5")
