"""How much memory of a device training takes, and the lowest `zero_stage` that fits.

Model state is exact: float32 weights, gradient sums and two moments, 4 bytes each, of which ranks hold what
`train.steps.zero` says. Everything else is an estimate, of what lives at once at the highest point:

- activations: with recomputation the input of every layer, and the inside of one; without, the inside of all;
- head: what the cross entropy of one chunk holds, and the gradient of the head's weight (`train.models.cross_entropy`);
- gathered: weights that are whole only while they are used, at stage 3: the largest, as copy and gradient.

Not counted: what the runtime and HCCL take; USABLE leaves room for them (mindformers limits itself to 58 of 64 GB).
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass

from shards.batch import BatchShape
from train.arguments import STAGES, TrainArguments
from train.models.qwen2_5_vl.config import ModelConfig
from train.models.qwen2_5_vl.names import group_of
from train.models.qwen2_5_vl.sizes import weight_shapes

USABLE = 0.9
GB = 10**9
_CHUNK_TOKENS, _ARRAYS_OF_A_CHUNK = 512, 6  # `train.models.cross_entropy`
_INSIDE, _INSIDE_MLP = 8, 4  # arrays as wide as a layer, and as its inner layer, that its backward needs


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes of one device."""

    weights: int
    sums: int
    moments: int
    activations: int
    head: int
    gathered: int

    @property
    def state(self) -> int:
        return self.weights + self.sums + self.moments

    @property
    def total(self) -> int:
        return self.state + self.activations + self.head + self.gathered

    def fits(self, device_gb: float) -> bool:
        return self.total <= USABLE * device_gb * GB


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """Numbers of values."""

    all: int
    trained: int


def count_parameters(config: ModelConfig, arguments: TrainArguments) -> Parameters:
    shapes = weight_shapes(config)
    total = sum(map(math.prod, shapes.values()))
    if arguments.lora_enable:
        adapters = _count_adapters(shapes, arguments)
        return Parameters(all=total + adapters, trained=adapters)
    groups = arguments.trained_groups
    return Parameters(
        all=total, trained=sum(math.prod(shape) for name, shape in shapes.items() if group_of(name) in groups)
    )


def state_bytes(parameters: Parameters, stage: int, num_ranks: int) -> tuple[int, int, int]:
    """Of weights, gradient sums and moments, on one rank."""

    def on_a_rank(num_bytes: int, *, shared: bool) -> int:
        return -(-num_bytes // num_ranks) if shared else num_bytes

    return (
        on_a_rank(4 * parameters.all, shared=stage >= 3),
        on_a_rank(4 * parameters.trained, shared=stage >= 2),
        on_a_rank(8 * parameters.trained, shared=stage >= 1),
    )


def memory_of(config: ModelConfig, shape: BatchShape, arguments: TrainArguments, stage: int, num_ranks: int) -> Memory:
    weights, sums, moments = state_bytes(count_parameters(config, arguments), stage, num_ranks)
    width = 2 if arguments.bf16 else 4  # bytes of an activation
    vision = config.vision
    text_layer = shape.pack_length * (_INSIDE * config.hidden_size + _INSIDE_MLP * config.intermediate_size)
    vision_layer = shape.patches * (_INSIDE * vision.hidden_size + _INSIDE_MLP * vision.intermediate_size)
    if arguments.gradient_checkpointing:
        kept = config.num_hidden_layers * shape.pack_length * config.hidden_size
        kept += vision.depth * shape.patches * vision.hidden_size + max(text_layer, vision_layer)
    else:
        kept = config.num_hidden_layers * text_layer + vision.depth * vision_layer
    chunk = min(_CHUNK_TOKENS, shape.label_tokens) * config.vocab_size * 4
    head_weight = config.vocab_size * config.hidden_size * 4
    trains_head = "llm" in arguments.trained_groups and not arguments.lora_enable
    return Memory(
        weights=weights,
        sums=sums,
        moments=moments,
        activations=kept * width,
        head=_ARRAYS_OF_A_CHUNK * chunk + (2 if trains_head else 1) * head_weight,
        gathered=2 * head_weight if stage == 3 and num_ranks > 1 else 0,
    )


def lowest_stage(
    config: ModelConfig, shape: BatchShape, arguments: TrainArguments, num_ranks: int, device_gb: float
) -> int | None:
    """None where not even the last fits."""
    stages = STAGES if num_ranks > 1 else STAGES[:1]
    return next(
        (s for s in stages if memory_of(config, shape, arguments, s, num_ranks).fits(device_gb)),
        None,
    )


def _count_adapters(shapes: Mapping[str, tuple[int, ...]], arguments: TrainArguments) -> int:
    targets = arguments.lora_target_modules
    linear = {
        name.removesuffix(".weight"): shape
        for name, shape in shapes.items()
        if len(shape) == 2 and not name.endswith("embed_tokens.weight")
    }
    if targets == "all-linear":
        chosen = [shape for name, shape in linear.items() if name != "lm_head"]
    elif re.fullmatch(r"[\w., ]+", targets):
        ends = tuple(f".{name}" for name in re.findall(r"[^, ]+", targets))
        chosen = [shape for name, shape in linear.items() if f".{name}".endswith(ends)]
    else:
        chosen = list(linear.values())  # a regular expression: at most all
    return sum(arguments.lora_r * sum(shape) for shape in chosen)
