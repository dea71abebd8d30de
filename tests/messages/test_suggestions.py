"""What is said of a name that is not there."""

from __future__ import annotations

import pytest

from prefetcher.messages.suggestions import listed, missing, nearest

NAMES = ["images", "labels", "angles", "meta/time", "train/frames", "val/frames"]


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("lables", ["labels"]),
        ("Images", ["images"]),
        ("train/images", ["images"]),
        ("frames", ["train/frames", "val/frames"]),
        ("trian/frames", ["train/frames", "val/frames"]),
        ("times", ["meta/time"]),
        ("img", []),
        ("x", []),
        ("", []),
    ],
)
def test_the_nearest_name(wanted: str, near: list[str]) -> None:
    assert nearest(wanted, NAMES) == near


@pytest.mark.parametrize(("wanted", "near"), [("validation", ["val"]), ("t", []), ("tr", [])])
def test_a_name_may_be_short_for_another(wanted: str, near: list[str]) -> None:
    assert nearest(wanted, ["train", "val"]) == near
    assert nearest("val", ["training", "validation"]) == ["validation"]


def test_few_names_are_listed_and_the_others_counted() -> None:
    assert listed(list("abc")) == "a, b, c"
    assert listed(list("abcde")) == "a, b, c, d, e"
    assert listed(list("abcdef")) == "a, b, c, d and 2 others"


def test_a_sentence_for_each_case() -> None:
    have = {name: f"{name} uint8 (5,)" for name in NAMES}
    typo = missing("dataset", "lables", "a.h5", have)
    assert typo == (
        "no dataset 'lables' in a.h5; it has images uint8 (5,), labels uint8 (5,), "
        "angles uint8 (5,), meta/time uint8 (5,) and 2 others: did you mean 'labels'?"
    )
    group = missing("dataset", "train", "a.h5", have)
    assert group == "'train' in a.h5 is a group of train/frames uint8 (5,): name one of these"
    assert missing("dataset", "x", "a.h5", {}) == "no dataset 'x' in a.h5: it holds no dataset"


def test_a_file_of_very_many_names_gives_a_short_sentence() -> None:
    have = {f"samples/{n:06}": f"samples/{n:06} uint8 (9,)" for n in range(100_000)}
    assert len(missing("dataset", "images", "a.h5", have)) < 200
    assert len(missing("dataset", "samples", "a.h5", have)) < 200
