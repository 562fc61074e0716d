"""A long run of two ranks: does their memory grow, and do they stay equal?

    python scripts/bench/proofs/endurance.py [--quick]

1,000 steps with zero_stage 1, where every weight is whole on both ranks; a checkpoint and a comparison of all that is
whole (`--check_replicas`) every 100. Memory is the resident memory of both ranks after each step that was seen; its
growth is from the second fifth of the run to the last, medians of each.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "demo")]

NUM_STEPS, QUICK_STEPS = 1000, 30
LOOK_SECONDS = 0.5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK_STEPS} steps")
    num_steps = QUICK_STEPS if parser.parse_args().quick else NUM_STEPS
    from tests.train.tiny_run import write_tiny_inputs

    with tempfile.TemporaryDirectory(prefix="bench-endurance-") as name:
        folder = Path(name)
        write_tiny_inputs(folder, num_packs=8)
        begin = time.perf_counter()
        code, seen = watch(folder, num_steps)
        seconds = time.perf_counter() - begin
        log = (folder / "out" / "logs" / "rank_0.log").read_text()
    has_drifted = "ranks hold different values" in log
    if code and not has_drifted:
        raise SystemExit(log[-3000:])
    before = median(memory for step, memory in seen if num_steps / 5 <= step < 2 * num_steps / 5)
    after = median(memory for step, memory in seen if step >= 4 * num_steps / 5)
    print(f"{seen[-1][0]} steps in {seconds:.0f} s, looked at {len(seen)} times")
    print(f"both ranks, second fifth{before / 1e6:10.1f} MB")
    print(f"both ranks, last fifth  {after / 1e6:10.1f} MB")
    result = {"steps": seen[-1][0], "memory_growth": round(after / before - 1, 4), "drift": has_drifted}
    print(json.dumps(result))


def watch(folder: Path, num_steps: int) -> tuple[int, list[tuple[int, int]]]:
    """Exit code of a run into folder/out; and after which steps its ranks had how many bytes."""
    every = max(1, num_steps // 10)
    flags = {"shards": folder / "shards", "model": folder / "model", "output_dir": folder / "out"}
    flags |= {"max_steps": num_steps, "learning_rate": 1e-3, "zero_stage": 1, "per_device_train_batch_size": 1}
    flags |= {"save_steps": every, "save_total_limit": 2, "check_replicas": every}
    command = [sys.executable, "-m", "train", "launch", "--nproc", "2"]
    command += [f"--{name}={value}" for name, value in flags.items()]
    launcher = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    seen: list[tuple[int, int]] = []
    metrics = folder / "out" / "metrics.jsonl"
    try:
        while launcher.poll() is None:
            time.sleep(LOOK_SECONDS)
            step = len(metrics.read_bytes().splitlines()) if metrics.exists() else 0
            memory = memory_of_ranks(launcher.pid)
            if len(memory) == 2 and step and (not seen or step > seen[-1][0]):
                seen.append((step, sum(memory)))
    finally:
        launcher.kill()  # where this is interrupted; its ranks end with it
    return launcher.wait(), seen


def memory_of_ranks(launcher: int) -> list[int]:
    """Resident bytes of each rank that the launcher has started."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                variables = (entry / "environ").read_bytes().split(b"\0")
                if b"TRAIN_LAUNCHER_PID=%d" % launcher in variables and b"MS_ROLE=MS_WORKER" in variables:
                    (line,) = (each for each in (entry / "status").read_text().splitlines() if "VmRSS" in each)
                    found.append(int(line.split()[1]) * 1024)
            except (OSError, ValueError):  # it ended meanwhile, or is someone else's
                continue
    return found


if __name__ == "__main__":
    main()
