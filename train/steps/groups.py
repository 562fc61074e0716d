"""What is trained, and how fast: every parameter belongs to one of three groups; the model says to which.

| group | parameters | trained where | highest learning rate |
| --- | --- | --- | --- |
| llm | language model and head | `tune_mm_llm` | `learning_rate` |
| mlp | merger | `tune_mm_mlp` | `mm_projector_lr`, else `learning_rate` |
| vision | the rest of the vision tower | `tune_mm_vision` | `vision_tower_lr`, else `learning_rate` |

What is frozen is left out of the differentiation, and so has no gradient, no gradient sum and no moments; MindSpore
runs no backward where nothing below is trained (a frozen tower's backward is not in the graph:
tests/train/steps/test_groups.py).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mindspore import Parameter

from train.models.trained import GROUPS, TrainedModel
from train.weights.parts import whole_shape


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """The parameters of one group, as they are now: trained where `requires_grad`."""

    name: str
    peak: float  # learning rate after the warm-up
    trained: tuple[Parameter, ...]
    frozen: tuple[Parameter, ...]


def freeze(model: TrainedModel, trained_groups: Collection[str]) -> None:
    """Set `requires_grad` of every parameter: True in `trained_groups`, False elsewhere."""
    for parameter in model.get_parameters():
        parameter.requires_grad = model.group_of(parameter.name) in trained_groups


def group_parameters(model: TrainedModel, peaks: Mapping[str, float]) -> tuple[ParameterGroup, ...]:
    """All three groups, in the order of GROUPS; within a group, in the order of the model."""
    members: dict[str, list[Parameter]] = {name: [] for name in GROUPS}
    for parameter in model.get_parameters():
        members[model.group_of(parameter.name)].append(parameter)
    return tuple(
        ParameterGroup(
            name=name,
            peak=peaks[name],
            trained=tuple(each for each in members[name] if each.requires_grad),
            frozen=tuple(each for each in members[name] if not each.requires_grad),
        )
        for name in GROUPS
    )


def indices_of(parameters: Sequence[Parameter], groups: Sequence[ParameterGroup]) -> list[int]:
    """Which of `groups` each parameter is trained in."""
    index_of = {parameter.name: index for index, group in enumerate(groups) for parameter in group.trained}
    return [index_of[parameter.name] for parameter in parameters]


def is_decayed(parameter: Parameter) -> bool:
    """Weight decay spares parameters with one axis: biases and the weights of norms."""
    return len(whole_shape(parameter)) > 1


def describe(groups: Sequence[ParameterGroup], *, weight_decay: float) -> str:
    """The table at the start of a run: a line for each group."""
    lines = [f"{'group':8}{'trained':>16}{'frozen':>16}{'learning rate':>16}{'weight decay':>14}{'not decayed':>14}"]
    for group in groups:
        decayed = [each for each in group.trained if is_decayed(each)]
        spared = [each for each in group.trained if not is_decayed(each)]
        line = f"{group.name:8}{_count(group.trained):16,}{_count(group.frozen):16,}"
        if group.trained:
            line += f"{group.peak:16.2e}{weight_decay if decayed else 0.0:14g}{_count(spared):14,}"
        lines.append(line)
    return "\n".join(lines)


def _count(parameters: Sequence[Parameter]) -> int:
    return sum(math.prod(whole_shape(parameter)) for parameter in parameters)
