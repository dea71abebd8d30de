"""Sources that are damaged, endless, too large or made to harm: an own error, and nothing left."""

from __future__ import annotations

import io
import os
import shutil
import tempfile
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.photographs import CLASSES, names_in
from helpers.waiting import Task
from PIL import Image

from prefetcher import convert, picture
from prefetcher.conversion import checks, npz
from prefetcher.conversion.convert import Conversion
from prefetcher.conversion.options import Options
from prefetcher.conversion.picture import decode
from prefetcher.errors import DatasetError, FileError, PrefetchError, SettingsError
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.picture import Look

COUNT = 25 * len(CLASSES)
NEVER_ENDS = Path("/dev/zero")


def refused(source: Any, out: Path, kind: type[PrefetchError], match: str, **how: Any) -> None:
    """The conversion is an own error, told within a limit, and leaves no file."""
    with pytest.raises(kind, match=match):
        Task(lambda: convert(source, out, **how)).result()
    assert not [name for name in names_in(out.parent) if name.startswith(out.name)]


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.h5", "a.csv"])
@pytest.mark.parametrize("kind", ["fifo", "device", "folder"])
def test_a_file_that_is_none_is_not_opened(
    tiles: Path, tmp_path: Path, name: str, kind: str
) -> None:
    path = tmp_path / name
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to(NEVER_ENDS)
    else:
        path.mkdir()
    out = tmp_path / "out.h5"
    match = rf"a\.\w+ is a (?i:{kind}), not a regular file"
    if name == "a.csv":
        refused(tiles, out, FileError, match, labels=path)
        return
    if kind != "folder":
        refused(path, out, FileError, match)
    if name == "a.npy":
        refused({"x": path}, out, FileError, match)


@pytest.mark.parametrize("kind", ["fifo", "device", "socket", "link to nothing"])
def test_a_picture_that_is_no_file_counts_as_one_that_cannot_be_read(
    folder: Path, tmp_path: Path, kind: str
) -> None:
    path = folder / "grass" / "9999.png"
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "socket":
        os.mknod(path, 0o140600)
    else:
        path.symlink_to(NEVER_ENDS if kind == "device" else tmp_path / "nowhere")
    table = tmp_path / "log.csv"
    table.write_text("path,v\ngrass/0000.png,1\ngrass/9999.png,2\n")
    out = tmp_path / "out.h5"
    for how in ({}, {"size": (8, 8)}, {"labels": table}):
        refused(folder, out, FileError, r"(?s)1 could not be read.*grass/9999\.png: .*\bis", **how)
    assert convert(folder, out, on_error="skip").rows == COUNT
    assert convert(folder, out, on_error="skip", labels=table).rows == 1


def test_links_that_lead_out_are_not_followed(folder: Path, tmp_path: Path) -> None:
    """Whether to a file or to a folder, named by a table or found."""
    outside = Path(shutil.copytree(folder / "grass", tmp_path / "outside"))
    (folder / "grass" / "out.png").symlink_to(outside / "0000.png")
    (folder / "grass" / "in.png").symlink_to(folder / "retina" / "0001.png")
    (folder / "linked").symlink_to(outside)
    (folder / "within").symlink_to(folder / "grass")
    out = tmp_path / "out.h5"
    refused(folder, out, FileError, "grass/out.png: it is a link that leads out of the folder")
    converted = convert(folder, tmp_path / "found.h5", on_error="skip")
    assert (converted.rows, converted.skipped) == (COUNT + 1, 1)
    with Conversion(folder, out, Options(on_error="skip")) as conversion:
        assert "2 links to folders are left out" in conversion.plan.about
    table = tmp_path / "log.csv"
    lines = ["grass/0000.png", "linked/0001.png", "grass/out.png", "within/0003.png"]
    table.write_text("path,v\n" + "".join(f"{line},1\n" for line in lines))
    refused(folder, out, FileError, "2 could not be read", labels=table)
    assert convert(folder, out, labels=table, on_error="skip").rows == 2


def test_a_picture_changed_for_a_fifo_since_the_plan_hangs_nobody(
    folder: Path, tmp_path: Path
) -> None:
    with Conversion(folder, tmp_path / "out.h5", Options()) as conversion:
        path = folder / "grass" / "0000.png"
        path.unlink()
        os.mkfifo(path)
        with pytest.raises(FileError, match=r"grass/0000\.png: 0000\.png is a FIFO"):
            Task(conversion.run).result()


def test_names_that_are_no_utf_8(folder: Path, tmp_path: Path) -> None:
    """Pictures and folders are read all the same; where they are told, bytes are escaped."""
    name = os.fsdecode(b"gr\xe4ser")
    (folder / "grass").rename(folder / name)
    bad = folder / name / os.fsdecode(b"\xff.png")
    shutil.copy(folder / name / "0000.png", bad)
    out = tmp_path / "out.h5"
    assert convert(folder, out).rows == COUNT + 1
    assert read_attributes(out).class_names["labels"][2] == "gr\\xe4ser"
    bad.write_bytes(b"")
    with pytest.raises(FileError, match=r"gr\\xe4ser/\\xff\.png: not a picture"):
        convert(folder, out)
    with Conversion(folder, out, Options(on_error="skip")) as conversion:
        assert any("gr\\xe4ser 26" in line for line in conversion.plan.about)


def test_large_pictures_wait_for_each_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of pictures that are too large together, one is decoded at a time."""
    for number in range(4):
        Image.new("RGB", (50, 40)).save(tmp_path / f"{number}.png")
    monkeypatch.setattr(picture, "PIXELS_AT_ONCE", 3999)
    inside = most = 0
    lock = threading.Lock()
    real = picture._coloured

    def counted(image: Image.Image, color: Any) -> Image.Image:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        try:
            return real(image, color)
        finally:
            with lock:
                inside -= 1

    monkeypatch.setattr(picture, "_coloured", counted)
    convert(tmp_path, tmp_path / "out.h5", size=(8, 8), workers=4)
    assert most == 1


def test_the_gate_lets_in_what_fits_and_the_largest_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture, "PIXELS_AT_ONCE", 100)
    gate = picture._Gate()
    with gate.through(60), gate.through(40):
        inside = threading.Event()

        def large() -> bool:
            with gate.through(500):
                inside.set()
                return gate._inside == 500

        waiting = Task(large)
        assert not inside.is_set()
    assert waiting.result()
    assert gate._inside == 0


def test_a_large_file_is_not_read_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (50, 40), (1, 2, 3)).save(tmp_path / "a.bmp")
    monkeypatch.setattr(picture, "_READ_AT_ONCE", 100)
    found = decode(tmp_path / "a.bmp", Look(40, 50, "rgb", None))
    assert (found == (1, 2, 3)).all()


def npy(array: Any, **how: Any) -> bytes:
    made = io.BytesIO()
    np.save(made, array, **how)
    return made.getvalue()


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    """The header of an array, with any text in it."""
    size = len(text).to_bytes(2 if version == b"\x01\x00" else 4, "little")
    return b"\x93NUMPY" + version + size + text.encode()


def of(shape: str, dtype: str = "'<i8'") -> bytes:
    return header(f"{{'descr': {dtype}, 'fortran_order': False, 'shape': {shape}, }}\n")


ARRAYS = {
    "no magic": b"junk" * 30,
    "nothing": b"",
    "a header without an end": header("{" + "(" * 300),
    "a header that is no Python": header("{'descr': '''"),
    "a long header": header("{" + " " * 40_000),
    "a header that is cut": of("(3,)")[:30],
    "a dtype that is none": of("(3,)", "'nonsense'"),
    "a shape below 0": of("(-1,)"),
    "a shape that is cut short": of("(3,)"),
    "a shape beyond all numbers": of(f"({'9' * 400},)"),
    "rows without elements": of("(1000000000, 0)"),
    "no rows": of("(0, 3)"),
    "one value": of("()") + bytes(8),
    "objects": npy(np.array([{}]), allow_pickle=True),
    "text": npy(np.array(["a", "b"])),
    "dates": npy(np.array(["2024-01-05", "2024-01-06"], "M8[D]")),
    "spans of time": npy(np.array([1, 2], "m8[s]")),
}


@pytest.mark.parametrize("kind", ARRAYS)
@pytest.mark.parametrize("how", ["npy", "npz", "compressed"])
def test_arrays_that_cannot_be_converted(tmp_path: Path, kind: str, how: str) -> None:
    path = tmp_path / ("a.npy" if how == "npy" else "a.npz")
    if how == "npy":
        path.write_bytes(ARRAYS[kind])
    else:
        packing = zipfile.ZIP_DEFLATED if how == "compressed" else zipfile.ZIP_STORED
        with zipfile.ZipFile(path, "w", packing) as archive:
            archive.writestr("a.npy", ARRAYS[kind])
    refused(path, tmp_path / "out.h5", PrefetchError, r"a(\.np.)? ")


def archive(path: Path, compression: int = zipfile.ZIP_DEFLATED, **arrays: Any) -> bytearray:
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, array in arrays.items():
            file.writestr(f"{name}.npy", npy(array))
    return bytearray(path.read_bytes())


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_damaged_npz(tmp_path: Path, compression: int) -> None:
    """A byte changed, or the end cut off, at many places: the same rows, or an own error."""
    path, out = tmp_path / "a.npz", tmp_path / "out.h5"
    array = np.random.default_rng(0).integers(0, 9, (50, 4))
    good = archive(path, compression, x=array)
    told = 0
    for at in range(0, len(good), 3):
        for bad in (good[:at] + bytes([good[at] ^ 255]) + good[at + 1 :], good[:at]):
            path.write_bytes(bad)
            try:
                convert(path, out)
            except PrefetchError:
                told += 1
                assert not (tmp_path / "out.h5.partial").exists()
                continue
            if compression == zipfile.ZIP_DEFLATED and len(bad) == len(good):
                with h5py.File(out) as file:
                    name = next(iter(file))
                    assert np.array_equal(file[name][:], array)
    assert told > len(good) / 3


def test_an_encrypted_npz(tmp_path: Path) -> None:
    good = archive(tmp_path / "a.npz", x=np.arange(9))
    directory = good.index(b"PK\x01\x02")
    for flags in (6, directory + 8):
        good[flags] |= 1
    (tmp_path / "a.npz").write_bytes(good)
    refused(tmp_path / "a.npz", tmp_path / "out.h5", FileError, r"a\.npz is encrypted")


def test_an_npz_that_unpacks_to_more_than_the_disk_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its directory says so, and nothing is unpacked, also where nothing is written."""
    archive(tmp_path / "a.npz", x=np.zeros((1000, 1000)))
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(npz, "unpack", None)
    out = tmp_path / "out.h5"
    match = r"a\.npz takes 0\.008 GB when it is unpacked, .* has 0\.001 GB free: set TMPDIR"
    refused(tmp_path / "a.npz", out, FileError, match)
    with pytest.raises(FileError, match=match):
        Conversion(tmp_path / "a.npz", out, Options())


def test_an_npz_is_unpacked_when_it_is_converted_and_no_more_than_announced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    path, out = tmp_path / "a.npz", tmp_path / "out.h5"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("x.npy", npy(np.arange(9)) + bytes(10_000_000))
    with Conversion(path, out, Options()) as conversion:
        assert conversion.plan.about[1].startswith("2e-07 GB of them are compressed")
        assert not names_in(tmp_path / "temporary")
        conversion.run()
        (unpacked,) = (tmp_path / "temporary").glob("*/*")
        assert unpacked.stat().st_size == 128 + 72
    assert not names_in(tmp_path / "temporary")


@pytest.mark.usefixtures("small_steps")
def test_a_compressed_npz_goes_on_after_a_break(tmp_path: Path) -> None:
    """What was unpacked is another file then."""
    archive(tmp_path / "a.npz", x=np.arange(30))
    out, done = tmp_path / "out.h5", [0]

    def interrupt(rows: int, _: int) -> None:
        done[0] += rows
        if done[0] > 12:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(tmp_path / "a.npz", out, progress=interrupt)
    loaded: list[int] = []
    convert(tmp_path / "a.npz", out, resume=True, progress=lambda rows, _: loaded.append(rows))
    assert loaded[0] >= 12
    with h5py.File(out) as file:
        assert file["x"][:].tolist() == list(range(30))


def sparse(path: Path, rows: int) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("x", (rows,), np.uint8, chunks=(1 << 20,))


@pytest.mark.parametrize("how", [{}, {"shuffle": True}, {"codec": "auto"}, {"shards": 3}])
def test_more_rows_than_can_be_planned(tmp_path: Path, how: dict[str, Any]) -> None:
    sparse(tmp_path / "a.h5", 10**15)
    match = r"a\.h5 has 1,000,000,000,000,000 rows, whose plan needs"
    refused(tmp_path / "a.h5", tmp_path / "out.h5", DatasetError, match, x="x", **how)


def test_rows_that_no_disk_has_are_not_planned_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "memory_allowed", lambda: 999)
    refused({"x": np.arange(50)}, tmp_path / "out.h5", DatasetError, "50 rows, whose plan needs")
    assert convert({"x": np.arange(40)}, tmp_path / "out.h5").rows == 40


def test_rows_that_hdf5_cannot_store(tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("empty", (5, 0), np.uint8)
        file.create_dataset("large", (2, 1 << 20, 5000), np.uint8, chunks=(1, 1 << 10, 100))
    refused(tmp_path / "a.h5", out, DatasetError, "empty has rows of shape", x="empty")
    refused(tmp_path / "a.h5", out, DatasetError, r"a row of large has 5\.24 GB", x="large")


NAMES = [(".",), ("a/",), ("/a",), ("a//b",), ("..",), ("",), ("a", "a/b"), ("a/b/c", "a"),
         ("images/x",), ("\ud800",), ("a\0b",)]  # fmt: skip


@pytest.mark.parametrize("names", NAMES)
def test_names_that_no_datasets_can_have(tiles: Path, tmp_path: Path, names: Any) -> None:
    """Of arrays, of samples, of columns and of members, whatever they are called."""
    out = tmp_path / "out.h5"
    match = "cannot be"
    if names != ("images/x",):
        refused({name: np.arange(5) for name in names}, out, DatasetError, match)
    # HDF5Writer takes "a/" for "a".
    if names not in (("a/",), ("/a",), ("images/x",)):
        refused([dict.fromkeys(names, 1)], out, PrefetchError, "cannot be|a row has a fixed size")
    if not {"", "a\0b", "\ud800"} & set(names):
        table = tmp_path / "log.csv"
        table.write_text(f"path,{','.join(names)}\ngrass/0000.png{',1' * len(names)}\n")
        refused(tiles, out, DatasetError, match, labels=table)


def test_names_in_groups_work(tmp_path: Path) -> None:
    convert({"a/b": np.arange(5), "a/c": np.arange(5), "d": np.arange(5)}, tmp_path / "out.h5")
    with h5py.File(tmp_path / "out.h5") as file:
        assert file["a/c"][:].tolist() == [0, 1, 2, 3, 4]


def test_what_never_began_leaves_no_partial_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever HDF5 does not like about the first dataset."""

    def unheard_of(*_: object) -> None:
        raise TypeError("no such kind of dataset")

    monkeypatch.setattr("prefetcher.writing.growing.GrowingDataset.create", unheard_of)
    with pytest.raises(TypeError, match="no such kind"):
        convert({"x": np.arange(5)}, tmp_path / "out.h5")
    assert not names_in(tmp_path)


def test_what_is_read_is_not_written_over(folder: Path, tmp_path: Path) -> None:
    """Under any name of what is written: the file, its partial one, a shard, the report."""
    array = tmp_path / "x.npy"
    np.save(array, np.arange(9))
    table = tmp_path / "out.h5.skipped.jsonl"
    table.write_text('{"path": "grass/0000.png", "v": 1}\n')
    linked = tmp_path / "linked.h5"
    linked.symlink_to(array)
    picture = folder / "grass" / "0000.png"
    cases: list[tuple[Any, Path, dict[str, Any]]] = [
        (array, array, {}),
        (array, linked, {}),
        ({"x": array}, array, {}),
        (folder, table, {"labels": table}),
        (folder, tmp_path / "out.h5", {"labels": table}),
        (folder, picture, {}),
        (folder / "grass", picture, {}),
    ]
    for number, source in enumerate((array, {"x": array})):
        shard = tmp_path / f"y{number}-00001-of-00002.h5"
        shard.symlink_to(array)
        cases.append((source, tmp_path / f"y{number}.h5", {"shards": 2}))
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    for source, out, how in cases:
        with pytest.raises(SettingsError, match="is read and cannot be written"):
            convert(source, out, **how)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()} == before


def test_a_link_in_the_place_of_what_is_written_is_not_followed(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("mine")
    for name in ("out.h5.partial", "out.h5.partial.json.new", "out.h5.skipped.jsonl"):
        (tmp_path / name).symlink_to(precious)
    convert({"x": np.arange(9)}, tmp_path / "out.h5")
    assert precious.read_text() == "mine"
    os.mkfifo(tmp_path / "out.h5.partial")
    with pytest.raises(FileError, match=r"out\.h5\.partial is no regular file"):
        Task(lambda: convert({"x": np.arange(9)}, tmp_path / "out.h5")).result()


def test_deep_json(tiles: Path, tmp_path: Path) -> None:
    table = tmp_path / "log.jsonl"
    table.write_text('{"path": "a", "v": ' + "[" * 100_000 + "\n")
    refused(tiles, tmp_path / "out.h5", FileError, r"line 1 of log\.jsonl", labels=table)


def test_a_folder_that_cannot_be_listed_is_told(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real: Callable[..., Any] = os.scandir

    def scandir(path: str) -> Any:
        if path.endswith("retina"):
            raise PermissionError(13, "Permission denied")
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    refused(folder, tmp_path / "out.h5", FileError, "retina cannot be listed: .*Permission denied")
