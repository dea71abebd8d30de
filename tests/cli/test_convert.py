"""`prefetcher convert`: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.photographs import cut
from PIL import ExifTags, Image

from prefetcher.cli import convert, main
from prefetcher.conversion.convert import Conversion
from prefetcher.conversion.journal import Journal
from prefetcher.conversion.options import Options
from prefetcher.hdf5.attributes import read_attributes


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("coffee", "grass"):
        cut(name, tmp_path / "tiles" / name, 10)
    return tmp_path / "tiles"


def test_the_plan_comes_first(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder.parent / "out.h5"
    assert main(["convert", str(folder), str(out), "--size", "16", "20"]) == 0
    printed, plan = capsys.readouterr()
    assert printed.startswith(f"{out}: 20 rows")
    for words in (
        "20 pictures in tiles",
        "2 classes in labels: coffee 10, grass 10",
        "images: uint8 (16, 20, 3), storage chunks 20x16x20x3",
        "codec: none (no codec reads faster",
        "are free on the disk",
        "Converting: 20 of 20",
    ):
        assert words in plan
    assert plan.index("free on the disk") < plan.index("Converting")


def test_a_dry_run_stops_there(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["convert", str(folder), str(folder.parent / "out.h5"), "--dry-run"]
    assert main(words) == 0
    assert "20 pictures" in capsys.readouterr().out
    assert main([*words, "--json", "--codec=auto", "--split", "train=0.5,val=0.5"]) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["rows"] == {"train": 10, "val": 10}
    assert plan["datasets"]["images"] == {
        "shape": [24, 24, 3], "dtype": "uint8", "storage_chunk": [10, 24, 24, 3],
    }  # fmt: skip
    assert {tried["codec"] for tried in plan["tried"]} == {"gzip", "lz4", "zstd"}
    assert [path.name for path in folder.parent.iterdir()] == ["tiles"]


def test_left_out_is_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "grass" / "0000.png").write_bytes(b"junk")
    words = ["convert", str(folder), str(folder.parent / "out.h5"), "--json"]
    assert main(words) == 1
    assert "grass/0000.png: not a picture" in capsys.readouterr().err
    assert main([*words, "--on-error", "skip"]) == 3
    result = json.loads(capsys.readouterr().out)
    assert (result["rows"], result["skipped"]) == (19, 1)
    assert Path(result["report"]).name == "out.h5.skipped.jsonl"


def test_every_option_arrives(folder: Path) -> None:
    table = folder.parent / "log.jsonl"
    lines = [{"p": f"grass/000{i}.png", "angle": i / 4, "gear": i} for i in (0, 1, 3, 4)]
    table.write_text("\n".join(map(json.dumps, lines)))
    out = folder.parent / "out.h5"
    words = f"""convert {folder} {out} --labels {table} --path-col p --label-col angle:float64
        --label-col gear --size 8 9 --resize pad --color grey --codec gzip --shuffle --seed 5
        --workers 2 --resume"""
    assert main(words.split()) == 0
    with h5py.File(out) as file:
        assert file["images"].shape == (4, 8, 9, 1)
        assert file["angle"].dtype == np.float64
        assert file["gear"][:].tolist() != [0, 1, 3, 4] == sorted(file["gear"][:].tolist())
    said = read_attributes(out)
    assert said.y == ("angle", "gear")
    assert {"resize": "pad", "seed": 5, "codec": "gzip"}.items() <= said.arguments.items()


def test_repack_and_shards(folder: Path) -> None:
    out = folder.parent / "out.h5"
    with h5py.File(folder / "old.h5", "w") as file:
        file["g/x"], file["g/y"], file["g/z"] = np.ones((9, 3)), np.ones(9), np.zeros(9)
    words = ["convert", str(folder / "old.h5"), str(out), "--x", "g/x", "--y", "g/y", "g/z"]
    assert main([*words, "--shards=2"]) == 0
    said = read_attributes(folder.parent / "out-00001-of-00002.h5")
    assert (said.x, said.y) == ("x", ("y", "z"))


def test_a_dry_run_counts_the_sizes_of_pictures(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where all have to have one; turned upright as they will be."""
    for number in range(7):
        Image.new("RGB", (9, 5 + number)).save(folder / "grass" / f"other{number}.png")
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (5, 9)).save(folder / "grass" / "turned.jpg", exif=turned)
    words = ["convert", str(folder), str(folder.parent / "out.h5"), "--dry-run"]
    assert main(words) == 1
    printed, told = capsys.readouterr()
    assert (
        "8 sizes of pictures (height x width): 24x24 20, 5x9 2, 6x9 1, 7x9 1, 8x9 1, and 3 others 3"
        in printed
    )
    assert told.endswith(
        "the pictures have 8 sizes: write --size H W, or --on-error skip to leave out all that "
        "differ from the first\n"
    )
    assert main([*words, "--on-error", "skip", "--json"]) == 0
    sizes = json.loads(capsys.readouterr().out)["sizes"]
    assert sizes[:2] == [
        {"height": 24, "width": 24, "pictures": 20}, {"height": 5, "width": 9, "pictures": 2},
    ]  # fmt: skip
    assert main([*words, "--size", "8", "8"]) == 0
    assert "sizes" not in capsys.readouterr().out
    for path in [*folder.glob("grass/other*"), folder / "grass" / "turned.jpg"]:
        path.unlink()
    (folder / "grass" / "9999.png").write_bytes(b"junk")
    assert main(words) == 0
    assert "sizes" not in capsys.readouterr().out


def test_a_column_that_has_no_paths_is_one_sentence(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = folder.parent / "log.csv"
    table.write_text("n,center,speed\n" + "".join(f"{n},grass/000{n}.png,{n}\n" for n in (0, 1, 3)))
    out = folder.parent / "out.h5"
    words = ["convert", str(folder), str(out), "--labels", str(table)]
    for given in ([], ["--path-col", "speed"], ["--path-col", "speed", "--on-error", "skip"]):
        assert main([*words, *given]) == 1
        told = capsys.readouterr().err
        column = "speed" if given else "n"
        assert told == (
            f"prefetcher: --path-col: no line of log.csv has a path in column '{column}' "
            "(the first is '0'): its column 'center' has some\n"
        )
    assert main([*words, "--path-col", "centre"]) == 1
    assert "--path-col: log.csv has no column 'centre'; it has n, center" in capsys.readouterr().err
    table.write_text("path,v\nnowhere/0.png,1\n")
    assert main(words) == 1
    assert "'nowhere/0.png'): they are relative to the folder\n" in capsys.readouterr().err
    assert not out.exists()


ARGUMENT = re.compile(
    r"\b(x|y|size|resize|color|labels|path_col|label_cols|codec|split|shuffle|seed|on_error|workers|"
    r"shards|resume)( ?=|\b.*_)"
)
"""A setting as Python writes it."""

MESSAGES: dict[str, tuple[str, list[str], str]] = {
    "damaged": ("tiles", [], "leave them out with --on-error skip"),
    "a label": ("tiles", ["--labels", "log.csv"], "leave them out with --on-error skip"),
    "no table": ("tiles", ["--path-col", "p"], "--path-col and --label-col are columns of a table"),
    "no column": (
        "tiles", ["--labels", "log.csv", "--label-col", "w"], "--label-col: log.csv has no column",
    ),
    "a split": ("tiles", ["--split", "a=0.5,b=0.4"], "--split a=0.5,b=0.4: write names and shares"),
    "a seed": ("tiles", ["--seed", str(2**64)], f"--seed {2**64}: write a number"),
    "mixed": ("tiles", [], "write --labels for a table"),
    "unreadable": ("tiles", [], "write --size height width to see why"),
    "no disk": ("tiles", ["--on-error", "skip"], "a smaller size or --codec auto"),
    "a file": ("a.npz", ["--size", "8", "8"], "--size is for pictures in a folder"),
    "no inputs": ("a.h5", [], "write --x"),
    "last names": ("a.h5", ["--x", "a/x", "b/x"], "--x a/x b/x"),
    "arrays": ("a.npz", [], "--x and --y choose some"),
    "no package": ("tiles", ["--codec", "zstd"], "--codec zstd needs .* or write --codec gzip"),
    "another": ("tiles", ["--resume", "--on-error", "skip"], "leave out --resume"),
    "no partial": ("tiles", ["--resume", "--on-error", "skip", "--shuffle"], "without --resume"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MESSAGES)
def test_messages_name_flags(
    folder: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
) -> None:
    source, words, message = MESSAGES[kind]
    monkeypatch.chdir(folder.parent)
    prepare(kind, folder, monkeypatch)
    assert main(["convert", source, "out.h5", *words]) == 1
    told = capsys.readouterr().err.splitlines()
    said = next(line for line in told if line.startswith("prefetcher: "))
    assert re.search(message, said), said
    assert not ARGUMENT.search(said), said


def prepare(kind: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What makes the conversion fail in that way."""
    here = folder.parent
    (folder / "grass" / "0000.png").write_bytes(b"junk")
    (here / "log.csv").write_text("path,v\ngrass/0001.png,1\ngrass/0003.png,\n")
    with h5py.File(here / "a.h5", "w") as file:
        file["a/x"] = file["b/x"] = np.arange(3)
    np.savez(here / "a.npz", a=np.arange(3), b=np.arange(4))
    if kind == "mixed":
        (folder / "loose.png").write_bytes(b"junk")
    if kind == "unreadable":
        for path in folder.rglob("*.*"):
            path.write_bytes(b"junk")
    if kind == "no disk":
        usage = shutil.disk_usage(here)._replace(free=10)
        monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    if kind == "no package":
        monkeypatch.setattr("prefetcher.writing.codec.available", lambda: ("none", "gzip"))
    if kind in ("another", "no partial"):
        settings = Options(on_error="skip", shuffle=True)
        with Conversion(folder, here / "out.h5", settings) as conversion:
            Journal(here / "out.h5", conversion.plan.fingerprint).write(
                {"portion": 0, "rows": 0, "bytes": 9, "datasets": {}, "failures": {}}
            )


@pytest.mark.parametrize(
    "words", [[], ["--split", "a=0.5,b=0.5", "--shuffle"], ["--shards", "3"], ["--codec", "gzip"]]
)
def test_going_on_with_what_is_finished_does_nothing_and_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    (folder / "grass" / "0000.png").write_bytes(b"junk")
    out = folder.parent / "out.h5"
    words = ["convert", str(folder), str(out), "--on-error", "skip", *words]
    assert main(words) == 3
    capsys.readouterr()
    before = {path: path.stat().st_mtime_ns for path in folder.parent.iterdir()}
    assert main([*words, "--resume"]) == 3
    printed, told = capsys.readouterr()
    assert "finished already, made of this source with these settings: nothing is left" in told
    assert "Leave out --resume to make it anew" in told
    assert "19 rows" in printed
    assert "1 were left out" in printed
    assert main([*words, "--resume", "--json"]) == 3
    result = json.loads(capsys.readouterr().out)
    assert (result["was_finished"], result["rows"], result["skipped"]) == (True, 19, 1)
    assert main([*words, "--resume", "--dry-run"]) == 0
    assert "finished already" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in folder.parent.iterdir()} == before
    (folder / "grass" / "0001.png").unlink()  # another source: made anew
    assert main([*words, "--resume"]) == 3
    assert "finished already" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [["--split", "train"], ["--split", "train=most"], ["--size", "8"], ["--size", "0", "8"],
     ["--codec", "jpeg"], ["--workers", "0"]],
)  # fmt: skip
def test_wrong_usage_is_2(words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["convert", "a", "b", *words])
    assert exit_.value.code == 2


def test_a_note_now_and_then(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = iter([0.0, 2.0, 6.0, 7.0])
    monkeypatch.setattr(convert, "monotonic", lambda: next(now))
    with convert._progress(1000) as advance:
        advance(100, 0)
        advance(200, 3)
        advance(100, 0)
    notes = capsys.readouterr().err.splitlines()
    assert notes[0] == "Converting: 300 of 1,000 50/s, 3 skipped, 14 s to go"
    assert len(notes) == 2


def test_ctrl_c_leaves_no_broken_file(folder: Path) -> None:
    """A real signal in a real process, when it has begun to write."""
    out = folder.parent / "out.h5"
    script = f"""
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have had it ignored
from prefetcher.cli import convert, main
from prefetcher.conversion import plan
plan.storage_rows = lambda _: 2
take = convert.Conversion.run
def run(self, executor=None, progress=None):
    done = 0
    def told(more, skipped):
        nonlocal done
        done += more
        progress(more, skipped)
        if done >= 8:
            signal.raise_signal(signal.SIGINT)
    return take(self, executor, told)
convert.Conversion.run = run
sys.exit(main(["convert", {str(folder)!r}, {str(out)!r}]))
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], check=False, capture_output=True, text=True, timeout=60,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    )  # fmt: skip
    assert ended.returncode == 130
    assert ended.stderr.endswith("prefetcher: interrupted\n")
    assert not out.exists()
    assert main(["convert", str(folder), str(out), "--resume"]) == 0
    with h5py.File(out) as file:
        assert len(file["images"]) == 20


def test_links_out_of_a_file_are_followed_if_asked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = np.arange(40.0).reshape(20, 2)
    with h5py.File(tmp_path / "b.h5", "w") as file:
        file["x"] = rows
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["out"] = h5py.ExternalLink(str(tmp_path / "b.h5"), "/")
    words = ["convert", str(tmp_path / "a.h5"), str(tmp_path / "c.h5"), "--x", "out/x"]
    assert main(words) != 0
    assert "--allow-external" in capsys.readouterr().err
    assert not (tmp_path / "c.h5").exists()
    assert main([*words, "--allow-external"]) == 0
    with h5py.File(tmp_path / "c.h5") as file:
        assert np.array_equal(file["x"][...], rows)


def test_another_spelling_of_a_color_is_told_the_right_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["convert", str(tmp_path), str(tmp_path / "out.h5"), "--color", "gray"]) == 1
    told = capsys.readouterr().err
    assert "--color gray: write one of rgb, grey, rgba: did you mean 'grey'?" in told
