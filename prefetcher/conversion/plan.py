"""What a conversion will do, worked out before anything is written."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.conversion.checks import check_fields, check_rows
from prefetcher.conversion.failures import Failures
from prefetcher.conversion.options import Options
from prefetcher.conversion.order import Portion, portions
from prefetcher.conversion.source import RowNumbers, Source
from prefetcher.errors import FileError
from prefetcher.hdf5.attributes import encode
from prefetcher.messages.wording import written
from prefetcher.writing.codec import CodecName, Trial, choose, measure, storage_rows
from prefetcher.writing.partial import Layout

_SAMPLE_CHUNKS = 3
"""Storage chunks that a codec is tried on, their rows drawn from all over the source."""
_METADATA_BYTES = 1 << 16
"""Of a file without rows, roughly; each storage chunk adds some bytes to its index."""
_INDEX_BYTES = 64


@dataclass(frozen=True)
class Plan:
    """What will be written, and whether it fits."""

    about: tuple[str, ...]
    """What was found in the source."""
    portions: tuple[Portion, ...]
    layouts: Mapping[str, Layout]
    """How each dataset of a portion is stored."""
    codec: CodecName
    why_codec: str
    trials: tuple[Trial, ...]
    """What codecs made of a sample of the data; empty if none was tried."""
    failures: Failures
    """Rows known to be unusable."""
    nbytes: int
    """Bytes that the file will have, about."""
    free_bytes: int
    """Bytes free on its disk."""
    fingerprint: str
    replaces: bool
    """Whether there is a file of that name already."""

    @property
    def rows(self) -> int:
        """Rows of all portions."""
        return sum(len(portion.rows) for portion in self.portions)

    @property
    def storage_rows(self) -> int:
        """Rows of a storage chunk, the same in every dataset."""
        return next(iter(self.layouts.values())).storage_rows

    def check(self, out: Path, rows_done: int = 0) -> None:
        """Raises `FileError` if what is left to write would not fit the disk.

        Args:
            out: The file to make.
            rows_done: Rows that lie on that disk already.
        """
        left = self.nbytes * (self.rows - rows_done) // self.rows
        if left > self.free_bytes:
            raise FileError(
                f"{out.name} needs {left / 1e9:.3g} GB and its disk has "
                f"{self.free_bytes / 1e9:.3g} GB free: free some, write to another disk, or write "
                f"a smaller size or {written('codec', 'auto')}"
            )

    def as_dict(self) -> dict[str, Any]:
        """The plan in JSON's types."""
        return {
            "found": self.about,
            "rows": {portion.name: len(portion.rows) for portion in self.portions},
            "datasets": {
                name: {
                    "shape": layout.shape,
                    "dtype": str(layout.dtype),
                    "storage_chunk": (layout.storage_rows, *layout.shape),
                }
                for name, layout in self.layouts.items()
            },
            "codec": self.codec,
            "why_codec": self.why_codec,
            "tried": [
                {
                    "codec": t.codec,
                    "ratio": round(t.ratio, 3),
                    "decode_bytes_per_s": round(t.decode_bytes_per_s),
                }
                for t in self.trials
            ],
            "bytes": self.nbytes,
            "free_bytes": self.free_bytes,
            "unusable": len(self.failures),
            "replaces": self.replaces,
        }


def make_plan(source: Source, out: Path, options: Options) -> Plan:
    """Looks at the source, deals out its rows and chooses how they are stored.

    Raises:
        FileError: Labels are unusable and not to be skipped, or a sample cannot be read.
        DatasetError: There are too few rows to split, or too many to plan; or HDF5 cannot store
            them.
    """
    check_fields(source.fields)
    check_rows(source, options)
    failures = Failures(options.on_error)
    failures.add(source.unusable)
    failures.check()
    usable = np.delete(np.arange(source.rows), list(source.unusable))
    strata = None if source.strata is None else source.strata[usable]
    dealt = portions(usable, strata, options.split, options.seed, shuffle=options.shuffle)
    row_bytes = sum(f.dtype.itemsize * math.prod(f.shape) for f in source.fields.values())
    codec, why, trials = _codec(source, usable, row_bytes, options)
    ratio = next((trial.ratio for trial in trials if trial.codec == codec), 1.0)
    together = min(storage_rows(row_bytes), max(len(portion.rows) for portion in dealt))
    return Plan(
        about=source.about,
        portions=dealt,
        layouts={
            name: Layout(each.shape, each.dtype, together, codec)
            for name, each in source.fields.items()
        },
        codec=codec,
        why_codec=why,
        trials=trials,
        failures=failures,
        nbytes=_file_bytes(dealt, row_bytes, together, ratio, len(source.fields)),
        free_bytes=_free_bytes(out),
        fingerprint=_fingerprint(source, options, codec),
        replaces=out.exists(),
    )


def _codec(
    source: Source, rows: RowNumbers, row_bytes: int, options: Options
) -> tuple[CodecName, str, tuple[Trial, ...]]:
    if options.codec in (None, "none"):
        return "none", "no codec reads faster, and pictures seldom get much smaller", ()
    sample = _sample(source, rows, row_bytes)
    if options.codec != "auto":
        return options.codec, "asked for", (measure(options.codec, sample),)
    codec, trials = choose(sample)
    why = (
        "the smallest of those that decode fast enough"
        if codec != "none"
        else ("none of them is both smaller and fast enough")
    )
    return codec, why, trials


def _sample(source: Source, rows: RowNumbers, row_bytes: int) -> NDArray[Any]:
    """Rows of the heaviest dataset, from all over the source, for some storage chunks."""
    count = min(len(rows), _SAMPLE_CHUNKS * storage_rows(row_bytes))
    spread = rows[np.linspace(0, len(rows) - 1, count).astype(np.int64)]
    loaded = source.part(spread).load()
    heaviest: NDArray[Any] = max(loaded.arrays.values(), key=lambda array: array.nbytes)
    if not len(heaviest):
        raise FileError(
            "none of the samples for choosing a codec can be read: write "
            f"{written('codec', 'none')}"
        )
    return heaviest


def _file_bytes(
    dealt: tuple[Portion, ...], row_bytes: int, together: int, ratio: float, datasets: int
) -> int:
    """Whole storage chunks: HDF5 stores the last one in full too."""
    chunks = sum(math.ceil(len(portion.rows) / together) for portion in dealt)
    data = chunks * together * row_bytes / ratio
    return round(data) + chunks * datasets * _INDEX_BYTES + _METADATA_BYTES


def _free_bytes(out: Path) -> int:
    folder = out.parent
    if not folder.is_dir():
        raise FileError(f"there is no folder {folder} for {out.name}: make it first")
    free = shutil.disk_usage(folder).free
    partial = out.with_name(out.name + ".partial")  # it is written over, or gone on with
    return free + (partial.stat().st_size if partial.is_file() else 0)


def _fingerprint(source: Source, options: Options, codec: CodecName) -> str:
    fields = {name: (f.shape, str(f.dtype)) for name, f in source.fields.items()}
    content = [source.fingerprint, fields, options.arguments, codec]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def attributes(
    source: Source, plan: Plan, options: Options, groups: Sequence[str]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What a file with these groups says about itself, by group or dataset ("" is the file)."""
    about = {
        "prefetcher_version": version("prefetcher"),
        "source": source.name,
        "arguments": options.arguments | {"codec": plan.codec},
        "splits": groups if any(groups) else None,
    }
    yield "", encode(about)
    for group in groups:
        yield group, encode({"x": source.x, "y": source.y})
        for dataset, names in source.class_names.items():
            yield within(group, dataset), encode({"class_names": names})
        for dataset, field in source.fields.items():
            if field.packed:
                yield within(group, dataset), field.packed


def within(group: str, dataset: str) -> str:
    """The path of a dataset in a group; "" is the file itself."""
    return f"{group}/{dataset}" if group else dataset
