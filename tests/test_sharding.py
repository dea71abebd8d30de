"""Which share a process has: what the user may write, and who is asked with "auto"."""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from types import SimpleNamespace
from typing import Any

import pytest
from helpers.processes import run_script

from prefetcher import SettingsError, sharding
from prefetcher.order.shard import Shard
from prefetcher.sharding import Answer, detected, process_of, shard_of

_LAUNCHERS = "RANK", "WORLD_SIZE", "KERAS_DISTRIBUTION_", "TF_CONFIG", "OMPI_", "PMI_", "SLURM_"

CLUSTER = {"chief": ["a:1"], "worker": ["b:1", "c:1"], "ps": ["d:1"], "evaluator": ["e:1"]}


@pytest.fixture(autouse=True)
def nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No launcher, whatever started the tests; and no backend, so that JAX refuses nothing."""
    for name in list(os.environ):
        if name.startswith(_LAUNCHERS):
            monkeypatch.delenv(name)
    monkeypatch.setattr(sharding, "keras_backend", lambda: "torch")


def says(monkeypatch: pytest.MonkeyPatch, **variables: object) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, str(value))


def torch_says(monkeypatch: pytest.MonkeyPatch, rank: int, size: int, begun: bool = True) -> None:
    torch = SimpleNamespace(
        is_available=lambda: True,
        is_initialized=lambda: begun,
        get_rank=lambda: rank,
        get_world_size=lambda: size,
    )
    monkeypatch.setitem(sys.modules, "torch.distributed", torch)


def jax_says(monkeypatch: pytest.MonkeyPatch, rank: int, size: int, begun: bool = True) -> None:
    state = SimpleNamespace(process_id=rank, num_processes=size, client=object() if begun else None)
    jax = SimpleNamespace(global_state=state)
    monkeypatch.setitem(sys.modules, "jax._src.distributed", jax)


def ray_says(monkeypatch: pytest.MonkeyPatch, get_context: Any) -> None:
    ray = SimpleNamespace(get_context=get_context)
    monkeypatch.setitem(sys.modules, "ray.train", ray)


def ray_context(rank: int, size: int) -> Any:
    return SimpleNamespace(get_world_rank=lambda: rank, get_world_size=lambda: size)


def keras_says(monkeypatch: pytest.MonkeyPatch, **distribution: Any) -> None:
    """Sets what `keras.distribution.distribution()` returns, as Keras 3.15 makes it."""
    current = SimpleNamespace(**distribution)
    monkeypatch.setattr("keras.distribution.distribution", lambda: current)


# What the user writes


def test_a_pair_is_the_share() -> None:
    assert shard_of(Shard(1, 4)) == Shard(1, 4)


def test_none_is_all_of_the_data() -> None:
    assert shard_of(None) == Shard(0, 1)


def test_none_in_one_of_several_processes_warns(monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, RANK=1, WORLD_SIZE=2)
    with pytest.warns(UserWarning, match=r'1 of 2 according to RANK.*shard="auto"') as all_:
        assert shard_of(None) == Shard(0, 1)
    assert len(all_) == 1
    assert all_[0].filename == __file__
    assert shard_of(Shard(0, 1)) == Shard(
        0, 1
    )  # the remedy: no warning, which would be an error here


def test_none_where_they_do_not_agree_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, RANK=1, WORLD_SIZE=2, PMI_RANK=0, PMI_SIZE=3)
    assert shard_of(None) == Shard(0, 1)


# Who is asked


@pytest.mark.parametrize(
    ("variables", "shard"),
    [
        ({}, Shard(0, 1)),
        ({"RANK": 1, "WORLD_SIZE": 2}, Shard(1, 2)),
        ({"RANK": 1}, Shard(0, 1)),  # a common name: alone it says nothing
        ({"WORLD_SIZE": 2}, Shard(0, 1)),
        ({"OMPI_COMM_WORLD_RANK": 2, "OMPI_COMM_WORLD_SIZE": 4}, Shard(2, 4)),
        ({"PMI_RANK": 3, "PMI_SIZE": 4}, Shard(3, 4)),
        (
            {"KERAS_DISTRIBUTION_PROCESS_ID": 1, "KERAS_DISTRIBUTION_NUM_PROCESSES": 2},
            Shard(1, 2),
        ),
        ({"SLURM_PROCID": 3, "SLURM_STEP_NUM_TASKS": 8}, Shard(3, 8)),
        ({"SLURM_PROCID": 0, "SLURM_NTASKS": 8}, Shard(0, 1)),  # sbatch, but no srun
        ({"RANK": 1, "WORLD_SIZE": 4, "SLURM_PROCID": 0, "SLURM_STEP_NUM_TASKS": 2}, Shard(1, 4)),
        ({"RANK": 0, "WORLD_SIZE": 1, "SLURM_PROCID": 1, "SLURM_STEP_NUM_TASKS": 2}, Shard(0, 1)),
        ({"RANK": 1, "WORLD_SIZE": 2, "PMI_RANK": 1, "PMI_SIZE": 2}, Shard(1, 2)),
    ],
    ids=str,
)
def test_variables_of_a_launcher(
    variables: dict[str, int], shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, **variables)
    assert shard_of("auto") == shard


@pytest.mark.parametrize(
    ("kind", "index", "shard"),
    [
        ("chief", 0, Shard(0, 3)),
        ("worker", 0, Shard(1, 3)),
        ("worker", 1, Shard(2, 3)),
        ("evaluator", 0, Shard(0, 1)),
        ("ps", 0, Shard(0, 1)),
    ],
)
def test_tf_config_counts_the_chief_first(
    kind: str, index: int, shard: Shard, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = {"type": kind, "index": index}
    says(monkeypatch, TF_CONFIG=json.dumps({"cluster": CLUSTER, "task": task}))
    assert shard_of("auto") == shard


def test_tf_config_of_workers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    task = {"type": "worker", "index": "1"}
    says(monkeypatch, TF_CONFIG=json.dumps({"cluster": {"worker": ["a", "b"]}, "task": task}))
    assert shard_of("auto") == Shard(1, 2)


@pytest.mark.parametrize("config", ["", "{}", '{"cluster": {"worker": ["a"]}}'])
def test_tf_config_without_a_task_says_nothing(
    config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    says(monkeypatch, TF_CONFIG=config)
    assert detected() == Answer("nobody", Shard())


@pytest.mark.parametrize(
    "config",
    [
        "worker 0",
        "[]",
        '{"task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a", "b"]}, "task": {"type": "worker", "index": 2}}',
        '{"cluster": {"worker": ["a", "b"]}, "task": {"type": "helper", "index": 0}}',
        pytest.param("[" * 100_000, id="nested too deeply"),
    ],
)
def test_a_damaged_tf_config_is_named(config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, TF_CONFIG=config)
    with pytest.raises(SettingsError, match="TF_CONFIG does not say which"):
        shard_of("auto")


def test_variables_that_are_no_numbers_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    says(monkeypatch, RANK="captain", WORLD_SIZE=2)
    with pytest.raises(SettingsError, match="RANK='captain' and WORLD_SIZE='2'"):
        shard_of("auto")


def test_torch_speaks_once_it_is_initialised(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_says(monkeypatch, 1, 2, begun=False)
    assert shard_of("auto") == Shard(0, 1)
    torch_says(monkeypatch, 1, 2)
    assert shard_of("auto") == Shard(1, 2)


def test_jax_speaks_once_it_is_initialised(monkeypatch: pytest.MonkeyPatch) -> None:
    jax_says(monkeypatch, 1, 2, begun=False)
    assert shard_of("auto") == Shard(0, 1)
    jax_says(monkeypatch, 1, 2)
    assert shard_of("auto") == Shard(1, 2)


def test_a_worker_of_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    ray_says(monkeypatch, lambda: ray_context(1, 2))
    assert shard_of("auto") == Shard(1, 2)


def test_a_driver_of_ray_is_no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray raises there, and older versions warn and count one worker."""

    def raises() -> Any:
        raise RuntimeError("`get_context` cannot be used outside of a Ray Train training function")

    def warns() -> Any:
        warnings.warn("meant to only be called inside a Trainer. Returning `1`.", stacklevel=1)
        return ray_context(0, 1)

    for get_context in (raises, warns):
        ray_says(monkeypatch, get_context)
        assert detected() == Answer("nobody", Shard())


def test_all_who_speak_must_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    torch_says(monkeypatch, 1, 2)
    says(monkeypatch, RANK=1, WORLD_SIZE=2, PMI_RANK=1, PMI_SIZE=4)
    with pytest.raises(
        SettingsError,
        match=r"1 of 2 according to torch.distributed, 1 of 2 according to RANK and WORLD_SIZE, "
        r"1 of 4 according to PMI_RANK and PMI_SIZE. Write .*shard=\(index, count\)",
    ):
        shard_of("auto")
    assert shard_of(Shard(1, 2)) == Shard(1, 2)


def test_keras_distribution_is_believed_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a model is split over two processes, which then read the same."""
    says(monkeypatch, RANK=3, WORLD_SIZE=4)
    keras_says(monkeypatch, num_processes=4, num_model_replicas=2, data_shard_id=1)
    assert shard_of("auto") == Shard(1, 2)
    keras_says(monkeypatch, num_processes=4, num_model_replicas=8, data_shard_id=3)
    assert shard_of("auto") == Shard(3, 4)


@pytest.mark.parametrize(
    "distribution", [{}, {"num_processes": 1, "num_model_replicas": 8, "data_shard_id": 0}]
)
def test_a_distribution_of_one_process_leaves_it_to_the_others(
    distribution: dict[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """So does one of Keras before 3.15, which knows of no processes."""
    says(monkeypatch, RANK=1, WORLD_SIZE=2)
    keras_says(monkeypatch, **distribution)
    assert shard_of("auto") == Shard(1, 2)


def test_a_distribution_of_ones_own_may_say_less(monkeypatch: pytest.MonkeyPatch) -> None:
    class Own:
        """Does not say how many copies of the model there are, like Keras's base class."""

        num_processes = 2

        @property
        def num_model_replicas(self) -> int:
            raise NotImplementedError

    monkeypatch.setattr("keras.distribution.distribution", Own)
    assert shard_of(None) == shard_of("auto") == Shard(0, 1)


def test_a_process_is_one_of_several_whatever_it_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    assert process_of(Shard()) == Shard()
    says(monkeypatch, RANK=1, WORLD_SIZE=4)
    assert process_of(Shard()) == Shard(1, 4)
    assert process_of(Shard(0, 2)) == Shard(0, 2)
    says(monkeypatch, PMI_RANK=0, PMI_SIZE=4)  # they do not agree
    assert process_of(Shard()) == Shard()


def test_the_log_says_who_was_believed(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    says(monkeypatch, RANK=1, WORLD_SIZE=2, PMI_RANK=1, PMI_SIZE=2)
    with caplog.at_level(logging.INFO, logger="prefetcher"):
        shard_of("auto")
    (line,) = caplog.messages
    assert line == (
        'shard="auto": this process is 1 of 2 according to RANK and WORLD_SIZE, PMI_RANK and '
        "PMI_SIZE"
    )


# JAX trains a model in each process unless it was initialised


def test_jax_that_was_not_initialised_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "keras_backend", lambda: "jax")
    says(monkeypatch, RANK=1, WORLD_SIZE=2)
    with pytest.raises(SettingsError, match=r'initialize\("host0:12355", 2, 1\)') as told:
        shard_of("auto")
    assert "or unset RANK and WORLD_SIZE if they are left over" in str(told.value)
    jax_says(monkeypatch, 1, 2)
    assert shard_of("auto") == Shard(1, 2)


def test_under_ray_it_says_what_ray_has_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "keras_backend", lambda: "jax")
    ray_says(monkeypatch, lambda: ray_context(0, 2))
    with pytest.raises(SettingsError, match=r"jax_config=JaxConfig\(use_gpu=True\)"):
        shard_of("auto")


def test_one_process_needs_no_initialised_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharding, "keras_backend", lambda: "jax")
    says(monkeypatch, RANK=0, WORLD_SIZE=1)
    assert shard_of("auto") == Shard(0, 1)


# Nothing is started for it


def test_asking_imports_nothing() -> None:
    run_script(
        """
import sys
from prefetcher.sharding import shard_of
before = set(sys.modules)
shard_of("auto"), shard_of(None)
new = set(sys.modules) - before
assert not new, new
assert not {"keras", "jax", "torch", "tensorflow", "ray"} & set(sys.modules)
"""
    )


def test_asking_starts_no_backend_of_jax() -> None:
    pytest.importorskip("jax")
    run_script(
        """
import jax, jax._src.xla_bridge as bridge
from prefetcher.sharding import shard_of
shard_of("auto"), shard_of(None)
assert not bridge.backends_are_initialized()
jax.process_index()
assert bridge.backends_are_initialized()  # so the line above does see it
"""
    )
