"""The channel: bounded, in order by number, and three endings that say which they are."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from functools import partial

import pytest
from helpers.waiting import Task, wait_for
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.pipeline.channel import Channel, Closed, Idle


class BrokenDiskError(Exception):
    pass


def waits(channel: Channel[str], monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """An event that is set once somebody waits in the channel."""
    waiting = threading.Event()
    for condition in (channel._filled, channel._emptied):

        def signalling(
            timeout: float | None = None, wait: Callable[..., bool] = condition.wait
        ) -> bool:
            waiting.set()
            return wait(timeout)

        monkeypatch.setattr(condition, "wait", signalling)
    return waiting


@given(st.permutations(range(6)), st.integers(1, 6))
def test_items_come_by_number_whoever_puts_them_first(order: list[int], depth: int) -> None:
    channel: Channel[int] = Channel(depth)
    puts = [Task(partial(channel.put, n, n * 10)) for n in order]
    assert [channel.get(number) for number in range(6)] == [0, 10, 20, 30, 40, 50]
    for put in puts:
        put.result()


def test_a_put_waits_for_room_and_the_next_item_always_has_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel: Channel[str] = Channel(depth=2)
    waiting = waits(channel, monkeypatch)
    channel.put(1, "b")
    late = Task(lambda: channel.put(2, "c"))
    wait_for(waiting, "a put without room waits")
    channel.put(0, "a")  # would hang if number 2 could take its room
    assert channel.ready == 2
    assert [channel.get(0), channel.get(1), channel.get(2)] == ["a", "b", "c"]
    late.result()


def test_reserving_waits_as_putting_does(monkeypatch: pytest.MonkeyPatch) -> None:
    channel: Channel[str] = Channel(depth=1)
    waiting = waits(channel, monkeypatch)
    channel.reserve(0)
    late = Task(lambda: channel.reserve(1))
    wait_for(waiting, "a reservation without room waits")
    channel.put(0, "a")
    assert channel.get(0) == "a"
    late.result()


def test_a_put_without_room_waits_until_a_burst_has_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Or each get would wake a thread, which takes the interpreter from whoever trains."""
    channel: Channel[str] = Channel(depth=4, burst=3)
    waiting = waits(channel, monkeypatch)
    wakes: list[int] = []
    notify = channel._emptied.notify_all

    def noting() -> None:
        wakes.append(channel.lowest)
        notify()

    monkeypatch.setattr(channel._emptied, "notify_all", noting)
    for number in range(4):
        channel.put(number, "early")

    def put_three() -> None:
        for number in (4, 5, 6):
            channel.put(number, "late")

    late = Task(put_three)
    wait_for(waiting, "a put without room waits")
    for number in range(3):
        assert wakes == []
        assert channel.get(number) == "early"
    late.result()  # the three find room at once
    assert wakes == [3]
    assert [channel.get(number) for number in (3, 4, 5, 6)] == ["early", "late", "late", "late"]


def test_the_next_item_has_room_whoever_waits_for_a_burst(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel: Channel[str] = Channel(depth=4, burst=4)
    waiting = waits(channel, monkeypatch)
    channel.put(1, "b")
    channel.put(2, "c")
    channel.put(3, "d")
    late = Task(lambda: channel.put(4, "e"))
    wait_for(waiting, "a put without room waits")
    channel.put(0, "a")  # would hang if it waited for the burst too
    assert [channel.get(number) for number in range(5)] == ["a", "b", "c", "d", "e"]
    late.result()


class Large:
    """Something that a weak reference can be made of."""


def test_an_item_that_is_looked_at_keeps_its_room_until_it_is_taken() -> None:
    channel: Channel[Large] = Channel(1)
    channel.put(0, Large())
    alive = weakref.ref(channel.look(0))
    assert (channel.look(0), channel.lowest) == (alive(), 0)
    channel.take(0)
    assert (alive(), channel.lowest) == (None, 1)


def test_taking_what_was_looked_at_is_fine_after_closing() -> None:
    channel: Channel[str] = Channel(1)
    channel.put(0, "a")
    channel.look(0)
    channel.close()
    channel.take(0)
    with pytest.raises(Closed):
        channel.look(0)


def test_the_room_of_an_item_is_free_when_it_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    channel: Channel[str] = Channel(depth=1)
    waiting = waits(channel, monkeypatch)
    channel.put(0, "chunk")
    late = Task(lambda: channel.put(1, "next"))
    wait_for(waiting, "the next put waits")
    assert [channel.look(0), channel.look(0)] == ["chunk", "chunk"]
    assert channel.ready == 1
    channel.take(0)
    late.result()
    assert channel.get(1) == "next"


def test_closing_wakes_everybody_on_both_sides() -> None:
    channel: Channel[str] = Channel(depth=1, first=5)
    channel.put(5, "a")
    producer = Task(lambda: channel.put(6, "b"))
    consumer = Task(lambda: channel.get(7))
    channel.close()
    channel.close()
    with pytest.raises(Closed):
        producer.result()
    with pytest.raises(Closed):
        consumer.result()
    with pytest.raises(Closed):
        channel.get(5)


def test_a_failure_takes_the_place_of_its_item_and_earlier_ones_still_come() -> None:
    channel: Channel[str] = Channel(depth=4)
    error = BrokenDiskError("disk")
    waiting = Task(lambda: channel.get(2))
    channel.fail(2, error)
    channel.put(0, "a")
    channel.put(1, "b")
    with pytest.raises(Closed):
        channel.put(3, "d")
    assert [channel.get(0), channel.get(1)] == ["a", "b"]
    for number in (2, 9):
        with pytest.raises(BrokenDiskError, match="disk"):
            channel.get(number)
    with pytest.raises(BrokenDiskError):
        waiting.result()


def test_of_two_failures_the_first_by_number_is_raised_and_notes_the_other() -> None:
    channel: Channel[str] = Channel(depth=4)
    channel.fail(3, BrokenDiskError("later"))
    channel.fail(1, BrokenDiskError("earlier"))
    with pytest.raises(BrokenDiskError, match="earlier") as caught:
        channel.get(3)
    assert caught.value.__notes__ == ["also: BrokenDiskError: later"]


def test_a_failure_reported_twice_is_noted_once() -> None:
    channel: Channel[str] = Channel(depth=4)
    error = BrokenDiskError("once")
    channel.fail(3, error)
    channel.fail(2, error)
    with pytest.raises(BrokenDiskError) as caught:
        channel.get(2)
    assert not hasattr(caught.value, "__notes__")


def test_a_closed_channel_holds_no_error_and_so_none_of_its_frames() -> None:
    channel: Channel[str] = Channel(depth=4)
    before, after = BrokenDiskError("before"), BrokenDiskError("after")
    errors = [weakref.ref(before), weakref.ref(after)]
    channel.fail(2, before)
    channel.close()
    channel.fail(1, after)
    del before, after
    assert [error() for error in errors] == [None, None]
    with pytest.raises(Closed):
        channel.get(2)


def test_waiting_for_room_gives_up_when_nobody_takes() -> None:
    channel: Channel[str] = Channel(depth=1, idle=0.01)
    channel.put(0, "a")
    assert channel.get(0) == "a"
    channel.put(1, "b")
    with pytest.raises(Idle):
        channel.put(2, "c")
    assert channel.get(1) == "b"


def test_nobody_gives_up_before_the_first_get_or_while_one_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    channel: Channel[str] = Channel(depth=1, idle=0.0)
    waiting = waits(channel, monkeypatch)
    channel.put(0, "a")
    late = Task(lambda: channel.put(1, "b"))
    wait_for(waiting, "the put waits for room before anybody has asked")
    assert channel.get(0) == "a"
    late.result()
    waiting.clear()
    reader = Task(lambda: channel.get(2))
    wait_for(waiting, "somebody waits for an item")
    later = Task(lambda: channel.put(2, "c"))
    assert channel.get(1) == "b"
    later.result()
    assert reader.result() == "c"


def test_a_finalizer_in_a_thread_that_holds_the_lock_can_close() -> None:
    channel: Channel[str] = Channel(depth=1)

    class Garbage:
        pass

    cycle = Garbage()
    cycle.self = cycle  # type: ignore[attr-defined]
    weakref.finalize(cycle, channel.close)
    with channel._lock:
        del cycle
        gc.collect()
    with pytest.raises(Closed):
        channel.get(0)


def test_a_finalizer_does_not_wait_for_ever_for_a_lock_that_another_holds() -> None:
    channel: Channel[str] = Channel(depth=1)
    held, leave = threading.Event(), threading.Event()

    def hold() -> None:
        with channel._lock:
            held.set()
            leave.wait(30)

    holder = Task(hold)
    assert held.wait(5)
    channel.close()  # returns although the lock is held
    leave.set()
    holder.result()
    with pytest.raises(Closed):
        channel.get(0)
