"""A conversion that was broken off goes on where it was, and ends as if it never had been."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from helpers.photographs import CLASSES, names_in, pixels, spoil
from helpers.processes import run_script

from prefetcher import convert
from prefetcher.conversion import plan
from prefetcher.errors import FileError, SettingsError

COUNT = 25 * len(CLASSES)


def stopping_after(rows: int) -> Callable[[int, int], None]:
    """A progress function that interrupts when so many rows are done, as Ctrl-C does."""
    done = 0

    def progress(more: int, _: int) -> None:
        nonlocal done
        done += more
        if done >= rows:
            raise KeyboardInterrupt

    return progress


@pytest.mark.usefixtures("small_steps")
@pytest.mark.parametrize("stop", [12, 40, 79, 81, 99])
def test_an_interrupted_conversion_goes_on(folder: Path, tmp_path: Path, stop: int) -> None:
    """Over splits, skipped pictures and an old file of that name, wherever it is broken off."""
    spoil(folder, 12)
    settings: dict[str, Any] = {
        "size": (16, 16), "on_error": "skip", "split": {"a": 0.8, "b": 0.2}, "shuffle": True,
    }  # fmt: skip
    convert(folder, tmp_path / "whole.h5", **settings)
    out = tmp_path / "out.h5"
    out.write_bytes(b"the old one")
    with pytest.raises(KeyboardInterrupt):
        convert(folder, out, progress=stopping_after(stop), **settings)
    assert out.read_bytes() == b"the old one"
    assert {"out.h5.partial", "out.h5.partial.json"} < set(names_in(tmp_path))

    loaded: list[int] = []
    converted = convert(
        folder, out, resume=True, progress=lambda n, _: loaded.append(n), **settings
    )
    assert (converted.rows, converted.skipped) == (COUNT - 12, 12)
    assert sum(loaded) == COUNT
    assert loaded[0] >= stop - 6  # what was written is not decoded again
    with h5py.File(out) as file, h5py.File(tmp_path / "whole.h5") as whole:
        for name in ("a/images", "a/labels", "b/images", "b/labels"):
            assert np.array_equal(file[name], whole[name])
    assert names_in(tmp_path) == [
        "out.h5", "out.h5.skipped.jsonl", "tiles", "whole.h5", "whole.h5.skipped.jsonl",
    ]  # fmt: skip


def test_a_killed_conversion_goes_on(tiles: Path, tmp_path: Path) -> None:
    """No chance to tidy up: the process ends in the midst of writing, behind a checkpoint."""
    out = tmp_path / "out.h5"
    run_script(
        f"""
import os, prefetcher
from pathlib import Path
from prefetcher.conversion import plan, single
plan.storage_rows = lambda _: 3
single.CHECKPOINT_SECONDS = 0.0
done = 0
def progress(more, _):
    global done
    done += more
    if done >= 30:
        single.CHECKPOINT_SECONDS = 1e9  # the rows from here on are lost
    if done >= 60:
        os._exit(0)
prefetcher.convert(Path({str(tiles)!r}), {str(out)!r}, progress=progress)
"""
    )
    assert names_in(tmp_path) == ["out.h5.partial", "out.h5.partial.json"]
    loaded: list[int] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "storage_rows", lambda _: 3)
        convert(tiles, out, resume=True, progress=lambda n, _: loaded.append(n))
        convert(tiles, tmp_path / "whole.h5")
    assert loaded[0] in (27, 30)
    with h5py.File(out) as file, h5py.File(tmp_path / "whole.h5") as whole:
        assert np.array_equal(file["images"], whole["images"])
        assert np.array_equal(file["labels"], whole["labels"])
    assert names_in(tmp_path) == ["out.h5", "whole.h5"]


@pytest.mark.usefixtures("small_steps")
def test_going_on_with_other_settings_is_refused(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    with pytest.raises(KeyboardInterrupt):
        convert(tiles, out, progress=stopping_after(30))
    with pytest.raises(SettingsError, match="leave out resume"):
        convert(tiles, out, resume=True, shuffle=True)
    convert(tiles, out, shuffle=True)  # begins anew
    assert names_in(tmp_path) == ["out.h5"]
    assert not convert(tiles, out, resume=True).was_finished  # nothing to go on with


@pytest.mark.parametrize(
    "how",
    [{}, {"split": {"a": 0.5, "b": 0.5}}, {"codec": "gzip", "shuffle": True}, {"on_error": "skip"}],
)
def test_what_is_finished_is_not_made_again(
    folder: Path, tmp_path: Path, how: dict[str, Any]
) -> None:
    out = tmp_path / "out.h5"
    if how.get("on_error"):
        spoil(folder, 3)
    first = convert(folder, out, size=(8, 8), **how)
    before = out.stat().st_mtime_ns
    again = convert(folder, out, size=(8, 8), resume=True, **how)
    assert again.was_finished
    assert not first.was_finished
    assert (again.files, again.rows, again.skipped, again.report, again.nbytes) == (
        first.files, first.rows, first.skipped, first.report, first.nbytes,
    )  # fmt: skip
    assert out.stat().st_mtime_ns == before
    for other in ({"size": (8, 9)}, {"size": (8, 8), "color": "grey"}):
        assert not convert(folder, out, resume=True, **{**how, **other}).was_finished
    min(folder.rglob("*.jpg")).unlink()
    assert not convert(folder, out, resume=True, **{**how, **other}).was_finished
    out.write_bytes(b"something else")
    assert not convert(folder, out, resume=True, **{**how, **other}).was_finished


def test_a_finished_file_of_another_codec_is_not_replaced(tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    convert(tiles, out, codec="gzip")
    before = out.stat().st_mtime_ns
    with pytest.raises(
        SettingsError, match=r"out\.h5 is finished and has the codec gzip, not none"
    ):
        convert(tiles, out, resume=True)
    assert convert(tiles, out, codec="auto", resume=True).was_finished  # any would do
    assert out.stat().st_mtime_ns == before
    convert(tiles, out)
    assert out.stat().st_mtime_ns != before


@pytest.mark.usefixtures("small_steps")
def test_a_file_that_is_being_made_anew_goes_on(tiles: Path, tmp_path: Path) -> None:
    """Though the one of before is still there, and whole."""
    out = tmp_path / "out.h5"
    convert(tiles, out)
    with pytest.raises(KeyboardInterrupt):
        convert(tiles, out, progress=stopping_after(30))
    assert not convert(tiles, out, resume=True).was_finished
    assert names_in(tmp_path) == ["out.h5"]


@pytest.mark.usefixtures("small_steps")
def test_mended_pictures_and_going_on(folder: Path, tiles: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.h5"
    path = sorted(folder.rglob("*.png"))[40]
    path.write_bytes(b"junk")
    with pytest.raises(FileError, match="1 could not be read"):
        convert(folder, out)
    path.write_bytes((tiles / path.relative_to(folder)).read_bytes())
    assert convert(folder, out, resume=True).rows == COUNT
    with h5py.File(out) as file:
        assert np.array_equal(file["images"], pixels(tiles, tmp_path))
