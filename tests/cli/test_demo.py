"""`prefetcher demo`, small, on the backend of this run."""

from __future__ import annotations

import importlib.util
import json
import os
from pathlib import Path
from typing import Any

import h5py
import pytest

import prefetcher
from prefetcher.cli import demo, main, output


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def summary(out: Path) -> dict[str, Any]:
    """What the demo prints; a run of it costs some seconds, so all tests share one."""
    printed: list[dict[str, Any]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(output, "write_json", printed.append)
        assert main(["demo", "--samples=384", "--epochs=6", f"--out={out}", "--json"]) == 0
    json.dumps(printed[0], allow_nan=False)
    return printed[0]


def test_it_learns(summary: dict[str, Any]) -> None:
    assert len(summary["loss"]) == len(summary["val_loss"]) == summary["epochs"] == 6
    assert summary["loss"][-1] < 0.7 * summary["loss"][0]
    assert summary["val_loss"][-1] < 0.7 * summary["straight_loss"]


def test_it_says_what_the_time_and_the_memory_went_to(summary: dict[str, Any]) -> None:
    assert summary["samples"] == 320
    assert summary["samples_per_s"] == pytest.approx(6 * 320 / summary["fit_s"], rel=0.01)
    assert 0 <= summary["stall_pct"] < 100
    exposed = "upper_bound" if summary["backend"] == "tensorflow" else "exposed"
    assert summary["wait_scope"] == exposed
    assert "of the time" in summary["verdict"]
    assert summary["buffer_peak_bytes"] > 0
    assert summary["rss_peak_bytes"] > summary["data_bytes"] > 384 * 128 * 128 * 3


def test_it_leaves_the_pictures_and_the_log(out: Path, summary: dict[str, Any]) -> None:
    assert sorted(path.name for path in out.iterdir()) == ["roads.h5", "run.jsonl"]
    with h5py.File(summary["file"]) as file:
        assert file["images"].shape == (384, 128, 128, 3)
        assert file["angles"].shape == (384,)
    assert prefetcher.read_log(summary["log"])[-1]["kind"] == "summary"


@pytest.mark.parametrize("scope", ["upper_bound", "exposed"])
def test_the_summary_in_words(
    summary: dict[str, Any], scope: str, capsys: pytest.CaptureFixture[str]
) -> None:
    demo._print(summary | {"wait_scope": scope})
    text = capsys.readouterr().out
    assert [line.split()[0] for line in text.splitlines()] == [
        "Loss", "Steering", "Speed", "Waiting", "Verdict", "Memory", "Log",
    ]  # fmt: skip
    (waiting,) = (line for line in text.splitlines() if line.startswith("Waiting"))
    assert ("at most" in waiting) == (scope == "upper_bound")
    assert summary["log"] in text


def test_batches_that_the_backend_held_are_told(
    summary: dict[str, Any], capsys: pytest.CaptureFixture[str]
) -> None:
    """The buffers' peak can be above what the settings allow: those batches were the caller's."""
    limit = summary["buffer_limit_bytes"]
    demo._print(summary | {"backend": "jax", "buffer_peak_bytes": limit + 12_000_000})
    assert "beside 12 MB of batches that jax still held" in capsys.readouterr().out
    demo._print(summary | {"buffer_peak_bytes": limit})
    assert "still held" not in capsys.readouterr().out


def test_a_backend_that_is_installed_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    environ: dict[str, str] = {}
    monkeypatch.setattr(os, "environ", environ)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name == "torch")
    demo._choose_backend()
    assert environ["KERAS_BACKEND"] == "torch"


def test_no_backend_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(prefetcher.SettingsError, match="pip install"):
        demo._choose_backend()
