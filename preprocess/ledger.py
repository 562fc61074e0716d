"""The reject ledger: one JSON line a rejected sample, in the order of the annotations."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preprocess.errors import Reason, SampleError, damaged
from preprocess.sample import Sample, sample_key
from shards.files.atomic import open_atomically


@dataclass(frozen=True, kw_only=True, slots=True)
class Reject:
    dataset: str
    index: int
    member: int | None  # position in a ready-made pack
    reason: str  # a value of errors.Reason
    detail: str

    @property
    def key(self) -> str:
        """Of the sample, as in the shards."""
        return sample_key(self.dataset, self.index, self.member)

    @classmethod
    def of(cls, dataset: str, index: int, member: int | None, error: SampleError) -> Reject:
        return cls(dataset=dataset, index=index, member=member, reason=error.reason.value, detail=error.detail)

    @classmethod
    def of_sample(cls, sample: Sample, error: SampleError) -> Reject:
        if error.reason in (Reason.CRASH, Reason.TIMEOUT):  # the process that knew which file it was is gone
            media = ", ".join(map(str, (*sample.images, *sample.videos))) or "text alone"
            error = SampleError(error.reason, f"{media}: {error.detail}")
        return cls.of(sample.dataset, sample.index, sample.member, error)

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        if self.member is None:
            del record["member"]
        return record

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Reject:
        return cls(**{"member": None, **record})


def write_ledger(path: Path, rejects: Iterable[Reject]) -> None:
    with open_atomically(path) as file:
        for reject in rejects:
            file.write(json.dumps(reject.to_json(), ensure_ascii=True).encode() + b"\n")


def read_ledger(path: Path) -> Iterator[Reject]:
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                yield Reject.from_json(json.loads(line))
            except (ValueError, TypeError) as error:
                raise damaged(path, error) from None


def count_by_dataset(rejects: Iterable[Reject]) -> dict[str, dict[str, int]]:
    """{dataset: {reason: number}}"""
    counts: dict[str, Counter[str]] = {}
    for reject in rejects:
        counts.setdefault(reject.dataset, Counter())[reject.reason] += 1
    return {dataset: dict(sorted(reasons.items())) for dataset, reasons in counts.items()}
