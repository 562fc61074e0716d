"""What --reuse saves when a changed max_pixels leaves 90% of the images at the same size.

    python scripts/bench/reuse.py [--quick]

Two whole runs of the command, from scratch and with --reuse, alternating; every byte that they write is compared.
Each worker gets several shards of equal size, as in a real run. What a command takes before its first sample is
counted too, about a second, so more photos are nearer to a real run. What either way reads, photos and old shards, is
in the page cache.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench_photos import ROOT, make_run, published, sha256_of_file

OLD_LIMIT, NEW_LIMIT = 451_584, 440_000  # pixels
SAME = (2400, 1550)  # becomes 812 x 532 under both limits
CHANGED = (2200, 1600)  # becomes 784 x 560, then 756 x 560
PHOTO_BYTES = 1_265_000  # in a shard, on average
NUM_SHARDS = 8
# Python caches compiled modules, unless it is told not to as on some machines that test.
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer photos and rounds")
    quick = parser.parse_args().quick
    num_photos, rounds = (500, 1) if quick else (1200, 3)
    with tempfile.TemporaryDirectory(prefix="bench-reuse-") as name:
        folder = Path(name)
        make_run(folder, [CHANGED if number % 10 == 0 else SAME for number in range(num_photos)])
        old, scratch, reused = folder / "old", folder / "scratch", folder / "reused"
        run(folder, num_photos, old, max_pixels=OLD_LIMIT)
        for shard in old.glob("shard-*"):  # into the page cache, where writing does not leave it
            sha256_of_file(shard)
        times: dict[str, list[float]] = {"from scratch": [], "with --reuse": []}
        for _ in range(rounds):
            for target in (scratch, reused):
                shutil.rmtree(target, ignore_errors=True)
            times["from scratch"].append(run(folder, num_photos, scratch, max_pixels=NEW_LIMIT))
            times["with --reuse"].append(run(folder, num_photos, reused, max_pixels=NEW_LIMIT, reuse=old))
        identical = published(scratch) == published(reused)
    medians = {way: statistics.median(values) for way, values in times.items()}
    print(f"{num_photos} photos, one in ten of another size under the new max_pixels")
    for way, seconds in medians.items():
        print(f"{way:16}{seconds:8.2f} s{num_photos / seconds:8.1f} images/s")
    ratio = medians["with --reuse"] / medians["from scratch"]
    print(json.dumps({"time_ratio": round(ratio, 3), "identical": identical}))


def run(folder: Path, num_photos: int, output_dir: Path, **flags: object) -> float:
    """Seconds of the whole command, process start included."""
    command = [sys.executable, "-m", "preprocess", "run", "--model", folder / "model", "--dataset_use", "photos"]
    command += ["--datasets", folder / "datasets.yaml", "--output_dir", output_dir, "--pack_length", "4096"]
    command += ["--shard_bytes", num_photos * PHOTO_BYTES // NUM_SHARDS]
    for flag, value in flags.items():
        command += [f"--{flag}", value]
    start = time.perf_counter()
    words = [str(word) for word in command]
    subprocess.run(words, cwd=ROOT, env=ENVIRONMENT, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


if __name__ == "__main__":
    main()
