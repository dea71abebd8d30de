"""Whether Keras trains as a sequence's shard says: asked when Keras is about to iterate.

Keras says none of this, or says it after an epoch: a batch that its devices cannot share, a
distribution that shares the batches a second time, processes that train a model each.
"""

from __future__ import annotations

import sys
import warnings
from typing import Any, Final

from prefetcher.arguments import AUTO, Share
from prefetcher.errors import SettingsError
from prefetcher.order.shard import Shard
from prefetcher.pipeline.stream import Feed
from prefetcher.sharding import (
    detected,
    keras_backend,
    keras_distribution,
    keras_shard,
)
from prefetcher.tickets.callers import keras_method, user_stacklevel

_NOT_ASKED: Final = object()
_TORCH_TRAINS_TOGETHER: Final = 3, 16  # Keras's version from which it averages over processes

_REMEDIES: Final = {
    "jax": "call keras.distribution.initialize(), unless the launcher initialised JAX, and "
    "set_distribution(keras.distribution.DataParallel(auto_shard_dataset=False)) before the model "
    "is made",
    "torch": "write a loop with torch's DistributedDataParallel; Keras 3.16 averages by itself",
    "tensorflow": "take JAX, with keras.distribution",
}


class DistributionCheck:
    """What is compared with Keras's distribution, once for each that is set.

    Args:
        given: `Settings.shard`: what the user wrote.
        shard: What that was found to be when the sequence was made.
        batch_size: Samples in a batch of all processes together.
        last_rows: Rows that this process has of the last batch of a pass.
        where: The file and its datasets, for messages.
        droppable: Whether there are batches besides a last one that is not full.
    """

    def __init__(
        self,
        given: Share,
        shard: Shard,
        *,
        batch_size: int,
        last_rows: int,
        where: str,
        droppable: bool = True,
    ) -> None:
        self._given = given
        self._shard = shard
        self._batch_size = batch_size
        self._last_rows = last_rows
        self._where = where
        self._droppable = droppable
        self._checked: Any = _NOT_ASKED
        self._told = False

    def __call__(self) -> None:
        """Checks, if another distribution is set than the last time. Any thread, cheap.

        Keras's distribution belongs to a thread, so that others see none.

        Raises:
            SettingsError: Keras would train on other batches than the shard says, or stop at one.
        """
        distribution = keras_distribution()
        if self._checked is _NOT_ASKED or distribution not in (self._checked, None):
            self._check_answer()
            if distribution is not None:
                self._check_sharing(distribution)
                self._check_sizes(distribution)
            self._checked = distribution
        if self._shard.count > 1 and not self._told and keras_method() == "fit":
            self._told = True
            self._warn_if_alone()

    def _check_answer(self) -> None:
        """Who makes a sequence before the processes know of each other gets all of the data."""
        if self._given != AUTO or (now := detected()).shard == self._shard:
            return
        raise SettingsError(
            f'shard="auto" was {self._shard} when the sequence over {self._where} was made, and '
            f"is {now.shard} now according to {now.by}: make it after the processes know of each "
            "other and keras.distribution is set"
        )

    def _check_sharing(self, distribution: Any) -> None:
        if distribution.num_processes < 2:
            return
        if distribution.auto_shard_dataset:
            raise SettingsError(
                f"keras.distribution would share out what {self._where} gives, which is shard's "
                "part here: write keras.distribution.DataParallel(auto_shard_dataset=False)"
            )
        theirs = keras_shard()
        if theirs is not None and self._shard.count > 1 and self._shard != theirs:
            raise SettingsError(
                f"shard={self._shard.index, self._shard.count} over {self._where}, but to "
                f"keras.distribution this process is {theirs}: samples would be trained twice and "
                f'others never. Write shard="auto", or shard={theirs.index, theirs.count}'
            )

    def _check_sizes(self, distribution: Any) -> None:
        """Keras cuts what a process gives into one part for each of its devices."""
        devices = max(1, distribution.num_model_replicas // distribution.num_processes)
        together = devices * self._shard.count
        if self._batch_size % together:
            share, more = self._batch_size // self._shard.count, -(-self._batch_size // together)
            raise SettingsError(
                f"batch_size={self._batch_size} is {share} samples a process, which Keras cannot "
                f"share out to {devices} devices: write batch_size={more * together}"
            )
        if self._last_rows % devices:
            dropping = ", or drop_remainder=True, which leaves it out" if self._droppable else ""
            raise SettingsError(
                f"the last batch over {self._where} is {self._last_rows} rows a process, which "
                f"Keras cannot share out to {devices} devices: write pad_to={together}, which "
                f"fills it up with rows of weight 0{dropping}"
            )

    def _warn_if_alone(self) -> None:
        """A `train_step` of the user's own may average, so this is no error."""
        backend = str(keras_backend())
        if not _trains_alone(backend):
            return
        warnings.warn(
            f"shard is {self._shard}, but model.fit on {backend} trains a model of its own in each "
            f"process, unless a train_step of yours averages: {_REMEDIES[backend]}",
            UserWarning,
            stacklevel=user_stacklevel(),
        )


def check_of(feed: Feed) -> DistributionCheck:
    """The check of what a sequence gives."""
    plan = feed.plan
    last = plan.num_batches - 1
    filling = plan.filling(last)
    return DistributionCheck(
        feed.settings.shard,
        plan.shard,
        batch_size=plan.batch_size,
        last_rows=filling.rows if filling else plan.own_rows(last),
        where=feed.where,
        droppable=last > 0,
    )


def _trains_alone(backend: str) -> bool:
    """Whether `model.fit` does not take the mean of the gradients of all processes."""
    if backend == "torch" and _keras_version() >= _TORCH_TRAINS_TOGETHER:
        return False
    distribution = sys.modules["keras"].distribution.distribution()
    # Before Keras 3.15 it does not say of how many.
    return distribution is None or getattr(distribution, "num_processes", 2) < 2


def _keras_version() -> tuple[int, int]:
    major, minor = sys.modules["keras"].__version__.split(".")[:2]
    return int(major), int(minor)
