"""Scale on paper: 10^10 samples shared by 1,024 processes, and a group that waits for its slowest.

No file is read. The plan is worked out for every rank, and the pace of the group is simulated.
"""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from time import thread_time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench import plot
from bench.part import Options, Part, Result, markdown
from prefetcher.order.plan import Plan
from prefetcher.order.shard import Shard
from prefetcher.order.sizes import default_block_size, whole_chunk_size

SAMPLES, RANKS = 10**10, 1024
BATCH, CHUNK = 32, 3200
"""Of a rank: with so many processes the settings are as many times as large."""
ROW_BYTES = 128 * 128 * 3
STORED = {"contiguous": 1, "storage chunks of 32 rows": 32, "storage chunks of 130 rows": 130}
"""Of 32 rows chunks and shares are whole storage chunks; of 130 no chunk of about that size is."""
COUNTS = (1, 8, 64, 1024)
TIMED = 20
"""Chunks of ranks, both at random, that are planned for a median."""
LOADS = (0.5, 0.8, 0.9, 0.95, 1.0, 1.1, 1.3)
"""What a rank takes to read a chunk, as a part of what training takes to use it up."""
SLOWER = 1.1
JITTERS, JITTER_LOAD = (0.1, 0.3), 0.8
"""By which the time for a chunk varies from one to the next: its standard deviation, as a part."""
QUEUES = (2, 4)
"""Chunks in memory at once."""
GROUPS = ("alike", "one slower")
SIMULATED, WARM = 400, 20
"""Chunks that the simulated training takes; those before are not counted."""

Times = NDArray[np.float64]


def measure(options: Options) -> Result:
    """Plans shares of a data set that nobody has, and simulates a group with a slow rank."""
    chunks = 1 if options.quick else 2
    result = Result(
        {
            "samples": SAMPLES,
            "ranks": RANKS,
            "batch_size": BATCH * RANKS,
            "chunk_size": CHUNK * RANKS,
            "plans": [planned(plan_of(SAMPLES, count)) for count in COUNTS],
            "reads": [
                {"stored": name} | read(plan_of(SAMPLES, RANKS, align), chunks)
                for name, align in STORED.items()
            ],
            "equal": equal(plan_of(SAMPLES, RANKS, 32), chunks),
            "paces": paces(RANKS),
            "jitter": [uneven(count) for count in COUNTS],
        }
    )
    if not result.data["equal"]["same"]:
        result.wrong_rows.append(f"{RANKS} ranks: their batches are not those of one process")
    return result


def plan_of(samples: int, count: int, align: int = 32) -> Plan:
    """The plan of `count` processes, as one of them; sizes grow with their number."""
    batch_size = BATCH * count
    chunk_size = whole_chunk_size(CHUNK * count, batch_size, align)
    block_size = default_block_size(chunk_size, ROW_BYTES, align)
    shard = Shard(count // 2, count)
    return Plan(range(samples), batch_size, chunk_size, block_size, align=align, shard=shard)


def planned(plan: Plan) -> dict[str, float]:
    """CPU time and memory that a rank takes to plan its part of a chunk, wherever it is."""
    rng = np.random.default_rng(0)
    places = rng.integers(plan.num_chunks, size=TIMED).tolist()
    ranks = [replace(plan, shard=Shard(int(at), plan.shard.count))
             for at in rng.integers(plan.shard.count, size=TIMED)]  # fmt: skip
    taken = []
    for rank, number in zip(ranks, places, strict=True):
        begun = thread_time()
        rank.chunk(number)
        taken.append(thread_time() - begun)
    tracemalloc.start()
    ranks[0].chunk(places[0])
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return {"ranks": plan.shard.count, "ms": 1e3 * median(taken), "peak_bytes": peak}


def read(plan: Plan, chunks: int) -> dict[str, float]:
    """What all ranks read of some chunks, whole storage chunks of them, and how alike."""
    numbers = np.random.default_rng(1).integers(plan.num_chunks - 1, size=chunks).tolist()
    rows = np.zeros((plan.shard.count, chunks), np.int64)
    decoded = np.zeros_like(rows)
    for index in range(plan.shard.count):
        rank = replace(plan, shard=Shard(index, plan.shard.count))
        for at, number in enumerate(numbers):
            own = rank.chunk(number).rows
            rows[index, at] = len(own)
            decoded[index, at] = plan.align * len(np.unique(own // plan.align))
    of_rank = decoded.sum(axis=1)
    passes = plan.num_samples / rows.sum()  # a pass is so many times what was looked at
    return {
        "chunks": chunks,
        "read_bytes": float(of_rank.mean() * passes * ROW_BYTES),
        "amplification": float(of_rank.sum() / rows.sum()),
        "most": float(of_rank.max() / of_rank.mean()),
        "samples_uneven": int(np.ptp(own_samples(plan))),
    }


def own_samples(plan: Plan) -> NDArray[np.int64]:
    """Samples that each rank has in a pass."""
    shards = [Shard(index, plan.shard.count) for index in range(plan.shard.count)]
    last = plan.num_batches - 1
    of_last = [replace(plan, shard=shard).own_rows(last) for shard in shards]
    return last * plan.own_batch_size + np.array(of_last)


def equal(plan: Plan, chunks: int) -> dict[str, Any]:
    """Whether all ranks together hold the batches of one process, slot by slot.

    Looked at are the last chunk of a pass, which is smaller, and some of other passes at random.
    """
    whole = replace(plan, shard=Shard())
    at = np.random.default_rng(2).integers(9 * plan.num_chunks, size=chunks).tolist()
    same, batches = True, 0
    for number in (plan.num_chunks - 1, *at):
        alone = whole.chunk(number)
        shares = [replace(plan, shard=Shard(i, plan.shard.count)).chunk(number)
                  for i in range(plan.shard.count)]  # fmt: skip
        for index in range(whole.batches_in(number)):
            together = [share.rows[share.slots(index)] for share in shares]
            same &= np.array_equal(np.concatenate(together), alone.rows[alone.slots(index)])
            batches += 1
    return {"same": same, "batches": batches}


def paces(ranks: int) -> list[dict[str, float]]:
    """The group's pace for each load, where all are alike and where one is slower."""
    found = []
    for load in LOADS:
        row = {"load": load}
        for name, jitter in (("steady", 0.0), ("jitter", JITTERS[0])):
            row[f"{name}, alike"] = simulated(loading(ranks, load, jitter))["pace"]
            slow = simulated(loading(ranks, load, jitter, slower=SLOWER))
            row[f"{name}, one slower"] = slow["pace"]
            row[f"{name}, slow stall"] = slow["stall"][0]
            row[f"{name}, mean stall"] = float(np.mean(slow["stall"][1:]))
        found.append(row)
    return found


def uneven(ranks: int, load: float = JITTER_LOAD) -> dict[str, float]:
    """What jitter alone costs so many ranks, that are alike on average."""
    row: dict[str, float] = {"ranks": ranks}
    for jitter in JITTERS:
        for queue in QUEUES:
            row[f"{jitter}, {queue}"] = simulated(loading(ranks, load, jitter), queue)["pace"]
    return row


def loading(ranks: int, load: float, jitter: float, slower: float = 1.0) -> Times:
    """How long each rank takes to read each chunk, (ranks, chunks); training takes 1 for one.

    Args:
        ranks: How many; the first is the slow one.
        load: Their mean.
        jitter: Its standard deviation as a part of the mean; the times are log-normal.
        slower: How many times as long the first takes.
    """
    spread = np.sqrt(np.log1p(jitter**2))
    drawn = np.random.default_rng(3).normal(-(spread**2) / 2, spread, (ranks, SIMULATED))
    times = load * np.exp(drawn)
    times[0] *= slower
    return times


def simulated(times: Times, chunk_queue: int = 2) -> dict[str, Any]:
    """A synchronous training: no rank takes a batch before all have theirs.

    Each rank reads chunk after chunk, as far as `chunk_queue` of them fit its memory. A chunk's
    room is free when training has used it up but for the 16 batches of the batch queue.

    Args:
        times: As of `loading`.
        chunk_queue: Chunks in memory at once.

    Returns:
        "pace" of the group, as a part of its pace without waiting; and "stall", the part of the
        time that each rank itself waited for data.
    """
    ranks, chunks = times.shape
    batches = CHUNK // BATCH
    read, stalled = np.zeros(ranks), np.zeros(ranks)
    freed: list[float] = []
    free = counted_from = 0.0
    for number in range(chunks):
        room = freed[number - chunk_queue] if number >= chunk_queue else 0.0
        read = np.maximum(read, room) + times[:, number]
        if number == WARM:
            counted_from, stalled = free, np.zeros(ranks)
        stalled += np.maximum(0.0, read - free)
        free = max(free, float(read.max())) + 1.0
        freed.append(free - 16 / batches)
    seconds = free - counted_from
    return {"pace": (chunks - WARM) / seconds, "stall": (stalled / seconds).tolist()}


def tables(data: Mapping[str, Any]) -> str:
    """The plan's cost, what ranks read, whether batches are equal, and the group's pace."""
    same = "are" if data["equal"]["same"] else "**are not**"
    slower, jitter = f"{100 * (SLOWER - 1):.0f} %", f"{100 * JITTERS[0]:.0f} %"
    return f"""{data["samples"]:,} samples of {ROW_BYTES:,} bytes. Each rank has batches of \
{BATCH} and chunks of {CHUNK:,}, so {data["ranks"]:,} ranks have \
batch_size={data["batch_size"]:,} and chunk_size={data["chunk_size"]:,}. A rank plans its part of \
a chunk:

{_plans(data)}
What a rank reads in a pass, from {data["reads"][0]["chunks"]} chunks of all ranks:

{_reads(data)}
The batches of {data["ranks"]:,} ranks, put together, {same} those of one process, slot by slot, \
in all {data["equal"]["batches"]} that were compared.

The group's pace by simulation, % of its pace without waiting. With "one slower" the storage of \
one rank takes {slower} longer; with jitter the time that a rank takes for a chunk varies by \
{jitter}. At a load of 1.00 a rank reads a chunk in the time that training takes to use it up:

{_paces(data)}
What jitter alone costs at a load of {JITTER_LOAD:.2f}, % of the pace without waiting:

{_jitter(data)}"""


def _plans(data: Mapping[str, Any]) -> str:
    rows = [
        [f"{row['ranks']:,}", f"{row['ms']:.2f}", f"{row['peak_bytes'] / 1e3:.0f}"]
        for row in data["plans"]
    ]
    return markdown(["ranks", "CPU ms", "peak kB"], rows)


def _reads(data: Mapping[str, Any]) -> str:
    header = ["stored as", "TB in all", "GB of a rank", "read over stored",
              "most over the mean, %", "samples more than another"]  # fmt: skip
    rows = [
        [
            row["stored"],
            f"{row['read_bytes'] * data['ranks'] / 1e12:,.1f}",
            f"{row['read_bytes'] / 1e9:,.1f}",
            f"{row['amplification']:.4f}",
            f"{100 * (row['most'] - 1):.2f}",
            f"{row['samples_uneven']}",
        ]
        for row in data["reads"]
    ]
    return markdown(header, rows)


def _paces(data: Mapping[str, Any]) -> str:
    stalls = {"slow stall": "the slow one waits, %", "mean stall": "the others wait, mean %"}
    names = [f"{how}, {what}" for how in ("steady", "jitter") for what in (*GROUPS, *stalls)]
    header = ["load"] + [
        f"{how}: {what}" for how in ("steady", "jitter") for what in (*GROUPS, *stalls.values())
    ]
    rows = [
        [f"{row['load']:.2f}", *(f"{100 * row[name]:.1f}" for name in names)]
        for row in data["paces"]
    ]
    return markdown(header, rows)


def _jitter(data: Mapping[str, Any]) -> str:
    cases = [(jitter, queue) for jitter in JITTERS for queue in QUEUES]
    header = [f"jitter {100 * jitter:.0f} %, chunk_queue={queue}" for jitter, queue in cases]
    rows = [
        [
            f"{row['ranks']:,}",
            *(f"{100 * row[f'{jitter}, {queue}']:.1f}" for jitter, queue in cases),
        ]
        for row in data["jitter"]
    ]
    return markdown(["ranks", *header], rows)


def plots(data: Mapping[str, Any], folder: Path, stem: str) -> list[Path]:
    """The plan's cost over the number of ranks, and the group's pace over the load."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(10, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2)
    ranks = [row["ranks"] for row in data["plans"]]
    left.plot(ranks, [row["ms"] for row in data["plans"]], marker="o", color=plot.OURS)
    left.set(xscale="log", xlabel="ranks", ylabel="CPU ms to plan a rank's part of a chunk")
    left.set_ylim(bottom=0)
    for name, colour, dashes in _curves():
        loads = [row["load"] for row in data["paces"]]
        pace = [100 * row[name] for row in data["paces"]]
        right.plot(loads, pace, dashes, marker="o", ms=3, color=colour, label=name)
    right.set(
        xlabel="time to read a chunk / to train with it", ylabel="% of the pace without waiting"
    )
    right.set_ylim(bottom=0, top=105)
    right.legend(frameon=False, fontsize=8)
    for panel in (left, right):
        panel.grid(alpha=0.3)
        plot.plain(panel)
    return [plot.kept(figure, folder, f"{stem}-scale")]


def _curves() -> Sequence[tuple[str, str, str]]:
    return (
        ("steady, alike", plot.OTHERS, "-"),
        ("steady, one slower", plot.OURS, "-"),
        ("jitter, alike", plot.OTHERS, "--"),
        ("jitter, one slower", plot.OURS, "--"),
    )


PART = Part("scale", "10^10 samples over 1,024 processes, on paper", measure, tables, plots)
