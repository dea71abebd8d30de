"""Folders of real pictures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from helpers.photographs import CLASSES, cut

from prefetcher.conversion import plan, single


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of PNG and JPEG tiles, 24 x 24, one sub-folder for each photograph."""
    root = tmp_path_factory.mktemp("pictures") / "tiles"
    for name in CLASSES:
        cut(name, root / name, 25)
    (root / "notes.txt").write_text("not a picture")
    return root


@pytest.fixture
def folder(tiles: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(tiles, tmp_path / "tiles"))


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows to a storage chunk, and a checkpoint after each: a small folder has many."""
    monkeypatch.setattr(plan, "storage_rows", lambda _: 3)
    monkeypatch.setattr(single, "CHECKPOINT_SECONDS", 0.0)
