"""The shape that every form gives: what was said, and the media as they are written, before anything is located."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from numbers import Number
from typing import Any, Literal

from preprocess.errors import Reason, SampleError
from preprocess.media.store import is_placeholder, reveal
from preprocess.read.forms.frame_lists import as_videos
from preprocess.sample import PLAIN, MediumSettings, Note, PlacedBox, Role

MediumKind = Literal["image", "video"]
_MOST_NAMED, _LONGEST_NAMED = 10, 40  # keys in a message, and characters of each
MEDIA_KEYS: Mapping[MediumKind, tuple[str, str]] = {"image": ("image", "images"), "video": ("video", "videos")}


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenTurn:
    role: Role
    text: str  # with <image> and <video> where its media stand
    is_trained: bool = True  # means something for answers
    reasoning: str = ""  # what an answer thinks before its text
    ignored: tuple[str, ...] = ()  # keys that it has and that mean nothing to us


@dataclass(frozen=True, kw_only=True, slots=True)
class WrittenMedium:
    kind: MediumKind
    value: Any  # a path, a source that a reader knows, or FrameFiles; anything else is the record's fault
    settings: MediumSettings = PLAIN  # what its part asks of it
    times: Any = None  # of a list of frames, as its part says them


@dataclass(frozen=True, kw_only=True, slots=True)
class Written:
    """A record as its form reads it."""

    turns: tuple[WrittenTurn, ...]
    media: tuple[WrittenMedium, ...]  # those of a kind in the order of its tags
    is_untagged: bool = False  # the form has no tags: its media stand before the first question
    placed: tuple[PlacedBox, ...] = ()
    used: tuple[str, ...] = ()  # keys of the record that mean something here and not in every one of its form
    notes: tuple[Note, ...] = ()

    def of_kind(self, kind: MediumKind) -> tuple[WrittenMedium, ...]:
        return tuple(medium for medium in self.media if medium.kind == kind)


@dataclass(frozen=True, kw_only=True, slots=True)
class Form:
    """One way to write records down: a line of `FORMS`."""

    name: str  # for messages
    keys: tuple[str, ...]  # of a record, which mean something in this form, beside those of `COMMON_KEYS`
    recognises: Callable[[Mapping[str, Any]], bool]  # by the keys that hold something
    read: Callable[[Mapping[str, Any]], Written]  # raises SampleError


def top_level_media(record: Mapping[str, Any]) -> tuple[WrittenMedium, ...]:
    """Those under `image` or `images`, then those under `video` or `videos`. Raises SampleError."""
    given = {
        kind: only_one({key: revealed(as_written_list(record.get(key))) for key in keys}, keys)
        for kind, keys in MEDIA_KEYS.items()
    }
    videos = as_videos(given["video"]) if isinstance(given["video"], list) else given["video"]
    return (
        *(WrittenMedium(kind="image", value=value) for value in _as_list(given["image"])),
        *(WrittenMedium(kind="video", value=value) for value in _as_list(videos)),
    )


def revealed(value: Any) -> Any:
    """With sources in the place of a reader's placeholders, also in lists."""
    return list(map(revealed, value)) if isinstance(value, list) else reveal(value)


def _as_list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def as_written_list(value: Any) -> Any:
    """The list that a text holds as JSON, as tables have it; any other value as it is."""
    if not isinstance(value, str) or not value.lstrip().startswith("["):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def text_of(record: Mapping[str, Any], key: str) -> str:
    """Raises SampleError."""
    text = record.get(key)
    if not isinstance(text, str):
        raise SampleError(Reason.BAD_JSON, f"{key!r} must be a string, not {kind_of(text)}")
    return check_text(text, repr(key))


def only_one(record: Mapping[str, Any], spellings: Iterable[str]) -> Any:
    """The value under whichever spelling is used; None for null, empty and absent ones."""
    given = [key for key in spellings if holds_something(record, key)]
    if len(given) > 1:
        raise SampleError(Reason.BAD_JSON, f"both {given[0]!r} and {given[1]!r} are given; keep one")
    return record[given[0]] if given else None


def holds_something(record: Mapping[str, Any], key: str) -> bool:
    return record.get(key) not in (None, [], "")


def check_text(text: str, where: str) -> str:
    """`text`, which can be written as UTF-8. Raises SampleError, naming the place."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SampleError(Reason.BAD_JSON, f"{where} holds half a surrogate pair at {error.start}") from None
    return text


def keys_in_words(record: Mapping[str, Any]) -> str:
    """What a record or turn has, to go on a message: ends it where there is none."""
    if not record:
        return ""
    more = ", ..." if len(record) > _MOST_NAMED else ""
    return f"; its keys are {', '.join(repr(key[:_LONGEST_NAMED]) for key in list(record)[:_MOST_NAMED])}{more}"


def kind_of(value: Any) -> str:
    if value == "":
        return "an empty string"
    if is_placeholder(value):
        return "a medium"
    names = {dict: "an object", list: "a list", str: "a string", type(None): "nothing", bool: "a boolean"}
    return names.get(type(value), "a number" if isinstance(value, Number) else type(value).__name__)
