"""How often each sample is drawn: by weights that the user has, or so that classes come alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.config import Settings
from prefetcher.errors import DatasetError, NoDatasetError, SettingsError
from prefetcher.hdf5.shards import Shards
from prefetcher.labels import Labels, each_text, labels_named, single, values_of
from prefetcher.order.samples import Samples, rows_at

Weights = NDArray[np.float64]
Standing = Callable[[str], Callable[[NDArray[np.int64]], NDArray[np.int64]] | None]
"""For a dataset, at which row of it each sample stands; None where no rows are the samples'."""


def weights_of(
    settings: Settings,
    shards: Shards,
    samples: Samples,
    length: int,
    standing: Standing,
    split: str,
) -> Weights | None:
    """The weight of each sample; None where each comes once.

    Reads the dataset that `weights` or `balance` names, if there is one, whole and at once.

    Args:
        settings: With `weights` or `balance`, or neither.
        shards: The files.
        samples: The samples that are used.
        length: All samples that there are.
        standing: Where a sample stands: its class is that of this row.
        split: The group that names are within; "" for the file itself.

    Raises:
        SettingsError: There are more or fewer weights than samples, or they cannot be drawn by, or
            there are no classes.
        DatasetError: The dataset is missing or does not fit.
        ReadError: It could not be read.
    """
    source = _Source(shards, samples, length, standing, split, settings.retries)
    if settings.balance is not None:
        return source.balanced(settings.balance)
    if isinstance(settings.weights, str):
        return source.stored(settings.weights)
    return None if settings.weights is None else source.given(np.asarray(settings.weights))


def drawn_by(settings: Settings, shards: Shards, split: str) -> str | None:
    """The dataset that `weights` or `balance` names within a split; None for none."""
    parameter = "weights" if settings.balance is None else "balance"
    name = getattr(settings, parameter)
    if not isinstance(name, str):
        return None
    return labels_named(shards, parameter, name, split).dataset.name


@dataclass(frozen=True)
class _Source:
    """What weights are made from."""

    shards: Shards
    samples: Samples
    length: int
    standing: Standing
    split: str
    retries: int

    def given(self, weights: Weights) -> Weights:
        """The user's own numbers, checked."""
        count = len(self.samples)
        if len(weights) != count:
            remedy = "pass one for each sample"
            if len(weights) == self.length:
                remedy = "pass those of the samples that rows= names, in their order"
            raise SettingsError(f"weights has {len(weights)} numbers for {count} samples: {remedy}")
        return _checked("weights", weights)

    def stored(self, name: str) -> Weights:
        """Weights out of a dataset that has one for each row."""
        what, labels = f"weights={name!r}", self._labels("weights", name)
        if not labels.is_single or labels.value.dtype.kind not in "biuf":
            raise SettingsError(f"{what}: {labels} has no single number for each row")
        values = self._read(labels, np.dtype(np.float64), single)
        return _checked(what, self._of_samples(what, labels, values))

    def balanced(self, name: str) -> Weights:
        """Weights with which each class, a distinct value or the place of a 1, comes as often."""
        what, labels = f"balance={name!r}", self._labels("balance", name)
        classes = self._of_samples(what, labels, self._classes(what, labels))
        if not labels.is_single and (classes < 0).any():
            raise SettingsError(
                f"{what}: {labels} has neither one class in each row nor rows of zeros with "
                "one other number (one-hot): name a dataset of classes, or pass weights="
            )
        _, of_sample, counts = np.unique(classes, return_inverse=True, return_counts=True)
        if len(counts) == len(classes) > 1:
            raise SettingsError(
                f"{what}: each of the {len(classes)} samples has a value of its own, so these are "
                "no classes: name a dataset of classes, or pass weights="
            )
        return 1 / counts[of_sample]

    def _classes(self, what: str, labels: Labels) -> NDArray[Any]:
        """The class of each row; -1 where a row is not one-hot."""
        if labels.is_text:
            return each_text(self.shards, labels.dataset.name, retries=self.retries)
        if not labels.are_classes:
            raise SettingsError(f"{what}: {labels} holds no classes: these are numbers or text")
        if labels.is_single:
            return self._read(labels, labels.value.dtype, single)
        if len(labels.value.shape) > 1:
            return np.full(labels.dataset.rows, -1)
        return self._read(labels, np.dtype(np.int64), _hot)

    def _labels(self, parameter: str, name: str) -> Labels:
        try:
            return labels_named(self.shards, parameter, name, self.split)
        except NoDatasetError as error:
            raise NoDatasetError(f"{parameter}={name!r}: {error}") from None

    def _read(self, labels: Labels, dtype: np.dtype[Any], value: Any) -> NDArray[Any]:
        return values_of(self.shards, labels, dtype, value, retries=self.retries)

    def _of_samples(self, what: str, labels: Labels, values: NDArray[Any]) -> NDArray[Any]:
        """The values of the rows at which the samples stand."""
        numbers = rows_at(self.samples, np.arange(len(self.samples)))
        row_of = self.standing(labels.dataset.name)
        if row_of is not None:
            return values[row_of(numbers)]
        if len(values) != self.length:
            raise DatasetError(
                f"{what}: {labels} in {self.shards.name} has {len(values)} rows, neither as many "
                f"as x and y, nor one for each of the {self.length} samples"
            )
        return values[numbers]


def _checked(what: str, weights: Weights) -> Weights:
    """The same weights.

    Raises:
        SettingsError: One is negative or not finite, or all are 0.
    """
    wrong = np.flatnonzero(~((weights >= 0) & (weights < np.inf)))
    if len(wrong):
        at = int(wrong[0])
        raise SettingsError(
            f"{what}: sample {at} has {weights[at]:g} ({len(wrong)} of {len(weights)} are negative "
            "or not finite). A sample is drawn in proportion to its weight: write 0 for never, or "
            "a positive number"
        )
    if not weights.any():
        raise SettingsError(f"{what} has zeros only, so nothing could be drawn")
    return weights


def _hot(rows: NDArray[Any]) -> NDArray[np.int64]:
    """The place of the only number in each row that is not 0; -1 where there is no such one."""
    rows = rows.reshape(len(rows), -1)
    return np.where(np.count_nonzero(rows, axis=1) == 1, (rows != 0).argmax(axis=1), -1)
