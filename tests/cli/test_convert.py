"""`prefetcher convert`: what is printed where, and the exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
from helpers.photographs import cut

from prefetcher.cli import convert, main
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
    """A real signal to a real process, sent when it has begun to write."""
    out = folder.parent / "out.h5"
    script = f"""
import sys, threading
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
            print("now", flush=True)
            threading.Event().wait(60)
    return take(self, executor, told)
convert.Conversion.run = run
sys.exit(main(["convert", {str(folder)!r}, {str(out)!r}]))
"""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env=environment, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "now\n"
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err.endswith("prefetcher: interrupted\n")
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
