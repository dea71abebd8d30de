"""`state_dict` and `load_state_dict`: where training stands in the data, as small JSON."""

from __future__ import annotations

import base64
import json
import random
import tracemalloc
import zlib
from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.files import write_samples
from helpers.sequences import ids, passes, small

from prefetcher.errors import SettingsError, StateError

N = 90
BATCHES = 23


@pytest.mark.parametrize("cut", [0, 1, 5, 22, 23, 30])
@pytest.mark.parametrize("shuffle", [True, False])
def test_what_follows_is_what_would_have_followed(
    samples: MakeSamples, cut: int, shuffle: bool
) -> None:
    """`cut` batches were taken, over two passes; another sequence goes on."""
    whole = [batch for a_pass in passes(samples(N), 3, shuffle=shuffle) for batch in a_pass]
    with small(samples(N), shuffle=shuffle) as sequence:
        batches = (batch for _ in range(2) for batch in sequence)
        taken = [ids(next(batches)) for _ in range(cut)]
        state = json.loads(json.dumps(sequence.state_dict()))
    with small(samples(N), shuffle=shuffle, readers=2, batchers=2, batch_queue=9) as sequence:
        sequence.load_state_dict(state)
        left = len(sequence)
        assert (cut + left) % BATCHES == 0
        rest = [ids(batch) for batch in sequence]
        assert len(rest) == left
        assert len(sequence) == BATCHES, "the next pass is whole"
        rest += [ids(batch) for batch in sequence]
    assert taken + rest == whole[: len(taken + rest)]


def test_batches_asked_for_out_of_order_are_kept_as_a_set(samples: MakeSamples) -> None:
    order = random.Random(1).sample(range(BATCHES), 9)
    with small(samples(N), shuffle=False) as sequence:
        trained = [ids(sequence[index]) for index in order]
        state = sequence.state_dict(trained=7)
    with small(samples(N), shuffle=False) as sequence:
        sequence.load_state_dict(json.loads(json.dumps(state)))
        assert len(sequence) == BATCHES - 7
        sequence[3]
        again = sequence.state_dict()
        sequence.load_state_dict(state)
        rest = [ids(batch) for batch in sequence]
    assert sorted(chain.from_iterable(trained[:7] + rest)) == list(range(N))
    assert again != state


def test_it_is_small_whatever_the_size(tmp_path: Path) -> None:
    path = tmp_path / "long.h5"
    with h5py.File(path, "w") as file:
        file["x"] = np.zeros(1_000_000, np.uint8)
    with small(path, y=None, batch_size=1) as sequence:
        sequence[0]
        assert len(json.dumps(sequence.state_dict())) < 4096
        rows = np.arange(1_000_000)[::-1]
    with small(path, y=None, batch_size=1, rows=rows) as sequence:
        assert len(json.dumps(sequence.state_dict())) < 4096


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("seed", 1),
        ("batch_size", 8),
        ("chunk_size", 8),
        ("block_size", 2),
        ("shuffle", False),
        ("rows", (0, 88)),
        ("drop_remainder", True),
        ("y", "half"),
    ],
)
def test_settings_of_another_order_are_refused(
    samples: MakeSamples, setting: str, value: Any
) -> None:
    with small(samples(N)) as sequence:
        state = sequence.state_dict()
    with (
        small(samples(N), **{setting: value}) as sequence,
        pytest.raises(StateError, match=f"{setting} was"),
    ):
        sequence.load_state_dict(state)


def changed_rows(path: Path) -> None:
    """The same sizes and shapes, other values."""
    with h5py.File(path, "r+") as file:
        file["x"][:] = file["x"][:] + 1


def changed_labels(path: Path) -> None:
    """One of ninety."""
    with h5py.File(path, "r+") as file:
        file["y"][40] += 1


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (changed_rows, "checksum of samples was"),
        (changed_labels, "checksum of samples was"),
        (lambda path: write_samples(path, N - 1), "datasets was"),
        (lambda path: write_samples(path, N, "gzip"), "bytes was"),
    ],
)
def test_another_file_is_refused(
    tmp_path: Path, change: Callable[[Path], object], named: str
) -> None:
    path = write_samples(tmp_path / "a.h5", N)
    with small(path) as sequence:
        state = sequence.state_dict()
    change(path)
    with small(path) as sequence, pytest.raises(StateError, match=named):
        sequence.load_state_dict(state)


def test_a_copy_of_the_file_is_the_same_file(samples: MakeSamples, tmp_path: Path) -> None:
    copy = tmp_path / "copy.h5"
    copy.write_bytes(samples(N).read_bytes())
    with small(samples(N)) as sequence, small(copy) as other:
        other.load_state_dict(sequence.state_dict())


def bomb() -> str:
    """A gigabyte of zeros."""
    packing = zlib.compressobj()
    packed = b"".join(packing.compress(bytes(1 << 20)) for _ in range(1 << 10)) + packing.flush()
    return base64.b64encode(packed).decode()


@pytest.mark.parametrize(
    "state",
    [{}, {"version": 99}, {"version": 1, "pass": 0}, {"trained": "???"}, {"trained": BATCHES},
     {"trained": -1}, {"trained": 1.5}, {"trained": None}, {"pass": "1"}, {"pass": -1},
     {"pass": float("inf")}, {"order": []}, {"order": "seed"}, {"file": None}],
)  # fmt: skip
def test_what_is_no_state_is_refused(samples: MakeSamples, state: dict[str, Any]) -> None:
    with small(samples(N)) as sequence:
        if "version" not in state and state:
            state = sequence.state_dict() | state
        with pytest.raises(StateError):
            sequence.load_state_dict(state)


def test_bits_that_unpack_to_more_than_a_pass_has_are_not_unpacked(samples: MakeSamples) -> None:
    with small(samples(N)) as sequence:
        state = sequence.state_dict() | {"trained": bomb()}
        tracemalloc.start()
        with pytest.raises(StateError, match="not of 23 batches"):
            sequence.load_state_dict(state)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 10_000_000


def test_more_than_was_handed_out_cannot_have_been_trained(samples: MakeSamples) -> None:
    with small(samples(N)) as sequence:
        sequence[0]
        with pytest.raises(SettingsError, match="trained=2"):
            sequence.state_dict(trained=2)


def test_plain_loops_after_a_resumed_pass_are_whole(samples: MakeSamples) -> None:
    """They ask for the length before the request with which the next pass begins."""
    with small(samples(N)) as sequence:
        taken = [ids(sequence[index]) for index in range(7)]
        state = sequence.state_dict()
    with small(samples(N)) as sequence:
        sequence.load_state_dict(state)
        loops = [[ids(sequence[i]) for i in range(len(sequence))] for _ in range(3)]
    assert [len(loop) for loop in loops] == [BATCHES - 7, BATCHES, BATCHES]
    assert [taken + loops[0], *loops[1:]] == passes(samples(N), 3)
