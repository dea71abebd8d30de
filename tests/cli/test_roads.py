"""The road pictures: repeatable, and their angle can be seen in them."""

from __future__ import annotations

import zlib

import numpy as np
import pytest

from prefetcher.cli import roads


def draw(count: int, seed: int = 0, grain: int = 3) -> tuple[roads.Pictures, roads.Floats]:
    return roads.draw(np.random.default_rng(seed), count, grain)


def test_pictures_and_angles_have_the_promised_form() -> None:
    pictures, angles = draw(5)
    assert pictures.shape == (5, roads.SIDE, roads.SIDE, 3)
    assert angles.shape == (5,)
    assert pictures.dtype == np.uint8
    assert angles.dtype == np.float32
    assert np.abs(angles).max() < 1.2


def test_the_same_seed_draws_the_same_pictures_and_another_seed_others() -> None:
    (first, angles), (again, _), (other, _) = draw(3), draw(3), draw(3, seed=1)
    assert np.array_equal(first, again)
    assert (first != other).mean() > 0.5
    assert len(set(angles.tolist())) == 3


@pytest.mark.parametrize(("count", "step", "sizes"), [(7, 3, [3, 3, 1]), (2, 16, [2]), (0, 4, [])])
def test_steps_add_up_to_the_count(count: int, step: int, sizes: list[int]) -> None:
    steps = list(roads.draw_in_steps(count, seed=0, step=step))
    assert [len(pictures) for pictures, _ in steps] == sizes
    assert [len(angles) for _, angles in steps] == sizes


def test_the_angle_can_be_learned_from_the_picture() -> None:
    pictures, angles = draw(600)
    blocks = pictures[:, 64:].reshape(600, 8, 8, 16, 8, 3).mean(axis=(2, 4))
    seen = (blocks[..., 2] / blocks.mean(axis=-1) - 1).reshape(600, -1)  # grass has no blue
    train, test = slice(0, 450), slice(450, None)
    kernel = seen[train].T @ seen[train] + 0.1 * np.eye(seen.shape[1])
    weights = np.linalg.solve(kernel, seen[train].T @ angles[train])
    error = np.square(seen[test] @ weights - angles[test]).mean() / angles[test].var()
    assert error < 0.2, "a linear guess explains most of the angle; shuffled angles give over 1"


def test_no_row_of_a_picture_is_left_black() -> None:
    pictures, _ = draw(64, grain=0)
    assert pictures.max(axis=(2, 3)).min() > 20


def test_without_grain_pictures_compress_better() -> None:
    clean, grainy = (len(zlib.compress(draw(4, grain=grain)[0].tobytes())) for grain in (0, 8))
    assert clean < 0.6 * grainy
