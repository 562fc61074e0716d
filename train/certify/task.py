"""What a process without this project needs for the same losses: packs as arrays, and the model.

FOLDER/task.json   the model's folder, what normalises pixels, names of the packs
FOLDER/NAME.npz    a pack, with the names of the row (`shards/FORMAT.md`): N is pack N of the shards, N.S sample S alone
FOLDER/model/      a tiny model of the same family, where the real one is too large; the reference draws its weights
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from shards import ModelConstants, Pack
from shards.files.names import CONFIG_NAME
from shards.model_folder import model_files
from shards.segments import alone, cut_segments
from train.certify.tiny import shrunk
from train.errors import TrainingFailed, UsageError
from train.models import family_in
from train.models.config_file import read_config_file

MOST_VALUES = 100_000_000  # of the matrices of a model that is run as it is
ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "scripts" / "certify" / "reference_model.py"
ENVIRONMENT = ROOT / ".venv-oracle"
_ARRAYS = (
    *("input_ids", "labels", "position_ids", "cu_seqlens"),
    *("image_patches", "image_grid_thw", "video_patches", "video_grid_thw"),
)


@dataclass(frozen=True, kw_only=True)
class Task:
    folder: Path
    model: Path
    is_tiny: bool  # a model of the same family stands in for the real one
    packs: Mapping[str, Pack]  # by the name of the file


def write_task(folder: Path, model: Path, packs: Mapping[int, Pack], constants: ModelConstants) -> Task:
    """Raises ModelConfigError."""
    family = family_in(model)
    is_tiny = family.num_matrix_values(family.read_config(model)) > MOST_VALUES
    used = _write_tiny(folder / "model", model) if is_tiny else model
    named: dict[str, Pack] = {}
    for number, pack in packs.items():
        named[str(number)] = pack
        for place, segment in enumerate(cut_segments(pack, constants)):
            named[f"{number}.{place}"] = alone(pack, segment)
    for name, pack in named.items():
        np.savez(folder / f"{name}.npz", **{array: getattr(pack, array) for array in _ARRAYS})
    task = {
        "model": str(used.resolve()),
        "model_type": constants.model_type,
        "draws_weights": is_tiny,
        "image_mean": constants.image_mean,
        "image_std": constants.image_std,
        "temporal_patch_size": constants.temporal_patch_size,
        "packs": list(named),
    }
    (folder / "task.json").write_text(json.dumps(task) + "\n", encoding="utf-8")
    return Task(folder=folder, model=used, is_tiny=is_tiny, packs=named)


def _write_tiny(folder: Path, model: Path) -> Path:
    """A model folder without weights."""
    folder.mkdir(parents=True)
    for name in model_files(model):
        if (model / name).is_file():
            shutil.copyfile(model / name, folder / name)
    config = shrunk(read_config_file(model / CONFIG_NAME))
    (folder / CONFIG_NAME).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")
    return folder


def find_oracle(given: Path | None) -> Path:
    """The interpreter that has torch and transformers. Raises UsageError."""
    if not REFERENCE.is_file():
        raise UsageError(f"{REFERENCE} is missing: certify needs the repository, not an installed package alone")
    oracle = given or ENVIRONMENT / "bin" / "python"
    if not oracle.is_file():
        raise UsageError(
            f"{oracle} is missing; `bash scripts/certify.sh` makes an environment with torch and transformers, or name "
            "an interpreter that has them: --oracle PYTHON"
        )
    return oracle


def run_reference(task: Task, oracle: Path) -> dict[str, Any]:
    """What it leaves in result.json. Raises TrainingFailed."""
    # Neither our packages nor our rules for finding some hold there.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run([oracle, REFERENCE, task.folder], check=False, env=environment)
    if done.returncode:
        raise TrainingFailed(f"{oracle} {REFERENCE} ended with exit code {done.returncode}; it says why above")
    result: dict[str, Any] = json.loads((task.folder / "result.json").read_text(encoding="utf-8"))
    return result
