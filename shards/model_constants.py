"""The numbers of a model folder that shards depend on, read once from its three JSON files.

Preprocessing writes them into the manifest; training compares them with those of the model it loads.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from shards.errors import ModelMismatch

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
    config = _read_json(folder / "config.json")
    processor = _read_json(folder / "preprocessor_config.json")
    token_ids = {token["content"]: token["id"] for token in _read_json(folder / "tokenizer.json")["added_tokens"]}
    text = {**config, **config.get("text_config", {})}
    vision = config.get("vision_config", {})

    def need(record: dict[str, Any], key: str, file: str) -> Any:
        if key not in record:
            raise ModelFolderError(f"{folder / file}: {key!r} is missing; is this a Qwen2.5-VL model folder?")
        return record[key]

    model_type = need(config, "model_type", "config.json")
    if model_type not in SUPPORTED_MODEL_TYPES:
        raise ModelFolderError(
            f"{folder / 'config.json'}: model_type {model_type!r} is not one of {', '.join(SUPPORTED_MODEL_TYPES)}"
        )
    is_25 = model_type == "qwen2_5_vl"
    constants = ModelConstants(
        model_type=model_type,
        vocab_size=need(text, "vocab_size", "config.json"),
        patch_size=need(processor, "patch_size", "preprocessor_config.json"),
        merge_size=need(processor, "merge_size", "preprocessor_config.json"),
        temporal_patch_size=need(processor, "temporal_patch_size", "preprocessor_config.json"),
        window_size=need(vision, "window_size", "config.json") if is_25 else 0,
        tokens_per_second=need(vision, "tokens_per_second", "config.json") if is_25 else 0,
        im_start_token_id=need(token_ids, "<|im_start|>", "tokenizer.json"),
        im_end_token_id=need(token_ids, "<|im_end|>", "tokenizer.json"),
        pad_token_id=need(token_ids, PAD_TOKEN, "tokenizer.json"),
        vision_start_token_id=need(token_ids, "<|vision_start|>", "tokenizer.json"),
        vision_end_token_id=need(token_ids, "<|vision_end|>", "tokenizer.json"),
        image_token_id=need(token_ids, "<|image_pad|>", "tokenizer.json"),
        video_token_id=need(token_ids, "<|video_pad|>", "tokenizer.json"),
        image_mean=_three(need(processor, "image_mean", "preprocessor_config.json")),
        image_std=_three(need(processor, "image_std", "preprocessor_config.json")),
        rescale_factor=processor.get("rescale_factor", 1 / 255),
    )
    _check_agreement(folder, constants, config, vision)
    return constants


def _three(values: list[float]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue


def _check_agreement(folder: Path, constants: ModelConstants, config: dict[str, Any], vision: dict[str, Any]) -> None:
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
    if abs(constants.rescale_factor - 1 / 255) > 1e-9:
        raise ModelFolderError(
            f"{folder / 'preprocessor_config.json'}: rescale_factor {constants.rescale_factor} is not 1/255, "
            "the only one that uint8 patches can be normalised with"
        )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelFolderError(f"{path} does not exist; `model` must be a Hugging Face model folder") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelFolderError(f"{path} is not JSON: {error}") from None
