"""What `--compress zstd` saves on the disk, what expanding costs, and whether training waits for it.

    python scripts/bench/parts/disk.py [--quick] [--photos DIR | --real]

Photo-like pictures (or those in DIR; or real photographs, `bench_real.py`) become packs of 4,096 tokens, once as they
are and once compressed. Reading means taking every pack with all its patches from a warm page cache, in one thread; MB
are those of the patches, expanded, and a second is one of the core's time, whatever else the machine does. Medians over
alternating rounds.

The pace: a node of 8 NPUs with a model of 7B needs 6 * 7.6e9 operations for a token, 6 * 0.68e9 more for a patch, and
does 8 * 376e12 a second, of which 40% are reached. One consumer takes packs of all 8 ranks at that pace, and sleeps as
long as the devices would work; it waits where the one thread that reads ahead and pads is late. `fastest` is how many
times as fast the devices could be.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from bench_photos import copy_photos, make_run, run_of_photos, write_shards
from bench_real import photographs

from shards import PackStream, ShardSet, open_shards
from shards.convert import convert_shards
from shards.order import PackOrder
from train.steps.stream import ReadAhead

PHOTO_SIZE = (1200, 775)
READ_AHEAD = 4  # as train/loop.py
PER_TOKEN, PER_PATCH, PER_SECOND = 6 * 7.6e9, 6 * 0.68e9, 8 * 376e12 * 0.4  # operations
FORMATS = ("arrow", "arrow_zstd")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer photos and rounds")
    parser.add_argument("--photos", type=Path, metavar="DIR", help="pictures to take instead, each one several times")
    parser.add_argument("--real", action="store_true", help="real photographs instead")
    arguments = parser.parse_args()
    num_photos, rounds = (60, 3) if arguments.quick else (600, 9)
    with tempfile.TemporaryDirectory(prefix="bench-disk-") as name:
        folders = write_both(Path(name), num_photos, arguments.photos, arguments.real)
        datasets = {format: open_shards(folder) for format, folder in folders.items()}
        num_patches = datasets["arrow"].manifest.totals.num_image_patches
        seconds = measure_rounds({format: read_all(shards) for format, shards in datasets.items()}, rounds)
        paces = {format: measure_pace(shards) for format, shards in datasets.items()}
        num_bytes = {format: patch_bytes(shards) / num_patches for format, shards in datasets.items()}
        width = datasets["arrow"].manifest.model.image_patch_bytes
    speeds = {format: num_patches * width / 1e6 / statistics.median(times) for format, times in seconds.items()}
    demand = paces["arrow"].mb_per_s
    print(f"{num_photos} pictures in {len(datasets['arrow'])} packs, {num_patches:,} patches of {width} bytes")
    print(f"7B on 8 NPUs: a pack each {1000 * paces['arrow'].seconds_a_pack:.0f} ms, {demand:.0f} MB/s of patches")
    print(f"{'':14}{'bytes a patch':>14}{'read MB/s':>11}{'waited':>9}{'fastest':>9}")
    for format, pace in paces.items():
        print(f"{format:14}{num_bytes[format]:14.1f}{speeds[format]:11,.0f}{pace.waited:9.2%}{pace.fastest:9.1f}")
    result = {
        "bytes_per_patch_raw": round(num_bytes["arrow"], 1),
        "bytes_per_patch_compressed": round(num_bytes["arrow_zstd"], 1),
        "read_mb_per_s_compressed": round(speeds["arrow_zstd"]),
    }
    print(json.dumps(result))


def write_both(folder: Path, num_photos: int, photos: Path | None, real: bool) -> dict[str, Path]:
    """The same packs in both formats."""
    settings = {"workers": 0, "shard_bytes": 64 << 20}
    if photos is None and not real:
        config = make_run(folder, [PHOTO_SIZE] * num_photos, **settings)
    else:
        (folder / "photos").mkdir()
        found = photographs() if photos is None else sorted(photos.iterdir())
        pictures = [path for path in found if path.suffix.lower() in {".jpg", ".jpeg", ".png", ".webp"}]
        names = copy_photos(pictures, folder / "photos", num_photos)
        config = run_of_photos(folder, names, **settings)
    write_shards(config)
    convert_shards(config.output_dir, folder / "zstd", format="arrow_zstd")
    return {"arrow": config.output_dir, "arrow_zstd": folder / "zstd"}


def patch_bytes(shards: ShardSet) -> int:
    """Bytes of all files, less what is not patches: that is in both formats the same, but for a few bytes a pack."""
    totals = shards.manifest.totals
    num_others = 5 * 4 * totals.num_tokens
    return sum(entry.num_bytes for entry in shards.manifest.shards) - num_others


def read_all(shards: ShardSet) -> Callable[[], None]:
    def work() -> None:
        for index in range(len(shards)):
            patches = shards[index].image_patches
            patches[:: 4096 // patches.shape[1] or 1, 0].sum()  # a byte of each page: raw patches are read from there

    return work


def measure_rounds(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of this thread in each way, in alternating rounds after one that fills caches."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for number in range(rounds + 1):
        for way, work in ways.items():
            start = time.thread_time()
            work()
            if number:
                times[way].append(time.thread_time() - start)
    return times


@dataclass(frozen=True)
class Pace:
    seconds_a_pack: float
    mb_per_s: float
    waited: float  # share of the time
    fastest: float  # how many times as fast, before the thread that reads is always behind


def measure_pace(shards: ShardSet) -> Pace:
    totals, num_packs = shards.manifest.totals, len(shards)
    step = (totals.num_tokens * PER_TOKEN + totals.num_image_patches * PER_PATCH) / PER_SECOND / num_packs
    order = PackOrder(num_packs=num_packs, seed=0, packs_per_step=1, num_positions=max(num_packs, 40))
    stream = PackStream(shards, order)
    begin = time.perf_counter()
    num_read = sum(1 for _ in stream)
    alone = (time.perf_counter() - begin) / num_read
    with ReadAhead(stream, depth=READ_AHEAD) as rows:
        next(rows)
        rows.seconds_waited, begin = 0.0, time.perf_counter()
        for _ in rows:
            time.sleep(step)
        waited = rows.seconds_waited / (time.perf_counter() - begin)
    mb_per_s = totals.num_image_patches * shards.manifest.model.image_patch_bytes / 1e6 / num_packs / step
    return Pace(step, mb_per_s, waited, step / alone)


if __name__ == "__main__":
    main()
