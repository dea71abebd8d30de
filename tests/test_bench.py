"""The bench: every system reads every row, and one that does not is found out."""

from __future__ import annotations

import numpy as np
import pytest

from bench.child import ChildError, call
from bench.files import numbers_in
from bench.passes import Count


def test_pictures_carry_their_rows_number() -> None:
    pictures = np.zeros((3, 2, 2, 3), np.uint8)
    pictures[:, 0, 0] = [[0, 0, 7], [0, 2, 1], [1, 0, 0]]
    assert numbers_in(pictures).tolist() == [7, 513, 65536]
    assert numbers_in(pictures.astype(np.float32)).tolist() == [7, 513, 65536]


def test_a_row_that_is_lost_doubled_or_mixed_up_is_found_out() -> None:
    pictures = np.zeros((3, 2, 2, 3), np.uint8)
    pictures[:, 0, 0, 2] = [0, 1, 2]

    def problem(*rows: int, ids: tuple[int, ...] | None = None) -> str | None:
        count = Count()
        count.add((pictures[list(rows)], np.array(ids or rows)))
        return count.problem(3)

    assert problem(2, 0, 1) is None
    assert problem(0, 1) == "2 rows instead of 3"
    assert problem(0, 1, 1) == "some rows twice, others not at all"
    assert problem(0, 1, 2, ids=(0, 2, 1)) == "2 rows with another's target"


def test_a_childs_error_arrives_with_its_last_lines() -> None:
    with pytest.raises(ChildError, match=r"No such file.*nowhere"):
        call("os:listdir", path="nowhere")
