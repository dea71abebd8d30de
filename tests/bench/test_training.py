"""The article's ways: every row reaches the training step, and a lost one is found out."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from bench import pictures, training
from bench.article import EPOCHS, WAYS, trained
from bench.part import Result
from bench.systems import Batch, Feed, article, ours

SCALE = 100 / pictures.ARTICLE_SAMPLES


@pytest.fixture(scope="module")
def workload(tmp_path_factory: pytest.TempPathFactory) -> pictures.Workload:
    return pictures.workload(tmp_path_factory.mktemp("article"), SCALE)


@pytest.fixture(autouse=True)
def _generators_end() -> Iterator[None]:
    """Keras holds the generators it was given in a cycle, and they hold the file."""
    yield
    gc.collect()


def train(way: str, workload: pictures.Workload) -> dict[str, Any]:
    return training.train(way, "light", 2, **workload.arguments())


@pytest.mark.parametrize("way", WAYS)
def test_every_row_reaches_the_training_step(way: str, workload: pictures.Workload) -> None:
    # In a process of its own, as in the bench: TensorFlow keeps a generator, and so its file, open.
    result = Result({})
    run = trained(way, "light", workload, result)
    assert run is not None
    assert (result.wrong_rows, result.failed) == ([], [])
    assert len(run["epoch_s"]) == EPOCHS
    assert (run["stall_share"] is None) == (way == "memory")


def test_a_row_that_another_one_replaces_is_found_out(
    workload: pictures.Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = article.batches

    def doubling(feed: Feed) -> Iterator[Batch]:
        for x, y in whole(feed):
            x[0], y[0] = x[1], y[1]
            yield x, y

    monkeypatch.setattr(article, "batches", doubling)
    assert train("chunks", workload)["problem"] == "some rows twice, others not at all"


def test_a_way_that_ends_early_is_found_out(
    workload: pictures.Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = article.batches

    def lossy(feed: Feed) -> Iterator[Batch]:
        for x, y in whole(feed):
            yield x[1:], y[1:]

    monkeypatch.setattr(article, "batches", lossy)
    assert train("chunks", workload)["problem"] == "96 rows instead of 100"


def train_in_turn(workload: pictures.Workload) -> dict[str, Any]:
    return training.train_in_turn("light", 3, str(workload.path), workload.samples)


def test_in_turn_each_has_one_epoch_that_counts_of_each_turn(workload: pictures.Workload) -> None:
    run = train_in_turn(workload)
    assert run["problem"] is None
    assert {way: len(epochs) for way, epochs in run["epoch_s"].items()} == {"ours": 3, "replay": 3}


def test_in_turn_too_rows_that_are_lost_are_found_out(
    workload: pictures.Workload, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = ours.sequence
    monkeypatch.setattr(ours, "sequence", lambda feed: whole(replace(feed, rows=96)))
    assert train_in_turn(workload)["problem"] == "96 rows instead of 100"
