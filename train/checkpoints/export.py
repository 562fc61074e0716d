"""What a run writes: a Hugging Face model folder, or with LoRA, the folder of an adapter."""

from __future__ import annotations

from pathlib import Path

from train.adapters.lora import Adapters
from train.models.trained import TrainedModel
from train.weights.companions import copy_companions
from train.weights.files import MAX_SHARD_BYTES
from train.weights.parameters import give_parts, save_weights


def export_model(
    folder: Path,
    model: TrainedModel,
    model_folder: Path,
    adapters: Adapters | None,
    *,
    dtype: str = "F32",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    writes: bool = True,
) -> None:
    """Write what was trained into `folder`, which must be there: the adapters, or without them the whole model.

    The model comes with everything beside the weights in `model_folder` that says how to use them. Weights come last,
    so that a folder with weights is complete. `dtype` is that of a whole model; adapters are float32.
    All ranks that share weights call this at once; those that don't write give their parts.
    """
    if not writes:
        give_parts(model.weights() if adapters is None else ())
        return
    if adapters is not None:
        adapters.save(folder)
        return
    copy_companions(model_folder, folder)
    save_weights(model.weights(), folder, dtype=dtype, max_shard_bytes=max_shard_bytes)
