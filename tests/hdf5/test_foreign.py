"""Files that other people wrote: each dataset gives h5py's bytes, or is itself refused."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest
from helpers.beside_h5py import EQUAL, REFUSED, UNCOMPARED, Verdict, verdicts

REFUSALS = {
    "matlab": {"cells"},
    "netcdf-classic": {"scalar"},
    "new-neighbours": {"quad", "record", "time"},
    "nexus": {"entry/outside", "entry/title"},
    "old-neighbours": {"quad", "record", "time"},
    "outside": {"link", "storage", "view"},
    "types-compounds": {"ragged"},
    "types-new-compounds": {"ragged"},
    "types-new-objects": {"references", "regions"},
    "types-new-shapes": {"arrays", "null", "scalar", "text"},
    "types-objects": {"references", "regions"},
    "types-shapes": {"arrays", "null", "scalar", "text"},
}
"""The datasets without rows of numbers or text, or that lead out of their file."""
UNNAMED = "bad\udcff"
"""A name that is not UTF-8: h5py cannot ask for it, so there is nothing to compare with."""


@pytest.fixture(scope="module")
def judged(foreign: dict[str, Path]) -> dict[str, list[Verdict]]:
    """What came of each dataset, by file."""
    found: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts(list(foreign.values())):
        found[verdict.path.stem].append(verdict)
    return found


def test_every_library_wrote_files(foreign: dict[str, Path]) -> None:
    writers = {name.partition("-")[0] for name in foreign}
    assert writers >= {"netcdf", "pytables", "pandas", "matlab", "anndata", "nexus", "old", "new"}
    assert len(foreign) >= 36


def test_each_dataset_equals_h5py_or_is_refused_for_its_own_sake(
    judged: dict[str, list[Verdict]],
) -> None:
    """No neighbour's fault, no name that h5py resolves, no fill value refuses a dataset."""
    faults = [
        str(verdict)[:300]
        for name, found in judged.items()
        for verdict in found
        if verdict.kind != expected(name, verdict.dataset)
    ]
    assert faults == []


def expected(file: str, dataset: str) -> str:
    if dataset == UNNAMED:
        return UNCOMPARED
    return REFUSED if dataset in REFUSALS.get(file, set()) else EQUAL


def test_what_is_refused_was_looked_at(judged: dict[str, list[Verdict]]) -> None:
    refused = {
        name: {verdict.dataset for verdict in found if verdict.kind == REFUSED}
        for name, found in judged.items()
    }
    assert {name: names for name, names in refused.items() if names} == REFUSALS


def test_all_three_ways_are_compared(judged: dict[str, list[Verdict]]) -> None:
    ways = [v.detail for found in judged.values() for v in found if v.kind == EQUAL]
    assert min(ways.count("contiguous"), ways.count("storage chunks"), ways.count("general")) > 50


def test_links_out_of_a_file_are_read_where_that_is_allowed(foreign: dict[str, Path]) -> None:
    found = {v.dataset: v for v in verdicts([foreign["outside"]], allow_external=True)}
    assert set(found) == {"own", "link", "storage", "view"}
    assert [str(v) for v in found.values() if v.kind != EQUAL] == []
