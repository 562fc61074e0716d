"""The architecture of a Qwen2.5-VL, read from the config.json of a Hugging Face model folder.

Three layouts exist on disk (`shards/model_folder.py` names them), and all give the same `ModelConfig`. What the model
doesn't implement is an error.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.model_folder import ModelFolderError, Rope, language_values, read_rope
from train.errors import ModelConfigError
from train.models.config_file import read_config_file

MODEL_TYPE = "qwen2_5_vl"
HIDDEN_ACT = "silu"
FULL_ATTENTION = "full_attention"
COLOUR_CHANNELS = 3
_MOST_NUMBER = 1e30  # float32 holds it
_MOST_SIZE = (1 << 31) - 1


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """The vision tower and its merger. Sizes in pixels where said so."""

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    out_hidden_size: int  # of a visual embedding: the language model's hidden_size
    patch_size: int  # pixels
    temporal_patch_size: int  # frames
    spatial_merge_size: int  # patches per side of one visual embedding
    window_size: int  # pixels
    fullatt_block_indexes: tuple[int, ...]  # the other layers attend within windows

    def __post_init__(self) -> None:
        _require(self.hidden_size % self.num_heads == 0, "hidden_size", "is not a multiple of num_heads")
        _require(self.head_dim % 4 == 0, "hidden_size", "gives heads whose size is not a multiple of 4")
        _require(self.window_size % self.cell_size == 0, "window_size", f"is not a multiple of {self.cell_size} pixels")
        _require(
            all(0 <= index < self.depth for index in self.fullatt_block_indexes),
            "fullatt_block_indexes",
            f"names a layer that a tower of depth {self.depth} lacks",
        )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def cell_size(self) -> int:
        """Pixels per side of one visual embedding."""
        return self.patch_size * self.spatial_merge_size

    @property
    def merge_unit(self) -> int:
        """Patches that make one visual embedding."""
        return self.spatial_merge_size**2


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The language model, and the vision tower in `vision`."""

    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]  # frequencies turned by temporal, height and width position
    tie_word_embeddings: bool
    vision: VisionConfig

    def __post_init__(self) -> None:
        _require(
            self.hidden_size % (2 * self.num_attention_heads) == 0,
            "hidden_size",
            "does not divide into num_attention_heads heads of even size",
        )
        _require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            "num_key_value_heads",
            "does not divide num_attention_heads",
        )
        _require(
            len(self.mrope_section) == 3 and 2 * sum(self.mrope_section) == self.head_dim,
            "mrope_section",
            f"is not three numbers with the sum {self.head_dim // 2} (half a head)",
        )
        _require(
            self.vision.out_hidden_size == self.hidden_size,
            "vision_config.out_hidden_size",
            f"is not hidden_size ({self.hidden_size})",
        )

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_attention_heads

    @property
    def num_matrix_values(self) -> int:
        """Values of all matrices, without those of a head that is tied: nearly all weights."""
        vision, width = self.vision, self.hidden_size
        key_value_width = self.num_key_value_heads * self.head_dim
        layer = width * (2 * width + 2 * key_value_width + 3 * self.intermediate_size)
        block = vision.hidden_size * (4 * vision.hidden_size + 3 * vision.intermediate_size)
        merged = vision.hidden_size * vision.merge_unit
        patch = COLOUR_CHANNELS * vision.temporal_patch_size * vision.patch_size**2
        return (
            (1 if self.tie_word_embeddings else 2) * self.vocab_size * width
            + self.num_hidden_layers * layer
            + vision.depth * block
            + merged * (merged + vision.out_hidden_size)
            + vision.hidden_size * patch
        )


def read_model_config(path: Path) -> ModelConfig:
    """Read a config.json, flat or nested. Raises ModelConfigError naming `path` and the key."""
    record = read_config_file(path)
    try:
        return parse_model_config(record)
    except ModelConfigError as error:
        raise ModelConfigError(f"{path}: {error}") from None


def parse_model_config(record: Mapping[str, Any]) -> ModelConfig:
    """The configuration in a parsed config.json. Raises ModelConfigError naming the key."""
    _require_value(record, "model_type", (MODEL_TYPE,))
    try:
        text = language_values(record)
    except ModelFolderError as error:
        raise ModelConfigError(str(error)) from None
    _require_value(text, "hidden_act", (HIDDEN_ACT,))
    _require_value(text, "use_sliding_window", (False,), default=False)
    _require_value(text, "attention_dropout", (0.0,), default=0.0)
    layer_types = text.get("layer_types") or []
    _require(isinstance(layer_types, list), "layer_types", f"is {layer_types!r}, not a list")
    for layer_type in layer_types:
        _require(
            layer_type == FULL_ATTENTION, "layer_types", f"holds {layer_type!r}; only {FULL_ATTENTION!r} is supported"
        )
    rope = _read_rope(text)
    return ModelConfig(
        vocab_size=_need_size(text, "vocab_size"),
        hidden_size=_need_size(text, "hidden_size"),
        intermediate_size=_need_size(text, "intermediate_size"),
        num_hidden_layers=_need_size(text, "num_hidden_layers"),
        num_attention_heads=_need_size(text, "num_attention_heads"),
        num_key_value_heads=_need_size(text, "num_key_value_heads"),
        rms_norm_eps=_need_number(text, "rms_norm_eps"),
        rope_theta=rope.theta,
        mrope_section=rope.sections,
        # A file that doesn't say is not tied: the default of transformers 4.57.1's Qwen2_5_VLTextConfig.
        tie_word_embeddings=_get_bool(text, "tie_word_embeddings"),
        vision=_parse_vision_config(_need_object(record, "vision_config")),
    )


def _read_rope(text: Mapping[str, Any]) -> Rope:
    try:
        return read_rope(text)
    except ModelFolderError as error:
        raise ModelConfigError(str(error)) from None


def _parse_vision_config(record: Mapping[str, Any]) -> VisionConfig:
    prefix = "vision_config."
    _require_value(record, "hidden_act", (HIDDEN_ACT,), prefix=prefix)
    for name in ("in_channels", "in_chans"):
        _require_value(record, name, (COLOUR_CHANNELS,), prefix=prefix, default=COLOUR_CHANNELS)
    try:
        return VisionConfig(
            depth=_need_size(record, "depth"),
            hidden_size=_need_size(record, "hidden_size"),
            intermediate_size=_need_size(record, "intermediate_size"),
            num_heads=_need_size(record, "num_heads"),
            out_hidden_size=_need_size(record, "out_hidden_size"),
            patch_size=_need_size(record, "patch_size"),
            temporal_patch_size=_need_size(record, "temporal_patch_size"),
            spatial_merge_size=_need_size(record, "spatial_merge_size"),
            window_size=_need_size(record, "window_size"),
            fullatt_block_indexes=tuple(_need_sizes(record, "fullatt_block_indexes")),
        )
    except ModelConfigError as error:
        raise ModelConfigError(f"{prefix}{error}") from None


def _require(holds: bool, key: str, message: str) -> None:
    if not holds:
        raise ModelConfigError(f"{key} {message}")


def _require_value(
    record: Mapping[str, Any], key: str, supported: tuple[Any, ...], *, prefix: str = "", default: Any = None
) -> None:
    value = record.get(key, default)
    if value is None:
        raise ModelConfigError(f"{prefix}{key} is missing; is this a Qwen2.5-VL model?")
    _require(value in supported, prefix + key, f"is {value!r}; supported: {', '.join(map(repr, supported))}")


def _need(record: Mapping[str, Any], key: str) -> Any:
    if record.get(key) is None:
        raise ModelConfigError(f"{key} is missing; is this a Qwen2.5-VL model?")
    return record[key]


def _need_number(record: Mapping[str, Any], key: str) -> float:
    value = _need(record, key)
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN compares false, and an integer may be beyond any float.
    _require(is_number and 0 < value <= _MOST_NUMBER, key, f"is {value!r}, not a number above 0")
    return float(value)


def _get_bool(record: Mapping[str, Any], key: str) -> bool:
    """False where it is not said, or null."""
    value = record.get(key)
    _require(value is None or isinstance(value, bool), key, f"is {value!r}, not true or false")
    return bool(value)


def _need_size(record: Mapping[str, Any], key: str) -> int:
    value = _need(record, key)
    _require(_is_index(value) and 0 < value <= _MOST_SIZE, key, f"is {value!r}, not a positive integer")
    return int(value)


def _need_sizes(record: Mapping[str, Any], key: str) -> list[int]:
    values = _need(record, key)
    is_list = isinstance(values, list) and all(_is_index(value) and 0 <= value <= _MOST_SIZE for value in values)
    _require(is_list, key, f"is {values!r}, not a list of integers")
    return list(values)


def _is_index(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _need_object(record: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = _need(record, key)
    _require(isinstance(value, dict), key, "is not an object")
    return value
