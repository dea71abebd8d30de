"""What the plots have in common: colours, bare axes, and where they are kept."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

OURS, OTHERS, CEILING = "#c2571a", "#7d93a8", "#d9d9d9"


def colours(names: Iterable[str]) -> list[str]:
    """A bar's colour by its name: this package, its ceiling, anybody else."""
    return [
        OURS if name.startswith("ours") else CEILING if name == "replay" else OTHERS
        for name in names
    ]


def plain(axes: Any) -> None:
    """Small labels, and no frame where nothing is read off."""
    axes.tick_params(labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)


def kept(figure: Any, folder: Path, stem: str) -> Path:
    """Writes a figure as a picture; returns its path."""
    path = folder / f"{stem}.png"
    figure.savefig(path, dpi=130)
    return path
