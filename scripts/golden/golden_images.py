"""Pixels of the pictures in tests/golden/media as the reference processor sees them: images.json, images.npz.

The RGB image is what golden_decoding makes of the file. It then goes through the PIL processor of transformers,
`Qwen2VLImageProcessor`, under several pixel limits.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from golden_decoding import decode
from golden_files import GOLDEN, origin, sha256, write_arrays, write_json
from PIL import Image
from transformers.image_utils import ChannelDimension
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

CELL = 28 * 28
LIMITS = {  # name -> min_pixels, max_pixels
    "published": (4 * CELL, 16384 * CELL),
    "shrinking": (CELL, 3 * CELL),
    "growing": (40 * CELL, 64 * CELL),
    "one_cell": (CELL, CELL),
}
KEPT_WHOLE = ("tiny.png", "demo_png_rgba.png", "demo_png_grey16.png", "orientation7.jpg")
KEPT_LIMITS = "one_cell"
SOURCE = origin(
    "the decoding rules of the specification by scripts/golden/golden_decoding.py, then Qwen2VLImageProcessor (PIL)",
    "transformers",
    "pillow",
)


def main() -> None:
    pictures: dict[str, Any] = {}
    whole = {}
    for path in sorted((GOLDEN / "media").iterdir()):
        rgb = decode(path)
        by_limits = {}
        for limits, (min_pixels, max_pixels) in LIMITS.items():
            pixel_values, grid = process(rgb, min_pixels, max_pixels)
            by_limits[limits] = {"grid_thw": grid, "pixel_values_sha256": sha256(pixel_values)}
            if path.name in KEPT_WHOLE and limits == KEPT_LIMITS:
                whole[path.name] = pixel_values
        pictures[path.name] = {
            "file_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
            "size": rgb.shape[:2],
            "rgb_sha256": sha256(rgb),
            "limits": by_limits,
        }
    assert len(whole) == len(KEPT_WHOLE)
    write_json("images.json", {"origin": SOURCE, "limits": LIMITS, "whole": KEPT_LIMITS, "pictures": pictures})
    write_arrays("images.npz", SOURCE, whole)


def process(rgb: np.ndarray, min_pixels: int, max_pixels: int) -> tuple[np.ndarray, list[int]]:
    """Float32 (patches, 1176), and (t, h, w)."""
    processor = Qwen2VLImageProcessor(min_pixels=min_pixels, max_pixels=max_pixels)
    # Said, not guessed: the processor takes an image 1 or 3 pixels high for channels first.
    result = processor.preprocess(Image.fromarray(rgb), input_data_format=ChannelDimension.LAST, return_tensors="np")
    pixel_values = result["pixel_values"]
    assert pixel_values.dtype == np.float32
    return pixel_values, result["image_grid_thw"][0].tolist()


if __name__ == "__main__":
    main()
