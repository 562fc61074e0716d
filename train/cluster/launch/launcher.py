"""Start the ranks of this node, and see them to their end.

What happens                                   what the launcher does
all ranks of all nodes end with 0              ends with 0
a rank or the scheduler fails, or is killed    ends all others at once, shows its last lines, ends with its code
another node fails, or is gone                 ends all, says which
SIGTERM, Ctrl-C                                passes SIGTERM on to every rank: all stop after the same step, and save
a second one, or TRAIN_STOP_SECONDS later      ends all at once
it is killed itself                            the kernel and the keeper end all
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType

from train.cluster.launch.job import Job
from train.cluster.launch.keeper import Keeper
from train.cluster.launch.nodes import Nodes, meet
from train.cluster.launch.processes import SCHEDULER_COMMAND, Copy, Process, environment_of
from train.cluster.rank import stop_seconds
from train.errors import TrainingFailed, UsageError

_SECONDS_BETWEEN_LOOKS = 0.1
_PATIENCE = 1.1  # times TRAIN_STOP_SECONDS: the watchdogs of the ranks come first, and say where each stood
_SIGNALS = (signal.SIGTERM, signal.SIGINT)

Say = Callable[[str], None]


class _Signals:
    """Counts the signals that ask to stop. One that is ignored, as Ctrl-C in a script's background, stays ignored."""

    def __init__(self) -> None:
        self.count = 0
        self.last = signal.SIGTERM

    def __enter__(self) -> _Signals:
        self._before = {number: signal.getsignal(number) for number in _SIGNALS}
        for number, handler in self._before.items():
            if handler != signal.SIG_IGN:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *exception: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def is_any(self) -> bool:
        return self.count > 0

    @property
    def exit_code(self) -> int:
        return 128 + self.last  # as shells say it

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.last = signal.Signals(number)


def launch(
    job: Job, command: Sequence[str], log_dir: Path, say: Say, scheduler: Sequence[str] = SCHEDULER_COMMAND
) -> int:
    """Run `command` as every rank of this node, and return the exit code of the job. For the main thread.

    Raises UsageError or TrainingFailed where the job can't begin.
    """
    patience = _PATIENCE * stop_seconds() + 1
    with _Signals() as signals:
        nodes = meet(job, signals.is_any)
        if nodes is None:
            say(f"{signals.last.name}: stopped while waiting for other nodes")
            return signals.exit_code
        try:
            log_dir.mkdir(parents=True, exist_ok=True)
            keeper = Keeper(log_dir / f"launcher_{job.node}.log")
        except OSError as error:
            nodes.end(f"node {job.node} can't write {log_dir}")
            raise UsageError(f"{log_dir} can't be written: {error.strerror}") from error
        running = _Running(job, nodes, keeper, signals, say)
        code, reason = 1, f"node {job.node} failed"
        try:
            running.start(command, scheduler, log_dir)
            code, failure = running.see_to_the_end(patience)
            reason = failure or ""
        except OSError as error:
            raise TrainingFailed(f"a process can't be started: {error}") from error
        finally:
            running.end_all()
            nodes.end(reason or None)
            keeper.close()
        return code


class _Running:
    """The processes of this node."""

    def __init__(self, job: Job, nodes: Nodes, keeper: Keeper, signals: _Signals, say: Say) -> None:
        self._job = job
        self._nodes = nodes
        self._keeper = keeper
        self._signals = signals
        self._say = say
        self._scheduler: list[Process] = []  # one, on node 0
        self._ranks: list[Process] = []
        self._copy: Copy | None = None  # of rank 0, on the terminal

    def start(self, command: Sequence[str], scheduler: Sequence[str], log_dir: Path) -> None:
        job = self._job
        for rank in [None, *job.ranks] if job.node == 0 else job.ranks:
            process = Process(
                "scheduler" if rank is None else f"rank {rank}",
                scheduler if rank is None else command,
                environment_of(job, rank, os.environ),
                log_dir,
            )
            self._keeper.add(process.pid)
            (self._scheduler if rank is None else self._ranks).append(process)
        if job.node == 0:
            self._copy = Copy(self._ranks[0], sys.stdout.buffer)
        node = f", node {job.node} of {job.num_nodes}" if job.num_nodes > 1 else ""
        ranks = f"ranks {job.ranks[0]}-{job.ranks[-1]}" if len(job.ranks) > 1 else f"rank {job.ranks[0]}"
        self._say(f"{ranks} of {job.size}{node}; logs in {log_dir}")

    def see_to_the_end(self, patience: float) -> tuple[int, str | None]:
        """The exit code of the job, and why it failed if it did. Some processes may be running yet."""
        told_to_stop: float | None = None
        has_said_done = False
        while True:
            self._copy_log()
            if self._signals.count > 1:
                self._say(f"{self._signals.last.name} again: ended all at once")
                return self._signals.exit_code, f"node {self._job.node} was told to stop at once"
            if told_to_stop is None and self._signals.count:
                told_to_stop = time.monotonic()
                self._pass_on()
            needed = [] if all(rank.had_done() for rank in self._ranks) else self._scheduler
            failed = next((each for each in [*self._ranks, *needed] if each.poll()), None)
            if failed is not None:
                return self._failed(failed)
            failure = self._nodes.failure()
            if failure is not None:
                self._say(f"{failure}; ended the ranks of this node")
                return 1, failure
            if all(rank.poll() == 0 for rank in self._ranks):
                if not has_said_done:
                    self._nodes.done()
                    has_said_done = True
                if self._nodes.is_done():
                    self._copy_log()
                    for crash in filter(None, (rank.crash_after_its_work() for rank in self._ranks)):
                        self._say(f"note: {crash}")
                    return 0, None
            if told_to_stop is not None and time.monotonic() - told_to_stop > patience:
                stuck = ", ".join(rank.name for rank in self._ranks if rank.poll() is None)
                self._say(f"{stuck} did not stop within {patience:g} s: ended")
                return 1, f"ranks of node {self._job.node} were stuck"
            time.sleep(_SECONDS_BETWEEN_LOOKS)

    def end_all(self) -> None:
        """Kill what is left, and what ranks left."""
        processes = [*self._ranks, *self._scheduler]
        for process in processes:
            process.kill()
        for process in processes:
            if not process.is_buried():
                self._say(f"{process.name} (process {process.pid}) can't be killed: its driver does not let it go")
            self._keeper.remove(process.pid)

    def _pass_on(self) -> None:
        self._say(
            f"{self._signals.last.name}: passed on to all ranks, which stop after the same step and save; a second one "
            "ends them at once"
        )
        for rank in self._ranks:
            rank.stop()

    def _failed(self, process: Process) -> tuple[int, str]:
        code = process.poll() or 1
        if self._signals.count and code == -signal.SIGTERM:  # it had not come to where it would save
            self._say(f"{self._signals.last.name}: stopped before training began")
            return self._signals.exit_code, f"node {self._job.node} was told to stop before training began"
        self._copy_log()
        end = process.describe_end()
        self._say(f"{end}; ended all others. Its log is {process.log}")
        if self._copy is None or process is not self._ranks[0]:  # of that one, the terminal has them already
            for line in process.last_lines():
                self._say(f"    {line}")
        return code if code > 0 else 128 - code, end

    def _copy_log(self) -> None:
        if self._copy is not None:
            self._copy.go_on()
