"""A function in a process of its own: its result, its error, its end."""

from __future__ import annotations

import os

import pytest

from bench.child import ChildError, call


def test_the_result_comes_from_another_process() -> None:
    assert call("os:getpid") != os.getpid()


def test_variables_reach_the_process() -> None:
    assert call("os:getenv", environment={"SEEN": "there"}, key="SEEN") == "there"


def test_an_error_arrives_with_the_childs_last_lines() -> None:
    with pytest.raises(ChildError, match=r"No such file.*nowhere"):
        call("os:listdir", path="nowhere")


def test_a_child_that_hangs_is_ended() -> None:
    with pytest.raises(ChildError, match="not done after 1 s"):
        call("subprocess:run", timeout_s=1, args=["sleep", "60"])
