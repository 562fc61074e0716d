"""Gather: what the measured parts say together. Each is read once; sums and columns take from it what they hold."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocess.errors import damaged
from preprocess.ledger import Reject
from preprocess.plan.measure import PartSummary
from preprocess.plan.tables import part_path, read_part_table
from shards import PackCounts


class Columns(Protocol):
    """Grows by the measured samples of one part after another."""

    def add(self, samples: pa.Table) -> None: ...


def gather(
    folder: Path, num_parts: int, fingerprint: str, totals: MeasuredTotals, *columns: Columns
) -> Iterator[Reject]:
    """Read the parts in `folder` into `totals` and `columns`, and give their rejects, in the order of the annotations.

    Whoever takes the last reject has them all. Raises FatalError where a part is damaged, or not of the plan with that
    fingerprint.
    """
    for part in range(num_parts):
        samples = read_part_table(folder, part, fingerprint)
        try:
            summary = PartSummary.of(samples)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(part_path(folder, part), error) from None
        totals.add(summary)
        for each in columns:
            each.add(samples)
        yield from summary.rejects


MOST_IGNORED_KEYS = 10_000  # that are counted by name; where records have ids for keys there is no end of them
OTHER_KEYS = "…"


class MeasuredTotals:
    """What the measured parts add up to; of the rejects only their numbers."""

    def __init__(self, datasets: Iterable[str]) -> None:
        self.datasets = {name: PackCounts() for name in datasets}
        self.part_datasets: list[str] = []  # of each part
        self.part_samples: list[int] = []
        self._rejects: dict[str, Counter[str]] = {}
        self._ignored_keys: Counter[str] = Counter()

    def add(self, summary: PartSummary) -> None:
        self.datasets[summary.dataset] += summary.counts
        self.part_datasets.append(summary.dataset)
        self.part_samples.append(summary.num_samples)
        self._rejects.setdefault(summary.dataset, Counter()).update(reject.reason for reject in summary.rejects)
        for key, number in summary.ignored_keys.items():
            is_known = key in self._ignored_keys or len(self._ignored_keys) < MOST_IGNORED_KEYS
            self._ignored_keys[key if is_known else OTHER_KEYS] += number

    @property
    def rejects(self) -> Mapping[str, Mapping[str, int]]:
        """dataset -> reason -> samples"""
        return {name: dict(sorted(reasons.items())) for name, reasons in self._rejects.items() if reasons}

    @property
    def ignored_keys(self) -> Mapping[str, int]:
        return dict(sorted(self._ignored_keys.items()))

    @property
    def num_rejects(self) -> int:
        return sum(reasons.total() for reasons in self._rejects.values())

    @property
    def num_records(self) -> int:
        """Samples read, usable or not, each once."""
        return sum(self.part_samples) + self.num_rejects


def append(column: array[Any], values: npt.NDArray[Any]) -> None:
    """In place, and as what `column` holds: a hundred million samples leave no room for two copies."""
    column.frombytes(values.astype(column.typecode).tobytes())


def as_numpy(column: array[Any]) -> npt.NDArray[Any]:
    """A view of it, after which it can't grow."""
    return np.asarray(column)
