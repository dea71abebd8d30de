"""Files that other libraries wrote, made once for all tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from helpers.foreign import HOSTILE, LIBRARIES, write_all


@pytest.fixture(scope="session")
def foreign(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small files of other writers, by name (helpers.foreign)."""
    return write_all(tmp_path_factory.mktemp("foreign"), LIBRARIES)


@pytest.fixture(scope="session")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small files of one kind each, and files made to do harm (helpers.foreign.hostile)."""
    return write_all(tmp_path_factory.mktemp("hostile"), HOSTILE)
