"""What dealing packs to ranks by cost brings: the cost of the rank that the others wait for, over the mean.

    python scripts/bench/parts/deal.py SHARDS MODEL [--packs_per_rank N] [--steps N]
    python scripts/bench/parts/deal.py --quick

For 2, 8 and 32 ranks, at zero_stage 0 (ranks wait once a step) and 2 (in every micro-step). Costs are estimates of the
kernel of Ascend (`train.steps.dealing`); nothing is trained. Without SHARDS, those of the demo, of which a step takes
some many times.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "demo")]

from shards import open_shards  # noqa: E402
from shards.order import PackOrder  # noqa: E402
from train.cluster.world import World  # noqa: E402
from train.models import sizes_in  # noqa: E402
from train.steps.dealing import Dealing  # noqa: E402

RANKS = (2, 8, 32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shards", nargs="?", type=Path)
    parser.add_argument("model", nargs="?", type=Path)
    parser.add_argument("--packs_per_rank", type=int, default=4)
    parser.add_argument("--steps", type=int, default=50)
    parser.add_argument("--quick", action="store_true", help="few steps")
    arguments = parser.parse_args()
    steps = 5 if arguments.quick else arguments.steps
    if arguments.model is not None:
        measure(arguments.shards, arguments.model, arguments.packs_per_rank, steps)
        return
    from demo_build import build

    with tempfile.TemporaryDirectory(prefix="bench-deal-") as name:
        folder = Path(name)
        demo, _ = build(folder / "demo")
        run_preprocess(demo.config, folder / "shards")
        measure(folder / "shards", folder / "demo" / "model", arguments.packs_per_rank, steps)


def measure(folder: Path, model: Path, packs_per_rank: int, steps: int) -> None:
    shards, sizes = open_shards(folder), sizes_in(model)
    result: dict[str, float] = {}
    print(f"{len(shards)} packs of {shards.manifest.pack_length} tokens, {packs_per_rank} a rank and step")
    print(f"{'ranks':>5}{'stage':>7}{'in turn':>10}{'dealt':>8}{'ms a step':>12}")
    for num_ranks in RANKS:
        count = num_ranks * packs_per_rank
        order = PackOrder(num_packs=len(shards), seed=0, packs_per_step=count, num_positions=steps * count)
        for stage in (0, 2):
            dealing = Dealing(shards, order, sizes, World(rank=0, size=num_ranks, device="CPU"), zero_stage=stage)
            begin = time.perf_counter()
            dealt = [dealing.of_step(step) for step in range(steps)]
            milliseconds = (time.perf_counter() - begin) / steps * 1000
            mean, turn, best = (sum(getattr(each, name) for each in dealt) for name in ("mean", "in_turn", "dealt"))
            print(f"{num_ranks:5}{stage:7}{turn / mean:10.3f}{best / mean:8.3f}{milliseconds:12.2f}")
            result[f"dealt_{num_ranks}_ranks_stage{stage}"] = round(best / mean, 4)
            result[f"in_turn_{num_ranks}_ranks_stage{stage}"] = round(turn / mean, 4)
    print(json.dumps(result))


def run_preprocess(config: Path, output_dir: Path) -> None:
    command = [sys.executable, "-m", "preprocess", "run", "--config", str(config), "--output_dir", str(output_dir)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
