"""One sample, measured and encoded. `measure` reads headers, `encode` reads pixels; both say the same counts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt

from preprocess.arithmetic.boxes import ImageFrame, rewrite_answers
from preprocess.arithmetic.chat import ChatEncoder
from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.geometry import grid_size, seconds_per_grid
from preprocess.arithmetic.grids import asked_limits, box_sides, clip, image_grid, sample_frames, video_grid
from preprocess.arithmetic.rope import num_positions, position_ids
from preprocess.arithmetic.runs import VisualRun
from preprocess.arithmetic.tokenizer import load_model_tokenizer
from preprocess.config import EncodingConfig
from preprocess.errors import PlanMismatch, Reason, SampleError
from preprocess.media.images import encode_image, measure_image
from preprocess.media.store import check_unchanged, describe, naming, stamp_of
from preprocess.media.videos.containers import check_video_pixels
from preprocess.media.videos.frames import chosen, decode_video, probe
from preprocess.media.videos.video import VideoHeader
from preprocess.pixels import resize_video
from preprocess.sample import (
    PLAIN,
    EncodedSample,
    MeasuredImage,
    MeasuredSample,
    MeasuredVideo,
    MediaSource,
    MediaStamp,
    MediumSettings,
    Note,
    Sample,
    Turn,
)
from shards import IGNORE_INDEX, ModelConstants, read_model_constants

_NO_STAMP = MediaStamp(num_bytes=0, version=0)
Patches = npt.NDArray[np.uint8]  # (num_patches, bytes of a patch)


class OldPatches(Protocol):
    """Patches of an earlier run, which are copied where they are the same."""

    def find(self, medium: MeasuredImage | MeasuredVideo) -> Patches | None:
        """(patches, bytes) of `medium`, or None where it was not decoded before. Raises FatalError."""
        ...


@dataclass(frozen=True)
class SampleEncoder:
    """Everything needed to turn samples into arrays. Holds a tokenizer, so each process makes its own."""

    config: EncodingConfig
    constants: ModelConstants
    chat: ChatEncoder
    old_patches: OldPatches | None = None
    most_text_tokens: int | None = None  # texts that have more for sure are refused before they are tokenized

    @classmethod
    def load(cls, model: Path, config: EncodingConfig) -> SampleEncoder:
        """Raises ConfigError or shards.ModelFolderError."""
        constants = read_model_constants(model)
        tokenizer = load_model_tokenizer(model)
        return cls(config, constants, ChatEncoder(tokenizer, constants, supervise_newline=config.supervise_newline))

    def measure(self, sample: Sample) -> MeasuredSample:
        """Exact counts from headers and text. Raises SampleError."""
        images = tuple(self._measure_image(each, sample.settings_of(n)) for n, each in enumerate(sample.images))
        first = len(images)
        videos = tuple(self._measure_video(each, sample.settings_of(n)) for n, each in enumerate(sample.videos, first))
        return self._count(sample, images, videos)

    def remeasure(self, measured: MeasuredSample) -> MeasuredSample:
        """A sample that was measured under other limits, under those of this encoder. Opens no file."""
        limits = self.config.image_limits(self.constants)
        images = tuple(
            replace(
                image,
                grid_thw=image_grid(image.height, image.width, asked_limits(limits, image.settings), self.constants),
            )
            for image in measured.images
        )
        videos = tuple(
            self._sampled(
                video.source,
                video.stamp,
                VideoHeader(num_frames=video.num_frames, fps=video.fps, height=video.height, width=video.width),
                video.settings,
            )
            for video in measured.videos
        )
        return self._count(measured.sample, images, videos)

    def _count(
        self, sample: Sample, images: tuple[MeasuredImage, ...], videos: tuple[MeasuredVideo, ...]
    ) -> MeasuredSample:
        text = self.chat.count(*self._conversation(sample, images, videos))
        if not text.num_answer_tokens:
            masked = any(turn.role == "assistant" and not turn.is_trained for turn in sample.turns)
            detail = "every answer is empty or left out of training" if masked else "every answer is empty"
            raise SampleError(Reason.NOTHING_TO_LEARN, detail)
        if videos and num_positions(text.runs, self.constants) > 1 << 31:
            raise SampleError(Reason.TOO_LONG, "its videos last too long together: positions are 32-bit integers")
        return MeasuredSample(
            sample=sample,
            images=images,
            videos=videos,
            num_tokens=text.num_tokens,
            num_label_tokens=text.num_label_tokens,
            num_image_patches=sum(prod(image.grid_thw) for image in images),
            num_video_patches=sum(prod(video.grid_thw) for video in videos),
        )

    def encode(self, measured: MeasuredSample) -> EncodedSample:
        """Decode, resize, cut into patches, tokenize.

        Raises SampleError for media, FatalError where they are not those that were measured, PlanMismatch for our own
        bugs.
        """
        constants = self.constants
        media: tuple[MeasuredImage | MeasuredVideo, ...] = (*measured.images, *measured.videos)
        _check_unchanged(measured)
        notes: list[Note] = []
        found = {medium: self._find_old(medium) for medium in media}
        try:
            image_patches = [
                _given(found[image], partial(encode_image, image, constants, self.config.picture_rules, notes.append))
                for image in measured.images
            ]
            video_patches = [_given(found[video], partial(self._encode_video, video)) for video in measured.videos]
        except SampleError:
            _check_unchanged(measured)  # what goes away while it is read is no fault of the sample
            raise
        text = self.chat.encode(*self._conversation(measured.sample, measured.images, measured.videos))
        encoded = EncodedSample(
            input_ids=text.input_ids,
            labels=text.labels,
            position_ids=position_ids(text.runs, constants),
            image_patches=_concatenate(image_patches, constants.image_patch_bytes),
            image_grid_thw=_grids(measured.images),
            video_patches=_concatenate(video_patches, constants.video_patch_bytes),
            video_grid_thw=_grids(measured.videos),
            second_per_grid_ts=np.array([video.second_per_grid for video in measured.videos], np.float64),
            num_reused=sum(patches is not None for patches in map(found.get, media)),
            notes=tuple(notes),
        )
        _check_counts(measured, encoded)
        return encoded

    def _find_old(self, medium: MeasuredImage | MeasuredVideo) -> Patches | None:
        return self.old_patches.find(medium) if self.old_patches is not None else None

    def _measure_image(self, source: MediaSource, settings: MediumSettings) -> MeasuredImage:
        config = self.config
        with naming(source):
            limits = asked_limits(config.image_limits(self.constants), settings)
        measured = measure_image(
            source, limits, self.constants, hash_content=config.hash_media, rules=config.picture_rules
        )
        return measured if settings == PLAIN else replace(measured, settings=settings)

    def _measure_video(self, source: MediaSource, settings: MediumSettings) -> MeasuredVideo:
        config, rules = self.config, self.config.picture_rules
        is_listed = settings.is_listed
        stamp = None if is_listed else stamp_of(source, hash_content=config.hash_media)
        header = probe(
            source, rules, fps=settings.fps, clamp_tail=config.video_tail == "clamp", times=config.video_times
        )
        with naming(source):
            measured = self._sampled(source, stamp or _NO_STAMP, header, settings)
        if not is_listed:
            return measured
        taken = chosen(source, measured.frame_indices, header, rules)
        return replace(measured, source=taken, stamp=stamp_of(taken, hash_content=config.hash_media))

    def _sampled(
        self, source: MediaSource, stamp: MediaStamp, header: VideoHeader, settings: MediumSettings
    ) -> MeasuredVideo:
        config, constants = self.config, self.constants
        indices = sample_frames(header.num_frames, header.fps, config.frame_sampling, constants, settings)
        _, num_within = clip(header.num_frames, header.fps, settings)
        limits = asked_limits(config.frame_limits(constants), settings)
        check_video_pixels(len(indices), header.height, header.width)
        return MeasuredVideo(
            source=source,
            stamp=stamp,
            height=header.height,
            width=header.width,
            grid_thw=video_grid(len(indices), header.height, header.width, limits, constants),
            num_frames=header.num_frames,
            fps=header.fps,
            frame_indices=indices,
            second_per_grid=seconds_per_grid(len(indices), num_within / header.fps, constants.temporal_patch_size),
            settings=settings,
        )

    def _encode_video(self, video: MeasuredVideo) -> npt.NDArray[np.uint8]:
        """(gt * gh * gw, 1176)"""
        size = grid_size(video.grid_thw, self.constants)
        frames = decode_video(video, self.config.video_decoder, self.config.picture_rules)
        return resize_video(frames, len(video.frame_indices), size, self.constants)

    def _conversation(
        self, sample: Sample, images: tuple[MeasuredImage, ...], videos: tuple[MeasuredVideo, ...]
    ) -> tuple[Sequence[Turn], list[VisualRun], list[Sequence[str | VisualRun]], tuple[str, ...]]:
        """What `ChatEncoder` encodes, or counts."""
        frames = [self._frame(image) for image in images] if sample.boxes != "none" else []
        turns = rewrite_answers(sample.turns, sample.boxes, frames, sample.placed)
        self._refuse_long(turns, sample.allow_tokens)
        return (
            turns,
            [VisualRun(grid_thw=image.grid_thw, second_per_grid=0.0) for image in images],
            [self._pieces(video) for video in videos],
            sample.allow_tokens,
        )

    def spelled_turns(self, measured: MeasuredSample) -> Sequence[Turn]:
        """The conversation as its template has it: coordinates rewritten, tools as turns of the three plain roles."""
        turns, *_ = self._conversation(measured.sample, measured.images, measured.videos)
        return family_of(self.constants.model_type).spell_tools(turns)

    def num_special_as_text(self, sample: Sample) -> int:
        """How many special tokens of the model stand in its texts and are taken for text."""
        return self.chat.num_special_as_text(sample.turns, sample.allow_tokens)

    def _refuse_long(self, turns: Sequence[Turn], allowed: tuple[str, ...]) -> None:
        """Raises SampleError. To tokenize tens of megabytes takes minutes, and memory for a hundred times as much."""
        if self.most_text_tokens is None:
            return
        least = self.chat.least_tokens(turns, allowed)
        if least > self.most_text_tokens:
            raise SampleError(
                Reason.TOO_LONG,
                f"its text has {sum(len(turn.text) for turn in turns):,} characters, which are at least {least:,} "
                f"tokens; pack_length is {self.most_text_tokens}; split the conversation",
            )

    def _pieces(self, video: MeasuredVideo) -> Sequence[str | VisualRun]:
        family = family_of(self.constants.model_type)
        return family.video_pieces(video.grid_thw, video.frame_indices, video.fps, video.second_per_grid)

    def _frame(self, image: MeasuredImage) -> ImageFrame:
        box_height, box_width = box_sides(image.grid_thw, self.constants)
        return ImageFrame(
            name=describe(image.source),
            height=image.height,
            width=image.width,
            orientation=image.orientation,
            box_height=box_height,
            box_width=box_width,
        )


def _given(found: Patches | None, make: Callable[[], Patches]) -> Patches:
    return make() if found is None else found


def _concatenate(patches: list[npt.NDArray[np.uint8]], width: int) -> npt.NDArray[np.uint8]:
    if len(patches) == 1:  # mostly: spares a copy
        return patches[0]
    return np.concatenate(patches) if patches else np.zeros((0, width), np.uint8)


def _grids(media: tuple[MeasuredImage, ...] | tuple[MeasuredVideo, ...]) -> npt.NDArray[np.int32]:
    return np.array([medium.grid_thw for medium in media], np.int32).reshape(-1, 3)


def _check_unchanged(measured: MeasuredSample) -> None:
    media: tuple[MeasuredImage | MeasuredVideo, ...] = (*measured.images, *measured.videos)
    for medium in media:
        check_unchanged(medium.source, medium.stamp, measured.sample.key())


def _check_counts(measured: MeasuredSample, encoded: EncodedSample) -> None:
    planned = (
        measured.num_tokens,
        measured.num_label_tokens,
        measured.num_image_patches,
        measured.num_video_patches,
    )
    got = (
        len(encoded.input_ids),
        int(np.count_nonzero(encoded.labels != IGNORE_INDEX)),
        len(encoded.image_patches),
        len(encoded.video_patches),
    )
    if planned != got:
        raise PlanMismatch(
            f"{measured.sample.key()}: tokens, label tokens, image patches, video patches are {got}, planned {planned}"
        )
