"""What HDF5 cannot store and memory cannot hold, told before anything is planned."""

from __future__ import annotations

import math
from collections.abc import Mapping

from prefetcher.conversion.options import Options
from prefetcher.conversion.source import Field, Source
from prefetcher.errors import DatasetError
from prefetcher.machine.limits import memory_allowed
from prefetcher.writing.names import check_names

_MOST_ROW_BYTES = (1 << 32) - 1
"""HDF5's largest storage chunk, and a storage chunk has a row at least."""
_PLANNED_BYTES, _DEALT_BYTES = 24, 40
"""Bytes of memory for the numbers of each row; the second where they are dealt out or shuffled."""


def check_fields(fields: Mapping[str, Field]) -> None:
    """Raises `DatasetError` if one of them cannot be a dataset, or not beside the others."""
    check_names(fields)
    for name, field in fields.items():
        nbytes = field.dtype.itemsize * math.prod(field.shape)
        if not nbytes:
            raise DatasetError(f"{name} has rows of shape {field.shape}, which are empty")
        if nbytes > _MOST_ROW_BYTES:
            raise DatasetError(
                f"a row of {name} has {nbytes / 1e9:.3g} GB, and HDF5 stores pieces of at most "
                "4.3 GB: cut the rows into smaller ones"
            )


def check_rows(source: Source, options: Options) -> None:
    """Raises `DatasetError` if so many rows cannot be planned in this machine's memory."""
    dealt = options.split or options.shuffle
    need = source.rows * (_DEALT_BYTES if dealt else _PLANNED_BYTES)
    if need > memory_allowed():
        raise DatasetError(
            f"{source.name} has {source.rows:,} rows, whose plan needs {need / 1e9:.3g} GB of "
            f"memory; this machine has {memory_allowed() / 1e9:.3g} GB: convert it in parts"
        )
