"""Names that lead through links, and what cannot be used beside what can."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import h5py
import numpy as np
import pytest

from prefetcher.errors import DatasetError, FileMissingError, NoDatasetError, UnsafeFileError
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.hdf5.describe import describe
from prefetcher.hdf5.source import Source

ROWS = np.arange(1, 81, dtype="u1").reshape(20, 4)


def rows_of(path: Path, name: str, *, allow_external: bool = False) -> bytes:
    description = describe(path, allow_external=allow_external)
    found = description.dataset(name)
    out = np.full((found.rows, found.row_bytes), 0xA5, np.uint8)
    with closing(Source(description, [found.name])) as source:
        source.read(found.name, [(0, found.rows)], [out])
    return out.tobytes()


def of_type(file: h5py.File, kind: h5py.h5t.TypeID) -> None:
    h5py.h5d.create(file.id, b"odd", kind, h5py.h5s.create_simple((3,)))


def field_not_utf8(file: h5py.File) -> None:
    kind = h5py.h5t.create(h5py.h5t.COMPOUND, 4)
    kind.insert(b"caf\xe9", 0, h5py.h5t.STD_I32LE)
    of_type(file, kind)


def float_of_128_bits(file: h5py.File) -> None:
    kind = h5py.h5t.IEEE_F64LE.copy()
    kind.set_size(16)
    kind.set_precision(128)
    kind.set_fields(127, 112, 15, 0, 112)
    kind.set_ebias(16383)
    of_type(file, kind)


def opaque_with_a_tag(file: h5py.File) -> None:
    kind = h5py.h5t.create(h5py.h5t.OPAQUE, 4)
    kind.set_tag(b"blob")
    of_type(file, kind)


def time(file: h5py.File) -> None:
    of_type(file, h5py.h5t.UNIX_D32LE)


def user_defined(path: Path) -> None:
    """An external link with the number of another kind."""
    with h5py.File(path, "r+") as file:
        file["odd"] = h5py.ExternalLink("elsewhere.h5", "/x")
    whole = path.read_bytes()
    assert whole.count(b"\x40\x03odd") == 1
    path.write_bytes(whole.replace(b"\x40\x03odd", b"\x46\x03odd"))


def unknown_header(path: Path) -> None:
    """An object header of a version that nobody knows."""
    with h5py.File(path, "r+") as file:
        file["odd"] = ROWS
        at = h5py.h5o.get_info(file["odd"].id).addr
    whole = bytearray(path.read_bytes())
    whole[at] = 99
    path.write_bytes(whole)


def damaged_group(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["odd/x"] = ROWS
    whole = path.read_bytes()
    at = whole.rindex(b"SNOD")
    path.write_bytes(whole[:at] + b"SNOT" + whole[at + 4 :])


def dangling(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["odd"] = h5py.SoftLink("/gone/x")


def circle(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["odd"] = h5py.SoftLink("/other")
        file["other"] = h5py.SoftLink("odd")


def no_storage(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        lost = str(path.parent / "lost.bin")
        file.create_dataset("odd", shape=(5,), dtype="u1", external=[(lost, 0, 5)])


def no_other_file(path: Path) -> None:
    with h5py.File(path, "r+") as file:
        file["odd"] = h5py.ExternalLink("lost.h5", "/x")


def typed(make: Callable[[h5py.File], None]) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            make(file)

    return write


CASES = {
    "field": (typed(field_not_utf8), "its type is none of numpy's"),
    "float128": (typed(float_of_128_bits), "its type is none of numpy's"),
    "time": (typed(time), "its type is none of numpy's"),
    "opaque": (typed(opaque_with_a_tag), "HDF5 cannot convert its type"),
    "link": (user_defined, "user-defined kind"),
    "header": (unknown_header, "HDF5 cannot open it"),
    "group": (damaged_group, "HDF5 cannot list this group"),
    "dangling": (dangling, "odd is a link to /gone/x, where nothing is"),
    "circle": (circle, "leads in a circle"),
    "storage": (no_storage, r"keeps its bytes in .*lost\.bin, which is missing"),
    "file": (no_other_file, r"odd is a link to /x in lost\.h5, which is missing"),
}


@pytest.mark.parametrize("case", CASES)
def test_what_cannot_be_read_is_refused_alone(tmp_path: Path, case: str) -> None:
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["good"] = ROWS
    make, says = CASES[case]
    make(path)
    description = describe(path, allow_external=True)
    with pytest.raises(DatasetError, match=rf"odd in a.h5 cannot be read: .*{says}"):
        description.dataset("odd")
    if case not in ("dangling", "circle"):  # soft links that lead to no dataset are not listed
        assert {d.name: bool(d.refused) for d in description.datasets} == {
            "good": False,
            "odd": True,
        }
    assert rows_of(path, "good", allow_external=True) == ROWS.tobytes()
    read_attributes(path)


def test_a_name_that_is_not_utf8_is_a_name(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_group(b"caf\xe9")[b"\xff"] = ROWS
        file["good"] = ROWS
    assert [d.name for d in describe(tmp_path / "a.h5").datasets] == ["good", "caf\udce9/\udcff"]
    assert rows_of(tmp_path / "a.h5", "good") == ROWS.tobytes()
    assert rows_of(tmp_path / "a.h5", "caf\udce9/\udcff") == ROWS.tobytes()
    read_attributes(tmp_path / "a.h5")


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["group/deep/rows"] = ROWS
        file["second"] = file["group"]  # another hard link
        file["group/deep/up"] = file["group"]  # and a circle
        file["soft"] = h5py.SoftLink("/group/deep")
        file["group/near"] = h5py.SoftLink("deep/rows")
        file["through"] = h5py.SoftLink("soft/up/near")
        file["out"] = h5py.ExternalLink("b.h5", "/")
        file["far"] = h5py.SoftLink("out/rows")
        file["empty/inner"] = h5py.SoftLink("/group")
        file.create_group("nothing")
        file["kind"] = np.dtype("f4")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["rows"] = ROWS
    return tmp_path / "a.h5"


@pytest.mark.parametrize(
    "name",
    [
        "second/deep/rows", "soft/rows", "group/near", "second/near", "through", "soft/up/near",
        "group/deep/up/deep/up/deep/rows", "/group//deep/./rows/", "./through", "empty/inner/near",
        "//second//./deep/up/near",
    ],
)  # fmt: skip
def test_every_path_that_hdf5_follows_is_a_name(linked: Path, name: str) -> None:
    with h5py.File(linked) as file:
        assert file[name][...].tobytes() == ROWS.tobytes()
    assert rows_of(linked, name) == ROWS.tobytes()


def test_the_list_of_what_is_there_ends(linked: Path) -> None:
    found = {dataset.name for dataset in describe(linked).datasets}
    assert found == {"group/deep/rows", "group/near", "out"}


def test_a_path_out_of_the_file_is_followed_if_asked(linked: Path) -> None:
    for name in ("far", "out/rows"):
        with pytest.raises(UnsafeFileError, match=r"out is a link to / in b.h5.*--allow-external"):
            describe(linked).dataset(name)
        assert rows_of(linked, name, allow_external=True) == ROWS.tobytes()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("second", r"'second' in a.h5 is a group of second/deep, second/near: name a dataset in"),
        ("group", r"'group' in a.h5 is a group of group/deep/rows uint8"),
        ("nothing", "'nothing' in a.h5 is an empty group"),
        ("kind", "'kind' in a.h5 is a named type"),
        ("soft/rows/x", "no dataset 'soft/rows/x'"),
        ("group/../second/near", "no dataset"),
        ("soft/\0", "no dataset"),
    ],
)
def test_what_is_no_dataset_is_told(linked: Path, name: str, says: str) -> None:
    with pytest.raises(NoDatasetError, match=says):
        describe(linked).dataset(name)


def test_storage_that_is_gone_is_no_damage(tmp_path: Path) -> None:
    raw = tmp_path / "raw.bin"
    raw.write_bytes(ROWS.tobytes())
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("x", ROWS.shape, "u1", external=[(str(raw), 0, ROWS.nbytes)])
    assert rows_of(tmp_path / "a.h5", "x", allow_external=True) == ROWS.tobytes()
    description = describe(tmp_path / "a.h5", allow_external=True)
    with closing(Source(description, ["x"])) as source:
        raw.unlink()
        with pytest.raises(FileMissingError, match=r"x cannot be read: .*raw.bin, which is miss"):
            source.read("x", [(0, 20)], [np.empty((20, 4), np.uint8)])
