"""Several processes train as one: their shares of real files, held side by side in one process."""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from conftest import MakeSamples
from helpers.files import ids_of

import prefetcher
from prefetcher.errors import SettingsError
from prefetcher.order.shard import Shard

N, BATCH = 203, 12


def sharing(file: Path, count: int, **settings: Any) -> list[prefetcher.PrefetchSequence]:
    usual = {"batch_size": BATCH, "chunk_size": 5 * BATCH, "pad_to": BATCH} | settings
    with warnings.catch_warnings(action="ignore"):  # of storage chunks that several decode
        return [
            prefetcher.PrefetchSequence(file, shard=(index, count), **usual)
            for index in range(count)
        ]


def own_ids(batch: Any) -> list[int]:
    x, _, weight = batch
    return ids_of(np.asarray(x)[np.asarray(weight) > 0])


def passes(sequences: list[prefetcher.PrefetchSequence], number: int = 2) -> list[Counter[int]]:
    """What all of them hold together at each position."""
    with ExitStack() as stack:
        for sequence in sequences:
            stack.enter_context(sequence)
        return [
            Counter(id_ for batch in batches for id_ in own_ids(batch))
            for _ in range(number)
            for batches in zip(*sequences, strict=True)
        ]


@pytest.mark.parametrize("count", [1, 2, 3, 4, 12])
@pytest.mark.parametrize("storage", ["contiguous", "gzip"])
@pytest.mark.parametrize("shuffle", [True, False])
def test_together_they_hold_the_batches_of_one_process(
    samples: MakeSamples, count: int, storage: str, shuffle: bool
) -> None:
    file = samples(N, storage)
    alone = passes(sharing(file, 1, shuffle=shuffle))
    assert passes(sharing(file, count, shuffle=shuffle, readers=2, batchers=2)) == alone
    assert sum(alone, Counter()) == Counter(dict.fromkeys(range(N), 2))


def test_each_is_as_large_as_the_others(samples: MakeSamples) -> None:
    """Else a step of one process would wait for a batch that another does not have."""
    with ExitStack() as stack:
        sequences = [stack.enter_context(each) for each in sharing(samples(N), 4, pad_to=4)]
        assert {len(each) for each in sequences} == {-(-N // BATCH)}
        for batches in zip(*sequences, strict=True):
            assert len({len(batch[0]) for batch in batches}) == 1
        assert len(batches[0][0]) == 3  # 11 samples, filled up to 12 rows


def test_a_share_has_that_share_of_the_memory(samples: MakeSamples) -> None:
    file = samples(3200)
    whole, quarter = (
        prefetcher.PrefetchSequence(file, batch_size=32, chunk_size=1600, shard=(0, count))
        for count in (1, 4)
    )
    with whole, quarter:
        assert quarter.memory_bytes < whole.memory_bytes / 4 + 100_000
        assert quarter.shard == Shard(0, 4)
        assert len(quarter) == len(whole)


def test_a_share_says_that_it_is_one(samples: MakeSamples) -> None:
    whole, share = sharing(samples(N), 1)[0], sharing(samples(N), 3)[2]
    with whole, share:
        assert repr(whole).endswith("203 samples in 17 batches of 12>")
        assert repr(share).endswith("203 samples in 17 batches of 12, share 2 of 3>")


def test_a_state_loads_in_any_number_of_processes(samples: MakeSamples) -> None:
    file = samples(N)
    with sharing(file, 1)[0] as alone, ExitStack() as stack:
        seen = [Counter(own_ids(batch)) for batch in alone]
        states = []
        for each in (stack.enter_context(share) for share in sharing(file, 3)):
            batches = iter(each)
            for _ in range(7):
                next(batches)
            states.append(each.state_dict())
    assert states[0] == states[1] == states[2]
    for count in (1, 2, 4):
        sequences = sharing(file, count)
        for each in sequences:
            each.load_state_dict(states[0])
        assert passes(sequences, 1) == seen[7:]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"shard": (0, 5)}, ("batch_size=12 cannot be shared alike by 5 processes: write "
         "batch_size=10 or 15")),
        ({"shard": (0, 24)}, "write batch_size=24;"),
        ({"shard": (0, 2), "pad_to": 3}, "pad_to=3 cannot be shared alike by 2 processes"),
        ({"shard": (0, 2)}, ("203 samples cannot be shared alike by 2 processes, as the last batch "
         "has 11: write pad_to=2")),
        ({"pad_to": 5}, "pad_to=5 does not divide batch_size=12"),
        ({"pad_to": 0}, "pad_to=0: write pad_to=1 or more"),
        ({"pad_to": 2, "drop_remainder": True}, "Leave out one of them"),
        ({"shard": (2, 2)}, "shard=\\(2, 2\\): write this process's number, from 0 to 1"),
        ({"shard": 2}, "shard=2: write \\(index, count\\)"),
        ({"shard": "first"}, "shard='first'"),
        ({"shard": (0.5, 2)}, "shard=0.5: expected a whole number"),
    ],
)  # fmt: skip
def test_what_cannot_be_shared_is_refused(
    samples: MakeSamples, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(SettingsError, match=message):
        prefetcher.PrefetchSequence(samples(N), batch_size=BATCH, **settings)


@pytest.mark.parametrize("remedy", [{"pad_to": 2}, {"drop_remainder": True}, {"pad_to": 4}])
def test_what_the_message_says_works(samples: MakeSamples, remedy: dict[str, Any]) -> None:
    shares = [
        prefetcher.PrefetchSequence(samples(N), batch_size=BATCH, shard=(index, 2), **remedy)
        for index in range(2)
    ]
    with shares[0], shares[1]:
        sizes = [[len(batch[0]) for batch in each] for each in shares]
    assert sizes[0] == sizes[1]


def test_storage_chunks_that_several_decode_are_told(samples: MakeSamples) -> None:
    file = samples(3200, "gzip")  # storage chunks of some rows
    with pytest.warns(UserWarning, match="processes decode .* times in a pass together") as told:
        prefetcher.PrefetchSequence(file, batch_size=8, shard=(0, 8), shuffle=False).close()
    assert "shuffle=True" in str(told[0].message)


def test_one_storage_chunk_for_all_is_no_matter_of_the_order(samples: MakeSamples) -> None:
    """With shuffle=True all of them would decode it, too."""
    file = samples(16, "gzip")
    for shuffle in (True, False):
        with pytest.warns(UserWarning, match="Better: shorter storage chunks$"):
            prefetcher.PrefetchSequence(file, batch_size=8, shard=(0, 8), shuffle=shuffle).close()


@pytest.mark.parametrize(
    ("n", "settings", "told", "remedy"),
    [
        (5, {}, "of weight 0$", {"pad_to": 2}),  # drop_remainder=True would leave no batch
        (5, {"drop_remainder": True}, "Write batch_size=4 or less", {"batch_size": 4}),
        (1, {"drop_remainder": True}, "Leave it out", {"drop_remainder": False, "pad_to": 2}),
        (9, {"shuffle": False}, "which leaves it out$", {"drop_remainder": True}),
    ],
)
def test_fewer_samples_than_a_batch_have_a_remedy_that_works(
    samples: MakeSamples, n: int, settings: dict[str, Any], told: str, remedy: dict[str, Any]
) -> None:
    file = samples(n)
    usual: dict[str, Any] = {"batch_size": 8, "shard": (1, 2)} | settings
    with pytest.raises(SettingsError, match=told):
        prefetcher.PrefetchSequence(file, **usual)
    prefetcher.PrefetchSequence(file, **usual | remedy).close()


def test_a_model_trains_the_same_with_a_last_batch_that_is_filled_up(samples: MakeSamples) -> None:
    """203 samples in batches of 12: the last has 11, which is filled up to 12 rows."""
    trained = []
    for pad_to in (None, 4):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(1)])
        model.compile(keras.optimizers.Adam(0.01), "mse")
        with prefetcher.PrefetchSequence(samples(N), batch_size=BATCH, pad_to=pad_to) as train:
            model.fit(train, epochs=3, verbose=0)
        trained.append(model.get_weights())
    for one, other in zip(*trained, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_each_has_dice_of_its_own(samples: MakeSamples) -> None:
    rolled: dict[int, list[float]] = {0: [], 1: []}
    for index in rolled:

        def roll(x: Any, y: Any, rng: np.random.Generator, of: int = index) -> Any:
            rolled[of].append(rng.random())
            return x, y

        shared = {"batch_size": BATCH, "drop_remainder": True, "shard": (index, 2)}
        with prefetcher.PrefetchSequence(samples(N), transform=roll, **shared) as each:  # type: ignore[arg-type]
            each[0]
    assert rolled[0][0] != rolled[1][0]
