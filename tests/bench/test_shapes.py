"""Each kind of data, measured: a little of it, to see that it works."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import shapes
from bench.part import Options


@pytest.mark.parametrize("case", shapes.CASES)
def test_figures_become_a_table(tmp_path: Path, case: str) -> None:
    result = shapes.measure(Options(tmp_path, rounds=1, quick=True, only=case))
    assert not result.failed
    assert not result.wrong_rows
    assert f"{case}: " in shapes.PART.tables(result.data)
