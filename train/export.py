"""The end of a run: a Hugging Face model folder in output_dir."""

from __future__ import annotations

from pathlib import Path

from train.model import Qwen25VL
from train.weight_files import MAX_SHARD_BYTES, copy_companions
from train.weights import save_model


def export_model(
    output_dir: Path, model: Qwen25VL, model_folder: Path, *, max_shard_bytes: int = MAX_SHARD_BYTES
) -> None:
    """Write the weights, with everything beside them in `model_folder` that says how to use them.

    The weights come last, so that a folder with weights is complete.
    """
    copy_companions(model_folder, output_dir)
    save_model(output_dir, model.get_parameters(), max_shard_bytes=max_shard_bytes)
