"""What a run writes: a Hugging Face model folder, or with LoRA, the folder of an adapter."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from train.adapters.lora import Adapters
from train.models.trained import TrainedModel
from train.weights.companions import copy_companions
from train.weights.parameters import save_weights
from train.weights.writer import ALONE, MAX_SHARD_BYTES, Writer


def export_model(
    folder: Path,
    model: TrainedModel,
    model_folder: Path,
    adapters: Adapters | None,
    *,
    dtype: str = "F32",
    max_shard_bytes: int = MAX_SHARD_BYTES,
    writer: Writer = ALONE,
) -> None:
    """Write what was trained into `folder`, which must be there: the adapters, or without them the whole model.

    The model comes with everything beside the weights in `model_folder` that says how to use them. Weights come last,
    so that a folder with weights is complete. `dtype` is that of a whole model; adapters are float32.
    All ranks call this at once.
    """
    if adapters is not None:
        adapters.save(folder, writer)
        return
    writer.once(partial(copy_companions, model_folder, folder))
    save_weights(model.weights(), folder, dtype=dtype, max_shard_bytes=max_shard_bytes, writer=writer)
