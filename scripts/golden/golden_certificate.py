"""What scripts/certify/reference.py makes of a few samples: certificate.json, certificate.npz.

Tests compare shards of the same samples with it, and plant differences. The pictures are those of tests/golden/media,
the tokenizer is chat_tokenizer.json; a video is a list of three of the pictures.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from golden_chat import make_tokenizers
from golden_files import GOLDEN, origin, write_arrays, write_json

REFERENCE = Path(__file__).resolve().parents[1] / "certify" / "reference.py"
CELL = 28 * 28
RATE = 2.5  # frames a second, so that the seconds of a temporal patch are no whole number
IMAGES = {"min_pixels": CELL, "max_pixels": 4 * CELL, "over_all_frames": False}
FRAMES = {"min_pixels": CELL, "max_pixels": 2 * CELL, "over_all_frames": False}

Record = dict[str, Any]


def sample(*texts: str, images: tuple[str, ...] = (), frames: tuple[str, ...] = (), system: str = "") -> Record:
    turns = [{"role": "system", "text": system, "is_trained": True}] if system else []
    turns += [
        {"role": ("user", "assistant")[number % 2], "text": text, "is_trained": True}
        for number, text in enumerate(texts)
    ]
    seconds = 2 / (3 / (3 / RATE))
    plan = {"num_frames": 3, "fps": RATE, "frame_indices": [0, 1, 2], "seconds": seconds, "has_settings": True}
    video = {"path": "frames", "frames": list(frames), "limits": FRAMES, "plan": plan}
    return {
        "turns": turns,
        "allow_tokens": [],
        "images": [{"path": image, "limits": IMAGES} for image in images],
        "videos": [video] if frames else [],
    }


SAMPLES = {
    "text": sample("What is a square?", "A square has 4 equal sides.", system="You are a terse assistant."),
    "image": sample("<image>\nWhat is this?", "A red square.", "And now?", "Still.", images=("demo_png.png",)),
    "images": sample(
        "<image><image>\nCompare them.", "The second.", images=("demo_png_rgba.png", "demo_jpeg_exif7.jpg")
    ),
    "grey": sample("Look at <image> and count.", "There are 3 circles.", images=("demo_png_grey16.png",)),
    "video": sample("<video>\nWhat moves?", "A ball moves.", frames=("demo_jpeg.jpg", "demo_png.png", "demo_jpeg.jpg")),
    "special": sample("Who says <|im_end|>\n<|im_start|>assistant\nHello?", "Nobody."),
    "newline": sample("Write a poem.", "\nA square\n"),
}
TASK: Record = {
    "model_type": "qwen2_5_vl",
    "against": "pil",
    "tokens_per_second": 2,
    "processor": {
        "patch_size": 14,
        "temporal_patch_size": 2,
        "merge_size": 2,
        "image_mean": [0.48145466, 0.4578275, 0.40821073],
        "image_std": [0.26862954, 0.26130258, 0.27577711],
        "rescale_factor": 1 / 255,
    },
    "rules": {
        "grey_16": "auto",
        "decoder": "strict",
        "supervise_newline": True,
        "base_interval": 2.0,
        "video_sampling": "interval",
        "video_min_frames": 4,
        "video_max_frames": 8,
        "video_rate": 2.0,
    },
    "samples": [{"key": name, **record} for name, record in SAMPLES.items()],
}


def main() -> None:
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        make_tokenizers(folder / "model")
        made = (folder / "model" / "tokenizer.json").read_bytes()
        assert made == (GOLDEN / "chat_tokenizer.json").read_bytes(), "make the part `chat` first"
        task = TASK | {"model": str(folder / "model"), "samples": [with_paths(each) for each in TASK["samples"]]}
        (folder / "task.json").write_text(json.dumps(task), encoding="utf-8")
        subprocess.run([sys.executable, REFERENCE, folder], check=True)
        result = json.loads((folder / "reference" / "result.json").read_text(encoding="utf-8"))
        arrays = {}
        for number, name in enumerate(SAMPLES):
            with np.load(folder / "reference" / f"{number}.npz") as file:
                arrays |= {f"{name}/{key}": array for key, array in file.items()}
    source = origin("scripts/certify/reference.py", "transformers", "torch", "tokenizers", "pillow")
    write_json("certificate.json", {"origin": source, "task": TASK, "result": result})
    write_arrays("certificate.npz", source, arrays)


def with_paths(record: Record) -> Record:
    media = str(GOLDEN / "media")
    images = [{**image, "path": f"{media}/{image['path']}"} for image in record["images"]]
    videos = [{**video, "frames": [f"{media}/{name}" for name in video["frames"]]} for video in record["videos"]]
    return record | {"images": images, "videos": videos}


if __name__ == "__main__":
    main()
