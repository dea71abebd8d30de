"""Columns of datasets whose samples do not lie along the first axis."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Self

from prefetcher.columns.column import Column, Stored, Value, whole
from prefetcher.errors import SettingsError

_NAMED = re.compile(r"(?P<name>.+)\[axis (?P<axis>-?\d+)\]")


@dataclass(frozen=True)
class Axis(Column):
    """Rows along another axis than the first: sample i is ``numpy.take(dataset, i, axis)``.

    A value has the other axes, in their order. MATLAB 7.3 files are the common case, because HDF5
    shows the axes of MATLAB in reverse order. A matrix with a sample in each row has them along
    the last axis here, and a vector of n numbers has the shape (1, n):

        x=Axis("features"), y=Axis("labels")     # (60000, 784) and (60000, 1) in MATLAB
        x="images", y=Axis("labels")             # images were (28, 28, 1, 60000): first here

    Columns of rows take it in place of a name: ``Window(Axis("series"), 24)``. Where only a name is
    taken, write "labels[axis -1]", as in ``balance="labels[axis -1]"``; messages write it so too.

    What it costs: rows are read as blocks of neighbours and turned in memory. Of a contiguous
    dataset each element of a row lies in another place of the file, so a block of k rows is one
    read of k elements for each of them, at some 4 us. Rows of 784 float32 come at 0.2 to 0.3 of the
    pace of rows that lie side by side, 12,288 bytes of a picture at 0.03: of those a warning and
    `inspect` print the line of `prefetcher convert` that turns them once and for all. Of storage
    chunks those are decoded that cover a block, each once, as for any dataset.

    Attributes:
        of: The dataset's name.
        axis: Along which the samples lie; the last by default.

    Raises:
        SettingsError: `of` is no name, or `axis` no whole number.
    """

    axis: int = -1

    def __post_init__(self) -> None:
        if not isinstance(self.of, str):
            what = "a string" if isinstance(self.of, Column) else f"not {type(self.of).__name__}"
            raise SettingsError(
                f"Axis(of={self.of}): write the name of a dataset, {what}; other columns stand "
                "around Axis, as in Window(Axis('series'), 24)"
            )
        object.__setattr__(self, "axis", whole(self, "axis"))

    @property
    def dataset(self) -> str:
        """The name of the turned dataset."""
        return along(str(self.of), self.axis)

    def value(self, stored: Stored) -> Value:
        """The row itself."""
        return self._inner(stored)

    def renamed(self, rename: Callable[[str], str | Column]) -> Self:
        """The same of another dataset."""
        of = rename(str(self.of))
        return replace(self, of=of if isinstance(of, str) else of.dataset)

    def __str__(self) -> str:
        return f"Axis({self.of!r}, {self.axis})"


def along(name: str, axis: int) -> str:
    """What a dataset is called whose rows lie along an axis: "images[axis -1]"."""
    return f"{name}[axis {axis}]" if axis else name


def parted(name: str) -> tuple[str, int | None]:
    """The dataset's own name and the axis, of such a name; None for any other."""
    found = _NAMED.fullmatch(name)
    return (found["name"], int(found["axis"])) if found else (name, None)
