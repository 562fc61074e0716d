"""What config.json says of the language model, and of its rope, in each of its layouts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from shards.model_folder.json_file import SIZE, ModelFolderError

# "mrope" as published; transformers 4.57.1 rewrites it to "default" (the frequencies are not scaled in either case).
ROPE_TYPES = ("mrope", "default")
_ROPE_PLACES = ("rope_parameters", "rope_scaling")  # of transformers 5, and before
_MOST_THETA = 1e30  # float32 holds it


@dataclass(frozen=True, kw_only=True)
class Rope:
    """How positions turn the language model's queries and keys."""

    theta: float
    sections: tuple[int, int, int]  # frequencies turned by temporal, height and width position; half a head together


def language_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """What a config.json says of the language model. Raises ModelFolderError.

    Newer files repeat some of its keys at the top; `text_config` is what transformers reads.
    """
    text = config.get("text_config")
    if text is not None and not isinstance(text, dict):
        raise ModelFolderError("text_config is not an object")
    return {**config, **(text or {})}


def read_rope(language: Mapping[str, Any]) -> Rope:
    """From `language_values`, in each layout. Raises ModelFolderError naming the key."""
    given = [key for key in _ROPE_PLACES if language.get(key) is not None]
    if not given:
        raise ModelFolderError("rope_scaling is missing, and so is rope_parameters of transformers 5")
    for key in given:
        if not isinstance(language[key], dict):
            raise ModelFolderError(f"{key} is {language[key]!r}, not an object")
        kind = language[key].get("rope_type", language[key].get("type"))
        if kind not in ROPE_TYPES:
            what = "is missing" if kind is None else f"is {kind!r}; supported: {', '.join(map(repr, ROPE_TYPES))}"
            raise ModelFolderError(f"{key}.type {what}")
    theta_key, theta = _said_by_all(language, ("rope_theta", *(f"{key}.rope_theta" for key in given)))
    # NaN compares false, and an integer may be beyond any float.
    if isinstance(theta, bool) or not isinstance(theta, int | float) or not 0 < theta <= _MOST_THETA:
        raise ModelFolderError(f"{theta_key} is {theta!r}, not a number above 0")
    key, sections = _said_by_all(language, tuple(f"{key}.mrope_section" for key in given))
    if not isinstance(sections, list) or not all(type(size) is int and 0 <= size < 1 << 31 for size in sections):
        raise ModelFolderError(f"{key} is {sections!r}, not a list of integers")
    half_a_head = _head_size(language) // 2
    if len(sections) != 3 or sum(sections) != half_a_head:
        raise ModelFolderError(f"{key} is not three numbers with the sum {half_a_head} (half a head)")
    return Rope(theta=float(theta), sections=(sections[0], sections[1], sections[2]))


def _said_by_all(language: Mapping[str, Any], places: tuple[str, ...]) -> tuple[str, Any]:
    """The one value that stands at those of `places` that have any, and the first of them."""
    found = []
    for place in places:
        *outer, key = place.split(".")
        record = language[outer[0]] if outer else language
        if record.get(key) is not None:
            found.append((place, record[key]))
    if not found:
        raise ModelFolderError(f"{places[0]} is missing; is this a Hugging Face model folder?")
    place, value = found[0]
    for other, said in found[1:]:
        if said != value:
            raise ModelFolderError(f"{place} is {value!r}, and {other} is {said!r}; keep the right one")
    return place, value


def _head_size(language: Mapping[str, Any]) -> int:
    def size(key: str) -> int:
        value = language.get(key)
        if type(value) is not int or not 0 < value < 1 << 31:
            raise ModelFolderError(f"{key} is {'missing' if value is None else f'{value!r}, not {SIZE}'}")
        return value

    if language.get("head_dim") is not None:
        return size("head_dim")
    return size("hidden_size") // size("num_attention_heads")
