"""A configuration that exists is valid in itself."""

from __future__ import annotations

import math
import re
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from preprocess.arithmetic.geometry import FrameSampling, PixelLimits
from preprocess.config import EncodingConfig, RunConfig
from preprocess.errors import ConfigError
from tests.shards.packs import CONSTANTS


def make(**changes: Any) -> RunConfig:
    values = {"model": Path("m"), "datasets": Path("d"), "dataset_use": "a", "output_dir": Path("o")}
    return RunConfig(**{**values, **changes})


PAIRS = [
    ("min_pixels", "max_pixels"),
    ("video_min_frame_pixels", "video_max_frame_pixels"),
    ("video_min_total_pixels", "video_total_pixels"),
    ("video_min_frames", "video_max_frames"),
]


@pytest.mark.parametrize(("low", "high"), PAIRS)
def test_a_lower_bound_may_reach_the_upper_one_and_no_further(low: str, high: str) -> None:
    assert getattr(make(**{low: 50, high: 50}), low) == 50
    with pytest.raises(ConfigError, match=rf"{low} \(51\) is larger than {high} \(50\); swap or change them"):
        make(**{low: 51, high: 50})


POSITIVE = ["pack_length", "pack_patches", "shard_bytes", "base_interval", "sample_timeout"]


@pytest.mark.parametrize("name", [*POSITIVE, *(name for pair in PAIRS for name in pair)])
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf])
def test_sizes_are_positive_and_finite(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} is {value}; it must be positive"):
        make(**{name: value})


@pytest.mark.parametrize(
    ("name", "value", "bound"),
    [
        ("base_interval", 1e-320, "1e-06 is the least"),
        ("sample_timeout", 1e-320, "0.001 is the least"),
        ("sample_timeout", 1e30, "86,400.0 is the most"),
        ("pack_length", 10**30, "16,777,216 is the most"),
        ("pack_patches", (1 << 24) + 1, "16,777,216 is the most"),
        ("shard_bytes", 10**30, "is the most"),
        ("video_max_frames", 10**18, "16,777,216 is the most"),
    ],
)
def test_absurd_sizes_are_refused(name: str, value: float, bound: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name} is {re.escape(str(value))}; .*{bound}"):
        make(**{name: value})


@pytest.mark.parametrize("name", ["seed", "workers"])
def test_some_numbers_may_be_zero(name: str) -> None:
    assert getattr(make(**{name: 0}), name) == 0
    with pytest.raises(ConfigError, match=f"{name} is -1; it must not be negative"):
        make(**{name: -1})


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_a_share_is_from_0_to_1(value: float) -> None:
    assert (make(max_reject_share=0).max_reject_share, make(max_reject_share=1).max_reject_share) == (0, 1)
    with pytest.raises(ConfigError, match="max_reject_share"):
        make(max_reject_share=value)


@pytest.mark.parametrize("name", ["model", "datasets", "output_dir", "reuse"])
@pytest.mark.parametrize("text", ["a\0b", "caf\udce9"])
def test_a_path_that_is_none_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=name) as raised:
        make(**{name: Path(text)})
    str(raised.value).encode()


def test_what_determines_the_plan_is_everything_but_places_and_processes() -> None:
    everything = {field.name for field in fields(RunConfig)}
    places = {"model", "datasets", "output_dir", "reuse", "media_cache", "media_cache_bytes"}
    processes = {"workers", "executor", "task", "durability", "sample_timeout"}
    form = {"format", "compress"}  # of the shards: determines their bytes, and not the plan
    without = {*places, *processes, *form, "overwrite", "hash_media", "max_reject_share"}
    rules = {"video_sampling", "video_fps", "video_total_pixels", "video_min_total_pixels"}  # unless they are asked for
    assert without | rules < everything
    assert set(make(limit=5).determining(CONSTANTS)) == everything - without - rules
    assert set(make().determining(CONSTANTS)) == everything - without - rules - {"limit"}
    assert make(seed=3, workers=7).determining(CONSTANTS)["seed"] == 3


def test_encoding_is_part_of_a_run_and_stands_alone() -> None:
    config = EncodingConfig(min_pixels=784, max_pixels=7840, video_min_frames=2, base_interval=0.5)
    assert config.image_limits(CONSTANTS) == PixelLimits(min_pixels=784, max_pixels=7840)
    assert config.frame_sampling == FrameSampling(base_interval=0.5, min_frames=2, max_frames=8)


def test_limits_that_are_not_given_follow_the_size_of_a_visual_token() -> None:
    larger = replace(CONSTANTS, patch_size=16)
    assert (CONSTANTS.grid_factor, larger.grid_factor) == (28, 32)
    for constants, area in ((CONSTANTS, 28 * 28), (larger, 32 * 32)):
        config = make(max_pixels=300 * area)
        assert config.image_limits(constants) == PixelLimits(min_pixels=16 * area, max_pixels=300 * area)
        assert config.frame_limits(constants) == PixelLimits(min_pixels=4 * area, max_pixels=32 * area)
        determining = make(min_pixels=7).determining(constants)
        assert (determining["min_pixels"], determining["max_pixels"]) == (7, 576 * area)
        assert determining["video_max_frame_pixels"] == 32 * area
        assert determining["video_min_frame_pixels"] == 4 * area


def test_frames_at_a_rate_are_another_rule_than_frames_at_an_interval() -> None:
    config = make(video_sampling="qwen3", video_fps=0.5, video_max_frames=64)
    assert (config.frame_sampling.rule, config.frame_sampling.rate, config.frame_sampling.max_frames) == (
        "qwen3",
        0.5,
        64,
    )
    determining = config.determining(CONSTANTS)
    assert (determining["video_sampling"], determining["video_fps"]) == ("qwen3", 0.5)
    assert "base_interval" not in determining
    assert make(video_sampling="qwen3").determining(CONSTANTS)["video_fps"] == 2
    with pytest.raises(ConfigError, match="video_fps is of the rule video_sampling: qwen3"):
        make(video_fps=2.0)
    with pytest.raises(ConfigError, match="video_fps is 1e-09; 1e-06 is the least"):
        make(video_sampling="qwen3", video_fps=1e-9)


def test_limits_over_all_frames_take_the_place_of_those_for_each() -> None:
    larger = replace(CONSTANTS, patch_size=16)
    config = make(video_total_pixels=768 * 32 * 32)
    assert config.frame_limits(larger) == PixelLimits(
        min_pixels=128 * 32 * 32, max_pixels=768 * 32 * 32, over_all_frames=True
    )
    determining = config.determining(larger)
    assert (determining["video_total_pixels"], determining["video_min_total_pixels"]) == (768 * 1024, 128 * 1024)
    assert not {"video_max_frame_pixels", "video_min_frame_pixels"} & set(determining)
    with pytest.raises(ConfigError, match="video_total_pixels takes the place of video_max_frame_pixels"):
        make(video_total_pixels=10**6, video_max_frame_pixels=10**5)
    with pytest.raises(ConfigError, match="video_min_total_pixels has no effect without video_total_pixels"):
        make(video_min_total_pixels=10**5)
    with pytest.raises(
        ConfigError, match=r"video_min_total_pixels \(131072\) is larger than video_total_pixels \(1000\)"
    ):
        make(video_total_pixels=1000).frame_limits(larger)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"min_pixels": 576 * 784 + 1}, r"min_pixels \(451585\) is larger than max_pixels \(451584\); swap"),
        ({"video_max_frame_pixels": 3135}, r"frame_pixels \(3136\) is larger than video_max_frame_pixels \(3135\)"),
    ],
)
def test_a_limit_may_not_cross_the_default_of_the_other(given: dict[str, int], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make(**given).determining(CONSTANTS)


def test_patch_capacity() -> None:
    assert make(pack_patches="auto").patch_capacity is None
    assert make(pack_patches=400).patch_capacity == 400
