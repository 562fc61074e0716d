"""Preprocessing beside what is usually done: images/s and clips/s, on one core and on all, the same files.

    python scripts/bench/processors.py [--quick] [--oracle PYTHON]

| way | what it does for a sample |
| --- | --- |
| this project | all of it: decodes, resizes, cuts, tokenizes, positions, packs, checks, hashes, writes, syncs; once |
| transformers' PIL processor | decodes, then Qwen2VLImageProcessor; neither text nor writing |
| transformers' torchvision processor | decodes, then Qwen2VLImageProcessorFast, or Qwen2VLVideoProcessor; likewise |
| loader of the Qwen scripts | the PIL processor, tokenizer and positions; again in each epoch |
| decode + Pillow's resize | to the size that the processor chooses, and nothing else |
| decode alone | Pillow, or decord for the frames of a clip: the limit of whoever uses these |

The inputs: made-up photos of 2400x1550; the photographs of `bench_real.py`, resampled to 1024x768; clips of 640x360 in
H.264, 10 s, of which 8 frames are taken. Ours has a worker a core, the others a process a core, each with one thread.
The ways alternate; ratios are taken within a round, and the median of the rounds counts. Files are in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "shared"))

from bench_clips import write_clips
from bench_photos import make_run, run_of_photos
from bench_real import resample_photographs
from bench_rounds import Times, alternate, median_ratio, spread, timed
from bench_ways import NAMES, add_oracle_flag, oracle_python, other_ways

from preprocess.config import RunConfig
from preprocess.jobs.executor import ThisProcess, WorkerPool
from preprocess.jobs.share import Share
from preprocess.jobs.worker import limit_threads
from preprocess.output_dir import prepare
from preprocess.run import plan_into_output
from preprocess.write.materialise import ShardStage

PHOTO_SIZE, REAL_SIZE, CLIP_SIZE = (2400, 1550), (1024, 768), (640, 360)
INTERVAL = 1.25  # seconds: 8 frames of 10 s
OURS = "this project"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples and rounds")
    add_oracle_flag(parser)
    arguments = parser.parse_args()
    oracle = oracle_python(arguments.oracle)
    num_photos, num_clips, rounds = (32, 16, 3) if arguments.quick else (96, 48, 5)
    num_real = 3 * num_photos  # they are smaller
    limit_threads()
    result: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bench-processors-") as name:
        for kind, number, run in (
            ("photo", num_photos, lambda folder: make_run(folder, [PHOTO_SIZE] * num_photos, packing="none")),
            ("real", num_real, lambda folder: run_of_real(folder, num_real)),
            ("clip", num_clips, lambda folder: run_of_clips(folder, num_clips)),
        ):
            config = run(Path(name) / kind)
            all_cores = os.sched_getaffinity(0)
            os.sched_setaffinity(0, {min(all_cores)})  # of this process and all that it starts
            result |= measure(kind, config, number, oracle, rounds, 1)
            os.sched_setaffinity(0, all_cores)
            result |= measure(kind, config, number, oracle, rounds, len(all_cores))
            result[f"{kind}_all_cores"] = round(result[f"{kind}_per_s_all"] / result[f"{kind}_per_s"], 2)
    print(json.dumps(result))


def run_of_real(folder: Path, number: int) -> RunConfig:
    (folder / "photos").mkdir(parents=True)
    return run_of_photos(folder, resample_photographs(folder / "photos", number, REAL_SIZE), packing="none")


def run_of_clips(folder: Path, number: int) -> RunConfig:
    (folder / "photos").mkdir(parents=True)
    names = write_clips(folder / "photos", "H.264", CLIP_SIZE, number)
    return run_of_photos(folder, names, packing="none", base_interval=INTERVAL)


def measure(kind: str, config: RunConfig, number: int, oracle: Path, rounds: int, cores: int) -> dict[str, float]:
    config = plan_shards(config, cores)
    with other_ways(oracle, config, processes=cores) as others, WorkerPool(cores, item_timeout=300.0) as pool:
        ways: dict[str, Callable[[], float]] = {OURS: lambda: write(config, pool, cores)}
        ways |= {way: lambda name=name: others.seconds(name) for name, way in NAMES.items()}  # type: ignore[misc]
        times = alternate(ways, rounds)
    report(kind, times, number, cores)
    suffix = "" if cores == 1 else "_all"
    result = {f"{kind}_per_s{suffix}": round(number / statistics.median(times[OURS]), 1)}
    for name, way in NAMES.items():
        result[f"{kind}_{name}_per_s{suffix}"] = round(number / statistics.median(times[way]), 1)
        result[f"{kind}_to_{name}{suffix}"] = round(median_ratio(times[way], times[OURS]), 2)
    return result


def plan_shards(config: RunConfig, number: int) -> RunConfig:
    """With a plan of so many shards of equal size in its folder: a job for each worker."""
    config = replace(config, output_dir=config.output_dir.with_name(f"out{number}"), workers=0)
    for _ in range(2):  # the first says how many bytes there are
        plan = plan_into_output(config, prepare(config, Share()), ThisProcess(), Share())
        if plan.num_shards == number:
            return config
        out = config.output_dir.with_name(f"out{number}-in-{number}")
        config = replace(config, output_dir=out, shard_bytes=plan.num_bytes // number + 1)
    raise AssertionError(f"{plan.num_shards} shards are not {number} of equal size")


def write(config: RunConfig, pool: WorkerPool, num_shards: int) -> float:
    for shard in config.output_dir.glob("shard-*"):
        shard.unlink()
    return timed(lambda: list(pool.run(ShardStage(config=config), range(num_shards), lambda: None)))()


def report(kind: str, times: Times, number: int, cores: int) -> None:
    rounds = len(times[OURS])
    where = "one core" if cores == 1 else f"all {cores} cores"
    print(f"{number} of {kind}, {where}, median (least to most), rounds: {rounds}")
    print(f"{'':38}{'a second':>26}{'time to ours':>26}")
    for way, seconds in times.items():
        rates = [number / each for each in seconds]
        to_ours = [each / own for own, each in zip(times[OURS], seconds, strict=True)]
        print(f"{way:38}{spread(rates, '{:.1f}'):>26}{spread(to_ours):>26}")
    print()


if __name__ == "__main__":
    main()
