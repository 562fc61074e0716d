"""The launcher with ranks that are no ranks of MindSpore; `scripts/bench/proofs/kill_ranks.py` kills real ones."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.train.cluster.starting import SLEEPING, run_launcher, start_launcher

MARK = "TEST_LAUNCHER"


def python(program: str) -> list[str]:
    return [
        sys.executable,
        "-S",
        "-c",
        "import os, sys, time, signal, subprocess\nrank = os.environ['RANK_ID']\n" + program,
    ]


WAIT = "print('started', flush=True)\ntime.sleep(600)"
STOP = """
def stop(number, frame):
    print('saved', flush=True)
    os._exit(0)
signal.signal(signal.SIGTERM, stop)
print('started', flush=True)
while True:
    time.sleep(600)
"""


ON = """
print('started', flush=True)
while True:
    time.sleep(600)
"""


def marked(mark: str) -> list[int]:
    """Processes that a launcher started, at whatever remove."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                if f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


@pytest.fixture(autouse=True)
def removal(tmp_path: Path) -> Iterator[None]:
    """A test that fails leaves nothing running either."""
    yield
    for pid in marked(str(tmp_path)):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def wait_for(condition: object, seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.02)


def start(folder: Path, program: str, nproc: int = 2, **variables: str) -> subprocess.Popen[str]:
    """A launcher whose ranks have all said that they started."""
    process = start_launcher(nproc, folder, python(program), **{MARK: str(folder), **variables})
    logs = [folder / "logs" / f"rank_{rank}.log" for rank in range(nproc)]
    wait_for(lambda: all(log.exists() and "started" in log.read_text() for log in logs))
    return process


def pid_of_rank(folder: Path, rank: int) -> int:
    def is_it(pid: int) -> bool:
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
        return b"MS_ROLE=MS_WORKER" in variables and f"RANK_ID={rank}".encode() in variables

    return next(pid for pid in marked(str(folder)) if is_it(pid))


def ending(process: subprocess.Popen[str], folder: Path) -> tuple[int, str, str]:
    """Exit code, output and errors; nothing may be left of what it started."""
    out, err = process.communicate(timeout=30)
    wait_for(lambda: not marked(str(folder)), 10)
    return process.returncode, out, err


def test_ranks_have_the_variables_of_msrun_and_logs_of_their_own(tmp_path: Path) -> None:
    names = ("MS_ROLE", "MS_WORKER_NUM", "RANK_SIZE", "MS_NODE_ID", "RANK_ID", "DEVICE_ID", "MS_SCHED_HOST")
    done = run_launcher(2, tmp_path, python(f"print(*[os.environ[name] for name in {names}])"))
    assert done.returncode == 0, done.stderr
    assert done.stdout == "MS_WORKER 2 2 0 0 0 127.0.0.1\n"  # rank 0 alone is on the terminal
    header, line = (tmp_path / "logs" / "rank_1.log").read_text().splitlines()
    assert header.startswith("--- 20")
    assert " UTC rank 1 of 2 on " in header
    assert line == "MS_WORKER 2 2 1 1 1 127.0.0.1"


def test_timeouts_of_the_user_stay(tmp_path: Path) -> None:
    program = python("print(os.environ['MS_TOPO_TIMEOUT'], os.environ['MS_NODE_TIMEOUT'])")
    assert run_launcher(2, tmp_path, program, MS_TOPO_TIMEOUT="7").stdout == "7 1800\n"


def test_logs_are_appended(tmp_path: Path) -> None:
    for _ in range(2):
        done = run_launcher(2, tmp_path, python("print('I am', rank)"))
        assert done.stdout == "I am 0\n"  # not what the first run said
    lines = (tmp_path / "logs" / "rank_1.log").read_text().splitlines()
    assert [line for line in lines if not line.startswith("---")] == ["I am 1", "I am 1"]
    assert len(lines) == 4


def test_the_first_rank_that_fails_ends_all_and_says_why(tmp_path: Path) -> None:
    program = "if rank == '1':\n    print('no room', file=sys.stderr)\n    sys.exit(3)\ntime.sleep(600)"
    process = start_launcher(2, tmp_path, python(program), **{MARK: str(tmp_path)})
    code, _, err = ending(process, tmp_path)
    assert code == 3
    assert "launch: rank 1 ended with exit code 3 after" in err
    assert f"Its log is {tmp_path / 'logs' / 'rank_1.log'}\n" in err
    assert err.endswith("launch:     no room\n")


def test_lines_of_rank_0_are_not_shown_twice(tmp_path: Path) -> None:
    program = "print('no room', flush=True)\nsys.exit(2) if rank == '0' else time.sleep(600)"
    process = start_launcher(2, tmp_path, python(program), **{MARK: str(tmp_path)})
    code, out, err = ending(process, tmp_path)
    assert (code, out) == (2, "no room\n")
    assert "rank 0 ended with exit code 2" in err
    assert "no room" not in err


def test_a_rank_that_is_killed_ends_all(tmp_path: Path) -> None:
    process = start(tmp_path, WAIT)
    os.kill(pid_of_rank(tmp_path, 1), signal.SIGKILL)
    code, _, err = ending(process, tmp_path)
    assert code == 128 + signal.SIGKILL
    assert "rank 1 was ended by SIGKILL" in err
    assert "is memory short?" in err


def test_a_crash_after_the_work_is_no_failure(tmp_path: Path) -> None:
    crash = "if rank == '1':\n    {}os.kill(os.getpid(), signal.SIGSEGV)"
    done = run_launcher(2, tmp_path, python(crash.format("os.write(int(os.environ['TRAIN_DONE_FD']), b'.')\n    ")))
    assert done.returncode == 0
    assert "note: rank 1 had done its work when it ended with SIGSEGV: nothing is lost" in done.stderr
    failed = run_launcher(2, tmp_path, python(crash.format("")))
    assert failed.returncode == 128 + signal.SIGSEGV


def test_what_a_rank_started_ends_with_it(tmp_path: Path) -> None:
    process = start(tmp_path, f"subprocess.Popen({list(SLEEPING)!r})\n{WAIT}")
    os.kill(pid_of_rank(tmp_path, 0), signal.SIGKILL)
    assert ending(process, tmp_path)[0] == 137


def test_the_end_of_the_scheduler_ends_all(tmp_path: Path) -> None:
    process = start_launcher(
        2, tmp_path, python(WAIT), (sys.executable, "-S", "-c", "raise SystemExit('no port')"), **{MARK: str(tmp_path)}
    )
    code, _, err = ending(process, tmp_path)
    assert code == 1
    assert "scheduler ended with exit code 1" in err
    assert "launch:     no port" in err


def test_a_launcher_that_is_killed_takes_all_with_it_and_its_keeper_says_so(tmp_path: Path) -> None:
    # These ranks did not ask the kernel to end with the launcher, and started others: the keeper ends them.
    process = start(tmp_path, f"subprocess.Popen({list(SLEEPING)!r})\n{WAIT}")
    assert len(marked(str(tmp_path))) == 7  # launcher, keeper, scheduler, two ranks, two that they started
    process.kill()
    code, _, err = ending(process, tmp_path)
    assert code == -signal.SIGKILL
    reason = f"launch: the launcher (process {process.pid}) was killed; its 3 processes were ended\n"
    assert err.endswith(reason)
    assert (tmp_path / "logs" / "launcher_0.log").read_text() == reason


GUARDED = "sys.path[:0] = [os.environ['PYTHONPATH']]\nfrom train.cluster.rank import guard_rank\nguard_rank()\n"


def test_without_a_keeper_the_kernel_ends_the_ranks(tmp_path: Path) -> None:
    command = [sys.executable, "-c", python(GUARDED + WAIT)[-1]]
    process = start_launcher(2, tmp_path, command, command, **{MARK: str(tmp_path)})
    logs = [tmp_path / "logs" / f"{name}.log" for name in ("rank_0", "rank_1", "scheduler")]
    wait_for(lambda: all(log.exists() and "started" in log.read_text() for log in logs))
    keeper = next(pid for pid in marked(str(tmp_path)) if _parent(pid) == process.pid and not _is_member(pid))
    os.kill(keeper, signal.SIGKILL)
    process.kill()
    assert ending(process, tmp_path)[0] == -signal.SIGKILL


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _is_member(pid: int) -> bool:
    return b"MS_ROLE=" in Path(f"/proc/{pid}/environ").read_bytes()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_reaches_every_rank_and_their_end_is_that_of_the_job(number: signal.Signals, tmp_path: Path) -> None:
    process = start(tmp_path, STOP)
    process.send_signal(number)
    code, out, err = ending(process, tmp_path)
    assert (code, out) == (0, "started\nsaved\n")
    assert f"{number.name}: passed on to all ranks" in err
    assert (tmp_path / "logs" / "rank_1.log").read_text().endswith("saved\n")


def test_a_second_signal_ends_all_at_once(tmp_path: Path) -> None:
    process = start(tmp_path, "signal.signal(signal.SIGTERM, lambda *_: print('not now', flush=True))\n" + ON)
    process.terminate()
    assert process.stdout is not None
    assert [process.stdout.readline() for _ in range(2)] == ["started\n", "not now\n"]
    process.terminate()
    code, _, err = ending(process, tmp_path)
    assert code == 128 + signal.SIGTERM
    assert "SIGTERM again: ended all at once" in err


def test_ranks_that_can_not_save_yet_end_the_job_with_the_signal(tmp_path: Path) -> None:
    process = start(tmp_path, WAIT)
    process.terminate()
    code, _, err = ending(process, tmp_path)
    assert code == 128 + signal.SIGTERM
    assert "stopped before training began" in err


def test_a_rank_that_does_not_stop_is_ended(tmp_path: Path) -> None:
    process = start(
        tmp_path, "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + WAIT, nproc=2, TRAIN_STOP_SECONDS="0.5"
    )
    process.terminate()
    code, _, err = ending(process, tmp_path)
    assert code == 1
    assert "rank 0, rank 1 did not stop within 1.55 s: ended" in err


def two_nodes(folder: Path, program: str, port: int) -> list[subprocess.Popen[str]]:
    common = {"NNODES": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), MARK: str(folder)}
    processes = [start_launcher(1, folder, python(program), NODE_RANK=str(node), **common) for node in (1, 0)]
    logs = [folder / "logs" / f"rank_{rank}.log" for rank in range(2)]
    wait_for(lambda: all(log.exists() and "started" in log.read_text() for log in logs))
    return processes[::-1]


def test_two_nodes_are_one_job(tmp_path: Path, free_ports: int) -> None:
    first, second = two_nodes(tmp_path, "print('started', rank, os.environ['DEVICE_ID'])", free_ports)
    assert ending(second, tmp_path)[:2] == (0, "")
    code, out, err = ending(first, tmp_path)
    assert (code, out) == (0, "started 0 0\n")
    assert "rank 0 of 2, node 0 of 2" in err
    assert "started 1 0" in (tmp_path / "logs" / "rank_1.log").read_text()


@pytest.mark.parametrize("killed", [0, 1])
def test_a_node_that_is_gone_ends_the_other(killed: int, tmp_path: Path, free_ports: int) -> None:
    processes = two_nodes(tmp_path, WAIT, free_ports)
    processes[killed].kill()
    code, _, err = ending(processes[1 - killed], tmp_path)
    assert code == 1
    assert f"node {killed} is gone" in err
    assert ending(processes[killed], tmp_path)[0] == -signal.SIGKILL


def test_a_rank_that_fails_on_one_node_is_named_on_the_other(tmp_path: Path, free_ports: int) -> None:
    first, second = two_nodes(tmp_path, WAIT, free_ports)
    os.kill(pid_of_rank(tmp_path, 1), signal.SIGKILL)
    code, _, err = ending(first, tmp_path)
    assert code == 1
    assert "rank 1 was ended by SIGKILL" in err
    assert ending(second, tmp_path)[0] == 137


@pytest.fixture
def free_ports() -> int:
    """A port that is free, as the next one is."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            try:
                second.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port
