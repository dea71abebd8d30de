"""The bench for real GPUs, on processors: what it counts, and what it says where no card is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import keras
import pytest

from bench import gpu
from bench.files import Kind, make


@pytest.fixture
def backend() -> str:
    found: str = keras.backend.backend()
    if found not in ("jax", "torch"):
        pytest.skip("bench.gpu is for JAX and PyTorch")
    return found


def test_without_a_gpu_it_says_so_and_gives_no_figure(
    backend: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)  # it sets this, which must not outlive the test
    monkeypatch.setattr(gpu, "call", lambda *_, **__: None)
    assert gpu.main(["--out", str(tmp_path), "--dir", str(tmp_path)]) == 0
    said = capsys.readouterr()
    assert "no GPU is visible to" in said.err
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("backend")
def test_no_epoch_is_longer_than_the_file_and_every_step_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras cuts an epoch at the file's end, so a longer one would count steps never made."""
    trained: list[int] = []
    model = light_model(trained)
    monkeypatch.setattr(gpu, "_model", lambda _: model)
    monkeypatch.setattr(gpu, "FEWEST_STEPS", 7)
    path = make(tmp_path, Kind("contiguous"), 12)
    found = gpu.train(str(path), "article", 4, rounds=1, readers=1, seconds=0.0)
    assert {way: found[way]["steps"] for way in gpu.WAYS} == dict.fromkeys(gpu.WAYS, 9)
    assert trained == [3] * 4 * (1 + len(gpu.WAYS))  # epochs of 3: one unmeasured, three measured


def test_what_is_done_is_kept_before_the_next_begins(
    backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KERAS_BACKEND", backend)
    kept: list[int] = []
    ways = {
        way: {"steps": 1, "steps_per_s": 1.0, "gpu_pct": 50.0, "stall_pct": 0.0, "to_replay": 1.0}
        for way in gpu.WAYS
    }

    def measured(*_: Any, batch_size: int = 0, **__: Any) -> Any:
        files = list(tmp_path.glob("*-gpu-*.json"))
        kept.append(len(json.loads(files[0].read_text())["data"]["runs"]) if files else 0)
        return ways if batch_size == 32 else None

    monkeypatch.setattr(gpu, "call", lambda *_, **__: "A card")
    monkeypatch.setattr(gpu, "attempt", measured)
    arguments = ["--tiny", "--out", str(tmp_path), "--dir", str(tmp_path), "--backend", backend]
    assert gpu.main(arguments) == 0
    assert kept == [0, 1, 1, 2]
    page = next(tmp_path.glob("*-gpu-*.md")).read_text()
    assert f"A card, Keras on {backend}" in page
    assert "| article, 32 | ours | 1.0 | 1.000 | 50 % | 0.00 % |" in page


def light_model(trained: list[int]) -> keras.Model:
    """A model of hardly any work that notes how many steps each epoch made."""
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((128, 128, 3), dtype="uint8"),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1),
        ]
    )
    model.compile(optimizer="sgd", loss="mse")
    fit = model.fit

    class Steps(keras.callbacks.Callback):  # type: ignore[misc]  # keras has no types
        def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
            trained.append(0)

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
            trained[-1] += 1

    model.fit = lambda *given, callbacks, **named: fit(
        *given, callbacks=[*callbacks, Steps()], **named
    )
    return model
