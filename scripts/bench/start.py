"""How long a run takes to start: graphs compiled, and taken from files. The demo's model and shards, one process.

    python scripts/bench/start.py [--quick]

Each start is a process of its own that makes one step. The second of the two goes on where the first ended.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "demo")]

from demo_build import build  # noqa: E402

_COMPILED = re.compile(r"^compiled in ([\d.]+) s(, from )?", re.MULTILINE)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="once, not three times")
    repeats = 1 if parser.parse_args().quick else 3
    with tempfile.TemporaryDirectory(prefix="bench-start-") as name:
        folder = Path(name)
        demo, _ = build(folder / "demo")
        command = ["-m", "preprocess", "run", "--config", str(demo.config), "--output_dir", str(folder / "shards")]
        subprocess.run([sys.executable, *command], cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        seconds: dict[bool, list[float]] = {False: [], True: []}
        for repeat in range(repeats):
            for steps in (1, 2):
                taken, from_files = start(folder, f"run{repeat}", steps)
                if from_files != (steps == 2):
                    sys.exit(f"start {steps} of run {repeat}: from files is {from_files}")
                seconds[from_files].append(taken)
    compiled, kept = (statistics.median(seconds[from_files]) for from_files in (False, True))
    print(f"compiled in {compiled:.1f} s; from files in {kept:.1f}")
    print(json.dumps({"compile_seconds": compiled, "from_files_seconds": kept, "ratio": round(kept / compiled, 3)}))


def start(folder: Path, name: str, steps: int) -> tuple[float, bool]:
    """Seconds until the graphs are there, and whether they came from files."""
    flags = {"shards": folder / "shards", "model": folder / "demo" / "model", "output_dir": folder / name}
    flags |= {"max_steps": steps, "save_steps": 1, "learning_rate": 1e-3}
    command = [sys.executable, "-m", "train", *(f"--{flag}={value}" for flag, value in flags.items())]
    environment = {**os.environ, "MS_COMPILER_CACHE_ENABLE": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    found = _COMPILED.search(done.stdout)
    if done.returncode or found is None:
        sys.exit(done.stdout + done.stderr)
    return float(found[1]), found[2] is not None


if __name__ == "__main__":
    main()
