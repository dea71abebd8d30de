"""How written storage chunks are compressed, and a measured choice between the ways to do it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Literal

import h5py
import numpy as np
from h5py._objects import phil
from numpy.typing import NDArray

from prefetcher.errors import SettingsError
from prefetcher.filters import plugins
from prefetcher.filters.decode import Decoder, why_left_to_hdf5
from prefetcher.hdf5.properties import stored_filters
from prefetcher.messages.wording import written

CodecName = Literal["none", "gzip", "lz4", "zstd"]
CODECS: tuple[CodecName, ...] = ("none", "gzip", "lz4", "zstd")

STORAGE_CHUNK_BYTES = 1 << 20
"""About 1 MiB to a storage chunk: from there on, a random read costs what a sequential one does."""

WORTH_ENCODING = 4096
"""Storage chunks of fewer bytes stay as they are: a call of a decoder costs more than it saves."""

FAST_ENOUGH = 500e6
"""Decoded bytes per second and core that a codec has to reach to be chosen: ten thousand pictures
of 128 x 128 a second, more than most models take."""
SMALL_ENOUGH = 1.1
"""Decoded bytes per stored byte from which on a codec is worth having."""

_ROUNDS = 3  # the best of them: the first one warms caches and clocks


def storage_rows(sample_bytes: int) -> int:
    """Rows of a storage chunk of about 1 MiB, at least one.

    Args:
        sample_bytes: Bytes of one row of every dataset together: as many rows to a storage chunk
            in each, so that a block of the plan is whole in all of them.
    """
    return max(1, STORAGE_CHUNK_BYTES // max(sample_bytes, 1))


def create_options(codec: CodecName, dtype: np.dtype[Any], chunk_bytes: int) -> Mapping[str, Any]:
    """The keywords that make `h5py.Group.create_dataset` use a codec.

    Raises:
        SettingsError: There is no such codec, or the package that has it is not installed.
    """
    check(codec)
    if codec == "none" or chunk_bytes < WORTH_ENCODING:
        return {}
    # The bytes of larger elements compress well once equal places lie together.
    shuffle = dtype.itemsize > 1
    if codec == "gzip":  # 4 is h5py's own default: more takes longer than it saves
        return {"compression": "gzip", "compression_opts": 4, "shuffle": shuffle}
    package: Any = plugins.register()
    return {**(package.LZ4() if codec == "lz4" else package.Zstd()), "shuffle": shuffle}


def check(codec: str) -> None:
    """Raises `SettingsError` unless rows can be written with this codec."""
    if codec not in CODECS:
        raise SettingsError(f"{written('codec', codec)}: write one of {', '.join(CODECS)}")
    if codec not in available():
        raise SettingsError(
            f"{written('codec', codec)} needs a package that is not installed: "
            f"pip install hdf5plugin, or write {written('codec', 'gzip')}"
        )


def available() -> tuple[CodecName, ...]:
    """The codecs that can be written here; lz4 and zstd come with the package hdf5plugin."""
    return CODECS if plugins.register() else ("none", "gzip")


@dataclass(frozen=True, slots=True)
class Trial:
    """What one codec made of a sample of the data."""

    codec: CodecName
    ratio: float
    """Decoded bytes for each stored byte."""
    decode_bytes_per_s: float
    """Decoded bytes per second on one core, with the decoder that reads the file later."""

    def __str__(self) -> str:
        speed = self.decode_bytes_per_s / 1e9
        return f"{self.codec} {self.ratio:.2f} to 1, decodes {speed:.2g} GB/s"


def measure(codec: CodecName, rows: NDArray[Any]) -> Trial:
    """Encodes rows in memory and decodes them again.

    Args:
        codec: Not "none".
        rows: A storage chunk or several of them, along the first axis.
    """
    together = min(len(rows), storage_rows(rows[0].nbytes))
    whole = rows[: len(rows) // together * together]
    chunk = (together, *rows.shape[1:])
    nbytes = whole.dtype.itemsize * math.prod(chunk)
    with h5py.File("sample", "w", driver="core", backing_store=False) as file:
        options = create_options(codec, whole.dtype, max(nbytes, WORTH_ENCODING))
        dataset = file.create_dataset("rows", data=whole, chunks=chunk, **options)
        file.flush()
        stored = dataset.id.get_storage_size()
        seconds = min(_decoding_seconds(dataset, nbytes) for _ in range(_ROUNDS))
    return Trial(codec, whole.nbytes / stored, whole.nbytes / seconds)


def _decoding_seconds(dataset: h5py.Dataset, nbytes: int) -> float:
    filters = stored_filters(dataset.id.get_create_plist())
    if why_left_to_hdf5(filters):
        started = perf_counter()
        dataset[...]
        return perf_counter() - started
    decoder = Decoder(filters, nbytes)
    seconds = 0.0
    for corner in range(0, len(dataset), dataset.chunks[0]):
        with phil:  # h5py takes its own lock here since 3.16 only
            mask, data = dataset.id.read_direct_chunk((corner, *[0] * (dataset.ndim - 1)))
        started = perf_counter()
        decoder.decode(np.frombuffer(data, np.uint8), mask)
        seconds += perf_counter() - started
    return seconds


def choose(rows: NDArray[Any]) -> tuple[CodecName, tuple[Trial, ...]]:
    """The codec for data like these rows: the smallest of those that decode fast enough."""
    trials = tuple(measure(codec, rows) for codec in available() if codec != "none")
    return best(trials), trials


def best(trials: Iterable[Trial]) -> CodecName:
    """The smallest of those that decode fast enough, "none" where that saves too little."""
    fast = (trial for trial in trials if trial.decode_bytes_per_s >= FAST_ENOUGH)
    small = [trial for trial in fast if trial.ratio >= SMALL_ENOUGH]
    return max(small, key=lambda trial: trial.ratio).codec if small else "none"
