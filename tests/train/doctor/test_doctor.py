"""`python -m train doctor` as a process, alone and as two ranks."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


def doctor(*flags: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "train", "doctor", *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=400, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("num_ranks", [1, 2])
def test_it_passes_on_cpu_and_lists_what_it_skipped(num_ranks: int) -> None:
    done = doctor("--nproc", str(num_ranks), "--device", "CPU")
    assert done.returncode == 0, done.stdout + done.stderr
    lines = done.stdout.splitlines()
    assert sum(line.startswith("ok       one step at zero_stage") for line in lines) == 4
    assert any(line.startswith("skipped  attention kernel") for line in lines)
    exchanged = "ok       all-gather" if num_ranks > 1 else "skipped  collectives"
    assert any(line.startswith(exchanged) for line in lines)
    assert any(line.endswith(" 0 FAILED") for line in lines)
