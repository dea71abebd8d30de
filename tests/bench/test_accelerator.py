"""The settings as they come and the tuned ones, before a simulated accelerator."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.accelerator import PART, at_share
from bench.files import kinds, make
from prefetcher.tuning import probe


def test_the_tuned_settings_are_tried_beside_those_that_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(probe, "PROBE_S", 0.05)
    monkeypatch.setattr(probe, "CHECK_S", 0.05)
    row = at_share(str(make(tmp_path, kinds()[0], 96)), rounds=3)
    assert row["demand"] == pytest.approx(0.8 * row["capacity"])
    assert {name: len(each) for name, each in row["stall_pct_each"].items()} == {
        "as it comes": 3,
        "tuned": 3,
        "bare threads": 3,
    }
    told = PART.tables({"files": [], "capacity": [{"file": "contiguous"} | row]})
    assert row["tuned"] in told
