"""3D positions equal those of the reference scripts; where transformers has others, that is recorded here."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
import pytest

from preprocess.arithmetic.geometry import num_temporal_patches, seconds_per_grid
from preprocess.arithmetic.rope import position_ids
from preprocess.arithmetic.runs import Run, TextRun, VisualRun
from shards import ModelConstants
from tests.preprocess.golden import read_golden

ROPE = read_golden("rope.json")
CASES: dict[str, Any] = ROPE["cases"]


def runs_of(name: str) -> list[Run]:
    runs: list[Run] = []
    for run in CASES[name]["runs"]:
        if isinstance(run, int):
            runs.append(TextRun(num_tokens=run))
        else:
            t, h, w, *seconds = run
            runs.append(VisualRun(grid_thw=(t, h, w), second_per_grid=seconds[0] if seconds else 0.0))
    return runs


@pytest.mark.parametrize("name", CASES)
def test_positions_equal_the_reference(name: str, constants: ModelConstants) -> None:
    assert position_ids(runs_of(name), constants).tolist() == CASES[name]["position_ids"]


def test_the_cases_have_images_videos_both_and_neither() -> None:
    kinds = {name: {len(run) for run in case["runs"] if isinstance(run, list)} for name, case in CASES.items()}
    assert set(map(frozenset, kinds.values())) == {frozenset(), frozenset({3}), frozenset({4}), frozenset({3, 4})}
    assert {f"video_{seconds}" for seconds in (0.5, 1.0, 1.33, 5.0)} <= set(CASES)


def test_times_of_thousands_of_videos_equal_the_reference(constants: ModelConstants) -> None:
    """Their product is float32 in the reference; in float64 some times come out one earlier or later."""
    golden = ROPE["many_videos"]
    seconds_digest, times_digest = hashlib.sha256(), hashlib.sha256()
    differing = []
    count = 0
    for rate, num_sampled, num_frames in product(golden["rates"], golden["num_sampled"], golden["num_frames"]):
        seconds = seconds_per_grid(num_sampled, num_frames / rate, constants.temporal_patch_size)
        grid_t = num_temporal_patches(num_sampled, constants.temporal_patch_size)
        times = position_ids([VisualRun(grid_thw=(grid_t, 2, 2), second_per_grid=seconds)], constants)[0].tolist()
        seconds_digest.update(np.array(seconds, "<f8").tobytes())
        times_digest.update(np.array(times, "<i8").tobytes())
        count += 1
        if times != [int(i * seconds * constants.tokens_per_second) for i in range(grid_t)]:
            differing.append([rate, num_sampled, num_frames, times])
    assert count == golden["count"] > 6000
    assert seconds_digest.hexdigest() == golden["seconds_float64_sha256"]
    assert differing == golden["float64_differs"]
    assert differing, "no video among them tells float32 from float64"
    assert times_digest.hexdigest() == golden["times_int64_sha256"]


def test_transformers_casts_the_seconds_to_an_integer_and_is_not_followed(constants: ModelConstants) -> None:
    theirs = ROPE["transformers_qwen2_5_vl"]
    ours = {name: position_ids(runs_of(name), constants).tolist() for name in theirs}
    assert ours["image"] == theirs["image"]
    assert ours["video_1.0"] == theirs["video_1.0"]
    assert ours["video_0.5"] != theirs["video_0.5"]
    assert ours["video_1.33"] != theirs["video_1.33"]
    video = slice(15, -9)
    assert set(theirs["video_0.5"][0][video]) == {15}, "0.5 became 0: the whole video stands at one time"
    assert theirs["video_1.33"][0][video] == theirs["video_1.0"][0][video], "1.33 became 1"
    assert sorted(set(ours["video_0.5"][0][video])) == [15, 16, 17, 18, 19]


def test_transformers_counts_temporal_patches_of_qwen2_as_we_do(constants: ModelConstants) -> None:
    without_seconds = replace(constants, model_type="qwen2_vl", tokens_per_second=0)
    for name, expected in ROPE["transformers_qwen2_vl"].items():
        assert position_ids(runs_of(name), without_seconds).tolist() == expected, name
