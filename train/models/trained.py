"""What is trained: all that the loop, its steps, checkpoints and adapters know of a model.

    loss and gradients of a batch     `__call__`, `loss_and_gradients`     steps.optimizer
    loss of each token of a batch     `losses`                             steps.evaluate
    parameters by group               `get_parameters`, `group_of`         steps.groups
    which layers take adapters        `adaptable_layers`, `names`          adapters.lora
    weights in and out                `weights`, `tied_weights`            models.folder, checkpoints.export
    what a pack costs                 `work_of`                            steps.step

Whoever offers these is trained, saved and exported as ours are: another family, or a model of another library in a
cell of its own. Two rules leave room for what is larger than a device. Parameters are whatever the optimizer updates,
while `weights` are those of the folder, by its names, whole and one at a time: the first may be slices of the second.
And gradients come from a function that is traced into the graph which adds them up, so that collectives can stand
between the two.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import mindspore as ms
from mindspore import nn

from shards import PaddedPack
from train.weights.names import WeightNames
from train.weights.parameters import Weight

GROUPS = ("llm", "mlp", "vision")  # of parameters: language model, merger, the rest of the vision tower


@dataclass(frozen=True, kw_only=True)
class Work:
    """What a model has to do for one padded pack."""

    num_patches: int  # of images and videos: padding does not count
    num_patch_slots: int  # that the static shapes have room for
    flops: int  # that the pack needs, forward and backward, with everything trained


class AdaptableLayer(Protocol):
    """A linear layer; what `adapter(x)` gives is added to its output."""

    weight_shape: tuple[int, int]  # of the whole weight: outputs, inputs
    adapter: nn.Cell | None


class TrainedModel(Protocol):
    """A model whose weights are float32, and whose parameters have unique names."""

    names: WeightNames
    is_traced: bool  # whether its functions can be compiled into graphs; where not, they run operator by operator

    def __call__(self, *batch: ms.Tensor) -> ms.Tensor:
        """Map the fields of a `shards.batch.Batch` to the sum of its cross entropy, float32 (). May be compiled."""

    def losses(self, *batch: ms.Tensor) -> ms.Tensor:
        """What each of its targets adds to the sum, float32 (L,), padding 0; for graphs that take no gradient."""

    def loss_and_gradients(self) -> Callable[..., tuple[ms.Tensor, tuple[ms.Tensor, ...]]]:
        """A function of the same batch, for the caller to compile: the sum, and its gradients.

        They are those of `trainable_params()` as they are now, in that order; zeros where a batch does not use one.
        """

    def get_parameters(self) -> Iterable[ms.Parameter]:
        """All, adapters included. `requires_grad` says whether one is trained."""

    def trainable_params(self) -> Sequence[ms.Parameter]: ...

    def group_of(self, parameter_name: str) -> str:
        """One of GROUPS. Raises ValueError for a parameter that no group claims."""

    def recompute_layers(self) -> None:
        """Have the backward compute each layer again from its input, in place of keeping what is inside.

        Set `requires_grad` first: outside of graphs, MindSpore looks at it here.
        """

    def adaptable_layers(self) -> Mapping[str, AdaptableLayer | None]:
        """Every module by its flat name, in the order of the model; None where it is no linear layer."""

    def weights(self) -> Iterable[Weight]:
        """What a model folder holds, in the order in which it is written, of a model without adapters."""

    @property
    def tied_weights(self) -> Mapping[str, str]:
        """Names that a folder may hold besides, each with the name of the weight that it must equal."""

    def work_of(self, pack: PaddedPack) -> Work:
        """On the host; may run in a thread."""
