"""Which share of each batch this process has: as the user says, or as what is running here says.

Who starts processes tells each of them its number and how many there are. `shard="auto"` asks all
that may have been told. It imports nothing and starts no backend: what was not imported, or was not
started, has nothing to say.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from prefetcher.arguments import AUTO, Share
from prefetcher.errors import SettingsError
from prefetcher.order.shard import WHOLE, Shard
from prefetcher.tickets.callers import user_stacklevel

_logger = logging.getLogger("prefetcher")

_KERAS: Final = "keras.distribution"
_RAY: Final = "Ray Train"
_KERAS_VARIABLES: Final = "KERAS_DISTRIBUTION_PROCESS_ID", "KERAS_DISTRIBUTION_NUM_PROCESSES"
_SLURM_VARIABLES: Final = "SLURM_PROCID", "SLURM_STEP_NUM_TASKS"  # srun alone sets the second


@dataclass(frozen=True, slots=True)
class Answer:
    """What somebody says of this process.

    Attributes:
        by: Who says it; several names where they agree, "nobody" where there are none.
        shard: The share that it has.
    """

    by: str
    shard: Shard


def shard_of(given: Share) -> Shard:
    """The share that `Settings.shard` stands for. Called when a sequence is made.

    With "auto" the log says who was believed. With None a warning says if this process is one of
    several, because then all of them read the same.

    Raises:
        SettingsError: With "auto" those who know of processes do not agree, or JAX would train a
            model in each process.
    """
    if given is None:
        _warn_if_one_of_several()
        return WHOLE
    return _found() if given == AUTO else Shard(*given) if isinstance(given, tuple) else given


def detected() -> Answer:
    """What is running here, or who started it, says of this process; (0, 1) if nobody does.

    A `keras.distribution` of several processes is believed alone: it decides what Keras does with
    a batch, and with split models there are fewer shares than processes.

    Raises:
        SettingsError: They do not agree, or a variable holds something else than numbers.
    """
    if (shard := keras_shard()) is not None:
        return Answer(_KERAS, shard)
    answers = [Answer(by, shard) for by, ask in _ASKED if (shard := ask()) is not None]
    if not answers and (shard := _variables(*_SLURM_VARIABLES)) is not None:
        answers = [Answer(" and ".join(_SLURM_VARIABLES), shard)]
    if len({answer.shard for answer in answers}) > 1:
        told = ", ".join(f"{answer.shard} according to {answer.by}" for answer in answers)
        raise SettingsError(
            f'shard="auto": this process is {told}. Write the right one as shard=(index, count), '
            "or unset what is left over from another launch"
        )
    if not answers:
        return Answer("nobody", WHOLE)
    return Answer(", ".join(answer.by for answer in answers), answers[0].shard)


def process_of(shard: Shard) -> Shard:
    """Which of several processes this is, by its share or, where it reads all, by who knows.

    Args:
        shard: The share that it has.
    """
    if shard.count > 1:
        return shard
    try:
        return detected().shard
    except SettingsError:
        return WHOLE  # they do not agree, and were not asked for a share


def keras_distribution() -> Any:
    """Keras's current distribution, if it knows of processes, or None.

    One of Keras before 3.15 does not, nor does a class of the user's own that does not say how
    many copies of the model there are.
    """
    keras = sys.modules.get("keras")
    distribution: Any = keras.distribution.distribution() if keras else None
    try:
        known = bool(distribution.num_processes and distribution.num_model_replicas)
    except (AttributeError, NotImplementedError):
        return None
    return distribution if known else None


def keras_shard() -> Shard | None:
    """The share that Keras's distribution gives this process; None unless it spans several.

    A model that is split over processes counts once, and its processes read the same share.
    """
    distribution = keras_distribution()
    if distribution is None or distribution.num_processes < 2:
        return None
    count = min(distribution.num_model_replicas, distribution.num_processes)
    return Shard(distribution.data_shard_id, count)


def keras_backend() -> str | None:
    """The backend of Keras; None if Keras was not imported."""
    keras = sys.modules.get("keras")
    return str(keras.config.backend()) if keras else None


def _found() -> Shard:
    answer = detected()
    alone = keras_backend() == "jax" and _jax() is None and answer.by != _KERAS
    if alone and answer.shard.count > 1:
        raise _jax_is_alone(answer)
    _logger.info('shard="auto": this process is %s according to %s', answer.shard, answer.by)
    return answer.shard


def _jax_is_alone(answer: Answer) -> SettingsError:
    index, count = answer.shard.index, answer.shard.count
    remedy = (
        "give JaxTrainer jax_config=JaxConfig(use_gpu=True), and on CPUs JAX_PLATFORMS=cpu to its "
        "workers"
        if _RAY in answer.by
        else f'call keras.distribution.initialize("host0:12355", {count}, {index}), with the '
        f"address of process 0, before anything else of Keras; or unset {answer.by} if they are "
        "left over from another launch"
    )
    return SettingsError(
        f'shard="auto": this process is {answer.shard} according to {answer.by}, but JAX was not '
        f"initialised for that, so each process would train a model of its own: {remedy}"
    )


def _warn_if_one_of_several() -> None:
    try:
        answer = detected()
    except SettingsError:
        return  # what they do not agree about was not asked for
    if answer.shard.count > 1:
        warnings.warn(
            f"this process is {answer.shard} according to {answer.by}, and reads all of the data "
            'like the others: write shard="auto" to share it, or shard=(0, 1) if each is to have '
            "all of it, as for validation",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def _ray() -> Shard | None:
    train: Any = sys.modules.get("ray.train")
    if not hasattr(train, "get_context"):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # older versions warn outside of a worker
            context = train.get_context()
            return Shard(context.get_world_rank(), context.get_world_size())
    except (RuntimeError, Warning):
        return None  # a driver, or no training at all


def _jax() -> Shard | None:
    """As `jax.process_index()`, which would start a backend, does not say."""
    distributed = sys.modules.get("jax._src.distributed")
    state: Any = getattr(distributed, "global_state", None)
    if getattr(state, "client", None) is None:
        return None
    return Shard(state.process_id, state.num_processes)


def _torch() -> Shard | None:
    distributed = sys.modules.get("torch.distributed")
    if distributed is None or not (distributed.is_available() and distributed.is_initialized()):
        return None
    return Shard(distributed.get_rank(), distributed.get_world_size())


def _numbered(index: int, count: int) -> Shard:
    if not 0 <= index < count:
        raise ValueError
    return Shard(index, count)


def _variables(index: str, count: str) -> Shard | None:
    """What two environment variables say; nothing unless both are set."""
    values = os.environ.get(index), os.environ.get(count)
    if None in values:
        return None
    try:
        return _numbered(*(int(str(value)) for value in values))
    except ValueError:
        raise SettingsError(
            f'shard="auto": {index}={values[0]!r} and {count}={values[1]!r} are not the number of '
            "a process and how many there are: set both, or unset them"
        ) from None


def _tensorflow() -> Shard | None:
    """TF_CONFIG: the chief is the first, then come the workers. An evaluator reads all."""
    config = os.environ.get("TF_CONFIG")
    if not config:
        return None
    try:
        told = json.loads(config)
        task, cluster = told.get("task") or {}, told.get("cluster") or {}
        if not task or task["type"] == "ps":
            return None
        if task["type"] == "evaluator":
            return WHOLE
        sizes = {kind: len(cluster.get(kind) or ()) for kind in ("chief", "master", "worker")}
        before = list(sizes)[: list(sizes).index(task["type"])]
        index = int(task["index"]) + sum(sizes[kind] for kind in before)
        return _numbered(index, sum(sizes.values()))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise SettingsError(
            'shard="auto": TF_CONFIG does not say which of how many workers this process is: write '
            'it as {"cluster": {"worker": [...]}, "task": {"type": "worker", "index": 0}}, or '
            "unset it"
        ) from None


def _pair(index: str, count: str) -> tuple[str, Callable[[], Shard | None]]:
    return f"{index} and {count}", lambda: _variables(index, count)


_ASKED: Final[tuple[tuple[str, Callable[[], Shard | None]], ...]] = (
    (_RAY, _ray),
    ("JAX", _jax),
    ("torch.distributed", _torch),
    _pair("RANK", "WORLD_SIZE"),
    _pair(*_KERAS_VARIABLES),
    ("TF_CONFIG", _tensorflow),
    _pair("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
    _pair("PMI_RANK", "PMI_SIZE"),
)
"""Who may know, as messages name them."""
