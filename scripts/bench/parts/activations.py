"""What the trainer waits for data, and the memory of keeping activations.

    python scripts/bench/parts/activations.py [--quick]

1. The trainer itself, on the demo's shards and model: the share of its time that it waits for packs.
2. The peak of resident memory of a process that computes the gradients of a pack operator by operator (MindSpore's
   PyNative mode), of a model four layers deep and 256 wide, with and without gradient_checkpointing. Compiled graphs
   show no difference on CPU (train/README.md).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("GLOG_v", "3")  # MindSpore's own log: errors only
ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "demo")]

import mindspore as ms  # noqa: E402
from demo_build import build  # noqa: E402
from demo_model import ModelSize, write_model_folder  # noqa: E402

from shards import open_shards  # noqa: E402
from shards.batch import BatchShape, make_batch  # noqa: E402
from train.models.folder import build_model  # noqa: E402
from train.models.trained import TrainedModel  # noqa: E402
from train.steps.step import to_device  # noqa: E402

SIZE = ModelSize(
    hidden_size=256,
    intermediate_size=768,
    num_layers=4,
    num_heads=4,
    vision_hidden_size=128,
    vision_intermediate_size=256,
)
KEEPING, CHECKPOINTING = "keeping", "checkpointing"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer steps")
    parser.add_argument("--peak", choices=(KEEPING, CHECKPOINTING), help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.peak:
        print(measure_own_peak(arguments.folder, arguments.peak))
        return
    with tempfile.TemporaryDirectory(prefix="bench-step-") as name:
        folder = Path(name)
        prepare(folder)
        wait = data_wait_share(folder, num_steps=20 if arguments.quick else 200)
        kept, checkpointed = read_peaks(start_peaks(folder))
    print(f"{'waiting for data':36}{wait:10.2%} of the time")
    print(f"{'process, activations kept':36}{kept / 1e6:10.0f} MB")
    print(f"{'process, gradient_checkpointing':36}{checkpointed / 1e6:10.0f} MB")
    result = {
        "data_wait_share": round(wait, 5),
        "peak_bytes": kept,
        "peak_bytes_checkpointing": checkpointed,
    }
    print(json.dumps(result))


def prepare(folder: Path) -> None:
    """folder/demo, folder/shards made of it, and folder/model, of SIZE (its tokenizer is not used)."""
    demo, _ = build(folder / "demo")
    run_module("preprocess", "run", "--config", demo.config, "--output_dir", folder / "shards")
    write_model_folder(folder / "model", ["any text"], size=SIZE)


def data_wait_share(folder: Path, num_steps: int) -> float:
    output = folder / "trained"
    flags = {"shards": folder / "shards", "model": folder / "demo" / "model", "output_dir": output}
    flags |= {"max_steps": num_steps, "learning_rate": 1e-3}
    run_module("train", *(word for name, value in flags.items() for word in (f"--{name}", value)))
    records = [json.loads(line) for line in (output / "metrics.jsonl").read_text().splitlines()]
    assert len(records) == num_steps
    return sum(record["data_wait_seconds"] for record in records) / sum(record["seconds"] for record in records)


def start_peaks(folder: Path) -> list[subprocess.Popen[str]]:
    commands = [[sys.executable, __file__, "--peak", way, "--folder", folder] for way in (KEEPING, CHECKPOINTING)]
    return [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for command in commands]


def read_peaks(running: list[subprocess.Popen[str]]) -> list[int]:
    """Bytes, keeping activations and computing them again."""
    printed = [process.communicate()[0] for process in running]
    if any(process.returncode for process in running):
        raise SystemExit("error: a process that measures its memory failed")
    return [int(text.split()[-1]) for text in printed]


def measure_own_peak(folder: Path, way: str) -> int:
    """Bytes of resident memory at the highest. (`ru_maxrss` would be the parent's, where that had more before exec.)"""
    model, batch = model_and_batch(folder)
    if way == CHECKPOINTING:
        model.recompute_layers()
    _, gradients = model.loss_and_gradients()(*batch)
    gradients[0].asnumpy()  # all are computed
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) * 1024


def model_and_batch(folder: Path) -> tuple[TrainedModel, list[ms.Tensor]]:
    """The model of SIZE, and the demo's pack with the most patches."""
    shards = open_shards(folder / "shards")
    fullest = max(
        (shards[index] for index in range(len(shards))),
        key=lambda pack: len(pack.image_patches) + len(pack.video_patches),
    )
    batch = make_batch(fullest, BatchShape.of(shards.manifest), shards.manifest.model)
    return build_model(folder / "model"), to_device(batch)


def run_module(module: str, *words: object) -> None:
    command = [sys.executable, "-m", module, *map(str, words)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


if __name__ == "__main__":
    main()
