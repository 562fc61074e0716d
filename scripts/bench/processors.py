"""This project beside what is usually done: images/s of one core, on the same files.

    python scripts/bench/processors.py [--quick] [--oracle PYTHON]

| way | what it does for an image |
| --- | --- |
| this project | all of it: decodes, resizes, cuts, tokenizes, positions, packs, checks, hashes, writes, syncs; once |
| PIL processor | Pillow, then transformers' Qwen2VLImageProcessor; neither text nor writing |
| torchvision processor | Pillow, then Qwen2VLImageProcessorFast |
| loader of the Qwen scripts | the PIL processor, tokenizer and positions; again in each epoch |

PYTHON is the interpreter of an environment with torch, torchvision and transformers 4.57.1; without it one is made
below build/, which takes some minutes. Every process may use one core, the same. The ways alternate; ratios are taken
within a round, and the median of the rounds counts. Files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

from bench_photos import ROOT, make_run

from preprocess.config import RunConfig
from preprocess.jobs.executor import ThisProcess, WorkerPool
from preprocess.jobs.share import Share
from preprocess.jobs.worker import limit_threads
from preprocess.output_dir import prepare
from preprocess.run import plan_into_output
from preprocess.write.materialise import ShardStage
from shards import read_model_constants
from shards.files.names import TOKENIZER_NAME

PHOTO_SIZE = (2400, 1550)
PHOTO_BYTES = 1_310_000  # in a shard, about
ENVIRONMENT = ROOT / "build" / "oracle-env"
OURS = "this project"
OTHERS = {  # of bench_oracle.Ways
    "PIL processor": "pil",
    "torchvision processor": "torchvision",
    "loader of the Qwen scripts": "loader",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer photos and rounds")
    parser.add_argument("--oracle", type=Path, metavar="PYTHON", help="interpreter that has torch and transformers")
    arguments = parser.parse_args()
    num_photos, rounds = (32, 3) if arguments.quick else (192, 7)
    oracle = arguments.oracle or oracle_python()
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of this process and all that it starts
    limit_threads()
    with tempfile.TemporaryDirectory(prefix="bench-processors-") as name:
        config = make_run(Path(name), [PHOTO_SIZE] * num_photos, workers=0, packing="none")
        config = replace(config, shard_bytes=num_photos * PHOTO_BYTES // 2)
        plan = plan_into_output(config, prepare(config, Share()), ThisProcess(), Share())
        with running(oracle, config) as answer, WorkerPool(1, item_timeout=300.0) as pool:
            ways: dict[str, Callable[[], float]] = {OURS: lambda: write(config, pool, range(plan.num_shards))}
            ways |= {way: lambda name=name: answer(name) for way, name in OTHERS.items()}  # type: ignore[misc]
            times: dict[str, list[float]] = {way: [] for way in ways}
            for number in range(rounds + 1):
                for way, work in ways.items():
                    seconds = work()
                    if number:  # the first round starts processes and fills caches
                        times[way].append(seconds)
    report(times, num_photos)


def write(config: RunConfig, pool: WorkerPool, shards: range) -> float:
    for shard in config.output_dir.glob("shard-*"):
        shard.unlink()
    start = time.perf_counter()
    for _ in pool.run(ShardStage(config=config), shards, lambda: None):
        pass
    return time.perf_counter() - start


@contextmanager
def running(oracle: Path, config: RunConfig) -> Iterator[Callable[[str], float]]:
    """A process that does the other ways, as a function of their name that gives seconds."""
    records = json.loads((config.datasets.parent / "photos.json").read_text())
    limits = config.image_limits(read_model_constants(config.model))
    task = {
        "photos": [str(config.datasets.parent / "photos" / record["image"]) for record in records],
        "texts": [[turn["value"].removeprefix("<image>\n") for turn in record["conversations"]] for record in records],
        "limits": {"min_pixels": limits.min_pixels, "max_pixels": limits.max_pixels},
        "tokenizer": str(config.model / TOKENIZER_NAME),
    }
    command = [oracle, Path(__file__).with_name("bench_oracle.py")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None and process.stdout is not None

        def ask(line: str) -> str:
            assert process.stdin is not None and process.stdout is not None
            print(line, file=process.stdin, flush=True)
            reply = process.stdout.readline()
            if not reply:
                sys.exit(f"error: {oracle} ended; it says why above")
            return reply.strip()

        print(f"{ask(json.dumps(task))}; here Pillow {version('pillow')}")
        yield lambda name: float(ask(name))
        process.stdin.close()


def oracle_python() -> Path:
    """Of an environment with the other ways, which is made where it is not there."""
    python = ENVIRONMENT / "bin" / "python"
    finished = ENVIRONMENT / ".finished"
    if not finished.exists():
        print(f"making {ENVIRONMENT}, which takes some minutes", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", ENVIRONMENT], check=True)
        packages = ["torch>=2.6", "torchvision", "transformers==4.57.1"]
        packages += [f"{name}=={version(name)}" for name in ("numpy", "pillow")]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *packages], check=True)
        finished.touch()
    return python


def report(times: dict[str, list[float]], num_photos: int) -> None:
    print(f"{num_photos} photos of {PHOTO_SIZE[0]}x{PHOTO_SIZE[1]} pixels, one core")
    print(f"{'':34}{'images/s':>10}{'of ours':>10}")
    ratios = {}
    for way, seconds in times.items():
        ratios[way] = statistics.median(other / own for own, other in zip(times[OURS], seconds, strict=True))
        print(f"{way:34}{num_photos / statistics.median(seconds):10.1f}{1 / ratios[way]:10.2f}")
    names = ("to_pil", "to_torchvision", "to_loader")
    print(json.dumps({name: round(ratios[way], 2) for name, way in zip(names, OTHERS, strict=True)}))


if __name__ == "__main__":
    main()
