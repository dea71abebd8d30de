"""A process that was forked has a copy of a sequence that gives nothing and disturbs nobody."""

from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest
from conftest import MakeSamples
from helpers.processes import run_python

from prefetcher import read_log

N = 90

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system"),
    pytest.mark.skipif(
        sys.platform == "darwin", reason="forking with threads is not safe on macOS"
    ),
]

HEAD = """
    import signal

    def in_a_fork(work):
        child = os.fork()
        if child == 0:
            signal.alarm(30)  # no thread of faulthandler is here to end a hang
            os._exit(work())
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

    def refused(call):
        try:
            call()
        except prefetcher.ProcessError as error:
            assert "num_workers=0" in str(error), error
            assert "contiguous-90.h5" in str(error), error
            return 0
        return 1
    """


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
def test_a_copy_is_refused_whatever_it_is_asked(samples: MakeSamples, used: bool) -> None:
    """Two copies would give the same batches. The child may make its own; the parent reads on."""
    run_python(
        HEAD
        + f"""
    train = small(file, shuffle=False, readers=2)
    state = train.state_dict()
    if {used}:
        train[0]

    def child():
        calls = [
            lambda: train[1],
            lambda: iter(train),
            lambda: list(train),
            lambda: train.num_batches,
            train.on_epoch_begin,
            train.on_epoch_end,
            train.state_dict,
            lambda: train.load_state_dict(state),
        ]
        wrong = [number for number, call in enumerate(calls) if refused(call)]
        assert not wrong, wrong
        assert len(train) == 23
        train.close()
        assert refused(lambda: train[1]) == 0
        with small(file, shuffle=False) as own:
            assert ids(own[1]) == [4, 5, 6, 7]
        return 0

    in_a_fork(child)
    assert ids(train[1]) == [4, 5, 6, 7]
    train.close()
    """,
        file=samples(N),
    )


def test_a_copy_is_refused_in_processes_of_multiprocessing(samples: MakeSamples) -> None:
    run_python(
        HEAD
        + """
    import multiprocessing
    train = small(file)
    context = multiprocessing.get_context("fork")
    process = context.Process(target=lambda: sys.exit(refused(lambda: train[0])))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    train.close()
    """,
        file=samples(N),
    )


@pytest.mark.parametrize("used", [True, False], ids=["used", "unused"])
@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="needs PyTorch")
def test_workers_of_a_data_loader_are_refused(samples: MakeSamples, used: bool) -> None:
    """And none are needed: without them the loader gives each sample once in each epoch."""
    run_python(
        HEAD
        + f"""
    from torch.utils.data import DataLoader
    train = small(file)
    if {used}:
        train[0]
    assert refused(lambda: list(DataLoader(train, batch_size=None, num_workers=2))) == 0
    for shuffle in (False, True):
        loader = DataLoader(train, batch_size=None, num_workers=0, shuffle=shuffle)
        for _ in range(3):
            found = sorted(i for x, y in loader for i in ids((x.numpy(), y.numpy())))
            assert found == list(range(90)), (shuffle, found)
    train.close()
    """,
        file=samples(N),
    )


ENDS = {
    "at once": "pass",
    "closes all": """
            train.monitor.event("from the child", {})
            train.monitor.start({}, train.stats)
            train.close()
            train.monitor.close()
            """,
    "garbage": """
            global train
            del train
            gc.collect()
            """,
    "exit": """
            weakref.finalize._exitfunc()
            prefetcher.pipeline.stream._close_all()
            """,
}
"""How a child ends. The real exit of an interpreter would also end what Keras's backend forked."""


@pytest.mark.parametrize("end", ENDS)
def test_the_end_of_a_copy_disturbs_nobody(samples: MakeSamples, tmp_path: Path, end: str) -> None:
    """Neither the parent's threads nor its log, of which the child writes no line."""
    log = tmp_path / "run.jsonl"
    printed = run_python(
        HEAD
        + f"""
    import gc, weakref
    log = Path({str(log)!r})
    train = small(file, monitor=log, readers=2)
    train[0]

    def child():
        if True:
            {ENDS[end]}
        return 0

    sys.stderr = sys.stdout  # where a verdict would be told
    in_a_fork(child)
    seen = sorted(i for batch in train for i in ids(batch))
    assert seen == list(range(90))
    train.close()
    """,
        file=samples(N),
    )
    kinds = [line["kind"] for line in read_log(log)]
    assert kinds.count("run") == kinds.count("summary") == 1
    assert kinds[-1] == "summary"
    assert len({line["pid"] for line in read_log(log) if "pid" in line}) == 1
    assert printed.count("run.jsonl:") <= 1, "the child told a verdict too"


def test_a_monitor_and_a_replay_do_not_travel_either(samples: MakeSamples, tmp_path: Path) -> None:
    run_python(
        HEAD
        + f"""
    monitor = prefetcher.Monitor(Path({str(tmp_path)!r}) / "run.jsonl")
    train = small(file)
    again = prefetcher.replay(train, 3)
    again[0]

    def child():
        for call in (lambda: again[0], lambda: small(file, monitor=monitor)):
            try:
                call()
            except prefetcher.ProcessError as error:
                assert "process" in str(error)
            else:
                return 1
        return 0

    in_a_fork(child)
    small(file, monitor=monitor).close()
    train.close()
    """,
        file=samples(N),
    )
