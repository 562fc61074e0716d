"""What `train.preflight` asks of a model before it exists: a function of config.json alone. Loads no MindSpore."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, kw_only=True)
class Stack:
    """Layers that are alike, one after the other."""

    num_layers: int
    num_full_layers: int  # whose attention goes over whole segments: of windows, the cost is small and fixed
    width: int  # channels of what goes from layer to layer
    inner_width: int  # of the MLP

    def inside(self, num_rows: int, *, outer: int, inner: int) -> int:
        """Values of `outer` arrays as wide as a layer and `inner` ones as wide as its MLP."""
        return num_rows * (outer * self.width + inner * self.inner_width)

    def inputs(self, num_rows: int) -> int:
        """Values of the inputs of all layers."""
        return self.num_layers * num_rows * self.width


@dataclass(frozen=True, kw_only=True)
class ModelSizes:
    """Sizes of a model of any family."""

    shapes: Mapping[str, tuple[int, ...]]  # of each weight, by its flat name
    group_of: Mapping[str, str]  # its group of parameters (`train.models.trained.GROUPS`)
    linear: frozenset[str]  # modules that take adapters: names without `.weight`
    head: str  # the module; not among `linear` where it is tied to the embedding
    vocab_size: int
    text: Stack  # over tokens
    vision: Stack  # over patches
