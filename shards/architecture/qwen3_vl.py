"""`vision_config` of a Qwen3-VL's config.json; the rest is `shards.architecture.qwen_vl`."""

from __future__ import annotations

from dataclasses import dataclass

from shards.architecture import qwen_vl
from shards.architecture.qwen_vl import QWEN3, ConfigReader, read_colours
from shards.architecture.values import Values

HIDDEN_ACT = "gelu_pytorch_tanh"


@dataclass(frozen=True, kw_only=True)
class VisionConfig(qwen_vl.VisionConfig):
    """The vision tower and its mergers."""

    num_position_embeddings: int  # rows of the table of learned positions; `shards.families.qwen3_vl` lays them out
    deepstack_visual_indexes: tuple[int, ...]  # the blocks after which a merger branches off, in their order

    def __post_init__(self) -> None:
        super().__post_init__()
        indexes = self.deepstack_visual_indexes
        self._require(
            list(indexes) == sorted(set(indexes)) and all(index < self.depth for index in indexes),
            "deepstack_visual_indexes",
            f"is {list(indexes)}, not blocks of a tower of depth {self.depth} in their order",
        )


ModelConfig = qwen_vl.ModelConfig[VisionConfig]


def read_vision(values: Values) -> VisionConfig:
    """Raises ModelFolderError naming the key."""
    values.only("hidden_act", HIDDEN_ACT)
    read_colours(values)
    return VisionConfig(
        depth=values.size("depth"),
        hidden_size=values.size("hidden_size"),
        intermediate_size=values.size("intermediate_size"),
        num_heads=values.size("num_heads"),
        out_hidden_size=values.size("out_hidden_size"),
        patch_size=values.size("patch_size"),
        temporal_patch_size=values.size("temporal_patch_size"),
        spatial_merge_size=values.size("spatial_merge_size"),
        num_position_embeddings=values.size("num_position_embeddings"),
        deepstack_visual_indexes=values.sizes("deepstack_visual_indexes"),
    )


READER = ConfigReader(model_type="qwen3_vl", kind="Qwen3-VL", generation=QWEN3, read_vision=read_vision)
