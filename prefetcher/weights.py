"""How often each sample is drawn: by weights that the user has, or so that classes come alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prefetcher.columns.ragged import TEXT
from prefetcher.config import Settings
from prefetcher.errors import DatasetError, NoDatasetError, SettingsError
from prefetcher.hdf5.dataset import Dataset
from prefetcher.hdf5.shards import Shards
from prefetcher.labels import CLASS_KINDS, each_row, each_text, has_single, single
from prefetcher.order.samples import Samples, rows_at

Weights = NDArray[np.float64]


def weights_of(
    settings: Settings, shards: Shards, samples: Samples, rows: int, split: str
) -> Weights | None:
    """The weight of each sample; None where each comes once.

    Reads the dataset that `weights` or `balance` names, if there is one, whole and at once.

    Args:
        settings: With `weights` or `balance`, or neither.
        shards: The files.
        samples: The rows that are samples.
        rows: Rows of the other datasets.
        split: The group that names are within; "" for the file itself.

    Raises:
        SettingsError: There are more or fewer weights than samples, or they cannot be drawn by, or
            there are no classes.
        DatasetError: The dataset is missing or does not fit.
        ReadError: It could not be read.
    """
    source = _Source(shards, samples, rows, split, settings.retries)
    if settings.balance is not None:
        return source.balanced(settings.balance)
    if isinstance(settings.weights, str):
        return source.stored(settings.weights)
    return None if settings.weights is None else source.given(np.asarray(settings.weights))


def dataset_of(settings: Settings, shards: Shards, split: str) -> str | None:
    """The dataset that `weights` or `balance` names within a split; None for none."""
    parameter = "weights" if settings.balance is None else "balance"
    name = getattr(settings, parameter)
    return shards.found_name(parameter, name, split) if isinstance(name, str) else None


@dataclass(frozen=True)
class _Source:
    """What weights are made from."""

    shards: Shards
    samples: Samples
    rows: int
    split: str
    retries: int

    def given(self, weights: Weights) -> Weights:
        """The user's own numbers, checked."""
        count = len(self.samples)
        if len(weights) != count:
            remedy = "pass one for each sample"
            if len(weights) == self.rows:
                remedy = "pass those of the samples that rows= names, in their order"
            raise SettingsError(f"weights has {len(weights)} numbers for {count} samples: {remedy}")
        return _checked("weights", weights)

    def stored(self, name: str) -> Weights:
        """Weights out of a dataset that has one for each row."""
        what, dataset = f"weights={name!r}", self._dataset("weights", name)
        if not has_single(dataset) or dataset.dtype.kind not in "biuf":
            raise SettingsError(f"{what}: {dataset} has no single number for each row")
        return _checked(what, self._of_samples(self._read(dataset, np.dtype(np.float64), single)))

    def balanced(self, name: str) -> Weights:
        """Weights with which each class, a distinct value or the place of a 1, comes as often."""
        what, dataset = f"balance={name!r}", self._dataset("balance", name)
        if dataset.elements == TEXT:
            classes = self._of_samples(each_text(self.shards, dataset.name, retries=self.retries))
        elif dataset.csr is not None or dataset.dtype.kind not in CLASS_KINDS:
            raise SettingsError(f"{what}: {dataset} holds no classes: these are numbers or text")
        elif has_single(dataset):
            classes = self._of_samples(self._read(dataset, dataset.dtype, single))
        else:
            classes = self._of_samples(self._read(dataset, np.dtype(np.int64), _hot))
            if len(dataset.row_shape) != 1 or (classes < 0).any():
                raise SettingsError(
                    f"{what}: {dataset} has neither one class in each row nor rows of zeros with "
                    "one other number (one-hot): name a dataset of classes, or pass weights="
                )
        _, of_sample, counts = np.unique(classes, return_inverse=True, return_counts=True)
        if len(counts) == len(classes) > 1:
            raise SettingsError(
                f"{what}: each of the {len(classes)} samples has a value of its own, so these are "
                "no classes: name a dataset of classes, or pass weights="
            )
        return 1 / counts[of_sample]

    def _dataset(self, parameter: str, name: str) -> Dataset:
        try:
            dataset = self.shards.dataset(self.shards.found_name(parameter, name, self.split))
        except NoDatasetError as error:
            raise NoDatasetError(f"{parameter}={name!r}: {error}") from None
        if dataset.rows != self.rows:
            raise DatasetError(
                f"{parameter}={name!r}: {dataset} in {self.shards.name} has {dataset.rows} rows, "
                f"and the samples are of {self.rows}: it needs one for each"
            )
        return dataset

    def _read(self, dataset: Dataset, dtype: np.dtype[Any], value: Any) -> NDArray[Any]:
        return each_row(self.shards, dataset.name, dtype, value, retries=self.retries)

    def _of_samples(self, values: NDArray[Any]) -> NDArray[Any]:
        return values[rows_at(self.samples, np.arange(len(self.samples)))]


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
