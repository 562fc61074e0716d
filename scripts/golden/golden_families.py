"""What Qwen3-VL and Qwen2-VL do otherwise than Qwen2.5-VL, but for pixels: families.json, families_tokenizer.json.

| key | whose values |
| --- | --- |
| chat | ids by `Qwen3VLProcessor` of transformers with the model's template, labels as the scripts find them |
| tools | conversations with tools as jinja2 renders them by that template |
| stamps | frames and time stamps of random videos, by both sampling rules |
| sizes | `smart_resize` of Qwen3VLVideoProcessor, or the word `error` |
| rope_3, rope_2 | positions by `get_rope_index_3` and `get_rope_index_2` of the scripts, for the runs of golden_rope |

The tokenizer is small, has the rules of Qwen's, and merges what stands before a time stamp with its first character.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from golden_files import GOLDEN, origin, reference_function, write_json
from golden_rope import CASES as RUNS
from golden_rope import IMAGE_PAD, MERGE_SIZE, TEXT, VIDEO_PAD, VISION_END, VISION_START, Run
from golden_tools import CASES as TOOLS
from jinja2.sandbox import ImmutableSandboxedEnvironment
from transformers import Qwen2TokenizerFast
from transformers.models.qwen2_vl.image_processing_qwen2_vl import Qwen2VLImageProcessor
from transformers.models.qwen3_vl.modeling_qwen3_vl import Qwen3VLModel
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor
from transformers.models.qwen3_vl.video_processing_qwen3_vl import Qwen3VLVideoProcessor, smart_resize
from transformers.video_utils import VideoMetadata

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo"))

from demo_model import SPECIAL_TOKENS, ModelSize, write_model_folder

TOKENIZER = "families_tokenizer.json"
CELL = 32 * 32
IGNORE_INDEX = -100
SPECIAL = {"<|vision_start|>": VISION_START, "<|vision_end|>": VISION_END}
SPECIAL |= {"<|image_pad|>": IMAGE_PAD, "<|video_pad|>": VIDEO_PAD}

Record = dict[str, Any]


def talk(*texts: str, images: Any = (), videos: Any = (), system: str | None = None) -> Record:
    """Question, answer, question...; images are (height, width), videos (frames, rate, height, width), all in pixels.

    A video's fifth element, where it has one, are its sampled frames; else the processor samples.
    """
    roles = ("user", "assistant")
    turns = [{"role": roles[number % 2], "content": text} for number, text in enumerate(texts)]
    turns = [{"role": "system", "content": system}, *turns] if system else turns
    return {"messages": turns, "images": list(images), "videos": list(videos)}


CHAT: dict[str, Record] = {
    "text_only": talk("What is a square?", "A square has 4 equal sides."),
    "system": talk("What is a square?", "Four sides.", system="You are terse."),
    "image": talk("<image>\nWhat is this?", "A red square.", images=[(64, 96)]),
    "images": talk(
        "First: <image>\nSecond: <image><image>\nCompare them.",
        "The first is larger.",
        "And <image>?",
        "Red.",
        images=[(64, 64), (32, 96), (32, 32), (96, 32)],
    ),
    **{
        f"video_at_{rate}": talk("<video>\nWhat moves?", "A ball.", videos=[(frames, rate, 64, 96)])
        for rate, frames in ((0.5, 3), (1, 9), (2, 8), (24, 77))
    },
    "odd_number_of_frames": talk("<video>What moves?", "A ball.", videos=[(60, 30000 / 1001, 64, 64, [0, 29, 59])]),
    "one_frame": talk("<video>What is it?", "A ball.", videos=[(1, 25.0, 64, 32, [0])]),
    "punctuation_before_a_video": talk(
        "What is this?<video>And this...<video>or that:<video>", "A ball.", videos=[(8, 2.0, 32, 64)] * 3
    ),
    "signs_before_a_video": talk("a < b <<video>b > a<video>", "No.", videos=[(8, 2.0, 32, 32), (9, 3.0, 32, 32)]),
    "mixed": talk(
        "<image>\n<video>\nIs it the same ball?",
        "Yes.",
        "And <video> with <image>?",
        "No.",
        images=[(64, 32), (32, 32)],
        videos=[(48, 24.0, 64, 96), (5, 1.0, 32, 32)],
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--reference", type=Path, required=True, help="folder with QwenLM's rope2d.py")
    parser.add_argument("--qwen3_template", type=Path, required=True, help="chat_template of Qwen3-VL-Instruct")
    arguments = parser.parse_args()
    template = arguments.qwen3_template.read_text(encoding="utf-8")
    rope_3, rope_2 = (
        reference_function(arguments.reference / "rope2d.py", name, {"torch": torch})
        for name in ("get_rope_index_3", "get_rope_index_2")
    )
    with tempfile.TemporaryDirectory() as scratch:
        tokenizer = make_tokenizer(Path(scratch) / "model", template)
    digest = hashlib.sha256(template.encode()).hexdigest()
    record = {
        "origin": origin(
            "Qwen3VLProcessor, Qwen3VLVideoProcessor and smart_resize of transformers, with the chat template of "
            f"Qwen3-VL-Instruct (sha256 {digest}); get_rope_index_3 and get_rope_index_2 of QwenLM/Qwen3-VL, "
            "qwen-vl-finetune/qwenvl/data/rope2d.py",
            *("transformers", "tokenizers", "torch", "jinja2"),
        ),
        "chat": {name: encoded(case, tokenizer, template, rope_3) for name, case in CHAT.items()},
        "tools": {name: case | {"text": render(template, case)} for name, case in tool_cases().items()},
        "stamps": stamps(),
        "sizes": sizes(),
        "rope_3": {name: {"runs": runs, "position_ids": by_rope_3(rope_3, runs)} for name, runs in RUNS.items()},
        "rope_2": {name: {"runs": runs, "position_ids": by_rope_2(rope_2, runs)} for name, runs in RUNS.items()},
    }
    write_json("families.json", record)


# --- ids and labels ------------------------------------------------------------------------------------------------


def make_tokenizer(model: Path, template: str) -> Qwen2TokenizerFast:
    texts = [turn["content"] for case in CHAT.values() for turn in case["messages"]]
    stamped = [
        f"{text}<{number / 10:.1f} seconds>" for text in ("this?", "this...", "that:", "<") for number in range(40)
    ]
    words = ["You are a helpful assistant.", "system\n", "user\n", "assistant\n", "a\n\nb"]
    write_model_folder(model, texts + 9 * stamped + 100 * words, size=ModelSize(vocab_size=600))
    shutil.copyfile(model / "tokenizer.json", GOLDEN / TOKENIZER)
    tokenizer = Qwen2TokenizerFast.from_pretrained(model)
    assert any("?<" in token for token in tokenizer.get_vocab()), "no token joins a question to a time stamp"
    return tokenizer


def encoded(case: Record, tokenizer: Qwen2TokenizerFast, template: str, rope_3: Any) -> Record:
    """The case with `input_ids`, `labels` and `position_ids`; its media as grids, videos with frames and rate."""
    size = {"shortest_edge": CELL, "longest_edge": 1 << 30}
    processor = Qwen3VLProcessor(
        image_processor=Qwen2VLImageProcessor(patch_size=16, min_pixels=CELL, max_pixels=1 << 30),
        tokenizer=tokenizer,
        video_processor=Qwen3VLVideoProcessor(size=size, max_frames=8),
        chat_template=template,
    )
    messages = [turn | {"content": parts(turn["content"])} for turn in case["messages"]]
    inputs: Record = {"text": [render(template, {"messages": messages})]}
    indices: list[list[int]] = []
    if case["images"]:
        inputs["images"] = [np.zeros((*side, 3), np.uint8) for side in case["images"]]
    if case["videos"]:
        frames, metadata = zip(*map(sampled_video, case["videos"]), strict=True)
        indices = [list(map(int, each.frames_indices)) for each in metadata]  # the processor writes into its own
        inputs |= {"videos": list(frames), "video_metadata": list(metadata), "do_sample_frames": False}
    result = processor(**inputs)
    ids = result["input_ids"][0]
    grids = {kind: np.asarray(result.get(f"{kind}_grid_thw", [])).tolist() for kind in ("image", "video")}
    theirs = [SPECIAL.get(token, TEXT) for token in tokenizer.convert_ids_to_tokens(ids)]
    return {
        "messages": case["messages"],
        "images": grids["image"],
        "videos": [
            {"grid_thw": grid, "frame_indices": frame_indices, "fps": video[1]}
            for grid, frame_indices, video in zip(grids["video"], indices, case["videos"], strict=True)
        ],
        "input_ids": ids,
        "labels": labels(ids, tokenizer),
        "position_ids": positions(rope_3, theirs, grids["image"], grids["video"]),
    }


def sampled_video(video: Any) -> tuple[np.ndarray, VideoMetadata]:
    num_frames, rate, height, width, *given = video
    metadata = VideoMetadata(total_num_frames=num_frames, fps=rate)
    indices = given[0] if given else Qwen3VLVideoProcessor(max_frames=8).sample_frames(metadata).tolist()
    metadata.frames_indices = list(indices)
    # The processor refuses a video of one frame; two equal ones make the same temporal patch.
    return np.zeros((max(len(indices), 2), 3, height, width), np.uint8), metadata


def parts(text: str) -> list[Record]:
    """With media in place, for the template."""
    found: list[Record] = []
    for number, piece in enumerate(text.replace("<video>", "\0v\0").replace("<image>", "\0i\0").split("\0")):
        if number % 2:
            kind = {"v": "video", "i": "image"}[piece]
            found.append({"type": kind, kind: "any"})
        elif piece:
            found.append({"type": "text", "text": piece})
    return found


def render(template: str, record: Record) -> str:
    """As transformers has its templates rendered."""
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(template).render(**record)


def labels(ids: list[int], tokenizer: Qwen2TokenizerFast) -> list[int]:
    """As `preprocess_qwen_visual` of the scripts: after <|im_start|>assistant\\n up to the token after <|im_end|>."""
    start, end = (SPECIAL_TOKENS.index(token) for token in ("<|im_start|>", "<|im_end|>"))
    start, end = (tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS[number]) for number in (start, end))
    header = [start, *tokenizer.encode("assistant\n")]
    found = [IGNORE_INDEX] * len(ids)
    for position in range(len(ids) - len(header)):
        if ids[position : position + len(header)] == header:
            first = position + len(header)
            last = ids.index(end, first) + 2
            found[first:last] = ids[first:last]
    return found


def tool_cases() -> dict[str, Record]:
    """Those of Qwen2.5, and the same without a system turn, which this template does not add."""
    without = {f"{name}_without_system": case | {"messages": case["messages"][1:]} for name, case in TOOLS.items()}
    return {**TOOLS, **without}


# --- frames and sizes ----------------------------------------------------------------------------------------------


def stamps() -> list[list[Any]]:
    """Rule, frames, rate, bounds on sampled frames, sampled per second; their indices, and the texts of their times."""
    rng = np.random.default_rng(15)
    rates = (0.5, 1.0, 2.0, 10.0, 15.0, 24000 / 1001, 24.0, 25.0, 30000 / 1001, 30.0, 50.0, 60.0)
    processor = Qwen3VLProcessor.__new__(Qwen3VLProcessor)
    rows = []
    for number in range(240):
        rate = float(rng.choice(rates)) if number % 3 else float(rng.uniform(0.4, 120))
        num_frames = int(np.exp(rng.uniform(0, np.log(9000))))
        least, most = sorted(int(x) for x in rng.integers(2, 33, 2))
        each_second = float(rng.choice((0.25, 0.5, 1.0, 2.0, 3.0)))
        if number % 2:
            rule = "qwen3"
            metadata = VideoMetadata(total_num_frames=num_frames, fps=rate)
            sampler = Qwen3VLVideoProcessor(min_frames=least, max_frames=most)
            indices = sampler.sample_frames(metadata, fps=each_second).tolist()
        else:
            rule = "interval"  # `video_decord` of the scripts
            wanted = min(max(round(num_frames / rate * each_second), least), most)
            indices = np.unique(np.linspace(0, num_frames - 1, wanted, dtype=int)).tolist()
        times = processor._calculate_timestamps(list(indices), rate)
        rows.append(
            [rule, num_frames, rate, least, most, each_second, indices, [f"<{time:.1f} seconds>" for time in times]]
        )
    return rows


def sizes() -> list[list[Any]]:
    """Frames, height, width, least and most pixels over all frames; height and width after resizing, or `error`."""
    rng = np.random.default_rng(16)
    table = [
        (2, 64, 64, 128 * CELL, 768 * CELL),
        (3, 100, 20000, CELL, 768 * CELL),
        (3, 99, 20000, CELL, 768 * CELL),
        (8, 48, 80, CELL, 768 * CELL),  # one and a half cells round to two
        (5, 1080, 1920, 128 * CELL, 768 * CELL),  # two and a half pairs of frames round to two
        (768, 1080, 1920, 128 * CELL, 768 * CELL),
        (4, 31, 400, CELL, 768 * CELL),
        (4, 32, 32, CELL, CELL),
        (1, 64, 64, CELL, CELL),
    ]
    for _ in range(200):
        frames = int(np.exp(rng.uniform(np.log(2), np.log(800))))
        height, width = np.exp(rng.uniform(np.log(30), np.log(4000), 2)).astype(int).tolist()
        least, most = sorted(np.exp(rng.uniform(0, np.log(30000), 2)).astype(int).tolist())
        table.append((frames, height, width, least * CELL, most * CELL + int(rng.integers(0, CELL))))
    return [[*row, *resized(*row)] for row in table]


def resized(frames: int, height: int, width: int, least: int, most: int) -> list[int | str]:
    try:
        return list(smart_resize(frames, height, width, min_pixels=least, max_pixels=most))
    except ValueError:
        return ["error"]


# --- positions -----------------------------------------------------------------------------------------------------


def positions(rope: Any, ids: list[int], images: Any, videos: Any, **more: Any) -> list[list[int]]:
    """(3, S)"""
    grids = {
        name: torch.tensor(grid, dtype=torch.int64) if len(grid) else None
        for name, grid in (("image_grid_thw", images), ("video_grid_thw", videos))
    }
    position_ids, _ = rope(MERGE_SIZE, torch.tensor([ids]), **grids, **more)
    if rope.__name__ == "get_rope_index_3":
        vision = SimpleNamespace(spatial_merge_size=MERGE_SIZE)
        fake = SimpleNamespace(
            config=SimpleNamespace(
                vision_config=vision,
                image_token_id=IMAGE_PAD,
                video_token_id=VIDEO_PAD,
                vision_start_token_id=VISION_START,
            )
        )
        again, _ = Qwen3VLModel.get_rope_index(fake, torch.tensor([ids]), **grids)
        assert torch.equal(again, position_ids), "transformers differs from the scripts"
    return position_ids[:, 0].tolist()


def by_rope_2(rope: Any, runs: list[Run]) -> list[list[int]]:
    return positions(rope, ids_of(runs), *grids_of(runs))


def by_rope_3(rope: Any, runs: list[Run]) -> list[list[int]]:
    """A video's temporal patches one by one, each after the six tokens of its time."""
    split: list[Run] = []
    for run in runs:
        if isinstance(run, int) or len(run) == 3:
            split.append(run)
        else:
            for _ in range(run[0]):
                split += [6, (1, *run[1:])]
    return positions(rope, ids_of(split), *grids_of(runs))


def grids_of(runs: list[Run]) -> tuple[list[Any], list[Any]]:
    media = [run for run in runs if not isinstance(run, int)]
    return [run for run in media if len(run) == 3], [run[:3] for run in media if len(run) == 4]


def ids_of(runs: list[Run]) -> list[int]:
    """The last token before pads is vision_start, the first one after them vision_end."""
    ids: list[int] = []
    for run in runs:
        if isinstance(run, int):
            ids += [VISION_END if ids and ids[-1] in (IMAGE_PAD, VIDEO_PAD) else TEXT] + [TEXT] * (run - 1)
        else:
            ids[-1] = VISION_START
            ids += [VIDEO_PAD if len(run) == 4 else IMAGE_PAD] * (run[0] * run[1] * run[2] // MERGE_SIZE**2)
    return ids


if __name__ == "__main__":
    main()
