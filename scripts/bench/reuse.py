"""What --reuse saves when something of a run is changed, against writing it from scratch.

    python scripts/bench/reuse.py [--quick]

| changed | |
| --- | --- |
| max_pixels | 90% of the images stay at the same size |
| mixture | half of one dataset in place of all, all of the other |
| pack_length | packs twice as long |

Whole runs of the command, from scratch and with --reuse, alternating; every byte that they write is compared. Each
worker gets several shards of equal size, as in a real run. What a command takes before its first sample is counted too,
about a second, so more photos are nearer to a real run. What either way reads, photos and old shards, is in the page
cache.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "shared"))

from bench_command import run_preprocess
from bench_photos import make_run, published, sha256_of_file
from bench_rounds import Times, median_ratio, spread

NUM_PHOTOS = 600
OLD: Mapping[str, object] = {"max_pixels": 451_584, "dataset_use": "first,second", "pack_length": 4096}
CHANGES: Mapping[str, Mapping[str, object]] = {
    "limit": {"max_pixels": 440_000},
    "mixture": {"dataset_use": "first%50,second"},
    "pack_length": {"pack_length": 8192},
}
SAME = (2400, 1550)  # becomes 812 x 532 under both limits
CHANGED = (2200, 1600)  # becomes 784 x 560, then 756 x 560
PHOTO_BYTES = 1_265_000  # in a shard, on average
NUM_SHARDS = 8
SCRATCH, REUSED = "from scratch", "with --reuse"
NAMES = {"scratch": SCRATCH, "reused": REUSED}  # in keys of the result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one round")
    rounds = 1 if parser.parse_args().quick else 3
    with tempfile.TemporaryDirectory(prefix="bench-reuse-") as name:
        folder = Path(name)
        make_datasets(folder)
        old = folder / "old"
        run(folder, old, OLD)
        for shard in old.glob("shard-*"):  # into the page cache, where writing does not leave it
            sha256_of_file(shard)
        measured = {change: measure(folder, old, {**OLD, **flags}, rounds) for change, flags in CHANGES.items()}
    print(f"{NUM_PHOTOS} photos, seconds of a run, median (least to most), rounds: {rounds}")
    print(f"{'changed':14}{SCRATCH:>28}{REUSED:>28}{'ratio':>8}")
    result: dict[str, object] = {}
    for change, (times, _) in measured.items():
        ratio = median_ratio(times[SCRATCH], times[REUSED])
        print(f"{change:14}{spread(times[SCRATCH]):>28}{spread(times[REUSED]):>28}{ratio:8.2f}")
        result |= {f"{change}_{name}_s": round(statistics.median(times[way]), 2) for name, way in NAMES.items()}
        result[f"{change}_speedup"] = round(ratio, 2)
    result["identical"] = all(identical for _, identical in measured.values())
    print(json.dumps(result))


def make_datasets(folder: Path) -> None:
    """Two of the same size; one photo in ten changes its size with the limit."""
    make_run(folder, [CHANGED if number % 10 == 0 else SAME for number in range(NUM_PHOTOS)])
    records = json.loads((folder / "photos.json").read_text(encoding="utf-8"))
    halves = {"first": records[: NUM_PHOTOS // 2], "second": records[NUM_PHOTOS // 2 :]}
    for name, half in halves.items():
        (folder / f"{name}.json").write_text(json.dumps(half), encoding="utf-8")
    lines = [f"{name}: {{annotation_path: {name}.json, data_path: photos}}\n" for name in halves]
    (folder / "datasets.yaml").write_text("".join(lines), encoding="utf-8")


def measure(folder: Path, old: Path, flags: Mapping[str, object], rounds: int) -> tuple[Times, bool]:
    """Seconds of both ways, and whether they wrote the same bytes."""
    targets = {SCRATCH: folder / "scratch", REUSED: folder / "reused"}
    times: Times = {way: [] for way in targets}
    for _ in range(rounds):
        for target in targets.values():
            shutil.rmtree(target, ignore_errors=True)
        times[SCRATCH].append(run(folder, targets[SCRATCH], flags))
        times[REUSED].append(run(folder, targets[REUSED], {**flags, "reuse": old}))
    return times, published(targets[SCRATCH]) == published(targets[REUSED])


def run(folder: Path, output_dir: Path, flags: Mapping[str, object]) -> float:
    files = {"model": folder / "model", "datasets": folder / "datasets.yaml", "output_dir": output_dir}
    return run_preprocess({**files, "shard_bytes": NUM_PHOTOS * PHOTO_BYTES // NUM_SHARDS, **flags})


if __name__ == "__main__":
    main()
