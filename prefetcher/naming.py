"""Which datasets x, y and sample_weight are: as the user wrote, as the file says, in a split."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from prefetcher.batch import flatten, not_numbers
from prefetcher.config import DEFAULT_X, DEFAULT_Y, Settings
from prefetcher.errors import DatasetError, NoDatasetError, UnsafeFileError
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.hdf5.describe import Dataset, FileDescription
from prefetcher.hdf5.shards import Shards
from prefetcher.messages.suggestions import listed, missing


def named(settings: Settings, shards: Shards) -> Settings:
    """The same settings with the paths of datasets that are there, and no split.

    Raises:
        NoDatasetError: A file has no dataset or no split of that name; the message names the
            parameter.
        DatasetError: A dataset cannot be cut into batches, its rows differ between the files, or
            it holds no numbers and there is no transform to make them.
        UnsafeFileError: A dataset lies outside the file, and `allow_external` is False.
    """
    first = shards.files[0]
    split = settings.split
    if split is not None:
        _check_split(split, first)
        settings = _within(split, settings)
    settings = _with_own_names(settings, first, split or "")
    for part in ("x", "y", "sample_weight"):
        for name in flatten(getattr(settings, part)):
            if name is not None:
                dataset = _check(part, name, shards)
                if settings.transform is None:
                    _check_numbers(f"{part}={name!r}", dataset, shards.name)
    return settings


def _within(split: str, settings: Settings) -> Settings:
    """The names as paths from the file's root."""

    def path(names: Any) -> Any:
        if isinstance(names, dict):
            return {key: path(name) for key, name in names.items()}
        if isinstance(names, tuple):
            return tuple(map(path, names))
        return names and f"{split}/{names}"

    parts = {part: path(getattr(settings, part)) for part in ("x", "y", "sample_weight")}
    return replace(settings, split=None, **parts)


def _with_own_names(settings: Settings, file: FileDescription, group: str) -> Settings:
    """Names that were left out, as the file or the split itself has them."""
    default_x, default_y = (f"{group}/{name}" if group else name for name in (DEFAULT_X, DEFAULT_Y))
    if settings.x != default_x:
        return settings
    own = read_attributes(
        file.path,
        group,
        allow_external=settings.allow_external,
        retries=settings.retries,
        swmr=settings.swmr,
    )
    called_so = any(dataset.name == default_x for dataset in file.datasets)
    if own.x is None or (called_so and own.x != default_x):
        return settings
    return replace(settings, x=own.x, y=own.y if settings.y == default_y else settings.y)


def _check_split(split: str, file: FileDescription) -> None:
    groups = dict.fromkeys(
        dataset.name.rpartition("/")[0] for dataset in file.datasets if "/" in dataset.name
    )
    listed = any(f"{group}/".startswith(f"{split}/") for group in groups)
    if not listed and not file.has_group(split):
        have = {group: group for group in groups}
        raise NoDatasetError(f"split={split!r}: {missing('group', split, file.path.name, have)}")


def _check(part: str, name: str, shards: Shards) -> Dataset:
    try:
        return shards.dataset(name)
    except NoDatasetError as error:
        told = _splits(name, shards.files[0]) or str(error)
        raise NoDatasetError(f"{part}={name!r}: {told}") from None
    except (DatasetError, UnsafeFileError) as error:
        raise type(error)(f"{part}={name!r}: {error}") from None


def _check_numbers(named: str, dataset: Dataset, file: str) -> None:
    """Refuses here what Keras would refuse in mid-fit, whatever the backend."""
    if found := not_numbers(dataset.dtype):
        raise DatasetError(
            f"{named}: {dataset} in {file} holds {found}, and Keras takes numbers and booleans: "
            "pass a transform that returns these, or name another dataset"
        )


def _splits(name: str, file: FileDescription) -> str:
    """What to write for a file that `prefetcher convert` has split; "" for any other."""
    splits = read_attributes(file.path, swmr=file.swmr).splits
    if not splits or name.partition("/")[0] in splits:
        return ""
    return (
        f"no dataset {name!r} in {file.path.name}, which is split into {listed(splits)}: "
        f"write split={splits[0]!r}"
    )
