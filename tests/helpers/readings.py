"""Reads files in a process of its own, as prefetcher does or as h5py alone does.

A damaged file may end the process that reads it, so `helpers.beside_h5py` runs this as a child:
``python -m helpers.readings ROLE RESULTS``, with the files as JSON on standard input. Every result
is a line of JSON in RESULTS, written at once, so that a crash tells how far the child came.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import math
import resource
import sys
import traceback
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.ragged import elements_of
from prefetcher.errors import PrefetchError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.describe import FileDescription, describe
from prefetcher.hdf5.source import Source

Bytes = NDArray[np.uint8]
Span = tuple[int, int]

MOST_BYTES = 8 << 20
"""Of a larger dataset only stretches are read, which hold about so many bytes."""
LARGEST_ROW = 64 << 20
LARGEST_SCRATCH = 1 << 30
MOST_NAMES = 2000
NO_CACHE = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""For the environment of the child: small blocks of memory are filled like large ones."""
_M_PERTURB = -6
_DIGEST = 16
ADDRESS_SPACE = 4 << 30
"""Beyond what the interpreter has: a request for more fails instead of filling the machine."""


def spans_of(rows: int, row_bytes: int) -> list[Span]:
    """The rows that are compared: all of a small dataset, stretches of a large one."""
    most = max(1, MOST_BYTES // max(row_bytes, 1))
    if rows <= most:
        return [(0, rows)]
    length = max(1, most // 8)
    rng = np.random.default_rng(rows)
    starts = {0, rows - length, *rng.integers(0, rows - length, 6).tolist()}
    spans: list[Span] = []
    for start in sorted(starts):
        begin = max(start, spans[-1][1] if spans else 0)
        if begin < start + length:
            spans.append((begin, start + length))
    return spans


def runs_within(span: Span, rng: np.random.Generator) -> list[Span]:
    """A few runs of rows in no order: single rows, short runs, the last row."""
    start, stop = span
    if start == stop:
        return []
    firsts = [*rng.integers(start, stop, 6).tolist(), stop - 1]
    return [(first, min(stop, first + int(rng.integers(1, 9)))) for first in firsts]


def ours(job: Mapping[str, Any], blobs: Path) -> Iterator[dict[str, Any]]:
    """What prefetcher gives for each dataset: its bytes, or an error."""
    base = _reset_peak()
    try:
        description = describe(job["path"], allow_external=job["allow_external"])
    except Exception as error:
        yield {"opening": _told(error), "grown": _peak() - base}
        return
    yield {"opening": None, "grown": _peak() - base}
    names = dict.fromkeys([*job["names"], *(data.name for data in description.datasets)])
    for at, name in enumerate(names):
        base = _reset_peak()
        try:
            answer = _our_rows(description, name, blobs / f"ours-{job['number']}-{at}")
        except Exception as error:
            answer = {"error": _told(error)}
        yield {"dataset": name, **answer, "grown": _peak() - base}


def _our_rows(description: FileDescription, name: str, blob: Path) -> dict[str, Any]:
    dataset = description.dataset(name)
    if dataset.row_bytes > LARGEST_ROW or dataset.scratch_bytes > LARGEST_SCRATCH:
        return {"large": True}
    if dataset.elements is not None:
        return _our_objects(description, dataset, blob)
    with closing(Source(description, [name], retries=0)) as source:
        spans = spans_of(dataset.rows, dataset.row_bytes)
        whole = _room(spans, dataset.row_bytes)
        source.expect(name, spans)
        source.read(name, spans, [whole])
        again = _in_random_runs(source, dataset, spans, whole)
        through_h5py = source.way_of(name) == "general"
    np.stack([whole, again]).tofile(blob)
    storage_chunk = dataset.row_bytes * dataset.storage_rows
    return {
        "blob": str(blob), "shape": dataset.shape, "dtype": str(dataset.dtype),
        "row_bytes": dataset.row_bytes, "way": "general" if through_h5py else dataset.way,
        "allowed": 4 * whole.nbytes + dataset.scratch_bytes + storage_chunk,
    }  # fmt: skip


def _our_objects(description: FileDescription, dataset: Dataset, blob: Path) -> dict[str, Any]:
    """Of rows of variable length a digest of each, in place of its bytes."""
    shape = (dataset.rows, *dataset.row_shape)
    whole, again = np.empty(shape, object), np.empty(shape, object)
    with closing(Source(description, [dataset.name], retries=0)) as source:
        source.objects(dataset.name, [(0, dataset.rows)], whole)
        again[...] = whole
        for start, stop in runs_within((0, dataset.rows), np.random.default_rng(0)):
            source.objects(dataset.name, [(start, stop)], again[start:stop])
    np.stack([_digests(whole), _digests(again)]).tofile(blob)
    return {
        "blob": str(blob), "shape": shape, "dtype": str(dataset.dtype),
        "row_bytes": _DIGEST * math.prod(dataset.row_shape), "way": "general",
        "allowed": 4 * dataset.rows * dataset.row_bytes + dataset.scratch_bytes,
    }  # fmt: skip


def _digests(rows: NDArray[np.object_]) -> Bytes:
    """A digest of each row: of its bytes, and of how many they are."""
    flat = [bytes(row) for row in rows.reshape(-1)]
    told = b"".join(sha256(b"%d " % len(row) + row).digest()[:_DIGEST] for row in flat)
    return np.frombuffer(told, np.uint8).reshape(len(rows), -1)


def _room(spans: Sequence[Span], row_bytes: int) -> Bytes:
    return np.full((sum(stop - start for start, stop in spans), row_bytes), 0xA5, np.uint8)


def _in_random_runs(source: Source, dataset: Dataset, spans: Sequence[Span], whole: Bytes) -> Bytes:
    """The same rows, some of them read once more: each to a place of its own, in no order."""
    again = whole.copy()
    rng = np.random.default_rng(zlib.crc32(dataset.name.encode("utf-8", "surrogateescape")))
    first = 0
    for span in spans:
        runs = runs_within(span, rng)
        rows = [row for start, stop in runs for row in range(start, stop)]
        places = [np.full((1, dataset.row_bytes), 0xA5, np.uint8) for _ in rows]
        source.read(dataset.name, runs, places)
        for row, place in zip(rows, places, strict=True):
            again[first + row - span[0]] = place[0]
        first += span[1] - span[0]
    return again


def alone(job: Mapping[str, Any], blobs: Path) -> Iterator[dict[str, Any]]:
    """What h5py alone gives: each dataset read over zeros and over ones.

    Bytes that differ between the two have no value in the file: padding, what was never written
    and has no fill value, and what HDF5 leaves as it finds it where a decoder stops short.
    """
    base = _reset_peak()
    try:
        file = h5py.File(job["path"], "r")
    except Exception as error:
        yield {"opening": _told(error), "grown": _peak() - base}
        return
    with file:
        found = [name for name, _ in datasets_of(file, follow=job["allow_external"])]
        yield {"opening": None, "grown": _peak() - base}
        for at, name in enumerate(found):
            try:
                answer = _rows_alone(file, name, blobs / f"h5py-{job['number']}-{at}")
            except Exception as error:
                answer = {"error": _told(error)}
            yield {"dataset": name, **answer}


def datasets_of(file: h5py.File, *, follow: bool) -> Iterator[tuple[str, h5py.Dataset]]:
    """Every path that h5py resolves to a dataset; external links only if they are to be followed.

    A group is not entered from within itself, as links may make circles.
    """
    groups: list[tuple[str, h5py.Group, frozenset[Any]]] = [("", file["/"], frozenset())]
    seen = 0
    while groups and seen < MOST_NAMES:
        prefix, group, above = groups.pop()
        for name in _names(group):
            seen += 1
            with suppress(Exception):
                if not follow and isinstance(group.get(name, getlink=True), h5py.ExternalLink):
                    continue
                item = group[name]
                key = h5py.h5o.get_info(item.id)
                place = (key.fileno, key.addr)
                if isinstance(item, h5py.Dataset):
                    yield prefix + name, item
                elif isinstance(item, h5py.Group) and place not in above:
                    groups.append((f"{prefix}{name}/", item, above | {place}))


def _names(group: h5py.Group) -> list[str]:
    try:
        return list(group)
    except Exception:
        return []


def _rows_alone(file: h5py.File, name: str, blob: Path) -> dict[str, Any]:
    dtype, shape = file[name].dtype, file[name].shape
    if shape and elements_of(dtype) is not None:
        both = [_digests(file[name][()]) for _ in range(2)]
        np.stack(both).tofile(blob)
        return {"blob": str(blob), "shape": shape, "dtype": str(dtype)}
    if not shape or dtype.hasobject:
        return {"uncompared": "no rows" if not shape else "objects"}
    row_bytes = dtype.itemsize * int(np.prod(shape[1:], dtype=object))
    if row_bytes > LARGEST_ROW:
        return {"uncompared": "large"}
    spans = spans_of(shape[0], row_bytes)
    both = []
    for filled in (0, 0xFF):
        _fill_new_memory(filled)
        rows = _room(spans, row_bytes)
        rows[...] = filled
        _read_alone(file[name], spans, rows)  # opened anew, so that nothing is remembered
        both.append(rows)
    np.stack(both).tofile(blob)
    return {"blob": str(blob), "shape": shape, "dtype": str(dtype)}


def _read_alone(dataset: h5py.Dataset, spans: Sequence[Span], rows: Bytes) -> None:
    first = 0
    for start, stop in spans:
        part = rows[first : first + stop - start]
        first += stop - start
        if not part.size:
            continue
        if dataset.dtype.subdtype:  # numpy has no array of such a type
            part[...] = np.frombuffer(dataset[start:stop].tobytes(), np.uint8).reshape(part.shape)
            continue
        typed = part.reshape(-1).view(dataset.dtype).reshape(stop - start, *dataset.shape[1:])
        dataset.read_direct(typed, np.s_[start:stop])


def _told(error: Exception) -> dict[str, Any]:
    return {
        "class": type(error).__name__,
        "own": isinstance(error, PrefetchError),
        "message": str(error)[:500],
        "stack": "".join(traceback.format_exception(error)[-3:])[-1500:],
    }


def _reset_peak() -> int:
    """Starts counting the peak of resident memory anew; the bytes that are resident now."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _peak()


def _peak() -> int:
    """The most bytes that were resident since; 0 where the system does not tell."""
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) << 10
    return 0


def _fill_new_memory(value: int) -> None:
    """Has glibc fill what it hands out; nothing elsewhere. `NO_CACHE` keeps blocks from escaping.

    So HDF5's uninitialised bytes are other ones each time, and are seen to have no value.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_PERTURB, value ^ 0x5A)


def _bound_memory() -> None:
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + ADDRESS_SPACE
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def _tell(results: Any, line: Mapping[str, Any]) -> None:
    results.write(json.dumps(line) + "\n")
    results.flush()


def main(role: str, results: Path) -> None:
    """Reads the files that standard input names, in the role of "ours" or "alone"."""
    jobs = json.load(sys.stdin)
    read = {"ours": ours, "alone": alone}[role]
    with suppress(OSError):  # where there is no /proc the time limit has to do
        _bound_memory()
    with results.open("a") as lines:
        for job in jobs:
            faulthandler.dump_traceback_later(job["limit_s"], exit=True)
            _tell(lines, {"file": job["number"], "begun": True})
            for line in read(job, results.parent):
                _tell(lines, {"file": job["number"], **line})
            _tell(lines, {"file": job["number"], "ended": True})
            faulthandler.cancel_dump_traceback_later()


if __name__ == "__main__":
    import hdf5plugin  # noqa: F401 - both roles have the same filters

    main(sys.argv[1], Path(sys.argv[2]))
