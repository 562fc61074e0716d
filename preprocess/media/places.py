"""Where the media of a dataset may lie: what `data_path` of the registry comes to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Archives:
    """One archive, or those that a pattern names."""

    pattern: str  # as absolute path
    archives: tuple[str, ...]  # absolute paths; of one in parts without the part's number

    def __str__(self) -> str:
        return self.pattern


@dataclass(frozen=True, kw_only=True)
class RemoteFolder:
    url: str  # without a slash at the end

    def __str__(self) -> str:
        return self.url


Place = Path | Archives | RemoteFolder
DataPath = Place | tuple[Place, ...] | None
"""A tuple: they are tried in order. None: media are named by absolute paths."""


def places_of(data_path: DataPath) -> tuple[Place | None, ...]:
    return data_path if isinstance(data_path, tuple) else (data_path,)


def as_written(data_path: DataPath) -> str | list[str] | None:
    """As JSON."""
    if isinstance(data_path, tuple):
        return [str(place) for place in data_path]
    return None if data_path is None else str(data_path)


def archives_of_places(data_path: DataPath) -> tuple[tuple[str, ...], ...]:
    """Of each place that is archives, these."""
    return tuple(place.archives for place in places_of(data_path) if isinstance(place, Archives))
