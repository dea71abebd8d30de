"""Rows that were never written: what h5py gives, never what the memory held before.

HDF5 leaves memory as it was where a dataset has no value for what is missing. Each test reads over
memory that holds a pattern; one runs in a child whose allocator fills all memory with another.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.libhdf5 import undefine_fill_value

from prefetcher.conversion.convert import convert
from prefetcher.errors import CorruptError
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source

MARK = "\nseen: "
SHAPE = (60, 5)
ROWS = np.arange(1, 301, dtype="i4").reshape(SHAPE)
SPACED = np.dtype({"names": ["a", "b"], "formats": ["S3", "i4"], "offsets": [0, 8], "itemsize": 16})


def chunked(file: h5py.Group, name: str = "x", **options: Any) -> h5py.Dataset:
    rows = file.create_dataset(name, SHAPE, "i4", chunks=(8, 5), **options)
    rows[10:30] = ROWS[10:30]
    return rows


def never_filled(file: h5py.File) -> None:
    chunked(file, fill_time="never")


def never_filled_gzip(file: h5py.File) -> None:
    chunked(file, fill_time="never", compression="gzip")


def never_filled_with_a_value(file: h5py.File) -> None:
    chunked(file, fill_time="never", fillvalue=7)


def never_filled_scaleoffset(file: h5py.File) -> None:
    chunked(file, fill_time="never", scaleoffset=0)


def never_written(file: h5py.File) -> None:
    file.create_dataset("x", SHAPE, "i4", fill_time="never")


def never_written_chunks(file: h5py.File) -> None:
    file.create_dataset("x", SHAPE, "i4", chunks=(8, 5), fill_time="never")


def with_a_value(file: h5py.File) -> None:
    chunked(file, fillvalue=7, compression="gzip")


def made(file: h5py.File, properties: h5py.h5p.PropDCID, *, rows: slice) -> h5py.Dataset:
    space = h5py.h5s.create_simple(SHAPE)
    dataset = h5py.Dataset(h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, space, properties))
    dataset[rows] = ROWS[rows]
    return dataset


def undefined(chunks: tuple[int, ...] | None = None, gzip: int = 0) -> h5py.h5p.PropDCID:
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    undefine_fill_value(properties)
    if chunks:
        properties.set_chunk(chunks)
    if gzip:
        properties.set_deflate(gzip)
    return properties


def undefined_chunks(file: h5py.File) -> None:
    made(file, undefined((8, 5)), rows=slice(10, 30))


def undefined_parts_of_rows(file: h5py.File) -> None:
    made(file, undefined((8, 3), gzip=4), rows=slice(10, 30))


def records(file: h5py.File) -> None:
    """Of a kind that HDF5 converts: it fills the fields alone, not what lies between them."""
    stored = h5py.h5t.create(h5py.h5t.COMPOUND, 16)
    text = h5py.h5t.C_S1.copy()
    text.set_size(3)
    text.set_strpad(h5py.h5t.STR_NULLTERM)
    stored.insert(b"a", 0, text)
    stored.insert(b"b", 8, h5py.h5t.STD_I32BE)
    space = h5py.h5s.create_simple((60,))
    rows = np.zeros(60, SPACED)
    rows["a"], rows["b"] = b"ab", ROWS[:, 0]
    h5py.Dataset(h5py.h5d.create(file.id, b"x", stored, space))[:] = rows


def records_never_filled(file: h5py.File) -> None:
    rows = file.create_dataset("x", (60,), SPACED, chunks=(7,), fill_time="never")
    rows[20:30] = np.ones(10, SPACED)


def view(file: h5py.File, *sources: tuple[int, int, str, str], undefine: bool = False) -> None:
    """A virtual dataset "x" whose rows from `start` to `stop` are those of a source."""
    properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
    if undefine:
        undefine_fill_value(properties)
    space = h5py.h5s.create_simple(SHAPE)
    for start, stop, path, name in sources:
        space.select_hyperslab((start, 0), (stop - start, SHAPE[1]))
        source = h5py.h5s.create_simple(SHAPE)
        source.select_hyperslab((start, 0), (stop - start, SHAPE[1]))
        properties.set_virtual(space, path.encode(), name.encode(), source)
    space.select_all()
    h5py.h5d.create(file.id, b"x", h5py.h5t.STD_I32LE, space, properties)


def virtual_with_gaps(file: h5py.File) -> None:
    file["whole"] = ROWS
    view(file, (5, 10, ".", "whole"), (40, 50, ".", "whole"))


def virtual_with_gaps_undefined(file: h5py.File) -> None:
    file["whole"] = ROWS
    view(file, (5, 10, ".", "whole"), (40, 50, ".", "whole"), undefine=True)


def virtual_over_gaps(file: h5py.File) -> None:
    chunked(file, "parts", fill_time="never")
    view(file, (0, 60, ".", "parts"))


def virtual_over_nothing(file: h5py.File) -> None:
    file["whole"] = ROWS
    view(file, (0, 20, ".", "whole"), (20, 40, "gone.h5", "x"), (40, 60, ".", "gone"))


def virtual_over_nothing_undefined(file: h5py.File) -> None:
    file["whole"] = ROWS
    gone = ((20, 40, "gone.h5", "x"), (40, 60, ".", "gone"))
    view(file, (0, 20, ".", "whole"), *gone, undefine=True)


def external(file: h5py.File) -> None:
    """Half of its bytes are in another file, which ends there."""
    path = Path(file.filename).with_name("half.bin")
    path.write_bytes(ROWS[:30].tobytes())
    file.create_dataset("x", SHAPE, "i4", external=[(str(path), 0, ROWS.nbytes)])


KINDS = [
    never_filled, never_filled_gzip, never_filled_with_a_value, never_filled_scaleoffset,
    never_written, never_written_chunks, with_a_value, undefined_chunks,
    undefined_parts_of_rows, records, records_never_filled, virtual_with_gaps,
    virtual_with_gaps_undefined, virtual_over_gaps, virtual_over_nothing,
    virtual_over_nothing_undefined, external,
]  # fmt: skip
Kind = Callable[[h5py.File], None]


def written(folder: Path, kind: Kind, libver: str) -> Path:
    path = folder / f"{kind.__name__}-{libver}.h5"
    with h5py.File(path, "w", libver=libver) as file:
        kind(file)
    return path


def by_h5py(path: Path) -> Any:
    with h5py.File(path) as file:
        return file["x"][...].tobytes()


def by_us(path: Path, cuts: int) -> bytes:
    """All rows, to `cuts` arrays, over memory that holds a pattern."""
    description = describe(path, allow_external=True)
    rows = description.dataset("x")
    out = np.full((rows.rows, rows.row_bytes), 0xA5, np.uint8)
    with closing(Source(description, ["x"])) as source:
        source.read("x", [(0, 25), (25, rows.rows)], np.array_split(out, cuts))
    return out.tobytes()


@pytest.mark.parametrize("libver", ["earliest", "latest"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_never_written_is_what_h5py_gives(tmp_path: Path, kind: Kind, libver: str) -> None:
    path = written(tmp_path, kind, libver)
    assert by_us(path, 1) == by_h5py(path)
    assert by_us(path, 60) == by_h5py(path)


def test_what_h5py_cannot_give_is_an_error(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made(file, undefined(), rows=slice(0, 0))
    with pytest.raises(CorruptError, match=r"rows 0 to 25 of x in a.h5.*no data"):
        by_us(tmp_path / "a.h5", 1)


@pytest.mark.parametrize("chunks", [(8, 5), (8, 3)])
def test_a_fill_value_that_is_undefined_is_no_damage(
    tmp_path: Path, chunks: tuple[int, int]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        made(file, undefined(chunks, gzip=4), rows=slice(None))
    assert by_us(tmp_path / "a.h5", 7) == ROWS.tobytes()
    assert describe(tmp_path / "a.h5").dataset("x").way == "storage chunks"
    with closing(Source(describe(tmp_path / "a.h5"), ["x"])) as source:
        assert source.way_of("x") == "storage chunks"


def test_a_converted_file_has_what_h5py_gives(tmp_path: Path) -> None:
    path = written(tmp_path, never_filled, "latest")
    convert(path, tmp_path / "converted.h5", x="x")
    with h5py.File(tmp_path / "converted.h5") as file:
        assert file["x"][...].tobytes() == by_h5py(path)


def run(folder: Path) -> Mapping[str, bool]:
    """Whether our bytes are those of h5py, for each kind of file."""
    paths = [written(folder, kind, "latest") for kind in KINDS]
    return {path.stem: by_us(path, 60) == by_h5py(path) for path in paths}


def test_an_allocator_that_fills_all_memory_shows_in_no_row(tmp_path: Path) -> None:
    child = subprocess.run(
        [sys.executable, "-X", "faulthandler", __file__, tmp_path],
        env=os.environ | {"MALLOC_PERTURB_": "90", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-2000:]
    same: Mapping[str, bool] = json.loads(child.stdout.rpartition(MARK)[2])
    assert len(same) == len(KINDS)
    assert [kind for kind, right in same.items() if not right] == []


if __name__ == "__main__":
    print(MARK + json.dumps(run(Path(sys.argv[1]))))  # noqa: T201
