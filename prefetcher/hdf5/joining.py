"""One dataset out of those of several files or groups, whose rows follow each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from prefetcher.columns.ragged import shown
from prefetcher.errors import DatasetError
from prefetcher.hdf5.dataset import Csr, Dataset


def joined(
    name: str, parts: Sequence[Dataset], files: Sequence[int], where: Callable[[int], str]
) -> Dataset:
    """What each shard has of a dataset, as one.

    Args:
        name: What it is called then.
        parts: The dataset of each shard, at least one.
        files: The file of each, by its number.
        where: Names one of the shards, for a message.

    Raises:
        DatasetError: Their rows differ.
    """
    first = parts[0]
    for shard, other in enumerate(parts):
        if other is not first and _kind(other) != _kind(first):
            raise DatasetError(
                f"{name} has rows of {shown(other.dtype)} {other.row_shape} in {where(shard)}, but "
                f"of {shown(first.dtype)} {first.row_shape} in {where(0)}: files of one data set "
                "need rows of one kind"
            )
    return replace(
        first,
        name=name,
        shape=(sum(part.shape[0] for part in parts), *first.row_shape),
        stored_bytes=sum(part.stored_bytes for part in parts),
        # Of each file once, however many of its groups have a part.
        heap_bytes=sum(dict(zip(files, (part.heap_bytes for part in parts), strict=True)).values()),
        csr=_joined_csr([part.csr for part in parts], files, where),
    )


def _kind(dataset: Dataset) -> tuple[object, ...]:
    """What rows of all files must have in common."""
    return dataset.dtype, dataset.elements, dataset.row_shape


def _joined_csr(
    groups: Sequence[Csr | None], files: Sequence[int], where: Callable[[int], str]
) -> Csr | None:
    found = [group for group in groups if group is not None]
    if len(found) < len(groups) or not found:
        return None
    data, indices, indptr = (
        joined(parts[0].name, parts, files, where)
        for parts in zip(*map(_datasets_of, found), strict=True)
    )
    return Csr(data, indices, indptr, found[0].said)


def _datasets_of(group: Csr) -> tuple[Dataset, Dataset, Dataset]:
    return group.data, group.indices, group.indptr
