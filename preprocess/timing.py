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
_SLOWEST_NAME = "slowest.json"
_KEPT_OF_SHARD = 5
_KEPT_OF_ALL = 100


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
    """Those of one shard."""
    _write(plan / TIMING_DIR / f"shard-{task:06d}.json", timings, _KEPT_OF_SHARD)


def fold_slowest(plan: Path) -> None:
    """Put those of all shards into one file: a report must not open a hundred thousand."""
    timings = (timing for path in (plan / TIMING_DIR).glob("shard-*.json") for timing in _read(path))
    _write(plan / TIMING_DIR / _SLOWEST_NAME, timings, _KEPT_OF_ALL)


def read_slowest(plan: Path, number: int) -> list[Timing]:
    """The `number` slowest over all shards, the slowest first; at most _KEPT_OF_ALL, none before they are folded."""
    path = plan / TIMING_DIR / _SLOWEST_NAME
    return _read(path)[:number] if path.exists() else []


def _write(path: Path, timings: Iterable[Timing], number: int) -> None:
    path.parent.mkdir(exist_ok=True)
    slowest = [asdict(timing) for timing in heapq.nlargest(number, timings)]
    write_atomically(path, json.dumps(slowest) + "\n")


def _read(path: Path) -> list[Timing]:
    records = json.loads(path.read_text(encoding="utf-8"))
    return [Timing(**{**record, "media": tuple(record["media"])}) for record in records]
