"""Kill -9 the whole job at random moments, resume it each time, and compare what comes out in the end.

    python scripts/bench/proofs/interrupt.py [--quick]

For one and two local workers, Ray, and two array jobs on one folder. Identical means: every shard, the manifest and the
ledger have the bytes of a run that nothing interrupted.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from bench_photos import ROOT, make_run, published

WAYS: dict[str, list[list[str]]] = {  # the flags of each job of the way
    "1 worker": [["--workers", "1"]],
    "2 workers": [["--workers", "2"]],
    "Ray": [["--executor", "ray"]],
    "two array jobs": [["--workers", "1", "--task", "0/2"], ["--workers", "1", "--task", "1/2"]],
}
KILLS = 20
SECONDS_BETWEEN_LOOKS = 0.02
MARK = "BENCH_INTERRUPT"  # an environment variable of the jobs, which all that they start inherits


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few kills, and only with two workers")
    quick = parser.parse_args().quick
    ways = {"2 workers": WAYS["2 workers"]} if quick else WAYS
    kills_each, num_photos = (4, 40) if quick else (KILLS, 120)
    dice = random.Random(0)
    total_kills, identical = 0, True
    print(f"{'':16}{'kills':>7}{'runs completed':>16}{'identical':>11}")
    with tempfile.TemporaryDirectory(prefix="bench-interrupt-") as name:
        folder = Path(name)
        make_run(folder, [(1200, 800)] * num_photos)
        finish(launch(folder, folder / "whole", WAYS["2 workers"]))
        whole = published(folder / "whole")
        for way, flags in ways.items():
            kills, runs, same = interrupt(folder, way, flags, kills_each, whole, dice)
            print(f"{way:16}{kills:7}{runs:16}{same!s:>11}", flush=True)
            total_kills += kills
            identical &= same
    print(json.dumps({"kills": total_kills, "identical": identical}))


def interrupt(
    folder: Path,
    way: str,
    flags: list[list[str]],
    kills_wanted: int,
    whole: dict[str, str],
    dice: random.Random,
) -> tuple[int, int, bool]:
    """Kills, completed runs, and whether all of those equal `whole`.

    Moments are drawn from the time of the last run that nothing interrupted; the first is such a one.
    """
    kills = runs = 0
    same, seconds = True, 0.0
    while kills < kills_wanted:
        target = folder / f"{way.replace(' ', '-')}-{runs}"
        kills_before, start = kills, time.perf_counter()
        while True:
            jobs = launch(folder, target, flags)
            may_kill = seconds > 0 and kills < kills_wanted
            if not may_kill or not kill_after(jobs, dice.uniform(0, seconds)):
                break
            kills += 1
        finish(jobs)
        if kills == kills_before:
            seconds = time.perf_counter() - start
        runs += 1
        same &= published(target) == whole
    return kills, runs, same


def launch(folder: Path, target: Path, flags: list[list[str]]) -> list[subprocess.Popen[bytes]]:
    common = ["--model", folder / "model", "--datasets", folder / "datasets.yaml", "--dataset_use", "photos"]
    common += ["--output_dir", target, "--packing", "none", "--shard_bytes", str(4 << 20)]
    environment = {
        **os.environ,
        MARK: str(os.getpid()),
        "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",
        "RAY_TMPDIR": str(folder),  # where killed clusters leave their files
    }
    return [
        subprocess.Popen(
            [sys.executable, "-m", "preprocess", "run", *map(str, common), *more],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )
        for more in flags
    ]


def kill_after(jobs: list[subprocess.Popen[bytes]], seconds: float) -> bool:
    """Kill all jobs with everything they started, `seconds` from now; False where they ended before."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if all(job.poll() is not None for job in jobs):
            return False
        time.sleep(SECONDS_BETWEEN_LOOKS)
    if all(job.poll() is not None for job in jobs):
        return False
    while family := marked_processes():  # some may start others while they are killed
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    for job in jobs:
        job.communicate()
    return True


def marked_processes() -> list[int]:
    """Processes that the jobs started, at whatever remove: Ray's servers leave their parents, but keep the mark."""
    mark = f"{MARK}={os.getpid()}".encode()
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
            except OSError:  # it ended meanwhile, or is someone else's
                continue
            if mark in variables:
                found.append(int(entry.name))
    return found


def finish(jobs: list[subprocess.Popen[bytes]]) -> None:
    for job in jobs:
        _, errors = job.communicate()
        if job.returncode:
            raise SystemExit(f"the job failed:\n{errors.decode()}")


if __name__ == "__main__":
    main()
