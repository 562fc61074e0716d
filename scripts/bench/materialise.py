"""How close encoding is to its floor, Pillow's decode and resize of the same files, and what a second worker gives.

    python scripts/bench/materialise.py [--quick]

Files are in the page cache, and starting processes is not counted. Medians over alternating rounds.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from bench_photos import make_run
from PIL import Image

from preprocess.config import RunConfig
from preprocess.executor import WorkerPool
from preprocess.images import grid_size
from preprocess.materialise import ShardStage
from preprocess.plan_tables import PLAN_DIR, SamplesReader
from preprocess.run import Share, plan_into_output, prepare
from shards import read_model_constants

PHOTO_SIZE = (2400, 1550)  # 3.7 megapixels
TASKS = 4
FLOOR, ONE_WORKER, TWO_WORKERS = "Pillow decode + resize", "encode and write, 1 worker", "encode and write, 2 workers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer photos and rounds")
    quick = parser.parse_args().quick
    num_photos, rounds = (32, 3) if quick else (128, 5)
    with tempfile.TemporaryDirectory(prefix="bench-materialise-") as name:
        config = make_run(Path(name), [PHOTO_SIZE] * num_photos, workers=0, packing="none")
        shard_bytes = num_photos // TASKS * 1_350_000  # so that there are TASKS shards, to balance two workers
        config = replace(config, shard_bytes=shard_bytes)
        plan = plan_into_output(config, prepare(config), Share())
        tasks = list(range(plan.num_shards))
        seconds = measure(config, tasks, rounds)
    report(seconds, num_photos, len(tasks))


def measure(config: RunConfig, tasks: list[int], rounds: int) -> dict[str, float]:
    """Median seconds of each way over all photos."""
    stage = ShardStage(config=config)
    loaded = stage.load()
    pools = {workers: WorkerPool(stage, workers, item_timeout=300.0) for workers in (1, 2)}
    ways: dict[str, Callable[[], object]] = {
        FLOOR: floor_work(config),
        "encode and write, in process": lambda: [loaded.do_job(task, loaded.do_item, lambda: None) for task in tasks],
        ONE_WORKER: lambda: list(pools[1].run(tasks, lambda: None)),
        TWO_WORKERS: lambda: list(pools[2].run(tasks, lambda: None)),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for round_number in range(rounds + 1):
        for name, work in ways.items():
            start = time.perf_counter()
            work()
            if round_number:  # the first round starts processes and fills caches
                times[name].append(time.perf_counter() - start)
    for pool in pools.values():
        pool.stop()
    shutil.rmtree(config.output_dir)
    return {name: statistics.median(values) for name, values in times.items()}


def floor_work(config: RunConfig) -> Callable[[], None]:
    constants = read_model_constants(config.model)
    images = [image for sample in SamplesReader(config.output_dir / PLAN_DIR) for image in sample.images]

    def work() -> None:
        for image in images:
            height, width = grid_size(image.grid_thw, constants)
            with Image.open(image.source.path) as opened:
                np.asarray(opened.resize((width, height), Image.Resampling.BICUBIC))

    return work


def report(seconds: dict[str, float], num_photos: int, num_tasks: int) -> None:
    print(f"{num_photos} photos of {PHOTO_SIZE[0]}x{PHOTO_SIZE[1]} pixels, {num_tasks} shards")
    print(f"{'':32}{'seconds':>9}{'images/s':>10}")
    for name, value in seconds.items():
        print(f"{name:32}{value:9.2f}{num_photos / value:10.1f}")
    floor, one, two = seconds[FLOOR], seconds[ONE_WORKER], seconds[TWO_WORKERS]
    print(json.dumps({"ratio_to_floor": round(floor / one, 3), "speedup_2_workers": round(one / two, 3)}))


if __name__ == "__main__":
    main()
