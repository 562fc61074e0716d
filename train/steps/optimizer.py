"""From packs to new weights, in two compiled graphs: one adds up gradients, one makes an AdamW step of the sum.

    accumulate(batch) -> loss sum         forward, backward, sums += gradients      once a pack
    AdamW.step(rates, divisor)            normalise, clip, update, sums = 0         once an optimizer step

Both compile once: what changes from step to step comes in as a tensor. Sums, moments and weights stay on the device, in
the memory that the graphs were compiled for: write to them with `ops.assign`, never with `set_data`, which gives a
parameter other memory while the graph goes on reading the freed one (MindSpore 2.7.0).

The arithmetic is PyTorch's (`torch.optim.AdamW` and `torch.nn.utils.clip_grad_norm_` of 2.13), with its defaults:
decoupled weight decay, bias correction, epsilon outside the root. `nn.AdamWeightDecay` of MindSpore has no bias
correction. The fused kernel `ops.Adam` does the element-wise part in a third of the time and without temporaries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, ops

from train.models.trained import TrainedModel
from train.steps.graphs import Graph, compiled
from train.steps.groups import is_decayed

# As the kernel sees them: corrections made of 0.999 for moments made of float32(0.999) would be off by 1.3e-5.
BETA1 = float(np.float32(0.9))
BETA2 = float(np.float32(0.999))
EPSILON = 1e-8
CLIP_EPSILON = 1e-6  # added to the norm, as PyTorch does


def zeros_like_parameters(parameters: Sequence[Parameter], prefix: str) -> ParameterTuple:
    return ParameterTuple(
        [Parameter(ops.zeros(each.shape, each.dtype), name=f"{prefix}.{each.name}") for each in parameters]
    )


# The graph compiler unrolls a Python loop into nested calls and gives up at some hundred parameters; it maps these
# functions over tuples of any length.
add_to = ops.MultitypeFuncGraph("add_to")
sum_of_squares = ops.MultitypeFuncGraph("sum_of_squares")
_fused_adam = ops.Adam()
_sum = ops.ReduceSum()
_adamw = ops.MultitypeFuncGraph("adamw")


@add_to.register("Tensor", "Tensor")
def _add_gradient(total: Parameter, gradient: Tensor) -> Tensor:
    return ops.assign_add(total, gradient)


@sum_of_squares.register("Tensor", "Tensor")
def _sum_scaled_squares(scale: Tensor, total: Parameter) -> Tensor:
    # Over the last axis first: over all at once, MindSpore's CPU kernel takes seven times as long.
    return _sum(_sum(ops.square(total * scale), -1))


@_adamw.register(
    "Tensor", "Tensor", "Tensor", "Tuple", "Tuple", "Number", "Bool", "Tensor", "Tensor", "Tensor", "Tensor"
)
def _update_parameter(
    scale: Tensor,
    nothing: Tensor,
    epsilon: Tensor,
    step_sizes: tuple[Tensor, ...],
    kept: tuple[Tensor, ...],
    group: int,
    decayed: bool,
    weight: Parameter,
    total: Parameter,
    exp_avg: Parameter,
    exp_avg_sq: Parameter,
) -> bool:
    """weight = kept * weight - step_size * exp_avg / (sqrt(exp_avg_sq) + epsilon), after updating the moments.

    Step size and kept share of the weight are those of the parameter's group.
    """
    if decayed:
        ops.assign(weight, weight * kept[group])
    # Powers of beta given as 0 switch the kernel's own bias correction off: it rounds 1 - beta2 ** step to float32.
    _fused_adam(weight, exp_avg, exp_avg_sq, 0.0, 0.0, step_sizes[group], BETA1, BETA2, epsilon, total * scale)
    ops.assign(total, total * nothing)
    return True


def zero_at_run_time(scale: Tensor) -> Tensor:
    """0, which the compiler does not know: zeros that it knows are kept in the graph, an array for every parameter."""
    return ops.minimum(scale * scale, 0.0)


class AccumulateGradients(Graph):
    """`accumulate(*batch)` returns the model's loss (a sum over tokens) and adds its gradients to `sums`."""

    def __init__(self, model: TrainedModel) -> None:
        super().__init__(is_traced=model.is_traced)
        self.reads(model.get_parameters())
        self.sums = zeros_like_parameters(model.trainable_params(), "gradient_sum")
        self.for_each = ops.HyperMap()
        self.loss_and_gradients = model.loss_and_gradients()

    @compiled
    def construct(self, *batch: Tensor) -> Tensor:
        loss_sum, gradients = self.loss_and_gradients(*batch)
        self.for_each(add_to, self.sums, gradients)
        return loss_sum


class AdamW:
    """Updates `parameters` from `gradient_sums` (same order), which it sets back to zero.

    `groups` says which of the learning rates of a step each parameter takes. `make_update` makes the graph where it is
    not that of one process (`train.steps.zero`).
    """

    def __init__(
        self,
        parameters: Sequence[Parameter],
        gradient_sums: ParameterTuple,
        *,
        groups: Sequence[int],
        weight_decay: float,
        max_grad_norm: float,  # 0: no clipping
        make_update: Callable[..., Any] | None = None,
    ) -> None:
        self.num_steps = 0
        self._weight_decay = weight_decay
        self._num_groups = max(groups) + 1
        decayed = tuple(bool(weight_decay) and is_decayed(each) for each in parameters)
        self._update = (make_update or Update)(
            ParameterTuple(parameters), gradient_sums, tuple(groups), decayed, max_grad_norm
        )

    @property
    def state(self) -> tuple[Parameter, ...]:
        """What must be kept, with `num_steps`, to go on exactly: float32, each with a name of its own."""
        return (*self._update.exp_avg, *self._update.exp_avg_sq)

    def step(self, learning_rates: Sequence[float], *, divisor: int) -> float:
        """One step with the gradients `sums / divisor`. Returns their global norm, over all groups, before clipping.

        PyTorch divides the moments by their corrections; here the step size and epsilon carry them, in float64.
        """
        if len(learning_rates) != self._num_groups:
            raise ValueError(f"{len(learning_rates)} learning rates for {self._num_groups} groups of parameters")
        self.num_steps += 1
        correction1 = 1 - BETA1**self.num_steps
        root_correction2 = math.sqrt(1 - BETA2**self.num_steps)
        return self._run(
            scale=1 / divisor,
            epsilon=EPSILON * root_correction2,
            step_sizes=[rate / correction1 * root_correction2 for rate in learning_rates],
            kept=[1 - rate * self._weight_decay for rate in learning_rates],
        )

    def compile(self) -> None:
        """Build the graph by a step that leaves every weight as it is: all sums and moments must be zero."""
        self._run(scale=1.0, epsilon=EPSILON, step_sizes=[0.0] * self._num_groups, kept=[1.0] * self._num_groups)

    def _run(self, *, scale: float, epsilon: float, step_sizes: Sequence[float], kept: Sequence[float]) -> float:
        norm = self._update(*(Tensor(np.float32(scalar)) for scalar in (scale, epsilon, *step_sizes, *kept)))
        return float(norm.asnumpy())


class Update(Graph):
    def __init__(
        self,
        parameters: ParameterTuple,
        gradient_sums: ParameterTuple,
        groups: tuple[int, ...],
        decayed: tuple[bool, ...],
        max_grad_norm: float,
    ) -> None:
        super().__init__()
        self.weights = parameters
        self.sums = gradient_sums
        self.exp_avg = zeros_like_parameters(parameters, "exp_avg")
        self.exp_avg_sq = zeros_like_parameters(parameters, "exp_avg_sq")
        self.groups = groups
        self.decayed = decayed
        self.max_grad_norm = max_grad_norm
        self.for_each = ops.HyperMap()

    @compiled
    def construct(self, scale: Tensor, epsilon: Tensor, *step_sizes_and_kept: Tensor) -> Tensor:
        # One tensor each, since a tuple passed to a graph is a constant, and a new one would compile it again.
        num_groups = len(step_sizes_and_kept) // 2
        step_sizes, kept = step_sizes_and_kept[:num_groups], step_sizes_and_kept[num_groups:]
        norm = ops.sqrt(ops.addn(self.for_each(ops.partial(sum_of_squares, scale), self.sums)))
        if self.max_grad_norm > 0:
            scale = scale * ops.minimum(self.max_grad_norm / (norm + CLIP_EPSILON), 1.0)
        update = ops.partial(_adamw, scale, zero_at_run_time(scale), epsilon, step_sizes, kept)
        self.for_each(update, self.groups, self.decayed, self.weights, self.sums, self.exp_avg, self.exp_avg_sq)
        return norm
