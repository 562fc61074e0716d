"""Which samples took longest to encode: kept beside the plan, for `report`. No byte of the dataset depends on it."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

from preprocess.sample import Sample
from shards.manifest import write_atomically

TIMING_DIR = "timing"
_KEPT = 5  # a shard


@dataclass(frozen=True, kw_only=True, order=True)
class Timing:
    seconds: float
    sample: str  # its key
    media: tuple[str, ...]

    @classmethod
    def of(cls, sample: Sample, seconds: float) -> Timing:
        media = tuple(map(str, (*sample.images, *sample.videos)))
        return cls(seconds=round(seconds, 4), sample=sample.key(), media=media)


def write_slowest(plan: Path, task: int, timings: Iterable[Timing]) -> None:
    folder = plan / TIMING_DIR
    folder.mkdir(exist_ok=True)
    slowest = [asdict(timing) for timing in heapq.nlargest(_KEPT, timings)]
    write_atomically(folder / f"shard-{task:06d}.json", json.dumps(slowest) + "\n")


def read_slowest(plan: Path, number: int) -> list[Timing]:
    """The `number` slowest over all shards, the slowest first."""
    records = (record for path in (plan / TIMING_DIR).glob("*.json") for record in json.loads(path.read_text()))
    timings = (Timing(**{**record, "media": tuple(record["media"])}) for record in records)
    return heapq.nlargest(number, timings)
