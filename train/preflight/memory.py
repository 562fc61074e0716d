"""How much memory of a device training takes, and the lowest `zero_stage` that fits.

Model state is exact: float32 weights, gradient sums and two moments, 4 bytes each, of which ranks hold what
`train.steps.zero` says. Everything else is an estimate, of what lives at once at the highest point:

- activations: with recomputation the input of every layer, and the inside of one; without, the inside of all;
- head: what the cross entropy of one chunk holds, and where the head is trained, the gradient of its weight and what is
  added to it; otherwise its copy (`train.models.cross_entropy`);
- gathered: weights that are whole only while they are used, at stage 3: the largest, as copy and gradient.

Not counted: what the runtime and HCCL take; USABLE leaves room for them (mindformers limits itself to 58 of 64 GB).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from shards.batch import BatchShape
from train.arguments import STAGES, TrainArguments
from train.models.sizes import ModelSizes

USABLE = 0.9
GB = 10**9
CHUNK_TOKENS, MAX_CHUNKS, _ARRAYS_OF_A_CHUNK = 512, 32, 6  # of `train.models.cross_entropy`, which loads MindSpore
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


def count_parameters(sizes: ModelSizes, arguments: TrainArguments) -> Parameters:
    values = {name: math.prod(shape) for name, shape in sizes.shapes.items()}
    total = sum(values.values())
    if arguments.lora_enable:
        adapters = _count_adapters(sizes, arguments)
        return Parameters(all=total + adapters, trained=adapters)
    groups = arguments.trained_groups
    return Parameters(all=total, trained=sum(size for name, size in values.items() if sizes.group_of[name] in groups))


def state_bytes(parameters: Parameters, stage: int, num_ranks: int) -> tuple[int, int, int]:
    """Of weights, gradient sums and moments, on one rank."""

    def on_a_rank(num_bytes: int, *, shared: bool) -> int:
        return -(-num_bytes // num_ranks) if shared else num_bytes

    return (
        on_a_rank(4 * parameters.all, shared=stage >= 3),
        on_a_rank(4 * parameters.trained, shared=stage >= 2),
        on_a_rank(8 * parameters.trained, shared=stage >= 1),
    )


def memory_of(sizes: ModelSizes, shape: BatchShape, arguments: TrainArguments, stage: int, num_ranks: int) -> Memory:
    weights, sums, moments = state_bytes(count_parameters(sizes, arguments), stage, num_ranks)
    width = 2 if arguments.bf16 else 4  # bytes of an activation
    text, vision = sizes.text, sizes.vision
    text_layer = text.inside(shape.pack_length, outer=_INSIDE, inner=_INSIDE_MLP)
    vision_layer = vision.inside(shape.patches, outer=_INSIDE, inner=_INSIDE_MLP)
    if arguments.gradient_checkpointing:
        kept = text.inputs(shape.pack_length) + vision.inputs(shape.patches) + max(text_layer, vision_layer)
    else:
        kept = text.num_layers * text_layer + vision.num_layers * vision_layer
    chunk = max(CHUNK_TOKENS, -(-shape.label_tokens // MAX_CHUNKS))
    chunk_bytes = min(chunk, shape.label_tokens) * sizes.vocab_size * 4
    head_weight = sizes.vocab_size * text.width * 4
    trains_head = "llm" in arguments.trained_groups and not arguments.lora_enable
    return Memory(
        weights=weights,
        sums=sums,
        moments=moments,
        activations=kept * width,
        head=_ARRAYS_OF_A_CHUNK * chunk_bytes + (2 if trains_head else 1) * head_weight,
        gathered=2 * head_weight if stage == 3 and num_ranks > 1 else 0,
    )


def lowest_stage(
    sizes: ModelSizes, shape: BatchShape, arguments: TrainArguments, num_ranks: int, device_gb: float
) -> int | None:
    """None where not even the last fits."""
    stages = STAGES if num_ranks > 1 else STAGES[:1]
    return next(
        (s for s in stages if memory_of(sizes, shape, arguments, s, num_ranks).fits(device_gb)),
        None,
    )


def _count_adapters(sizes: ModelSizes, arguments: TrainArguments) -> int:
    targets = arguments.lora_target_modules
    if targets == "all-linear":
        chosen = [name for name in sizes.linear if name != sizes.head]
    elif re.fullmatch(r"[\w., ]+", targets):
        ends = tuple(f".{name}" for name in re.findall(r"[^, ]+", targets))
        chosen = [name for name in sizes.linear if f".{name}".endswith(ends)]
    else:
        chosen = list(sizes.linear)  # a regular expression: at most all
    return sum(arguments.lora_r * sum(sizes.shapes[f"{name}.weight"]) for name in chosen)
