"""A pack taken apart: which tokens are whose, and which of them stand for which image or video."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import Literal

import numpy as np
import numpy.typing as npt

from shards.errors import InvalidPack
from shards.families import family_of
from shards.model_constants import ModelConstants
from shards.pack import IGNORE_INDEX, Pack, PackCounts, num_patches

Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class VisualSpan:
    """The pad tokens of one image or video. Between its runs there is text, as time stamps."""

    kind: Literal["image", "video"]
    index: int  # row of image_grid_thw or video_grid_thw
    runs: tuple[tuple[int, int], ...]  # tokens of the pack, from the first to the second (exclusive), in their order
    grid_thw: Grid  # patches
    second_per_grid: float | None  # seconds; None for images

    @property
    def start(self) -> int:
        """The first of its tokens."""
        return self.runs[0][0]

    @property
    def stop(self) -> int:
        """One after the last of them."""
        return self.runs[-1][1]

    @property
    def num_tokens(self) -> int:
        return sum(stop - start for start, stop in self.runs)

    @property
    def num_patches(self) -> int:
        return prod(self.grid_thw)


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
        return dataset_of(self.key)

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


def dataset_of(key: str) -> str:
    """Of the sample with that key: dataset:index[.member][#repeat]."""
    return key.rpartition(":")[0]


def cut_segments(pack: Pack, constants: ModelConstants) -> list[Segment]:
    """The segments of a pack that `check_pack` accepts.

    Raises InvalidPack where the pad tokens of one image or video are torn apart, unless its family does so, or run over
    the end of a sample.
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


def alone(pack: Pack, segment: Segment) -> Pack:
    """One sample of a pack as a pack of its own; views into it where that is possible."""
    first_image, last_image = _rows(segment, "image")
    first_video, last_video = _rows(segment, "video")
    image_rows, video_rows = slice(first_image, last_image), slice(first_video, last_video)
    tokens = slice(segment.start, segment.stop)
    return Pack(
        input_ids=pack.input_ids[tokens],
        labels=pack.labels[tokens],
        position_ids=pack.position_ids[:, tokens],
        cu_seqlens=np.array([0, segment.stop - segment.start], np.int32),
        image_patches=pack.image_patches[_patches(pack.image_grid_thw, image_rows)],
        image_grid_thw=pack.image_grid_thw[image_rows],
        video_patches=pack.video_patches[_patches(pack.video_grid_thw, video_rows)],
        video_grid_thw=pack.video_grid_thw[video_rows],
        second_per_grid_ts=pack.second_per_grid_ts[video_rows],
        sample_keys=(segment.key,),
    )


def _rows(segment: Segment, kind: Literal["image", "video"]) -> tuple[int, int]:
    """Of the grids of its media of that kind, which follow each other in a pack."""
    rows = [span.index for span in segment.spans if span.kind == kind]
    return (min(rows), max(rows) + 1) if rows else (0, 0)


def _patches(grids: npt.NDArray[np.int32], rows: slice) -> slice:
    return slice(num_patches(grids[: rows.start]), num_patches(grids[: rows.stop]))


def _spans(pack: Pack, constants: ModelConstants, kind: Literal["image", "video"]) -> list[VisualSpan]:
    is_image, family = kind == "image", family_of(constants.model_type)
    grids = pack.image_grid_thw if is_image else pack.video_grid_thw
    pads = np.flatnonzero(pack.input_ids == (constants.image_token_id if is_image else constants.video_token_id))
    spans = []
    end = 0  # of the pads of all runs so far
    for index, (t, h, w) in enumerate(grids.tolist()):
        runs = []
        for run in ((t, h, w),) if is_image else family.video_runs((t, h, w)):
            size = constants.num_visual_tokens(prod(run))
            start, last = int(pads[end]), int(pads[end + size - 1])
            if last - start + 1 != size:
                first = pack.sample_keys[0]
                raise InvalidPack(f"pack starting with {first}: the tokens of {kind} {index} are torn apart")
            runs.append((start, last + 1))
            end += size
        seconds = None if is_image else float(pack.second_per_grid_ts[index])
        spans.append(VisualSpan(kind=kind, index=index, runs=tuple(runs), grid_thw=(t, h, w), second_per_grid=seconds))
    return spans
