"""How far a stage is: a bar in a terminal, one line a minute in a log file."""

from __future__ import annotations

import sys
import time

from tqdm import tqdm

_LOG_SECONDS = 60.0


class Progress:
    """Counts samples as they are taken up, and what finished jobs wrote and rejected. A context manager."""

    def __init__(self, stage: str, total: int) -> None:
        self._stage = stage
        self._total = total
        self._done = self._rejects = 0
        self._num_bytes = 0
        self._started = self._logged = time.monotonic()
        is_terminal = sys.stderr.isatty()
        self._bar = tqdm(total=total, desc=stage, unit="sample", leave=False, file=sys.stderr) if is_terminal else None

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def take_up(self) -> None:
        """A sample is taken up; samples of a job that runs again count again."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
        elif time.monotonic() - self._logged >= _LOG_SECONDS:
            self._logged = time.monotonic()
            print(self.line(self._logged - self._started), file=sys.stderr, flush=True)

    def finish_job(self, *, num_bytes: int, rejects: int) -> None:
        self._num_bytes += num_bytes
        self._rejects += rejects
        if self._bar is not None:
            elapsed = max(time.monotonic() - self._started, 1e-9)
            self._bar.set_postfix_str(f"{self._num_bytes / elapsed / 1e6:,.1f} MB/s, {self._rejects:,} rejects")

    def line(self, elapsed: float) -> str:
        """What a log file gets, `elapsed` seconds after the start."""
        rate = self._done / elapsed
        left = max(self._total - self._done, 0) / rate if rate else 0.0
        return (
            f"{self._stage}: {self._done:,} of {self._total:,} samples, {rate:,.0f} samples/s, "
            f"{self._num_bytes / elapsed / 1e6:,.1f} MB/s, {self._rejects:,} rejects, {_clock(left)} left"
        )


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{seconds:02}"
