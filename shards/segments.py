"""A pack taken apart: which tokens are whose, and which of them stand for which image or video."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from shards.errors import InvalidPack
from shards.model_constants import ModelConstants
from shards.pack import IGNORE_INDEX, Pack, PackCounts

Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class VisualSpan:
    """The pad tokens of one image or video: tokens `start` to `stop` (exclusive) of the pack."""

    kind: Literal["image", "video"]
    index: int  # row of image_grid_thw or video_grid_thw
    start: int
    stop: int
    grid_thw: Grid  # patches
    second_per_grid: float | None  # seconds; None for images

    @property
    def num_patches(self) -> int:
        t, h, w = self.grid_thw
        return t * h * w


@dataclass(frozen=True, kw_only=True)
class Segment:
    """One sample: tokens `start` to `stop` (exclusive) of the pack."""

    key: str
    start: int
    stop: int
    num_label_tokens: int
    spans: tuple[VisualSpan, ...]  # in token order

    @property
    def dataset(self) -> str:
        return self.key.rpartition(":")[0]

    @property
    def counts(self) -> PackCounts:
        images = [span for span in self.spans if span.kind == "image"]
        videos = [span for span in self.spans if span.kind == "video"]
        return PackCounts(
            num_samples=1,
            num_tokens=self.stop - self.start,
            num_label_tokens=self.num_label_tokens,
            num_images=len(images),
            num_videos=len(videos),
            num_image_patches=sum(span.num_patches for span in images),
            num_video_patches=sum(span.num_patches for span in videos),
        )


def cut_segments(pack: Pack, constants: ModelConstants) -> list[Segment]:
    """The segments of a pack that `check_pack` accepts.

    Raises InvalidPack where the pad tokens of one image or video are torn apart, or run over the end of a sample.
    """
    spans = sorted(_spans(pack, constants, "image") + _spans(pack, constants, "video"), key=lambda span: span.start)
    boundaries = pack.cu_seqlens.tolist()
    labels_before = np.concatenate([[0], np.cumsum(pack.labels != IGNORE_INDEX)])[boundaries]
    of_segment: list[list[VisualSpan]] = [[] for _ in pack.sample_keys]
    for span in spans:
        number = int(np.searchsorted(pack.cu_seqlens, span.start, side="right")) - 1
        if span.stop > boundaries[number + 1]:
            raise InvalidPack(f"{pack.sample_keys[number]}: {span.kind} {span.index} runs over the end of the sample")
        of_segment[number].append(span)
    return [
        Segment(
            key=key,
            start=boundaries[number],
            stop=boundaries[number + 1],
            num_label_tokens=int(labels_before[number + 1] - labels_before[number]),
            spans=tuple(of_segment[number]),
        )
        for number, key in enumerate(pack.sample_keys)
    ]


def _spans(pack: Pack, constants: ModelConstants, kind: Literal["image", "video"]) -> list[VisualSpan]:
    grids = pack.image_grid_thw if kind == "image" else pack.video_grid_thw
    pads = np.flatnonzero(pack.input_ids == (constants.image_token_id if kind == "image" else constants.video_token_id))
    sizes = constants.num_visual_tokens(grids.astype(np.int64).prod(axis=1))
    ends = np.cumsum(sizes)
    spans = []
    for index, (grid, size, end) in enumerate(zip(grids.tolist(), sizes.tolist(), ends.tolist(), strict=True)):
        start, last = int(pads[end - size]), int(pads[end - 1])
        if last - start + 1 != size:
            raise InvalidPack(f"pack starting with {pack.sample_keys[0]}: the tokens of {kind} {index} are torn apart")
        t, h, w = grid
        seconds = float(pack.second_per_grid_ts[index]) if kind == "video" else None
        spans.append(
            VisualSpan(kind=kind, index=index, start=start, stop=last + 1, grid_thw=(t, h, w), second_per_grid=seconds)
        )
    return spans
