"""`dataset_use`: which datasets of a registry a run takes, and how much of each.

coco%50, clips%250        half of the records of coco; all of clips twice, and half of them a third time
all                       every dataset; so does *
llava_*%10                those whose names fit, each in this share
"ai2d(cauldron,llava_format)"%50      a name with a comma or a % in quotes, double or single ones
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import numpy.typing as npt

from preprocess.errors import ConfigError
from preprocess.media.data_path import find_places
from preprocess.read.registry import Dataset
from preprocess.streams import stream
from shards.flags.nearest import nearest_name

_MOST_PERCENT = 999_999
_ALL = "all"
_MOST_NAMES = 20  # in a message


@dataclass(frozen=True, kw_only=True)
class DatasetUse:
    """One dataset of `dataset_use`, and how much of it."""

    dataset: Dataset
    percent: int  # 100: every record once; above: repeats
    limit: int | None = None  # the most records that are used at all: the first ones

    def num_chosen(self, num_records: int) -> int:
        """How many of the records are used at all."""
        chosen = min(num_records, num_records * self.percent // 100)
        return chosen if self.limit is None else min(chosen, self.limit)

    def copies(self, num_records: int, seed: int) -> npt.NDArray[np.int32]:
        """(num_records,) how often each record is used; without a limit, the sum is num_records * percent // 100.

        The records that are used once more than the others are chosen by a permutation that depends on the seed and
        the dataset's name alone.
        """
        every, total = self.percent // 100, num_records * self.percent // 100
        copies = np.full(num_records, every, np.int32)
        order = stream("records", seed, self.dataset.name).permutation(num_records)
        copies[order[: total - every * num_records]] += 1
        if self.limit is not None:
            copies[np.flatnonzero(copies)[self.limit :]] = 0
        return copies


def choose_datasets(
    registry: Mapping[str, Dataset], dataset_use: str, limit: int | None = None
) -> tuple[DatasetUse, ...]:
    """Parse `dataset_use`; of each dataset at most `limit` records are used. Raises ConfigError for unknown names and
    bad percentages, and for a chosen dataset whose data_path is no folder; the others may stand on another machine."""
    chosen: dict[str, DatasetUse] = {}
    for part, name, is_quoted, digits in _parts(dataset_use, registry):
        percent = _percent(part, name, digits)
        for found in _named(name, registry, is_quoted=is_quoted):
            if found in chosen:
                raise ConfigError(
                    f"dataset_use: {found!r} stands twice; say how often with %, for example {_spelled(found)}%200"
                )
            dataset = registry[found]
            placed = replace(dataset, data_path=find_places(dataset.where, dataset.data_path))
            chosen[found] = DatasetUse(dataset=placed, percent=percent, limit=limit)
    if not chosen:
        raise ConfigError(f"dataset_use is empty; name datasets of the registry: {_some(registry)}")
    return tuple(chosen.values())


def _parts(dataset_use: str, registry: Mapping[str, Dataset]) -> Iterator[tuple[str, str, bool, str | None]]:
    """Each part as written, the name in it, whether that is quoted, and the digits behind %."""
    position = 0
    while position < len(dataset_use):
        if dataset_use[position].isspace() or dataset_use[position] == ",":
            position += 1
            continue
        mark = dataset_use[position]
        if mark in "\"'":
            closing = dataset_use.find(mark, position + 1)
            if closing < 0:
                raise ConfigError(f"dataset_use: no {mark} closes {dataset_use[position:]!r}")
            end = _next_comma(dataset_use, closing)
            part, tail = dataset_use[position:end].rstrip(), dataset_use[closing + 1 : end].strip()
            if not re.fullmatch(r"(%\s*[0-9]+)?", tail):
                raise ConfigError(
                    f"dataset_use: {part!r}: a quoted name ends its part, or % follows: {mark}name{mark}%50"
                )
            yield part, dataset_use[position + 1 : closing], True, tail.removeprefix("%").strip() or None
        else:
            end = _next_comma(dataset_use, position)
            part = dataset_use[position:end].strip()
            share = re.search(r"%\s*([0-9]+)$", part)
            name = part[: share.start()].rstrip() if share else part
            if name not in registry and (before := name.rpartition("%")[0].rstrip()) in registry:
                raise ConfigError(f"dataset_use: {part!r}: after % stands a whole number, for example {before}%50")
            yield part, name, False, share[1] if share else None
        position = end


def _next_comma(text: str, start: int) -> int:
    found = text.find(",", start)
    return found if found >= 0 else len(text)


def _percent(part: str, name: str, digits: str | None) -> int:
    if digits is not None and len(digits) > len(str(_MOST_PERCENT)):
        raise ConfigError(f"dataset_use: {part!r} is too much; at most {name}%{_MOST_PERCENT}")
    percent = 100 if digits is None else int(digits)
    if percent == 0:
        raise ConfigError(f"dataset_use: {part!r} takes nothing; leave the dataset out")
    return percent


def _named(name: str, registry: Mapping[str, Dataset], *, is_quoted: bool) -> list[str]:
    """The datasets that a name or a pattern means; a name of the registry is never a pattern."""
    if name in registry:
        return [name]
    if not is_quoted and (name == _ALL or re.search(r"[*?\[]", name)):
        found = [each for each in registry if name == _ALL or fnmatchcase(each, name)]
        if not found:
            raise ConfigError(f"dataset_use: no dataset fits {name!r}; the registry has {_some(registry)}")
        return found
    quotable = next((each for each in registry if name and re.split("[,%]", each)[0].strip() == name), None)
    if quotable is not None and not is_quoted:
        hint = f"; names with a comma or a % stand in quotes: {_spelled(quotable)}"
    else:
        nearest = nearest_name(name, registry)
        hint = f"; did you mean {nearest!r}?" if nearest else f"; the registry has {_some(registry)}"
    raise ConfigError(f"dataset_use: unknown dataset {name!r}{hint}")


def _spelled(name: str) -> str:
    """As it is written in dataset_use."""
    if not re.search(r"""[,%]|^[\s"']|\s$""", name):
        return name
    return f"'{name}'" if '"' in name else f'"{name}"'


def _some(registry: Mapping[str, Dataset]) -> str:
    names = list(registry)
    others = f" and {len(names) - _MOST_NAMES:,} others" if len(names) > _MOST_NAMES else ""
    return ", ".join(names[:_MOST_NAMES]) + others if names else "none"
