"""How fast videos become patches, beside the way it was: decord, then Pillow. And which decoder is faster, by codec.

    python scripts/bench/parts/video.py [--quick]

Clips of 10 s, 30 frames a second, in one process; 8 frames of 640x360 in several codecs, 64 frames of 1920x1080. Before
means decord's random access, and Pillow's filter on all frames at once; now means what a run does. Seconds are those of
the core; the ways alternate, and ratios are medians over rounds. Both must give the same patches. The last figure is
the peak of a process that does nothing but import the package and encode the second clip, as a worker does.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

import numpy as np
import numpy.typing as npt
from bench_clips import CODECS, write_clip
from bench_photos import write_model_folder

from preprocess.arithmetic.geometry import FrameSampling, PixelLimits, sample_evenly, smart_resize
from preprocess.arithmetic.patches import patchify_video
from preprocess.jobs.worker import limit_threads
from preprocess.media.videos.video import Decoder, decode_frames, probe_video
from preprocess.pixels import resize_video
from preprocess.pixels.passes import by_pillow
from preprocess.sample import MediaSource
from shards import ModelConstants, read_model_constants

SMALL, LARGE = (640, 360), (1920, 1080)
FRAMES, MANY_FRAMES = 8, 64
LIMITS = PixelLimits(min_pixels=4 * 28 * 28, max_pixels=32 * 28 * 28)  # of a frame, as a run has them
Patches = npt.NDArray[np.uint8]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two codecs, fewer rounds")
    parser.add_argument("--encode", type=Path, help=argparse.SUPPRESS)  # what the child process is told
    arguments = parser.parse_args()
    limit_threads()
    with tempfile.TemporaryDirectory(prefix="bench-video-") as name:
        folder = Path(name)
        write_model_folder(folder / "model", ["a"])
        constants = read_model_constants(folder / "model")
        if arguments.encode is not None:
            encode(arguments.encode, MANY_FRAMES, "pyav", constants)
            print(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
            return
        rounds = 3 if arguments.quick else 7
        names = list(CODECS)[: 2 if arguments.quick else None]
        clips = {codec: write_clip(folder / str(number), codec, SMALL) for number, codec in enumerate(names)}
        large = write_clip(folder / "large", "H.264", LARGE)
        print(f"{'':40}{'decord':>12}{'PyAV':>12}   ms for {FRAMES} frames of {SMALL[0]}x{SMALL[1]}")
        for codec, path in clips.items():
            times = measure({decoder: partial(frames_of, path, decoder) for decoder in ("decord", "pyav")}, rounds)
            print(f"{codec:40}" + "".join(f"{1000 * statistics.median(each):12.1f}" for each in times.values()))
        speedups = {
            "small": compare(clips["H.264"], FRAMES, constants, rounds),
            "large": compare(large, MANY_FRAMES, constants, 1 if arguments.quick else 3),
        }
        peak = peak_mb(large)
    result = {
        "speedup_8_of_360p": round(speedups["small"], 2),
        "speedup_64_of_1080p": round(speedups["large"], 2),
        "worker_peak_mb": round(peak),
    }
    print(json.dumps(result))


def indices_of(path: Path, number: int) -> tuple[int, ...]:
    header = probe_video(MediaSource(path=str(path)))
    sampling = FrameSampling(base_interval=1e-3, min_frames=number, max_frames=number)
    return sample_evenly(header.num_frames, header.fps, sampling)


def frames_of(path: Path, decoder: Decoder, number: int = FRAMES) -> list[npt.NDArray[np.uint8]]:
    return list(decode_frames(MediaSource(path=str(path)), indices_of(path, number), decoder))


def encode(path: Path, number: int, decoder: Decoder, constants: ModelConstants) -> Patches:
    """What a run does."""
    header = probe_video(MediaSource(path=str(path)))
    size = smart_resize(header.height, header.width, constants.grid_factor, LIMITS)
    indices = indices_of(path, number)
    return resize_video(decode_frames(MediaSource(path=str(path)), indices, decoder), len(indices), size, constants)


def encode_as_before(path: Path, number: int, constants: ModelConstants) -> Patches:
    frames = frames_of(path, "decord", number)
    height, width, _ = frames[0].shape
    size = smart_resize(height, width, constants.grid_factor, LIMITS)
    return patchify_video([by_pillow(frame, size) for frame in frames], constants)


def compare(path: Path, number: int, constants: ModelConstants, rounds: int) -> float:
    """How many times as fast it has become."""
    now, before = encode(path, number, "pyav", constants), encode_as_before(path, number, constants)
    assert np.array_equal(now, before), f"{path}: other patches than before"
    ways: dict[str, Callable[[], object]] = {
        "before": lambda: encode_as_before(path, number, constants),
        "now": lambda: encode(path, number, "pyav", constants),
    }
    times = measure(ways, rounds)
    print(
        f"{number} frames of {path.name}: "
        + ", ".join(f"{name} {1000 * statistics.median(each):.0f} ms" for name, each in times.items())
    )
    return statistics.median(b / n for b, n in zip(times["before"], times["now"], strict=True))


def measure(ways: dict[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds of the core that each way takes, in alternating rounds."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, work in ways.items():
            start = time.process_time()
            work()
            times[name].append(time.process_time() - start)
    return times


def peak_mb(path: Path) -> float:
    command = [sys.executable, __file__, "--encode", str(path)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) * 1024 / 1e6


if __name__ == "__main__":
    main()
