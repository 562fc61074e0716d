"""3D positions by `get_rope_index_25` of QwenLM's fine-tuning scripts, and by transformers: rope.json.

A case is a list of runs: a number of text tokens, or the grid of an image, or grid and seconds per grid of a video. The
token ids that the reference needs are made up around them: vision_start ends the text before a visual span, vision_end
begins the text after it. Seconds go in as a list of Python floats, as the scripts pass them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from itertools import product
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from golden_files import origin, reference_folder, reference_function, write_json
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.modeling_qwen2_vl import Qwen2VLModel

TEXT, VISION_START, VISION_END, IMAGE_PAD, VIDEO_PAD = 1, 151652, 151653, 151655, 151656
MERGE_SIZE = 2

Run = int | tuple[int, int, int] | tuple[int, int, int, float]

CASES: dict[str, list[Run]] = {
    "text_only": [17],
    "image": [15, (1, 4, 6), 9],
    "tall_image": [15, (1, 20, 2), 9],
    "several_images": [15, (1, 4, 4), 2, (1, 2, 8), 6, (1, 6, 2), 12],
    **{f"video_{seconds}": [15, (5, 4, 6, seconds), 9] for seconds in (0.5, 1.0, 1.33, 5.0)},
    "short_video_of_large_frames": [15, (2, 8, 10, 0.1), 9],
    "several_videos": [15, (4, 4, 4, 0.5), 2, (3, 2, 4, 2.7), 8, (2, 4, 2, 0.04), 5],
    "mixed": [15, (1, 4, 4), 2, (4, 4, 4, 1.33), 30, (3, 2, 4, 0.5), 2, (1, 2, 2), 6],
    "video_before_image": [15, (2, 2, 2, 1.0), 3, (1, 4, 6), 7],
}
# Videos as preprocessing measures them: frames / rate seconds, of which n frames are taken.
RATES = (10.0, 15.0, 23.976023976023978, 24.0, 25.0, 29.97002997002997, 30.0)
NUM_SAMPLED = tuple(range(4, 18))
NUM_FRAMES = tuple(range(18, 480, 7))


def main() -> None:
    reference = reference_function(reference_folder() / "rope2d.py", "get_rope_index_25", {"torch": torch})
    record = {
        "origin": origin(
            "get_rope_index_25 of QwenLM/Qwen2.5-VL, qwen-vl-finetune/qwenvl/data/rope2d.py; get_rope_index of "
            "Qwen2_5_VLModel and Qwen2VLModel of transformers",
            *("torch", "transformers"),
        ),
        "cases": {
            name: {"runs": runs, "position_ids": call(reference, runs, [MERGE_SIZE])} for name, runs in CASES.items()
        },
        "transformers_qwen2_5_vl": {
            name: call(Qwen2_5_VLModel.get_rope_index, CASES[name], [fake_model()])
            for name in ("image", "video_0.5", "video_1.0", "video_1.33")
        },
        "transformers_qwen2_vl": {
            name: call(Qwen2VLModel.get_rope_index, CASES[name], [fake_model()], seconds=False)
            for name in ("text_only", "several_images", "video_1.33", "mixed")
        },
        "many_videos": many_videos(reference),
    }
    write_json("rope.json", record)


def fake_model() -> SimpleNamespace:
    """As much of a model as get_rope_index looks at."""
    vision = SimpleNamespace(spatial_merge_size=MERGE_SIZE, tokens_per_second=2)
    config = SimpleNamespace(
        vision_config=vision, image_token_id=IMAGE_PAD, video_token_id=VIDEO_PAD, vision_start_token_id=VISION_START
    )
    return SimpleNamespace(config=config)


def call(function: Any, runs: Sequence[Run], first: list[Any], *, seconds: bool = True) -> list[list[int]]:
    """(3, S) positions of one sample."""
    ids: list[int] = []
    spans: dict[int, list[Any]] = {IMAGE_PAD: [], VIDEO_PAD: []}
    second_per_grid_ts = []
    for run in runs:
        if isinstance(run, int):
            ids += [TEXT] * run
            continue
        ids[-1] = VISION_START
        pad = VIDEO_PAD if len(run) == 4 else IMAGE_PAD
        spans[pad].append(run[:3])
        second_per_grid_ts += run[3:]
        ids += [pad] * (run[0] * run[1] * run[2] // MERGE_SIZE**2)
    for position, token in enumerate(ids[1:], start=1):
        if token == TEXT and ids[position - 1] in spans:
            ids[position] = VISION_END
    arguments: dict[str, Any] = {
        "input_ids": torch.tensor([ids]),
        "image_grid_thw": torch.tensor(spans[IMAGE_PAD]) if spans[IMAGE_PAD] else None,
        "video_grid_thw": torch.tensor(spans[VIDEO_PAD]) if spans[VIDEO_PAD] else None,
    }
    if seconds:
        arguments["second_per_grid_ts"] = second_per_grid_ts or None
    position_ids, _ = function(*first, **arguments)
    return position_ids[:, 0].tolist()


def many_videos(reference: Any) -> dict[str, Any]:
    """Times of thousands of videos, and those among them that float64 would truncate differently."""
    digest, seconds_digest = hashlib.sha256(), hashlib.sha256()
    differing = []
    count = 0
    for rate, num_sampled, num_frames in product(RATES, NUM_SAMPLED, NUM_FRAMES):
        seconds = 2 / (num_sampled / (num_frames / rate))
        grid_t = (num_sampled + 1) // 2
        positions = call(reference, [1, (grid_t, 2, 2, seconds)], [MERGE_SIZE])
        times = [time - 1 for time in positions[0][1:]]
        digest.update(np.array(times, "<i8").tobytes())
        seconds_digest.update(np.array(seconds, "<f8").tobytes())
        count += 1
        if times != [int(i * seconds * 2) for i in range(grid_t)]:
            differing.append([rate, num_sampled, num_frames, times])
    return {
        "rates": RATES,
        "num_sampled": NUM_SAMPLED,
        "num_frames": NUM_FRAMES,
        "count": count,
        "seconds_float64_sha256": seconds_digest.hexdigest(),
        "times_int64_sha256": digest.hexdigest(),
        "float64_differs": differing,
    }


if __name__ == "__main__":
    main()
