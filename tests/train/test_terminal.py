"""What stands behind stdout and stderr never stops a run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LOG_TWICE = r"""
from train.terminal import log, prepare_streams, say
prepare_streams()
log("one")
log("tw\xf6")
say("\x1b[31m")
"""


def run(code: str, stdout: int, encoding: str = "utf-8") -> subprocess.CompletedProcess[bytes]:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    return subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=environment, stdout=stdout, stderr=subprocess.PIPE
    )


@pytest.fixture
def broken_pipe() -> int:
    reading, writing = os.pipe()
    os.close(reading)
    return writing


def test_nobody_has_to_read_the_log(broken_pipe: int) -> None:
    done = run(LOG_TWICE, broken_pipe)
    os.close(broken_pipe)
    assert (done.returncode, done.stderr) == (0, b"train: \\x1b[31m\n")


def test_the_help_may_be_cut_short(broken_pipe: int) -> None:
    done = run("import sys; from train.__main__ import main; sys.exit(main(['--help']))", broken_pipe)
    os.close(broken_pipe)
    assert (done.returncode, done.stderr) == (0, b"")


def test_a_full_disk_under_the_log_stops_nothing() -> None:
    with open("/dev/full", "wb") as full:
        done = run(LOG_TWICE, full.fileno())
    assert (done.returncode, done.stderr) == (0, b"train: \\x1b[31m\n")


def test_what_a_terminal_cannot_show_is_written_out() -> None:
    assert run(LOG_TWICE, subprocess.PIPE, "ascii").stdout == b"one\ntw\\xf6\n"


@pytest.mark.parametrize("flag", ["--shards", "--model", "--output_dir"])
def test_a_name_too_long_for_a_file_is_one_line(flag: str, tmp_path: Path) -> None:
    flags = {"--shards": tmp_path, "--model": tmp_path, "--output_dir": tmp_path, flag: tmp_path / ("n" * 300)}
    words = [word for pair in flags.items() for word in map(str, pair)]
    done = run(f"import sys; from train.__main__ import main; sys.exit(main({words}))", subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr.startswith(b"train: error: ") and done.stderr.count(b"\n") == 1
