"""The JSON files of a Hugging Face model folder, and the numbers that all families keep at the same places in them.

Three generations of transformers have written such folders, and all of them are read:

| | config.json | the image processor |
| --- | --- | --- |
| up to 4.51, as published | flat, `rope_theta` and `rope_scaling` | `preprocessor_config.json` |
| up to 4.57 | the language model in `text_config` | the same |
| 5 | there, and `rope_parameters` for both | `processor_config.json`, section `image_processor` |

`train` takes the language model's values and its rope from here, too, so that what can't be trained fails before
preprocessing.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from shards.files.names import ALL_PROCESSORS_NAME, CONFIG_NAME, PROCESSOR_NAME, TOKENIZER_NAME
from shards.files.plain import read_own
from shards.model_constants import ModelConstants

PAD_TOKEN = "<|endoftext|>"
_SIZE = "a positive integer below 2**31"
# "mrope" as published; transformers 4.57.1 rewrites it to "default" (the frequencies are not scaled in either case).
ROPE_TYPES = ("mrope", "default")
_ROPE_PLACES = ("rope_parameters", "rope_scaling")  # of transformers 5, and before
_MOST_THETA = 1e30  # float32 holds it


class ModelFolderError(Exception):
    """The model folder lacks a file or a value, or is of a family that is not known; the message names it."""


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """The files that constants come from, parsed."""

    path: Path
    config: JsonFile
    processor: JsonFile
    tokenizer: JsonFile

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """Raises ModelFolderError where a file is missing or no JSON object."""
        return cls(
            path=path,
            config=JsonFile.read(path / CONFIG_NAME),
            processor=read_processor(path, PROCESSOR_NAME, "image_processor"),
            tokenizer=JsonFile.read(path / TOKENIZER_NAME),
        )

    @property
    def model_type(self) -> Any:
        """As config.json says it, unchecked."""
        return self.config.record.get("model_type")

    @property
    def vision(self) -> JsonFile:
        """What config.json says of the vision tower."""
        return self.config.section("vision_config")

    def constants(
        self, *, window_size: int = 0, tokens_per_second: float = 0, position_grid: int = 0
    ) -> ModelConstants:
        """Everything that stands at the same place for each family; the arguments are what does not.

        Understands flat config.json (as published with the older models) and nested ones (`text_config`, as newer
        transformers write them). Raises ModelFolderError where a value is missing or the files contradict each other.
        """
        config, processor = self.config, self.processor
        text = JsonFile(config.path, self._language())
        tokens = self.tokenizer.token_ids()
        constants = ModelConstants(
            model_type=self.model_type,
            vocab_size=text.size("vocab_size"),
            patch_size=processor.size("patch_size"),
            merge_size=processor.size("merge_size"),
            temporal_patch_size=processor.size("temporal_patch_size"),
            window_size=window_size,
            tokens_per_second=tokens_per_second,
            position_grid=position_grid,
            im_start_token_id=tokens.token_id("<|im_start|>"),
            im_end_token_id=tokens.token_id("<|im_end|>"),
            pad_token_id=tokens.token_id(PAD_TOKEN),
            vision_start_token_id=tokens.token_id("<|vision_start|>"),
            vision_end_token_id=tokens.token_id("<|vision_end|>"),
            image_token_id=tokens.token_id("<|image_pad|>"),
            video_token_id=tokens.token_id("<|video_pad|>"),
            image_mean=processor.three_numbers("image_mean"),
            image_std=processor.three_positive_numbers("image_std"),
            rescale_factor=processor.number("rescale_factor", default=1 / 255),
        )
        self.rope()  # no array depends on it, but training does
        _check_agreement(
            self.path,
            constants,
            config.record,
            self.vision.record,
            processor=processor.path,
            largest_token_id=max(tokens.record.values()),
        )
        return constants

    def rope(self) -> Rope:
        """Raises ModelFolderError."""
        try:
            return read_rope(self._language())
        except ModelFolderError as error:
            raise ModelFolderError(f"{self.config.path}: {error}") from None

    def _language(self) -> dict[str, Any]:
        try:
            return language_values(self.config.record)
        except ModelFolderError as error:
            raise ModelFolderError(f"{self.config.path}: {error}") from None


@dataclass(frozen=True, kw_only=True)
class Rope:
    """How positions turn the language model's queries and keys."""

    theta: float
    sections: tuple[int, int, int]  # frequencies turned by temporal, height and width position; half a head together


def model_files(folder: Path) -> tuple[str, ...]:
    """Names of the files that constants come from."""
    names = (PROCESSOR_NAME, ALL_PROCESSORS_NAME)
    processor = next((name for name in names if (folder / name).is_file()), PROCESSOR_NAME)
    return CONFIG_NAME, TOKENIZER_NAME, processor


def read_processor(folder: Path, name: str, section: str) -> JsonFile:
    """The file `name`; where there is none, that section of processor_config.json. Raises ModelFolderError.

    Where both stand, transformers 4 reads the one and transformers 5 the other, so they must agree.
    """
    own, all_of_them = folder / name, folder / ALL_PROCESSORS_NAME
    if not all_of_them.is_file():
        return JsonFile.read(own)
    shared = JsonFile.read(all_of_them)
    if not own.is_file():
        return shared.section(section)
    processor = JsonFile.read(own)
    others = shared.section(section).record if section in shared.record else {}
    for key in sorted((processor.record.keys() & others.keys()) - _ABOUT_CLASSES):
        if processor.record[key] != others[key]:
            raise ModelFolderError(
                f"{own} says {key} is {processor.record[key]!r}, {ALL_PROCESSORS_NAME} beside it says {others[key]!r}; "
                "the files are of different models: remove the one that is not this model's"
            )
    return processor


# What a processor is called may be said in each file in its own way.
_ABOUT_CLASSES = {"image_processor_type", "processor_class", "video_processor_type", "feature_extractor_type"}


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
            raise ModelFolderError(f"{key} is {'missing' if value is None else f'{value!r}, not {_SIZE}'}")
        return value

    if language.get("head_dim") is not None:
        return size("head_dim")
    return size("hidden_size") // size("num_attention_heads")


@dataclass(frozen=True)
class JsonFile:
    """An object of one of the three files, and how to take checked values out of it."""

    path: Path
    record: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> JsonFile:
        try:
            record = json.loads(read_own(path).decode("utf-8"))
        except OSError as error:
            raise ModelFolderError(f"{path}: {error.strerror}; `model` must be a Hugging Face model folder") from None
        except (ValueError, RecursionError) as error:
            raise ModelFolderError(f"{path} is not JSON: {error}; copy the model folder again") from None
        if not isinstance(record, dict):
            raise ModelFolderError(f"{path} does not hold a JSON object; copy the model folder again")
        return cls(path, record)

    def section(self, key: str) -> JsonFile:
        return JsonFile(self.path, self._value(key, dict, "an object"))

    def size(self, key: str) -> int:
        value = self._value(key, int, _SIZE)
        return value if 0 < value < 1 << 31 else self._refuse(key, _SIZE)

    def number(self, key: str, default: float | None = None) -> float:
        if default is not None and key not in self.record:
            return default
        value = self._value(key, (int, float), "a number")
        return value if _is_finite(value) else self._refuse(key, "a number")

    def positive_number(self, key: str) -> float:
        value = self.number(key)
        return value if value > 0 else self._refuse(key, "a positive number")

    def three_numbers(self, key: str) -> tuple[float, float, float]:
        values = self._value(key, list, "a list of three numbers")
        if len(values) != 3 or not all(map(_is_finite, values)):
            self._refuse(key, "a list of three numbers")
        red, green, blue = values
        return red, green, blue

    def three_positive_numbers(self, key: str) -> tuple[float, float, float]:
        values = self.three_numbers(key)
        return values if min(values) > 0 else self._refuse(key, "a list of three positive numbers")

    def token_id(self, token: str) -> int:
        return self._value(token, int, "a token")

    def token_ids(self) -> JsonFile:
        """{token: id} of a tokenizer.json, added tokens included."""
        try:
            vocabulary = self.record["model"]["vocab"]
            added = {token["content"]: token["id"] for token in self.record["added_tokens"]}
            tokens = {**vocabulary, **added}
        except (KeyError, TypeError):
            raise ModelFolderError(f"{self.path} is not a tokenizer.json with a vocabulary and added tokens") from None
        token_of: dict[int, str] = {}
        for token, number in tokens.items():
            if type(number) is not int or number < 0:  # a boolean is no id
                raise ModelFolderError(f"{self.path}: the id of token {token!r} is {number!r}, not a whole number")
            if token_of.setdefault(number, token) != token:
                raise ModelFolderError(f"{self.path}: {token_of[number]!r} and {token!r} both have id {number}")
        return JsonFile(self.path, tokens)

    def _value(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        value = self.record.get(key)
        return value if isinstance(value, kind) and not isinstance(value, bool) else self._refuse(key, expected)

    def _refuse(self, key: str, expected: str) -> NoReturn:
        found = f"is {self.record[key]!r}, not {expected}" if key in self.record else "is missing"
        raise ModelFolderError(f"{self.path}: {key!r} {found}; is this a Hugging Face model folder?")


def _is_finite(value: object) -> bool:
    """Of a number, also of an integer that no float holds; False of anything else."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _check_agreement(
    folder: Path,
    constants: ModelConstants,
    config: dict[str, Any],
    vision: dict[str, Any],
    *,
    processor: Path,
    largest_token_id: int,
) -> None:
    """config.json says some numbers a second time; a contradiction means files of two models were mixed."""
    said_twice = {
        "patch_size": vision.get("patch_size", vision.get("spatial_patch_size")),
        "merge_size": vision.get("spatial_merge_size"),
        "temporal_patch_size": vision.get("temporal_patch_size"),
        "vision_start_token_id": config.get("vision_start_token_id"),
        "vision_end_token_id": config.get("vision_end_token_id"),
        "image_token_id": config.get("image_token_id"),
        "video_token_id": config.get("video_token_id"),
    }
    for name, other in said_twice.items():
        if other is not None and other != getattr(constants, name):
            raise ModelFolderError(
                f"{folder}: config.json says {name} is {other}, the tokenizer or preprocessor says "
                f"{getattr(constants, name)}; the files are of different models"
            )
    if largest_token_id >= constants.vocab_size:
        raise ModelFolderError(
            f"{folder}: tokenizer.json has token id {largest_token_id}, config.json says vocab_size is "
            f"{constants.vocab_size}; the files are of different models"
        )
    if abs(constants.rescale_factor - 1 / 255) > 1e-9:
        raise ModelFolderError(
            f"{processor}: rescale_factor {constants.rescale_factor} is not 1/255, "
            "the only one that uint8 patches can be normalised with"
        )
