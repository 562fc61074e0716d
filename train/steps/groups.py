"""What is trained, and how fast: every parameter belongs to one of three groups, by its name.

| group | parameters | trained where | highest learning rate |
| --- | --- | --- | --- |
| llm | `model.*`, `lm_head.*` | `tune_mm_llm` | `learning_rate` |
| mlp | `visual.merger.*` | `tune_mm_mlp` | `mm_projector_lr`, else `learning_rate` |
| vision | the rest of `visual.*` | `tune_mm_vision` | `vision_tower_lr`, else `learning_rate` |

A tied head has no parameter of its own: it is the embedding, of the group llm. What is frozen is left out of the
differentiation, and so has no gradient, no gradient sum and no moments; MindSpore runs no backward where nothing
below is trained (a frozen tower's backward is not in the graph: tests/train/steps/test_groups.py).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from mindspore import Parameter, nn

GROUPS = ("llm", "mlp", "vision")
_GROUP_OF_PREFIX = (("visual.merger.", "mlp"), ("visual.", "vision"), ("model.", "llm"), ("lm_head.", "llm"))


@dataclass(frozen=True, kw_only=True)
class ParameterGroup:
    """The parameters of one group, as they are now: trained where `requires_grad`."""

    name: str
    peak: float  # learning rate after the warm-up
    trained: tuple[Parameter, ...]
    frozen: tuple[Parameter, ...]


def group_of(parameter_name: str) -> str:
    """Raises ValueError for a parameter that no group claims: the first prefix that fits decides."""
    for prefix, group in _GROUP_OF_PREFIX:
        if parameter_name.startswith(prefix):
            return group
    raise ValueError(f"parameter {parameter_name} belongs to none of the groups {', '.join(GROUPS)}")


def freeze(model: nn.Cell, trained_groups: Collection[str]) -> None:
    """Set `requires_grad` of every parameter: True in `trained_groups`, False elsewhere."""
    for parameter in model.get_parameters():
        parameter.requires_grad = group_of(parameter.name) in trained_groups


def group_parameters(model: nn.Cell, peaks: Mapping[str, float]) -> tuple[ParameterGroup, ...]:
    """All three groups, in the order of GROUPS; within a group, in the order of the model."""
    members: dict[str, list[Parameter]] = {name: [] for name in GROUPS}
    for parameter in model.get_parameters():
        members[group_of(parameter.name)].append(parameter)
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
    """Which of `groups` each parameter belongs to."""
    names = [group.name for group in groups]
    return [names.index(group_of(parameter.name)) for parameter in parameters]


def is_decayed(parameter: Parameter) -> bool:
    """Weight decay spares parameters with one axis: biases and the weights of norms."""
    return parameter.ndim > 1


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
    return sum(parameter.size for parameter in parameters)
