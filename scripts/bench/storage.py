"""Bytes on the disk for 1,000 samples: shards, compressed shards, float32 values, and the files that they are made of.

    python scripts/bench/storage.py [--quick] [--oracle PYTHON]

| what | |
| --- | --- |
| uint8 shards | all files of a published run but its plan: patches, ids, labels, positions |
| compressed shards | the same with `--compress zstd`, without loss |
| float32 pixel_values | what transformers' processor gives a model, if it were stored; values alone, asked of it |
| source files | the media as they came |

The inputs: made-up images of several sizes, 640x480 to 2400x1550 (with grain, which compresses worse than most
photographs); the photographs of `bench_real.py` as they ship; clips of 640x360 in H.264, 10 s, of which 8 frames are
taken. Nothing is timed, so one run says it.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parent / "shared"))

from bench_clips import write_clips
from bench_photos import copy_photos, make_run, run_of_photos, write_shards
from bench_real import photographs
from bench_ways import add_oracle_flag, oracle_python, other_ways
from epoch import CLIP_SIZE, IMAGE_SIZES, INTERVAL

from preprocess.config import RunConfig
from shards.convert import convert_shards

KINDS = {"uint8": "uint8 shards", "zstd": "compressed shards", "float32": "float32 pixel_values", "source": "files"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="fewer samples")
    add_oracle_flag(parser)
    arguments = parser.parse_args()
    oracle = oracle_python(arguments.oracle)
    numbers = {"image": 72, "real": 72, "clip": 24}  # each size, photograph and clip equally often
    if not arguments.quick:
        numbers = {kind: 4 * number for kind, number in numbers.items()}
    result = {}
    with tempfile.TemporaryDirectory(prefix="bench-storage-") as name:
        for kind, number in numbers.items():
            config = make(kind, Path(name) / kind, number)
            sizes = measure(config, number, oracle)
            print(f"1,000 of {kind}, from {number}")
            for what, words in KINDS.items():
                print(f"{words:24}{sizes[what]:10.3f} GB{sizes[what] / sizes['uint8']:8.2f} of uint8 shards")
                result[f"{kind}_{what}_gb"] = round(sizes[what], 4)
            result[f"{kind}_float32_to_uint8"] = round(sizes["float32"] / sizes["uint8"], 2)
            result[f"{kind}_float32_to_zstd"] = round(sizes["float32"] / sizes["zstd"], 2)
            result[f"{kind}_source_to_zstd"] = round(sizes["source"] / sizes["zstd"], 2)
            print()
    print(json.dumps(result))


def make(kind: str, folder: Path, number: int) -> RunConfig:
    """A run of so many samples, not yet made."""
    if kind == "image":
        return make_run(folder, [IMAGE_SIZES[each % len(IMAGE_SIZES)] for each in range(number)], workers=0)
    (folder / "photos").mkdir(parents=True)
    if kind == "real":
        return run_of_photos(folder, copy_photos(photographs(), folder / "photos", number), workers=0)
    names = write_clips(folder / "photos", "H.264", CLIP_SIZE, number)
    return run_of_photos(folder, names, workers=0, base_interval=INTERVAL)


def measure(config: RunConfig, number: int, oracle: Path) -> dict[str, float]:
    """GB for 1,000 samples."""
    write_shards(config)
    compressed = config.output_dir.with_name("zstd")
    convert_shards(config.output_dir, compressed, format="arrow_zstd")
    with other_ways(oracle, config) as others:
        num_bytes = {
            "uint8": bytes_of(config.output_dir),
            "zstd": bytes_of(compressed),
            "float32": others.num_bytes(),
            "source": bytes_of(config.output_dir.parent / "photos"),
        }
    return {what: each / number * 1000 / 1e9 for what, each in num_bytes.items()}


def bytes_of(folder: Path) -> int:
    files = (path for path in folder.rglob("*") if path.is_file() and "plan" not in path.relative_to(folder).parts)
    return sum(path.stat().st_size for path in files)


if __name__ == "__main__":
    main()
