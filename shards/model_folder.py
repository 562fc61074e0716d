"""The JSON files of a Hugging Face model folder, and the numbers that all families keep at the same places in them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from shards.files.names import CONFIG_NAME, PROCESSOR_NAME, TOKENIZER_NAME
from shards.files.plain import read_own
from shards.model_constants import ModelConstants

PAD_TOKEN = "<|endoftext|>"
_SIZE = "a positive integer below 2**31"


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
            processor=JsonFile.read(path / PROCESSOR_NAME),
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
        text = config.section("text_config") if config.record.get("text_config") else config
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
        _check_agreement(
            self.path, constants, config.record, self.vision.record, largest_token_id=max(tokens.record.values())
        )
        return constants


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
            f"{folder / 'preprocessor_config.json'}: rescale_factor {constants.rescale_factor} is not 1/255, "
            "the only one that uint8 patches can be normalised with"
        )
