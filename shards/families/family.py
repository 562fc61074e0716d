"""What the module of a family in this folder must hold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from shards.families.padding import Int32
from shards.model_constants import ModelConstants
from shards.model_folder import ModelFolder


class FrameOrder(NamedTuple):
    """One frame's n patches as the vision tower reads them. Arrays are shared: don't write to them.

    The patches of a visual token must stay neighbours, in their order.
    """

    order: Int32  # (n,) where the patch stands among the frame's stored patches
    positions: Int32  # (n, 2) its row and column


class Frame(NamedTuple):
    """A temporal index of an image or video, in the tower's sequence of patches."""

    grid_h: int  # patches
    grid_w: int
    first: int  # row of the sequence at which its patches begin

    @property
    def num_patches(self) -> int:
        return self.grid_h * self.grid_w


class Family(Protocol):
    """A module is one, by its functions."""

    def read_constants(self, folder: ModelFolder) -> ModelConstants:
        """Raises ModelFolderError."""
        ...

    def video_runs(self, grid_thw: tuple[int, int, int]) -> Sequence[tuple[int, int, int]]:
        """The grids of the runs of pads in which the tokens of a video stand, in their order; together its grid."""
        ...

    def num_windows(self, grid_thw: npt.NDArray[np.integer], constants: ModelConstants) -> int:
        """Windows of the window attention over grids (N, 3); 0 where the tower has none."""
        ...

    def order_frame(self, grid_h: int, grid_w: int, constants: ModelConstants) -> FrameOrder:
        """Sides in patches. Called for each frame of each batch: remember what takes time."""
        ...

    def tower_input_names(self) -> tuple[str, ...]:
        """Of the arrays that this vision tower reads besides those that every `Batch` has; they may be none.

        They are the last arguments of the model, in this order.
        """
        ...

    def new_tower_inputs(
        self, num_patches: int, num_windows: int, constants: ModelConstants
    ) -> tuple[npt.NDArray[Any], ...]:
        """These arrays, in a NamedTuple, for so many patches and windows; their values are not set yet."""
        ...

    def fill_tower_inputs(self, out: Any, frames: Sequence[Frame], constants: ModelConstants) -> None:
        """Write every value of `out`, padding included. The frames stand one after another, from row 0 on.

        Raises ValueError where `out` has no room.
        """
        ...
