"""Shapes for inline SVG: one unit to the right is one token. Pure functions from arrays to path data."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from shards.pack import IGNORE_INDEX, Pack

_MOST_POINTS = 2000  # of one line: beyond that, a screen shows no more


def boxes_path(ranges: Iterable[tuple[int, int]], height: int) -> str:
    """One box for each (start, stop), `height` high from 0 downwards."""
    return "".join(f"M{start} 0h{stop - start}v{height}h{start - stop}z" for start, stop in ranges)


def supervised_ranges(pack: Pack) -> Iterator[tuple[int, int]]:
    """(start, stop) of each run of supervised tokens."""
    supervised = np.concatenate([[False], pack.labels != IGNORE_INDEX, [False]])
    edges = np.flatnonzero(supervised[1:] != supervised[:-1]).tolist()
    return zip(edges[::2], edges[1::2], strict=True)


def position_paths(pack: Pack) -> tuple[str, str, str]:
    """Lines of temporal, height and width positions, from 0 downwards; a new line begins with each segment."""
    boundaries = pack.cu_seqlens.tolist()
    temporal, height, width = (
        "".join(
            _line(start, row[start:stop], _MOST_POINTS * (stop - start) // len(row))
            for start, stop in pairwise(boundaries)
        )
        for row in pack.position_ids
    )
    return temporal, height, width


def _line(start: int, values: npt.NDArray[np.int32], most_points: int) -> str:
    """Only the corners; where even those are too many, the smallest and largest value of each stretch."""
    places = _corners(values)
    if len(places) > max(most_points, 4):
        places = _extremes(values, max(most_points // 2, 2))
    points = zip((places + start).tolist(), values[places].tolist(), strict=True)
    return "M" + "L".join(f"{x} {y}" for x, y in points)


def _corners(values: npt.NDArray[np.int32]) -> npt.NDArray[np.intp]:
    """Indices where the slope changes, and both ends."""
    bends = np.flatnonzero(np.diff(values, n=2)) + 1
    return np.unique(np.concatenate([[0], bends, [len(values) - 1]]))


def _extremes(values: npt.NDArray[np.int32], num_stretches: int) -> npt.NDArray[np.intp]:
    edges = np.linspace(0, len(values), num_stretches + 1).astype(np.intp)
    stretches = [(low, values[low:high]) for low, high in pairwise(edges) if high > low]
    return np.unique([low + place for low, part in stretches for place in (part.argmin(), part.argmax())])
