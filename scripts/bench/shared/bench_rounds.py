"""Ways that alternate: whatever else a machine does hits neighbours alike, so ratios are taken within a round."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence

Times = dict[str, list[float]]


def alternate(ways: Mapping[str, Callable[[], float]], rounds: int, *, warm: bool = True) -> Times:
    """What each way says that it took, round after round; if `warm`, after one that fills caches."""
    times: Times = {way: [] for way in ways}
    for number in range(rounds + warm):
        for way, work in ways.items():
            seconds = work()
            if number >= warm:
                times[way].append(seconds)
    return times


def timed(work: Callable[[], object], clock: Callable[[], float] = time.perf_counter) -> Callable[[], float]:
    """`work`, as a way: seconds of that clock."""

    def way() -> float:
        start = clock()
        work()
        return clock() - start

    return way


def ratios(of: Sequence[float], to: Sequence[float]) -> list[float]:
    """How many times as much, in each round."""
    return [one / other for one, other in zip(of, to, strict=True)]


def median_ratio(of: Sequence[float], to: Sequence[float]) -> float:
    return statistics.median(ratios(of, to))


def spread(values: Sequence[float], style: str = "{:,.2f}") -> str:
    """`median (least to most)`."""
    median, least, most = (style.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({least} to {most})"
