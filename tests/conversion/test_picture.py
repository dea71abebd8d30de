"""One picture: upright, in the colours and size asked for, by the rules of docs/convert.md."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.photographs import PHOTOGRAPHS, photograph
from numpy.typing import NDArray
from PIL import Image

from prefetcher.conversion.picture import decode, size_of
from prefetcher.picture import Color, Look, Resize, reason


def look(height: int, width: int, color: Color = "rgb", resize: Resize | None = "stretch") -> Look:
    return Look(height, width, color, resize)


def saved(path: Path, pixels: Any, mode: str | None = None, **options: Any) -> Path:
    image = Image.fromarray(np.asarray(pixels, np.uint8))
    (image.convert(mode) if mode else image).save(path, **options)
    return path


def flat(*colour: int) -> NDArray[np.uint8]:
    return np.full((6, 8, len(colour)), colour, np.uint8)


@pytest.mark.parametrize(
    "name", ["astronaut", "camera", "logo", "retina", "horse", "no_time_for_that_tiny"]
)
@pytest.mark.parametrize("color", ["rgb", "grey", "rgba"])
@pytest.mark.parametrize("resize", ["stretch", "pad", "crop"])
def test_real_pictures_of_every_kind(name: str, color: Color, resize: Resize) -> None:
    found = decode(photograph(name), look(40, 60, color, resize))
    assert found.shape == (40, 60, {"rgb": 3, "grey": 1, "rgba": 4}[color])
    assert found.dtype == np.uint8
    assert found.std() > 5


def test_a_photograph_in_its_own_size_keeps_every_pixel() -> None:
    with Image.open(photograph("astronaut")) as image:
        pixels = np.asarray(image)
    assert np.array_equal(decode(photograph("astronaut"), look(512, 512, resize=None)), pixels)


def test_a_jpeg_made_smaller_by_its_decoder_stays_the_same_picture() -> None:
    with Image.open(photograph("retina")) as image:
        whole = np.asarray(image.resize((100, 100), Image.Resampling.BILINEAR), np.float64)
    found = decode(photograph("retina"), look(100, 100))
    assert np.abs(found - whole).mean() < 2


def test_stretch_pad_and_crop(tmp_path: Path) -> None:
    """A wide picture: its left quarter red, its right quarter blue, green between."""
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, :10, 0] = pixels[:, 10:30, 1] = pixels[:, 30:, 2] = 255
    path = saved(tmp_path / "wide.png", pixels)
    stretched = decode(path, look(20, 20, resize="stretch"))
    assert [stretched[10, x].argmax() for x in (1, 10, 18)] == [0, 1, 2]
    padded = decode(path, look(20, 20, resize="pad"))
    assert not padded[:4].any()
    assert not padded[-4:].any()
    assert [padded[10, x].argmax() for x in (1, 10, 18)] == [0, 1, 2]
    cropped = decode(path, look(20, 20, resize="crop"))
    assert (cropped.argmax(axis=2) == 1).all()


def test_another_size_is_refused_without_a_size(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="6 x 8, the first one 20 x 20: write a size"):
        decode(saved(tmp_path / "a.png", flat(1, 2, 3)), look(20, 20, resize=None))


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_camera_was_held_in_every_way(tmp_path: Path, orientation: int) -> None:
    """Upright, the picture is red at the top left; each way turns or mirrors what is stored."""
    upright = np.zeros((6, 8, 3), np.uint8)
    upright[:3, :4, 0] = 255
    turned = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.swapaxes(0, 1),
        6: np.rot90(upright),
        7: upright[::-1, ::-1].swapaxes(0, 1),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(tmp_path / "a.png", np.ascontiguousarray(turned), exif=exif)
    assert size_of(path) == (6, 8)
    assert np.array_equal(decode(path, look(6, 8, resize=None)), upright)


@pytest.mark.parametrize(
    ("pixels", "mode", "color", "wanted"),
    [
        (flat(10, 20, 30), None, "rgb", (10, 20, 30)),
        (flat(10, 20, 30), None, "rgba", (10, 20, 30, 255)),
        (flat(100, 100, 100), "L", "rgb", (100, 100, 100)),
        (flat(255, 0, 0), None, "grey", (76,)),  # 0.299 of it, as television does
        (flat(200, 0, 0, 0), None, "rgb", (255, 255, 255)),  # nothing to be seen: white
        (flat(200, 0, 0, 0), None, "grey", (255,)),
        (flat(200, 0, 0, 0), None, "rgba", (200, 0, 0, 0)),
        (flat(0, 0, 0, 51), None, "rgb", (204, 204, 204)),
        (flat(0, 204, 0), "P", "rgb", (0, 204, 0)),
        (flat(255, 255, 255), "1", "grey", (255,)),
    ],
)
def test_colours(
    tmp_path: Path,
    pixels: NDArray[np.uint8],
    mode: str | None,
    color: Color,
    wanted: tuple[int, ...],
) -> None:
    found = decode(saved(tmp_path / "a.png", pixels, mode), look(6, 8, color))
    assert (found == np.array(wanted, np.uint8)).all(), found[0, 0]


def test_cmyk(tmp_path: Path) -> None:
    path = saved(tmp_path / "a.jpg", flat(255, 0, 0), "CMYK", quality=95)
    found = decode(path, look(6, 8))
    assert np.abs(found.astype(int) - (255, 0, 0)).max() < 6


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_16_bits_are_scaled_so_that_white_stays_white(tmp_path: Path, suffix: str) -> None:
    values = np.array([[0, 128, 129, 257, 65535, 32768]], np.uint16)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    found = decode(tmp_path / f"a.{suffix}", look(1, 6, "grey"))
    assert found.ravel().tolist() == [0, 0, 1, 1, 255, 128]


def test_floats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.ones((4, 4), np.float32)).save(tmp_path / "a.tif")
    with pytest.raises(ValueError, match="floats"):
        decode(tmp_path / "a.tif", look(4, 4))


def test_of_an_animation_the_first_frame(tmp_path: Path) -> None:
    frames = [Image.fromarray(flat(*colour)) for colour in ((0, 0, 255), (255, 0, 0))]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert (decode(tmp_path / "a.gif", look(6, 8)) == (0, 0, 255)).all()


def test_what_is_damaged_says_so(tmp_path: Path) -> None:
    content = photograph("coffee").read_bytes()
    path = tmp_path / "a.png"
    for broken in (b"", b"junk", content[:200], content[: len(content) // 2]):
        path.write_bytes(broken)
        with pytest.raises(Exception) as raised:  # noqa: PT011 - a decoder raises anything
            decode(path, look(20, 20))
        assert str(tmp_path) not in reason(raised.value)
    assert PHOTOGRAPHS.is_dir()


def test_no_program_is_started_for_a_stranger_s_file(tmp_path: Path) -> None:
    """Pillow would hand PostScript to another program."""
    (tmp_path / "a.png").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    )
    with pytest.raises(OSError, match="cannot identify"):
        decode(tmp_path / "a.png", look(8, 8))
