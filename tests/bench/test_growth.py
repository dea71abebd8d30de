"""Growth: what is timed is what was counted, and every row came."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import growth


@pytest.mark.parametrize("warm", [0, 50, 130])
def test_whole_passes_are_counted_whatever_part_of_them_is_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, warm: int
) -> None:
    monkeypatch.setattr(growth, "WARM_SAMPLES", warm)
    monkeypatch.setattr(growth, "SECONDS", 0.0)
    found = growth.read(str(growth._made(tmp_path, 100)), readers=1)
    assert found["rows_correct"]
    assert found["us_per_sample"] > 0
    assert found["buffer_peak_bytes"] > 0
