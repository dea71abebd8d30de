"""The lane of windows: each row is read once, and every window is whole."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pytest
from helpers.numbered import NumberedRows, dataset
from hypothesis import given
from hypothesis import strategies as st

from prefetcher.columns.column import Span, View
from prefetcher.columns.rowmap import RowMap
from prefetcher.order.plan import Plan
from prefetcher.pipeline.buffers import Meter
from prefetcher.pipeline.chunk import Chunk, read_batch
from prefetcher.pipeline.lane import Need
from prefetcher.pipeline.windows import WindowLane, laid_out, most_rows

DATASET = dataset("x", 2)


class Case(NamedTuple):
    """Some files with samples that need windows, and an order."""

    plan: Plan
    rows: RowMap
    spans: list[Span]
    files: int

    @property
    def lane(self) -> WindowLane:
        need = Need(DATASET, tuple(View("x", span) for span in self.spans), self.rows, self.files)
        return WindowLane(need, self.plan, 2, 4, Meter())

    def expected(self, numbers: np.ndarray, span: Span) -> np.ndarray:
        """The rows of these samples, one after the other."""
        low, high = self.rows.bounds(numbers)
        wanted = self.rows.rows(numbers)[:, None] + span.ahead + np.arange(span.rows)
        return np.asarray(np.clip(wanted, low[:, None], high[:, None] - 1))


@st.composite
def cases(draw: st.DrawFn) -> Case:
    stride = draw(st.integers(1, 4))
    pad = draw(st.booleans())
    lengths = st.none() | st.integers(1, 9)
    aheads = st.integers(-6 if pad else 0, 6)
    spans = [Span(draw(aheads), draw(lengths), stride, pad) for _ in range(draw(st.integers(1, 3)))]
    rows = draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    stop = 1 if pad else max(span.stop for span in spans)
    samples = [max(0, (count - stop) // stride + 1) for count in rows]
    if not sum(samples):
        rows, samples = [stop], [1]
    total = sum(samples)
    batch_size = draw(st.integers(1, 7))
    numbers = draw(
        st.just(range(total))
        | st.lists(st.integers(0, total - 1), min_size=1, max_size=60).map(np.array)
    )
    plan = Plan(
        numbers,
        batch_size,
        batch_size * draw(st.integers(1, 6)),
        draw(st.integers(1, 6)),
        draw(st.integers(0, 99)),
        draw(st.booleans()),
        align=draw(st.integers(1, 4)),
    )
    return Case(plan, RowMap(rows, samples, [0] * len(rows), stride), spans, len(rows))


@given(cases(), st.data())
def test_every_window_is_whole_and_its_batch_may_lead(case: Case, data: st.DataObject) -> None:
    plan, lane = case.plan, case.lane
    number = data.draw(st.integers(0, plan.num_chunks - 1))
    lead = data.draw(st.none() | st.integers(0, plan.batches_in(number) - 1))
    chunk = Chunk(plan.chunk(number, lead), [lane], plan.batches_in(number))
    for part in chunk.plan.parts:
        if chunk.read(part, NumberedRows()).lead and lead is not None:
            check(case, chunk, lead)
    if lead is None or lead + 1 < plan.batches_in(number):
        for index in range(plan.batches_in(number)):
            check(case, chunk, index)


def check(case: Case, chunk: Chunk, index: int) -> None:
    numbers = chunk.plan.rows[chunk.plan.slots(index)]
    alone = read_batch(chunk.plan, index, [case.lane], NumberedRows())
    for view, array in chunk.batch(index).items():
        assert isinstance(view, View)
        expected = case.expected(numbers, view.span)
        found = array[..., 0].reshape(len(numbers), -1)
        assert (found == expected).all()
        assert array.shape[1:-1] == (() if view.span.length is None else (view.span.length,))
        assert (alone[view] == array).all()


@given(cases(), st.data())
def test_the_rows_of_a_chunk_are_bounded_and_neighbours_share_theirs(
    case: Case, data: st.DataObject
) -> None:
    plan = case.plan
    number = data.draw(st.integers(0, plan.num_chunks - 1))
    lead = data.draw(st.none() | st.integers(0, plan.batches_in(number) - 1))
    chunk = plan.chunk(number, lead)
    layout = laid_out(chunk, case.rows, case.spans)
    read = [row for part in layout.parts.values() for run in part.runs for row in range(*run)]
    assert len(read) <= layout.count <= most_rows(plan, case.spans, case.files)
    assert len(read) == layout.count or lead == plan.batches_in(number) - 1  # the rest is not read
    if plan.shuffle and lead is None:
        assert len(set(read)) == len(read)


def test_neighbouring_windows_read_their_rows_once() -> None:
    """A chunk of 160 windows of 64 rows reads little more than 160 rows, for each of its blocks."""
    plan = Plan(range(900), 8, 160, 80, seed=1)
    spans = [Span(0, 64), Span(70)]
    need = Need(DATASET, tuple(View("x", span) for span in spans), RowMap([1000], [900], [0], 1))
    source = NumberedRows()
    chunk = Chunk(plan.chunk(0), [WindowLane(need, plan, 2, 4, Meter())], 20)
    chunk.expect(source)
    for part in chunk.plan.parts:
        chunk.read(part, source)
    assert sum(stop - start for start, stop in source.reads) <= 160 + 2 * 70
    assert _rows([run for _, run in source.expected]) == _rows(source.reads)


def _rows(runs: Sequence[tuple[int, int]]) -> list[int]:
    return [row for run in runs for row in range(*run)]


@pytest.mark.parametrize("samples", [range(900), range(0, 900, 3), np.arange(0, 900, 7)])
def test_memory_is_what_was_promised(samples: range) -> None:
    plan = Plan(samples, 8, 160, 20)
    meter = Meter()
    need = Need(DATASET, (View("x", Span(0, 30)),), RowMap([1000], [900], [0], 1))
    lane = WindowLane(need, plan, 2, 3, meter)
    chunks = [Chunk(plan.chunk(number, 0), [lane], 20) for number in range(2)]
    for chunk in chunks:
        for part in chunk.plan.parts:
            chunk.read(part, NumberedRows())
    kept = [chunks[0].batch(index) for index in range(3)]
    assert 0 < meter.now <= lane.most_bytes(2, 3)
    del kept


@pytest.mark.parametrize("numbers", [[0, 1, 2], [2, 0, 1], [5, 1, 4, 0, 3, 2], [2, 2, 0, 0]])
@pytest.mark.parametrize("lead", [None, 0, "last"])
def test_samples_that_go_back_at_an_end_that_is_padded(
    numbers: list[int], lead: int | str | None
) -> None:
    """All of their windows begin at the first row, and each of these ends before the last did."""
    spans = [Span(-6, 7, 1, pad=True), Span(0, pad=True)]
    plan = Plan(np.array(numbers), 1, len(numbers), 1, shuffle=False)
    case = Case(plan, RowMap([6], [6], [0], 1), spans, 1)
    leading = len(numbers) - 1 if lead == "last" else lead
    assert leading is None or isinstance(leading, int)
    chunk = Chunk(plan.chunk(0, leading), [case.lane], len(numbers))
    for part in chunk.plan.parts:
        chunk.read(part, NumberedRows())
    for index in range(len(numbers)) if lead != "last" else [len(numbers) - 1]:
        check(case, chunk, index)
