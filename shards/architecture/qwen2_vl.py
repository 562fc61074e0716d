"""`vision_config` of a Qwen2-VL's config.json; the rest is `shards.architecture.qwen_vl`.

Its keys are others than those of later families: `embed_dim` is the width of the tower, `hidden_size` that of its
visual embeddings, and `mlp_ratio` gives the inner width.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from shards.architecture import qwen_vl
from shards.architecture.qwen_vl import QWEN2, ConfigReader, read_colours
from shards.architecture.values import Values

HIDDEN_ACT = "quick_gelu"


class VisionConfig(qwen_vl.VisionConfig):
    KEYS: ClassVar[Mapping[str, str]] = {
        "hidden_size": "embed_dim",
        "intermediate_size": "mlp_ratio",
        "out_hidden_size": "hidden_size",
    }


ModelConfig = qwen_vl.ModelConfig[VisionConfig]


def read_vision(values: Values) -> VisionConfig:
    """Raises ModelFolderError naming the key."""
    # Published files leave it out: it is the default of transformers 4.57.1's Qwen2VLVisionConfig.
    values.only("hidden_act", HIDDEN_ACT, default=HIDDEN_ACT)
    read_colours(values)
    width = values.size("embed_dim")
    return VisionConfig(
        depth=values.size("depth"),
        hidden_size=width,
        intermediate_size=int(width * values.number("mlp_ratio")),
        num_heads=values.size("num_heads"),
        out_hidden_size=values.size("hidden_size"),
        patch_size=values.size("patch_size"),
        temporal_patch_size=values.size("temporal_patch_size"),
        spatial_merge_size=values.size("spatial_merge_size"),
    )


READER = ConfigReader(model_type="qwen2_vl", kind="Qwen2-VL", generation=QWEN2, read_vision=read_vision)
