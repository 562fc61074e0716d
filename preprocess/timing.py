"""Which samples took longest to encode: kept beside the plan, for `report`. No byte of the dataset depends on it."""

from __future__ import annotations

import heapq
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from preprocess.errors import damaged
from preprocess.media.store import describe
from preprocess.sample import Sample
from shards.files.atomic import write_atomically

_SLOWEST_NAME = "slowest.json"  # in the plan's folder
_KEPT_OF_SHARD = 5
_KEPT_OF_ALL = 100


@dataclass(frozen=True, kw_only=True, order=True)
class Timing:
    seconds: float
    sample: str  # its key
    media: tuple[str, ...]

    @classmethod
    def of(cls, sample: Sample, seconds: float) -> Timing:
        media = tuple(map(describe, (*sample.images, *sample.videos)))
        return cls(seconds=round(seconds, 4), sample=sample.key(), media=media)

    @classmethod
    def from_json(cls, record: Mapping[str, Any]) -> Timing:
        return cls(**{**record, "media": tuple(record["media"])})


def slowest_of_shard(timings: Iterable[Timing]) -> tuple[dict[str, Any], ...]:
    """What the shard's sidecar keeps, as JSON."""
    return tuple(map(asdict, heapq.nlargest(_KEPT_OF_SHARD, timings)))


def slowest_of_all(timings: Iterable[Timing]) -> list[Timing]:
    return heapq.nlargest(_KEPT_OF_ALL, timings)


def write_slowest(plan: Path, slowest: Iterable[Timing]) -> None:
    """Those of all shards: a report must not open a hundred thousand sidecars."""
    write_atomically(plan / _SLOWEST_NAME, json.dumps(list(map(asdict, slowest))) + "\n")


def read_slowest(plan: Path, number: int) -> list[Timing]:
    """The `number` slowest over all shards, the slowest first; at most _KEPT_OF_ALL, none before it is published."""
    path = plan / _SLOWEST_NAME
    if not path.exists():
        return []
    try:
        return [Timing.from_json(record) for record in json.loads(path.read_text(encoding="utf-8"))][:number]
    except (ValueError, KeyError, TypeError) as error:
        raise damaged(path, error) from None
