"""Array jobs: several processes, on machines that share a folder and nothing else, do one run together.

Each has a share of the shards, which is fixed. Measuring goes by claims, because jobs start when the queue lets them: a
job measures the parts of its share, then whatever no other job is at, and waits for the rest. A claim is a file, made
by one job and touched as long as that job lives; one that was not touched for a while may be taken over. Two jobs at
one part are a waste and nothing worse: parts are written whole, and are the same whoever measures them.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread

from preprocess.errors import ConfigError
from shards.files.atomic import write_atomically

_TOUCH_SECONDS = 20.0
_DEAD_SECONDS = 150.0  # without a touch; some network file systems show it a minute late


@dataclass(frozen=True, kw_only=True)
class Share:
    """Which tasks this process does, of `of` equal shares; array jobs have one each."""

    index: int = 0
    of: int = 1

    def __contains__(self, number: int) -> bool:
        return number % self.of == self.index

    def __str__(self) -> str:
        return f"{self.index}/{self.of}"

    @classmethod
    def of_array_job(cls, task: str | None, environment: Mapping[str, str]) -> Share:
        """From `--task i/N`, else from the variables of a Slurm array job, else everything. Raises ConfigError."""
        if task is not None:
            match = re.fullmatch(r"(\d+)/(\d+)", task)
            if match is None or int(match[1]) >= int(match[2]):
                raise ConfigError(f"--task {task}: say i/N with i from 0 to N - 1, for example 0/8 to 7/8")
            return cls(index=int(match[1]), of=int(match[2]))
        if "SLURM_ARRAY_TASK_ID" not in environment:
            return cls()
        try:
            number, first, step, count = (
                int(environment[f"SLURM_ARRAY_TASK_{name}"]) for name in ("ID", "MIN", "STEP", "COUNT")
            )
        except (KeyError, ValueError):
            raise ConfigError(
                "SLURM_ARRAY_TASK_ID is set, but not _MIN, _STEP and _COUNT; say --task i/N (0/1: not shared)"
            ) from None
        index, rest = divmod(number - first, step)
        if rest or not 0 <= index < count:
            raise ConfigError(
                f"Slurm array job {number} is none of {count} in steps of {step} from {first}; where only some jobs "
                "run again, say --task i/N with the i and N that they had"
            )
        return cls(index=index, of=count)


EVERYTHING = Share()


class Claims:
    """What this job is at, in a folder that all jobs of the run see. A context manager."""

    def __init__(self, folder: Path, share: Share) -> None:
        self._folder = folder
        self._owner = str(share)
        self._clock = folder / f".clock-{share.index}-of-{share.of}"
        self._held: set[Path] = set()
        self._ended = Event()
        self._thread = Thread(target=self._keep_touching, daemon=True)

    def take(self, name: str) -> bool:
        """Whether no other living job is at `name`; if so, this one is from now on."""
        path = self._folder / name
        if self._is_taken(path):
            return False
        self._held.add(path)
        try:
            with open(path, "x") as file:
                file.write(self._owner)
        except FileExistsError:
            if self._is_taken(path):  # in this moment, by another job
                self._held.discard(path)
                return False
            write_atomically(path, self._owner)
        return True

    def is_free(self, name: str) -> bool:
        return not self._is_taken(self._folder / name)

    def release(self, name: str) -> None:
        path = self._folder / name
        self._held.discard(path)
        path.unlink(missing_ok=True)

    def _is_taken(self, path: Path) -> bool:
        try:
            owner, touched = path.read_bytes(), path.stat().st_mtime
        except FileNotFoundError:
            return False
        if owner == self._owner.encode():  # an earlier life of this job: the queue does not run it twice at once
            return False
        # A time far ahead is no touch either: the clock was set back, or the folder copied from another server.
        return abs(self._now() - touched) < _DEAD_SECONDS

    def _now(self) -> float:
        """By the clock of the file server, in seconds."""
        self._clock.touch()
        return self._clock.stat().st_mtime

    def _keep_touching(self) -> None:
        while not self._ended.wait(_TOUCH_SECONDS):
            for path in list(self._held):
                with suppress(OSError):  # released meanwhile; or a disk that may be back before anyone notices
                    os.utime(path)

    def __enter__(self) -> Claims:
        self._folder.mkdir(exist_ok=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._ended.set()
        self._thread.join()
        for path in (*self._held, self._clock):
            path.unlink(missing_ok=True)
