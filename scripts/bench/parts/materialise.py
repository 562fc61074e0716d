"""How close encoding is to its floor, Pillow's decode and resize of the same files, and what a second worker gives.

    python scripts/bench/parts/materialise.py [--quick]

A worker does all that a run does: it decodes, resizes, cuts into patches, tokenizes, packs, checks, hashes and writes
shards that are on the disk when it is done. Files are in the page cache, and starting processes is not counted. The
ways alternate, and ratios are taken within a round, because whatever else the machine does hits neighbours alike; the
median of the rounds counts.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

import numpy as np
from bench_photos import make_run
from PIL import Image

from preprocess.arithmetic.geometry import grid_size
from preprocess.config import RunConfig
from preprocess.jobs.executor import ThisProcess, WorkerPool
from preprocess.jobs.share import Share
from preprocess.output_dir import prepare
from preprocess.plan.summary import PlanSummary
from preprocess.plan.tables import SamplesReader
from preprocess.run import plan_into_output
from preprocess.write.materialise import ShardStage
from shards import read_model_constants
from shards.files.names import PLAN_DIR

PHOTO_SIZE = (2400, 1550)  # 3.7 megapixels
PHOTO_BYTES = 1_310_000  # in a shard, about
SHARDS = 2  # of equal size, to balance two workers
FLOOR, ONE_WORKER, TWO_WORKERS = "Pillow decode + resize", "encode and write, 1 worker", "encode and write, 2 workers"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer photos, smaller shards")
    quick = parser.parse_args().quick
    num_photos, rounds = (88, 2) if quick else (384, 5)  # two shards of 58 MB, of 250 (what a run writes)
    seconds = {".jpg": measure_photos(".jpg", num_photos, rounds)}
    num_others, other_rounds = (24, 2) if quick else (64, 3)
    seconds |= {suffix: measure_photos(suffix, num_others, other_rounds) for suffix in (".png", ".webp")}
    result = report(seconds[".jpg"], num_photos, "JPEG")
    for suffix in (".png", ".webp"):
        name = suffix[1:]
        result[f"ratio_to_floor_{name}"] = report(seconds[suffix], num_others, name)["ratio_to_floor"]
    print(json.dumps(result))


def measure_photos(suffix: str, num_photos: int, rounds: int) -> dict[str, list[float]]:
    """The same for photos of that format."""
    with tempfile.TemporaryDirectory(prefix="bench-materialise-") as name:
        config = make_run(Path(name), [PHOTO_SIZE] * num_photos, suffix=suffix, workers=0, packing="none")
        config = replace(config, shard_bytes=num_photos * PHOTO_BYTES // SHARDS)
        plan = plan_into_output(config, prepare(config, Share()), ThisProcess(), Share())
        assert plan.num_shards == SHARDS, f"{plan.num_shards} shards are not balanced; mend PHOTO_BYTES"
        return measure(config, rounds)


def measure(config: RunConfig, rounds: int) -> dict[str, list[float]]:
    """Seconds of each way over all photos, a round after the other."""
    stage, indexes = ShardStage(config=config), range(SHARDS)
    with ExitStack() as stack:
        one, two = (stack.enter_context(WorkerPool(workers, item_timeout=300.0)) for workers in (1, 2))
        ways: dict[str, Callable[[], object]] = {
            FLOOR: floor_work(config),
            ONE_WORKER: lambda: list(one.run(stage, indexes, lambda: None)),
            TWO_WORKERS: lambda: list(two.run(stage, indexes, lambda: None)),
        }
        for pool, workers in ((one, 1), (two, 2)):  # starts their processes
            list(pool.run(stage, range(workers), lambda: None))
        times: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, work in ways.items():
                for shard in config.output_dir.glob("shard-*"):  # a run writes new files, and frees none
                    shard.unlink()
                start = time.perf_counter()
                work()
                times[name].append(time.perf_counter() - start)
    return times


def floor_work(config: RunConfig) -> Callable[[], None]:
    constants = read_model_constants(config.model)
    plan = config.output_dir / PLAN_DIR
    summary = PlanSummary.read(plan)
    assert summary is not None
    images = [image for sample in SamplesReader(plan, summary.fingerprint) for image in sample.images]

    def work() -> None:
        for image in images:
            height, width = grid_size(image.grid_thw, constants)
            with Image.open(image.source.path) as opened:
                np.asarray(opened.resize((width, height), Image.Resampling.BICUBIC))

    return work


def report(seconds: dict[str, list[float]], num_photos: int, format: str) -> dict[str, float]:
    print(f"{num_photos} photos ({format}) of {PHOTO_SIZE[0]}x{PHOTO_SIZE[1]} pixels, {SHARDS} shards")
    print(f"{'':32}{'seconds':>9}{'images/s':>10}")
    for name, values in seconds.items():
        median = statistics.median(values)
        print(f"{name:32}{median:9.2f}{num_photos / median:10.1f}")
    ratios = {"ratio_to_floor": (FLOOR, ONE_WORKER), "speedup_2_workers": (ONE_WORKER, TWO_WORKERS)}
    return {name: round(median_ratio(seconds[a], seconds[b]), 3) for name, (a, b) in ratios.items()}


def median_ratio(before: list[float], after: list[float]) -> float:
    return statistics.median(b / a for b, a in zip(before, after, strict=True))


if __name__ == "__main__":
    main()
