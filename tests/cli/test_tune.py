"""`prefetcher tune`: what it prints, and when it fails."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.logs import log as made_log
from helpers.logs import stage

from prefetcher import PrefetchSequence
from prefetcher.cli import main, tune
from prefetcher.cli.output import byte_count
from prefetcher.hdf5.attributes import encode
from prefetcher.tuning import probe, trial

SIZES = ["--batch-size=4", "--chunk-size=16"]


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "PROBE_S", 0.05)
    monkeypatch.setattr(probe, "CHECK_S", 0.2)
    monkeypatch.setattr(tune, "cpus_allowed", lambda: 2)


@pytest.fixture
def never_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is no reason for a test to fail."""
    monkeypatch.setattr(trial, "stall_pct", lambda *_: 0.5)


def as_json(capsys: pytest.CaptureFixture[str], code: int, *words: str) -> dict[str, Any]:
    assert main(["tune", *words, "--json", *SIZES]) == code
    result: dict[str, Any] = json.loads(capsys.readouterr().out)
    return result


def test_a_modest_demand_is_met_with_a_line_to_paste(
    samples: MakeSamples, capsys: pytest.CaptureFixture[str], never_stalls: None
) -> None:
    words = ["tune", str(samples(203)), "--x=x", "--y=y", "--step-ms=100", "--memory=1GB"]
    assert main([*words, *SIZES]) == 0
    out, err = capsys.readouterr()
    lines = out.splitlines()
    assert "Training takes 40 samples/s, a batch in 100 ms; with 20 % to spare that is 48" in lines
    assert any(line.startswith("readers=1: one reads") for line in lines)
    assert "waited 0.5 % of the time" in out
    assert "Probing" in err
    with eval(lines[-1], {"prefetcher": __import__("prefetcher")}) as train:
        assert isinstance(train, PrefetchSequence)
        assert train.plan.batch_size == 4
        assert len(train[0]) == 2


def test_json_has_probes_settings_and_reasons(
    samples: MakeSamples, capsys: pytest.CaptureFixture[str], never_stalls: None
) -> None:
    found = as_json(capsys, 0, str(samples(203)), "--x=x", "--y=y", "--demand=50")
    assert found["met"] is True
    assert found["without_stall_samples_per_s"] == 50
    assert found["limit"] is None
    assert set(found["settings"]) == {"readers", "batchers", "chunk_queue", "batch_queue"}
    assert [probe["workers"] for probe in found["probes"]] == [
        {"readers": 1, "batchers": 1},
        {"readers": 2, "batchers": 1},
    ]
    assert found["probes"][0]["read"]["by_work"]["transform"] is None
    assert found["memory_bytes"] < found["memory_limit_bytes"]
    assert len(found["reasons"]) == 3


def test_a_demand_out_of_reach_is_4_and_says_what_limits(
    samples: MakeSamples, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tune", str(samples(203)), "--x=x", "--demand=1e12", *SIZES]) == 4
    out = capsys.readouterr().out
    assert "The demand is not met: " in out
    assert "the limit is" in out


def test_what_stalls_when_it_is_tried_is_not_met(
    samples: MakeSamples, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trial, "stall_pct", lambda _, pace: 6.0 if pace > 30 else 0.5)
    assert main(["tune", str(samples(203)), "--x=x", "--demand=40", *SIZES]) == 4
    out = capsys.readouterr().out
    assert "at 24 samples/s: training would have waited 0.5 % of the time" in out
    assert "was not when it was tried; training hardly waits at 24 samples/s." in out


def test_the_pace_out_of_a_log(
    samples: MakeSamples, tmp_path: Path, capsys: pytest.CaptureFixture[str], never_stalls: None
) -> None:
    log = tmp_path / "run.jsonl"
    lines = made_log(stage(decode=99, cpu=98), stage(wait_in=98, gather=2), stall=50, rate=20)
    log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = as_json(capsys, 0, str(samples(203)), "--x=x", f"--log={log}")
    assert found["demand_samples_per_s"] == 40


def test_names_are_guessed_and_a_transform_is_imported(
    samples: MakeSamples,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    never_stalls: None,
) -> None:
    (tmp_path / "mine.py").write_text("def augment(x, y):\n    return x + 1, y\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    found = as_json(capsys, 0, str(samples(203)), "--demand=4", "--transform=mine:augment")
    assert "x='x', y='y', batch_size=4, chunk_size=16, transform=augment, " in found["python"]
    assert found["probes"][0]["batch"]["by_work"]["transform"] > 0


def test_names_that_the_file_says_come_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], never_stalls: None
) -> None:
    """By its looks `wide` would be the inputs."""
    with h5py.File(tmp_path / "said.h5", "w") as file:
        for name, width in (("narrow", 2), ("wide", 9), ("speeds", 1)):
            file[name] = np.zeros((203, width), "f4")
        file.attrs.update(encode({"x": "narrow", "y": "speeds"}))
    found = as_json(capsys, 0, str(tmp_path / "said.h5"), "--demand=4")
    assert "x='narrow', y='speeds'" in found["python"]


@pytest.mark.parametrize("transform", ["nowhere_at_all:f", "json:nothing", ":", "json"])
def test_a_transform_that_is_not_there_is_1(
    samples: MakeSamples, transform: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["tune", str(samples(203)), "--demand=1", f"--transform={transform}"]
    assert main(words) == 1
    assert "write MODULE:FUNCTION" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [[], ["--demand=1", "--step-ms=1"], ["--demand=0"], ["--demand=1", "--memory=much"]],
)
def test_wrong_usage_is_2(samples: MakeSamples, words: list[str]) -> None:
    with pytest.raises(SystemExit) as exit_:
        main(["tune", str(samples(203)), *words])
    assert exit_.value.code == 2


def test_too_little_memory_is_1(samples: MakeSamples, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["tune", str(samples(203)), "--x=x", "--demand=1", "--memory=100", *SIZES]) == 1
    assert "make the chunks smaller" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "count"),
    [("2GB", 2 * 10**9), ("1.5 GiB", 3 << 29), ("500m", 5 * 10**8), ("10 kB", 10**4), ("7", 7)],
)
def test_sizes_as_people_write_them(text: str, count: int) -> None:
    assert byte_count(text) == count


def test_links_out_of_the_file_are_followed_if_asked(
    samples: MakeSamples,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    never_stalls: None,
) -> None:
    with h5py.File(tmp_path / "links.h5", "w") as file:
        file["out"] = h5py.ExternalLink(str(samples(203)), "/")
    words = [str(tmp_path / "links.h5"), "--x=out/x", "--y=out/y", "--demand=50"]
    assert main(["tune", *words, *SIZES]) not in (0, tune.NOT_MET)
    assert "--allow-external" in capsys.readouterr().err
    found = as_json(capsys, 0, *words, "--allow-external")
    assert "allow_external=True" in found["python"]


def test_a_step_that_is_no_number_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["tune", "samples.h5", "--step-ms", "abc"])
    assert "'abc' is not a number above 0, such as 12" in capsys.readouterr().err
