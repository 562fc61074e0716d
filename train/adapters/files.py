"""A folder with a LoRA adapter, as PEFT 0.17.1 writes and reads it. Needs no MindSpore.

    adapter_config.json          r, lora_alpha, which modules; what it must not say stands in _ONLY_VALUES
    adapter_model.safetensors    base_model.model.MODULE.lora_A.weight (r, inputs), ...lora_B.weight (outputs, r)

MODULE is the module's path in transformers 4.57.1: `model.language_model.layers.0.self_attn.q_proj`,
`model.visual.blocks.0.attn.qkv`. An adapted layer computes y = W x + lora_alpha / r * B (A x).
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

from shards.files.atomic import write_atomically
from shards.files.plain import read_own
from train.errors import WeightsError
from train.weights.companions import require_own
from train.weights.files import StoredWeight, WeightToWrite, listing, stored_weights
from train.weights.header import unreadable
from train.weights.names import WeightNames
from train.weights.writer import ALONE, Writer

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
KEY_PREFIX = "base_model.model."
SUFFIX_A = ".lora_A.weight"
SUFFIX_B = ".lora_B.weight"

# Settings of PEFT that change the arithmetic or what is stored, each with the values that leave it as above.
_ONLY_VALUES: Mapping[str, tuple[Any, ...]] = MappingProxyType(
    {
        "peft_type": ("LORA",),
        "bias": ("none",),
        "init_lora_weights": (True, False, "gaussian", "orthogonal", "eva"),  # the others change W as well
        "fan_in_fan_out": (False,),
        "use_rslora": (False,),
        "use_dora": (False,),
        "use_qalora": (False,),
        "lora_bias": (False,),
        "rank_pattern": ({}, None),
        "alpha_pattern": ({}, None),
        "modules_to_save": ([], None),
        "layer_replication": ([], None),
        "target_parameters": ([], None),
        "trainable_token_indices": ([], {}, None),
    }
)


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """What adapter_config.json says."""

    base_model: str  # the folder that was adapted, as its user typed it
    r: int
    alpha: float
    dropout: float
    target_modules: tuple[str, ...]  # ends of module paths, or whole ones

    @property
    def scaling(self) -> float:
        return self.alpha / self.r


@dataclass(frozen=True, kw_only=True)
class StoredAdapter:
    """An adapter on disk: configuration, and the two factors of each module, not yet read."""

    folder: Path
    config: AdapterConfig
    factors: Mapping[str, tuple[StoredWeight, StoredWeight]]  # flat module name -> A (r, inputs), B (outputs, r)

    def require_shape(self, module: str, shape: tuple[int, ...]) -> None:
        """Raise WeightsError unless the factors of `module` fit a weight of `shape` (outputs, inputs)."""
        a, b = self.factors[module]
        if (b.shape[0], a.shape[1]) != shape:
            raise WeightsError(
                f"{a.path}: {a.key} and its B make a weight of {(b.shape[0], a.shape[1])}, the model's {module} has "
                f"{shape}; the adapter is of another base model ({self.config.base_model})"
            )


def find_adapter(folder: Path, names: WeightNames) -> StoredAdapter:
    """Raises WeightsError where a file is missing, or holds what this project can't apply."""
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / name).exists():
            raise WeightsError(f"{folder} has no {name}; it must be the folder of a LoRA adapter")
    for name in (CONFIG_FILE, WEIGHTS_FILE):
        require_own(folder, name)
    config = _read_config(folder / CONFIG_FILE)
    path = folder / WEIGHTS_FILE
    sides: dict[str, dict[str, StoredWeight]] = {SUFFIX_A: {}, SUFFIX_B: {}}
    for weight in stored_weights(path):
        suffix = next((suffix for suffix in sides if weight.key.endswith(suffix)), None)
        if suffix is None or not weight.key.startswith(KEY_PREFIX) or len(weight.shape) != 2:
            raise WeightsError(f"{path}: {weight.key} is not a factor of a linear layer ({KEY_PREFIX}*{SUFFIX_A})")
        sides[suffix][names.flat(weight.key.removeprefix(KEY_PREFIX).removesuffix(suffix))] = weight
    alone = sorted(set(sides[SUFFIX_A]) ^ set(sides[SUFFIX_B]))
    if alone or not sides[SUFFIX_A]:
        raise WeightsError(f"{path} lacks a factor of: {listing(alone) or 'every module'}")
    factors = {module: (a, sides[SUFFIX_B][module]) for module, a in sides[SUFFIX_A].items()}
    for a, b in factors.values():
        if (a.shape[0], b.shape[1]) != (config.r, config.r):
            raise WeightsError(
                f"{path}: {a.key} has shape {a.shape}, its B {b.shape}, but {CONFIG_FILE} says r {config.r}"
            )
    return StoredAdapter(folder=folder, config=config, factors=factors)


def write_adapter(
    folder: Path, config: AdapterConfig, weights: Sequence[WeightToWrite], writer: Writer = ALONE
) -> None:
    """Write both files, the weights last. Their names must be those of the file (KEY_PREFIX)."""
    record = {
        "base_model_name_or_path": config.base_model,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "init_lora_weights": True,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "modules_to_save": None,
        "peft_type": "LORA",
        "r": config.r,
        "target_modules": list(config.target_modules),
        "task_type": "CAUSAL_LM",
        "use_dora": False,
        "use_rslora": False,
    }
    writer.once(partial(write_atomically, folder / CONFIG_FILE, json.dumps(record, indent=2) + "\n"))
    writer.write_file(folder / WEIGHTS_FILE, weights)


def _read_config(path: Path) -> AdapterConfig:
    try:
        record = json.loads(read_own(path))
        targets = record["target_modules"]
        config = AdapterConfig(
            base_model=str(record.get("base_model_name_or_path")),
            r=int(record["r"]),
            alpha=record["lora_alpha"] + 0,
            dropout=float(record.get("lora_dropout", 0.0)),
            target_modules=tuple([targets] if isinstance(targets, str) else map(str, targets)),
        )
        if config.r < 1 or not math.isfinite(config.scaling):
            raise ValueError(f"r {config.r}, lora_alpha {config.alpha}")
    except OSError as error:
        raise unreadable(path, error) from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise WeightsError(f"{path} is not the configuration of a LoRA adapter ({error!r})") from None
    for name, values in _ONLY_VALUES.items():
        if record.get(name, values[0]) not in values:
            raise WeightsError(f"{path}: {name} {record[name]!r} is not supported; only {values[0]!r} is")
    return config
