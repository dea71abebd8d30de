"""Write down what is in many HDF5 files, so that a data set of them is opened at once."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefetcher.cli import output
from prefetcher.errors import SettingsError
from prefetcher.hdf5.manifest import Shard, is_manifest, is_written, shard_of, write_manifest
from prefetcher.hdf5.paths import paths_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="FILE",
        help="HDF5 files or patterns, in the order of their rows; or a manifest, to make it anew",
    )
    parser.add_argument(
        "-o", "--out", type=Path, required=True, metavar="OUT",
        help="the manifest, such as train.json, in the folder of the files",
    )  # fmt: skip
    parser.add_argument(
        "--checksums", action="store_true", help="read every file whole, for its SHA-256"
    )


def run(arguments: argparse.Namespace) -> None:
    """Looks into every file, writes the manifest and prints what it holds."""
    out: Path = arguments.out
    if not is_manifest(out):
        raise SettingsError(f"--out {out}: the name of a manifest ends with .json")
    paths = paths_of(arguments.files)
    output.keep_apart(paths, {"--out": out})
    _check_beside(out, paths)
    _check_replaceable(out)
    shards = []
    with output.progress("Looking into files", len(paths)) as advance:
        for path in paths:
            shards.append(shard_of(path, checksums=arguments.checksums))
            advance(1)
    write_manifest(out, shards)
    if arguments.json:
        output.write_json(_as_json(out, shards))
    else:
        output.data().print(_line(out, shards), markup=False, soft_wrap=True)


def _check_beside(out: Path, paths: Sequence[Path]) -> None:
    """A manifest leads to no other folder, whoever wrote it."""
    folder = out.parent.resolve()
    for path in paths:
        if path.parent.resolve() != folder:
            raise SettingsError(
                f"--out {out}: a manifest names files beside it, and {path} is not; write it into "
                f"{path.parent}"
            )


def _check_replaceable(out: Path) -> None:
    """Only a manifest is written over: other JSON may be somebody's settings."""
    if out.exists() and not is_written(out):
        raise SettingsError(
            f"--out {out}: there is a file of that name, and it is no manifest; write to another "
            "one, or remove it"
        )


def _as_json(out: Path, shards: Sequence[Shard]) -> dict[str, Any]:
    return {
        "manifest": str(out),
        "files": len(shards),
        "rows": sum(shard.rows for shard in shards),
        "bytes": sum(shard.nbytes for shard in shards),
        "datasets": _names(shards),
    }


def _names(shards: Sequence[Shard]) -> list[str]:
    return list(dict.fromkeys(each.name for shard in shards for each in shard.datasets))


def _line(out: Path, shards: Sequence[Shard]) -> str:
    found = _as_json(out, shards)
    return (
        f"{out}: {found['files']:,} files, {found['rows']:,} rows, {output.size(found['bytes'])}, "
        f"{len(found['datasets']):,} datasets"
    )
