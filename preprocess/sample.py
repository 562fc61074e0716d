"""The types of the data path, in the order in which a sample passes through them.

    registry, annotations   -> Sample           a validated conversation and where its media are
    measure (headers only)  -> MeasuredSample   exact counts: what packing and the plan need
    encode (pixels)         -> EncodedSample    the arrays of one sample
    materialise             -> shards.Pack      samples one after another: the row that is written

Shape suffixes: S tokens, I images, V videos, Pi image patches, Pv video patches.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from shards import PackCounts
from shards.files.records import Record

Role = Literal["system", "user", "assistant", "tools", "call", "tool"]
"""Of tools: what may be called (after the system's), a call (part of an answer), a result. All but results are JSON."""
ANSWER_ROLES: tuple[Role, ...] = ("assistant", "call")
MEDIA_ROLES: tuple[Role, ...] = ("user", "tool")
BoxMode = Literal["none", "original", "relative_1000"]
"""What coordinates in answers mean: nothing to us, pixels of the original image, thousandths of its sides."""
Note = Literal[
    "image_tags_for_videos",
    "other_answers",
    "answers_with_boxes",
    "boxes_rewritten",
    "samples_without_boxes",
    "boxes_left_alone",
    "special_as_text",
    "assumed_rates",
    "grey_as_is",
    "grey_12_bits",
    "grey_high_byte",
]
"""What the run counts for each dataset, because someone should know: `report/terminal.py` says it in words."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    role: Role
    text: str  # verbatim; media tags stand in questions and results only
    is_trained: bool = True  # of an answer: False leaves it out of the labels


@dataclass(frozen=True, kw_only=True, slots=True)
class PlacedBox:
    """What a <bbox> in the text stands for."""

    numbers: tuple[float, ...]  # x1, y1, x2, y2, or x, y: of the stored image
    image: int  # of the sample's; -1: its only one
    width: float  # of the stored image, in the unit of the numbers; 0: they are its pixels
    height: float


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaSource:
    """Where the bytes of an image or video are. What the fields mean is the affair of its kind: the others pass it on,
    and ask `preprocess/media/store.py`, also for what messages call it.

    Its plan keeps these fields and no others, so a kind must be told by them: files have an absolute `path` alone.
    """

    path: str
    row: int = -1
    column: str = ""
    item: int = 0

    def to_json(self) -> dict[str, Any]:
        """The fields that are not as they are in a file."""
        return {"path": self.path} | {
            name: value
            for name, value, default in (("row", self.row, -1), ("column", self.column, ""), ("item", self.item, 0))
            if value != default
        }

    @classmethod
    def from_record(cls, record: Record) -> MediaSource:
        """Of `to_json`. Raises FieldError."""
        record.only(cls.__slots__)
        given = record.values
        return cls(
            path=record.text("path"),
            row=record.integer("row", -1) if "row" in given else -1,
            column=record.text("column") if "column" in given else "",
            item=record.integer("item") if "item" in given else 0,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class MediumSettings:
    """What a record or its dataset asks of a single medium; 0 leaves it to the run."""

    min_pixels: int = 0  # of an image, or of each frame of a video
    max_pixels: int = 0
    num_frames: int = 0  # of a video: how many frames
    fps: float = 0.0  # sampled frames per second; of a list of frames: those that it holds
    start: float = 0.0  # seconds at which to begin
    end: float = 0.0  # and to end
    is_listed: bool = False  # a list of frames, all of which count as far as the limits let them


PLAIN = MediumSettings()


@dataclass(frozen=True, kw_only=True, slots=True)
class Sample:
    """One conversation. The n-th <image> tag over all user turns means images[n]; videos likewise."""

    dataset: str
    index: int  # record number in the annotation file, from 0
    member: int | None  # position in a ready-made pack; None for a plain record
    turns: tuple[Turn, ...]  # as annotated: coordinates in them are not those of the resized image
    images: tuple[MediaSource, ...]
    videos: tuple[MediaSource, ...]
    boxes: BoxMode = "none"
    allow_tokens: tuple[str, ...] = ()  # special tokens that are themselves in its texts; all others are text
    placed: tuple[PlacedBox, ...] = ()  # for each <bbox> over all turns, where there are any
    settings: tuple[MediumSettings, ...] = ()  # of each image, then of each video, where any of them has some

    def settings_of(self, number: int) -> MediumSettings:
        """Of a medium, the images counted first."""
        return self.settings[number] if self.settings else PLAIN

    def key(self, repeat: int = 0) -> str:
        """dataset:index[.member][#repeat]"""
        return sample_key(self.dataset, self.index, self.member) + (f"#{repeat}" if repeat else "")


def sample_key(dataset: str, index: int, member: int | None) -> str:
    """dataset:index[.member]"""
    return f"{dataset}:{index}" + ("" if member is None else f".{member}")


@dataclass(frozen=True, kw_only=True, slots=True)
class MediaStamp:
    """What tells a changed source from an unchanged one."""

    num_bytes: int
    version: int  # 64 bits, opaque: of a file the time of its last change
    sha256: str = ""  # of the medium's bytes; empty unless `hash_media` is set


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredImage:
    source: MediaSource
    stamp: MediaStamp
    height: int  # pixels, upright (after the EXIF orientation)
    width: int
    grid_thw: tuple[int, int, int]  # patches; t is 1
    orientation: int = 1  # EXIF, 1 to 8: how the stored image was turned upright
    settings: MediumSettings = PLAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredVideo:
    source: MediaSource
    stamp: MediaStamp
    height: int  # pixels, upright (after the display rotation)
    width: int
    grid_thw: tuple[int, int, int]  # patches
    num_frames: int  # N: of the header, or of the packets where the header says none
    fps: float  # frames per second
    frame_indices: tuple[int, ...]  # in presentation order, strictly increasing
    second_per_grid: float  # seconds per temporal patch
    settings: MediumSettings = PLAIN


@dataclass(frozen=True, kw_only=True, slots=True)
class MeasuredSample:
    sample: Sample
    images: tuple[MeasuredImage, ...]
    videos: tuple[MeasuredVideo, ...]
    num_tokens: int
    num_label_tokens: int
    num_image_patches: int
    num_video_patches: int

    @property
    def num_patches(self) -> int:
        return self.num_image_patches + self.num_video_patches

    @property
    def counts(self) -> PackCounts:
        """What this sample adds to the sums of its pack."""
        return PackCounts(
            num_samples=1,
            num_tokens=self.num_tokens,
            num_label_tokens=self.num_label_tokens,
            num_images=len(self.images),
            num_videos=len(self.videos),
            num_image_patches=self.num_image_patches,
            num_video_patches=self.num_video_patches,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodedSample:
    input_ids: npt.NDArray[np.int32]  # (S,)
    labels: npt.NDArray[np.int32]  # (S,) shards.IGNORE_INDEX where no loss
    position_ids: npt.NDArray[np.int32]  # (3, S) temporal, height, width
    image_patches: npt.NDArray[np.uint8]  # (Pi, 588)
    image_grid_thw: npt.NDArray[np.int32]  # (I, 3)
    video_patches: npt.NDArray[np.uint8]  # (Pv, 1176)
    video_grid_thw: npt.NDArray[np.int32]  # (V, 3)
    second_per_grid_ts: npt.NDArray[np.float64]  # (V,)
    num_reused: int = 0  # media whose patches were copied from an earlier run
    notes: tuple[Note, ...] = ()  # how its other media were decoded
