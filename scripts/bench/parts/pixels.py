"""Whether the C library resizes, and direct decoders decode, to the same bytes as the installed Pillow, and how fast.

    python scripts/bench/parts/pixels.py [--trials 5000] [--quick] [--pillow VERSION ...]

Every set of loops that the processor has is compared over random sizes and contents: thin, tiny and huge images, up and
down, one pass and two, both orders of the passes, RGB, RGBX and grey. Files of each format that is decoded directly are
compared, a fifth as many: of random sizes and settings, and photographs among them. Times are medians of alternating
rounds, on one core. With --pillow, the same for each of these versions, which are installed beside each other below
build/: 13.0, 12.2 and 12.1 differ in the order of the passes.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

import numpy as np
import numpy.typing as npt
import PIL
from bench_photos import ROOT, write_model_folder
from PIL import Image

from preprocess.arithmetic.patches import patchify_image
from preprocess.pixels.direct import decode_directly, decoders_line, direct_file
from preprocess.pixels.engine import resize_by
from preprocess.pixels.kernel import LOOPS, Kernel, load
from preprocess.pixels.passes import axes, by_pillow, is_columns_first, pixels_of
from preprocess.pixels.resize import resize_to_patches
from shards import ModelConstants, read_model_constants

PHOTO, RESIZED = (1550, 2400), (532, 812)
ROUNDS = 9
FORMATS = ("JPEG", "PNG", "WEBP")  # that are decoded directly, where that is possible
# Limits of (height, width, new height, new width), all drawn evenly on a logarithmic scale.
SHAPES = {
    "any": ((1, 500), (1, 500), (1, 500), (1, 500)),
    "tiny": ((1, 9), (1, 9), (1, 60), (1, 60)),
    "thin": ((1, 6), (500, 65_500), (1, 60), (20, 900)),
    "tall": ((500, 65_500), (1, 6), (20, 900), (1, 60)),
    "taller than it gets wide": ((600, 1500), (100, 300), (28, 300), (80, 300)),
    "photo": ((800, 2500), (800, 2500), (200, 900), (200, 900)),
    "up": ((20, 300), (20, 300), (300, 900), (300, 900)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=5000, help="images to compare (default 5000)")
    parser.add_argument("--quick", action="store_true", help="200 images")
    parser.add_argument("--pillow", nargs="+", metavar="VERSION", help="of Pillow, as 12.2; default: the installed one")
    options = parser.parse_args()
    if options.pillow:
        sys.exit(by_versions(options.pillow, ["--quick"] if options.quick else ["--trials", str(options.trials)]))
    num_trials = 200 if options.quick else options.trials
    kernels = [kernel for kernel in map(load, LOOPS) if isinstance(kernel, Kernel)]
    if not kernels:
        sys.exit(f"error: there is nothing to compare: {load()}")
    counts = compare(kernels, num_trials)
    print(f"Pillow {PIL.__version__}, {num_trials} images, {', '.join(kernel.loops for kernel in kernels)}")
    print(f"columns first: {counts['columns first']}, left to Pillow: {counts['left to Pillow']}")
    decoded = compare_decoders(num_trials // 5)
    print(f"{decoders_line()}; {decoded}")
    times = measure(kernels)
    for name, milliseconds in times.items():
        print(f"{name:40}{milliseconds:8.2f} ms")
    decoders = {"decoded_values": decoded["values"], "decoded_different": decoded["different"]}
    print(json.dumps({"values": counts["values"], "different": counts["different"], **decoders, "photo_ms": times}))
    sys.exit(1 if counts["different"] or decoded["different"] else 0)


def by_versions(versions: list[str], flags: list[str]) -> int:
    """Run this script with each version of Pillow before the installed one on the path. How many failed."""
    failed = 0
    for wanted in versions:
        folder = ROOT / "build" / f"pillow-{wanted}"
        if not folder.exists():
            pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", f"--target={folder}.new"]
            subprocess.run([*pip, f"pillow=={wanted}.*"], check=True)
            Path(f"{folder}.new").rename(folder)
        path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        done = subprocess.run([sys.executable, __file__, *flags], env={**os.environ, "PYTHONPATH": path}, check=False)
        failed += done.returncode != 0
    return failed


def compare(kernels: list[Kernel], num_trials: int) -> Counter[str]:
    counts: Counter[str] = Counter()
    for pixels, size in trials(num_trials):
        expected = np.stack(by_pillow(pixels, size))
        counts["columns first"] += is_columns_first((pixels.shape[0], pixels.shape[1]), size)
        for kernel in kernels:
            planes = resize_by(kernel, pixels, size)
            if planes is None:
                counts["left to Pillow"] += 1
            elif different := int(np.count_nonzero(np.stack(planes) != expected)):
                print(f"{kernel.loops}: {different} of {expected.size} differ, {pixels.shape} to {size}")
                counts["different"] += different
        counts["values"] += expected.size if pixels.ndim == 3 else expected[0].size
    return counts


def trials(number: int) -> Iterator[tuple[npt.NDArray[np.uint8], tuple[int, int]]]:
    rng = np.random.default_rng(0)
    for trial in range(number):
        limits = list(SHAPES.values())[trial % len(SHAPES)]
        height, width, new_height, new_width = (round(float(np.exp(rng.uniform(*np.log(each))))) for each in limits)
        kept = rng.integers(12)
        size = (height if kept == 0 else new_height, width if kept == 1 else new_width)
        channels = rng.choice([0, 3, 4])
        pixels = rng.integers(0, 256, (height, width, channels) if channels else (height, width), dtype=np.uint8)
        if rng.integers(2):
            pixels = np.where(pixels < 128, np.uint8(0), np.uint8(255))  # which is clipped most
        yield pixels, size


def compare_decoders(num_files: int) -> Counter[str]:
    """So many files of each format, beside what Pillow decodes."""
    counts: Counter[str] = Counter()
    for file_format in FORMATS:
        for content in files(file_format, num_files):
            with Image.open(io.BytesIO(content)) as image:
                file = direct_file(image)
                pixels = None if file is None else decode_directly(file)
                if pixels is None:
                    counts[f"{file_format} left to Pillow"] += 1
                    continue
                expected = np.asarray(image)
            counts[file_format] += 1
            counts["values"] += expected.size
            if different := int(np.count_nonzero((pixels[..., :3] if pixels.ndim == 3 else pixels) != expected)):
                print(f"{file_format}: {different} of {expected.size} differ, {expected.shape}")
                counts["different"] += different
    return counts


def files(file_format: str, number: int) -> Iterator[bytes]:
    """Random sizes, contents from smooth to noise, and settings of the format; grey ones among them."""
    rng = np.random.default_rng(1)
    for trial in range(number):
        width, height = (int(each) for each in np.exp(rng.uniform(0, np.log(1200 if trial % 10 else 4000), 2)))
        coarse = rng.integers(0, 256, (*rng.integers(2, 40, 2), 3), dtype=np.uint8)
        smooth = np.asarray(Image.fromarray(coarse).resize((width, height)), np.int16)
        grain = rng.integers(0, rng.choice([1, 12, 256]) + 1, (height, width, 1), dtype=np.int16)
        image = Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8))
        settings: dict[str, Any] = {
            "JPEG": {"subsampling": int(rng.integers(3)), "progressive": bool(rng.integers(2))},
            "PNG": {"compress_level": int(rng.integers(10)), "compress_type": int(rng.integers(5))},
            "WEBP": {"lossless": bool(rng.integers(3) == 0), "method": int(rng.integers(3))},
        }[file_format]
        if file_format != "PNG":
            settings["quality"] = int(rng.integers(5, 101))
        if file_format != "WEBP" and rng.integers(4) == 0:
            image = image.convert("L")
        file = io.BytesIO()
        image.save(file, file_format, **settings)
        yield file.getvalue()


def measure(kernels: list[Kernel]) -> dict[str, float]:
    """Milliseconds of each step on a photo of 2400 x 1550 pixels, which becomes 812 x 532."""
    rng = np.random.default_rng(0)
    smooth = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8)).resize(PHOTO[::-1])
    grain = rng.integers(-12, 13, (*PHOTO, 1), dtype=np.int16)
    photo = np.clip(np.asarray(smooth, np.int16) + grain, 0, 255).astype(np.uint8)
    image, grey = Image.fromarray(photo), Image.fromarray(photo[..., 1])
    planes = by_pillow(image, RESIZED)
    constants = patch_constants()
    ways: dict[str, Callable[[], object]] = {
        "Pillow: resize": lambda: image.resize(RESIZED[::-1], Image.Resampling.BICUBIC),
        "Pillow: resize, to planes": lambda: by_pillow(image, RESIZED),
        "planes to patches": lambda: patchify_image(planes, constants),
        "as chosen, to patches": lambda: resize_to_patches(image, RESIZED, constants),
    }
    for file_format in FORMATS:
        file = io.BytesIO()
        image.save(file, file_format, quality=85)
        ways[f"Pillow: decode {file_format}"] = lambda file=file: Image.open(file).load()
        ways[f"directly: decode {file_format}"] = lambda file=file: decode_as_run(file)
    for kernel in kernels:
        assert axes(kernel, PHOTO, RESIZED) is not None
        ways[f"{kernel.loops}: resize, to planes"] = lambda kernel=kernel: resize_by(kernel, pixels_of(image), RESIZED)
        ways[f"{kernel.loops}: RGB without a gap"] = lambda kernel=kernel: resize_by(kernel, photo, RESIZED)
        ways[f"{kernel.loops}: grey"] = lambda kernel=kernel: resize_by(kernel, pixels_of(grey), RESIZED)
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, work in ways.items():
            start = time.thread_time()  # whatever else the machine does
            work()
            times[name].append(time.thread_time() - start)
    return {name: round(statistics.median(values) * 1000, 2) for name, values in times.items()}


def decode_as_run(file: io.BytesIO) -> None:
    """Directly, or by Pillow where that is how a run does it."""
    with Image.open(file) as image:
        direct = direct_file(image)
        if direct is None or decode_directly(direct) is None:
            image.load()


def patch_constants() -> ModelConstants:
    with tempfile.TemporaryDirectory() as folder:
        write_model_folder(Path(folder) / "model", ["a"])
        return read_model_constants(Path(folder) / "model")


if __name__ == "__main__":
    main()
