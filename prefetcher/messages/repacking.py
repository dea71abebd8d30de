"""The `prefetcher convert` line that writes datasets anew, as a shell takes it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

_PLAIN = ("shuffle", "fletcher32")  # filters that make nothing smaller


def convert_line(
    path: Path,
    x: Sequence[str],
    y: Sequence[str],
    *,
    filters: Iterable[str],
    allow_external: bool = False,
    group: str = "",
    axes: Mapping[str, int] | None = None,
    options: Sequence[str] = (),
) -> str | None:
    """The line to paste; None where `convert` could not do it, or no shell would take it.

    Args:
        path: The file.
        x: Names of the inputs.
        y: Names of the targets, if there are any.
        filters: The filters of all of these; what is compressed stays so.
        allow_external: Whether the file may point outside itself.
        group: The group of the file that they are in, if the new file's name shall say so.
        axes: Of those whose rows do not lie along the first axis: along which.
        options: Other flags and their values, such as "--size".
    """
    names = [*x, *y]
    last_names = {name.rpartition("/")[2] for name in names}
    words = ["prefetcher", "convert", _word(path), _word(_free(path, group))]
    words += ["--x", *map(shlex.quote, x)]
    words += ["--y", *map(shlex.quote, y)] if y else []
    words += ["--axis", _axes(names, axes)] if axes else []
    words += list(options)
    words += ["--codec", "auto"] if any(name not in _PLAIN for name in filters) else []
    words += ["--allow-external"] if allow_external else []
    line = " ".join(words)
    unusual = any(name.startswith("-") for name in names) or not line.isprintable()
    unusual = unusual or any("," in name for name in axes or ())
    return None if unusual or len(last_names) < len(names) else line


def _axes(names: Sequence[str], axes: Mapping[str, int]) -> str:
    """One axis for all, or that of each name."""
    every = {axes.get(name, 0) for name in names}
    if len(every) == 1:
        return str(every.pop())
    return shlex.quote(",".join(f"{name}={axis}" for name, axis in axes.items()))


def _word(path: Path) -> str:
    """A path as the shell takes it, and not for a flag."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def _free(path: Path, group: str) -> Path:
    """A name beside the file that nothing has yet, and that says which group of it this is."""
    part = "".join(f"-{name}" for name in group.split("/") if name)
    for number in range(1, 1000):
        name = f"{path.stem}{part}-repacked{f'-{number}' if number > 1 else ''}.h5"
        if not path.with_name(name).exists():
            break
    return path.with_name(name)
