"""The whole way of a new user: the example of docs/convert.md, on a thousand real PNG files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.photographs import photograph
from PIL import Image

CLASSES = ("coffee", "grass", "hubble_deep_field", "retina")
EXAMPLE = Path(__file__).parents[2] / "docs" / "convert.md"


def thousand(folder: Path) -> None:
    """250 tiles of each photograph as PNG, 20 x 20, side by side or overlapping."""
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        with Image.open(photograph(name)) as image:
            whole = image.convert("RGB").resize((400, 400))
        for number in range(250):
            top, left = number // 16 * 24, number % 16 * 24
            whole.crop((left, top, left + 20, top + 20)).save(folder / name / f"{number}.png")


def test_folder_to_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    thousand(tmp_path / "photos")
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(.*?)```", EXAMPLE.read_text(encoding="utf-8"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(code, EXAMPLE.name, "exec"), names)
    accuracy = names["history"].history["val_accuracy"]
    assert accuracy[-1] > 0.6  # guessing gives 0.25
    assert names["predicted"].shape == (200, 4)
    assert np.allclose(names["predicted"].sum(axis=1), 1, atol=1e-3)
