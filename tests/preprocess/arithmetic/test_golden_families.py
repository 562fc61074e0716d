"""Qwen3-VL and Qwen2-VL against transformers and the reference scripts: ids, times, frames, sizes, positions, tools."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from preprocess.arithmetic.chat import ChatEncoder, EncodedText
from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.geometry import FrameSampling, PixelLimits
from preprocess.arithmetic.grids import sample_frames, video_grid
from preprocess.arithmetic.rope import position_ids
from preprocess.arithmetic.runs import Run, TextRun, VisualRun
from preprocess.arithmetic.tokenizer import load_tokenizer
from preprocess.errors import Reason, SampleError
from preprocess.read.records import parse_record
from preprocess.read.registry import Dataset
from preprocess.sample import Turn
from shards import ModelConstants
from tests.preprocess.golden import GOLDEN, read_golden

FAMILIES = read_golden("families.json")
CHAT: dict[str, Any] = FAMILIES["chat"]
TIMED_RUN = 6  # tokens of a time in the golden positions


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return load_tokenizer(GOLDEN / "families_tokenizer.json")


@pytest.fixture(scope="module")
def qwen3(constants: ModelConstants, tokenizer: Tokenizer) -> ModelConstants:
    tokens = {
        "im_start_token_id": "<|im_start|>",
        "im_end_token_id": "<|im_end|>",
        "pad_token_id": "<|endoftext|>",
        "vision_start_token_id": "<|vision_start|>",
        "vision_end_token_id": "<|vision_end|>",
        "image_token_id": "<|image_pad|>",
        "video_token_id": "<|video_pad|>",
    }
    ids = {name: tokenizer.token_to_id(token) for name, token in tokens.items()}
    return replace(
        constants, model_type="qwen3_vl", patch_size=16, window_size=0, tokens_per_second=0, position_grid=48, **ids
    )


@pytest.fixture(scope="module")
def qwen2(constants: ModelConstants) -> ModelConstants:
    return replace(constants, model_type="qwen2_vl", window_size=0, tokens_per_second=0)


def encode(case: dict[str, Any], tokenizer: Tokenizer, constants: ModelConstants) -> EncodedText:
    family = family_of(constants.model_type)
    turns = [Turn(role=turn["role"], text=turn["content"]) for turn in case["messages"]]
    images = [VisualRun(grid_thw=tuple(grid), second_per_grid=0.0) for grid in case["images"]]
    videos = [
        family.video_pieces(tuple(video["grid_thw"]), video["frame_indices"], video["fps"], 1.0)
        for video in case["videos"]
    ]
    return ChatEncoder(tokenizer, constants).encode(turns, images, videos)


@pytest.mark.parametrize("name", CHAT)
def test_ids_labels_and_positions_of_qwen3_equal_the_reference(
    name: str, tokenizer: Tokenizer, qwen3: ModelConstants
) -> None:
    encoded = encode(CHAT[name], tokenizer, qwen3)
    assert encoded.input_ids.tolist() == CHAT[name]["input_ids"]
    assert encoded.labels.tolist() == CHAT[name]["labels"]
    assert position_ids(encoded.runs, qwen3).tolist() == CHAT[name]["position_ids"]


def test_the_cases_hold_every_kind_of_sample(tokenizer: Tokenizer) -> None:
    media = {(len(case["images"]), len(case["videos"])) for case in CHAT.values()}
    assert media >= {(0, 0), (1, 0), (4, 0), (0, 1), (0, 2), (0, 3), (2, 2)}
    videos = [video for case in CHAT.values() for video in case["videos"]]
    assert {video["fps"] for video in videos} >= {0.5, 1, 2, 24}
    assert any(len(video["frame_indices"]) % 2 for video in videos)
    assert {token["role"] for case in CHAT.values() for token in case["messages"][:1]} == {"system", "user"}


def test_the_golden_tokenizer_joins_a_time_with_the_text_before_it(tokenizer: Tokenizer) -> None:
    tokens = [tokenizer.id_to_token(token) for token in CHAT["punctuation_before_a_video"]["input_ids"]]
    assert "?<" in tokens and tokens.count("<") < 2 + sum(token.startswith("<|") for token in tokens)
    apart = tokenizer.encode("?", add_special_tokens=False).ids + tokenizer.encode("<0.8", add_special_tokens=False).ids
    assert apart != tokenizer.encode("?<0.8", add_special_tokens=False).ids


# --- frames and their times ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", ["interval", "qwen3"])
def test_frames_and_times_of_random_videos_equal_the_reference(rule: str, qwen3: ModelConstants) -> None:
    rows = [row for row in FAMILIES["stamps"] if row[0] == rule]
    assert len(rows) >= 100
    other_order = 0
    for _, num_frames, fps, least, most, each_second, indices, texts in rows:
        sampling = FrameSampling(
            base_interval=1 / each_second, min_frames=least, max_frames=most, rule=rule, rate=each_second
        )
        found = sample_frames(num_frames, fps, sampling, qwen3)
        assert list(found) == indices
        pieces = family_of("qwen3_vl").video_pieces((len(texts), 2, 2), found, fps, 1.0)
        assert [piece for piece in pieces if isinstance(piece, str)] == texts
        pairs = zip(found[::2], [*found[1::2], found[-1]], strict=False)
        other_order += [f"<{(one + other) / 2 / fps:.1f} seconds>" for one, other in pairs] != texts
    assert other_order, "no video among them tells the order of the divisions"


def test_half_of_a_frame_is_rounded_to_the_even_one(qwen3: ModelConstants) -> None:
    sampling = FrameSampling(base_interval=1.0, min_frames=3, max_frames=3, rule="qwen3", rate=1.0)
    assert sample_frames(6, 6.0, sampling, qwen3) == (0, 2, 5)
    assert sample_frames(8, 8.0, sampling, qwen3) == (0, 4, 7)


# --- sizes over all frames -----------------------------------------------------------------------------------------


def test_sizes_over_all_frames_equal_the_reference(qwen3: ModelConstants) -> None:
    rows = [row for row in FAMILIES["sizes"] if row[0] > 1]
    assert len(rows) > 150 and any(row[-1] == "error" for row in rows)
    changed = set()
    for num_sampled, height, width, least, most, *expected in rows:
        limits = PixelLimits(min_pixels=least, max_pixels=most, over_all_frames=True)
        if expected == ["error"]:
            with pytest.raises(SampleError) as raised:
                video_grid(num_sampled, height, width, limits, qwen3)
            assert raised.value.reason in (Reason.ASPECT_RATIO, Reason.UNSUPPORTED)
            continue
        grid = video_grid(num_sampled, height, width, limits, qwen3)
        assert grid == (-(-num_sampled // 2), *(side // 16 for side in expected)), (num_sampled, height, width)
        changed.add((expected[0] > height) - (expected[0] < height - 16))
    assert changed == {-1, 0, 1}


def test_one_frame_counts_as_two(qwen3: ModelConstants) -> None:
    limits = PixelLimits(min_pixels=2 * 4 * 1024, max_pixels=2 * 4 * 1024, over_all_frames=True)
    assert video_grid(1, 320, 320, limits, qwen3) == video_grid(2, 320, 320, limits, qwen3) == (1, 4, 4)


# --- positions, tools ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FAMILIES["rope_2"])
def test_positions_of_qwen2_equal_the_reference(name: str, qwen2: ModelConstants) -> None:
    runs = [run_of(run) for run in FAMILIES["rope_2"][name]["runs"]]
    assert position_ids(runs, qwen2).tolist() == FAMILIES["rope_2"][name]["position_ids"]


@pytest.mark.parametrize("name", FAMILIES["rope_3"])
def test_positions_of_qwen3_equal_the_reference(name: str, qwen3: ModelConstants) -> None:
    runs: list[Run] = []
    for run in map(run_of, FAMILIES["rope_3"][name]["runs"]):
        if isinstance(run, TextRun) or not run.second_per_grid:
            runs.append(run)
            continue
        t, h, w = run.grid_thw
        pieces = family_of("qwen3_vl").video_pieces((t, h, w), range(2 * t), 1.0, run.second_per_grid)
        runs += [TextRun(num_tokens=TIMED_RUN) if isinstance(piece, str) else piece for piece in pieces]
    assert position_ids(runs, qwen3).tolist() == FAMILIES["rope_3"][name]["position_ids"]


def run_of(run: Any) -> Run:
    if isinstance(run, int):
        return TextRun(num_tokens=run)
    t, h, w, *seconds = run
    return VisualRun(grid_thw=(t, h, w), second_per_grid=seconds[0] if seconds else 0.0)


@pytest.mark.parametrize("name", FAMILIES["tools"])
def test_tools_are_spelled_as_in_the_template_of_qwen3(name: str, tokenizer: Tokenizer, qwen3: ModelConstants) -> None:
    case = FAMILIES["tools"][name]
    dataset = Dataset(name="golden", annotation_path=Path("/golden.json"), data_path=None)
    turns = parse_record({key: value for key, value in case.items() if key != "text"}, dataset, 0, None).turns
    encoded = ChatEncoder(tokenizer, qwen3).encode(turns)
    assert tokenizer.decode(encoded.input_ids.tolist(), skip_special_tokens=False) == case["text"]
