"""What a run writes: a Hugging Face model folder, or with LoRA, the folder of an adapter."""

from __future__ import annotations

from pathlib import Path

from train.adapters.lora import Adapters
from train.models.qwen2_5_vl.model import Qwen25VL
from train.weights.files import MAX_SHARD_BYTES, copy_companions
from train.weights.parameters import save_model


def export_model(
    folder: Path,
    model: Qwen25VL,
    model_folder: Path,
    adapters: Adapters | None,
    *,
    dtype: str = "F32",
    max_shard_bytes: int = MAX_SHARD_BYTES,
) -> None:
    """Write what was trained into `folder`, which must be there: the adapters, or without them the whole model.

    The model comes with everything beside the weights in `model_folder` that says how to use them. Weights come last,
    so that a folder with weights is complete. `dtype` is that of a whole model; adapters are float32.
    """
    if adapters is not None:
        adapters.save(folder)
        return
    copy_companions(model_folder, folder)
    save_model(folder, model.get_parameters(), dtype=dtype, max_shard_bytes=max_shard_bytes)
