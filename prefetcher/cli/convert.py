"""Make an HDF5 file that is ready to train on: from pictures, arrays or another HDF5 file."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from time import monotonic
from typing import Any

from prefetcher.cli import output
from prefetcher.conversion.convert import Conversion, Converted
from prefetcher.conversion.options import Options
from prefetcher.conversion.plan import Plan
from prefetcher.errors import FileError
from prefetcher.machine.limits import cpus_allowed
from prefetcher.messages.wording import as_flags
from prefetcher.writing.codec import CODECS

PARTLY_DONE = 3
"""Exit code where something was left out."""
_SHOWN = 5
"""Sizes of pictures that a dry run names: whoever has more needs --size anyway."""
NOTE_SECONDS = 5.0
"""Between two notes on the rate: each is a line where no terminal watches."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds this command's options."""
    add = parser.add_argument
    add("source", type=Path, help="a folder of pictures, a .npy, .npz or HDF5 file")
    add("out", type=Path, help="the HDF5 file to make")
    add("--x", nargs="+", metavar="NAME", help="inputs, where the source has several arrays")
    add("--y", nargs="+", metavar="NAME", help="targets, where the source has several arrays")
    add("--size", nargs=2, type=output.at_least(1), metavar=("H", "W"), help="of the pictures")
    add("--resize", choices=("stretch", "pad", "crop"), help="how (default: stretch)")
    add("--color", metavar="{rgb,grey,rgba}", help="of the pictures (default: rgb)")
    add("--labels", type=Path, metavar="FILE", help="a CSV or JSONL table of labels")
    add("--path-col", metavar="NAME", help="its column of paths (default: the first)")
    add(
        "--label-col",
        dest="label_cols",
        action="append",
        metavar="NAME[:DTYPE]",
        help="a column of labels; may be given several times (default: all others)",
    )
    add(
        "--axis",
        type=_axis,
        metavar="N|NAME=N,...",
        help="of an HDF5 file: along which axis its samples lie, -1 for the last (default: 0)",
    )
    add(
        "--length",
        type=output.at_least(1),
        metavar="N",
        help="what rows of variable length in an HDF5 file are cut and filled to",
    )
    add("--fill", type=float, metavar="VALUE", help="what they are filled with (default: 0)")
    add("--mask", action="store_true", help="write NAME_mask too: where there is an element")
    add(
        "--codec",
        choices=(*CODECS, "auto"),
        help="auto measures (default: none; auto for sparse matrices, which are written dense)",
    )
    add("--split", type=_split, metavar="NAME=SHARE,...", help="groups: train=0.8,val=0.2")
    add("--shuffle", action="store_true", help="write the rows in a shuffled order")
    add("--seed", type=output.at_least(0), metavar="N", help="of split and shuffle (default: 0)")
    add(
        "--shards",
        type=output.at_least(1),
        metavar="N",
        help="write N files and a manifest, for each split",
    )
    add(
        "--workers",
        type=output.at_least(1),
        metavar="N",
        help=f"(default: {cpus_allowed()}, the CPUs allowed)",
    )
    add("--on-error", choices=("fail", "skip"), help="over damaged pictures (default: fail)")
    add("--resume", action="store_true", help="go on with what a broken off run left")
    output.add_allow_external(parser)
    add("--dry-run", action="store_true", help="only print the plan")


def _split(text: str) -> dict[str, float]:
    try:
        pairs = (part.split("=") for part in text.split(","))
        return {name.strip(): float(share) for name, share in pairs}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: write train=0.8,val=0.2") from error


def _axis(text: str) -> int | dict[str, int]:
    try:
        if "=" not in text:
            return int(text)
        pairs = (part.rpartition("=") for part in text.split(","))
        return {name.strip(): int(axis) for name, _, axis in pairs}
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r}: write -1, or NAME=-1,NAME=-1") from error


def run(arguments: argparse.Namespace) -> int | None:
    """Plans, converts, and prints the result; returns the exit code where it is not 0."""
    with as_flags(), _conversion(arguments) as conversion:
        if arguments.dry_run:
            _dry_run(conversion, arguments)
            return None
        for line in plan_lines(conversion.plan):
            output.say(line)
        if conversion.is_finished:
            converted = conversion.run()
            output.say(f"{_names(converted)}: {_FINISHED}")
        else:
            with _progress(conversion.plan.rows) as advance:
                converted = conversion.run(progress=advance)
    if arguments.json:
        output.write_json(_as_json(conversion.plan, converted))
    else:
        for line in _result_lines(converted):
            output.data().print(line, markup=False, soft_wrap=True)
    return PARTLY_DONE if converted.skipped else None


_FINISHED = (
    "finished already, made of this source with these settings: nothing is left to do. Leave out "
    "--resume to make it anew"
)


def _conversion(arguments: argparse.Namespace) -> Conversion:
    return Conversion(arguments.source, arguments.out, _options(arguments))


def _dry_run(conversion: Conversion, arguments: argparse.Namespace) -> None:
    """Shows the plan, then raises what would keep the conversion from it."""
    sizes: list[tuple[tuple[int, int], int]] = []
    if conversion.needs_one_size:
        with output.progress("Looking at sizes", conversion.plan.rows) as advance:
            sizes = conversion.sizes(lambda more, _: advance(more))
    if arguments.json:
        output.write_json(
            conversion.plan.as_dict()
            | {
                "sizes": [
                    {"height": height, "width": width, "pictures": count}
                    for (height, width), count in sizes
                ]
            }
        )
    else:
        for line in (*plan_lines(conversion.plan), *_size_lines(sizes)):
            output.data().print(line, markup=False, soft_wrap=True)
        if conversion.is_finished:
            output.say(_FINISHED)
    conversion.check()
    if len(sizes) > 1 and arguments.on_error != "skip":
        raise FileError(
            f"the pictures have {len(sizes)} sizes: write --size H W, or --on-error skip to leave "
            "out all that differ from the first"
        )


def _size_lines(sizes: Sequence[tuple[tuple[int, int], int]]) -> Iterator[str]:
    if len(sizes) < 2:
        return
    shown = ", ".join(f"{height}x{width} {count:,}" for (height, width), count in sizes[:_SHOWN])
    others = sizes[_SHOWN:]
    more = f", and {len(others):,} others {sum(n for _, n in others):,}" if others else ""
    yield f"{len(sizes):,} sizes of pictures (height x width): {shown}{more}"


def _options(arguments: argparse.Namespace) -> Options:
    """What was given; `Options` has the defaults."""
    names = (field.name for field in fields(Options))
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    for name in ("x", "y"):
        if name in given:
            one, *more = given[name]
            given[name] = (one, *more) if more else one
    for name in ("size", "label_cols"):
        if name in given:
            given[name] = tuple(given[name])
    return Options(**given)


def plan_lines(plan: Plan) -> Iterator[str]:
    """The plan in words."""
    yield from plan.about
    groups = ", ".join(f"{portion.name} {len(portion.rows):,}" for portion in plan.portions)
    yield f"rows: {groups.strip()}"
    for name, layout in plan.layouts.items():
        chunk = "x".join(map(str, (layout.storage_rows, *layout.shape)))
        yield f"{name}: {layout.dtype} {layout.shape}, storage chunks {chunk}"
    for trial in plan.trials:
        yield f"tried {trial}"
    yield f"codec: {plan.codec} ({plan.why_codec})"
    if plan.failures:
        yield f"{len(plan.failures):,} lines have no usable label and are left out"
    yield f"about {output.size(plan.nbytes)}; {output.size(plan.free_bytes)} are free on the disk"
    if plan.replaces:
        yield "it replaces the file of that name when it is whole"


@contextmanager
def _progress(rows: int) -> Iterator[Callable[[int, int], None]]:
    """A progress display that also tells the rate and what was left out."""
    with output.progress("Converting", rows) as show:
        started = told = monotonic()
        done = skipped = 0

        def advance(more: int, left_out: int) -> None:
            nonlocal done, skipped, told
            done, skipped = done + more, skipped + left_out
            now, note = monotonic(), ""
            if now - told >= NOTE_SECONDS:
                told = now
                rate = done / (now - started)
                note = f"{rate:,.0f}/s, {skipped:,} skipped, {(rows - done) / rate:,.0f} s to go"
            show(more, note)

        yield advance


def _rate(converted: Converted) -> float:
    return 0.0 if converted.was_finished else converted.rows / converted.seconds


def _names(converted: Converted) -> str:
    return ", ".join(map(str, converted.files))


def _as_json(plan: Plan, converted: Converted) -> dict[str, Any]:
    return {
        "files": [str(file) for file in converted.files],
        "rows": converted.rows,
        "skipped": converted.skipped,
        "report": converted.report and str(converted.report),
        "seconds": round(converted.seconds, 3),
        "rows_per_s": round(_rate(converted), 1),
        "was_finished": converted.was_finished,
        "bytes": converted.nbytes,
        "plan": plan.as_dict(),
    }


def _result_lines(converted: Converted) -> Iterator[str]:
    pace = f", in {converted.seconds:.1f} s ({_rate(converted):,.0f}/s)"
    yield (
        f"{_names(converted)}: {converted.rows:,} rows, {output.size(converted.nbytes)}"
        f"{'' if converted.was_finished else pace}"
    )
    if converted.report:
        yield f"{converted.skipped:,} were left out; why is told in {converted.report}"
