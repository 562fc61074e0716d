"""How far a stage is: a bar in a terminal, one line a minute in a log file."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tqdm import tqdm

_LOG_SECONDS = 60.0


class StageProgress:
    """Counts samples as they are taken up, and what finished jobs wrote and rejected. A context manager."""

    def __init__(self, stage: str, total: int) -> None:
        self._stage = stage
        self._total = total
        self._done = self._rejects = 0
        self._num_bytes = 0
        self._started = self._logged = time.monotonic()
        self._bar = _make_bar(stage, total) if sys.stderr.isatty() else None

    def __enter__(self) -> StageProgress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def skip(self, samples: int) -> None:
        """These were done before: they are no work, and say nothing about the time left."""
        self._set_total(self._total - samples)

    def take_up(self) -> None:
        """A sample is taken up; samples of a job that runs again count again."""
        self._done += 1
        if self._done > self._total:  # a record may hold several samples
            self._set_total(self._done)
        if self._bar is not None:
            self._bar.update()
        elif time.monotonic() - self._logged >= _LOG_SECONDS:
            self._logged = time.monotonic()
            print(self.line(self._logged - self._started), file=sys.stderr, flush=True)

    def finish_job(self, *, rejects: int, num_bytes: int = 0) -> None:
        """`num_bytes` were written, where the stage is about writing."""
        self._num_bytes += num_bytes
        self._rejects += rejects
        if self._bar is not None:
            self._bar.set_postfix_str(self._yield(max(time.monotonic() - self._started, 1e-9)))

    def line(self, elapsed: float) -> str:
        """What a log file gets, `elapsed` seconds after the start."""
        rate = self._done / elapsed
        left = max(self._total - self._done, 0) / rate if rate else 0.0
        return (
            f"{self._stage}: {self._done:,} of {self._total:,} samples, {rate:,.0f} samples/s, "
            f"{self._yield(elapsed)}, {_clock(left)} left"
        )

    def _yield(self, elapsed: float) -> str:
        written = f"{self._num_bytes / elapsed / 1e6:,.1f} MB/s, " if self._num_bytes else ""
        return f"{written}{self._rejects:,} rejects"

    def _set_total(self, total: int) -> None:
        self._total = total
        if self._bar is not None:
            self._bar.total = total


def _make_bar(stage: str, total: int) -> tqdm:
    from tqdm import tqdm  # it takes long to import, and workers, who import this module too, have no terminal

    return tqdm(total=total, desc=stage, unit="sample", leave=False, file=sys.stderr)


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
