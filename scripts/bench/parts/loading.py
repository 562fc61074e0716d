"""Memory of loading a model in ranks: each reads what it holds, so that none ever holds all weights at zero_stage 3.

    python scripts/bench/parts/loading.py [--quick]

Four ranks load a model of 400 MB with zero_stage 0 and 3. Counted is the most that the process of a rank had in memory
at any time until its weights are there: its own, without the libraries that processes of a machine share; and of that,
what it took beyond what it had when MindSpore was loaded.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from bench_ranks import run_ranks

os.environ.setdefault("GLOG_v", "3")  # MindSpore's own log: errors only
ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "demo")]

NUM_RANKS = 4
STAGES = (0, 3)


def main() -> None:
    if sys.argv[1:2] == ["as_rank"]:
        load(Path(sys.argv[2]), int(sys.argv[3]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a model of 100 MB")
    is_quick = parser.parse_args().quick
    from demo_model import ModelSize, write_model_folder

    size = ModelSize(hidden_size=512 if is_quick else 1024, intermediate_size=2048, num_layers=10, vocab_size=8192)
    with tempfile.TemporaryDirectory(prefix="bench-loading-") as name:
        folder = Path(name)
        write_model_folder(folder / "model", ["a short text to train a tokenizer on"], size=size)
        num_bytes = (folder / "model" / "model.safetensors").stat().st_size
        print(f"{num_bytes / 1e6:.0f} MB of weights, {NUM_RANKS} ranks")
        found = {stage: start_ranks(folder, stage) for stage in STAGES}
    for stage, (beyond, own) in found.items():
        print(f"zero_stage {stage}{own / 1e6:10.0f} MB of a process, {beyond / 1e6:.0f} of them by loading")
    (beyond_0, own_0), (beyond_3, own_3) = found.values()
    result = {
        "bytes_of_weights": num_bytes,
        "peak_stage0": own_0,
        "peak_stage3": own_3,
        "peak_share": round(own_3 / own_0, 3),
        "peak_share_of_loading": round(beyond_3 / beyond_0, 3),
    }
    print(json.dumps(result))


def start_ranks(folder: Path, stage: int) -> tuple[int, int]:
    """The largest of all ranks: bytes of the peak beyond what was there before loading, and of all that is its own."""
    command = [sys.executable, __file__, "as_rank", str(folder / "model"), str(stage)]
    results = run_ranks(NUM_RANKS, folder / f"logs-{stage}", command)
    return max(beyond for beyond, _ in results), max(own for _, own in results)


def load(model: Path, stage: int) -> None:
    from train.cluster.rank import guard_rank, say_done

    guard_rank()
    from contextlib import nullcontext

    from train.building import sharing_of
    from train.cluster.world import connect
    from train.models.folder import build_model
    from train.models.precision import FLOAT32
    from train.models.sharing import sharing

    world = connect()
    how = sharing_of(world, FLOAT32, recomputes=False)
    world.barrier()
    before = status("VmRSS")
    with sharing(how) if stage == 3 else nullcontext():
        model_in_ranks = build_model(model)
    peak = status("VmHWM")
    assert model_in_ranks
    print("result", json.dumps([peak - before, peak - status("RssFile")]), flush=True)
    world.barrier()
    say_done()


def status(name: str) -> int:
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(f"{name}:"))
    return int(line.split()[1]) * 1024


if __name__ == "__main__":
    main()
