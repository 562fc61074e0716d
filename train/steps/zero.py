"""The two graphs of a step where ranks share the work, and with `--zero_stage` what they keep (ZeRO, arXiv 1910.02054).

What a rank holds of each parameter with several axes; N parts are cut as in `train.weights.parts`:

| stage | weight | gradient sum | moments | travels in the accumulation | travels in the update |
| --- | --- | --- | --- | --- | --- |
| 0 | whole | whole | whole | | sums: all-reduce |
| 1 | whole | whole | part | | sums: reduce-scatter; weights: all-gather |
| 2 | whole | part | part | gradients: reduce-scatter | weights: all-gather |
| 3 | part | part | part | weights: all-gather; gradients: reduce-scatter | |

At stage 3 the model itself does what travels (`train.models.sharing`); what is whole there all the same, the adapters
of LoRA, is treated as at stage 2. Parameters with one axis, biases and norms, are whole on all ranks: their sums travel
in one all-reduce. A reduce-scatter in the accumulation needs the same number of micro-steps on all ranks, which
`shards.order` gives.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import mindspore as ms
import numpy as np
from mindspore import Parameter, ParameterTuple, Tensor, ops

from train.cluster.collectives import all_gather, all_reduce, reduce_scatter
from train.cluster.world import World
from train.models.trained import TrainedModel
from train.steps.graphs import Graph, compiled
from train.steps.optimizer import (
    BETA1,
    BETA2,
    CLIP_EPSILON,
    add_to,
    sum_of_squares,
    zero_at_run_time,
    zeros_like_parameters,
)
from train.weights.parts import Part, part_of, whole_shape

# What ranks share at each stage.
SHARED = ("nothing but the work", "moments", "moments and gradients", "moments, gradients and weights")

_concat = ops.Concat(0)
_fused_adam = ops.Adam()
_reshape = ops.Reshape()
_slice = ops.Slice()  # see `train.models.attention`
_zeros = ops.Zeros()

# Mapped over tuples of parameters, as in `train.steps.optimizer`.
_at = ops.MultitypeFuncGraph("at")
_clear = ops.MultitypeFuncGraph("clear")
_rows_of = ops.MultitypeFuncGraph("rows_of")
_take = ops.MultitypeFuncGraph("take")
_update_by_part = ops.MultitypeFuncGraph("update_by_part")
_update_in_place = ops.MultitypeFuncGraph("update_in_place")


def is_shared(parameter: Parameter) -> bool:
    """Whether ranks may hold parts of what belongs to it."""
    return len(whole_shape(parameter)) > 1


def part_on(world: World, parameter: Parameter) -> Part:
    """The part that sums and moments are kept of: its own, where the parameter is one."""
    return part_of(parameter) or Part(
        shape=tuple(parameter.shape), rank=world.rank, num_parts=world.size, gather=all_gather(world)
    )


def zeros_for(parameters: Sequence[Parameter], world: World, prefix: str, *, in_parts: bool) -> ParameterTuple:
    """Zeros for each parameter; in parts where it is shared."""
    made = list(zeros_like_parameters([each for each in parameters if not (in_parts and is_shared(each))], prefix))
    by_name = {each.name: each for each in made}
    for each in parameters:
        name = f"{prefix}.{each.name}"
        if name not in by_name:
            part = part_on(world, each)
            by_name[name] = Parameter(Tensor(np.zeros(part.length, np.float32)), name=name)
            by_name[name].part = part
    return ParameterTuple([by_name[f"{prefix}.{each.name}"] for each in parameters])


@_rows_of.register("Number", "Number", "Tensor")
def _rows(size: int, padding: int, tensor: Tensor) -> Tensor:
    """(size, length): a row for each rank."""
    flat = _reshape(tensor, (-1,))
    if padding:
        flat = _concat((flat, _zeros((padding,), ms.float32)))
    return _reshape(flat, (size, -1))


@_at.register("Tuple", "Number")
def _pick_at(tensors: tuple[Tensor, ...], index: int) -> Tensor:
    return tensors[index]


@_take.register("Tensor", "Number", "Number")
def _take_range(bucket: Tensor, first: int, last: int) -> Tensor:
    return bucket[first:last]


@_clear.register("Tensor", "Tensor")
def _set_to_zero(nothing: Tensor, total: Parameter) -> bool:
    ops.assign(total, total * nothing)
    return True


@_update_in_place.register(
    "Tensor", "Tensor", "Tuple", "Tuple", "Number", "Bool", "Tensor", "Tensor", "Tensor", "Tensor"
)
def _update_what_is_here(
    scale: Tensor,
    epsilon: Tensor,
    step_sizes: tuple[Tensor, ...],
    kept: tuple[Tensor, ...],
    group: int,
    decayed: bool,
    weight: Parameter,
    total: Tensor,
    exp_avg: Parameter,
    exp_avg_sq: Parameter,
) -> bool:
    """As in `train.steps.optimizer`, of a sum that has come from all ranks."""
    if decayed:
        ops.assign(weight, weight * kept[group])
    _fused_adam(weight, exp_avg, exp_avg_sq, 0.0, 0.0, step_sizes[group], BETA1, BETA2, epsilon, total * scale)
    return True


@_update_by_part.register(
    "Function",
    "Number",
    "Tensor",
    "Tensor",
    "Tuple",
    "Tuple",
    "Number",
    "Bool",
    "Number",
    "Tensor",
    "Tensor",
    "Tensor",
    "Tensor",
)
def _update_my_part(
    gather: Any,
    rank: int,
    scale: Tensor,
    epsilon: Tensor,
    step_sizes: tuple[Tensor, ...],
    kept: tuple[Tensor, ...],
    group: int,
    decayed: bool,
    padding: int,
    weight: Parameter,
    total: Tensor,
    exp_avg: Parameter,
    exp_avg_sq: Parameter,
) -> bool:
    """The same for this rank's part of a weight that is whole, then all parts from all ranks.

    The fused kernel updates parameters alone, and a part of one is none: hence operators.
    """
    length = exp_avg.shape[0]
    flat = _reshape(weight, (-1,))
    num_values = flat.shape[0]
    if padding:
        flat = _concat((flat, _zeros((padding,), ms.float32)))
    mine = flat[rank * length : (rank + 1) * length]
    if decayed:
        mine = mine * kept[group]
    gradient = total * scale
    new_avg = exp_avg + (gradient - exp_avg) * (1 - BETA1)
    new_avg_sq = exp_avg_sq + (gradient * gradient - exp_avg_sq) * (1 - BETA2)
    mine = mine - step_sizes[group] * new_avg / (ops.sqrt(new_avg_sq) + epsilon)
    whole = gather(mine)
    ops.assign(exp_avg, new_avg)
    ops.assign(exp_avg_sq, new_avg_sq)
    ops.assign(weight, _reshape(_slice(whole, (0,), (num_values,)), weight.shape))
    return True


class AccumulateOnRanks(Graph):
    """`AccumulateGradients` of a rank; `sums` hold what its stage keeps."""

    def __init__(self, model: TrainedModel, world: World, zero_stage: int) -> None:
        super().__init__()
        self.reads(model.get_parameters())
        parameters = model.trainable_params()
        self.sums = zeros_for(parameters, world, "gradient_sum", in_parts=zero_stage >= 2)
        self.shared, self.small = _indices(parameters)
        self.shared_sums, self.small_sums = _pick(self.sums, self.shared), _pick(self.sums, self.small)
        # Gradients of weights that are parts come as parts.
        self.scatters = zero_stage >= 2 and part_of(parameters[self.shared[0]]) is None
        self.paddings = tuple(part_on(world, parameters[index]).padding for index in self.shared)
        self.size = world.size
        self.scatter = reduce_scatter(world)
        self.for_each = ops.HyperMap()
        self.loss_and_gradients = model.loss_and_gradients()

    @compiled
    def construct(self, *batch: Tensor) -> Tensor:
        loss_sum, gradients = self.loss_and_gradients(*batch)
        shared = self.for_each(ops.partial(_at, gradients), self.shared)
        if self.scatters:
            shared = self.for_each(self.scatter, self.for_each(ops.partial(_rows_of, self.size), self.paddings, shared))
        self.for_each(add_to, self.shared_sums, shared)
        if self.small:
            self.for_each(add_to, self.small_sums, self.for_each(ops.partial(_at, gradients), self.small))
        return loss_sum


class UpdateOnRanks(Graph):
    """The update of a rank. Its arguments are those of `train.steps.optimizer.Update`; give `world` and stage first."""

    def __init__(
        self,
        world: World,
        zero_stage: int,
        parameters: ParameterTuple,
        gradient_sums: ParameterTuple,
        groups: tuple[int, ...],
        decayed: tuple[bool, ...],
        max_grad_norm: float,
    ) -> None:
        super().__init__()
        self.exp_avg = zeros_for(parameters, world, "exp_avg", in_parts=zero_stage >= 1)
        self.exp_avg_sq = zeros_for(parameters, world, "exp_avg_sq", in_parts=zero_stage >= 1)
        shared, small = _indices(parameters)
        columns = (parameters, gradient_sums, self.exp_avg, self.exp_avg_sq)
        self.weights, self.sums, self.avg, self.avg_sq = (_pick(each, shared) for each in columns)
        self.groups, self.decayed = (tuple(each[index] for index in shared) for each in (groups, decayed))
        self.paddings = tuple(part_on(world, parameters[index]).padding for index in shared)
        self.has_small = bool(small)
        if small:
            self.small_weights, self.small_sums, self.small_avg, self.small_avg_sq = (
                _pick(each, small) for each in columns
            )
            self.small_groups = tuple(groups[index] for index in small)
            self.small_decayed = tuple(decayed[index] for index in small)
            ends = np.cumsum([parameters[index].size for index in small]).tolist()
            self.firsts, self.lasts = (0, *ends[:-1]), tuple(ends)
        self.reduces_whole, self.scatters = zero_stage == 0, zero_stage == 1
        self.updates_by_part = zero_stage in (1, 2) or (zero_stage == 3 and part_of(self.weights[0]) is None)
        self.max_grad_norm = max_grad_norm
        self.rank, self.size = world.rank, world.size
        self.all_reduce, self.gather, self.scatter = all_reduce(world), all_gather(world), reduce_scatter(world)
        self.for_each = ops.HyperMap()

    @compiled
    def construct(self, scale: Tensor, epsilon: Tensor, *step_sizes_and_kept: Tensor) -> Tensor:
        num_groups = len(step_sizes_and_kept) // 2
        step_sizes, kept = step_sizes_and_kept[:num_groups], step_sizes_and_kept[num_groups:]
        totals = self.sums
        if self.reduces_whole:
            totals = self.for_each(self.all_reduce, self.sums)
        if self.scatters:
            rows = self.for_each(ops.partial(_rows_of, self.size), self.paddings, self.sums)
            totals = self.for_each(self.scatter, rows)
        squares = ops.addn(self.for_each(ops.partial(sum_of_squares, scale), totals))
        if not self.reduces_whole:
            squares = _reshape(self.all_reduce(_reshape(squares, (1,))), ())
        small_totals = ()
        if self.has_small:
            bucket = self.all_reduce(_concat(self.small_sums))
            small_totals = self.for_each(ops.partial(_take, bucket), self.firsts, self.lasts)
            squares = squares + ops.addn(self.for_each(ops.partial(sum_of_squares, scale), small_totals))
        norm = ops.sqrt(squares)
        if self.max_grad_norm > 0:
            scale = scale * ops.minimum(self.max_grad_norm / (norm + CLIP_EPSILON), 1.0)
        clear = ops.partial(_clear, zero_at_run_time(scale))
        in_place = ops.partial(_update_in_place, scale, epsilon, step_sizes, kept)
        if self.updates_by_part:
            by_part = ops.partial(_update_by_part, self.gather, self.rank, scale, epsilon, step_sizes, kept)
            self.for_each(
                by_part, self.groups, self.decayed, self.paddings, self.weights, totals, self.avg, self.avg_sq
            )
        else:
            self.for_each(in_place, self.groups, self.decayed, self.weights, totals, self.avg, self.avg_sq)
        self.for_each(clear, self.sums)
        if self.has_small:
            self.for_each(
                in_place,
                self.small_groups,
                self.small_decayed,
                self.small_weights,
                small_totals,
                self.small_avg,
                self.small_avg_sq,
            )
            self.for_each(clear, self.small_sums)
        return norm


def _indices(parameters: Sequence[Parameter]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Of those that are shared, and of the others."""
    numbered = list(enumerate(parameters))
    return tuple(i for i, each in numbered if is_shared(each)), tuple(i for i, each in numbered if not is_shared(each))


def _pick(parameters: Sequence[Parameter], indices: Sequence[int]) -> ParameterTuple:
    return ParameterTuple([parameters[index] for index in indices])
