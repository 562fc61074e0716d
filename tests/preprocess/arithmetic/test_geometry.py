"""Properties of sizes and frame choice; single values are compared with the reference in test_golden_grids.py."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from preprocess.arithmetic.geometry import (
    MAX_ASPECT_RATIO,
    FrameSampling,
    PixelLimits,
    num_temporal_patches,
    sample_evenly,
    seconds_per_grid,
    smart_resize,
)
from preprocess.errors import Reason, SampleError

sides = st.integers(1, 6000)
factors = st.sampled_from([28, 32, 6])
thorough = settings(derandomize=True, max_examples=100, deadline=None)


@st.composite
def pixel_limits(draw: st.DrawFn) -> PixelLimits:
    low, high = sorted((draw(st.integers(1, 4_000_000)), draw(st.integers(1, 4_000_000))))
    return PixelLimits(min_pixels=low, max_pixels=high)


@st.composite
def allowed_sizes(draw: st.DrawFn) -> tuple[int, int]:
    long = draw(sides)
    short = draw(st.integers(-(-long // MAX_ASPECT_RATIO), long))
    return (long, short) if draw(st.booleans()) else (short, long)


@thorough
@given(allowed_sizes(), factors, pixel_limits())
def test_sides_are_positive_multiples_of_the_factor(size: tuple[int, int], factor: int, limits: PixelLimits) -> None:
    for side in smart_resize(*size, factor, limits):
        assert side > 0
        assert side % factor == 0


@thorough
@given(allowed_sizes(), factors, pixel_limits())
@example((100, 20000), 28, PixelLimits(min_pixels=3136, max_pixels=12544))
def test_what_is_too_large_ends_within_the_limit_unless_a_side_is_as_thin_as_can_be(
    size: tuple[int, int], factor: int, limits: PixelLimits
) -> None:
    assume(math.prod(round(side / factor) * factor for side in size) > limits.max_pixels)
    height, width = smart_resize(*size, factor, limits)
    assert height * width <= limits.max_pixels or min(height, width) == factor


@thorough
@given(allowed_sizes(), factors, pixel_limits())
def test_what_is_too_small_reaches_the_limit(size: tuple[int, int], factor: int, limits: PixelLimits) -> None:
    assume(math.prod(round(side / factor) * factor for side in size) < limits.min_pixels)
    height, width = smart_resize(*size, factor, limits)
    assert height * width >= limits.min_pixels


@thorough
@given(allowed_sizes(), factors, pixel_limits())
def test_the_aspect_ratio_is_kept_to_within_one_step_a_side(
    size: tuple[int, int], factor: int, limits: PixelLimits
) -> None:
    resized = smart_resize(*size, factor, limits)
    area = math.prod(round(side / factor) * factor for side in size)
    target = limits.max_pixels if area > limits.max_pixels else limits.min_pixels if area < limits.min_pixels else None
    scale = math.sqrt(target / math.prod(size)) if target else 1.0
    for before, after in zip(size, resized, strict=True):
        assert abs(after - max(factor, before * scale)) <= factor * (1 + 1e-9)


@thorough
@given(allowed_sizes(), factors, pixel_limits())
def test_a_size_within_the_limits_stays_as_it_is(size: tuple[int, int], factor: int, limits: PixelLimits) -> None:
    resized = smart_resize(*size, factor, limits)
    assume(limits.min_pixels <= math.prod(resized) <= limits.max_pixels)
    assume(max(resized) <= MAX_ASPECT_RATIO * min(resized))
    assert smart_resize(*resized, factor, limits) == resized


@thorough
@given(allowed_sizes(), factors, pixel_limits())
def test_height_and_width_are_treated_alike(size: tuple[int, int], factor: int, limits: PixelLimits) -> None:
    height, width = size
    assert smart_resize(height, width, factor, limits) == smart_resize(width, height, factor, limits)[::-1]


@thorough
@given(sides, sides, pixel_limits())
@example(1, 200, PixelLimits(min_pixels=784, max_pixels=7840))
@example(1, 201, PixelLimits(min_pixels=784, max_pixels=7840))
def test_an_aspect_ratio_over_200_and_no_other_is_a_reject(height: int, width: int, limits: PixelLimits) -> None:
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        with pytest.raises(SampleError) as caught:
            smart_resize(height, width, 28, limits)
        assert caught.value.reason is Reason.ASPECT_RATIO
        assert f"{width}x{height}" in caught.value.detail
    else:
        smart_resize(height, width, 28, limits)


# --- frames --------------------------------------------------------------------------------------------------------


@st.composite
def samplings(draw: st.DrawFn) -> FrameSampling:
    low, high = sorted((draw(st.integers(1, 40)), draw(st.integers(1, 40))))
    return FrameSampling(base_interval=draw(st.floats(0.01, 20)), min_frames=low, max_frames=high)


rates = st.sampled_from([0.5, 10.0, 23.976, 24.0, 25.0, 29.97, 60.0])


@thorough
@given(st.integers(1, 20_000), rates, samplings())
def test_frames_are_evenly_spread_from_the_first_to_the_last(
    num_frames: int, fps: float, sampling: FrameSampling
) -> None:
    indices = sample_evenly(num_frames, fps, sampling)
    assert sampling.min_frames <= len(indices) <= sampling.max_frames or len(indices) == num_frames
    assert all(isinstance(index, int) for index in indices)
    assert list(indices) == sorted(set(indices))
    assert indices[0] == 0
    if len(indices) > 1:
        assert indices[-1] == num_frames - 1
        step = Fraction(num_frames - 1, len(indices) - 1)
        assert all(abs(index - number * step) <= 1 for number, index in enumerate(indices))


@pytest.mark.parametrize(
    ("num_frames", "fps", "interval", "expected"),
    [
        (300, 30.0, 2.0, (0, 74, 149, 224, 299)),  # 10 s / 2 s = 5 frames
        (150, 30.0, 2.0, (0, 149)),  # 2.5 rounds to 2, the even number
        (210, 30.0, 2.0, (0, 69, 139, 209)),  # 3.5 rounds to 4
        (60, 30.0, 9.0, (0, 59)),  # no fewer than 2
        (3000, 30.0, 2.0, (0, 599, 1199, 1799, 2399, 2999)),  # no more than 6
        (1, 30.0, 2.0, (0,)),
        (3, 1.0, 0.5, (0, 1, 2)),  # 6 wanted, 3 there
    ],
)
def test_known_choices_of_frames(num_frames: int, fps: float, interval: float, expected: tuple[int, ...]) -> None:
    sampling = FrameSampling(base_interval=interval, min_frames=2, max_frames=6)
    assert sample_evenly(num_frames, fps, sampling) == expected


def test_seconds_and_number_of_temporal_patches() -> None:
    assert seconds_per_grid(num_sampled=8, duration=10.0, temporal_patch_size=2) == 2.5
    assert [num_temporal_patches(n, 2) for n in (1, 2, 3, 8)] == [1, 1, 2, 4]
