"""A sample as runs of tokens: text, and the pads of images and videos."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class TextRun:
    """Consecutive tokens that are not visual; vision_start and vision_end belong to text."""

    num_tokens: int


@dataclass(frozen=True, kw_only=True, slots=True)
class VisualRun:
    """The pad tokens that stand in one row, of an image, of a video, or of a part of one."""

    grid_thw: tuple[int, int, int]  # patches
    second_per_grid: float  # seconds; 0 for an image


Run = TextRun | VisualRun
