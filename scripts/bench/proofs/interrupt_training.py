"""Kill training with -9 at random moments, start it again each time, and compare with a run that nothing interrupted.

    python scripts/bench/proofs/interrupt_training.py [--quick]

40 steps on the demo, a checkpoint every 3, an evaluation every 7, a record every 2; five kills, and one SIGTERM, which
must end with code 0. Identical means: the bytes of the trained weights, and every number of metrics.jsonl but times.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "scripts" / "demo"))

from demo_build import build  # noqa: E402

NUM_STEPS = 40
KILLS = 5
SCHEDULE = ["--max_steps", NUM_STEPS, "--learning_rate", 3e-3, "--warmup_ratio", 0.1, "--weight_decay", 0.01]
RHYTHM = [
    "--save_steps",
    3,
    "--save_total_limit",
    2,
    "--logging_steps",
    2,
    "--eval_strategy",
    "steps",
    "--eval_steps",
    7,
]
TIMES = {"seconds", "data_wait_seconds", "tokens_per_second", "eval_seconds"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one kill, and the SIGTERM")
    kills_wanted = 1 if parser.parse_args().quick else KILLS
    dice = random.Random(0)
    with tempfile.TemporaryDirectory(prefix="bench-interrupt-training-") as name:
        folder = Path(name)
        demo, _ = build(folder / "demo")
        make_shards(demo.config, folder / "shards")
        whole = Training(folder, "whole")
        whole.wait()
        seconds_in_steps = whole.ended - whole.compiled_at

        print(f"{'ended by':10}{'went on after step':>20}{'last saved':>12}")
        kills, terminated = 0, False
        while True:
            run = Training(folder, "interrupted")
            by_kill = kills < kills_wanted
            if not by_kill and terminated:
                run.wait()
                break
            run.wait_until_compiled()
            time.sleep(dice.uniform(0, seconds_in_steps / 2))
            run.end(signal.SIGKILL if by_kill else signal.SIGTERM)
            kills += by_kill
            terminated = not by_kill
            print(f"{'SIGKILL' if by_kill else 'SIGTERM':10}{run.first_step:20}{run.last_saved:12}", flush=True)
        print(f"{'the end':10}{run.first_step:20}{run.last_saved:12}")
        identical = result(folder / "whole") == result(folder / "interrupted")
    print(json.dumps({"kills": kills, "identical": identical}))


class Training:
    """A process that trains; its output is read as it comes."""

    def __init__(self, folder: Path, output: str) -> None:
        flags = [
            "--shards",
            folder / "shards",
            "--eval_shards",
            folder / "shards",
            "--model",
            folder / "demo" / "model",
        ]
        flags += ["--output_dir", folder / output, *SCHEDULE, *RHYTHM]
        self.compiled_at = self.ended = 0.0
        self.first_step = self.last_saved = 0
        self._compiled = threading.Event()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "train", *map(str, flags)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._process.stdout is not None
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,))
        self._reader.start()

    def wait_until_compiled(self) -> None:
        self._compiled.wait()

    def end(self, number: signal.Signals) -> None:
        """Send the signal and wait. A process that was already done counts as ended by it."""
        self._process.send_signal(number)
        self.wait(also=-number if number == signal.SIGKILL else 0)

    def wait(self, also: int = 0) -> None:
        """Wait for exit code 0, or `also`."""
        code = self._process.wait()
        self._reader.join()
        self.ended = time.monotonic()
        assert self._process.stderr is not None
        if code not in (0, also):
            raise SystemExit(f"training failed with code {code}:\n{self._process.stderr.read()}")

    def _read(self, lines: Iterable[str]) -> None:
        for line in lines:
            if found := re.match(r"going on after step (\d+)", line):
                self.first_step = int(found[1])
            elif found := re.match(r"saved checkpoint-(\d+)", line):
                self.last_saved = int(found[1])
            elif line.startswith("compiled in"):
                self.compiled_at = time.monotonic()
                self._compiled.set()
        self._compiled.set()


def make_shards(config: Path, output_dir: Path) -> None:
    command = [sys.executable, "-m", "preprocess", "run", "--config", config, "--output_dir", output_dir]
    done = subprocess.run(list(map(str, command)), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"preprocessing failed:\n{done.stderr}")


def result(folder: Path) -> tuple[bytes, list[dict[str, Any]]]:
    """The trained weights, and the log without times."""
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    weights = (folder / "model.safetensors").read_bytes()
    return weights, [{name: value for name, value in record.items() if name not in TIMES} for record in records]


if __name__ == "__main__":
    main()
