"""The command: parts in order, results kept, what went wrong in the exit code."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from bench import __main__ as bench
from bench import reading
from bench.part import Options, Part, Result
from bench.systems import ARTICLE, SYSTEMS


@pytest.fixture(autouse=True)
def _parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts that measure nothing: one is well, the others are not."""
    made = {
        "well": Result({"figure": 7}, notes=["a peer was left out"]),
        "partly": Result({"figure": 8}, failed=["one peer: it broke"]),
        "lossy": Result({"figure": 9}, wrong_rows=["one peer: 1 row lost"]),
    }

    def part(name: str) -> Part:
        def measure(options: Options) -> Result:
            assert options.quick
            return made[name]

        def tables(data: Mapping[str, Any]) -> str:
            return f"figure {data['figure']}"

        return Part(name, f"Part {name}", measure, tables)

    monkeypatch.setattr(bench, "PARTS", (*made, "broken"))
    monkeypatch.setattr(bench, "_part", part)


def run(folder: Path, *words: str) -> int:
    return bench.main([*words, "--quick", "--name=it", f"--dir={folder}", f"--out={folder}"])


@pytest.mark.parametrize(
    ("parts", "code"),
    [("well", 0), ("well partly", 3), ("broken well", 3), ("lossy partly", 4)],
)
def test_the_exit_code_tells_the_worst(tmp_path: Path, parts: str, code: int) -> None:
    assert run(tmp_path, *parts.split()) == code


def test_the_page_has_every_part_and_what_went_wrong(tmp_path: Path) -> None:
    run(tmp_path)
    page = (tmp_path / "it.md").read_text()
    told = ["Part well", "figure 7", "a peer was left out", "figure 8", "it broke", "1 row lost"]
    places = [page.index(words) for words in [*told, "KeyError"]]
    assert places == sorted(places)


def test_a_part_measured_again_leaves_the_others(tmp_path: Path) -> None:
    run(tmp_path, "well")
    run(tmp_path, "partly")
    assert set(json.loads((tmp_path / "it.json").read_text())["parts"]) == {"well", "partly"}


def test_an_unknown_part_is_a_wrong_usage(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, "nonsense")


def test_readings_of_one_file_become_a_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "SYSTEMS", {ARTICLE: SYSTEMS[ARTICLE]})
    options = Options(tmp_path, samples=64, rounds=1, only="storage chunks")
    result = reading.measure(options)
    assert not result.failed
    assert not result.wrong_rows
    assert "| storage chunks of 32 | " in reading.PART.tables(result.data)


def test_a_file_measured_again_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pace = iter(range(1, 5))

    def measure(options: Options) -> Result:
        files = [options.only] if options.only else ["a", "b"]
        return Result({"files": [{"file": name, "pace": next(pace)} for name in files], "cold": []})

    def tables(data: Mapping[str, Any]) -> str:
        return " ".join(f"{row['file']}{row['pace']}" for row in data["files"])

    part = Part("well", "Part well", measure, tables, joined=reading.joined)
    monkeypatch.setattr(bench, "_part", lambda _: part)
    run(tmp_path, "well")
    run(tmp_path, "well", "--only=a")
    page = (tmp_path / "it.md").read_text()
    assert "a3 b2" in page
    run(tmp_path, "well", "--only=a")
    assert (tmp_path / "it.md").read_text().count("a: measured again") == 1


def test_a_files_whole_name_stands_for_it_alone() -> None:
    assert [kind.name for kind in reading._chosen("gzip-4")] == ["gzip-4"]
    assert len(reading._chosen("gzip")) > 3
    assert len(reading._chosen("")) > 5
