"""Buffers come back when nobody holds them, and never before."""

from __future__ import annotations

import errno
import gc
import mmap
import sys
import threading
from typing import Any, Self

import numpy as np
import psutil
import pytest
from helpers.interrupting import at_every_point
from helpers.poison import PATTERN
from helpers.processes import run_script

from prefetcher.pipeline import buffers
from prefetcher.pipeline.buffers import Meter, Pool

SMALL, LARGE = 64, 1 << 16
"""Bytes of a block out of malloc, and of one with pages of its own."""


def mapped() -> int:
    """Blocks of all pools that have pages of their own."""
    return len(buffers._mappings)


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


@pytest.mark.parametrize("nbytes", [100, 16_385, 1_000_001])
def test_blocks_are_aligned_and_writable(nbytes: int) -> None:
    pool = Pool(nbytes, keep=1, meter=Meter())
    for _ in range(5):
        block = pool.take()
        assert address(block) % 64 == 0
        assert block.shape == (nbytes,)
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


@pytest.mark.parametrize("nbytes", [SMALL, LARGE])
def test_an_interrupt_is_never_lost_and_never_costs_a_block(nbytes: int) -> None:
    """At each point of taking blocks and of letting arrays go, wherever they end."""
    meter, before = Meter(), mapped()
    pool = Pool(nbytes, keep=2, meter=meter)

    def use() -> None:
        first = pool.take()
        kept = [pool.take_rows(8)[0][8:16] for _ in range(3)]
        del first
        kept.clear()

    for where in at_every_point(use, buffers):
        assert meter.now == nbytes * len(pool._free), where
    pool.drop()
    assert meter.now == 0
    assert mapped() == before


@pytest.mark.parametrize("nbytes", [SMALL, LARGE])
def test_no_python_code_runs_when_an_array_ends(nbytes: int) -> None:
    """A finalizer that is Python code is where Ctrl-C is raised, printed and lost."""
    pool = Pool(nbytes, keep=1, meter=Meter())
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


def test_pages_go_back_when_blocks_end_whichever_thread_took_them() -> None:
    """What malloc gives to threads stays in their arenas, also when they have ended."""
    mapped_by_malloc = np.ones(30 << 20, np.uint8)
    del mapped_by_malloc  # from now on malloc takes what is smaller out of its arenas
    pool = Pool(1_500_000, keep=64, meter=Meter())
    kept: list[list[Any]] = []

    def use() -> None:
        kept.append([pool.take() for _ in range(16)])
        for block in kept[-1]:
            block[:] = 1

    resident = psutil.Process().memory_info
    before = resident().rss
    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert resident().rss > before + (80 << 20)
    last = [blocks[-1] for blocks in kept]
    kept.clear()
    pool.drop()
    assert resident().rss < before + (30 << 20)
    assert all((block == 1).all() for block in last)  # what is held stays


def test_small_blocks_take_no_page_each() -> None:
    before, pool = mapped(), Pool(300, keep=100, meter=Meter())
    kept = [pool.take() for _ in range(100)]
    assert mapped() == before
    del kept


def test_a_caller_who_keeps_very_many_blocks_leaves_the_system_its_mappings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(buffers, "_MOST_MAPPINGS", mapped() + 3)
    pool = Pool(LARGE, keep=2, meter=Meter())
    kept = []
    for number in range(10):
        kept.append(pool.take())
        kept[-1][:] = number
    assert mapped() == buffers._MOST_MAPPINGS
    assert [int(block[0]) for block in kept] == list(range(10))
    kept.clear()
    pool.drop()
    assert mapped() == buffers._MOST_MAPPINGS - 3


def test_where_the_system_gives_no_mapping_malloc_may_have_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Full(mmap.mmap):
        def __new__(cls, *args: Any, **options: Any) -> Self:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(mmap, "mmap", Full)
    block = Pool(LARGE, keep=1, meter=Meter()).take()
    assert address(block) % 64 == 0
    assert block.shape == (LARGE,)


@pytest.mark.parametrize("nbytes", [SMALL, LARGE])
def test_in_tests_no_block_looks_like_zeros_that_were_read(nbytes: int) -> None:
    assert (Pool(nbytes, keep=1, meter=Meter()).take() == PATTERN).all()


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_what_a_forked_process_writes_stays_its_own() -> None:
    run_script(
        """
import os
from prefetcher.pipeline.buffers import Meter, Pool
block = Pool(1 << 16, keep=1, meter=Meter()).take()
block[:] = 1
child = os.fork()
if not child:
    block[:] = 2
    os._exit(0)
os.waitpid(child, 0)
assert (block == 1).all()
"""
    )
