"""Which family's rules a model needs: the table, and what the module of a family in this folder must hold.

`shards/families/__init__.py` says which other rooms a new family needs a module in.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import numpy.typing as npt

from preprocess.arithmetic import qwen2_5_vl, qwen2_vl, qwen3_vl
from preprocess.arithmetic.geometry import FrameSampling, PixelLimits
from preprocess.arithmetic.runs import VisualRun
from preprocess.errors import ConfigError
from preprocess.sample import Turn
from shards import ModelConstants


class Family(Protocol):
    """A module is one, by its names. Sizes are (height, width) in pixels."""

    def default_system(self) -> str | None:
        """The system turn of conversations that have none; None: they stay without."""
        ...

    def spell_tools(self, turns: Sequence[Turn]) -> Sequence[Turn]:
        """A conversation with the tools, calls and results in it as turns of system, user and assistant."""
        ...

    def sample_frames(self, num_frames: int, fps: float, sampling: FrameSampling) -> tuple[int, ...]:
        """Indices of the frames that stand for a video, strictly increasing."""
        ...

    def image_size(self, height: int, width: int, limits: PixelLimits, constants: ModelConstants) -> tuple[int, int]:
        """What an image is resized to: sides are multiples of constants.grid_factor. Raises SampleError."""
        ...

    def frame_size(
        self, num_sampled: int, height: int, width: int, limits: PixelLimits, constants: ModelConstants
    ) -> tuple[int, int]:
        """The same for each of the sampled frames of a video."""
        ...

    def frames_rows_first(self) -> bool:
        """Of the two passes that resize a frame of a video: that along the rows always first, as torchvision has it.

        False: as the installed version of Pillow orders them, which is how images are resized in every family.
        """
        ...

    def video_pieces(
        self, grid_thw: tuple[int, int, int], frame_indices: Sequence[int], fps: float, second_per_grid: float
    ) -> Sequence[str | VisualRun]:
        """What stands in the place of a <video> tag: text, and pads, whose grids together are the video's.

        Each run of pads comes between vision_start and vision_end. Text is encoded together with the text of the user
        that it touches.
        """
        ...

    def temporal_positions(self, span: VisualRun, constants: ModelConstants) -> npt.NDArray[np.int64]:
        """(t,) temporal position of each temporal patch, from that of the first one on."""
        ...

    def box_sides(self, height: int, width: int) -> tuple[int, int]:
        """What the lower and the right edge of a resized image are in the coordinates that answers should have."""
        ...


FAMILIES: dict[str, Family] = {  # by model_type
    "qwen2_5_vl": qwen2_5_vl,
    "qwen2_vl": qwen2_vl,
    "qwen3_vl": qwen3_vl,
    "qwen3_vl_moe": qwen3_vl,  # the same processor and template
}


def family_of(model_type: str) -> Family:
    """Raises ConfigError."""
    if model_type not in FAMILIES:
        raise ConfigError(
            f"models of model_type {model_type!r} can't be preprocessed for; these can: {', '.join(FAMILIES)}"
        )
    return FAMILIES[model_type]
