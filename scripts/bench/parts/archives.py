"""Media where they are: what it costs to read them from archives and from Parquet, in any order.

    python scripts/bench/parts/archives.py [--quick]

Members of a tar and cells of Parquet files against the same bytes as files of a folder, read in random order as
encoding reads them: their place is looked up, their stamp compared, the bytes are read. Rounds alternate, and all is in
the page cache. Then the index of an archive of a million members, whose names are made up: its bytes, how long it takes
to make and, in a new process, to open, and what a look-up takes. Bounds: 1.2 times a folder for a tar, 1.5 times for
Parquet, 200 MB and 5 s for the index.
"""

from __future__ import annotations

import argparse
import io
import json
import random
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT)]

import pyarrow as pa  # noqa: E402
import pyarrow.parquet as pq  # noqa: E402

from preprocess.jobs.share import EVERYTHING  # noqa: E402
from preprocess.media import cache, store  # noqa: E402
from preprocess.media.archives.index import write_index  # noqa: E402
from preprocess.media.archives.listing import Listing, Packing  # noqa: E402
from preprocess.media.archives.prepare import prepare_archives  # noqa: E402
from preprocess.media.places import Archives  # noqa: E402
from preprocess.sample import MediaSource  # noqa: E402

MEMBER_BYTES, CELL_BYTES = 60_000, 150_000
GROUP_ROWS = 100
MEDIUM = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
OPEN_INDEX = """
import sys, time
from pathlib import Path
from preprocess.media.archives.index import read_index
started = time.perf_counter()
index = read_index(Path(sys.argv[1]))
found = [len(list(index.find(name))) for name in sys.argv[2:]]
opened = time.perf_counter() - started
assert set(found) == {1}, found
started = time.perf_counter()
for _ in range(1000):
    for name in sys.argv[2:]:
        list(index.find(name))
print(opened, (time.perf_counter() - started) / 1000 / len(found))
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer media and rounds")
    quick = parser.parse_args().quick
    num_media, num_cells, num_members = (1000, 300, 100_000) if quick else (10_000, 2000, 1_000_000)
    rounds = 3 if quick else 9
    with tempfile.TemporaryDirectory(prefix="bench-archives-") as name:
        tar = tar_against_folder(Path(name), num_media, rounds)
    with tempfile.TemporaryDirectory(prefix="bench-archives-") as name:
        parquet = parquet_against_folder(Path(name), num_cells, rounds)
    with tempfile.TemporaryDirectory(prefix="bench-archives-") as name:
        index = large_index(Path(name), num_members)
    print(json.dumps({"tar_ratio": tar, "parquet_ratio": parquet, **index}))


def contents(number: int, num_bytes: int) -> bytes:
    """As incompressible as a JPEG."""
    return np.random.default_rng(number).bytes(num_bytes)


def tar_against_folder(folder: Path, num_media: int, rounds: int) -> float:
    names = [f"train2017/{number:012d}.jpg" for number in range(num_media)]
    (folder / "media" / "train2017").mkdir(parents=True)
    with tarfile.open(folder / "media.tar", "w") as tar:
        for number, name in enumerate(names):
            content = contents(number, MEMBER_BYTES)
            (folder / "media" / name).write_bytes(content)
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    archive = str(folder / "media.tar")
    used = cache.MediaCache(folder=folder / "cache", most_bytes=1 << 40)
    cache.use(used)
    started = time.perf_counter()
    prepare_archives([[archive]], used, EVERYTHING)
    seconds = time.perf_counter() - started
    places = {"folder": folder / "media", "tar": Archives(pattern=archive, archives=(archive,))}
    order = random.Random(0).sample(names, len(names))
    ways = {
        way: lambda name, place=place: read(store.locate(name, place, follow_links=True))
        for way, place in places.items()
    }
    print(f"{num_media:,} media of {MEMBER_BYTES:,} bytes; the tar's index took {seconds:.2f} s")
    return compared(ways, order, rounds)["tar"]


def parquet_against_folder(folder: Path, num_cells: int, rounds: int) -> float:
    (folder / "media").mkdir()
    rows = [{"bytes": contents(number, CELL_BYTES), "path": None} for number in range(num_cells)]
    for number, row in enumerate(rows):
        (folder / "media" / f"{number}.jpg").write_bytes(row["bytes"])
    ways: dict[str, Callable[[int], None]] = {
        "folder": lambda row: read(MediaSource(path=str(folder / "media" / f"{row}.jpg")))
    }
    table = pa.table({"image": pa.array(rows, MEDIUM)})
    del rows
    for compression in ("snappy", "none"):
        path = folder / f"{compression}.parquet"
        pq.write_table(table, path, row_group_size=GROUP_ROWS, compression=compression)
        ways[f"parquet, {compression}"] = lambda row, path=str(path): read(
            MediaSource(path=path, row=row, column="image")
        )
    del table
    order = random.Random(0).sample(range(num_cells), num_cells)
    cache._used.clear()
    print(f"\n{num_cells:,} media of {CELL_BYTES:,} bytes, row groups of {GROUP_ROWS}")
    for way in list(ways)[1:]:
        print(f"{way:20}{timed(ways[way], order[:40]) * 1e3:9.3f} ms without a folder for what was expanded")
    for way in list(ways)[1:]:
        cache.use(cache.MediaCache(folder=folder / way, most_bytes=1 << 40))
        seconds = timed(ways[way], list(range(num_cells)))
        print(f"{way:20}{seconds * 1e3:9.3f} ms in order, while row groups are expanded")
    cache.use(cache.MediaCache(folder=folder / "all", most_bytes=1 << 40))
    for way in list(ways)[1:]:
        timed(ways[way], list(range(num_cells)))
    ratios = compared(ways, order, rounds)
    return max(ratio for way, ratio in ratios.items() if way != "folder")


def large_index(folder: Path, num_members: int) -> dict[str, float]:
    started = time.perf_counter()
    listing = Listing("simulated.tar")
    for number in range(num_members):
        name = b"allava_laion/images/%06d/%012d.jpeg" % (number // 1000, number)
        listing.add(name, 512 + number * 61_440, MEMBER_BYTES, Packing.PLAIN)
    path = folder / "index.arrow"
    write_index(path, "simulated.tar", (), listing)
    made = time.perf_counter() - started
    wanted = [
        f"allava_laion/images/{n // 1000:06d}/{n:012d}.jpeg" for n in random.Random(0).sample(range(num_members), 50)
    ]
    command = [sys.executable, "-c", OPEN_INDEX, str(path), *wanted]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT)
    opened, looked_up = map(float, done.stdout.split())
    megabytes = path.stat().st_size / 1e6
    print(
        f"\nindex of {num_members:,} members: {megabytes:.1f} MB, made in {made:.1f} s, opened and asked for 50 in "
        f"{opened:.3f} s, {looked_up * 1e6:.1f} us a look-up"
    )
    return {"index_mb": round(megabytes, 1), "index_open_s": round(opened, 3)}


def read(source: MediaSource) -> None:
    store.stamp_of(source)
    with store.open_medium(source) as file:
        assert file.read(4)
        file.read()


def timed(way: Callable[..., None], order: list[object]) -> float:
    """Seconds each."""
    started = time.perf_counter()
    for each in order:
        way(each)
    return (time.perf_counter() - started) / len(order)


def compared(ways: dict[str, Callable[..., None]], order: list[object], rounds: int) -> dict[str, float]:
    """Of each way, the median of its times over those of the folder in the same round."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(rounds):
        for way, reading in ways.items():
            times[way].append(timed(reading, order))
    ratios = {
        way: statistics.median(mine / folder for mine, folder in zip(seconds, times["folder"], strict=True))
        for way, seconds in times.items()
    }
    for way, seconds in times.items():
        print(f"{way:20}{statistics.median(seconds) * 1e3:9.3f} ms at random, {ratios[way]:.2f} times the folder")
    return {way: round(ratio, 3) for way, ratio in ratios.items()}


if __name__ == "__main__":
    main()
