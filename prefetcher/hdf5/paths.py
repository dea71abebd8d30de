"""Which files a path, a pattern, a manifest or a list of these stands for."""

from __future__ import annotations

import glob
import os
from functools import partial
from pathlib import Path

from prefetcher.arguments import File, Files
from prefetcher.errors import FileMissingError, SettingsError
from prefetcher.hdf5.describe import FileDescription, identify
from prefetcher.hdf5.manifest import is_manifest, read_manifest


def identified(
    files: Files, *, allow_external: bool = False, retries: int = 3, swmr: bool = False
) -> list[FileDescription]:
    """One file, those that a pattern matches (sorted) or a manifest names, or a list of these.

    They are not opened. The arguments are those of `prefetcher.hdf5.describe.identify`.

    Raises:
        FileError: A file is missing or cannot be used, or a pattern matches none.
        ReadError: The system could not read a file, also not after the retries.
        SettingsError: The list is empty, or a manifest is named with `swmr`.
    """
    look = partial(identify, allow_external=allow_external, retries=retries, swmr=swmr)
    found: list[FileDescription] = []
    for file in _listed(files):
        if is_manifest(file) and swmr:
            raise SettingsError(
                f"swmr=True: {Path(file).name} is a manifest, whose files no longer grow: leave "
                "swmr out, or name the files themselves"
            )
        if is_manifest(file):
            told = read_manifest(file).descriptions(allow_external=allow_external, retries=retries)
            found += [each if each.datasets else look(each.path) for each in told]
        else:
            found += map(look, _matching(file))
    return found


def paths_of(files: Files) -> list[Path]:
    """Where all of these files are. Raises as `identified`."""
    return [
        path
        for file in _listed(files)
        for path in (read_manifest(file).paths if is_manifest(file) else _matching(file))
    ]


def _listed(files: Files) -> list[File]:
    """The files, patterns and manifests that were named, at least one.

    Raises:
        SettingsError: The list is empty.
    """
    listed: list[File] = [files] if isinstance(files, str | os.PathLike) else list(files)
    if not listed:
        raise SettingsError(f"file={files!r}: name one file at least")
    return listed


def _matching(file: File) -> list[Path]:
    if Path(file).exists() or not glob.has_magic(str(file)):
        return [Path(file)]
    found = sorted(glob.glob(str(file), recursive=True))  # noqa: PTH207 - also absolute patterns
    if not found:
        raise FileMissingError(f"no file matches {str(file)!r}")
    return [Path(path) for path in found]
