"""`prefetcher inspect FILE` proposes a line that works, for each layout that people have."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers import recipes
from helpers.foreign import write_all
from helpers.layouts import FULL

import prefetcher
from prefetcher.batch import flatten
from prefetcher.cli import main

PROPOSED: dict[str, tuple[str, str, list[tuple[int, ...]]]] = {
    "recipe forecasting": ("weather.h5", "x='weather', y=None", [(32, 5)]),
    "recipe robomimic": (
        "demos.hdf5",
        (
            "x=('data/demo_*/obs/agentview_image', 'data/demo_*/obs/robot0_eef_pos'), "
            "y='data/demo_*/actions'"
        ),
        [(32, 8, 8, 3), (32, 3), (32, 7)],
    ),
    "recipe aloha": (
        "episode_*.hdf5",
        "x=('observations/qpos', 'observations/images/top'), y='action'",
        [(32, 14), (32, 8, 8, 3), (32, 14)],
    ),
    "recipe fastmri": (
        "file*.h5",
        (
            "x='kspace', y='reconstruction_rss', "
            "transform=lambda x, y: (x.view(x.real.dtype).reshape(*x.shape, 2), y)"
        ),
        [(18, 1, 8, 8, 2), (18, 8, 8)],
    ),
    "recipe h5ad": ("cells.h5ad", "x='X', y='obs/cell_type/codes'", [(32, 40), (32,)]),
    "recipe records": (
        "events.h5",
        "x=('events[px]', 'events[py]', 'events[energy]'), y='events[signal]'",
        [(32,)] * 4,
    ),
    "recipe netcdf": ("era5.nc", "x=prefetcher.Unpacked('t2m'), y=None", [(32, 4, 4)]),
    "recipe jpeg": (
        "photos.h5",
        "x=prefetcher.Picture('jpeg', size=(20, 30)), y='label'",
        [(32, 20, 30, 3), (32,)],
    ),
    "recipe speech": (
        "speech.h5",
        "x=prefetcher.Padded('waveform', 737), y='word'",
        [(32, 737), (32,)],
    ),
    "recipe scans": ("scans.h5", "x='scans', y='diagnosis'", [(32, 6), (32,)]),
    "robomimic": (
        "demos.hdf5",
        "x=('data/demo_*/obs/agentview_image', 'data/demo_*/obs/object'), y='data/demo_*/actions'",
        [(32, 8, 8, 3), (32, 10), (32, 7)],
    ),
    "uneven": (
        "task_*.h5",
        "x='data/demo_*/obs/state', y='data/demo_*/actions'",
        [(32, 50), (32, 7)],
    ),
    "aloha": (
        "episode_*.hdf5",
        (
            "x=('observations/qpos', 'observations/qvel', 'observations/images/cam_high', "
            "'observations/images/cam_low'), y='action'"
        ),
        [(32, 14), (32, 14), (32, 8, 8, 3), (32, 8, 8, 3), (32, 14)],
    ),
    "fastmri": (
        "file*.h5",
        (
            "x='kspace', y='reconstruction_rss', "
            "transform=lambda x, y: (x.view(x.real.dtype).reshape(*x.shape, 2), y)"
        ),
        [(12, 2, 16, 8, 2), (12, 8, 8)],
    ),
    "h5ad": ("cells.h5ad", "x='X', y='obs/cell_type/codes'", [(32, 40), (32,)]),
    "10x": ("tenx.h5", "x='matrix', y=None", [(30, 50)]),
    "netcdf": ("era5.nc", "x=prefetcher.Unpacked('t2m'), y=None", [(32, 4, 5)]),
    "records": (
        "events.h5",
        "x=('events[px]', 'events[hit]'), y='events[label]'",
        [(32,), (32, 3), (32,)],
    ),
}
"""For each layout the files, the names in the line, and the shapes of a batch."""

FOREIGN: dict[str, tuple[str, list[tuple[int, ...]]]] = {
    "pytables": (
        "x=('events[momentum]', 'events[pos][x]', 'events[pos][y]'), y='events[hit]'",
        [(32, 3), (32,), (32,), (32,)],
    ),
    "pandas": ("x='frame/table[values_block_0]', y=None", [(32, 2)]),
    "pandas-fixed": ("x='frame/block0_values', y=None", [(32, 2)]),
}
"""The same of what other libraries write."""


def write(layout: str, folder: Path) -> None:
    kind, _, recipe = layout.rpartition(" ")
    (getattr(recipes, recipe) if kind else FULL[layout])(folder)


def check(line: str, names: str, shapes: list[tuple[int, ...]]) -> None:
    """Pastes the line into a script that has imported the package, and runs it."""
    assert f", {names})" in line
    script = f"import prefetcher\n\nwith {line} as train:\n    batches = [batch for batch in train]"
    done: dict[str, list[tuple[np.ndarray, ...]]] = {}
    exec(script, done)
    assert [array.shape for array in flatten(done["batches"][0])] == shapes


def line_of(path: Path, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["inspect", str(path)]) == 0
    return capsys.readouterr().out.strip().splitlines()[-1]


@pytest.mark.parametrize("layout", PROPOSED)
def test_the_line_works(tmp_path: Path, capsys: pytest.CaptureFixture[str], layout: str) -> None:
    write(layout, tmp_path)
    files, names, shapes = PROPOSED[layout]
    check(line_of(tmp_path / files, capsys), names, shapes)


@pytest.fixture(scope="module")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_all(tmp_path_factory.mktemp("foreign"), ["records"])


@pytest.mark.parametrize("library", FOREIGN)
def test_the_line_works_over_what_other_libraries_write(
    foreign: dict[str, Path], capsys: pytest.CaptureFixture[str], library: str
) -> None:
    names, shapes = FOREIGN[library]
    check(line_of(foreign[library], capsys), names, shapes)


def test_tune_takes_the_same(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All groups of all files; and its line can be pasted, columns and fields included."""
    FULL["uneven"](tmp_path)
    assert main(["tune", str(tmp_path / "task_*.h5"), "--demand", "10"]) in (0, 4)
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert "x='data/demo_*/obs/state', y='data/demo_*/actions'" in line
    recipes.netcdf(tmp_path)
    assert main(["tune", str(tmp_path / "era5.nc"), "--demand", "10"]) in (0, 4)
    line = capsys.readouterr().out.strip().splitlines()[-1]
    assert "x=prefetcher.Unpacked('t2m'), y=None" in line
    with eval(line, {"prefetcher": prefetcher}) as train:
        assert train[0][0].dtype == np.float32


def test_rows_of_all_files_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the first has fewer groups, and of what is in one of them only."""
    FULL["uneven"](tmp_path)
    assert main(["inspect", str(tmp_path / "task_*.h5")]) == 0
    shown = {words[0]: words[1] for line in capsys.readouterr().out.splitlines()
             if len(words := line.split()) > 5}  # fmt: skip
    assert shown["data/demo_*/actions"] == "36x7"
    assert (shown["head/x"], shown["tail/x"]) == ("9x500", "9x500")


def test_nothing_but_an_index_is_no_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["index"], file["time"] = np.arange(9), np.arange(9)
    assert "Nothing in it has rows" in line_of(tmp_path / "a.h5", capsys)


def test_what_keeps_the_line_from_working_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for number in range(2):
        with h5py.File(tmp_path / f"{number}.h5", "w") as file:
            file["t2m"] = np.zeros((9, 5), "i2")
            if not number:
                file["t2m"].attrs["scale_factor"] = 0.01
    assert main(["inspect", str(tmp_path / "*.h5")]) == 0
    assert "The line below needs a change: x=Unpacked(t2m): t2m is packed in 0.h5" in (
        capsys.readouterr().out
    )
