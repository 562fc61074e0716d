"""The other ways from files to a model's inputs, for processors.py, in an environment of its own and without our code.

Reads a line of JSON, {"photos": [path, ...], "texts": [[question, answer], ...], "limits": {"min_pixels": N,
"max_pixels": N}, "tokenizer": path}, says what it is in another, and from then on answers each name of a way with the
seconds that it took for all photos, one after another.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import PIL
import torch
import torchvision
import transformers
from PIL import Image
from tokenizers import Tokenizer
from transformers.models.qwen2_5_vl.modeling_qwen2_5_vl import Qwen2_5_VLModel
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen2_vl.image_processing_qwen2_vl_fast import Qwen2VLImageProcessorFast

SYSTEM = "You are a helpful assistant."
MERGED = 4  # patches of a visual token


class Ways:
    """Each takes one sample: the path of a photo, a question, an answer."""

    def __init__(self, limits: dict[str, int], tokenizer: str) -> None:
        self._slow, self._fast = Qwen2VLImageProcessor(**limits), Qwen2VLImageProcessorFast(**limits)
        self._tokenizer = Tokenizer.from_file(tokenizer)
        ids = {name: self._tokenizer.token_to_id(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start")}
        config = SimpleNamespace(
            vision_config=SimpleNamespace(spatial_merge_size=2, tokens_per_second=2),
            image_token_id=ids["image_pad"],
            video_token_id=ids["video_pad"],
            vision_start_token_id=ids["vision_start"],
        )
        self._model = SimpleNamespace(config=config)

    def pil(self, path: str, *_: str) -> Any:
        return self._slow(images=Image.open(path).convert("RGB"), return_tensors="pt")

    def torchvision(self, path: str, *_: str) -> Any:
        return self._fast(images=Image.open(path).convert("RGB"), return_tensors="pt")

    def loader(self, path: str, question: str, answer: str) -> Any:
        """What the data set of the fine-tuning scripts does for each sample in each epoch."""
        media = self.pil(path)
        pads = "<|image_pad|>" * (int(media["image_grid_thw"].prod()) // MERGED)
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
        positions, _ = Qwen2_5_VLModel.get_rope_index(self._model, input_ids, media["image_grid_thw"])
        return input_ids, torch.tensor([labels]), positions, media


def main() -> None:
    torch.set_num_threads(1)
    task = json.loads(sys.stdin.readline())
    ways = Ways(task["limits"], task["tokenizer"])
    samples = [(path, *texts) for path, texts in zip(task["photos"], task["texts"], strict=True)]
    print(
        f"transformers {transformers.__version__}, torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}, Pillow {PIL.__version__}",
        flush=True,
    )
    for line in sys.stdin:
        way: Callable[..., Any] = getattr(ways, line.strip())
        start = time.perf_counter()
        for sample in samples:
            way(*sample)
        print(time.perf_counter() - start, flush=True)


if __name__ == "__main__":
    main()
