"""SIGTERM and SIGINT: one line, the exit code of shells, and no process left."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing.context import SpawnProcess
from pathlib import Path

import pytest
from demo_build import Demo

from preprocess.jobs.executor import WorkerPool
from preprocess.jobs.signals import Stopped, stopping_on_signals
from tests.preprocess.faulty_stage import FaultyStage, Hanging, within
from tests.preprocess.workshop import Outcome, published

ROOT = Path(__file__).parents[3]
PROGRAM = """
import sys, pathlib
from preprocess.jobs.executor import WorkerPool
from preprocess.jobs.signals import Stopped, stopping_on_signals
from tests.preprocess.faulty_stage import FaultyStage
try:
    with stopping_on_signals(), WorkerPool(2, 600) as pool:
        list(pool.run(FaultyStage(pathlib.Path(sys.argv[1])), [["hang"], ["hang"]], lambda: None))
except Stopped as stop:
    print(stop, file=sys.stderr)
    sys.exit(stop.exit_code)
"""


@pytest.fixture(autouse=True)
def heeded() -> Iterator[None]:
    """A shell starts what it puts into the background with Ctrl-C ignored, the tests and their children too."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
@pytest.mark.parametrize("whom", ["the parent", "all"])
def test_a_signal_stops_the_workers_and_is_one_line(
    tmp_path: Path, number: signal.Signals, code: int, whom: str
) -> None:
    with within(60):
        hanging = Hanging(tmp_path)
        parent = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, tmp_path],
            cwd=ROOT,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        hanging.wait_for(2)
        (os.kill if whom == "the parent" else os.killpg)(parent.pid, number)
        _, errors = parent.communicate()
        hanging.wait_for_their_end()
    assert errors == f"stopped by {number.name}; the same command goes on\n"
    assert parent.returncode == code


def test_a_run_that_a_queue_stops_goes_on_with_the_same_command(demo: Demo, demo_run: Outcome, tmp_path: Path) -> None:
    target = tmp_path / "out"
    command = [sys.executable, "-m", "preprocess", "run", f"--config={demo.config}", f"--output_dir={target}"]
    command += ["--workers=2", "--shard_bytes=5000000"]
    with within(120):
        job = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        while not (target / "plan" / "inputs.json").exists():
            assert job.poll() is None
        job.send_signal(signal.SIGTERM)
        _, errors = job.communicate()
    assert errors == "preprocess: stopped by SIGTERM; the same command goes on\n"
    assert job.returncode == 143
    assert not (target / "manifest.json").exists()
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert published(target) == published(demo_run.folder)


def test_a_signal_while_a_worker_starts_leaves_no_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """One that nobody stops would keep the interpreter from ending."""
    start = SpawnProcess.start

    def start_and_signal(process: SpawnProcess) -> None:
        start(process)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(SpawnProcess, "start", start_and_signal)
    with pytest.raises(Stopped), stopping_on_signals(), WorkerPool(2, 60) as pool:
        list(pool.run(FaultyStage(tmp_path), [["fine"]], lambda: None))
    assert multiprocessing.active_children() == []


def test_a_run_without_standard_streams_works(demo: Demo, demo_run: Outcome, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "preprocess", "run", f"--config={demo.config}", f"--output_dir={tmp_path / 'out'}"]
    command += ["--workers=1", "--shard_bytes=5000000"]
    subprocess.run(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", *command], cwd=ROOT, check=True)
    assert published(tmp_path / "out") == published(demo_run.folder)


def test_only_the_first_signal_counts_and_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    cleaned_up = False
    with pytest.raises(Stopped, match="SIGTERM"), stopping_on_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        finally:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
            cleaned_up = True
    assert cleaned_up
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_what_handles_errors_does_not_handle_a_signal() -> None:
    with pytest.raises(Stopped), stopping_on_signals():
        try:
            signal.raise_signal(signal.SIGINT)
        except Exception:
            pytest.fail("it was taken for an error")


def test_code_that_loses_the_exception_of_a_handler_does_not_hide_the_signal() -> None:
    with pytest.raises(Stopped, match="SIGTERM"), stopping_on_signals():
        try:
            signal.raise_signal(signal.SIGTERM)
        except Stopped:
            raise SystemError("returned a result with an exception set") from None


def test_other_exceptions_pass() -> None:
    with pytest.raises(SystemError), stopping_on_signals():
        raise SystemError


def test_a_signal_that_was_ignored_stays_so() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with stopping_on_signals():
            signal.raise_signal(signal.SIGINT)
    finally:
        signal.signal(signal.SIGINT, before)
