"""A run of the pipeline ends whole, wherever Ctrl-C broke its start off."""

from __future__ import annotations

import threading
from pathlib import Path
from types import FunctionType
from typing import cast

import pytest
from conftest import MakeSamples
from helpers.interrupting import at_every_point
from helpers.leaks import open_hdf5_files, pipeline_threads
from helpers.sequences import ids, small

from prefetcher import PrefetchSequence
from prefetcher.config import Workers
from prefetcher.monitor.recorder import Recorder
from prefetcher.pipeline import crew, engine, stream
from prefetcher.pipeline.engine import Engine

N = 90


def function(method: object) -> FunctionType:
    return cast("FunctionType", method)


START = function(threading.Thread.start)


def ended(sequence: PrefetchSequence) -> bool:
    """Whether `close` leaves nothing of a sequence, and may be called again."""
    sequence.close()
    sequence.close()
    vars(threading)["_limbo"].clear()  # where Python itself leaves a thread that never began
    return not pipeline_threads() and not open_hdf5_files()


def test_a_first_request_that_is_interrupted_anywhere(samples: MakeSamples) -> None:
    """In the engine, the stream, and where Python starts a thread."""
    fresh = [small(samples(N))]
    places = []
    for where in at_every_point(lambda: fresh[0][0], engine, crew, stream, START):
        assert ended(fresh.pop()), where
        places.append(where.split(",")[0])
        fresh.append(small(samples(N)))
    assert ended(fresh.pop())
    assert set(places) >= {
        "Engine.start", "Engine._staff", "Thread.start", "Crew.resize", "Stream._started",
    }  # fmt: skip


def test_the_next_request_begins_another_run(samples: MakeSamples) -> None:
    fresh = [small(samples(N), shuffle=False)]
    for where in at_every_point(lambda: fresh[0][0], engine):
        assert ids(fresh[0][0]) == [0, 1, 2, 3], where
        assert ended(fresh.pop()), where
        fresh.append(small(samples(N), shuffle=False))
    assert ended(fresh.pop())


def test_a_stage_whose_new_thread_is_interrupted(samples: MakeSamples) -> None:
    def running() -> tuple[PrefetchSequence, Engine]:
        sequence = small(samples(N), shuffle=False)
        sequence[0]
        run = sequence._stream._engine
        assert run is not None
        return sequence, run

    fresh = [running()]
    for where in at_every_point(lambda: fresh[0][1].resize(Workers(2, 2)), crew, engine):
        sequence, _ = fresh.pop()
        assert ids(sequence[1]) == [4, 5, 6, 7], where
        assert ended(sequence), where
        fresh.append(running())
    assert len(pipeline_threads()) == 4
    assert ended(fresh.pop()[0])


def test_a_monitor_whose_thread_is_interrupted(samples: MakeSamples, tmp_path: Path) -> None:
    """Its thread ends too, with a summary."""
    fresh = [small(samples(N), monitor=tmp_path / "run.jsonl")]
    for where in at_every_point(lambda: fresh[0][0], START, function(Recorder.start)):
        assert ended(fresh.pop()), where
        fresh.append(small(samples(N), monitor=tmp_path / "run.jsonl"))
    assert ended(fresh.pop())


@pytest.mark.parametrize("failing", [1, 2])
def test_a_thread_that_cannot_be_started_is_an_error_and_nothing_stays(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch, failing: int
) -> None:
    real, left = threading.Thread.start, failing

    def start(self: threading.Thread) -> None:
        nonlocal left
        left -= self.name.startswith("prefetch-")
        if not left:
            raise RuntimeError("can't start new thread")
        real(self)

    monkeypatch.setattr(threading.Thread, "start", start)
    sequence = small(samples(N))
    with pytest.raises(RuntimeError, match="can't start"):
        sequence[0]
    monkeypatch.undo()
    assert len(ids(sequence[0])) == 4
    assert ended(sequence)
