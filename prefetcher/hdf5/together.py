"""What belongs together in the files of several keys: their groups, and rows while they grow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from prefetcher.errors import DatasetError, SettingsError
from prefetcher.hdf5.describe import FileDescription
from prefetcher.hdf5.patterns import Match
from prefetcher.hdf5.stack import Stack
from prefetcher.messages.suggestions import listed

Stacks = Mapping[str, Stack]
"""Files by their keys."""


def only_groups(stacks: Stacks, key: str | None, groups: str | Sequence[str]) -> None:
    """Leaves out all groups but some, before anything is looked up.

    Args:
        stacks: The files.
        key: Where the dataset is; None for wherever there is one.
        groups: The path of a dataset that names groups, or the groups' own names.

    Raises:
        PrefetchError: The dataset is not there or cannot be read.
        SettingsError: It cannot be told which groups of the other files these are.
    """
    if not isinstance(groups, str):
        for stack in stacks.values():
            stack.only([groups] * len(stack.files))
        return
    keys = list(stacks) if key is None else [key]
    having = [each for each in keys if stacks[each].has(groups)] if len(keys) > 1 else keys
    named = {each: stacks[each].texts(groups) for each in having or keys[-1:]}
    first = next(iter(named))
    for each, stack in stacks.items():
        names = named.get(each, named[first])
        if len(names) == 1:
            names = names * len(stack.files)
        if len(names) != len(stack.files):
            raise SettingsError(
                f"groups={groups!r} is in {len(names)} files of {first}, and {each} has "
                f"{len(stack.files)}: pass the names of the groups, as in groups=['demo_0', "
                "'demo_7']"
            )
        stack.only(names)


def check_groups(stacks: Stacks) -> None:
    """Row i of two patterns belongs together only if they stand for the same groups.

    Raises:
        DatasetError: They do not, in the files of two keys.
    """
    found = {key: stack.group_names() for key, stack in stacks.items()}
    groups = {key: names for key, names in found.items() if names is not None}
    if not groups:
        return
    (first, expected), *others = groups.items()
    for key, names in others:
        if names != expected:
            raise DatasetError(
                f"the patterns of {first} stand for {_shown(expected)} in {stacks[first].name}, "
                f"and those of {key} for {_shown(names)} in {stacks[key].name}: patterns must "
                "match the same groups in the same order"
            )


def _shown(matches: Sequence[Match]) -> str:
    return f"{len(matches)} groups ({listed(['/'.join(match) for match in matches])})"


def level(
    stacks: Stacks, strides: Mapping[str, Mapping[str, int]]
) -> dict[str, tuple[FileDescription, ...]]:
    """The files of each key with those rows that all of some datasets have, as they may grow.

    Args:
        stacks: The files.
        strides: For each key, and each dataset in its files, how many rows a sample goes on by.

    Raises:
        SettingsError: A dataset is a pattern of groups, of which there may be more at any time; or
            the files of each key are not as many.
    """
    for key, names in strides.items():
        stacks[key].refuse_patterns(names)
    used = [key for key, names in strides.items() if names]
    if len({len(stacks[key].files) for key in used}) > 1:
        raise SettingsError(
            f"swmr=True: {listed(used)} have different numbers of files, so that nobody knows "
            "which rows belong together while they grow: name as many files for each"
        )
    found = {key: list(stack.files) for key, stack in stacks.items()}
    for number in range(len(stacks[used[0]].files) if used else 0):
        counts = [found[key][number].samples(strides[key]) for key in used]
        samples = min((count for count in counts if count is not None), default=0)
        for key in used:
            found[key][number] = found[key][number].level(strides[key], samples)
    return {key: tuple(files) for key, files in found.items()}
