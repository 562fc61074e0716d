"""Kill ranks, the launcher, the scheduler, or a whole node, and see that all else ends, with the reason said.

    python scripts/bench/proofs/kill_ranks.py [--quick] [--times 10] [--only EVENT ...]

The ranks are real ones of MindSpore on CPU, which add numbers until they agree to stop. The seconds are those from the
event to the end of the last process that the job started, at whatever remove; an orphan is one that is there 30 s after
the event, and it is killed then. Two nodes are two launchers on this machine.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT))

MARK = "BENCH_KILL_RANKS"  # an environment variable of a job, which all that it starts inherits
START_SECONDS, END_SECONDS = 180.0, 30.0
LOOK_SECONDS = 0.02
NUM_RANKS = 2


@dataclass(frozen=True)
class Event:
    name: str
    act: Callable[[Job], None]
    num_nodes: int
    exit_codes: tuple[int, ...]  # of the launchers
    reason: str  # what one of them says
    stop_seconds: int = 60


class Job:
    """One launcher, or two that take each other for other machines."""

    def __init__(self, folder: Path, num_nodes: int, stop_seconds: int) -> None:
        self.folder = folder
        self.mark = f"{os.getpid()}-{time.monotonic_ns()}"
        port = free_port()
        variables = {"NNODES": str(num_nodes), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), MARK: self.mark}
        variables["TRAIN_STOP_SECONDS"] = str(stop_seconds)
        self.launchers = []
        for node in range(num_nodes):
            with (folder / f"launcher_{node}.out").open("wb") as out:
                self.launchers.append(
                    subprocess.Popen(
                        [sys.executable, __file__, "as_launcher", str(NUM_RANKS // num_nodes), str(folder / "logs")],
                        env={**os.environ, **variables, "NODE_RANK": str(node), "PYTHONPATH": str(ROOT)},
                        stdout=out,
                        stderr=out,
                        start_new_session=True,
                    )
                )

    def wait_until_it_runs(self) -> None:
        end = time.monotonic() + START_SECONDS
        while not all("adding" in self.log(f"rank_{rank}") for rank in range(NUM_RANKS)):
            if time.monotonic() > end or any(launcher.poll() is not None for launcher in self.launchers):
                self.remove()
                raise SystemExit(f"the job did not start:\n{self.said()}")
            time.sleep(LOOK_SECONDS)

    def pids(self) -> dict[int, str]:
        """Processes of the job that are alive, with their commands."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    if f"{MARK}={self.mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                        found[int(entry.name)] = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode()
                except OSError:  # it ended meanwhile, or is someone else's
                    continue
        return found

    def pid_of_rank(self, rank: int) -> int:
        for pid, command in self.pids().items():
            variables = (Path("/proc") / str(pid) / "environ").read_bytes().split(b"\0")
            if "as_rank" in command and f"RANK_ID={rank}".encode() in variables:
                return pid
        raise SystemExit(f"rank {rank} is not there")

    def pid_of_scheduler(self) -> int:
        return next(pid for pid, command in self.pids().items() if "launch.scheduler" in command)

    def log(self, name: str) -> str:
        path = self.folder / "logs" / f"{name}.log"
        return path.read_text() if path.exists() else ""

    def said(self) -> str:
        return "\n".join(path.read_text(errors="replace") for path in sorted(self.folder.glob("launcher_*.out")))

    def remove(self) -> int:
        """Kill what is left, and count it."""
        left = self.pids()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return len(left)


def killing(find: Callable[[Job], int], number: signal.Signals = signal.SIGKILL) -> Callable[[Job], None]:
    return lambda job: os.kill(find(job), number)


def rank_1_is_stuck_and_told_to_stop(job: Job) -> None:
    """Rank 0 waits for it in a collective, and its watchdog ends that."""
    os.kill(job.pid_of_rank(1), signal.SIGSTOP)
    job.launchers[0].terminate()


EVENTS = (
    Event("kill rank 0", killing(lambda job: job.pid_of_rank(0)), 1, (137,), "rank 0 was ended by SIGKILL"),
    Event("kill rank 1", killing(lambda job: job.pid_of_rank(1)), 1, (137,), "rank 1 was ended by SIGKILL"),
    Event("kill scheduler", killing(Job.pid_of_scheduler), 1, (137,), "scheduler was ended by SIGKILL"),
    Event("kill launcher", killing(lambda job: job.launchers[0].pid), 1, (-9,), "was killed; its 3 processes"),
    Event("SIGTERM", killing(lambda job: job.launchers[0].pid, signal.SIGTERM), 1, (0,), "passed on to all ranks"),
    Event("Ctrl-C", killing(lambda job: job.launchers[0].pid, signal.SIGINT), 1, (0,), "passed on to all ranks"),
    Event(
        "SIGTERM to all",
        lambda job: [os.kill(pid, signal.SIGTERM) for pid in job.pids()] and None,
        1,
        (0,),
        "passed on",
    ),
    Event("SIGTERM, rank 1 stuck", rank_1_is_stuck_and_told_to_stop, 1, (1,), "train: stuck: still running 3 s", 3),
    Event("kill node 0", killing(lambda job: job.launchers[0].pid), 2, (-9, 1), "node 0 is gone"),
    Event("kill node 1", killing(lambda job: job.launchers[1].pid), 2, (1, -9), "node 1 is gone"),
    Event("kill rank of node 1", killing(lambda job: job.pid_of_rank(1)), 2, (1, 137), "rank 1 was ended by SIGKILL"),
    Event("SIGTERM to node 1", killing(lambda job: job.launchers[1].pid, signal.SIGTERM), 2, (0, 0), "passed on"),
)

QUICK = ("kill rank 1", "kill launcher")


def main() -> None:
    if sys.argv[1:2] == ["as_rank"]:
        add_numbers()
        return
    if sys.argv[1:2] == ["as_launcher"]:
        sys.exit(run_launcher(int(sys.argv[2]), Path(sys.argv[3])))
    signal.signal(
        signal.SIGINT, signal.default_int_handler
    )  # a script in the background ignores it, and jobs would too
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a rank and the launcher, once each")
    parser.add_argument("--times", type=int, default=10)
    parser.add_argument("--only", nargs="*", choices=[event.name for event in EVENTS])
    arguments = parser.parse_args()
    wanted = QUICK if arguments.quick else arguments.only or [event.name for event in EVENTS]
    events = [event for event in EVENTS if event.name in wanted]
    times = 1 if arguments.quick else arguments.times
    dice = random.Random(0)
    slowest, orphans, wrong = 0.0, 0, 0
    print(f"{'':22}{'times':>6}{'slowest s':>11}{'orphans':>9}  exit codes")
    for event in events:
        all_seconds, all_codes, left = [], set(), 0
        for _ in range(times):
            seconds, codes, job_left, is_right = try_once(event, dice)
            all_seconds.append(seconds)
            all_codes.add(codes)
            left += job_left
            wrong += not is_right
        slowest, orphans = max(slowest, *all_seconds), orphans + left
        print(f"{event.name:22}{times:6}{max(all_seconds):11.1f}{left:9}  {sorted(all_codes)}", flush=True)
    print(json.dumps({"slowest_seconds": round(slowest, 1), "orphans": orphans, "wrong_endings": wrong}))
    sys.exit(bool(orphans or wrong))


def try_once(event: Event, dice: random.Random) -> tuple[float, tuple[int, ...], int, bool]:
    """Seconds to the end, exit codes, orphans, and whether all was as it should."""
    with tempfile.TemporaryDirectory(prefix="bench-kill-") as name:
        job = Job(Path(name), event.num_nodes, event.stop_seconds)
        job.wait_until_it_runs()
        time.sleep(dice.uniform(0, 0.5))
        event.act(job)
        begin = time.monotonic()
        while time.monotonic() - begin < END_SECONDS:
            if all([launcher.poll() is not None for launcher in job.launchers]) and not job.pids():
                break
            time.sleep(LOOK_SECONDS)
        seconds = time.monotonic() - begin
        left = job.remove()
        codes = tuple(launcher.wait() for launcher in job.launchers)
        is_right = codes == event.exit_codes and event.reason in job.said() and not left
        if event.exit_codes == (0,) * event.num_nodes:  # all ranks stopped after the same step
            steps = {
                line for rank in range(NUM_RANKS) for line in job.log(f"rank_{rank}").splitlines() if "stopped" in line
            }
            is_right &= len({line for line in steps if line.startswith("stopped after")}) == 1
        if not is_right:
            print(f"{event.name}: {codes}, {left} orphans\n{job.said()}", file=sys.stderr)
        return seconds, codes, left, is_right


def run_launcher(ranks: int, log_dir: Path) -> int:
    from train.cluster.launch.job import read_job
    from train.cluster.launch.launcher import launch

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    return launch(read_job(os.environ, ranks, lambda: 0), [sys.executable, __file__, "as_rank"], log_dir, say)


def add_numbers() -> None:
    from train.cluster.rank import guard_rank, say_done
    from train.stop import StopRequest

    with StopRequest(second_ends=not guard_rank()) as stop:
        from train.cluster.world import connect

        world, step, total = connect(), 0, 0.0
        print("adding", flush=True)
        while not world.agree_to_stop(stop.is_requested):
            step += 1
            total += float(world.sum(world.rank))
        print(f"stopped after {step} additions: {total}", flush=True)
    say_done()


def free_port() -> int:
    """Free, as the next one is."""
    while True:
        with socket.socket() as first, socket.socket() as second:
            first.bind(("127.0.0.1", 0))
            port = int(first.getsockname()[1])
            with suppress(OSError, OverflowError):
                second.bind(("127.0.0.1", port + 1))
                return port


if __name__ == "__main__":
    main()
