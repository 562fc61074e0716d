"""Raw record -> validated Sample. Everything that can be wrong with a record without decoding its media."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from preprocess.arithmetic.chat import count_tags
from preprocess.errors import Reason, SampleError
from preprocess.media.store import locate, reveal
from preprocess.read.forms.near_miss import refuse_near_misses
from preprocess.read.forms.qwen import IMAGE_KEYS, VIDEO_KEYS, kind_of, only_one, read_turns
from preprocess.read.registry import Dataset
from preprocess.sample import MediaSource, Sample, Turn


def split_members(record: Any) -> Iterator[tuple[int | None, Any]]:
    """A plain record as (None, record); a ready-made pack as its numbered members."""
    if isinstance(record, list):
        yield from enumerate(record)
    else:
        yield None, record


def parse_record(record: Any, dataset: Dataset, index: int, member: int | None) -> Sample:
    """Validate one record. Raises SampleError with the reason and what to change."""
    if isinstance(record, SampleError):
        raise record
    if not isinstance(record, dict):
        raise SampleError(Reason.BAD_JSON, f"a record must be an object, this is {kind_of(record)}")
    refuse_near_misses(record)
    turns = read_turns(record)
    _check_roles(turns)
    images = _media(record, IMAGE_KEYS, dataset)
    videos = _media(record, VIDEO_KEYS, dataset)
    _check_tags(turns, len(images), len(videos))
    return Sample(
        dataset=dataset.name,
        index=index,
        member=member,
        turns=turns,
        images=images,
        videos=videos,
        boxes=dataset.boxes,
    )


def _check_roles(turns: tuple[Turn, ...]) -> None:
    """[system] then user and assistant in turn, ending with assistant."""
    if all(turn.role == "system" for turn in turns):
        raise SampleError(Reason.NO_TURNS, "there is no turn but the system's")
    spoken = turns[1:] if turns[0].role == "system" else turns
    for number, turn in enumerate(spoken):
        expected = ("user", "assistant")[number % 2]
        if turn.role != expected:
            position = number + len(turns) - len(spoken)
            raise SampleError(Reason.ROLE_ORDER, f"turn {position} is {turn.role}'s where {expected}'s is due")
    if spoken[-1].role != "assistant":
        raise SampleError(Reason.ROLE_ORDER, f"the last of {len(turns)} turns is the user's; there is no answer to it")


def _check_tags(turns: tuple[Turn, ...], num_images: int, num_videos: int) -> None:
    image_tags = video_tags = 0
    for number, turn in enumerate(turns):
        images, videos = count_tags(turn.text)
        if turn.role != "user" and (images or videos):
            raise SampleError(Reason.MISPLACED_TAG, f"turn {number} is {turn.role}'s and holds a media tag")
        image_tags, video_tags = image_tags + images, video_tags + videos
    for kind, tags, given in (("image", image_tags, num_images), ("video", video_tags, num_videos)):
        if tags != given:
            raise SampleError(Reason.TAG_COUNT, f"{tags} <{kind}> tags for {given} {kind}s")


def _media(record: dict[str, Any], keys: tuple[str, str], dataset: Dataset) -> tuple[MediaSource, ...]:
    raw = only_one({key: _revealed(record.get(key)) for key in keys}, keys)
    items = raw if isinstance(raw, list) else [] if raw is None else [raw]
    return tuple(_source(item, keys[0], dataset) for item in items)


def _revealed(value: Any) -> Any:
    return list(map(reveal, value)) if isinstance(value, list) else reveal(value)


def _source(item: Any, kind: str, dataset: Dataset) -> MediaSource:
    if isinstance(item, MediaSource):
        return item
    if not isinstance(item, str) or not item:
        raise SampleError(Reason.BAD_JSON, f"each {kind} must be a path; one is {kind_of(item)}")
    return locate(item, dataset.data_path, follow_links=dataset.follow_links)
