"""Run tasks on worker processes that a decoder may crash or hang.

A task whose worker dies or exceeds the time limit on one sample runs again, unchanged. If that fails too, it runs once
more with every sample encoded in a fresh process of its own, and only a sample that fails there twice is a reject
(crash or timeout). No other outcome depends on the machine.
"""

from __future__ import annotations

import multiprocessing
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import FatalError, Reason, SampleError
from preprocess.materialise import Materialiser
from preprocess.sample import EncodedSample, MeasuredSample

_SPAWN = multiprocessing.get_context("spawn")
_ATTEMPTS_TOGETHER = 2  # of a task in an ordinary worker, before its samples are encoded one by one
_ATTEMPTS_ALONE = 2  # of a sample in a process of its own, before it is a reject
_POLL_SECONDS = 1.0

EncoderLoader = Callable[[Path, RunConfig], SampleEncoder]


class WorkerBug(Exception):
    """A worker ended with an exception that is our fault; the message is its traceback."""


def run_tasks(config: RunConfig, tasks: Sequence[int], load_encoder: EncoderLoader) -> Iterator[int]:
    """Run every task; yields numbers of samples as they are taken up (again, where a worker died).

    `config.workers` 0 runs them in this process, without protection from crashes. Raises FatalError or WorkerBug.
    """
    if config.workers == 0:
        encoder = load_encoder(config.model, config)
        for task in tasks:
            taken_up: list[None] = []
            before_sample = partial(taken_up.append, None)
            Materialiser(config.output_dir, encoder.encode, encoder.constants, before_sample).run_task(task)
            yield len(taken_up)
        return
    pool = _Pool(config, load_encoder, tasks)
    try:
        yield from pool.run()
    finally:
        pool.stop()


@dataclass
class _Worker:
    process: Any
    connection: Connection
    task: int | None = None
    since: float = field(default_factory=time.monotonic)  # start of the sample it works on


class _Pool:
    def __init__(self, config: RunConfig, load_encoder: EncoderLoader, tasks: Sequence[int]) -> None:
        self._config = config
        self._load_encoder = load_encoder
        self._waiting = deque(tasks)
        self._attempts = dict.fromkeys(tasks, 0)
        self._workers = [self._start() for _ in range(min(config.workers, len(tasks)))]

    def run(self) -> Iterator[int]:
        for worker in self._workers:
            self._assign(worker)
        while any(worker.task is not None for worker in self._workers):
            by_connection = {worker.connection: worker for worker in self._workers}
            for connection in wait(list(by_connection), timeout=_POLL_SECONDS):
                assert isinstance(connection, Connection)
                yield from self._listen(by_connection[connection])
            self._replace_hung_workers()

    def stop(self) -> None:
        for worker in self._workers:
            worker.connection.close()
            worker.process.terminate()
            worker.process.join()

    def _start(self) -> _Worker:
        ours, theirs = _SPAWN.Pipe()
        process = _SPAWN.Process(target=_work, args=(theirs, self._config, self._load_encoder))
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _assign(self, worker: _Worker) -> None:
        worker.task = self._waiting.popleft() if self._waiting else None
        worker.since = time.monotonic()
        if worker.task is not None:
            self._attempts[worker.task] += 1
            worker.connection.send((worker.task, self._attempts[worker.task] > _ATTEMPTS_TOGETHER))

    def _listen(self, worker: _Worker) -> Iterator[int]:
        try:
            kind, value = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            self._restart(worker)
            return
        worker.since = time.monotonic()
        if kind == "sample":
            yield 1
        elif kind == "done":
            self._assign(worker)
        elif kind == "fatal":
            raise FatalError(value)
        else:
            raise WorkerBug(value)

    def _replace_hung_workers(self) -> None:
        limit = self._config.sample_timeout
        for worker in list(self._workers):
            isolated = worker.task is not None and self._attempts[worker.task] > _ATTEMPTS_TOGETHER
            # An isolating worker watches its own processes; each sample may take all of its attempts.
            allowed = limit * (_ATTEMPTS_ALONE + 1) if isolated else limit
            if worker.task is not None and time.monotonic() - worker.since > allowed:
                worker.process.kill()
                self._restart(worker)

    def _restart(self, dead: _Worker) -> None:
        """Replace a dead worker; its task goes to the front of the queue."""
        dead.connection.close()
        dead.process.join()
        if dead.task is None or self._attempts[dead.task] > _ATTEMPTS_TOGETHER:
            raise FatalError(
                f"the worker for shard {dead.task} died (exit code {dead.process.exitcode}) outside of any decoder; "
                "is memory short? Run again with fewer --workers"
            )
        self._waiting.appendleft(dead.task)
        fresh = self._start()
        self._workers[self._workers.index(dead)] = fresh
        self._assign(fresh)


def _work(connection: Connection, config: RunConfig, load_encoder: EncoderLoader) -> None:
    """Main function of a worker: takes (task, isolate) until the pipe closes."""
    encoder = load_encoder(config.model, config)
    alone = IsolatedEncoder(config, load_encoder)
    before_sample = partial(connection.send, ("sample", None))
    while True:
        try:
            task, isolate = connection.recv()
        except EOFError:
            return
        encode = alone.encode if isolate else encoder.encode
        try:
            Materialiser(config.output_dir, encode, encoder.constants, before_sample).run_task(task)
        except FatalError as error:
            connection.send(("fatal", str(error)))
            return
        except Exception:
            connection.send(("bug", traceback.format_exc()))
            return
        connection.send(("done", task))


@dataclass(frozen=True)
class IsolatedEncoder:
    """Encodes each sample in a fresh process, so that nothing a decoder does reaches further than that sample."""

    config: RunConfig
    load_encoder: EncoderLoader

    def encode(self, measured: MeasuredSample) -> EncodedSample:
        """Raises SampleError: what encoding raised, or crash or timeout after two attempts."""
        for attempt in range(1, _ATTEMPTS_ALONE + 1):
            try:
                return self._encode_in_fresh_process(measured)
            except SampleError as error:
                if error.reason not in (Reason.CRASH, Reason.TIMEOUT) or attempt == _ATTEMPTS_ALONE:
                    raise
        raise AssertionError("unreachable")

    def _encode_in_fresh_process(self, measured: MeasuredSample) -> EncodedSample:
        media = ", ".join(map(str, (*measured.sample.images, *measured.sample.videos)))
        ours, theirs = _SPAWN.Pipe(duplex=False)
        process = _SPAWN.Process(target=_encode_one, args=(theirs, self.config, self.load_encoder, measured))
        process.start()
        theirs.close()
        try:
            if not ours.poll(self.config.sample_timeout):
                raise SampleError(
                    Reason.TIMEOUT, f"{media}: not decoded in {self.config.sample_timeout:g} s, alone, twice"
                )
            result = ours.recv()
        except EOFError:
            process.join()
            raise SampleError(
                Reason.CRASH, f"{media}: the decoder's process died (exit code {process.exitcode}), alone, twice"
            ) from None
        finally:
            process.kill()
            process.join()
            ours.close()
        if isinstance(result, Exception):
            raise result
        return result


def _encode_one(
    connection: Connection, config: RunConfig, load_encoder: EncoderLoader, measured: MeasuredSample
) -> None:
    result: EncodedSample | SampleError | FatalError | WorkerBug
    try:
        result = load_encoder(config.model, config).encode(measured)
    except (SampleError, FatalError) as error:
        result = error
    except Exception:
        result = WorkerBug(traceback.format_exc())
    connection.send(result)
