"""Models: a padded batch -> its loss and gradients. One folder a family, and what families share beside them.

    attention.py, layers.py, precision.py      shared: attention over ranges of keys, linear layers, norms, dtypes
    <family>/                                  one family

A family's folder is found by the model_type of config.json, and imported only when it is asked for. Its `__init__.py`
loads no MindSpore before `build` is called; it holds

    read_config(folder)                        config.json of a model folder -> the family's frozen configuration
    build(config, constants, precision)        -> nn.Cell, its weights still zero, its parameters named as in the
                                               Hugging Face checkpoint, each float32

and the cell maps the arrays of a `shards.batch.Batch`, in their order, to the sum of the batch's cross entropy.
By custom the parts stand in `config.py`, `vision.py`, `language.py` and `model.py`.

A new family needs its folder here and a line in `FAMILIES`. `shards/families/__init__.py` says which other rooms it
needs a module in.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

from shards import ModelConstants
from train.errors import ConfigError

FAMILIES = {  # model_type -> module
    "qwen2_5_vl": "train.models.qwen2_5_vl",
}


class Family(Protocol):
    """A module is one, by its functions."""

    def read_config(self, folder: Path) -> Any:
        """Raises ConfigError naming file and key."""
        ...

    def build(self, config: Any, constants: ModelConstants, precision: Any) -> Any:
        """`config` is one of `read_config`, `precision` a `train.models.precision.Precision`."""
        ...


def family_of(model_type: str) -> Family:
    """Raises ConfigError naming the families that exist."""
    if model_type not in FAMILIES:
        raise ConfigError(f"models of model_type {model_type!r} can't be trained; these can: {', '.join(FAMILIES)}")
    family: Any = import_module(FAMILIES[model_type])
    return family
