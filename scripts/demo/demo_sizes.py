"""How large a tiny model is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ModelSize:
    """Sizes of the model; the defaults are the demo's."""

    vocab_size: int = 1024
    hidden_size: int = 64
    intermediate_size: int = 128
    num_layers: int = 2
    num_heads: int = 4
    num_key_value_heads: int = 2
    vision_depth: int = 2
    vision_hidden_size: int = 32
    vision_intermediate_size: int = 64
    vision_num_heads: int = 2
    full_attention_blocks: tuple[int, ...] = (1,)  # of Qwen2.5-VL
    deepstack_blocks: tuple[int, ...] = (0,)  # of Qwen3-VL, as the next one
    num_positions: int = 36  # learned ones of patches, a square
    patch_size: int = 14
    merge_size: int = 2
    temporal_patch_size: int = 2

    def __post_init__(self) -> None:
        if self.hidden_size % self.num_heads or self.head_size % 4:
            raise ValueError(f"hidden_size {self.hidden_size} does not split into {self.num_heads} heads of 4n numbers")

    @property
    def head_size(self) -> int:
        return self.hidden_size // self.num_heads

    @property
    def key_value_size(self) -> int:
        return self.num_key_value_heads * self.head_size

    @property
    def patch_shape(self) -> tuple[int, ...]:
        """Of the convolution that embeds patches."""
        return self.vision_hidden_size, 3, self.temporal_patch_size, self.patch_size, self.patch_size

    @property
    def merged_size(self) -> int:
        """Numbers of the patches that become one visual token."""
        return self.vision_hidden_size * self.merge_size**2

    @property
    def mrope_section(self) -> list[int]:
        """Rotary pairs for time, height and width: 2 : 3 : 3 as published, together half a head."""
        pairs = self.head_size // 2
        spatial = pairs * 3 // 8
        return [pairs - 2 * spatial, spatial, spatial]
