"""Which calls of `model.fit` make up the rest of a training. Pure arithmetic.

Keras fixes the number of batches in an epoch for a whole fit, so an iteration that is shorter than
the others needs a fit of its own: the rest of a pass that a kill cut in two.
"""

from __future__ import annotations

from typing import NamedTuple


class Fit(NamedTuple):
    """One call of `model.fit`."""

    initial_epoch: int
    epochs: int
    """The epoch before which it ends, as Keras counts."""
    steps_per_epoch: int | None


def next_fit(
    epoch: int,
    step: int,
    left: int,
    *,
    epochs: int,
    num_batches: int,
    steps_per_epoch: int | None = None,
    steps_per_execution: int = 1,
) -> Fit | None:
    """The fit that comes next, None when no epoch is left.

    Args:
        epoch: The epoch that goes on or begins, from 0.
        step: Batches that were trained in it.
        left: Batches that are left of the pass, at least 1.
        epochs: Epochs of the whole training.
        num_batches: Batches of a whole pass.
        steps_per_epoch: As in `model.fit`; None for a pass.
        steps_per_execution: As in `model.compile`; Keras rounds an epoch up to whole executions.
    """
    if epoch >= epochs:
        return None
    if steps_per_epoch is not None and step:
        return Fit(epoch, epoch + 1, max(1, steps_per_epoch - step))
    if left == num_batches:
        return Fit(epoch, epochs, steps_per_epoch)
    if steps_per_epoch is None:
        return Fit(epoch, epoch + 1, None)
    trained_per_epoch = -(-steps_per_epoch // steps_per_execution) * steps_per_execution
    return Fit(epoch, min(epochs, epoch - (-left // trained_per_epoch)), steps_per_epoch)
