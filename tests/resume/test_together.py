"""What fails in one process fails in all of them, and none is left waiting."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import keras
import pytest
from helpers.played import in_all

from prefetcher.errors import FileBusyError, PrefetchError, ProcessError, SettingsError
from prefetcher.order.shard import Shard
from prefetcher.resume import together
from prefetcher.resume.together import Group, group_of


def test_all_get_what_all_of_them_told() -> None:
    told = in_all(3, lambda group: group.agree(lambda: group.index, lambda value: value * 10))
    assert told == [(index, [0, 10, 20]) for index in range(3)]


def test_one_process_agrees_with_itself() -> None:
    assert Group().agree(lambda: "value", len) == ("value", [5])


@pytest.mark.parametrize("failing", [0, 1, 2])
@pytest.mark.parametrize("where", ["call", "tell"])
def test_an_error_in_one_process_reaches_all(failing: int, where: str) -> None:
    def fail(group: Group) -> Any:
        def failing_here(*_: object) -> None:
            if group.index == failing:
                raise FileBusyError("the folder is taken")

        if where == "call":
            return group.agree(failing_here)
        return group.agree(lambda: None, failing_here)

    for index, error in enumerate(in_all(3, fail)):
        assert type(error) is FileBusyError
        whose = "" if index == failing else f"process {failing} of 3: "
        assert str(error) == f"{whose}the folder is taken"


def test_an_error_of_another_kind_is_told_as_what_it_is() -> None:
    def fail(group: Group) -> Any:
        return group.agree(lambda: 1 // group.index)

    first, second = in_all(2, fail)
    assert type(first) is ZeroDivisionError
    assert type(second) is ProcessError
    assert str(second).startswith("process 0 of 2 failed: ZeroDivisionError: ")


def test_the_name_of_an_error_makes_nothing_but_an_error() -> None:
    """Names in the module of errors that are no errors of ours."""

    class annotations(Exception):  # noqa: N801, N818
        pass

    def fail(group: Group) -> Any:
        def call() -> None:
            if group.index == 0:
                raise annotations

        return group.agree(call)

    assert type(in_all(2, fail)[1]) is ProcessError


def test_a_long_error_is_cut_for_the_others() -> None:
    def fail(group: Group) -> Any:
        def call() -> None:
            if group.index == 0:
                raise PrefetchError("x" * 100_000)

        return group.agree(call)

    assert len(str(in_all(2, fail)[1])) < 3000


def test_a_process_that_shares_nothing_is_alone() -> None:
    assert group_of(Shard()) == Group()


def test_a_share_without_others_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"shard=\(1, 2\): .* knows of no other"):
        group_of(Shard(1, 2))


def test_whoever_trains_with_a_distribution_is_asked_about(monkeypatch: pytest.MonkeyPatch) -> None:
    """`shard=None` gives every process all of the data, and they still train one model."""
    joined = Group(1, 2, lambda note: [note, note])
    monkeypatch.setattr(together, "_joined", lambda: joined)
    assert group_of(Shard()) == Group()
    monkeypatch.setattr(keras.distribution, "distribution", SimpleNamespace)
    assert group_of(Shard()) is joined
    monkeypatch.undo()
    monkeypatch.setattr(together, "_joined", lambda: joined)
    assert group_of(Shard(1, 2)) is joined


def test_one_process_talks_over_the_real_thing() -> None:
    """JAX gathers from one process as from several; notes of any length come back."""
    if keras.backend.backend() != "jax":
        pytest.skip("JAX's way")
    for note in (None, {"a": [1, 2.5, "ä"]}, "x" * 5000):
        assert together._over_jax(note) == [note]
