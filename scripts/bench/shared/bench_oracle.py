"""The other ways from files to a model's inputs, in an environment of its own and without our code (`bench_ways.py`).

Reads a line of JSON, a task, says what it is in another line, and from then on answers each name of a way with the
seconds of the clock and of the core that it took for all samples, one after another; `num_bytes` with the bytes of the
values that a model gets.

| key of the task | |
| --- | --- |
| samples | [path, question, answer] of each; videos end in .mp4 |
| image_limits, frame_limits | {"min_pixels": N, "max_pixels": N}, the latter of a frame |
| frames | {"interval": seconds between frames, "least": N, "most": N} |
| tokenizer | path of tokenizer.json |
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")  # it says that videos have a processor of their own
sys.path.append(str(Path(__file__).resolve().parents[2] / "certify"))

import decord
import numpy as np
import PIL
import reference_torchvision  # noqa: F401  # before transformers
import torch
import torchvision
import transformers
from PIL import Image
from tokenizers import Tokenizer
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor, smart_resize
from transformers.models.qwen2_vl.image_processing_qwen2_vl_fast import Qwen2VLImageProcessorFast
from transformers.models.qwen2_vl.video_processing_qwen2_vl import Qwen2VLVideoProcessor

SYSTEM = "You are a helpful assistant."
MERGED = 4  # patches of a visual token
FACTOR = 28  # pixels of its side
TEMPORAL = 2  # frames of a patch


class Ways:
    """Each takes one sample: the path of an image or a video, a question, an answer."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._limits = {False: task["image_limits"], True: task["frame_limits"]}  # by is_video
        self._slow = {video: Qwen2VLImageProcessor(**limits) for video, limits in self._limits.items()}
        self._fast = Qwen2VLImageProcessorFast(**task["image_limits"])
        self._fast_video = Qwen2VLVideoProcessor(**task["frame_limits"])
        self._frames = task["frames"]
        self._tokenizer = Tokenizer.from_file(task["tokenizer"])
        ids = {name: self._tokenizer.token_to_id(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start")}
        config = SimpleNamespace(
            vision_config=SimpleNamespace(spatial_merge_size=2, tokens_per_second=2),
            image_token_id=ids["image_pad"],
            video_token_id=ids["video_pad"],
            vision_start_token_id=ids["vision_start"],
        )
        self._model = SimpleNamespace(config=config)

    def decode(self, path: str, *_: str) -> Any:
        return self._read_video(path)[0] if is_video(path) else Image.open(path).convert("RGB")

    def resize(self, path: str, *_: str) -> Any:
        """Pillow's filter, to the size that the processor chooses."""
        decoded = self.decode(path)
        pictures = [Image.fromarray(frame) for frame in decoded] if is_video(path) else [decoded]
        width, height = pictures[0].size
        height, width = smart_resize(height, width, FACTOR, **self._limits[is_video(path)])
        return [np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC)) for picture in pictures]

    def pil(self, path: str, *_: str) -> Any:
        if is_video(path):
            frames, seconds = self._read_video(path)
            features = self._slow[True].preprocess(images=None, videos=frames, return_tensors="pt")
            return {**features, "second_per_grid_ts": seconds}
        return self._slow[False](images=Image.open(path).convert("RGB"), return_tensors="pt")

    def torchvision(self, path: str, *_: str) -> Any:
        if is_video(path):
            frames = torch.from_numpy(self._read_video(path)[0]).permute(0, 3, 1, 2)
            return self._fast_video(videos=[frames], do_sample_frames=False, return_tensors="pt")
        return self._fast(images=Image.open(path).convert("RGB"), return_tensors="pt")

    def loader(self, path: str, question: str, answer: str) -> tuple[torch.Tensor, ...]:
        """What the data set of the fine-tuning scripts does for each sample in each epoch."""
        kind = "video" if is_video(path) else "image"
        media = self.pil(path)
        grid = media[f"{kind}_grid_thw"]
        pads = f"<|{kind}_pad|>" * (int(grid.prod()) // MERGED)
        ids: list[int] = []
        labels: list[int] = []
        for role, text in (
            ("system", SYSTEM),
            ("user", f"<|vision_start|>{pads}<|vision_end|>\n{question}"),
            ("assistant", answer),
        ):
            turn = self._tokenizer.encode(f"<|im_start|>{role}\n{text}<|im_end|>\n").ids
            ids += turn
            labels += turn if role == "assistant" else [-100] * len(turn)
        input_ids = torch.tensor([ids])
        grids: dict[str, Any] = {f"{kind}_grid_thw": grid}
        if is_video(path):
            grids["second_per_grid_ts"] = [media["second_per_grid_ts"]]
        positions, _ = Qwen2_5_VLModel.get_rope_index(self._model, input_ids, **grids)
        values = media["pixel_values_videos" if is_video(path) else "pixel_values"]
        return input_ids, torch.tensor([labels]), positions, grid, values

    def epoch(self, *sample: str) -> list[torch.Tensor]:
        """The loader, and a copy of every tensor, as a transfer to a device reads it."""
        return [tensor.clone() for tensor in self.loader(*sample)]

    def num_bytes(self, *sample: str) -> int:
        values = self.loader(*sample)[-1]
        return values.nbytes

    def _read_video(self, path: str) -> tuple[np.ndarray, float]:
        """Frames (F, H, W, 3) as the scripts choose them, and the seconds between two patches."""
        reader = decord.VideoReader(path, num_threads=1)
        count, seconds = len(reader), len(reader) / reader.get_avg_fps()
        wanted = min(max(round(seconds / self._frames["interval"]), self._frames["least"]), self._frames["most"])
        chosen = np.unique(np.linspace(0, count - 1, wanted, dtype=int))
        return reader.get_batch(chosen.tolist()).asnumpy(), seconds / len(chosen) * TEMPORAL


def is_video(path: str) -> bool:
    return path.endswith(".mp4")


def main() -> None:
    torch.set_num_threads(1)
    task = json.loads(sys.stdin.readline())
    ways = Ways(task)
    print(
        f"transformers {transformers.__version__}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}, Pillow {PIL.__version__}",
        flush=True,
    )
    for line in sys.stdin:
        name = line.strip()
        way: Callable[..., Any] = getattr(ways, name)
        clock, core = time.perf_counter(), time.process_time()
        num_bytes = 0
        for sample in task["samples"]:
            made = way(*sample)
            if name == "num_bytes":
                num_bytes += made
        seconds = time.perf_counter() - clock, time.process_time() - core
        print(*([num_bytes] if name == "num_bytes" else seconds), flush=True)


if __name__ == "__main__":
    main()
