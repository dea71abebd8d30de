"""Buffers come back when nobody holds them, and never before."""

from __future__ import annotations

import gc
import sys
import threading

import numpy as np
from helpers.interrupting import at_every_point

from prefetcher.pipeline import buffers
from prefetcher.pipeline.buffers import Meter, Pool


def address(array: np.ndarray[tuple[int, ...], np.dtype[np.uint8]]) -> int:
    return int(array.ctypes.data)


def test_memory_is_used_again_once_the_last_view_is_gone() -> None:
    meter = Meter()
    pool = Pool(1000, keep=4, meter=meter)
    block = pool.take()
    first = address(block)
    view = block[10:20].reshape(2, 5).view(np.int8)
    del block
    assert address(pool.take()) != first  # the view still holds it
    del view
    gc.collect()
    assert first in {address(array) for array in [pool.take(), pool.take()]}


def test_a_caller_who_keeps_everything_gets_new_memory_each_time() -> None:
    meter = Meter()
    pool = Pool(64, keep=1, meter=meter)
    kept = []
    for number in range(20):
        block = pool.take()
        block[:] = number
        kept.append(block)
    assert [int(block[0]) for block in kept] == list(range(20))
    assert all((block == block[0]).all() for block in kept)
    assert meter.now == 20 * 64


def test_more_free_blocks_than_needed_are_let_go() -> None:
    meter = Meter()
    pool = Pool(64, keep=2, meter=meter)
    kept = [pool.take() for _ in range(5)]
    kept.clear()
    assert meter.now == 2 * 64
    assert meter.peak == 5 * 64
    pool.drop()
    assert meter.now == 0


def test_a_block_that_comes_back_after_the_drop_is_let_go() -> None:
    meter = Meter()
    pool = Pool(64, keep=2, meter=meter)
    block = pool.take()
    pool.drop()
    block[:] = 7
    assert meter.now == 64
    del block
    assert meter.now == 0


def test_steady_use_allocates_nothing() -> None:
    meter = Meter()
    pool = Pool(4096, keep=3, meter=meter)
    for _ in range(100):
        first, second = pool.take(), pool.take()
        del first, second
    assert meter.allocations == 2


def test_blocks_are_aligned_and_writable() -> None:
    pool = Pool(100, keep=1, meter=Meter())
    for _ in range(5):
        block = pool.take()
        assert address(block) % 64 == 0
        assert block.flags.writeable
        assert block.flags.c_contiguous


def test_no_block_has_two_owners_when_threads_take_and_let_go() -> None:
    pool = Pool(8, keep=8, meter=Meter())
    clashes: list[int] = []

    def use(mark: int) -> None:
        for _ in range(3000):
            block = pool.take()
            block[:] = mark
            if (block != mark).any():
                clashes.append(mark)

    threads = [threading.Thread(target=use, args=(mark,)) for mark in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not clashes


def test_an_interrupt_is_never_lost_and_never_costs_a_block() -> None:
    """At each point of taking blocks and of letting arrays go, wherever they end."""
    meter = Meter()
    pool = Pool(64, keep=2, meter=meter)

    def use() -> None:
        first = pool.take()
        kept = [pool.take_rows(8)[0][8:16] for _ in range(3)]
        del first
        kept.clear()

    for where in at_every_point(use, buffers):
        assert meter.now == 64 * len(pool._free), where
    pool.drop()
    assert meter.now == 0


def test_no_python_code_runs_when_an_array_ends() -> None:
    """A finalizer that is Python code is where Ctrl-C is raised, printed and lost."""
    pool = Pool(64, keep=1, meter=Meter())
    arrays = [pool.take() for _ in range(3)]
    ran: list[str] = []
    sys.settrace(lambda frame, *_: ran.append(frame.f_code.co_qualname))
    try:
        arrays.clear()
    finally:
        sys.settrace(None)
    assert not ran


def test_blocks_that_come_back_after_the_drop_are_let_go_one_by_one() -> None:
    meter = Meter()
    pool = Pool(64, keep=2, meter=meter)
    first, second = pool.take(), pool.take()
    pool.drop()
    del first
    assert meter.now == 64
    second[:] = 7
    del second, pool
    assert meter.now == 0
