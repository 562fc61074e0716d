"""How fast packs are read, beside memcpy of the same bytes, and how fast padded batches come out of the dataset.

    python scripts/bench/parts/read.py [--quick]

Packs of 2 MB (4,096 tokens, up to 3,300 patches) in random order, files in the page cache. Reading a pack means copying
every byte of it into a buffer that is used again; memcpy is the same loop over packs that lie in memory. MB are those
of the packs for reading, and of the yielded arrays, padding included, for the dataset. Medians over alternating rounds,
of the ratios within a round too.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

import numpy as np
import numpy.typing as npt
from bench_packs import FORMATS, write_dataset

from shards import Pack, PackStream, mindspore_dataset, open_shards
from shards.order import PackOrder, pack_at
from train.steps.stream import ReadAhead

SEED = 0
PACKS_PER_STEP = 8
READ_AHEAD = 4  # as train/run.py
STEP_SECONDS = 0.01  # of a made-up device, for each pack
MEMCPY, NEXT, AHEAD, MINDSPORE = "memcpy", "padded, one thread", "padded, read ahead", "padded, mindspore_dataset"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer packs and rounds")
    quick = parser.parse_args().quick
    num_packs, rounds = (96, 9) if quick else (400, 15)
    with tempfile.TemporaryDirectory(prefix="bench-read-") as name:
        folders = {format: Path(name) / format for format in FORMATS}
        for format, folder in folders.items():
            write_dataset(folder, num_packs, format)
        reading, of_memcpy = measure_reading(folders, rounds)
        padding = measure_padding(folders["arrow"], rounds)
        waits = measure_waiting(folders["arrow"])
    print(f"{num_packs} packs")
    print(f"{'':28}{'MB/s':>9}{'of memcpy':>11}{'waited':>9}")
    for way, mb_per_s in reading.items():
        print(f"{way:28}{mb_per_s:9,.0f}{of_memcpy[way]:11.2f}")
    for way, mb_per_s in padding.items():
        print(f"{way:28}{mb_per_s:9,.0f}{'':11}{f'{waits[way]:.2%}' if way in waits else '':>9}")
    print(f"waited: share of the time, by a device that takes {1000 * STEP_SECONDS:.0f} ms a pack")
    to_memcpy = {
        f"{format}_to_memcpy": round(of_memcpy[format], 3) if format in of_memcpy else None
        for format in ("arrow", "mindrecord")
    }
    print(json.dumps({**to_memcpy, "dataset_mb_per_s": round(padding[MINDSPORE])}))


def measure_reading(folders: dict[str, Path], rounds: int) -> tuple[dict[str, float], dict[str, float]]:
    """MB/s of each format and of memcpy, and their ratio to memcpy's."""
    sources: dict[str, Sequence[Pack]] = {format: open_shards(folder) for format, folder in folders.items()}  # type: ignore[misc]
    stored = sources["arrow"]
    sources[MEMCPY] = [copy_of(stored[index]) for index in range(len(stored))]
    num_bytes = sum(array.nbytes for pack in sources[MEMCPY] for array in arrays_of(pack))
    order = [pack_at(position, num_packs=len(stored), seed=SEED) for position in range(len(stored))]
    largest = [max(parts, key=len) for parts in zip(*map(arrays_of, sources[MEMCPY]), strict=True)]
    buffer = [np.zeros(array.size, array.dtype) for array in largest]
    ways = {way: copy_all(source, order, buffer) for way, source in sources.items()}
    seconds = measure_rounds(ways, rounds)
    ratios = {
        way: statistics.median(memcpy / own for memcpy, own in zip(seconds[MEMCPY], times, strict=True))
        for way, times in seconds.items()
    }
    return {way: num_bytes / 1e6 / statistics.median(times) for way, times in seconds.items()}, ratios


def copy_all(source: Sequence[Pack], order: list[int], buffer: list[npt.NDArray]) -> Callable[[], None]:
    def work() -> None:
        for index in order:
            for target, array in zip(buffer, arrays_of(source[index]), strict=True):
                np.copyto(target[: array.size], array.reshape(-1))

    return work


def arrays_of(pack: Pack) -> list[npt.NDArray]:
    return [value for value in vars(pack).values() if isinstance(value, np.ndarray)]


def copy_of(pack: Pack) -> Pack:
    return replace(pack, **{name: value.copy() for name, value in vars(pack).items() if hasattr(value, "copy")})


def measure_padding(folder: Path, rounds: int) -> dict[str, float]:
    """MB/s of the arrays that each way of iterating yields."""
    stream = stream_of(folder)
    dataset = mindspore_dataset(folder, packs_per_step=PACKS_PER_STEP, seed=SEED)
    row_bytes = sum(array.nbytes for array in next(iter(stream)).batch)

    def read_ahead() -> None:
        with ReadAhead(stream, depth=READ_AHEAD) as rows:
            exhaust(rows)

    ways: dict[str, Callable[[], None]] = {
        NEXT: lambda: exhaust(stream),
        AHEAD: read_ahead,
        MINDSPORE: lambda: exhaust(dataset.create_tuple_iterator(num_epochs=1)),
    }
    num_bytes = len(stream) * row_bytes
    return {way: num_bytes / 1e6 / statistics.median(times) for way, times in measure_rounds(ways, rounds).items()}


def measure_waiting(folder: Path) -> dict[str, float]:
    """Share of the time that a device would wait for data, without the first row."""
    with ReadAhead(stream_of(folder), depth=READ_AHEAD) as rows:
        ahead = share_waited(rows)
    dataset = mindspore_dataset(folder, packs_per_step=PACKS_PER_STEP, seed=SEED)
    return {AHEAD: ahead, MINDSPORE: share_waited(dataset.create_tuple_iterator(num_epochs=1))}


def share_waited(rows: Iterable[object]) -> float:
    iterator = iter(rows)
    next(iterator)
    waited = 0.0
    begin = asked = time.perf_counter()
    for _ in iterator:
        waited += time.perf_counter() - asked
        time.sleep(STEP_SECONDS)
        asked = time.perf_counter()
    return waited / (asked - begin)


def stream_of(folder: Path) -> PackStream:
    shards = open_shards(folder)
    order = PackOrder(num_packs=len(shards), seed=SEED, packs_per_step=PACKS_PER_STEP, num_positions=len(shards))
    return PackStream(shards, order)


def exhaust(rows: Iterable[object]) -> None:
    for _ in rows:
        pass


def measure_rounds(ways: dict[str, Callable[[], None]], rounds: int) -> dict[str, list[float]]:
    """Seconds of each way in alternating rounds; one more at the beginning fills caches and starts threads."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for round_number in range(rounds + 1):
        for way, work in ways.items():
            start = time.perf_counter()
            work()
            if round_number:
                times[way].append(time.perf_counter() - start)
    return times


if __name__ == "__main__":
    main()
