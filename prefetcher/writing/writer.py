"""HDF5Writer: rows into a new HDF5 file, a step at a time, in memory that does not depend on it."""

from __future__ import annotations

import math
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from prefetcher.errors import ClosedError, DatasetError, SettingsError
from prefetcher.hdf5.attributes import Names, encode
from prefetcher.writing.codec import CodecName, check, storage_rows
from prefetcher.writing.growing import storable
from prefetcher.writing.partial import Layout, PartialFile
from prefetcher.writing.roles import attributes, is_name

Spec = tuple[tuple[int, ...], DTypeLike]
"""Shape and dtype of one row: ``((128, 128, 3), "uint8")``, ``((), "float32")`` for a number."""


class HDF5Writer:
    """Writes datasets that grow by whatever is appended, stored as `PrefetchSequence` likes them.

        with prefetcher.HDF5Writer("samples.h5", images=((64, 64), "uint8"), x="images") as out:
            out.append(images=batch)

    The file is called ``samples.h5.partial`` until the block ends well: then it is closed, a sample
    of its rows is read back, and it takes the place of ``samples.h5``. If the block raises, it is
    removed, and a ``samples.h5`` from before stays. At most a storage chunk (1 MiB) of each dataset
    is held in memory. One thread writes at a time.

    Args:
        path: The file to make.
        datasets: For each dataset the shape and dtype of one row. Names may have groups
            ("train/images"); datasets of the same group have equally many rows.
        codec: "none", "gzip", "lz4" or "zstd"; the last two need the package hdf5plugin. None by
            default: such files read fastest, and pictures seldom get much smaller.
        x: The dataset that holds the inputs, or several, so that `PrefetchSequence(path)` finds
            them; in a file of groups their names within each ("images" for "train/images" and
            "val/images", which are splits then). A shape and a dtype instead of a name make a
            dataset that is called "x".
        y: The targets, in the same way.
        more: More datasets, by keyword.

    Raises:
        SettingsError: No dataset was named, one has no usable shape or dtype, or x or y is none.
        FileError: The file cannot be made there.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        datasets: Mapping[str, Spec] | None = None,
        /,
        *,
        x: Names | Spec | None = None,
        y: Names | Spec | None = None,
        codec: CodecName = "none",
        **more: Spec,
    ) -> None:
        check(codec)
        parts: dict[str, Any] = {"x": x, "y": y}
        parts = {part: value for part, value in parts.items() if value is not None}
        names = {part: value for part, value in parts.items() if is_name(part, value)}
        more |= {part: value for part, value in parts.items() if part not in names}
        specs = {name.strip("/"): spec for name, spec in {**(datasets or {}), **more}.items()}
        if not specs:
            raise SettingsError("a file needs a dataset: write images=((128, 128, 3), 'uint8')")
        self._name = Path(path).name
        self._layouts = layouts(specs, codec)
        self._counts = dict.fromkeys(self._layouts, 0)
        says = names and attributes(self._name, self._layouts, names.get("x"), names.get("y"))
        self._partial = PartialFile.create(Path(path), self._layouts)
        self._open = True
        try:
            self._describe(says)
        except BaseException:
            self.discard()
            raise

    @property
    def rows(self) -> dict[str, int]:
        """Rows appended to each dataset so far."""
        return dict(self._counts)

    def append(self, rows: Mapping[str, ArrayLike] | None = None, /, **more: ArrayLike) -> None:
        """Writes rows behind those that are there.

        Args:
            rows: For each dataset an array of shape (rows, ...). Every dataset of a group is named,
                with equally many rows. Values that the dataset's dtype cannot hold are refused.
            more: More of them, by keyword.

        Raises:
            DatasetError: Names, shapes, numbers of rows or values do not fit; nothing was written.
            FileError: The disk is full, or the file cannot be written.
            ClosedError: The file was closed.
        """
        self._check_open()
        given = {name.strip("/"): value for name, value in {**(rows or {}), **more}.items()}
        self._check_names(given)
        fitting = {name: self._fitting(name, value) for name, value in given.items()}
        self._check_lengths(fitting)
        for name, array in fitting.items():
            self._partial.append(name, array)
            self._counts[name] += len(array)

    def _describe(self, says: Mapping[str, Mapping[str, Any]]) -> None:
        if says:
            about = {"prefetcher_version": version("prefetcher")}
            for group, said in {**says, "": {**says[""], **about}}.items():
                self._partial.set_attributes(group, encode(said))

    def _check_open(self) -> None:
        if not self._open:
            raise ClosedError(f"{self._name} was closed: write within the with block")

    def _check_names(self, given: Mapping[str, ArrayLike]) -> None:
        groups = {_group(name) for name in given}
        wanted = {name for name in self._layouts if _group(name) in groups}
        if not given or set(given) != wanted:
            raise DatasetError(
                f"rows for {', '.join(given) or 'nothing'} were given, {self._name} takes them for "
                f"{', '.join(wanted or self._layouts)}: datasets of a group grow together"
            )

    def _fitting(self, name: str, value: ArrayLike) -> NDArray[Any]:
        layout = self._layouts[name]
        rows = np.asarray(value)
        if rows.shape[1:] != layout.shape or not rows.ndim:
            raise DatasetError(
                f"rows of {name} have the shape {layout.shape}, so append an array of shape "
                f"{('rows', *layout.shape)}, not {rows.shape}".replace("'", "")
            )
        return cast(name, rows, layout.dtype)

    def _check_lengths(self, rows: Mapping[str, NDArray[Any]]) -> None:
        for group, names in _by_group(rows).items():
            lengths = {name: len(rows[name]) for name in names}
            if len(set(lengths.values())) > 1:
                found = ", ".join(f"{length} rows of {name}" for name, length in lengths.items())
                raise DatasetError(
                    f"{found}: datasets of {'group ' + group if group else 'a file'} get equally "
                    "many rows in every append"
                )

    def set_attributes(self, attributes: Mapping[str, str], place: str = "") -> None:
        """Sets attributes of a group or dataset; "" is the file itself.

        Raises:
            ClosedError: The file was closed.
        """
        self._check_open()
        self._partial.set_attributes(place, attributes)

    def close(self) -> None:
        """Ends the file and gives it its name. A second call does nothing.

        Raises:
            CorruptError: The rows that were read back are not those that were written.
            FileError: The disk is full, or the file cannot be written.
        """
        if not self._open:
            return
        self._open = False
        try:
            self._partial.commit()
        except BaseException:
            self._partial.discard()
            raise

    def discard(self) -> None:
        """Gives the file up: nothing of it stays. After `close` this does nothing."""
        if self._open:
            self._open = False
            self._partial.discard()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.close()
        else:
            self.discard()


def layouts(specs: Mapping[str, Spec], codec: CodecName) -> dict[str, Layout]:
    """How datasets with such rows are stored: those of a group in storage chunks of as many rows.

    Raises:
        SettingsError: A shape or a dtype cannot be stored.
    """
    checked = {name: _checked(name, spec) for name, spec in specs.items()}
    found: dict[str, Layout] = {}
    for names in _by_group(checked).values():
        kinds = [checked[name] for name in names]
        nbytes = sum(dtype.itemsize * math.prod(shape) for shape, dtype in kinds)
        for name in names:
            found[name] = Layout(*checked[name], storage_rows(nbytes), codec)
    return found


def _checked(name: str, spec: Spec) -> tuple[tuple[int, ...], np.dtype[Any]]:
    try:
        shape, kind = spec
        dtype = np.dtype(kind)
        row = tuple(int(extent) for extent in shape)
    except (TypeError, ValueError) as error:
        raise SettingsError(
            f"{name}={spec!r}: write the shape and the dtype of one row, as in "
            f"{name}=((128, 128, 3), 'uint8')"
        ) from error
    if any(extent < 1 for extent in row) or not storable(dtype):
        raise SettingsError(
            f"{name}={spec!r}: a row has a fixed size, so write positive extents and a dtype such "
            "as 'uint8', 'float32' or 'S32'"
        )
    return row, dtype


def cast(name: str, rows: NDArray[Any], dtype: np.dtype[Any]) -> NDArray[Any]:
    """The rows as `dtype`: rounding of floats is fine, other values must stay what they are.

    Raises:
        DatasetError: Values would change.
    """
    if rows.dtype == dtype or (rows.dtype.kind == dtype.kind == "f"):
        return rows.astype(dtype, copy=False)
    try:
        with np.errstate(invalid="ignore", over="ignore"):
            turned = rows.astype(dtype)
        same = turned == rows
        if rows.dtype.kind in "fc" and dtype.kind in "fc":
            same |= np.isnan(turned) & np.isnan(rows)
        kept = bool(same.all())
    except (TypeError, ValueError):  # there is no way from the one to the other
        kept = False
    if not kept:
        raise DatasetError(
            f"{name} is {dtype}, which cannot hold every value of these {rows.dtype} rows: "
            "round or scale them first, or give the dataset another dtype"
        )
    return turned


def _group(name: str) -> str:
    return name.rpartition("/")[0]


def _by_group(names: Iterable[str]) -> dict[str, list[str]]:
    groups = defaultdict[str, list[str]](list)
    for name in names:
        groups[_group(name)].append(name)
    return groups


def write_steps(path: Path, steps: Iterable[Mapping[str, NDArray[Any]]]) -> int:
    """Writes datasets whose shapes and dtypes are those of the first step.

    Args:
        path: The file to make, as by `HDF5Writer`.
        steps: For each dataset its next rows. Every step names the same datasets, with equally
            many rows in each; there is at least one.

    Returns:
        How many rows were written.

    Raises:
        SettingsError: There is no step.
        FileError: The file cannot be written.
    """
    steps = iter(steps)
    first = next(steps, {})
    specs = {name: (rows.shape[1:], rows.dtype) for name, rows in first.items()}
    with HDF5Writer(path, specs) as out:
        out.append(first)
        for step in steps:
            out.append(step)
    return max(out.rows.values())
