"""What a line of the log must hold. A line that does not hold it is damaged.

Whoever reads a log goes by these rules instead of by checks of its own: what they ask for is there,
in the type that docs/monitor.md gives it, and no number is beyond anything that can be measured.
Keys that are not listed are left alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

Check = Callable[[Any], bool]


def fits(line: Mapping[str, Any]) -> bool:
    """Whether a line with `v` and `kind` holds what its kind must; kinds of others always do."""
    shape = _SHAPES.get(line["kind"])
    return shape is None or shape(line)


def _number(low: float, high: float) -> Check:
    # By the exact type, as True is an int too. Nothing is as large as NaN.
    return lambda value: type(value) in (int, float) and low <= value <= high


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _list(check: Check) -> Check:
    return lambda value: isinstance(value, list) and all(map(check, value))


def _object(required: Mapping[str, Check], optional: Mapping[str, Check] | None = None) -> Check:
    """An object with these keys; those that are optional came later, or may be left out."""
    must, may = tuple(required.items()), tuple((optional or {}).items())

    def check(value: Any) -> bool:
        return (
            isinstance(value, dict)
            and all(key in value and fits_key(value[key]) for key, fits_key in must)
            and all(fits_key(value[key]) for key, fits_key in may if key in value)
        )

    return check


def _rate(value: Any) -> bool:
    """Zero, or so much that a second or a thousand years of it can be worked with."""
    return _COUNT(value) and (value == 0 or value >= 1e-6)


_TIME: Final = _number(0, 1e10)  # seconds: 300 years
_COUNT: Final = _number(0, 1e19)  # bytes, too: what 64 bits hold
_FEW: Final = _number(0, 1e9)  # threads, samples of a batch, places of a queue
_SHARE: Final = _or_null(_number(0, 1e8))  # percent, of one core for as many as there may be
_MAY_COUNT: Final = _or_null(_COUNT)
_MAY_RATE: Final = _or_null(_rate)


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_anything(_: Any) -> bool:
    return True


def _is_setting(value: Any) -> bool:
    """A number of threads or places; text such as "auto" too."""
    return value is None or _is_text(value) or _FEW(value)


def _is_time(value: Any) -> bool:
    """A moment of the world's clock."""
    try:
        return _is_text(value) and datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _is_shard(value: Any) -> bool:
    """Which of how many shares of the data."""
    return _SHARD(value) and value["index"] < value["count"]


def _is_rank(value: Any) -> bool:
    return type(value) is int and 0 <= value <= _MOST_RANKS


_MOST_RANKS: Final = 100_000  # more than any machine has; those that lack are listed
_SHARD: Final = _object({"index": _is_rank, "count": _is_rank})
_STAGE: Final = _object(
    {
        "workers": _FEW,
        "busy_pct": _SHARE,
        "wait_in_pct": _SHARE,
        "wait_out_pct": _SHARE,
    },
    {
        "samples_per_s": _MAY_RATE,
        "cpu_pct": _SHARE,
        "runqueue_pct": _SHARE,
        "timeslices_per_s": _MAY_RATE,
        "work_pct": _object(
            {},
            dict.fromkeys(("read", "hdf5", "lock", "decode", "gather", "transform"), _SHARE),
        ),
    },
)
_QUEUE: Final = _object({"capacity": _FEW, "depth": _FEW}, {"items_per_s": _MAY_RATE})
_PROCESS: Final[Mapping[str, Check]] = {
    "cpu_pct": _SHARE,
    "read_storage_bytes": _MAY_COUNT,
    "read_requested_bytes": _MAY_COUNT,
}
_PIPELINE: Final[Mapping[str, Check]] = {
    "position": _MAY_COUNT,
    "samples_per_s": _MAY_RATE,
    "stall_pct": _SHARE,
    "stage": _object({"read": _STAGE, "batch": _STAGE}),
}
_RUN: Final = _object(
    {},
    {
        "t_s": _TIME,
        "time": _is_time,
        "shard": _is_shard,
        "settings": _or_null(
            _object(
                {},
                {
                    "batch_size": _or_null(_FEW),
                    **dict.fromkeys(
                        ("readers", "batchers", "chunk_queue", "batch_queue"), _is_setting
                    ),
                },
            )
        ),
        "cpus_allowed": _or_null(
            _object({}, dict.fromkeys(("affinity", "quota"), _or_null(_number(0, 1e6))))
        ),
        "gpu": _or_null(_list(_object({"name": _is_anything}))),
        "file": _or_null(
            _object(
                {},
                {
                    "bytes": _MAY_COUNT,
                    "datasets": _or_null(_list(_is_text)),
                    "packed": _or_null(_list(_object({"name": _is_text, "packing": _is_text}))),
                },
            )
        ),
        "unavailable": _or_null(_object({})),
    },
)
_SAMPLE: Final = _object(
    {
        "t_s": _TIME,
        "dt_s": _TIME,
        "pass": _COUNT,
        **_PIPELINE,
        "process": _object({**_PROCESS, "rss_bytes": _MAY_COUNT}),
        "queue": _object({"chunk": _QUEUE, "batch": _QUEUE}),
        "machine": _object({"cpu_pct": _SHARE}),
        "gpu": _or_null(_list(_object({"util_pct": _SHARE}))),
        "monitor": _object({"cost_ms": _COUNT}, {"late_ms": _MAY_COUNT, "runqueue_ms": _MAY_COUNT}),
    }
)
_OWN_EVENTS: Final[Mapping[str, Check]] = {
    "first_batch": _object({}, {"after_s": _TIME}),
    "first_chunk": _object({}, {"waited_s": _TIME}),
    "tune": _object(dict.fromkeys(("action", "readers", "batchers", "why"), _is_anything)),
}
_ANY_EVENT: Final = _object({"t_s": _TIME, "name": _is_text, "data": _object({})})


def _event(value: Any) -> bool:
    """An event of anybody's; what a report asks of those of ours is there."""
    if not _ANY_EVENT(value):
        return False
    own = _OWN_EVENTS.get(value["name"])
    return own is None or own(value["data"])


_SUMMARY: Final = _object(
    {
        "t_s": _TIME,
        "duration_s": _TIME,
        **_PIPELINE,
        "process": _object(_PROCESS, {"rss_peak_bytes": _MAY_COUNT}),
    },
    {
        "first_batch_s": _or_null(_TIME),
        "events": _object({}),
        "monitor": _object({}, {"cpu_pct": _SHARE}),
    },
)
_SHAPES: Final[Mapping[str, Check]] = {
    "run": _RUN,
    "sample": _SAMPLE,
    "event": _event,
    "summary": _SUMMARY,
}
