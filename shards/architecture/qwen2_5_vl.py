"""`vision_config` of a Qwen2.5-VL's config.json; the rest is `shards.architecture.qwen_vl`."""

from __future__ import annotations

from dataclasses import dataclass

from shards.architecture import qwen_vl
from shards.architecture.qwen_vl import QWEN2, ConfigReader, read_colours
from shards.architecture.values import Values

HIDDEN_ACT = "silu"


@dataclass(frozen=True, kw_only=True)
class VisionConfig(qwen_vl.VisionConfig):
    """The vision tower and its merger. Sizes in pixels where said so."""

    window_size: int  # pixels
    fullatt_block_indexes: tuple[int, ...]  # the other layers attend within windows

    def __post_init__(self) -> None:
        super().__post_init__()
        cell_size = self.patch_size * self.spatial_merge_size
        self._require(self.window_size % cell_size == 0, "window_size", f"is not a multiple of {cell_size} pixels")
        self._require(
            all(0 <= index < self.depth for index in self.fullatt_block_indexes),
            "fullatt_block_indexes",
            f"names a layer that a tower of depth {self.depth} lacks",
        )

    @property
    def num_full_blocks(self) -> int:
        return len(set(self.fullatt_block_indexes))


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
        window_size=values.size("window_size"),
        fullatt_block_indexes=values.sizes("fullatt_block_indexes"),
    )


READER = ConfigReader(model_type="qwen2_5_vl", kind="Qwen2.5-VL", generation=QWEN2, read_vision=read_vision)
