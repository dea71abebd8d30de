"""`Picture`: encoded pictures, decoded by the rules of `prefetcher.convert`."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.ragged import picture_of
from PIL import Image

from prefetcher import Padded, Picture, Window
from prefetcher.columns.column import RowValueError, Stored, Value
from prefetcher.conversion import picture as conversion
from prefetcher.errors import DatasetError, SettingsError
from prefetcher.picture import FORMATS, Look

VLEN = Stored(h5py.vlen_dtype(np.dtype("u1")), ())


def objects(*files: bytes) -> Any:
    made = np.empty(len(files), object)
    made[:] = [np.frombuffer(file, np.uint8) for file in files]
    return made


def padded(*files: bytes) -> Any:
    """Rows of one size, with what may stand behind a picture: zeros, or anything."""
    rows = np.zeros((len(files), 20 + max(map(len, files))), np.uint8)
    for at, file in enumerate(files):
        rows[at, : len(file)] = np.frombuffer(file, np.uint8)
        rows[at, len(file) :] = at
    return rows


def value(of: Any = VLEN, size: tuple[int, int] = (6, 9), **how: Any) -> Value:
    return Picture("p", size, **how).value(of)


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_in_every_layout(kind: str) -> None:
    files = [picture_of(number, kind) for number in (3, 200, 90)]
    rows = padded(*files)
    opaque = rows.view(f"V{rows.shape[1]}")[:, 0]
    text = rows.view(f"S{rows.shape[1]}")[:, 0]
    layouts = [
        (objects(*files), VLEN),
        (rows, Stored(rows.dtype, rows.shape[1:])),
        (opaque, Stored(opaque.dtype, ())),
        (text, Stored(text.dtype, ())),
    ]
    for stored, of in layouts:
        bound = value(of)
        assert (bound.dtype, bound.shape) == (np.dtype(np.uint8), (6, 9, 3))
        made = bound.make(stored)
        assert made.shape == (3, 6, 9, 3)
        for found, number in zip(made, (3, 200, 90), strict=True):
            assert np.abs(found.astype(int) - number).max() <= 2  # JPEG and WEBP lose a little


def photograph(kind: str, **how: Any) -> bytes:
    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 4), np.uint8), "RGBA")
    image = small.resize((70, 50)).convert("RGB" if kind == "JPEG" else "RGBA")
    made = BytesIO()
    image.save(made, kind, **how)
    return made.getvalue()


@pytest.mark.parametrize("color", ["rgb", "grey", "rgba"])
@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_pixels_are_those_of_convert(tmp_path: Path, color: Any, resize: Any, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # stored on its side
    file = photograph(kind, exif=exif)
    path = tmp_path / f"a.{kind.lower()}"
    path.write_bytes(file)
    expected = conversion.decode(path, Look(12, 20, color, resize))
    made = value(size=(12, 20), color=color, resize=resize).make(objects(file))
    assert (made[0] == expected).all()
    assert made.shape == (1, 12, 20, {"rgb": 3, "grey": 1, "rgba": 4}[color])


def test_windows_of_pictures() -> None:
    bound = Window(Picture("p", (2, 2)), 3).value(VLEN)
    assert bound.shape == (3, 2, 2, 3)
    files = objects(*(picture_of(number) for number in (1, 2, 3, 2, 3, 4)))
    made = bound.make(files.reshape(2, 3))
    assert made[:, :, 0, 0, 0].tolist() == [[1, 2, 3], [2, 3, 4]]


def test_several_pictures_in_a_row() -> None:
    files = [picture_of(number) for number in (1, 2, 3, 4)]
    bound = Picture("p", (2, 2)).value(Stored(VLEN.dtype, (2,)))
    assert bound.shape == (2, 2, 2, 3)
    made = bound.make(objects(*files).reshape(2, 2))
    assert made[:, :, 0, 0, 0].tolist() == [[1, 2], [3, 4]]
    rows = padded(*files).reshape(2, 2, -1)
    made = Picture("p", (2, 2)).value(Stored(rows.dtype, rows.shape[1:])).make(rows)
    assert made[:, :, 0, 0, 0].tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    ("file", "why"),
    [
        (b"", "not a picture"),
        (b"no picture at all", "not a picture"),
        (picture_of(9)[:-30], "runcated|broken|cannot"),
        (photograph("JPEG")[:400], "[Tt]runcated"),
    ],
)
def test_what_is_no_picture_tells_its_row(file: bytes, why: str) -> None:
    good = picture_of(1)
    with pytest.raises(RowValueError, match=why) as caught:
        value().make(objects(good, good, file, good))
    assert caught.value.at == 2
    assert caught.value.why.startswith("is no picture that can be decoded: ")
    of_two = Picture("p", (2, 2)).value(Stored(VLEN.dtype, (2,)))
    with pytest.raises(RowValueError) as caught:
        of_two.make(objects(good, good, good, file).reshape(2, 2))
    assert caught.value.at == 1


@pytest.mark.parametrize(
    ("column", "says"),
    [
        (lambda: Picture("p", (0, 3)), r"size=\(height, width\)"),
        (lambda: Picture("p", 3), r"size=\(height, width\)"),  # type: ignore[arg-type]
        (lambda: Picture("p", (2.5, 3)), r"size=\(height, width\)"),  # type: ignore[arg-type]
        (lambda: Picture("p", (2, 3), "cmyk"), "color is one of 'rgb', 'grey', 'rgba'"),  # type: ignore[arg-type]
        (lambda: Picture("p", (2, 3), "gray"), "'rgba': did you mean 'grey'"),  # type: ignore[arg-type]
        (lambda: Picture("p", (2, 3), "grayscale"), "did you mean 'grey'"),  # type: ignore[arg-type]
        (lambda: Picture("p", (2, 3), resize="fit"), "resize is one of 'stretch'"),  # type: ignore[arg-type]
        (lambda: Picture(5, (2, 3)), "name of a dataset"),  # type: ignore[arg-type]
        (lambda: Picture(Window("p", 2), (2, 3)), "and Window of that"),
        (lambda: Picture(Padded("p", 2), (2, 3)), "Picture of the dataset"),
    ],
)
def test_settings_that_cannot_be(column: Any, says: str) -> None:
    with pytest.raises(SettingsError, match=says):
        column()


@pytest.mark.parametrize(
    "of",
    [
        Stored(h5py.vlen_dtype(np.dtype("f4")), ()),
        Stored(h5py.string_dtype(), ()),
        Stored(np.dtype("f4"), (9,)),
        Stored(np.dtype("u1"), ()),
        Stored(np.dtype([("a", "u1")]), ()),
    ],
    ids=str,
)
def test_rows_that_are_no_bytes_are_refused(of: Stored) -> None:
    with pytest.raises(DatasetError, match="encoded pictures are rows of bytes"):
        value(of)
