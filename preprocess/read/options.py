"""Options of a registry entry that say how the records of a dataset are read, and which values are right."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Literal, get_args

from preprocess.errors import ConfigError, SampleError
from preprocess.media.store import PathCase
from preprocess.read.formats.detect import AnnotationFormat
from preprocess.read.forms.medium_settings import PIXEL_KEYS, settings_of
from preprocess.read.forms.table import KNOWN_KEYS
from preprocess.read.forms.training_flags import LossTurns
from shards.flags.nearest import nearest_name
from shards.flags.values import parse_value

MediaPosition = Literal["tags", "start"]
"""Where media stand: at the tags alone; or, where a record has no tags of their kind, before its first question."""
Reasoning = Literal["refuse", "train"]
"""What becomes of reasoning_content: its record is a reject; or it is learned, in <think> tags before the answer."""

_OF_MEDIA = ("min_pixels", "max_pixels", "nframes", "fps")
_DEFAULTS: Mapping[str, Any] = {
    "annotation_format": "auto",
    "path_case": "exact",
    "columns": {},
    "media_position": "tags",
    "loss_turns": "all",
    "reasoning": "refuse",
    "allow_tokens": (),
    **dict.fromkeys(_OF_MEDIA),
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "annotation_format": get_args(AnnotationFormat),
    "path_case": get_args(PathCase),
    "media_position": get_args(MediaPosition),
    "loss_turns": get_args(LossTurns),
    "reasoning": get_args(Reasoning),
}


def check_options(where: str, dataset: Any) -> None:
    """Raises ConfigError naming the dataset and the option. `dataset` is a `registry.Dataset`."""
    for name, choices in _CHOICES.items():
        value = getattr(dataset, name)
        if value not in choices:
            raise ConfigError(f"{where}: {name} must be one of {', '.join(choices)}, not {value!r}")
    tokens = dataset.allow_tokens
    if not isinstance(tokens, list | tuple) or not all(isinstance(token, str) and token for token in tokens):
        raise ConfigError(f"{where}: allow_tokens must be a list of special tokens, not {tokens!r}")
    _check_columns(where, dataset.columns)
    given = {name: getattr(dataset, name) for name in _OF_MEDIA if getattr(dataset, name) is not None}
    try:
        settings_of(given, "video", where)
    except SampleError as error:
        raise ConfigError(error.detail) from None


def with_numbers(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as a registry says them, products of pixels computed: `64*28*28`."""
    read = dict(options)
    for name in PIXEL_KEYS:
        if isinstance(read.get(name), str):
            with suppress(ValueError):  # what is no number is refused with the others
                read[name] = parse_value(read[name], int)
    return read


def chosen_options(dataset: Any) -> dict[str, Any]:
    """Those that are not as they are by default: a new option must not change the fingerprints of datasets without."""
    return {name: getattr(dataset, name) for name, default in _DEFAULTS.items() if getattr(dataset, name) != default}


def _check_columns(where: str, columns: Any) -> None:
    if not isinstance(columns, dict):
        raise ConfigError(f"{where}: columns must map keys of a form to those of the records, as in {{image: img}}")
    for name, written in columns.items():
        if name not in KNOWN_KEYS:
            nearest = nearest_name(name, KNOWN_KEYS)
            hint = f"did you mean {nearest!r}?" if nearest else f"known are {', '.join(KNOWN_KEYS)}"
            raise ConfigError(f"{where}: columns names {name!r}, which no form has; {hint}")
        if not isinstance(written, str) or not written:
            raise ConfigError(f"{where}: columns says {written!r} for {name!r}; say a key of the records")
