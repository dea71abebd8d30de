"""The ceiling: the same few batches from memory, whatever Keras does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from conftest import MakeSamples
from helpers.models import counted
from helpers.sequences import BATCH, ids, passes, small

import prefetcher
from prefetcher import SettingsError, read_log
from prefetcher.report.timeline import timeline_of

N = 40


def test_the_first_batches_come_again_and_again(samples: MakeSamples) -> None:
    first = passes(samples(N), 1)[0][:3]
    with small(samples(N)) as sequence:
        again = prefetcher.replay(sequence, batches=3)
        assert len(again) == len(sequence) == N // BATCH
        assert [ids(again[i]) for i in range(7)] == [*first, *first, first[0]]
        assert again[0] is again[3]
        assert sequence.stats().batches == 3


def test_more_than_there_are_is_all(samples: MakeSamples) -> None:
    with small(samples(N)) as sequence:
        again = prefetcher.replay(sequence, batches=1000)
        assert sorted(i for k in range(len(again)) for i in ids(again[k])) == list(range(N))


def test_the_sequence_is_whole_afterwards(samples: MakeSamples) -> None:
    with small(samples(N)) as sequence:
        prefetcher.replay(sequence, batches=3)[0]
        assert sorted(i for batch in sequence for i in ids(batch)) == list(range(N))


def test_a_fit_takes_it_for_a_sequence(samples: MakeSamples, model: Any) -> None:
    with small(samples(N)) as sequence:
        model.fit(prefetcher.replay(sequence, batches=2), epochs=2, verbose=0)
    trained = counted(model)
    assert int(trained.sum()) == 2 * N
    assert int((trained > 0).sum()) == 2 * BATCH


def test_its_log_says_that_it_is_a_replay(samples: MakeSamples, tmp_path: Path) -> None:
    log = tmp_path / "replay.jsonl"
    with small(samples(N)) as sequence, prefetcher.replay(sequence, 2, monitor=log) as again:
        for index in range(len(again)):
            again[index]
        assert again.stats().samples == N
    run, *_, summary = read_log(log)
    assert run["settings"] == {"replay": 2, "batch_size": BATCH}
    assert (summary["kind"], summary["samples"], summary["batches"]) == ("summary", N, N // BATCH)


def test_no_batch_is_refused(samples: MakeSamples) -> None:
    with small(samples(N)) as sequence, pytest.raises(SettingsError, match="write 1 or more"):
        prefetcher.replay(sequence, batches=0)


def test_each_of_several_processes_replays_into_a_log_of_its_own(
    samples: MakeSamples, tmp_path: Path
) -> None:
    with (
        small(samples(N), shard=(1, 2)) as sequence,
        prefetcher.replay(sequence, 2, monitor=tmp_path / "replay.jsonl") as again,
    ):
        again[0]
    run = read_log(tmp_path / "replay.1of2.jsonl")[0]
    assert run["shard"] == {"index": 1, "count": 2}
    assert timeline_of([run]).batch_size == BATCH // 2
