"""Where compiled graphs of a run are kept, so that it starts sooner when it goes on: a folder for each kind of graph.

Its name is a hash of all that determines the graphs: code, versions, shapes, model, flags, the rank. MindSpore itself
compares nothing of that.

| MS_COMPILER_CACHE_ENABLE | |
| --- | --- |
| not set | kept on CPU, where starts from files were compared with others, bit for bit; not on Ascend: nobody did |
| 1, 0 | kept, not kept |

MS_COMPILER_CACHE_PATH is the folder above; OUTPUT_DIR/.graphs where it is not set.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from dataclasses import asdict
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

import shards
from shards.batch import BatchShape
from train.arguments import TrainArguments
from train.checkpoints.trainer_state import MAY_DIFFER
from train.cluster.world import World
from train.inputs import Inputs
from train.models.backends import NATIVE

_ENABLE, _PATH = "MS_COMPILER_CACHE_ENABLE", "MS_COMPILER_CACHE_PATH"
_FOLDER = ".graphs"  # in output_dir
# What may differ when a run goes on, and makes other graphs all the same.
_DETERMINING = ("gradient_checkpointing", "device", "jit_level", "deterministic")
_PACKAGES = ("mindspore", "numpy")


def cache_folder(
    arguments: TrainArguments,
    inputs: Inputs,
    world: World,
    zero_stage: int,
    environment: Mapping[str, str] = os.environ,
) -> Path | None:
    """None where graphs are not kept; those beside a model that is no graph are made in no time."""
    if arguments.backend != NATIVE:
        return None
    if environment.get(_ENABLE, "1" if world.device == "CPU" else "0") != "1":
        return None
    base = environment.get(_PATH)
    above = Path(base) if base else arguments.output_dir / _FOLDER
    # Absolute: MindSpore does not take a path with dots in it.
    return above.absolute() / graphs_key(arguments, inputs, world, zero_stage)


def graphs_key(arguments: TrainArguments, inputs: Inputs, world: World, zero_stage: int) -> str:
    said = inputs.identity.arguments
    flags = {name: value for name, value in said.items() if name not in MAY_DIFFER or name in _DETERMINING}
    manifests = [each.manifest for each in (inputs.shards, inputs.eval_shards) if each is not None]
    key = {
        "flags": flags,
        "model": inputs.identity.model_sha256,
        "shapes": [asdict(BatchShape.of(each)) for each in manifests],
        "constants": manifests[0].model.to_json(),
        "ranks": [world.rank, world.size, world.device, zero_stage],
        "versions": [platform.python_version(), *map(version, _PACKAGES)],
        "code": hash_code(),
    }
    return sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:32]


def hash_code() -> str:
    """Of all modules that a graph may be made of."""
    digest = sha256()
    for package in (Path(__file__).parent, Path(shards.__file__).parent):
        for path in sorted(package.rglob("*.py")):
            digest.update(f"{path.relative_to(package.parent)}\n".encode())
            digest.update(path.read_bytes())
    return digest.hexdigest()
