"""Launchers for tests, as processes of their own; their ranks are whatever a test wants, with or without MindSpore."""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
SLEEPING = (sys.executable, "-S", "-c", "import time; time.sleep(600)")  # a scheduler that schedules nothing
_LAUNCHER = """
import os, signal, sys
from pathlib import Path
from train.cluster.launch.job import read_job
from train.cluster.launch.launcher import launch
from train.cluster.launch.processes import SCHEDULER_COMMAND
from train.errors import TrainingFailed, UsageError
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where pytest runs in the background of a script
def say(line):
    print("launch:", line, file=sys.stderr, flush=True)
nproc, logs, command, scheduler = int(sys.argv[1]), Path(sys.argv[2]), eval(sys.argv[3]), eval(sys.argv[4])
try:
    sys.exit(launch(read_job(os.environ, nproc, lambda: 0), command, logs, say, scheduler or SCHEDULER_COMMAND))
except (UsageError, TrainingFailed) as error:
    say(error)
    sys.exit(2 if isinstance(error, UsageError) else 1)
"""


def start_launcher(
    nproc: int, folder: Path, command: Sequence[str], scheduler: Sequence[str] | None = SLEEPING, **variables: str
) -> subprocess.Popen[str]:
    """Logs go to folder/logs. `scheduler` None is MindSpore's."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("HCCL")}  # MindSpore sets one
    arguments = [str(nproc), str(folder / "logs"), repr(list(command)), repr(scheduler and list(scheduler))]
    return subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER, *arguments],
        env={**inherited, "PYTHONPATH": str(ROOT), **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run_launcher(
    nproc: int,
    folder: Path,
    command: Sequence[str],
    scheduler: Sequence[str] | None = SLEEPING,
    *,
    most_seconds: float = 300,
    **variables: str,
) -> subprocess.CompletedProcess[str]:
    process = start_launcher(nproc, folder, command, scheduler, **variables)
    try:
        out, err = process.communicate(timeout=most_seconds)
    except subprocess.TimeoutExpired:
        process.kill()  # the ranks end with it
        raise
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)
