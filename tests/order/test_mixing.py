"""The plan's own word on how well it mixes, beside what its order does to sorted labels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray

from prefetcher.order.mixing import CLASSES, expected_mixing
from prefetcher.order.plan import Plan

WITHIN = 0.02
ROWS_LOOKED_AT = 1_500_000
"""Passes are looked at until there are so many: with few blocks to a chunk, chunks differ much."""


def measured(plan: Plan) -> float:
    """The label entropy of whole batches over some passes, as a share of a full permutation's."""
    n = len(plan.samples)
    labels = np.arange(n) * CLASSES // n
    passes = range(max(4, ROWS_LOOKED_AT // n))
    ours = np.mean([entropy(labels[order(plan, number)], plan.batch_size) for number in passes])
    rng = np.random.default_rng(1)
    best = np.mean([entropy(rng.permutation(labels), plan.batch_size) for _ in passes])
    return float(ours / best)


def order(plan: Plan, number: int) -> NDArray[np.int64]:
    chunks = range(number * plan.num_chunks, (number + 1) * plan.num_chunks)
    planned = [plan.chunk(chunk) for chunk in chunks]
    return np.concatenate([chunk.rows[chunk.order] for chunk in planned])


def entropy(labels: NDArray[np.int64], batch_size: int) -> float:
    batches = labels[: len(labels) // batch_size * batch_size].reshape(-1, batch_size)
    shares = np.stack([(batches == label).mean(axis=1) for label in range(CLASSES)])
    logs = np.log2(shares, where=shares > 0, out=np.zeros_like(shares))
    return float(-(shares * logs).sum(axis=0).mean())


@pytest.mark.parametrize("samples", [2_000, 30_011])
@pytest.mark.parametrize("storage_rows", [1, 100, 1250])
@pytest.mark.parametrize("chunk_size", [3200, 12_800])
@pytest.mark.parametrize("batch_size", [32, 256])
def test_it_is_what_a_sorted_file_gives(
    samples: int, storage_rows: int, chunk_size: int, batch_size: int
) -> None:
    chunk_size -= chunk_size % batch_size
    plan = Plan(range(samples), batch_size, chunk_size, storage_rows, align=storage_rows)
    assert plan.mixing == pytest.approx(measured(plan), abs=WITHIN)


@pytest.mark.parametrize(
    ("block_size", "least", "most"), [(3200, 0, 0.01), (400, 0.7, 0.8), (50, 0.99, 1.01)]
)
def test_more_blocks_mix_better(block_size: int, least: float, most: float) -> None:
    assert least <= expected_mixing(10**9, 32, 3200, block_size) <= most


@pytest.mark.parametrize(("samples", "batch_size"), [(1, 1), (5, 32), (40, 1), (9, 4)])
def test_small_files(samples: int, batch_size: int) -> None:
    assert 0.5 < expected_mixing(samples, batch_size, batch_size * 4, 1) <= 1.1


def test_file_order_mixes_nothing() -> None:
    assert Plan(range(1000), 10, 100, 1, shuffle=False).mixing == 0.0


@pytest.mark.parametrize("align", [100, 400])
@pytest.mark.parametrize("kind", ["mask", "dense and sparse", "copies", "weights"])
def test_it_is_what_rows_that_lie_unevenly_give(kind: str, align: int) -> None:
    """A file sorted by class, of whose rows some are samples: blocks then differ in size."""
    rng = np.random.default_rng(0)
    n, weights = 60_000, None
    if kind == "weights":
        rows, weights = np.arange(n), rng.choice([0.5, 1.0, 8.0], p=[0.4, 0.5, 0.1], size=n)
    elif kind == "copies":
        rows = np.sort(rng.integers(0, n, size=n))
    else:
        dense = np.repeat(rng.choice([1.0, 0.1], size=n // align), align)
        rows = np.flatnonzero(rng.random(n) < (0.5 if kind == "mask" else dense))
    plan = Plan(rows, 32, 3200, 1, align=align, weights=weights)
    plan = replace(plan, block_size=plan.samples_in_storage_chunk)
    drawn = [order(plan, number) for number in range(24)]
    # The classes are alike in number among what is drawn, as the plan's own word has it.
    edges = np.quantile(np.concatenate(drawn), np.arange(1, CLASSES) / CLASSES)
    labels = [np.searchsorted(edges, each, side="right") for each in drawn]
    ours = np.mean([entropy(each, 32) for each in labels])
    best = np.mean([entropy(rng.permutation(each), 32) for each in labels])
    assert plan.mixing == pytest.approx(ours / best, abs=WITHIN)
    assert plan.blocks_in_chunk == max(1, 3200 // plan.samples_in_block)
