"""The architecture of a model, read from the config.json of a Hugging Face model folder.

Three layouts exist on disk (`shards/model_folder.py` names them), and all give the same `ModelConfig`. What the model
doesn't implement is an error. `vision_config` is the family's, which reads it from `Values`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from shards.architecture.values import Values, require
from shards.model_folder import ModelFolderError, language_values, read_rope
from shards.model_folder.json_file import JsonFile

HIDDEN_ACT = "silu"
FULL_ATTENTION = "full_attention"
COLOUR_CHANNELS = 3
VISION = "vision_config"


@dataclass(frozen=True, kw_only=True)
class VisionConfig:
    """What every vision tower has. Sizes in pixels where said so."""

    KEYS: ClassVar[Mapping[str, str]] = {}  # of config.json, where they are not called like the fields

    depth: int
    hidden_size: int
    intermediate_size: int
    num_heads: int
    out_hidden_size: int  # of a visual embedding: the language model's hidden_size
    patch_size: int  # pixels
    temporal_patch_size: int  # frames
    spatial_merge_size: int  # patches per side of one visual embedding

    def __post_init__(self) -> None:
        self._require(self.hidden_size % self.num_heads == 0, "hidden_size", "is not a multiple of num_heads")
        self._require(self.head_dim % 4 == 0, "hidden_size", "gives heads whose size is not a multiple of 4")

    def _require(self, holds: bool, key: str, message: str) -> None:
        require(holds, self.key(key), message)

    def key(self, field: str) -> str:
        """Where config.json has it."""
        return f"{VISION}.{self.KEYS.get(field, field)}"

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def num_full_blocks(self) -> int:
        """Blocks whose patches see all of their frame."""
        return self.depth

    @property
    def merge_unit(self) -> int:
        """Patches that make one visual embedding."""
        return self.spatial_merge_size**2

    @property
    def merged_size(self) -> int:
        """Channels of the patches of one visual embedding, side by side."""
        return self.hidden_size * self.merge_unit

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """Channels, frames, rows and columns of the kernel that embeds a patch."""
        return COLOUR_CHANNELS, self.temporal_patch_size, self.patch_size, self.patch_size


@dataclass(frozen=True, kw_only=True)
class Generation:
    """What differs between the language models, sizes aside."""

    qkv_bias: bool  # in the projections to queries, keys and values
    qk_norm: bool  # an RMSNorm over each head of queries and keys; and `head_dim` is a value of its own
    interleaved_mrope: bool  # which frequencies turn by which position: `train.models.qwen_vl.language.mrope_axes`


QWEN2 = Generation(qkv_bias=True, qk_norm=False, interleaved_mrope=False)
QWEN3 = Generation(qkv_bias=False, qk_norm=True, interleaved_mrope=True)

Vision = TypeVar("Vision", bound=VisionConfig)


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Generic[Vision]):
    """The language model, and the vision tower in `vision`."""

    generation: Generation
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    rms_norm_eps: float
    rope_theta: float
    mrope_section: tuple[int, int, int]  # numbers of frequencies turned by temporal, height and width position
    tie_word_embeddings: bool
    vision: Vision

    def __post_init__(self) -> None:
        if not self.generation.qk_norm:
            require(
                self.head_dim * self.num_attention_heads == self.hidden_size and self.head_dim % 2 == 0,
                "hidden_size",
                "does not divide into num_attention_heads heads of even size",
            )
        require(self.head_dim % 2 == 0, "head_dim", "is odd")
        require(
            self.num_attention_heads % self.num_key_value_heads == 0,
            "num_key_value_heads",
            "does not divide num_attention_heads",
        )
        require(
            self.vision.out_hidden_size == self.hidden_size,
            self.vision.key("out_hidden_size"),
            f"is not hidden_size ({self.hidden_size})",
        )

    @property
    def query_size(self) -> int:
        """Channels of all heads together."""
        return self.num_attention_heads * self.head_dim

    @property
    def key_value_size(self) -> int:
        """Channels of all heads of keys, or of values."""
        return self.num_key_value_heads * self.head_dim


@dataclass(frozen=True, kw_only=True)
class ConfigReader(Generic[Vision]):
    """How a family's config.json is read."""

    model_type: str
    kind: str  # what people call such models
    generation: Generation
    read_vision: Callable[[Values], Vision]  # of `vision_config`

    def read(self, path: Path) -> ModelConfig[Vision]:
        """A config.json in any layout. Raises ModelFolderError naming `path` and the key."""
        record = JsonFile.read(path).record
        try:
            return self.parse(record)
        except ModelFolderError as error:
            raise ModelFolderError(f"{path}: {error}") from None

    def parse(self, record: Mapping[str, Any]) -> ModelConfig[Vision]:
        """The configuration in a parsed config.json. Raises ModelFolderError naming the key."""
        whole = Values(record=record, kind=self.kind)
        whole.only("model_type", self.model_type)
        text = Values(record=language_values(record), kind=self.kind)
        _refuse_what_is_not_implemented(text, self.generation)
        heads = text.size("num_attention_heads")
        # The rope is of that many channels, too: what is missing here would be found wrong there.
        head_dim = text.size("head_dim") if self.generation.qk_norm else text.size("hidden_size") // heads
        rope = read_rope(text.record)
        return ModelConfig(
            generation=self.generation,
            vocab_size=text.size("vocab_size"),
            hidden_size=text.size("hidden_size"),
            intermediate_size=text.size("intermediate_size"),
            num_hidden_layers=text.size("num_hidden_layers"),
            num_attention_heads=heads,
            num_key_value_heads=text.size("num_key_value_heads"),
            head_dim=head_dim,
            rms_norm_eps=text.number("rms_norm_eps"),
            rope_theta=rope.theta,
            mrope_section=rope.sections,
            # A file that doesn't say is not tied: the default of transformers 4.57.1's text configurations.
            tie_word_embeddings=text.flag("tie_word_embeddings"),
            vision=self.read_vision(whole.section(VISION)),
        )


def _refuse_what_is_not_implemented(text: Values, generation: Generation) -> None:
    text.only("hidden_act", HIDDEN_ACT)
    text.only("attention_dropout", 0.0, default=0.0)
    text.only("use_sliding_window", False, default=False)
    text.all_of("layer_types", FULL_ATTENTION)
    if generation is QWEN3:
        text.only("attention_bias", False, default=False)
        rope = text.record.get("rope_parameters") or text.record.get("rope_scaling")
        if isinstance(rope, dict):  # else `read_rope` says what is wrong
            Values(record=rope, kind=text.kind, prefix="rope_scaling.").only("mrope_interleaved", True, default=True)


def read_colours(vision: Values) -> None:
    """Refuse patches that are not of three colours, under both names of that key."""
    for key in ("in_channels", "in_chans"):
        vision.only(key, COLOUR_CHANNELS, default=COLOUR_CHANNELS)
