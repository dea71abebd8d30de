"""One log a rank: what it is called, and how the ranks' logs are found again."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from helpers.ranks import fine, rank_log, write_log
from helpers.watched import RUN, MakeStats

from prefetcher.errors import FileMissingError, SettingsError
from prefetcher.monitor import Monitor, claimed, read_log
from prefetcher.monitor.ranks import log_of, pattern_of, patterns_beside
from prefetcher.order.shard import Shard


@pytest.mark.parametrize(
    ("name", "own", "pattern"),
    [
        ("run.jsonl", "run.1of2.jsonl", "run.*of2.jsonl"),
        ("run", "run.1of2", "run.*of2"),
        ("run.3.jsonl", "run.3.1of2.jsonl", "run.3.*of2.jsonl"),
        ("run.0of4.jsonl", "run.0of4.1of2.jsonl", "run.0of4.*of2.jsonl"),
    ],
)
def test_each_rank_has_a_name_of_its_own(name: str, own: str, pattern: str) -> None:
    path = Path("logs") / name
    assert log_of(path, Shard(1, 2)) == Path("logs") / own
    assert log_of(path, Shard()) == path
    assert pattern_of(own) == pattern


@pytest.mark.parametrize("name", ["run.jsonl", "run.of2.jsonl", "run.1of2.3.jsonl", "1of2.jsonl"])
def test_other_names_are_no_ranks(name: str) -> None:
    assert pattern_of(name) is None


def test_a_path_and_a_monitor_of_the_user_are_named_alike(
    path: Path, make_stats: MakeStats
) -> None:
    for index, made in enumerate((claimed(path, Shard(0, 2)), claimed(Monitor(path), Shard(1, 2)))):
        assert made is not None
        made.start(RUN, make_stats)
        made.stop()
        own = path.with_name(f"run.{index}of2.jsonl")
        assert made.path == own
        assert read_log(own)[0]["shard"] == {"index": index, "count": 2}
    assert not path.exists()


def test_one_process_writes_to_the_path_itself(path: Path, make_stats: MakeStats) -> None:
    monitor = claimed(path)
    assert monitor is not None
    monitor.start(RUN, make_stats)
    monitor.stop()
    assert read_log(path)[0]["shard"] == {"index": 0, "count": 1}


def test_a_rank_whose_log_cannot_be_there_is_refused(path: Path) -> None:
    path.with_name("run.1of2.jsonl").mkdir()
    with pytest.raises(SettingsError, match=r"run\.1of2\.jsonl.* is a folder"):
        claimed(path, Shard(1, 2))


def test_who_asks_for_the_users_path_is_told_of_the_ranks(path: Path) -> None:
    with pytest.raises(FileMissingError, match="the path given to Monitor"):
        read_log(path)
    for index in range(2):
        log_of(path, Shard(index, 2)).touch()
    assert patterns_beside(path) == ["run.*of2.jsonl"]
    with pytest.raises(FileMissingError, match=r"give one of run\.\*of2\.jsonl"):
        read_log(path)


def test_the_verdict_of_a_rank_says_whose_it_is_and_who_judges_all(path: Path) -> None:
    """A rank that keeps up may be waiting for another all the time."""
    more = " That is rank 1 of 2; `prefetcher report 'run.*of2.jsonl'` judges all together."
    for shard, said in ((Shard(), ""), (Shard(1, 2), more)):
        monitor = claimed(path, shard)
        assert monitor is not None
        write_log(monitor.path, rank_log(shard.index, shard.count, fine))
        told = io.StringIO()
        monitor.tell(told)
        headline = "Data keeps up: training waited 0 % of the time for it."
        assert told.getvalue() == f"{monitor.path.name}: {headline}{said}\n"
