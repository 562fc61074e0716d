"""Raw record -> validated Sample. Everything that can be wrong with a record without decoding its media."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from preprocess.arithmetic.chat import count_tags
from preprocess.errors import Reason, SampleError
from preprocess.read.columns import renamed
from preprocess.read.forms.near_miss import ignored_keys, named, refuse_near_misses
from preprocess.read.forms.objects import with_objects
from preprocess.read.forms.table import read_form
from preprocess.read.forms.training_flags import with_loss_turns
from preprocess.read.forms.written import WrittenTurn, keys_in_words, kind_of
from preprocess.read.media import locate_media
from preprocess.read.registry import Dataset
from preprocess.read.tags import before_first_question, mean_videos, with_video_tags
from preprocess.sample import ANSWER_ROLES, MEDIA_ROLES, PLAIN, Note, Role, Sample, Turn


def split_members(record: Any) -> Iterator[tuple[int | None, Any]]:
    """A plain record as (None, record); a ready-made pack as its numbered members."""
    if isinstance(record, list):
        yield from enumerate(record)
    else:
        yield None, record


@dataclass(frozen=True, kw_only=True, slots=True)
class ReadRecord:
    """A sample, and what should be said about the way in which it came."""

    sample: Sample
    ignored_keys: tuple[str, ...]  # of the record, and as turn.KEY and part.KEY of what stands in it
    notes: tuple[Note, ...]


def parse_record(record: Any, dataset: Dataset, index: int, member: int | None) -> Sample:
    """The sample alone. Raises SampleError."""
    return read_record(record, dataset, index, member).sample


def read_record(record: Any, dataset: Dataset, index: int, member: int | None) -> ReadRecord:
    """Validate one record. Raises SampleError with the reason and what to change."""
    if isinstance(record, SampleError):
        raise record
    if not isinstance(record, dict):
        raise SampleError(Reason.BAD_JSON, f"a record must be an object, this is {kind_of(record)}")
    record = renamed(record, dataset.columns)
    refuse_near_misses(record)
    written = with_objects(record, read_form(record), dataset.boxes)
    spoken = with_loss_turns(written.turns, record, dataset.loss_turns)
    turns = tuple(_turn(number, turn, dataset) for number, turn in enumerate(spoken))
    _check_roles(turns)
    located = [locate_media(written, kind, record, dataset) for kind in ("image", "video")]
    images, videos = (tuple(medium.source for medium in media) for media in located)
    settings = tuple(medium.settings for media in located for medium in media)
    notes = list(written.notes) + ["assumed_rates" for medium in located[1] if medium.is_rate_assumed]
    if mean_videos(turns, len(images), len(videos)):
        turns = with_video_tags(turns)
        notes.append("image_tags_for_videos")
    if written.is_untagged or dataset.media_position == "start":
        turns = before_first_question(turns, len(images), len(videos))
    _check_tags(turns, len(images), len(videos), record)
    sample = Sample(
        dataset=dataset.name,
        index=index,
        member=member,
        turns=turns,
        images=images,
        videos=videos,
        boxes=dataset.boxes,
        allow_tokens=tuple(dataset.allow_tokens),
        placed=written.placed,
        settings=settings if any(each != PLAIN for each in settings) else (),
    )
    used = {*written.used, *(medium.rate_key for media in located for medium in media)}
    ignored = [key for key in ignored_keys(record) if key not in used]
    ignored += [named(key) for turn in written.turns for key in turn.ignored]
    return ReadRecord(sample=sample, ignored_keys=tuple(ignored), notes=tuple(notes))


def _turn(number: int, turn: WrittenTurn, dataset: Dataset) -> Turn:
    text = turn.text
    if turn.reasoning:
        if dataset.reasoning != "train":
            raise SampleError(
                Reason.UNSUPPORTED,
                f"turn {number} has reasoning_content; `reasoning: train` in the registry has it learned",
            )
        text = f"<think>\n{turn.reasoning}\n</think>\n\n{text}"
    return Turn(role=turn.role, text=text, is_trained=turn.is_trained)


def _check_roles(turns: tuple[Turn, ...]) -> None:
    """[system] then user and assistant in turn, ending with assistant."""
    if all(turn.role in ("system", "tools") for turn in turns):
        raise SampleError(Reason.NO_TURNS, "there is no turn but the system's")
    spoken = turns[1:] if turns[0].role == "system" else turns
    spoken = spoken[1:] if spoken[0].role == "tools" else spoken
    if any(turn.role in ("call", "tool") for turn in spoken):
        _check_tool_roles(spoken, len(turns) - len(spoken))
        return
    for number, turn in enumerate(spoken):
        expected = ("user", "assistant")[number % 2]
        if turn.role != expected:
            position = number + len(turns) - len(spoken)
            raise SampleError(Reason.ROLE_ORDER, f"turn {position} is {turn.role}'s where {expected}'s is due")
    if spoken[-1].role != "assistant":
        raise SampleError(Reason.ROLE_ORDER, f"the last of {len(turns)} turns is the user's; there is no answer to it")


_FOLLOWERS: Mapping[Role, tuple[Role, ...]] = {
    "user": ("assistant", "call"),
    "assistant": ("user", "call"),
    "call": ("call", "tool"),
    "tool": ("tool", "assistant", "call"),
}


def _check_tool_roles(spoken: tuple[Turn, ...], num_before: int) -> None:
    """The same with calls, which end an answer, and their results, which another answer follows."""
    due: tuple[Role, ...] = ("user",)
    for number, turn in enumerate(spoken):
        if turn.role not in due:
            where = f"turn {number + num_before}, where calls count as turns,"
            raise SampleError(Reason.ROLE_ORDER, f"{where} is {turn.role}'s where {' or '.join(due)}'s is due")
        before = spoken[number - 1]
        if number and {before.role, turn.role} <= set(ANSWER_ROLES) and before.is_trained != turn.is_trained:
            raise SampleError(Reason.UNSUPPORTED, "an answer and its call are one turn; train both or none")
        due = _FOLLOWERS.get(turn.role, ())
    if spoken[-1].role not in ANSWER_ROLES:
        raise SampleError(Reason.ROLE_ORDER, f"the last turn is {spoken[-1].role}'s; there is no answer to it")


def _check_tags(turns: tuple[Turn, ...], num_images: int, num_videos: int, record: Mapping[str, Any]) -> None:
    image_tags = video_tags = 0
    for number, turn in enumerate(turns):
        images, videos = count_tags(turn.text)
        if turn.role not in MEDIA_ROLES and (images or videos):
            raise SampleError(Reason.MISPLACED_TAG, f"turn {number} is {turn.role}'s and holds a media tag")
        image_tags, video_tags = image_tags + images, video_tags + videos
    for kind, tags, given in (("image", image_tags, num_images), ("video", video_tags, num_videos)):
        if tags != given:
            advice = ""
            if not num_images + num_videos and ignored_keys(record):
                advice = f"{keys_in_words(record)}. Media under other names can be mapped by `columns`"
            elif not image_tags + video_tags:
                advice = "; `media_position: start` in the registry puts media before the first question"
            raise SampleError(Reason.TAG_COUNT, f"{tags} <{kind}> tags for {given} {kind}s{advice}")
