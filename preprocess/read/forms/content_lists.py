"""Turns whose content is a list of parts, as chat services take them: text, and media in place.

    [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What is this?"}]      one of its own
    [{"type": "image"}, {"type": "text", "text": "What is this?"}]                        the next of the record's
    [{"type": "image_url", "image_url": {"url": "a.png"}}, ...]

Each becomes the text of the Qwen form: a tag where the medium stands, texts joined without anything between them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from preprocess.arithmetic.chat import IMAGE_TAG, VIDEO_TAG
from preprocess.errors import Reason, SampleError
from preprocess.media.store import is_placeholder
from preprocess.read.forms.written import MediumKind, WrittenMedium, kind_of

_KIND_OF_TYPE: Mapping[str, MediumKind] = {
    "image": "image",
    "image_url": "image",
    "video": "video",
    "video_url": "video",
}
_TAGS: Mapping[MediumKind, str] = {"image": IMAGE_TAG, "video": VIDEO_TAG}
_KINDS: Mapping[str, MediumKind] = {tag: kind for kind, tag in _TAGS.items()}
_PLACES = ("url", "path")  # where a part of any type may name its medium
# What a part may say of its medium, and nothing here follows.
_UNFOLLOWED = (
    *("min_pixels", "max_pixels", "total_pixels", "resized_height", "resized_width"),
    *("fps", "nframes", "min_frames", "max_frames", "video_start", "video_end", "sample_fps"),
)


@dataclass(frozen=True, kw_only=True, slots=True)
class SpelledParts:
    """The content of a turn as text with tags."""

    text: str
    slots: tuple[WrittenMedium | MediumKind, ...]  # for each tag its medium; a kind alone: the next one of the record's
    ignored: tuple[str, ...] = ()

    @classmethod
    def of_text(cls, text: str) -> SpelledParts:
        return cls(text=text, slots=_slots_of(text))


def spell_parts(content: Sequence[Any], where: str) -> SpelledParts:
    """Raises SampleError."""
    spelled = [_spell_part(part, where) for part in content]
    return SpelledParts(
        text="".join(part.text for part in spelled),
        slots=tuple(chain.from_iterable(part.slots for part in spelled)),
        ignored=tuple(chain.from_iterable(part.ignored for part in spelled)),
    )


def in_order(turns: Sequence[SpelledParts], top_level: Sequence[WrittenMedium]) -> tuple[WrittenMedium, ...]:
    """The media of a record, those of each kind in the order of its tags; what no tag asks for comes last."""
    slots = [slot for turn in turns for slot in turn.slots]
    if not any(isinstance(slot, WrittenMedium) for slot in slots):
        return tuple(top_level)
    left = list(top_level)
    media = []
    for slot in slots:
        medium = slot if isinstance(slot, WrittenMedium) else next((each for each in left if each.kind == slot), None)
        if medium is not None:  # else there are more tags than media, and the record is rejected for that
            media.append(medium)
        if medium is not slot and medium is not None:
            left.remove(medium)
    return (*media, *left)


def _spell_part(part: Any, where: str) -> SpelledParts:
    if not isinstance(part, dict):
        raise SampleError(Reason.BAD_JSON, f"{where} has a part that is {kind_of(part)}; each must be an object")
    given = {key: value for key, value in part.items() if value is not None}  # a table has all keys in all parts
    type_ = given.get("type") or next((key for key in ("text", *_KIND_OF_TYPE) if key in given), None)
    if type_ == "text" and isinstance(given.get("text"), str):
        ignored = tuple(f"part.{key}" for key in given if key not in ("type", "text"))
        return SpelledParts(text=given["text"], slots=_slots_of(given["text"]), ignored=ignored)
    if type_ == "text":
        raise SampleError(Reason.BAD_JSON, f"{where} has a text part whose text is {kind_of(part.get('text'))}")
    if not isinstance(type_, str) or type_ not in _KIND_OF_TYPE:
        known = ", ".join(("text", *_KIND_OF_TYPE))
        raise SampleError(Reason.BAD_JSON, f"{where} has a part of type {type_!r}; known are {known}")
    unfollowed = next((key for key in _UNFOLLOWED if key in given), None)
    if unfollowed:
        raise SampleError(
            Reason.UNSUPPORTED,
            f"{where} says {unfollowed!r} of a single {_KIND_OF_TYPE[type_]}; limits are those of the run",
        )
    return _spell_medium(_KIND_OF_TYPE[type_], type_, given)


def _spell_medium(kind: MediumKind, type_: str, given: Mapping[str, Any]) -> SpelledParts:
    places = (type_, *_PLACES)
    value = next((given[key] for key in places if key in given), None)
    if isinstance(value, dict) and (isinstance(value.get("url"), str) or is_placeholder(value.get("url"))):
        value = value["url"]
    slot = kind if value in (None, "") else WrittenMedium(kind=kind, value=value)
    ignored = tuple(f"part.{key}" for key in given if key not in ("type", "text", *places))
    return SpelledParts(text=_TAGS[kind], slots=(slot,), ignored=ignored)


def _slots_of(text: str) -> tuple[MediumKind, ...]:
    if "<" not in text:
        return ()
    return tuple(_KINDS[tag] for tag in re.findall(f"{IMAGE_TAG}|{VIDEO_TAG}", text))
