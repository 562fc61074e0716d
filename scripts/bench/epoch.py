"""Data time an epoch: this project's dataset beside a loader in the way of the Qwen scripts, same samples, one core.

    python scripts/bench/epoch.py [--quick] [--oracle PYTHON]

| way | for each sample, in each epoch |
| --- | --- |
| this project | `PackStream`, as the trainer uses it: reads packs from shards in a shuffled order, pads, lays out |
| loader of the Qwen scripts | opens, decodes, resizes, normalises, tokenizes, makes positions (`bench_oracle.py`) |

Both end with a copy of every array that the model takes, as the transfer to a device reads it, so no byte is left
untouched; no training. Ours are uint8 patches, which the model normalises on its device; theirs are float32. The
images are of several sizes, 640x480 to 2400x1550; the videos are clips of 640x360 in H.264, 10 s, of which 8 frames
are taken. Limits are the defaults of the scripts.

The first epoch starts with the files (shards; media) out of the page cache, and ours opens the dataset: seconds of the
clock. The later ones find files in it: seconds of the core, so that other work on the machine does not count. Ways
alternate, each process has the same one core; medians, and the least and the most. The offline run is the whole
command with one worker, less what it takes for a single sample (its start), in seconds of the core; it has paid for
itself once epochs of the loader take longer than it and our epochs do.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "shared"))

from bench_clips import write_clips
from bench_command import run_preprocess
from bench_photos import make_run, run_of_photos
from bench_rounds import alternate, median_ratio, ratios, spread, timed
from bench_ways import OtherWays, add_oracle_flag, oracle_python, other_ways

from preprocess.config import RunConfig
from preprocess.jobs.worker import limit_threads
from shards import PackStream, ShardSet
from shards.order import PackOrder
from shards.reader import open_packs

IMAGE_SIZES = ((640, 480), (1024, 768), (1920, 1080), (2400, 1550), (640, 480), (1280, 960), (480, 640), (1024, 1024))
CLIP_SIZE = (640, 360)
INTERVAL = 1.25  # seconds: 8 frames of 10 s
OURS, LOADER = "this project", "loader of the Qwen scripts"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples and rounds")
    add_oracle_flag(parser)
    arguments = parser.parse_args()
    oracle = oracle_python(arguments.oracle)
    num_images, num_clips, rounds = (128, 56, 3) if arguments.quick else (384, 112, 5)  # 28 clips fill a pack
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # of this process and all that it starts
    limit_threads()
    result = {}
    with tempfile.TemporaryDirectory(prefix="bench-epoch-") as name:
        folder = Path(name)
        sizes = [IMAGE_SIZES[number % len(IMAGE_SIZES)] for number in range(num_images)]
        images = make_run(folder / "images", sizes)
        result |= measure("image", images, num_images, oracle, rounds)
        clips = run_of_clips(folder / "videos", num_clips)
        result |= measure("video", clips, num_clips, oracle, rounds)
    print(json.dumps(result))


def run_of_clips(folder: Path, number: int) -> RunConfig:
    media = folder / "photos"
    media.mkdir(parents=True)
    names = write_clips(media, "H.264", CLIP_SIZE, number)
    return run_of_photos(folder, names, base_interval=INTERVAL)


def measure(kind: str, config: RunConfig, num_samples: int, oracle: Path, rounds: int) -> dict[str, float]:
    folder = config.output_dir.parent
    flags = {"model": config.model, "datasets": folder / "datasets.yaml", "dataset_use": config.dataset_use}
    flags |= {"base_interval": config.base_interval, "workers": 1}
    media, shards = folder / "photos", config.output_dir
    few, all_samples = measure_offline(flags, shards, rounds)
    with other_ways(oracle, config) as others:
        others.seconds("epoch")  # imports and first calls are no part of an epoch
        read_epoch(open_packs(shards))
        first = alternate(ways(shards, media, others, cold=True), rounds, warm=False)
        later = alternate(ways(shards, media, others, cold=False), rounds)
    print(f"{num_samples} {kind}s, seconds of an epoch on one core, median (least to most), rounds: {rounds}")
    for name, times in (("first epoch", first), ("later epochs", later)):
        print(f"{name:14}{OURS} {spread(times[OURS], '{:.3f}'):28}{LOADER} {spread(times[LOADER]):28}", end="")
        print(f"{spread(ratios(times[LOADER], times[OURS]), '{:.0f}')} times")
    offline = statistics.median(more - start for more, start in zip(all_samples, few, strict=True))
    payback = offline / (statistics.median(later[LOADER]) - statistics.median(later[OURS]))
    print(f"offline run {spread(all_samples)} s, of a single sample {spread(few)} s")
    print(f"beyond its start it has paid for itself after {payback:.2f} epochs\n")
    result = {f"{kind}_payback_epochs": round(payback, 2)}
    for name, times in (("", later), ("_first", first)):
        result[f"{kind}{name}_ours_ms"] = round(1000 * statistics.median(times[OURS]) / num_samples, 3)
        result[f"{kind}{name}_loader_ms"] = round(1000 * statistics.median(times[LOADER]) / num_samples, 2)
        result[f"{kind}{name}_ratio"] = round(median_ratio(times[LOADER], times[OURS]), 1)
    return result


def measure_offline(flags: dict[str, object], output_dir: Path, rounds: int) -> tuple[list[float], list[float]]:
    """Seconds of the core for a single sample, and for all, which are then in `output_dir`."""
    few, all_samples = [], []
    for _ in range(rounds):
        few.append(core_seconds({**flags, "output_dir": output_dir.with_name("few"), "limit": 1}))
        all_samples.append(core_seconds({**flags, "output_dir": output_dir}))
        for folder in (output_dir.with_name("few"), output_dir)[: 1 if len(few) == rounds else 2]:
            shutil.rmtree(folder)
    return few, all_samples


def core_seconds(flags: dict[str, object]) -> float:
    """Of the whole command and its workers."""
    before = os.times()
    run_preprocess(flags)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def ways(shards: Path, media: Path, others: OtherWays, *, cold: bool) -> dict[str, Callable[[], float]]:
    if not cold:
        opened = open_packs(shards)  # once, as the trainer does
        ours = timed(lambda: read_epoch(opened), time.process_time)
        return {
            OURS: lambda: statistics.median(ours() for _ in range(9)),  # one is short
            LOADER: partial(others.core_seconds, "epoch"),
        }

    def after_dropping(folder: Path, way: Callable[[], float]) -> Callable[[], float]:
        def work() -> float:
            drop_from_cache(path for path in folder.rglob("*") if path.is_file())
            return way()

        return work

    ours = timed(lambda: read_epoch(open_packs(shards)))
    return {OURS: after_dropping(shards, ours), LOADER: after_dropping(media, partial(others.seconds, "epoch"))}


def read_epoch(shards: ShardSet) -> int:
    """All packs, in a shuffled order, with a copy of every array. The bytes that were copied."""
    order = PackOrder(num_packs=len(shards), seed=0, packs_per_step=1, num_positions=len(shards))
    return sum(array.copy().nbytes for row in PackStream(shards, order) for array in row.batch)


def drop_from_cache(paths: Iterable[Path]) -> None:
    gc.collect()  # a file that is still mapped stays
    for path in paths:
        with open(path, "rb") as file:
            os.fsync(file.fileno())  # what isn't on the disk stays
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


if __name__ == "__main__":
    main()
