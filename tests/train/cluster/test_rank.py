import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from train.cluster.rank import guard_rank, stop_seconds
from train.errors import UsageError

ROOT = Path(__file__).parents[3]
RANK = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "RANK_ID": "1"}
STUCK = """
import ctypes, os, signal, sys
from train.cluster.rank import guard_rank
guard_rank()
signal.signal(signal.SIGTERM, lambda *_: None)
print("stuck", flush=True)
mutex = ctypes.create_string_buffer(64)  # locked twice by one thread: as a collective whose other rank is gone
libc = ctypes.CDLL(None)
libc.pthread_mutex_lock(mutex)
libc.pthread_mutex_lock(mutex)
"""


def test_a_rank_that_is_stuck_in_foreign_code_ends_some_time_after_the_signal() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", STUCK],
        cwd=ROOT,
        env={**os.environ, **RANK, "TRAIN_STOP_SECONDS": "0.2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "stuck\n"
    process.terminate()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "train: stuck: still running 0.2 s after it was told to stop" in err
    assert '"<string>", line 10 in <module>' in err


def test_a_process_that_is_alone_is_not_guarded() -> None:
    before = signal.set_wakeup_fd(-1)
    assert not guard_rank()
    assert signal.set_wakeup_fd(before) == -1


def test_a_rank_whose_launcher_died_before_it_looked_ends() -> None:
    program = "from train.cluster.rank import guard_rank; guard_rank(); print('goes on')"
    run = [sys.executable, "-c", program]
    gone = subprocess.run(run, cwd=ROOT, env={**os.environ, **RANK, "TRAIN_LAUNCHER_PID": "1"}, capture_output=True)
    assert (gone.returncode, gone.stdout) == (1, b"")
    there = {**os.environ, **RANK, "TRAIN_LAUNCHER_PID": str(os.getpid())}
    assert subprocess.run(run, cwd=ROOT, env=there, capture_output=True).stdout == b"goes on\n"


def test_ranks_of_another_launcher_are_guarded_and_die_as_they_did() -> None:
    program = "from train.cluster.rank import guard_rank; print(guard_rank())"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **RANK}, capture_output=True)
    assert done.stdout == b"False\n"


@pytest.mark.parametrize("text", ["0", "-1", "soon", "inf", "nan"])
def test_a_time_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=f"TRAIN_STOP_SECONDS is '{text}'"):
        stop_seconds({"TRAIN_STOP_SECONDS": text})
    assert stop_seconds({"TRAIN_STOP_SECONDS": "2.5"}) == 2.5
