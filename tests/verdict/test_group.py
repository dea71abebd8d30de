"""The verdict on a group: what is said of it."""

from __future__ import annotations

from typing import Any

import pytest
from helpers.ranks import Stalls, alike, behind, fine, in_turn, rank_log

from prefetcher.verdict.group import GroupVerdict, judge_group, numbers_told, rank_of, ranks_told


def judged(count: int, stalls: Stalls, leave_out: tuple[int, ...] = (), **keys: Any) -> Any:
    ranks = [
        rank_of(rank_log(index, count, stalls, **keys))
        for index in reversed(range(count))
        if index not in leave_out
    ]
    verdict: GroupVerdict = judge_group(ranks)
    return verdict


ADVICE = "readers=1 -> 2: storage that answers late often serves two at once."


def test_the_headline_says_who_waits_and_what_to_change() -> None:
    assert judged(4, behind).headline == (
        "The group of 4 ranks waited 40 % of the time for data, 100 % of it for rank 1: there the "
        f"readers are the limit (disk). Change there: {ADVICE}"
    )
    assert judged(4, alike).headline == (
        "The group of 4 ranks waited 30 % of the time for data, all ranks alike: the readers are "
        f"the limit (disk). Change: {ADVICE}"
    )
    told = "Data keeps up: the group of 4 ranks waited 0 to 2 % of the time for it."
    assert judged(4, fine).headline == told


def test_the_reason_has_the_other_ranks_and_the_price_of_unevenness() -> None:
    why = judged(4, behind).why
    assert "rank 1 waited 40.0 % of the time and the others 1.0 %" in why
    assert "; the others without it lost 1.0 % at this pace" in why
    assert "all wait for the slowest, so unevenness cost 29." in why
    assert "readers wait for storage" in why
    assert "one after another" not in why


def test_ranks_that_wait_in_turn_are_told_to_even_that_out() -> None:
    """None of them waits long enough to be told anything alone."""

    def rarely(index: int, second: int) -> float:
        return 14.0 if second % 4 == index else 0.0

    headline = judged(4, rarely, seconds=80).headline
    assert "waited 14 % of the time for data, now for one rank and now for another" in headline
    assert headline.endswith("Change: chunk_queue=2 -> 4, which evens out short waits.")
    assert "there the readers are the limit" in judged(4, in_turn).headline


def test_short_waits_of_many_ranks_are_not_taken_for_none() -> None:
    """Each waits 0.5 %, at once or one after another within a second: the log cannot tell."""
    verdict = judged(40, fine)
    assert verdict.later.level == "fine"
    assert (verdict.level, verdict.unsure) == ("moderate", True)
    assert verdict.headline.startswith(
        "The group of 40 ranks waited 0 to 20 % of the time for data, now for one rank and now for"
    )
    assert "up to 20 % if ranks were late one after another" in verdict.why
    assert "at most 20 %" in judged(40, fine, wait_scope="upper_bound").headline


def test_a_rank_that_is_always_late_leaves_no_doubt() -> None:
    """Its readers are always busy, so who is late less is so at the same time."""
    verdict = judged(40, behind)
    assert verdict.later.at_most_pct > 70
    assert not verdict.unsure
    assert "waited 40 % of the time" in verdict.headline


def test_a_missing_rank_is_named_and_the_loss_is_a_lower_bound() -> None:
    verdict = judged(4, behind, leave_out=(1, 3))
    assert verdict.missing == (1, 3)
    assert "waited at least 1 % of the time" in verdict.headline
    alone = judged(4, alike, leave_out=(0, 1, 3))
    assert "waited at least 30 % of the time for data, by rank 2 alone" in alone.headline


def test_a_rank_whose_log_is_empty_is_missing() -> None:
    ranks = [rank_of(rank_log(0, 2, fine)), rank_of(rank_log(1, 2, fine, seconds=0))]
    assert judge_group(ranks).missing == (1,)
    nothing = judge_group(ranks[1:])
    assert nothing.headline.startswith("Nothing was measured")
    assert nothing.main is None


def test_tensorflow_waits_at_most_so_long() -> None:
    verdict = judged(2, behind, wait_scope="upper_bound")
    assert verdict.upper_bound
    assert "waited at most 40 %" in verdict.headline


def test_a_rank_that_ended_before_the_others_is_named() -> None:
    ranks = [rank_of(rank_log(i, 3, fine, seconds=20 - 12 * (i == 1))) for i in range(3)]
    assert judge_group(ranks).ended_early == (1,)
    assert judged(3, fine).ended_early == ()


@pytest.mark.parametrize(
    ("numbers", "told"),
    [
        ([3], "rank 3"),
        ([0, 1, 3], "ranks 0, 1 and 3"),
        ([0, 1, 2, 3, 9], "ranks 0 to 3 and 9"),
        (range(0, 1024, 2), "ranks 0, 2, 4, 6, 8, 10, 12 and others"),
        (range(1, 1024), "ranks 1 to 1023"),
    ],
)
def test_ranks_in_words(numbers: Any, told: str) -> None:
    assert ranks_told(numbers) == told
    assert told.endswith(numbers_told(numbers))
