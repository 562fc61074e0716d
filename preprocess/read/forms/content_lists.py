"""Turns whose content is a list of parts, as chat services take them: text, and media in place.

    [{"type": "image", "image": "a.png"}, {"type": "text", "text": "What is this?"}]      one of its own
    [{"type": "image"}, {"type": "text", "text": "What is this?"}]                        the next of the record's
    [{"type": "image_url", "image_url": {"url": "a.png"}}, ...]

Each becomes the text of the Qwen form: a tag where the medium stands, texts joined without anything between them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

from preprocess.arithmetic.chat import IMAGE_TAG, VIDEO_TAG
from preprocess.errors import Reason, SampleError
from preprocess.media.store import is_placeholder
from preprocess.read.forms.frame_lists import FrameFiles, frames_in
from preprocess.read.forms.medium_settings import PIXEL_KEYS, VIDEO_KEYS, settings_of
from preprocess.read.forms.written import MediumKind, WrittenMedium, as_written_list, kind_of, revealed
from preprocess.sample import PLAIN

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
_UNFOLLOWED = ("total_pixels", "resized_height", "resized_width", "min_frames", "max_frames")
_RATE_OF_LIST, _TIMES = "sample_fps", "times"  # of a list of frames; the first is `fps` by another name


@dataclass(frozen=True, kw_only=True, slots=True)
class SpelledParts:
    """The content of a turn as text with tags."""

    text: str
    # For each tag its medium; a kind alone: the next one of the record's; a medium without a value: the same, and what
    # is asked of it.
    slots: tuple[WrittenMedium | MediumKind, ...]
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


def written_parts(content: Any) -> Any:
    """The list of parts that a text holds as JSON, as tables have it; any other content as it is."""
    if not isinstance(content, str) or '"type"' not in content:
        return content
    parts = as_written_list(content)
    if not isinstance(parts, list) or not parts:
        return content
    are_parts = all(isinstance(part, dict) and part.get("type") in ("text", *_KIND_OF_TYPE) for part in parts)
    return parts if are_parts else content


def in_order(turns: Sequence[SpelledParts], top_level: Sequence[WrittenMedium]) -> tuple[WrittenMedium, ...]:
    """The media of a record, those of each kind in the order of its tags; what no tag asks for comes last."""
    slots = [slot for turn in turns for slot in turn.slots]
    if not any(isinstance(slot, WrittenMedium) for slot in slots):
        return tuple(top_level)
    left = list(top_level)
    media = []
    for slot in slots:
        if isinstance(slot, WrittenMedium) and slot.value is not None:
            media.append(slot)
            continue
        kind = slot.kind if isinstance(slot, WrittenMedium) else slot
        place = next((place for place, each in enumerate(left) if each.kind == kind), None)
        if place is not None:  # else there are more tags than media, and the record is rejected for that
            medium = left.pop(place)
            if isinstance(slot, WrittenMedium):
                medium = replace(medium, settings=slot.settings, times=slot.times)
            media.append(medium)
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
            f"{where} says {unfollowed!r} of a single {_KIND_OF_TYPE[type_]}, which only a run can say",
        )
    return _spell_medium(_KIND_OF_TYPE[type_], type_, given, where)


def _spell_medium(kind: MediumKind, type_: str, given: Mapping[str, Any], where: str) -> SpelledParts:
    places = (type_, *_PLACES)
    value = next((given[key] for key in places if key in given), None)
    if isinstance(value, dict) and (isinstance(value.get("url"), str) or is_placeholder(value.get("url"))):
        value = value["url"]
    value = revealed(as_written_list(value))
    known = [*places, *PIXEL_KEYS, *VIDEO_KEYS]
    times = None
    if kind == "video" and isinstance(value, list):
        value = frames_in(value)
        given = {"fps": given[_RATE_OF_LIST], **given} if _RATE_OF_LIST in given else given
        known.append(_RATE_OF_LIST)
    if kind == "video" and _TIMES in given:
        times = given[_TIMES]
        known.append(_TIMES)
    settings = settings_of(given, kind, where, is_list=isinstance(value, FrameFiles))
    slot = _slot(kind, WrittenMedium(kind=kind, value=value, settings=settings, times=times), where)
    ignored = tuple(f"part.{key}" for key in given if key not in ("type", "text", *known))
    return SpelledParts(text=_TAGS[kind], slots=(slot,), ignored=ignored)


def _slot(kind: MediumKind, medium: WrittenMedium, where: str) -> WrittenMedium | MediumKind:
    if medium.value not in (None, ""):
        return medium
    return kind if medium.settings == PLAIN and medium.times is None else replace(medium, value=None)


def _slots_of(text: str) -> tuple[MediumKind, ...]:
    if "<" not in text:
        return ()
    return tuple(_KINDS[tag] for tag in re.findall(f"{IMAGE_TAG}|{VIDEO_TAG}", text))
