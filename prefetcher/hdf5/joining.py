"""One dataset out of those of several files or groups, whose rows follow each other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from prefetcher.columns.ragged import shown
from prefetcher.errors import DatasetError
from prefetcher.hdf5.dataset import Csr, Dataset
from prefetcher.hdf5.widening import widest


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
    dtype = first.dtype
    for shard, other in enumerate(parts):
        wider = dtype if other.dtype == dtype else widest((dtype, other.dtype))
        if wider is None or (other is not first and _kind(other) != _kind(first)):
            raise DatasetError(
                f"{name} has rows of {_row(other, first)} in {where(shard)}, but of "
                f"{_row(first, other)} in {where(0)}: files of one data set need rows of one kind"
            )
        dtype = wider
    return replace(
        first,
        name=name,
        dtype=dtype,
        shape=(sum(part.shape[0] for part in parts), *first.row_shape),
        stored_bytes=sum(part.stored_bytes for part in parts),
        # Of each file once, however many of its groups have a part.
        heap_bytes=sum(dict(zip(files, (part.heap_bytes for part in parts), strict=True)).values()),
        csr=_joined_csr(name, [part.csr for part in parts], files, where),
    )


def _kind(dataset: Dataset) -> tuple[object, ...]:
    """What rows of all files must have in common, but for the width of whole numbers."""
    return dataset.elements, dataset.row_shape, dataset.csr is None


def _row(dataset: Dataset, beside: Dataset) -> str:
    sparse = " (sparse)" if dataset.csr and not beside.csr else ""
    return f"{shown(dataset.dtype)} {dataset.row_shape}{sparse}"


def _joined_csr(
    name: str, groups: Sequence[Csr | None], files: Sequence[int], where: Callable[[int], str]
) -> Csr | None:
    found = [group for group in groups if group is not None]
    if not found:
        return None
    data, indices, indptr = (
        joined(f"{name}/{part}", parts, files, where)
        for part, parts in zip(
            ("data", "indices", "indptr"), zip(*map(_datasets_of, found), strict=True), strict=True
        )
    )
    return Csr(data, indices, indptr, all(group.said for group in found))


def _datasets_of(group: Csr) -> tuple[Dataset, Dataset, Dataset]:
    return group.data, group.indices, group.indptr
