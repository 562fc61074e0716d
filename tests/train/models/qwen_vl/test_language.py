from __future__ import annotations

import numpy as np
import pytest

from train.models.qwen_vl.language import mrope_axes


def test_sections_stand_one_after_the_other() -> None:
    axes = mrope_axes((16, 24, 24), interleaved=False)
    assert axes.tolist() == [0] * 16 + [1] * 24 + [2] * 24


def test_interleaved_height_and_width_take_every_third_frequency_and_time_the_rest() -> None:
    axes = mrope_axes((24, 20, 20), interleaved=True)
    assert axes[:6].tolist() == [0, 1, 2, 0, 1, 2]
    assert np.flatnonzero(axes == 1).tolist() == list(range(1, 60, 3))
    assert np.flatnonzero(axes == 2).tolist() == list(range(2, 60, 3))
    assert axes[60:].tolist() == [0, 0, 0, 0]
    assert np.bincount(axes).tolist() == [24, 20, 20]


@pytest.mark.parametrize("interleaved", [True, False])
def test_a_position_is_of_every_frequency(interleaved: bool) -> None:
    assert mrope_axes((4, 2, 2), interleaved=interleaved).dtype == np.int32
    assert len(mrope_axes((4, 2, 2), interleaved=interleaved)) == 8
