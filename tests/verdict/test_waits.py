"""What a group lost: at each moment what the rank waited that waited longest."""

from __future__ import annotations

import numpy as np
import pytest
from helpers.logs import log, stage, summary_line
from helpers.ranks import Stalls, alike, behind, fine, in_turn, rank_log
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.verdict.curve import Curve, curve_of
from prefetcher.verdict.waits import GroupFinding, group_findings, longest_waits


def curves(count: int, stalls: Stalls, late_s: int = 0, **keys: int) -> dict[int, Curve]:
    """Ranks of which each began so many seconds after the one before it."""
    made = (
        curve_of(rank_log(index, count, stalls, start_s=late_s * index, **keys))
        for index in range(count)
    )
    return {index: curve for index, curve in enumerate(made) if curve is not None}


def later(count: int, stalls: Stalls) -> GroupFinding:
    finding = group_findings(curves(count, stalls))[1]
    assert finding is not None
    return finding


def test_all_wait_for_the_rank_that_is_behind() -> None:
    found = later(4, behind)
    assert found.lost_pct == 40.0
    assert found.mean_pct == pytest.approx((40 + 3 * 1) / 4, abs=0.1)
    assert found.uneven_pct == pytest.approx(40 - 43 / 4, abs=0.1)
    assert found.others_pct == 1.0
    assert (found.pattern, found.behind, found.level) == ("behind", (1,), "input-bound")
    assert found.slowest.index == 1
    assert found.slowest.longest_pct == 100.0
    assert [rank.stall_pct for rank in found.ranks] == [1.0, 40.0, 1.0, 1.0]


def test_who_waits_alike_loses_nothing_to_unevenness() -> None:
    found = later(4, alike)
    assert (found.lost_pct, found.uneven_pct, found.pattern) == (30.0, 0.0, "even")
    assert found.behind == ()
    assert found.others_pct == found.lost_pct


def test_waits_of_different_ranks_at_different_times_add_up() -> None:
    """Each waits 10 % of the time, and the group 40 %: the mean would tell of a quarter."""
    found = later(4, in_turn)
    assert found.lost_pct == 40.0
    assert found.mean_pct == pytest.approx(10.0, abs=2.5)
    assert (found.pattern, found.behind) == ("in turn", ())


def test_more_may_be_lost_within_a_line_and_the_finding_says_how_much() -> None:
    assert later(2, alike).at_most_pct == 60.0
    assert later(4, alike).at_most_pct == 100.0
    assert later(4, in_turn).at_most_pct == 40.0


def test_the_passes_are_told_apart_and_samples_are_of_all_ranks() -> None:
    def first_only(index: int, second: int) -> float:
        return 50.0 if index == 0 and second <= 10 else 0.0

    first, after = group_findings(curves(2, first_only))
    assert first is not None
    assert after is not None
    # A line that reaches into the second pass counts as the first, as in a log of one process.
    assert first.lost_pct == pytest.approx(50 * 9.5 / 10.5, abs=0.1)
    assert after.lost_pct == 0.0
    assert after.samples_per_s == 2000.0
    assert (first.seconds, after.seconds) == (10.5, 9.0)


def test_the_wait_for_the_first_chunk_is_no_loss() -> None:
    def at_start(index: int, second: int) -> float:
        del index
        return 100.0 if second == 1 else 0.0

    made = {index: curve_of(rank_log(index, 2, at_start)) for index in range(2)}
    known = {index: curve for index, curve in made.items() if curve is not None}
    first, _ = group_findings({0: known[0], 1: known[1]})
    assert first is not None
    assert first.seconds == 10.5
    assert first.lost_pct == pytest.approx(100 * 0.5 / 10.5, abs=0.1)


def test_ranks_are_put_on_one_clock_and_only_the_time_of_all_counts() -> None:
    """Rank 1 began 5 s later, so its waits meet those of rank 0 in the same seconds of the day."""

    def at_one_time(index: int, second: int) -> float:
        return 60.0 if second + 5 * index == 18 else 0.0

    first, after = group_findings(curves(2, at_one_time, late_s=5))
    assert first is not None
    assert after is not None
    assert first.seconds + after.seconds == pytest.approx(20 - 5 - 0.5)
    lost_s = (first.lost_pct * first.seconds + after.lost_pct * after.seconds) / 100
    assert lost_s == pytest.approx(0.6, abs=0.02)
    assert max(first.uneven_pct, after.uneven_pct) < 0.1


def test_a_run_shorter_than_a_line_is_judged_by_its_summary() -> None:
    sample = log(stage(), stage(), seconds=1, stall=25.0)[1]
    made = curve_of([rank_log(0, 2, fine)[0], summary_line(sample)])
    assert made is not None
    first, after = group_findings({0: made})
    assert first is not None
    assert (first.lost_pct, after) == (25.0, None)


def test_nothing_measured_is_no_curve() -> None:
    assert curve_of(rank_log(0, 2, fine, seconds=0)) is None


@given(st.lists(st.lists(st.floats(0, 100), min_size=6, max_size=6), min_size=1, max_size=5))
def test_the_loss_lies_between_each_rank_and_all_together(stalls: list[list[float]]) -> None:
    made = [
        curve_of(rank_log(index, len(stalls), lambda i, t: stalls[i][t - 1], seconds=6))
        for index in range(len(stalls))
    ]
    known = [curve for curve in made if curve is not None]
    edges = np.linspace(known[0].start_s, known[0].end_s, 7)
    longest, together, who = longest_waits(known, edges)
    by_hand = np.array(stalls) / 100
    np.testing.assert_allclose(longest, by_hand.max(axis=0), atol=1e-6)
    np.testing.assert_allclose(together, np.minimum(by_hand.sum(axis=0), 1), atol=1e-6)
    np.testing.assert_allclose(by_hand[who, np.arange(6)], by_hand.max(axis=0), atol=1e-6)


@given(st.integers(2, 12), st.floats(0.001, 0.05), st.integers(0, 2**32 - 1))
def test_what_a_training_lost_step_by_step_is_within_the_bounds(
    count: int, mean_s: float, seed: int
) -> None:
    """A step of 20 ms, and who is late in it is drawn anew; the logs have a line a second."""
    late_s = np.random.default_rng(seed).exponential(mean_s, (400, count))
    late_s[np.random.default_rng(seed + 1).random((400, count)) < 0.7] = 0.0
    ends_s = np.cumsum(0.02 + late_s.max(axis=1))
    seconds = int(ends_s[-1])

    def stalls(index: int, second: int) -> float:
        waited = np.interp([second - 1, second], ends_s, np.cumsum(late_s[:, index]))
        return float(100 * np.diff(waited)[0])

    lost_s = np.interp([0.5, seconds], ends_s, np.cumsum(late_s.max(axis=1)))
    lost_pct = 100 * float(np.diff(lost_s)[0]) / (seconds - 0.5)
    findings = [found for found in group_findings(curves(count, stalls, seconds=seconds)) if found]
    spans = np.array([found.seconds for found in findings])
    least, most = (
        float((spans * [getattr(found, name) for found in findings]).sum() / spans.sum())
        for name in ("lost_pct", "at_most_pct")
    )
    edge_pct = 100 * 2 * late_s.max() / (seconds - 0.5)  # a step that reaches over an edge
    assert least - edge_pct <= lost_pct <= most + edge_pct


def test_of_many_ranks_those_are_named_that_were_waited_for() -> None:
    def two_of_them(index: int, second: int) -> float:
        return 50.0 if index == 3 + second % 2 else 0.0

    found = later(20, two_of_them)
    assert set(found.behind) == {3, 4}
    assert [rank.index for rank in found.waited_for(8)] == list(found.behind)
    assert len(found.waited_for(20)) == 20
