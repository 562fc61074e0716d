"""Clips with about the work of a camera's, for benchmarks of videos."""

from __future__ import annotations

import shutil
from pathlib import Path

import av
import numpy as np
from PIL import Image

FPS, SECONDS = 30, 10
CODECS = {  # suffix, encoder, its options
    "H.264": (".mp4", "libx264", {"preset": "medium"}),
    "H.264, key frame each 2 s": (".mp4", "libx264", {"preset": "medium", "g": "60"}),
    "HEVC": (".mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:bframes=4"}),
    "HEVC, closed GOPs": (".mp4", "libx265", {"preset": "ultrafast", "x265-params": "log-level=none:open-gop=0"}),
    "VP9": (".webm", "libvpx-vp9", {"cpu-used": "8", "deadline": "realtime"}),
    "MPEG-4": (".mp4", "mpeg4", {"qscale": "4"}),
}
_DIFFERENT_CLIPS = 6  # the others are copies, because making one takes longer than decoding it


def write_clip(path: Path, codec: str, size: tuple[int, int], seed: int = 0) -> Path:
    """SECONDS of a picture with grain that moves; the suffix of the path becomes that of the codec."""
    suffix, encoder, options = CODECS[codec]
    rng = np.random.default_rng(seed)
    width, height = size
    coarse = Image.fromarray(rng.integers(0, 256, (18, 32, 3), dtype=np.uint8))
    picture = np.asarray(coarse.resize((width + 320, height + 320), Image.Resampling.BICUBIC), np.int16)
    grain = rng.integers(-6, 7, (8, height, width, 1), dtype=np.int16)
    path = path.with_suffix(suffix)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(encoder, rate=FPS, options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        for number in range(FPS * SECONDS):
            top, left = number, number
            seen = picture[top : top + height, left : left + width] + grain[number % len(grain)]
            image = np.clip(seen, 0, 255).astype(np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_clips(folder: Path, codec: str, size: tuple[int, int], number: int) -> list[str]:
    """Names of so many clips in `folder`."""
    made = [write_clip(folder / f"{seed:05d}", codec, size, seed) for seed in range(min(number, _DIFFERENT_CLIPS))]
    names = [f"{copy:05d}{made[0].suffix}" for copy in range(number)]
    for copy, name in enumerate(names[len(made) :], len(made)):
        shutil.copyfile(made[copy % len(made)], folder / name)
    return names
