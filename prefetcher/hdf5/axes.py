"""Datasets whose rows lie along another axis than the first, as if it were the first."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from prefetcher.columns.ragged import elements_of
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.index import moved

_SHORT_PIECE = 1024  # bytes: longer ones come at a third of the pace of whole rows, and more


def turned(dataset: Dataset, name: str, axis: int) -> Dataset:
    """The dataset with its rows along `axis`, as it is called then.

    One that cannot be turned is refused when its rows are wanted, with the reason.

    Args:
        dataset: As it is stored.
        name: What it is called then.
        axis: Along which its rows lie; negative from the last.
    """
    axes = len(dataset.shape)
    if dataset.refused or not axes:
        return replace(dataset, name=name)
    own = axis + axes if axis < 0 else axis
    if why := _why_not(dataset, axis, within=0 <= own < axes):
        return replace(dataset, name=name, refused=why)
    chunk = dataset.storage_chunk
    return replace(
        dataset,
        name=name,
        turned=dataset.path,
        axis=own,
        shape=moved(dataset.shape, own),
        storage_chunk=moved(chunk, own) if chunk else None,
    )


def to_turn(datasets: Sequence[Dataset]) -> tuple[int, list[str]]:
    """How many rows datasets would have alike if some were turned, and the names of these.

    0 rows where that is not so, or they have as many as they are.
    """
    ends = [{each.shape[:1], each.shape[-1:]} for each in datasets]
    alike = set.intersection(*ends) if ends else set()
    for extent in sorted(alike, reverse=True):
        names = [each.name for each in datasets if each.shape[:1] != extent]
        if names and extent[0] > 1 and not any(each.turned for each in datasets):
            return extent[0], names
    return 0, []


def why_slow(dataset: Dataset) -> str:
    """What it costs to read rows along another axis; "" where that is little."""
    piece = dataset.least_rows * dataset.piece_bytes
    if not dataset.axis or dataset.storage_chunk or piece >= _SHORT_PIECE:
        return ""
    count = dataset.row_bytes // max(dataset.piece_bytes, 1)
    return (
        f"its rows lie along axis {dataset.axis}, so that a row lies in {count:,} places of the "
        f"file. Each block of {dataset.least_rows} rows is read in as many pieces of {piece} "
        "bytes, and a disk reads 4096 for each"
    )


def _why_not(dataset: Dataset, axis: int, *, within: bool) -> str:
    """Why it has no rows along that axis; "" where it has."""
    if not within:
        return f"its shape is {dataset.shape}, which has no axis {axis}"
    if dataset.csr is not None:
        return "rows of a sparse matrix lie along no other axis than they are compressed by"
    if elements_of(dataset.dtype) is not None:
        return "its rows are of variable length, and lie along the first axis alone"
    return ""
