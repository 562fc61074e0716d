"""What writing shards costs where no decoding hides it: hashing, syncing each shard or all at the end, compressing.

    python scripts/bench/parts/write.py [--quick] [--dir DIR]

The same packs of noise, 2 MB each, from memory, into shards of 96 MB in DIR (default: the folder for temporary files;
which disk that is decides all but hashing). Ways alternate; medians. `core` is the share of the time that the process
was on a core, in both of its threads: the rest is waiting for the disk.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from bench_packs import CONSTANTS, LARGEST_ROW_BYTES, make_packs

from shards import Pack, PackMaxima
from shards.formats.writer import ShardSidecar, sync_shard, write_shard, write_sidecar

PACKS = 48  # of a shard


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer shards and rounds")
    parser.add_argument("--dir", type=Path, help="where to write")
    arguments = parser.parse_args()
    num_shards, rounds = (2, 2) if arguments.quick else (10, 5)
    packs = list(make_packs(range(PACKS)))
    num_bytes = num_shards * sum(pack.image_patches.nbytes + 5 * pack.input_ids.nbytes for pack in packs)
    with tempfile.TemporaryDirectory(prefix="bench-write-", dir=arguments.dir) as name:
        folder = Path(name) / "out"
        ways: dict[str, Callable[[], None]] = {
            "sha256 alone": partial(hash_all, packs, num_shards),
            "durability shard": partial(write, folder, packs, num_shards, "arrow", syncs=True),
            "durability run": partial(write, folder, packs, num_shards, "arrow", syncs=False),
            "shard, compressed": partial(write, folder, packs, num_shards, "arrow_zstd", syncs=True),
        }
        times: dict[str, list[tuple[float, float]]] = {way: [] for way in ways}
        for _ in range(rounds):
            for way, work in ways.items():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                start, start_of_core = time.perf_counter(), time.process_time()
                work()
                times[way].append((time.perf_counter() - start, time.process_time() - start_of_core))
    print(f"{num_shards} shards, {num_bytes / 1e6:,.0f} MB")
    print(f"{'':24}{'MB/s':>8}{'core':>8}{'ms of a core a MB':>20}")
    speeds = {}
    for way, each in times.items():
        seconds, core = (statistics.median(values) for values in zip(*each, strict=True))
        speeds[way] = num_bytes / 1e6 / seconds
        print(f"{way:24}{speeds[way]:8,.0f}{core / seconds:8.0%}{1000 * core / (num_bytes / 1e6):20.2f}")
    keys = {
        "sha256_mb_per_s": "sha256 alone",
        "shard_mb_per_s": "durability shard",
        "run_mb_per_s": "durability run",
        "compressed_mb_per_s": "shard, compressed",
    }
    print(json.dumps({key: round(speeds[way]) for key, way in keys.items()}))


def hash_all(packs: list[Pack], num_shards: int) -> None:
    for _ in range(num_shards):
        digest = hashlib.sha256()
        for pack in packs:
            digest.update(pack.image_patches)


def write(folder: Path, packs: list[Pack], num_shards: int, format: str, *, syncs: bool) -> None:
    """As a run writes them, to the moment at which all are on the disk."""
    for index in range(num_shards):
        written = write_shard(
            folder, index, packs, CONSTANTS, format=format, largest_row_bytes=LARGEST_ROW_BYTES, syncs=syncs
        )
        write_sidecar(
            folder,
            index,
            ShardSidecar(
                fingerprint="",
                shard=written.entry,
                maxima=PackMaxima(),
                datasets={},
                rejects=(),
                num_media=0,
                num_reused=0,
                synced=syncs,
            ),
        )
    for index in range(num_shards):
        sync_shard(folder, index, "", verify=False)


if __name__ == "__main__":
    main()
