"""`fit`: `model.fit` that goes on where a killed one stopped. A thin layer, no trainer of its own.

Keras counts the batches of an epoch once for a whole fit, so the rest of a broken epoch and the
epochs after it are fits of their own. Each begins from a backup, as after a kill; what watches the
training is told of one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import keras

from prefetcher.arguments import flag
from prefetcher.batch import Batch
from prefetcher.errors import SettingsError
from prefetcher.resume.backup import Backup, checked
from prefetcher.resume.schedule import Fit, next_fit
from prefetcher.resume.store import Saved
from prefetcher.resume.together import group_of
from prefetcher.resume.variables import build, needs_batch, write_dice
from prefetcher.sequence import PrefetchSequence


def fit(
    model: Any,
    sequence: PrefetchSequence,
    *,
    backup: str | os.PathLike[str],
    epochs: int = 1,
    every: int = 500,
    on_sigterm: str | None = None,
    callbacks: Sequence[Any] | None = None,
    verbose: str | int = "auto",
    shuffle: bool = False,
    steps_per_epoch: int | None = None,
    **arguments: Any,
) -> Any:
    """Trains as `model.fit` does, or goes on where it stopped: the same line for both.

    Blocks until all epochs are trained. A training that has ended, also by a callback, is given
    back as it ended; with more `epochs` it goes on. Where several processes train as one, all of
    them call it; the first one writes, and they may be another number after a kill.

    Args:
        model: A compiled `keras.Model`, made by the same code each time, built or not.
        sequence: What to train on, with the same file and order each time.
        backup: A folder of this training's own. Remove it to begin anew. All processes see it.
        epochs: Epochs in all, those before a kill included.
        every: Steps (batches) from one backup to the next; one is made after each epoch too.
        on_sigterm: "save" makes SIGTERM save after the step that runs, and end the process with
            exit status 75; None leaves the signal alone. For the main thread of one process.
        callbacks: As in `model.fit`. Their counters go on, and they are told of one training.
        verbose: As in `model.fit`.
        shuffle: Whether Keras shuffles indices. Off, because the sequence has the order.
        steps_per_epoch: As in `model.fit`; None for a pass.
        arguments: What else `model.fit` takes: `validation_data`, `class_weight`, ...; not what
            it takes beside arrays only (`batch_size`, `y`, `sample_weight`, `validation_split`).

    Returns:
        The `keras.callbacks.History` of all epochs.

    Raises:
        StateError: The backup is of another model, file or order, or none of them is whole; or the
            processes see different folders.
        FileBusyError: Another training has this folder.
        FileError: The folder cannot be written, or the disk is full.
        SettingsError: A setting cannot work, or the processes do not train the same.
        ProcessError: Another process failed while it saved or went on.
    """
    others = _checked_callbacks(callbacks)
    _check(sequence, on_sigterm, arguments)
    shuffle = flag("shuffle", shuffle)
    saver = Backup(backup, sequence, every=every, callbacks=others)
    watchers = _OneTraining(
        [*others, saver],
        shared_iterator=steps_per_epoch is not None,
        add_progbar=verbose != 0,
        verbose=verbose,
        epochs=epochs,
        steps=steps_per_epoch or sequence.plan.num_batches,
        model=model,
    )
    terms = {"epochs": epochs, "steps_per_epoch": steps_per_epoch, "shuffle": shuffle}
    with _saving_on_sigterm(saver, wanted=on_sigterm is not None), _holding(saver, terms):
        saved = _prepared(model, sequence, saver)
        while call := _next(model, sequence, saved, epochs, steps_per_epoch):
            watchers.begin_at(saved)
            model.fit(
                sequence,
                callbacks=watchers,
                verbose=verbose,
                shuffle=shuffle,
                **arguments | call._asdict(),
            )
            saved = _prepared(model, sequence, saver)
        watchers.finish(saved)
    return saver


_OF_ARRAYS = {
    "batch_size": "a PrefetchSequence makes the batches: write "
    "PrefetchSequence(..., batch_size={0!r})",
    "validation_batch_size": "a PrefetchSequence makes the batches: write "
    "PrefetchSequence(..., batch_size={0!r})",
    "x": "the sequence has the inputs: name their dataset in PrefetchSequence(..., x=)",
    "y": "the sequence has the targets: name its dataset in PrefetchSequence(..., y=)",
    "sample_weight": "the sequence has the weights: name its dataset in "
    "PrefetchSequence(..., sample_weight=)",
    "validation_split": "Keras can split arrays in memory only: prefetcher.split gives the rows "
    "of two sequences, and the second is the validation_data",
}
"""Arguments of `model.fit` that go with arrays. Beside a sequence Keras refuses some of them, and
`batch_size` it ignores, because the sequence makes the batches."""


class _OneTraining(keras.callbacks.CallbackList):  # type: ignore[misc]  # keras has no types
    """Tells callbacks of one training, though Keras runs several fits.

    Args:
        callbacks: The callbacks to tell, the `Backup` last.
        shared_iterator: Whether one iterator serves several epochs (`steps_per_epoch`).
        settings: As for `keras.callbacks.CallbackList`.
    """

    def __init__(self, callbacks: list[Any], *, shared_iterator: bool, **settings: Any) -> None:
        super().__init__(callbacks, **settings)
        self._shared_iterator = shared_iterator
        self._saver: Backup = callbacks[-1]
        self._saved = Saved({}, {})
        self._dice_due = False
        self._begun = False
        self._skipped = 0  # steps of the running epoch that were trained before this fit
        self._logs: Any = None

    def begin_at(self, saved: Saved) -> None:
        """The next fit goes on from there."""
        self._saved = saved

    def on_train_begin(self, logs: Any = None) -> None:
        if not self._begun:
            super().on_train_begin(logs)
            self._begun = True
        self._saver.put_back(self._saved)
        # PyTorch's data loader throws the global dice when an iterator is made: for each epoch
        # that begins, but not within one, nor between two that share an iterator.
        self._dice_due = self._saved.facts["step"] > 0 or self._shared_iterator

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        super().on_epoch_begin(epoch, logs)
        facts = self._saved.facts
        self._skipped = facts["step"] if epoch == facts["epoch"] else 0
        if self._skipped:
            # Once more: some callbacks change a rate or a counter here, and had done so already.
            self._saver.put_back(self._saved, metrics=True)

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if self._dice_due:
            write_dice(self._saved.arrays)
            self._dice_due = False
        super().on_train_batch_begin(batch + self._skipped, logs)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        super().on_train_batch_end(batch + self._skipped, logs)

    def on_train_end(self, logs: Any = None) -> None:
        self._logs = logs  # told when the last fit has ended

    def finish(self, saved: Saved) -> None:
        """Tells of the end. A training that had ended before is first put back as it was."""
        if not self._begun:
            self.begin_at(saved)
            self.on_train_begin()
            if saved.arrays and self.model.optimizer is not None:
                self.model.optimizer.finalize_variable_values(self.model.trainable_variables)
        super().on_train_end(self._logs)


def _prepared(model: Any, sequence: PrefetchSequence, saver: Backup) -> Saved:
    """The newest backup, or the beginning; the sequence is set to it, the model can take it."""
    group, newest = saver.store.group, saver.store.newest()

    def find() -> tuple[Saved, Batch | None]:
        saved = checked(newest or saver.begin())
        sequence.load_state_dict(saved.facts["data"])
        wanted = saved.arrays and needs_batch(model, saved.arrays)
        return saved, sequence[0] if wanted else None

    (saved, batch), _ = group.agree(find)
    if saved.arrays:
        build(model, saved.arrays, batch)
        sequence.load_state_dict(saved.facts["data"])  # the batch may have been all that is left
    return saved


def _next(
    model: Any, sequence: PrefetchSequence, saved: Saved, epochs: int, steps_per_epoch: int | None
) -> Fit | None:
    facts = saved.facts
    if facts["stopped"]:
        return None
    return next_fit(
        facts["epoch"],
        facts["step"],
        len(sequence),
        epochs=epochs,
        num_batches=sequence.plan.num_batches,
        steps_per_epoch=steps_per_epoch,
        steps_per_execution=model.steps_per_execution,
    )


def _checked_callbacks(callbacks: Sequence[Any] | None) -> list[Any]:
    others = list(callbacks or ())
    for callback in others:
        if isinstance(callback, Backup | keras.callbacks.BackupAndRestore):
            raise SettingsError(
                f"callbacks holds a {type(callback).__name__}, and fit makes one itself: leave it "
                "out, or call model.fit"
            )
    return others


def _check(sequence: PrefetchSequence, on_sigterm: str | None, arguments: dict[str, Any]) -> None:
    if not isinstance(sequence, PrefetchSequence):
        raise SettingsError(f"got a {type(sequence).__name__}: fit needs a PrefetchSequence")
    if on_sigterm not in (None, "save"):
        raise SettingsError(f"on_sigterm={on_sigterm!r}: write 'save', or leave it out")
    if on_sigterm and (count := group_of(sequence.shard).count) > 1:
        raise SettingsError(
            f"on_sigterm={on_sigterm!r}: the signal reaches {count} processes at different steps, "
            "so they cannot save together. Leave it out: the last backup holds; a smaller every= "
            "loses fewer steps"
        )
    _refuse_what_goes_with_arrays(arguments)
    if "initial_epoch" in arguments:
        raise SettingsError("initial_epoch: leave it out, the backup says where to go on")
    if arguments.get("validation_data") is sequence:
        raise SettingsError(
            "validation_data is the training sequence, whose passes it would use up: make another "
            "PrefetchSequence over the same file"
        )


def _refuse_what_goes_with_arrays(arguments: dict[str, Any]) -> None:
    of_arrays = dict(_OF_ARRAYS)
    if not isinstance(arguments.get("validation_data"), PrefetchSequence):
        del of_arrays["validation_batch_size"]
    for name, reason in of_arrays.items():
        value = arguments.get(name)
        if value is not None and (name, value) != ("validation_split", 0):
            told = f"{name}={value!r}" if isinstance(value, int | float) else name
            raise SettingsError(f"{told}: {reason.format(value)}")


@contextmanager
def _holding(saver: Backup, terms: dict[str, Any]) -> Iterator[None]:
    """Keeps other trainings from the folder, from before the newest backup is looked for."""
    saver.hold(**terms)
    try:
        yield
    finally:
        saver.store.release()


@contextmanager
def _saving_on_sigterm(saver: Backup, *, wanted: bool) -> Iterator[None]:
    if not wanted:
        yield
        return
    if threading.current_thread() is not threading.main_thread():
        raise SettingsError(
            "on_sigterm='save': Python sets signal handlers in the main thread only"
        )
    before = signal.signal(signal.SIGTERM, lambda *_: saver.request_exit())
    try:
        yield
    finally:
        # None is a handler that a library set from C, which Python cannot put back. Ours must go,
        # or nothing would end the process any more.
        signal.signal(signal.SIGTERM, signal.SIG_DFL if before is None else before)
