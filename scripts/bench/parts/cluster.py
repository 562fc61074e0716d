"""What ranks gain and cost, on this machine's CPUs: time of a step, share of the collectives, bytes of model state.

    python scripts/bench/parts/cluster.py [--quick]

1. Steps of the demo's model on the demo's shards, alone and with two ranks that share the same packs a step.
2. Bytes of weights, gradient sums and moments of a rank of two, with zero_stage 0 and 3, counted on the arrays.

The share of communication is the time that two ranks take beyond half of one's, as a share of theirs: waiting for each
other included. On CPU a reduce-scatter is an all-reduce, and two ranks share the cores: nothing here speaks of NPUs.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "demo")]

from demo_build import build  # noqa: E402

PACKS_PER_STEP = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    num_steps = 4 if parser.parse_args().quick else 30
    with tempfile.TemporaryDirectory(prefix="bench-cluster-") as name:
        folder = Path(name)
        demo, _ = build(folder / "demo")
        run_module("preprocess", "run", "--config", demo.config, "--output_dir", folder / "shards")
        alone, _ = train(folder, "alone", num_steps, num_ranks=1, stage=0)
        together, bytes_stage0 = train(folder, "stage0", num_steps, num_ranks=2, stage=0)
        shared, bytes_stage3 = train(folder, "stage3", num_steps, num_ranks=2, stage=3)
    measured = {"one process": alone, "2 ranks, zero_stage 0": together, "2 ranks, zero_stage 3": shared}
    for what, seconds in measured.items():
        print(f"{what:28}{seconds:10.3f} s a step")
    print(
        f"{'model state of a rank':28}{bytes_stage0 / 1e6:10.2f} MB with zero_stage 0, {bytes_stage3 / 1e6:.2f} with 3"
    )
    result = {
        "speedup_2_ranks": round(alone / together, 3),
        "communication_share": round(max(0.0, 1 - alone / 2 / together), 3),
        "bytes_stage0": bytes_stage0,
        "bytes_stage3": bytes_stage3,
    }
    print(json.dumps(result))


def train(folder: Path, name: str, num_steps: int, *, num_ranks: int, stage: int) -> tuple[float, int]:
    """Seconds of the fastest step, which other work disturbs least, and bytes of model state of the first rank."""
    output = folder / name
    flags = {"shards": folder / "shards", "model": folder / "demo" / "model", "output_dir": output}
    flags |= {"max_steps": num_steps, "learning_rate": 1e-3, "save_strategy": "no", "zero_stage": stage}
    flags |= {"per_device_train_batch_size": PACKS_PER_STEP // num_ranks}
    words = (word for key, value in flags.items() for word in (f"--{key}", value))
    log = run_module("train", "launch", "--nproc", num_ranks, *words)
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    states = [line.partition("model state: ")[2] for line in log.splitlines() if "model state: " in line]
    num_bytes = int(states[0].split()[0].replace(",", "")) if states else 0  # one process does not say
    return min(record["seconds"] for record in records), num_bytes


def run_module(module: str, *words: object) -> str:
    command = [sys.executable, "-m", module, *map(str, words)]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
