"""`python -m preprocess run` as a user starts it: a process of its own, timed as a whole."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
# Python caches compiled modules, unless it is told not to as on some machines that test.
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}


def run_preprocess(flags: Mapping[str, object]) -> float:
    """Seconds of the whole command, process start included. Ends the program, saying why, where the command fails."""
    command = [sys.executable, "-m", "preprocess", "run"]
    for flag, value in flags.items():
        command += [f"--{flag}", str(value)]
    start = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - start
    if done.returncode:
        sys.exit(f"error: {' '.join(command)} ended with {done.returncode}:\n{done.stderr or done.stdout}")
    return seconds
