"""Folders of real pictures."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.photographs import CLASSES, cut


@pytest.fixture(scope="session")
def tiles(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of PNG and JPEG tiles, 24 x 24, one sub-folder for each photograph."""
    root = tmp_path_factory.mktemp("pictures") / "tiles"
    for name in CLASSES:
        cut(name, root / name, 25)
    (root / "notes.txt").write_text("not a picture")
    return root
