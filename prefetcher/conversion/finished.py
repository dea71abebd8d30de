"""Whether a file is what a conversion would make: then there is nothing to go on with."""

from __future__ import annotations

import json
from pathlib import Path

from prefetcher.conversion.options import Options
from prefetcher.conversion.plan import Plan, within
from prefetcher.conversion.source import Source
from prefetcher.errors import PrefetchError, SettingsError
from prefetcher.hdf5.attributes import read_attributes
from prefetcher.hdf5.describe import describe
from prefetcher.messages.wording import written
from prefetcher.writing.codec import CODECS


def rows_made(path: Path, groups: list[str], source: Source, plan: Plan, options: Options) -> int:
    """Rows in groups of a file that was made of this source with these settings; 0 for another.

    Names, shapes and settings are compared, the rows themselves are not.

    Raises:
        SettingsError: All is the same but the codec, so that to go on would replace the file.
    """
    try:
        said = read_attributes(path)
        datasets = {dataset.name: dataset for dataset in describe(path).datasets}
    except PrefetchError:
        return 0
    arguments = json.loads(json.dumps(options.arguments | {"codec": plan.codec}))
    codec = said.arguments.get("codec")
    same = (said.source, {**said.arguments, "codec": plan.codec}) == (source.name, arguments)
    if not same or codec not in CODECS:
        return 0
    rows = 0
    for group in groups:
        found = [datasets.get(within(group, name)) for name in plan.layouts]
        kinds = [(each.row_shape, each.dtype) if each else None for each in found]
        if kinds != [(layout.shape, layout.dtype) for layout in plan.layouts.values()]:
            return 0
        rows += found[0].rows if found[0] else 0
    if codec != plan.codec and options.codec != "auto":  # which measures, and may choose another
        raise SettingsError(
            f"{path.name} is finished and has the codec {codec}, not {plan.codec}: give "
            f"{written('codec', codec)}, or leave out {written('resume', value=True)} to make it "
            "anew"
        )
    return rows


def report_of(out: Path) -> Path:
    """Where a conversion tells what it left out."""
    return out.with_name(out.name + ".skipped.jsonl")


def left_out(out: Path) -> int:
    """Rows that the conversion that made `out` left out."""
    try:
        return len(report_of(out).read_bytes().splitlines())
    except OSError:
        return 0


def is_whole(rows: int, out: Path, plan: Plan) -> bool:
    """Whether so many rows, with those left out, are all that is planned."""
    return bool(rows) and rows + left_out(out) == plan.rows + len(plan.failures)
