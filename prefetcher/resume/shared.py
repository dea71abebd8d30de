"""The backups of one training in however many processes: the first one writes, all read them.

The others are told which backup is the newest and open it by that name, because a network file
system may show them an older list of the folder's files.
"""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from typing import Any, NamedTuple

from prefetcher.errors import FileError, SettingsError, StateError
from prefetcher.order.shard import Shard
from prefetcher.resume import mark
from prefetcher.resume.store import Arrays, Saved, Store
from prefetcher.resume.together import Group, Note, group_of

Terms = Mapping[str, Any]
"""What must be the same in all processes, by the name that the user knows it by."""

_ONE_FOLDER = "give all processes one folder that all their machines see"


class Part(NamedTuple):
    """What one process brings to a backup.

    Attributes:
        facts: As for `Store.save`; "epoch", "step" and "data" are the same in all processes.
        arrays: As for `Store.save`. Those of the first process are kept.
        own: Names of arrays that each process has for itself. They are kept for each.
        exit: Whether this process was asked to end.
    """

    facts: dict[str, Any]
    arrays: Arrays
    own: Sequence[str] = ()
    exit: bool = False


class Outcome(NamedTuple):
    """What the processes agreed on with a backup.

    Attributes:
        stopped: In one of them, a callback ended the training.
        exit: One of them was asked to end.
    """

    stopped: bool
    exit: bool


class SharedStore:
    """The backups of one training, for all of its processes. All call it at the same places.

    Args:
        folder: Made if it is not there. All processes see the same one.
        shard: Gives this process's share of the data; asked when training begins.
        find: Finds the processes that have the other shares.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        shard: Callable[[], Shard],
        find: Callable[[Shard], Group] = group_of,
    ) -> None:
        self._folder = Path(folder)
        self._store = Store(folder)
        self._shard = shard
        self._find = find
        self.group = Group()

    def hold(self, terms: Callable[[], Terms]) -> None:
        """Makes the folder this training's until `release`, or until the first process ends.

        Args:
            terms: Asked for only where there are several processes.

        Raises:
            FileBusyError: Another training has this folder.
            FileError: The folder cannot be made or written.
            StateError: The processes do not see one folder.
            SettingsError: The processes do not fit together.
        """
        self.group = self._find(self._shard())
        if self.group.count > 1:
            self._compare(terms)
        try:
            self.group.agree(lambda: self._store.hold() if self._first else None)
            if self.group.count > 1:
                self._check_that_all_see_it()
        except BaseException:
            self.release()
            raise

    def release(self) -> None:
        """Lets others have the folder. Without a hold it does nothing."""
        self._store.release()  # the first process has the lock, the others have none

    def save(self, part: Callable[[], Part]) -> Outcome:
        """Keeps a backup; returns, in all processes, when it is on the disk.

        Args:
            part: Gives what this process has now.

        Raises:
            FileError: The folder cannot be written, or the disk is full; older backups stay.
            StateError: The processes are not at the same place.
        """
        mine, told = self.group.agree(part, _told)
        if differing := _differing([note["at"] for note in told]):
            raise StateError(
                f"the processes are not at the same step: {differing}. All must train the same "
                "number of batches, with the same callbacks"
            )
        outcome = Outcome(*(any(note[what] for note in told) for what in Outcome._fields))
        arrays = dict(mine.arrays)
        for index, note in enumerate(told[1:], start=1):
            arrays |= {_of(index) + name: array for name, array in note["own"].items()}
        facts = mine.facts | {"stopped": outcome.stopped}
        self.group.agree(lambda: self._store.save(facts, arrays) if self._first else None)
        return outcome

    def newest(self) -> Saved | None:
        """The newest backup that is whole, the same in all processes; None where there are none.

        Raises:
            StateError: There are backups, and not one is whole; or a process sees another one.
            OSError: A file cannot be read.
        """
        found, names = self.group.agree(
            lambda: self._store.newest_named() if self._first else None,
            lambda found: found and found[0],
        )
        name = names[0]
        if name is None:
            return None
        saved, told = self.group.agree(lambda: found[1] if found else self._named(name), _summary)
        if differing := _differing(told):
            raise StateError(
                f"the processes see different backups as {name} in {self._folder.name}: "
                f"{differing}: {_ONE_FOLDER}"
            )
        return Saved(saved.facts, _for_process(self.group.index, saved.arrays))

    @property
    def _first(self) -> bool:
        return self.group.index == 0

    def _compare(self, terms: Callable[[], Terms]) -> None:
        """Checks that all train the same, and that they have the whole of the data together."""
        shard = self._shard()
        _, told = self.group.agree(
            lambda: {**terms(), "the count of shares": shard.count},
            lambda found: [shard.index, found],
        )
        if differing := _differing([found for _, found in told]):
            raise SettingsError(
                f"the processes do not train the same: {differing}. Run the same script with the "
                "same settings and files in all of them"
            )
        missing = set(range(shard.count)) - {index for index, _ in told}
        if missing:
            raise SettingsError(
                f"none of {self.group.count} processes has shard=({min(missing)}, {shard.count}): "
                "give each a share of its own, or write shard='auto'"
            )

    def _check_that_all_see_it(self) -> None:
        """The first process leaves a mark in the folder, and all the others look for it."""
        _, told = self.group.agree(self._marked if self._first else str, str)
        try:
            self.group.agree(lambda: self._check_mark(told[0]))
        finally:
            if self._first:
                with suppress(OSError):
                    mark.remove(self._folder)

    def _marked(self) -> str:
        token = secrets.token_hex(16)
        try:
            mark.write(self._folder, token)
        except OSError as error:
            raise FileError(
                f"no backup can be written into {self._folder.name}: {error}"
            ) from error
        return token

    def _check_mark(self, token: str) -> None:
        if mark.read(self._folder) != token:
            raise StateError(
                f"{self._folder.name} is not the folder that process 0 writes to: {_ONE_FOLDER}"
            )

    def _named(self, name: str) -> Saved:
        saved = self._store.load(name)
        if saved is None:
            raise StateError(
                f"{name} in {self._folder.name} is whole for process 0, and not here: {_ONE_FOLDER}"
            )
        return saved


def _told(part: Part) -> Note:
    place = part.facts["data"]
    return {
        "at": {name: part.facts[name] for name in ("epoch", "step")}
        | {name: place[name] for name in ("pass", "trained")},
        "stopped": part.facts["stopped"],
        "exit": part.exit,
        "own": {name: part.arrays[name] for name in part.own},
    }


def _summary(saved: Saved) -> Note:
    """What tells one backup from another. Its content may be a stranger's."""
    facts = saved.facts
    digest = sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return {"epoch": facts.get("epoch"), "step": facts.get("step"), "checksum": digest[:16]}


def _differing(told: Sequence[Terms]) -> str:
    """The first thing that a process has otherwise than the first process, as text."""
    for index, terms in enumerate(told):
        for name, value in told[0].items():
            if terms.get(name) != value:
                return (
                    f"{name} is {value!r:.80} in process 0 and {terms.get(name)!r:.80} in "
                    f"process {index}"
                )
    return ""


def _of(index: int) -> str:
    """What the names of arrays begin with that are a later process's own."""
    return f"process {index}/"


def _for_process(index: int, arrays: Arrays) -> Arrays:
    """The arrays as this process had them: its own instead of the first process's."""
    common = {name: array for name, array in arrays.items() if not name.startswith("process ")}
    prefix = _of(index)
    own = {name: array for name, array in arrays.items() if name.startswith(prefix)}
    return common | {name.removeprefix(prefix): array for name, array in own.items()}
