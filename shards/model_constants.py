"""The numbers of a model folder that shards depend on, read once from its three JSON files.

Preprocessing writes them into the manifest; training compares them with those of the model it loads.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

from shards.errors import ModelMismatch
from shards.files.names import CONFIG_NAME, PROCESSOR_NAME, TOKENIZER_NAME

PAD_TOKEN = "<|endoftext|>"
SUPPORTED_MODEL_TYPES = ("qwen2_5_vl", "qwen2_vl")


class ModelFolderError(Exception):
    """The model folder lacks a file or a value; the message names it."""


@dataclass(frozen=True, kw_only=True)
class ModelConstants:
    """Constants of one model. Sizes in pixels unless said otherwise; ids are token ids."""

    model_type: str
    vocab_size: int
    patch_size: int
    merge_size: int  # patches per side of one visual token
    temporal_patch_size: int  # frames
    window_size: int  # 0 where the vision tower has no windows (Qwen2-VL)
    tokens_per_second: float  # 0 where time has no seconds (Qwen2-VL)
    im_start_token_id: int
    im_end_token_id: int
    pad_token_id: int
    vision_start_token_id: int
    vision_end_token_id: int
    image_token_id: int
    video_token_id: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    rescale_factor: float

    @property
    def grid_factor(self) -> int:
        """Pixels per side of one visual token: resized sides are multiples of it (28)."""
        return self.patch_size * self.merge_size

    @property
    def image_patch_bytes(self) -> int:
        """Bytes of a stored image patch: channels * rows * columns (588)."""
        return 3 * self.patch_size**2

    @property
    def video_patch_bytes(self) -> int:
        """Bytes of a stored video patch: channels * frames * rows * columns (1,176)."""
        return self.image_patch_bytes * self.temporal_patch_size

    def to_json(self) -> dict[str, Any]:
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> ModelConstants:
        values: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in record.items()}
        return cls(**values)

    def require_equal(self, other: ModelConstants, *, mine: str, theirs: str) -> None:
        """Raise ModelMismatch naming every constant that differs between `mine` and `theirs`."""
        differing = [
            f"{field.name} is {getattr(self, field.name)} in {mine} and {getattr(other, field.name)} in {theirs}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]
        if differing:
            raise ModelMismatch("; ".join(differing) + ". Preprocess again with this model, or train the other one.")


def read_model_constants(folder: Path) -> ModelConstants:
    """Read the constants of the Hugging Face model folder at `folder`.

    Understands flat config.json (as published with Qwen2.5-VL) and nested ones (`text_config`, as newer transformers
    write them). Raises ModelFolderError where a file or value is missing or the files contradict each other.
    """
    config = _JsonFile.read(folder / CONFIG_NAME)
    processor = _JsonFile.read(folder / PROCESSOR_NAME)
    tokenizer = _JsonFile.read(folder / TOKENIZER_NAME)
    model_type = config.record.get("model_type")
    if model_type not in SUPPORTED_MODEL_TYPES:
        raise ModelFolderError(
            f"{config.path}: model_type {model_type!r} is not one of {', '.join(SUPPORTED_MODEL_TYPES)}"
        )
    text = config.section("text_config") if config.record.get("text_config") else config
    vision = config.section("vision_config")
    tokens = tokenizer.token_ids()
    has_windows = model_type == "qwen2_5_vl"
    constants = ModelConstants(
        model_type=model_type,
        vocab_size=text.size("vocab_size"),
        patch_size=processor.size("patch_size"),
        merge_size=processor.size("merge_size"),
        temporal_patch_size=processor.size("temporal_patch_size"),
        window_size=vision.size("window_size") if has_windows else 0,
        tokens_per_second=vision.number("tokens_per_second") if has_windows else 0,
        im_start_token_id=tokens.token_id("<|im_start|>"),
        im_end_token_id=tokens.token_id("<|im_end|>"),
        pad_token_id=tokens.token_id(PAD_TOKEN),
        vision_start_token_id=tokens.token_id("<|vision_start|>"),
        vision_end_token_id=tokens.token_id("<|vision_end|>"),
        image_token_id=tokens.token_id("<|image_pad|>"),
        video_token_id=tokens.token_id("<|video_pad|>"),
        image_mean=processor.three_numbers("image_mean"),
        image_std=processor.three_numbers("image_std"),
        rescale_factor=processor.number("rescale_factor", default=1 / 255),
    )
    _check_agreement(folder, constants, config.record, vision.record, largest_token_id=max(tokens.record.values()))
    return constants


@dataclass(frozen=True)
class _JsonFile:
    """An object of one of the three files, and how to take checked values out of it."""

    path: Path
    record: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> _JsonFile:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise ModelFolderError(f"{path}: {error.strerror}; `model` must be a Hugging Face model folder") from None
        except (ValueError, RecursionError) as error:
            raise ModelFolderError(f"{path} is not JSON: {error}; copy the model folder again") from None
        if not isinstance(record, dict):
            raise ModelFolderError(f"{path} does not hold a JSON object; copy the model folder again")
        return cls(path, record)

    def section(self, key: str) -> _JsonFile:
        return _JsonFile(self.path, self._value(key, dict, "an object"))

    def size(self, key: str) -> int:
        value = self._value(key, int, "a positive integer")
        return value if value > 0 else self._refuse(key, "a positive integer")

    def number(self, key: str, default: float | None = None) -> float:
        if default is not None and key not in self.record:
            return default
        return self._value(key, (int, float), "a number")

    def three_numbers(self, key: str) -> tuple[float, float, float]:
        values = self._value(key, list, "a list of three numbers")
        if len(values) != 3 or not all(isinstance(value, (int, float)) for value in values):
            self._refuse(key, "a list of three numbers")
        red, green, blue = values
        return red, green, blue

    def token_id(self, token: str) -> int:
        return self._value(token, int, "a token")

    def token_ids(self) -> _JsonFile:
        """{token: id} of a tokenizer.json, added tokens included."""
        try:
            vocabulary = self.record["model"]["vocab"]
            added = {token["content"]: token["id"] for token in self.record["added_tokens"]}
            return _JsonFile(self.path, {**vocabulary, **added})
        except (KeyError, TypeError):
            raise ModelFolderError(f"{self.path} is not a tokenizer.json with a vocabulary and added tokens") from None

    def _value(self, key: str, kind: type | tuple[type, ...], expected: str) -> Any:
        value = self.record.get(key)
        return value if isinstance(value, kind) and not isinstance(value, bool) else self._refuse(key, expected)

    def _refuse(self, key: str, expected: str) -> NoReturn:
        found = f"is {self.record[key]!r}, not {expected}" if key in self.record else "is missing"
        raise ModelFolderError(f"{self.path}: {key!r} {found}; is this a Qwen2.5-VL model folder?")


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
    if constants.window_size and constants.window_size % constants.grid_factor:
        raise ModelFolderError(
            f"{folder / 'config.json'}: window_size {constants.window_size} is no multiple of patch_size * merge_size "
            f"({constants.grid_factor})"
        )
    if abs(constants.rescale_factor - 1 / 255) > 1e-9:
        raise ModelFolderError(
            f"{folder / PROCESSOR_NAME}: rescale_factor {constants.rescale_factor} is not 1/255, "
            "the only one that uint8 patches can be normalised with"
        )
