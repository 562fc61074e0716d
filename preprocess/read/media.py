"""Media as they are written -> where they are, with what their record or dataset asks of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.media.frame_lists import list_of, names_in_folder
from preprocess.media.store import locate
from preprocess.read.forms.frame_lists import FrameFiles, rate_of
from preprocess.read.forms.written import MediumKind, Written, WrittenMedium, kind_of
from preprocess.read.registry import Dataset
from preprocess.sample import PLAIN, MediaSource, MediumSettings

_ASSUMED_RATE = 1.0  # frames a second of a list that says nothing


@dataclass(frozen=True, kw_only=True, slots=True)
class Located:
    source: MediaSource
    settings: MediumSettings
    rate_key: str = ""  # of the record, which says the rate of a list of frames
    is_rate_assumed: bool = False


def locate_media(written: Written, kind: MediumKind, record: Mapping[str, Any], dataset: Dataset) -> list[Located]:
    """Those of a kind, in the order of their tags. Raises SampleError."""
    media = written.of_kind(kind)
    return [_located(medium, number, len(media), record, dataset) for number, medium in enumerate(media)]


def _located(
    medium: WrittenMedium, number: int, num_media: int, record: Mapping[str, Any], dataset: Dataset
) -> Located:
    settings = _with_dataset(medium, dataset)
    frames = _frames(medium, dataset) if medium.kind == "video" else None
    if frames is None:
        return Located(source=_source(medium.value, medium.kind, dataset), settings=settings)
    fps, key = medium.settings.fps, ""
    if medium.times is not None:
        fps, _ = rate_of({"times": medium.times}, 0, 1, len(frames))
    if not fps:
        fps, key = rate_of(record, number, num_media, len(frames))
    fps = fps or dataset.fps or 0.0
    settings = replace(settings, fps=fps or _ASSUMED_RATE, is_listed=True)
    source = list_of([_source(frame, "frame", dataset) for frame in frames])
    return Located(source=source, settings=settings, rate_key=key, is_rate_assumed=not fps)


def _frames(medium: WrittenMedium, dataset: Dataset) -> tuple[Any, ...] | None:
    """Of a video that is a list of pictures, or a folder of them."""
    value = medium.value
    if isinstance(value, FrameFiles):
        return value.frames
    if not isinstance(value, str) or not value:
        return None
    names = names_in_folder(value, dataset.data_path, follow_links=dataset.follow_links)
    return None if names is None else tuple(names)


def _with_dataset(medium: WrittenMedium, dataset: Dataset) -> MediumSettings:
    """What the dataset asks where the record does not."""
    own = medium.settings
    asked = replace(
        own, min_pixels=own.min_pixels or dataset.min_pixels or 0, max_pixels=own.max_pixels or dataset.max_pixels or 0
    )
    if medium.kind == "video" and not own.num_frames and not own.fps:
        asked = replace(asked, num_frames=dataset.nframes or 0, fps=dataset.fps or 0.0)
    return PLAIN if asked == PLAIN else asked


def _source(item: Any, kind: str, dataset: Dataset) -> MediaSource:
    if isinstance(item, MediaSource):
        return item
    if not isinstance(item, str) or not item:
        raise SampleError(Reason.BAD_JSON, f"each {kind} must be a path; one is {kind_of(item)}")
    return locate(item, dataset.data_path, follow_links=dataset.follow_links, path_case=dataset.path_case)
