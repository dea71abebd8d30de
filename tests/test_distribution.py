"""What is refused when Keras is about to iterate: rows of the table in docs/distributed.md."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from conftest import MakeSamples
from helpers.models import counted
from helpers.sequences import small

from prefetcher import SettingsError, distribution
from prefetcher.arguments import Share
from prefetcher.distribution import DistributionCheck
from prefetcher.order.shard import Shard
from prefetcher.sharding import Answer

HALF = Shard(0, 2)


def keras_has(
    monkeypatch: pytest.MonkeyPatch,
    processes: int = 2,
    replicas: int | None = None,
    index: int = 0,
    auto_shard: bool = False,
) -> None:
    """Sets what `keras.distribution.distribution()` returns."""
    current = SimpleNamespace(
        num_processes=processes,
        num_model_replicas=replicas or processes,
        data_shard_id=index,
        auto_shard_dataset=auto_shard,
    )
    monkeypatch.setattr("keras.distribution.distribution", lambda: current)


def check(
    given: Share = HALF, shard: Shard = HALF, batch_size: int = 8, last_rows: int = 4
) -> DistributionCheck:
    return DistributionCheck(
        given, shard, batch_size=batch_size, last_rows=last_rows, where="a.h5: x, y"
    )


def fit_runs(monkeypatch: pytest.MonkeyPatch, backend: str, keras: str = "3.15.1") -> None:
    monkeypatch.setattr(distribution, "keras_method", lambda: "fit")
    monkeypatch.setattr(distribution, "keras_backend", lambda: backend)
    monkeypatch.setattr("keras.__version__", keras)


def test_what_fits_is_let_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also a sequence that each process reads whole, as for validation."""
    keras_has(monkeypatch, processes=2, replicas=4)
    check()()
    check((0, 1), Shard(), last_rows=2)()
    check(None, Shard(), last_rows=2)()


@pytest.mark.parametrize("shard", [HALF, Shard()])
def test_keras_must_not_share_the_batches_too(
    shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keras 3.15 refuses itself; 3.16 gives each process every second ticket in silence."""
    keras_has(monkeypatch, auto_shard=True)
    with pytest.raises(SettingsError, match="auto_shard_dataset=False"):
        check(shard, shard)()


def test_one_process_may_leave_it_on(monkeypatch: pytest.MonkeyPatch) -> None:
    keras_has(monkeypatch, processes=1, replicas=2, auto_shard=True)
    check(None, Shard())()


@pytest.mark.parametrize("given", [(0, 2), (1, 4)])
def test_another_share_than_keras_gives_is_refused(
    given: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    keras_has(monkeypatch, index=1)
    with pytest.raises(SettingsError, match=r'(?s)1 of 2.*"auto", or shard=\(1, 2\)'):
        check(given, Shard(*given))()
    check((1, 2), Shard(1, 2))()


def test_a_batch_that_the_devices_cannot_share(monkeypatch: pytest.MonkeyPatch) -> None:
    keras_has(monkeypatch, processes=2, replicas=8)
    with pytest.raises(SettingsError, match=r"batch_size=20 is 10 samples.*4 dev.*batch_size=24"):
        check(batch_size=20)()
    check(batch_size=24)()


def test_a_last_batch_that_the_devices_cannot_share(monkeypatch: pytest.MonkeyPatch) -> None:
    keras_has(monkeypatch, processes=2, replicas=8)
    with pytest.raises(SettingsError, match=r"is 3 rows a process.*4 devices: write pad_to=8"):
        check(batch_size=16, last_rows=3)()
    check(batch_size=16, last_rows=4)()


def test_whole_batches_of_every_process_are_shared_by_its_own_devices(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keras_has(monkeypatch, processes=2, replicas=8)
    with pytest.raises(SettingsError, match="write pad_to=4"):
        check((0, 1), Shard(), batch_size=16, last_rows=6)()


def test_a_split_model_takes_one_batch_for_several_processes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keras_has(monkeypatch, processes=4, replicas=2, index=1)
    check((1, 2), Shard(1, 2), batch_size=2, last_rows=1)()


def test_another_answer_than_at_construction_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = Answer("keras.distribution", Shard(1, 2))
    monkeypatch.setattr(distribution, "detected", lambda: answer)
    with pytest.raises(SettingsError, match=r"was 0 of 1 .*is 1 of 2 now.*make it after"):
        check("auto", Shard())()
    check("auto", Shard(1, 2))()
    check(None, Shard())()


def test_each_distribution_is_checked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = iter([Answer("JAX", HALF)] * 2)
    monkeypatch.setattr(distribution, "detected", lambda: next(answers))
    checked = check("auto")
    checked()
    checked()
    keras_has(monkeypatch)
    checked()
    checked()
    assert next(answers, None) is None


def test_what_was_refused_is_refused_again(monkeypatch: pytest.MonkeyPatch) -> None:
    keras_has(monkeypatch, auto_shard=True)
    checked = check()
    for _ in range(2):
        with pytest.raises(SettingsError):
            checked()


@pytest.mark.parametrize(
    ("backend", "remedy"),
    [("torch", "DistributedDataParallel"), ("jax", "DataParallel"), ("tensorflow", "take JAX")],
)
def test_fit_that_trains_a_model_in_each_process_warns_once(
    backend: str, remedy: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fit_runs(monkeypatch, backend)
    checked = check()
    with pytest.warns(UserWarning, match=f"a model of its own in each process, .*{remedy}"):
        checked()
    checked()


def test_fit_that_trains_one_model_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    fit_runs(monkeypatch, "torch", "3.16.0.dev2026102704")
    check()()
    fit_runs(monkeypatch, "torch")
    check(None, Shard())()
    fit_runs(monkeypatch, "jax")
    keras_has(monkeypatch)
    check()()
    before_3_15 = SimpleNamespace(device_mesh=None)
    monkeypatch.setattr("keras.distribution.distribution", lambda: before_3_15)
    check()()


def test_a_thread_without_the_distribution_asks_nothing_anew(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keras keeps it for each thread. What else knows of processes may count those of a replica."""
    keras_has(monkeypatch, processes=4, replicas=2, index=1)
    checked = check("auto", Shard(1, 2), last_rows=4)
    checked()
    monkeypatch.setattr("keras.distribution.distribution", lambda: None)
    monkeypatch.setattr(distribution, "detected", lambda: Answer("JAX", Shard(3, 4)))
    checked()


def test_a_loop_of_ones_own_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    fit_runs(monkeypatch, "torch")
    monkeypatch.setattr(distribution, "keras_method", lambda: None)
    check()()


# A sequence asks


def test_a_sequence_has_the_share_that_is_found(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras_has(monkeypatch, index=1)
    with small(samples(32), shard="auto") as sequence:
        assert sequence.shard == Shard(1, 2)
        assert sequence.num_batches == len(sequence) == 8
        assert len(sequence[0][0]) == 2


def test_keras_is_refused_before_it_iterates(
    samples: MakeSamples, model: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    keras_has(monkeypatch, index=1)
    with small(samples(32), shard="auto") as sequence:
        keras_has(monkeypatch, index=0)
        with pytest.raises(SettingsError, match=r"was 1 of 2 .*is 0 of 2 now"):
            model.fit(sequence, verbose=0)
    assert counted(model, "steps") == 0


def test_a_real_fit_of_a_share_warns_at_the_line_of_the_user(
    samples: MakeSamples, model: Any
) -> None:
    """Evaluating a share is no training."""
    with small(samples(32), shard=(0, 2)) as sequence:
        model.evaluate(sequence, verbose=0)
        with pytest.warns(UserWarning, match="a model of its own in each process") as told:
            model.fit(sequence, epochs=2, verbose=0)
    ours = [warning for warning in told if warning.category is UserWarning]
    assert [warning.filename for warning in ours] == [__file__]
    assert counted(model, "steps") == 16


def test_the_last_batch_is_that_which_is_handed_out(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As filled up; and a short one where the batches before it are not."""
    keras_has(monkeypatch, processes=1, replicas=2)
    with small(samples(31)) as sequence, pytest.raises(SettingsError, match="write pad_to=2"):
        _ = sequence.num_batches
    with small(samples(31), pad_to=2) as sequence:
        assert sequence.num_batches == 8


def test_a_last_batch_that_is_the_only_one_is_not_to_be_dropped(
    samples: MakeSamples, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`drop_remainder=True` would leave no batch, and be refused."""
    keras_has(monkeypatch, processes=1, replicas=2)
    for n, more in ((7, "$"), (15, ", or drop_remainder=True, which leaves it out$")):
        refused = pytest.raises(SettingsError, match="write pad_to=2, .* weight 0" + more)
        with small(samples(n), batch_size=8) as sequence, refused:
            _ = sequence.num_batches
