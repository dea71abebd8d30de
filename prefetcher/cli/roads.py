"""Draws road pictures, each with the steering angle it was drawn with. Pure numpy.

A camera looks over flat ground. Every pixel below the horizon is a point of that ground, and its
colour follows from how far that point lies from the middle of the lane: perspective and bends come
by themselves, for all pixels of many pictures at once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Pictures = NDArray[np.uint8]

SIDE = 128
"""Pictures are `SIDE` x `SIDE` x 3."""
FOCAL = 0.6 * SIDE
CAMERA_HEIGHT = 2.0
LANE = 3.5
"""Metres from line to line. The car drives in the right lane of two."""
LOOK_AHEAD = 16.0
"""Metres ahead of the point that the driver steers for: near enough to be in every picture."""
WHEELBASE = 2.7
STEERING_RATIO = 15.0
TOGETHER = 16
"""Pictures drawn in one go: more would push their planes out of the processor's cache."""
TILE = 256
"""Side of the noise tile that grass, asphalt and clouds are cut from."""


@dataclass(frozen=True)
class _Scene:
    """What differs from picture to picture; every array has the shape (count, 1, 1)."""

    bend: Floats  # curvature of the road, 1/m, right positive
    heading: Floats  # of the road against the car, radians
    offset: Floats  # middle of the lane at the car, metres, right positive
    horizon: Floats  # row of the picture
    light: Floats
    sun: Floats  # column of the picture
    dry: Floats  # 0 green grass, 1 straw
    haze: Floats
    clouds: Floats
    phase: Floats  # metres along the road: moves dashes and textures


def _scene(rng: np.random.Generator, count: int) -> _Scene:
    def between(low: float, high: float) -> Floats:
        return rng.uniform(low, high, (count, 1, 1)).astype(np.float32)

    return _Scene(
        bend=between(-0.016, 0.016),
        heading=between(-0.05, 0.05),
        offset=between(-0.7, 0.7),
        horizon=between(0.40, 0.46) * SIDE,
        light=between(0.55, 1.1),
        sun=between(-0.3, 1.3) * SIDE,
        dry=between(0.0, 1.0) ** 2,
        haze=between(25.0, 110.0),
        clouds=between(-0.8, 0.9),
        phase=between(0.0, 1000.0),
    )


def _lane_middle(scene: _Scene, ahead: Floats | float) -> Floats:
    """Metres to the right of the car at which the middle of the lane lies `ahead` metres on."""
    middle: Floats = scene.offset + scene.heading * ahead + 0.5 * scene.bend * ahead**2
    return middle


def _steering(scene: _Scene) -> Floats:
    """Angle of the steering wheel, radians, right positive: pure pursuit of the lane's middle."""
    curvature = 2 * _lane_middle(scene, LOOK_AHEAD) / LOOK_AHEAD**2
    angle: Floats = STEERING_RATIO * np.arctan(WHEELBASE * curvature)
    return angle.ravel()


@cache
def _noise(roughness: float) -> Floats:
    """A tile of noise that repeats without a seam, mean 0, deviation 1. The same in every run."""
    frequency = np.fft.fftfreq(TILE)
    power = np.hypot(frequency[:, None], frequency[None, :])
    power[0, 0] = np.inf
    white = np.fft.fft2(np.random.default_rng(7).standard_normal((TILE, TILE)))
    tile: Floats = np.fft.ifft2(white / power ** (2 - roughness)).real.astype(np.float32)
    tile /= tile.std()
    return tile


def _texture(roughness: float, down: Floats, across: Floats) -> Floats:
    """Noise at these tile coordinates, which may lie anywhere."""
    rows, columns = down.astype(np.int32) & (TILE - 1), across.astype(np.int32) & (TILE - 1)
    return _noise(roughness).ravel().take(rows * TILE + columns)


def _band(distance: Floats, middle: float, half_width: float, pixel: Floats) -> Floats:
    """How much of a pixel `pixel` metres wide a stripe covers, 0 to 1: edges come out smooth."""
    inside: Floats = (half_width - np.abs(distance - middle)) / pixel + 0.5
    return inside.clip(0, 1)


def _colour(red: float, green: float, blue: float) -> Floats:
    """A colour as three planes of one pixel: planes keep numpy's inner loops long."""
    return np.array([red, green, blue], np.float32)[:, None, None]


def _mix(below: Floats, above: Floats, share: Floats) -> Floats:
    """Lays the colour `above` over `below`, `share` of it (which has no colour axis), in place."""
    below += (above - below) * share[:, None]
    return below


_GREEN = _colour(0.27, 0.40, 0.13)
_STRAW = _colour(0.58, 0.50, 0.27)
_GRAVEL = _colour(0.50, 0.43, 0.33)
_ASPHALT = _colour(0.33, 0.33, 0.345)
_PAINT = _colour(0.90, 0.89, 0.84)
_HAZE = _colour(0.66, 0.71, 0.74)
_PALE_SKY = _colour(0.80, 0.85, 0.90)
_BLUE_SKY = _colour(0.25, 0.46, 0.78)
_CLOUD = _colour(0.96, 0.96, 0.97)
_SUN = _colour(1.00, 0.94, 0.78)
_RIDGES = (
    (0.0, 0.055, _colour(0.52, 0.60, 0.70)),  # hills
    (0.9, 0.020, _colour(0.24, 0.32, 0.21)),  # trees before them
)


def _ground(scene: _Scene, rows: Floats, columns: Floats) -> Floats:
    ahead = FOCAL * CAMERA_HEIGHT / np.maximum(rows - scene.horizon, 1.5)
    pixel = ahead / FOCAL
    right = (columns - SIDE / 2) * pixel
    aside = right - _lane_middle(scene, ahead)
    along = ahead + scene.phase
    near = 1 / (1 + 12 * pixel)

    fine = _texture(1.0, along * 12, aside * 12) * near
    patches = _texture(0.4, along * 3, aside * 5)
    grass = _mix(_GREEN + 0 * scene.dry[:, None], _STRAW, scene.dry)
    colour = grass * (1 + 0.16 * fine + 0.14 * patches)[:, None]
    _mix(colour, _GRAVEL, _band(aside, -LANE / 2, LANE + 0.7, pixel))
    asphalt = _ASPHALT * (1 + 0.06 * fine + 0.05 * patches)[:, None]
    _mix(colour, asphalt, _band(aside, -LANE / 2, LANE + 0.25, pixel))
    edges = _band(aside, -1.5 * LANE, 0.09, pixel) + _band(aside, LANE / 2, 0.09, pixel)
    dashes = _band(along % 9.0, 4.5, 2.0, pixel * 4) * _band(aside, -LANE / 2, 0.08, pixel)
    _mix(colour, _PAINT, (edges + dashes) * (0.92 + 0.05 * fine))
    shadow = np.clip(_texture(0.2, along * 2.5, aside * 1.5 + 90), 0, 1.2)
    colour *= (1 - 0.38 * shadow)[:, None]
    return _mix(colour, _HAZE, 1 - np.exp(-ahead / scene.haze))


def _sky(scene: _Scene, rows: Floats, columns: Floats) -> Floats:
    above = np.maximum(scene.horizon - rows, 0.5)
    height = np.minimum(above / (0.45 * SIDE), 1)
    colour = np.empty((len(above), 3, above.shape[1], SIDE), np.float32)
    colour[:] = _PALE_SKY
    _mix(colour, _BLUE_SKY, height**0.8)
    plane = 300 / (above + 6)
    cover = _texture(0.0, plane * 3 + scene.phase, (columns - SIDE / 2) * plane / 18 + scene.phase)
    _mix(colour, _CLOUD, np.clip(cover * 0.6 + scene.clouds, 0, 0.9) * height**0.3)
    glow = np.exp(-np.hypot(columns - scene.sun, above - 0.25 * SIDE) / 22)
    _mix(colour, _SUN, 0.8 * glow)
    for far, (roughness, size, tint) in enumerate(_RIDGES):
        line = _texture(
            roughness, scene.phase * (far + 3), columns * (0.5 + 0.5 * far) + scene.phase
        )
        ridge = size * SIDE * (1.2 + 0.5 * line)
        _mix(colour, tint, np.clip(ridge - above + 0.5, 0, 1) * 0.92)
    return colour


def _finish(colour: Floats, scene: _Scene, rng: np.random.Generator, grain: int) -> Pictures:
    """Light, the darker corners of a lens, and the grain of a sensor."""
    span = np.linspace(-1, 1, SIDE, dtype=np.float32)
    lens = 1 - 0.16 * (span[:, None] ** 2 + span[None, :] ** 2)
    colour *= (255 * scene.light * lens)[:, None]
    if grain:
        colour += rng.integers(-grain, grain + 1, colour.shape, np.int8)
    planes = np.clip(colour, 0, 255, out=colour).astype(np.uint8)
    return np.ascontiguousarray(planes.transpose(0, 2, 3, 1))


def draw(rng: np.random.Generator, count: int, grain: int = 3) -> tuple[Pictures, Floats]:
    """Draws `count` road pictures and gives the steering angle that fits each.

    Args:
        rng: Decides the roads, the weather and the light.
        count: How many; all of them are in memory at once.
        grain: Noise of the sensor, grey levels to either side; 3 looks like daylight, 0 is clean.

    Returns:
        Pictures of shape (count, SIDE, SIDE, 3), uint8, and angles of the steering wheel of shape
        (count,), float32, in radians, right positive (about -1 to 1).
    """
    scene = _scene(rng, count)
    rows = np.arange(SIDE, dtype=np.float32)[None, :, None]
    columns = np.arange(SIDE, dtype=np.float32)[None, None, :]
    top = int(scene.horizon.min())
    bottom = int(scene.horizon.max()) + 2
    picture = np.zeros((count, 3, SIDE, SIDE), np.float32)
    picture[:, :, :bottom] = _sky(scene, rows[:, :bottom], columns)
    ground = _ground(scene, rows[:, top:], columns)
    _mix(picture[:, :, top:], ground, np.clip(rows[:, top:] - scene.horizon, 0, 1))
    return _finish(picture, scene, rng, grain), _steering(scene)


def draw_in_steps(
    count: int, seed: int, grain: int = 3, step: int = TOGETHER
) -> Iterator[tuple[Pictures, Floats]]:
    """Yields `count` pictures and angles, `step` at a time; the same for the same seed."""
    rng = np.random.default_rng(seed)
    for start in range(0, count, step):
        yield draw(rng, min(step, count - start), grain)
