"""How long something takes on the device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

REPEATS = 5


def median_seconds(run: Callable[[], Any], repeats: int = REPEATS) -> float:
    """Of `run`, which must return a tensor; the first time, which may compile, does not count."""
    run().asnumpy()
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        run().asnumpy()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)
