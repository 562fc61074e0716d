"""Pixels of Qwen3-VL: families_pixels.json, families_pixels.npz.

Images go through the PIL processor of transformers (`Qwen2VLImageProcessor`) with the numbers of Qwen3-VL, after
golden_decoding. For videos transformers has no PIL processor: `Qwen3VLVideoProcessor` resizes with torchvision. Its
frames are kept, to be compared with within a bound.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from golden_decoding import decode
from golden_files import GOLDEN, origin, sha256, write_arrays, write_json
from golden_frames import draw
from PIL import Image
from transformers.image_utils import ChannelDimension
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor

CELL = 32 * 32
HALF = [0.5, 0.5, 0.5]
LIMITS = {  # name -> min_pixels, max_pixels
    "published": (64 * CELL, 16384 * CELL),
    "shrinking": (CELL, 3 * CELL),
    "growing": (40 * CELL, 64 * CELL),
}
VIDEOS = {  # name -> frames, height, width, least and most pixels over all frames
    "shrunk": (3, 270, 480, 2 * CELL, 24 * CELL),
    "shrunk_a_little": (2, 75, 110, 2 * CELL, 12 * CELL),
    "grown": (2, 33, 50, 10 * CELL, 24 * CELL),
    "as_it_is": (2, 32, 64, 2 * CELL, 24 * CELL),
    "tall": (2, 300, 90, 2 * CELL, 12 * CELL),  # the columns would be first with Pillow 13
}
SOURCE = origin(
    "scripts/golden/golden_decoding.py, then Qwen2VLImageProcessor (PIL) with patches of 16; Qwen3VLVideoProcessor",
    *("transformers", "pillow", "torch", "torchvision"),
)


def main() -> None:
    pictures: dict[str, Any] = {}
    for path in sorted((GOLDEN / "media").iterdir()):
        rgb = decode(path)
        pictures[path.name] = {limits: process(rgb, *bounds) for limits, bounds in LIMITS.items()}
    videos, whole = {}, {}
    for seed, (name, (num_frames, height, width, least, most)) in enumerate(VIDEOS.items()):
        frames = draw(seed, num_frames, height, width)
        processor = Qwen3VLVideoProcessor(size={"shortest_edge": least, "longest_edge": most})
        result = processor.preprocess(
            [frames.transpose(0, 3, 1, 2)], do_sample_frames=False, return_metadata=False, return_tensors="pt"
        )
        values = np.asarray(result["pixel_values_videos"])
        whole[name] = np.rint((values * 0.5 + 0.5) * 255).astype(np.uint8)
        videos[name] = {
            "seed": seed,
            "frames": frames.shape,
            "limits": (least, most),
            "frames_sha256": sha256(frames),
            "grid_thw": np.asarray(result["video_grid_thw"])[0].tolist(),
        }
    write_json("families_pixels.json", {"origin": SOURCE, "limits": LIMITS, "pictures": pictures, "videos": videos})
    write_arrays("families_pixels.npz", SOURCE, whole)


def process(rgb: np.ndarray, min_pixels: int, max_pixels: int) -> dict[str, Any]:
    processor = Qwen2VLImageProcessor(
        min_pixels=min_pixels, max_pixels=max_pixels, patch_size=16, image_mean=HALF, image_std=HALF
    )
    result = processor.preprocess(Image.fromarray(rgb), input_data_format=ChannelDimension.LAST, return_tensors="np")
    assert result["pixel_values"].dtype == np.float32
    return {
        "grid_thw": result["image_grid_thw"][0].tolist(),
        "pixel_values_sha256": sha256(result["pixel_values"]),
    }


if __name__ == "__main__":
    main()
