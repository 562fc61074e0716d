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
from shards.files.records import Record

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
        """Raises ValueError where a field is missing, unknown or of another type."""
        fields = Record(record)
        fields.only(("seconds", "sample", "media"))
        media = fields.value("media")
        if not isinstance(media, (list, tuple)) or not all(isinstance(each, str) for each in media):
            fields.refuse("media", "a list of texts")
        return cls(seconds=fields.number("seconds"), sample=fields.text("sample"), media=tuple(media))


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
        timings = Record.parse(b'{"timings": ' + path.read_bytes() + b"}").records("timings")
        return [Timing.from_json(record.values) for record in timings][:number]
    except ValueError as error:
        raise damaged(path, error) from None
