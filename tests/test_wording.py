"""A setting as its reader writes it."""

from __future__ import annotations

from typing import Any

import pytest

from prefetcher.messages.wording import Word, as_flags, written


@pytest.mark.parametrize(
    ("name", "value", "python", "flags"),
    [
        ("on_error", "skip", "on_error='skip'", "--on-error skip"),
        ("resume", True, "resume=True", "--resume"),
        ("labels", None, "labels=", "--labels"),
        ("label_cols", None, "label_cols=", "--label-col"),
        ("size", (8, 9), "size=(8, 9)", "--size 8 9"),
        ("size", (Word("height"), Word("width")), "size=(height, width)", "--size height width"),
        ("split", {"a": 0.8, "b": 0.2}, "split={'a': 0.8, 'b': 0.2}", "--split a=0.8,b=0.2"),
        ("x", ("a", "b"), "x=('a', 'b')", "--x a b"),
        ("seed", 5, "seed=5", "--seed 5"),
    ],
)
def test_as_arguments_and_as_flags(name: str, value: Any, python: str, flags: str) -> None:
    assert written(name, value) == python
    with as_flags():
        assert written(name, value) == flags
    assert written(name, value) == python
