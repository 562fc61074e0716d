"""The end of a run: a Hugging Face model folder in output_dir."""

from __future__ import annotations

import shutil
from pathlib import Path

from train.model import Qwen25VL
from train.trainer_state import STATE_NAME
from train.weights import save_model

_COPIED_SUFFIXES = (".json", ".jinja", ".txt", ".model")
# The first names the files of the weights, which are other ones now; the second is of the run that made the model.
_NOT_COPIED = ("model.safetensors.index.json", STATE_NAME)


def export_model(output_dir: Path, model: Qwen25VL, model_folder: Path) -> None:
    """Write the weights, with everything beside them in `model_folder` that says how to use them.

    The weights come last, so that a folder with weights is complete.
    """
    for source in sorted(model_folder.iterdir()):
        if source.suffix in _COPIED_SUFFIXES and source.name not in _NOT_COPIED:
            shutil.copyfile(source, output_dir / source.name)
    save_model(output_dir, model)
