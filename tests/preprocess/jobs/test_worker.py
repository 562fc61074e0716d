"""A worker process by itself, and the processes that it starts for items that may kill them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from preprocess.errors import FatalError, WorkerBug
from preprocess.jobs.executor import WorkerPool
from preprocess.jobs.worker import LOAD_SECONDS, WorkerProcess
from tests.preprocess.faulty_stage import FaultyStage, Hanging, within

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _no_test_waits_for_ever() -> Iterator[None]:
    with within(120):
        yield


def results(stage: FaultyStage, *job: str, item_timeout: float = 60) -> list[str]:
    with WorkerPool(1, item_timeout) as pool:
        [(_, done)] = pool.run(stage, [list(job)], lambda: None)
    return done


# --- items one at a time ---------------------------------------------------------------------------------------------


def test_an_item_that_always_crashes_costs_four_processes_however_many_others_there_are(tmp_path: Path) -> None:
    before, after = [f"before {n}" for n in range(100)], [f"after {n}" for n in range(100)]
    done = results(stage := FaultyStage(tmp_path), *before, "crash", *after)
    assert done[:100] + done[101:] == before + after
    assert done[100] == "crash: failed twice, alone in a fresh process; at last its decoder died (exit code -6)"
    assert stage.loads == 3 * ["worker"] + 4 * ["sandbox"]  # used, fresh, fresh; and one for what comes after


@pytest.mark.parametrize(("fault", "exit_code"), [("memory runs out", 12), ("the kernel kills", -9)])
def test_a_reject_for_want_of_memory_says_so(tmp_path: Path, fault: str, exit_code: int) -> None:
    [done] = results(FaultyStage(tmp_path), fault)
    assert done == (
        "crash: failed twice, alone in a fresh process; at last its decoder died "
        f"(exit code {exit_code}); is memory short? Run again with fewer --workers"
    )


def test_an_item_that_hangs_is_tried_twice_in_a_fresh_process(tmp_path: Path) -> None:
    hanging = Hanging(tmp_path)
    done = results(stage := FaultyStage(tmp_path), "hang in the sandbox", "b", item_timeout=1.5)
    hanging.wait_for(2)
    hanging.wait_for_their_end()
    assert done == ["timeout: failed twice, alone in a fresh process; at last it took more than 1.5 s", "b"]
    assert stage.loads == 3 * ["worker"] + 3 * ["sandbox"]


def test_only_failures_in_fresh_processes_count(tmp_path: Path) -> None:
    job = ["a", *3 * ["crash unless fresh"]]
    assert results(stage := FaultyStage(tmp_path), *job) == job
    assert stage.loads == 3 * ["worker"] + 4 * ["sandbox"]


def test_a_used_process_and_a_fresh_one_are_not_two_failures(tmp_path: Path) -> None:
    job = ["a", "crash the first two sandboxes"]
    assert results(stage := FaultyStage(tmp_path), *job) == job
    assert stage.loads == 3 * ["worker"] + 3 * ["sandbox"]


@pytest.mark.parametrize(
    ("on_load", "error", "message"),
    [
        ("crash sandboxes", FatalError, r"died or hung while loading \(exit code -6\); is memory short\?"),
        ("stale handle of sandboxes", FatalError, "Stale file handle: 'tokenizer.json'; .* run the same command again"),
        ("bug of sandboxes", WorkerBug, "ZeroDivisionError"),
    ],
)
def test_a_process_that_fails_while_loading_says_nothing_about_the_item(
    tmp_path: Path, on_load: str, error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        results(FaultyStage(tmp_path, on_load), "crash in the sandbox")


def test_a_disk_that_fails_is_fatal_in_the_sandbox_too(tmp_path: Path) -> None:
    with pytest.raises(FatalError, match="Stale file handle"):
        results(FaultyStage(tmp_path), "stale handle in the sandbox")


# --- the end of a worker ---------------------------------------------------------------------------------------------


def test_a_worker_whose_pipe_is_gone_ends_quietly(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    os.mkfifo(tmp_path / "wait")
    worker = WorkerProcess(item_timeout=60)
    worker.send("load", FaultyStage(tmp_path))
    assert worker.receive(LOAD_SECONDS) == ("loaded", None)
    worker.send("job", ["wait", "another, whose announcement fails"])
    assert worker.receive(LOAD_SECONDS) == ("item", None)
    worker.connection.close()
    open(tmp_path / "wait", "w").close()
    assert worker.wait_for_end() == 0
    assert capfd.readouterr().err == ""


def run_pool(tmp_path: Path, *job: str) -> subprocess.Popen[str]:
    """A process with a pool of one worker."""
    program = (
        "import sys, pathlib\n"
        "from preprocess.jobs.executor import WorkerPool\n"
        "from tests.preprocess.faulty_stage import FaultyStage\n"
        "with WorkerPool(1, 600) as pool:\n"
        "    list(pool.run(FaultyStage(pathlib.Path(sys.argv[1])), [sys.argv[2:]], lambda: None))\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, tmp_path, *job], cwd=ROOT, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked for it")
@pytest.mark.parametrize("fault", ["hang", "hang in the sandbox"])
def test_no_process_outlives_a_parent_that_is_killed(tmp_path: Path, fault: str) -> None:
    hanging = Hanging(tmp_path)
    parent = run_pool(tmp_path, fault)
    hanging.wait_for(1)
    parent.kill()
    hanging.wait_for_their_end()
    _, errors = parent.communicate()
    assert "Traceback" not in errors


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is asked for it")
def test_a_decoder_that_hangs_in_the_sandbox_ends_with_the_pool(tmp_path: Path) -> None:
    class Enough(Exception):
        pass

    hanging = Hanging(tmp_path)
    num_begun = 0

    def when_the_sandbox_hangs() -> None:
        nonlocal num_begun
        num_begun += 1
        if num_begun == 3:  # after two workers that died of it
            hanging.wait_for(1)
            raise Enough

    with pytest.raises(Enough), WorkerPool(1, 600) as pool:
        list(pool.run(FaultyStage(tmp_path), [["hang in the sandbox"]], when_the_sandbox_hangs))
    hanging.wait_for_their_end()


# --- threads ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ThreadCounter:
    """Its results are the threads of a worker in which NumPy has worked."""

    def load(self) -> ThreadCounter:
        return self

    def do_item(self, item: int) -> int:
        import numpy as np

        square = np.ones((item, item))
        assert np.all(square @ square == item)
        return len(os.listdir("/proc/self/task"))

    def do_job(self, job: int, do_item: Callable[[int], int], before_item: Any) -> int:
        return do_item(job)


@pytest.mark.skipif(not os.path.exists("/proc/self/task"), reason="there is no list of threads")
def test_a_worker_computes_in_one_thread_whatever_the_machine_says(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(name, "64")
    with WorkerPool(1, item_timeout=60) as pool:
        assert list(pool.run(ThreadCounter(), [300], lambda: None)) == [(300, 1)]


def test_signals_of_a_terminal_or_a_queue_are_left_to_the_parent(tmp_path: Path) -> None:
    worker = WorkerProcess(item_timeout=60)
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(worker._process.pid, number)
    worker.send("load", FaultyStage(tmp_path))
    assert worker.receive(LOAD_SECONDS) == ("loaded", None)
    worker.kill()
    worker.wait_for_end()
