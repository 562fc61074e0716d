"""Patches of video frames as the reference processor makes them: videos.json, videos.npz.

Frames come from a NumPy seed, so that no codec stands between. `Qwen2VLImageProcessor` (PIL) of transformers 4.57.1
still takes videos; the fine-tuning scripts call it so: `processor.preprocess(images=None, videos=frames)`.
"""

from __future__ import annotations

import numpy as np
from golden_files import origin, sha256, write_arrays, write_json
from transformers import logging
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor

CELL = 28 * 28
CASES = {  # name -> number of frames, height, width, min_pixels, max_pixels
    "two_frames": (2, 56, 84, 4 * CELL, 36 * CELL),
    "three_frames": (3, 60, 45, 4 * CELL, 36 * CELL),
    "eight_frames": (8, 120, 160, 4 * CELL, 36 * CELL),
    "eight_frames_shrunk": (8, 120, 160, CELL, 6 * CELL),
    "three_frames_grown": (3, 31, 50, 20 * CELL, 36 * CELL),
    "one_frame": (1, 28, 56, CELL, 4 * CELL),
}
KEPT_WHOLE = ("one_frame", "three_frames")
SOURCE = origin("Qwen2VLImageProcessor (PIL) with videos", "transformers", "pillow")


def main() -> None:
    logging.set_verbosity_error()  # it warns that videos have a processor of their own now
    cases = {}
    whole = {}
    for seed, (name, (num_frames, height, width, min_pixels, max_pixels)) in enumerate(CASES.items()):
        frames = np.random.default_rng(seed).integers(0, 256, (num_frames, height, width, 3), dtype=np.uint8)
        processor = Qwen2VLImageProcessor(min_pixels=min_pixels, max_pixels=max_pixels)
        result = processor.preprocess(images=None, videos=frames, return_tensors="np")
        pixel_values = result["pixel_values_videos"]
        assert pixel_values.dtype == np.float32
        cases[name] = {
            "seed": seed,
            "frames": frames.shape,
            "limits": (min_pixels, max_pixels),
            "grid_thw": result["video_grid_thw"][0].tolist(),
            "pixel_values_sha256": sha256(pixel_values),
        }
        if name in KEPT_WHOLE:
            # The first and the last patches: noise does not compress.
            whole[name] = np.concatenate([pixel_values[:2], pixel_values[-2:]])
    write_json("videos.json", {"origin": SOURCE, "cases": cases})
    write_arrays("videos.npz", SOURCE, whole)


if __name__ == "__main__":
    main()
