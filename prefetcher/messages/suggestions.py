"""What to say of a name that is not there: the nearest ones, a few others, and how many more.

Pure functions of text.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from difflib import get_close_matches
from itertools import islice

_SHOWN = 4  # names that a message lists: more is no longer read
_ALIKE = 0.7  # of difflib's ratio: "lable" is meant for "labels", "angles" for neither
_LONGEST = 200  # characters of a name that are shown
_SHORTEST = 3  # letters that can stand for a longer name
_COMPARED = 10_000  # names that are compared: each takes some microseconds


def missing(kind: str, wanted: str, file: str, have: Mapping[str, str]) -> str:
    """The sentence about a name that a file does not have.

    Args:
        kind: What was looked for: "dataset".
        wanted: The name.
        file: The file's name.
        have: How each one that is there is shown, by name: ``{"x": "x uint8 (5, 3)"}``. Only those
            that are shown are asked for.
    """
    if not have:
        return f"no {kind} {wanted!r} in {file}: it holds no {kind}"
    within = [name for name in have if name.startswith(wanted + "/")]
    if within:
        inside = listed(within, have.__getitem__)
        return f"{wanted!r} in {file} is a group of {inside}: name one of these"
    asked = did_you_mean(wanted, have)
    return f"no {kind} {wanted!r} in {file}; it has {listed(have, have.__getitem__)}{asked}"


def did_you_mean(wanted: str, have: Iterable[str]) -> str:
    """The end of a sentence about a word that is not there; "" where none is like it."""
    near = nearest(wanted, have)
    return f": did you mean {' or '.join(map(repr, near))}?" if near else ""


def listed(names: Collection[str], shown: Callable[[str], str] = str) -> str:
    """The first few of them, as `shown` has them, and the number of the others."""
    others = len(names) - _SHOWN
    if others <= 1:  # to count one takes as much room as to name it
        return ", ".join(map(_short, map(shown, names)))
    first = map(_short, map(shown, islice(names, _SHOWN)))
    return f"{', '.join(first)} and {others} others"


def _short(text: str) -> str:
    """A name may be as long as 64 kB."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def nearest(wanted: str, have: Iterable[str]) -> list[str]:
    """What was likely meant: two names at most.

    The same name in another group or another case, the one that is spelled most alike, or one of
    which the other is the beginning.
    """
    known = list(islice(have, _COMPARED))
    same = [name for name in known if _last(name) == _last(wanted)]
    if same:
        return same[:2]
    spelled = {_last(name): name for name in known} | {name.lower(): name for name in known}
    for each in (wanted.lower(), _last(wanted)):
        found = get_close_matches(each, spelled, 1, _ALIKE)
        if found:
            return [spelled[found[0]]]
    return [name for name in known if _shortened(_last(name), _last(wanted))][:2]


def _shortened(one: str, other: str) -> bool:
    """Whether one is short for the other: "val" for "validation"."""
    return min(len(one), len(other)) >= _SHORTEST and (
        one.startswith(other) or other.startswith(one)
    )


def _last(name: str) -> str:
    return name.rpartition("/")[2].lower()
