"""The callback that saves a training: model, optimizer, counters and the place in the data."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import keras

from prefetcher.errors import SettingsError, StateError
from prefetcher.resume import variables
from prefetcher.resume.counters import Counters, freeze, thaw
from prefetcher.resume.shared import Part, SharedStore, Terms
from prefetcher.resume.store import Arrays, Saved
from prefetcher.sequence import PrefetchSequence

VERSION = 1

EXIT_CODE = 75
"""The exit status of a process that saved because it was asked to end: "temporary failure, try
again" (EX_TEMPFAIL). Run the same line again."""


class Backup(keras.callbacks.History):  # type: ignore[misc]  # keras has no types
    """Saves a training every few steps and after each epoch, so that `prefetcher.fit` can go on.

    It is the training's History too, so that what it saves is complete. Put it last in
    ``model.fit(train, callbacks=[..., backup])``: what comes after it is saved as it was before.
    Saving happens on the training thread, between two steps, and returns when it is on the disk.
    Where several processes train as one, give it to all of them: the first one writes, and all wait
    until it has.

    Args:
        folder: Where the last two backups are kept; made if it is not there. One for all processes.
        sequence: What the model is trained on.
        every: Steps (batches) from one backup to the next. 500 loses minutes at most, and costs
            under one percent of a small model's time, and some of a large one's (docs/resuming.md).
        callbacks: Callbacks whose counters are saved too, such as `EarlyStopping`.

    Raises:
        SettingsError: A setting cannot work.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        sequence: PrefetchSequence,
        *,
        every: int = 500,
        callbacks: Sequence[Any] = (),
    ) -> None:
        super().__init__()
        if every < 1:
            raise SettingsError(f"every={every}: write the number of steps between two backups")
        self.store = SharedStore(folder, lambda: sequence.shard)
        self._sequence = sequence
        self._every = every
        self._others = list(callbacks)
        self._counters = Counters(())
        self._epoch = self._step = 0
        self._before = 0  # batches of this iteration that were trained before this epoch
        self._unsaved = 0
        self._at_end: dict[str, Any] | None = None
        self._exit = False

    def request_exit(self) -> None:
        """Saves after the step that runs now, then raises ``SystemExit(75)``.

        At an epoch's last step and in validation it waits for the epoch's end. Where several
        processes train as one, all of them leave after the next backup that is due, because they
        are asked at different steps. For signal handlers: it only sets a flag.
        """
        self._exit = True

    def hold(self, **terms: Any) -> None:
        """Takes the folder, before training begins. Where several processes train, all call it.

        Args:
            terms: What must be the same in all of them, beside what this was made with.

        Raises:
            FileBusyError: Another training has this folder.
            FileError: The folder cannot be written.
            StateError: The processes do not see one folder.
            SettingsError: They do not train the same.
        """
        self.store.hold(lambda: {**self._terms(), **terms})

    def on_train_begin(self, logs: Any = None) -> None:
        """For Keras: takes the folder, and remembers what the callbacks begin with.

        Raises:
            FileBusyError: Another training has this folder.
            FileError: The folder cannot be written.
            StateError: The processes do not see one folder.
            SettingsError: They do not train the same, or have parts of the model only.
        """
        super().on_train_begin(logs)
        self.hold()
        variables.refuse_split(self.model)
        self._counters = Counters(self._others)
        self._before = 0

    def on_train_end(self, logs: Any = None) -> None:
        """For Keras: lets the folder go."""
        super().on_train_end(logs)
        self.store.release()

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """For Keras: an epoch begins, or goes on."""
        super().on_epoch_begin(epoch, logs)
        self._epoch, self._step, self._at_end = epoch, 0, None

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002 - Keras's
        """For Keras: `batch` is the number of the last one trained in this epoch, from 0."""
        self._unsaved += batch + 1 - self._step
        self._step = batch + 1
        if self._last_of_epoch:
            # Asked now: once the epoch has ended, the sequence may be on its next pass.
            self._at_end = self._place()
        elif self._unsaved >= self._every or (self._exit and self._alone):
            self._save(self._epoch, self._step, self._place())

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """For Keras: the epoch is over, its validation too."""
        super().on_epoch_end(epoch, logs)
        place = self._at_end or self._place()
        self._before = 0 if place["trained"] == 0 else self._before + self._step
        self._save(epoch + 1, 0, place)

    def begin(self) -> Saved:
        """What a training begins with that was never saved: the sequence's place, no values."""
        return Saved(self._facts(0, 0, self._sequence.state_dict(trained=0)), {})

    def put_back(self, saved: Saved, *, metrics: bool = False) -> None:
        """Puts variables, counters and the History back, on a model that `build` has seen.

        Args:
            saved: What this or an earlier process saved.
            metrics: Whether the metrics' sums go back too: in mid-epoch, after Keras's reset.
        """
        facts, arrays = saved
        self._step = facts["step"]
        self._before = -facts["step"]
        self._unsaved = 0
        if not arrays:
            return
        variables.write(self.model, arrays, metrics=metrics)
        variables.write_dice(arrays)
        self._counters.thaw(facts["counters"], arrays)
        self.epoch = thaw(facts["epochs"], arrays)
        self.history = thaw(facts["history"], arrays)

    @property
    def _last_of_epoch(self) -> bool:
        steps = self.params.get("steps") if self.params else None
        return self._trained >= len(self._sequence) or (steps is not None and self._step >= steps)

    @property
    def _alone(self) -> bool:
        return self.store.group.count == 1

    @property
    def _trained(self) -> int:
        """Batches of this iteration; Keras counts whole executions, also where a pass ends."""
        return min(self._before + self._step, len(self._sequence))

    def _place(self) -> dict[str, Any]:
        return self._sequence.state_dict(trained=self._trained)

    def _save(self, epoch: int, step: int, place: dict[str, Any]) -> None:
        outcome = self.store.save(lambda: self._part(epoch, step, place))
        if outcome.stopped:  # by a callback here, or in another process: then all stop
            self.model.stop_training = True
        self._unsaved = 0
        if outcome.exit or (self._exit and self._alone):
            raise SystemExit(EXIT_CODE)

    def _part(self, epoch: int, step: int, place: dict[str, Any]) -> Part:
        model = self.model  # on JAX this syncs the state, so it is asked for only here
        facts = self._facts(epoch, step, place) | {"stopped": bool(model.stop_training)}
        arrays: dict[str, Any] = variables.read(model, metrics=step > 0) | variables.read_dice()
        own = variables.of_each_process(arrays)
        facts["counters"], counted = self._counters.freeze()
        facts["epochs"] = freeze(self.epoch, "epochs", arrays)
        facts["history"] = freeze(self.history, "history", arrays)
        return Part(facts, {**arrays, **counted}, own, self._exit)

    def _facts(self, epoch: int, step: int, place: dict[str, Any]) -> dict[str, Any]:
        return {"version": VERSION, "epoch": epoch, "step": step, "data": place, "stopped": False}

    def _terms(self) -> Terms:
        state = self._sequence.state_dict(trained=0)
        place = {"pass": state["pass"], "trained batches": state["trained"]}
        own = {"every": self._every, "pad_to": self._sequence.plan.pad_to}
        return {**own, **state["order"], **state["file"], **place}


def checked(saved: Saved) -> Saved:
    """The same backup, if this version can read it.

    Raises:
        StateError: It is of another version, or not made by `Backup`.
    """
    facts, arrays = saved
    if facts.get("version") != VERSION:
        raise StateError(
            f"the backup is of version {facts.get('version')!r:.40}, this package reads {VERSION}: "
            "go on with the version that wrote it, or begin anew in another folder"
        )
    match facts:
        case {"epoch": int(epoch), "step": int(step), "data": dict(), "stopped": bool()} if min(
            epoch, step
        ) >= 0 and (not arrays or _is_complete(facts, arrays)):
            return saved
    raise StateError(
        "the backup is whole, but not as this package writes them: begin anew in another folder"
    )


def _is_complete(facts: dict[str, Any], arrays: Arrays) -> bool:
    """Whether all that callbacks count can be put back."""
    match facts:
        case {"counters": dict(counters), "epochs": epochs, "history": history} if all(
            isinstance(counted, dict) for counted in counters.values()
        ):
            for counted in counters.values():
                thaw({"dict": counted}, arrays)
            epochs, history = thaw(epochs, arrays), thaw(history, arrays)
            return isinstance(epochs, list) and isinstance(history, dict)
    return False
