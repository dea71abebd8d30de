"""What the user asked for: frozen, checked at construction."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from prefetcher.arguments import flag
from prefetcher.errors import SettingsError
from prefetcher.hdf5.attributes import Names
from prefetcher.messages.suggestions import did_you_mean
from prefetcher.messages.wording import written
from prefetcher.picture import CHANNELS, RESIZES, Color, Resize
from prefetcher.writing.codec import CODECS, CodecName, check

OnError = Literal["fail", "skip"]


@dataclass(frozen=True, slots=True)
class Options:
    """The settings of a conversion; `prefetcher.convert` tells what each one means."""

    x: Names | None = None
    y: Names | None = None
    size: tuple[int, int] | None = None
    resize: Resize = "stretch"
    color: Color = "rgb"
    labels: Path | None = None
    path_col: str | None = None
    label_cols: tuple[str, ...] = ()
    axis: int | Mapping[str, int] = 0
    length: int | None = None
    fill: float = 0
    mask: bool = False
    codec: CodecName | Literal["auto"] | None = None
    split: Mapping[str, float] | None = None
    shuffle: bool = False
    seed: int = 0
    on_error: OnError = "fail"
    workers: int | None = None
    shards: int | None = None
    resume: bool = False
    allow_external: bool = False

    def __post_init__(self) -> None:
        _one_of("resize", self.resize, RESIZES)
        _one_of("color", self.color, tuple(CHANNELS))
        _one_of("on_error", self.on_error, ("fail", "skip"))
        if self.codec is not None:
            _one_of("codec", self.codec, (*CODECS, "auto"))
        if self.codec not in (None, "auto"):
            check(self.codec)
        for name in ("shuffle", "resume", "allow_external", "mask"):
            object.__setattr__(self, name, flag(name, getattr(self, name)))
        self._check_size()
        self._check_axis()
        self._check_split()
        for name in ("workers", "shards", "length"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise SettingsError(f"{written(name, value)}: write 1 or more")
        if self.length is None and (self.mask or self.fill):
            raise SettingsError(
                f"{written('fill')} and {written('mask')} are of rows of variable length: write "
                f"{written('length')} too"
            )
        if self.labels is None and (self.path_col or self.label_cols):
            raise SettingsError(
                f"{written('path_col')} and {written('label_cols')} are columns of a table: write "
                f"{written('labels')} too"
            )
        if not 0 <= self.seed < 2**64:
            raise SettingsError(f"{written('seed', self.seed)}: write a number from 0 to 2**64 - 1")

    def _check_size(self) -> None:
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 1):
            raise SettingsError(
                f"{written('size', self.size)}: write height and width, as in "
                f"{written('size', (128, 128))}"
            )

    def _check_axis(self) -> None:
        given: tuple[object, ...] = (self.axis,)
        if isinstance(self.axis, Mapping):
            given = tuple(self.axis.values())
        if not all(isinstance(each, int | np.integer) and each is not True for each in given):
            raise SettingsError(
                f"{written('axis', self.axis)}: write a whole number, or one for each name"
            )

    def _check_split(self) -> None:
        if self.split is None:
            return
        bad = [name for name in self.split if not name or "/" in name or name in (".", "..")]
        fractions = self.split.values()
        if bad or not self.split or min(fractions) <= 0 or not math.isclose(sum(fractions), 1):
            raise SettingsError(
                f"{written('split', self.split)}: write names and shares that add up to 1, as in "
                f"{written('split', {'train': 0.8, 'val': 0.2})}"
            )

    @property
    def arguments(self) -> dict[str, Any]:
        """Those that decide what is in the file, for its attributes: no paths, no workers."""
        return {
            "size": self.size,
            "resize": self.resize,
            "color": self.color,
            "labels": self.labels and self.labels.name,
            "path_col": self.path_col,
            "label_cols": self.label_cols,
            "axis": dict(self.axis) if isinstance(self.axis, Mapping) else self.axis or None,
            "length": self.length,
            "fill": self.fill if self.length else None,
            "mask": self.mask,
            "codec": self.codec,
            "split": self.split and dict(self.split),
            "shuffle": self.shuffle,
            "seed": self.seed,
            "on_error": self.on_error,
            "shards": self.shards,
        }


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        meant = did_you_mean(str(value).replace("gray", "grey"), known)
        raise SettingsError(f"{written(name, value)}: write one of {', '.join(known)}{meant}")
