"""Raw record -> validated Sample. Everything that can be wrong with a record without decoding its media."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from numbers import Number
from typing import Any

from preprocess.annotations import IMAGE_KEYS, KNOWN_KEYS, TURN_KEYS, VIDEO_KEYS, EmbeddedMedium
from preprocess.chat import count_tags
from preprocess.errors import Reason, SampleError
from preprocess.media import has_bytes, resolve_path
from preprocess.registry import Dataset
from preprocess.sample import MediaSource, Role, Sample, Turn

_ROLES: dict[str, Role] = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "system": "system",
}


_LONG_WORD = 8  # letters; a known key as long as this may be misspelled twice


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
        raise SampleError(Reason.BAD_JSON, f"a record must be an object, this is {_kind(record)}")
    _refuse_near_misses(record)
    turns = _turns(record)
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


def ignored_keys(record: Any) -> tuple[str, ...]:
    """Keys that mean nothing to us (`id`, `source`, ...): counted, so that the run can name them."""
    return tuple(key for key in record if key not in KNOWN_KEYS) if isinstance(record, dict) else ()


def _refuse_near_misses(record: dict[str, Any]) -> None:
    for key in record:
        known = near_miss(key)
        if known:
            raise SampleError(Reason.UNKNOWN_KEYS, f"key {key!r} is a near miss of {known!r}; rename it")


@lru_cache(maxsize=1024)
def near_miss(key: str) -> str | None:
    """The known key that `key` is a misspelling of, if it is one: one error apart, or two in a long word."""
    if key in KNOWN_KEYS or len(key) > 2 * _LONG_WORD:
        return None
    nearest = min(KNOWN_KEYS, key=lambda known: edit_distance(key.lower(), known))
    return nearest if edit_distance(key.lower(), nearest) <= 1 + (len(nearest) >= _LONG_WORD) else None


def edit_distance(a: str, b: str) -> int:
    """Insertions, deletions, substitutions and swaps of neighbours between two words (optimal string alignment)."""
    rows = [list(range(len(b) + 1))]
    for i, left in enumerate(a, start=1):
        row = [i]
        for j, right in enumerate(b, start=1):
            row.append(min(rows[-1][j] + 1, row[-1] + 1, rows[-1][j - 1] + (left != right)))
            if i > 1 and j > 1 and left == b[j - 2] and a[i - 2] == right:
                row[-1] = min(row[-1], rows[-2][j - 2] + 1)
        rows.append(row)
    return rows[-1][-1]


def _turns(record: dict[str, Any]) -> tuple[Turn, ...]:
    raw = _only_one(record, TURN_KEYS)
    if raw is None:
        raise SampleError(Reason.NO_TURNS, "neither `conversations` nor `messages` holds a turn")
    if not isinstance(raw, list):
        raise SampleError(Reason.BAD_JSON, f"the turns must be a list, not {_kind(raw)}")
    return tuple(_turn(number, turn) for number, turn in enumerate(raw))


def _turn(number: int, raw: Any) -> Turn:
    if not isinstance(raw, dict):
        raise SampleError(Reason.BAD_JSON, f"turn {number} must be an object, not {_kind(raw)}")
    role = raw["from"] if raw.get("from") is not None else raw.get("role")
    text = raw["value"] if raw.get("value") is not None else raw.get("content")
    if not isinstance(role, str) or not isinstance(text, str):
        raise SampleError(
            Reason.BAD_JSON,
            f"turn {number} needs strings in from/value or role/content; it has {_kind(role)} and {_kind(text)}",
        )
    if role not in _ROLES:
        raise SampleError(Reason.ROLE_ORDER, f"turn {number} has role {role!r}; known are {', '.join(_ROLES)}")
    try:
        text.encode("utf-8")
    except UnicodeEncodeError as error:
        raise SampleError(Reason.BAD_JSON, f"turn {number} holds half a surrogate pair at {error.start}") from None
    return Turn(role=_ROLES[role], text=text)


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
    raw = _only_one({key: _opened(record.get(key)) for key in keys}, keys)
    items = raw if isinstance(raw, list) else [] if raw is None else [raw]
    return tuple(_source(item, keys[0], dataset) for item in items)


def _opened(value: Any) -> Any:
    """With cells of Parquet files replaced: by their place where they hold bytes, by their path where they don't."""
    if isinstance(value, list):
        return [_opened_cell(item) for item in value]
    return _opened_cell(value)


def _opened_cell(value: Any) -> Any:
    if not isinstance(value, EmbeddedMedium):
        return value
    source = MediaSource(path=value.path, row=value.row, column=value.column, item=value.item)
    return source if has_bytes(source) else value.written


def _source(item: Any, kind: str, dataset: Dataset) -> MediaSource:
    if isinstance(item, MediaSource):
        return item
    if not isinstance(item, str) or not item:
        raise SampleError(Reason.BAD_JSON, f"each {kind} must be a path; one is {_kind(item)}")
    return MediaSource(path=resolve_path(item, dataset.data_path, follow_links=dataset.follow_links))


def _only_one(record: dict[str, Any], spellings: tuple[str, str]) -> Any:
    """The value under whichever spelling is used; None for null, empty and absent ones."""
    given = [key for key in spellings if record.get(key) not in (None, [], "")]
    if len(given) > 1:
        raise SampleError(Reason.BAD_JSON, f"both {given[0]!r} and {given[1]!r} are given; keep one")
    return record[given[0]] if given else None


def _kind(value: Any) -> str:
    if value == "":
        return "an empty string"
    names = {dict: "an object", list: "a list", str: "a string", type(None): "nothing", bool: "a boolean"}
    return names.get(type(value), "a number" if isinstance(value, Number) else type(value).__name__)
