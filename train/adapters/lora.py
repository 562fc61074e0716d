"""LoRA: two small matrices beside a linear layer are trained, in place of its weight.

    y = W x + lora_alpha / r * B (A dropout(x))        A (r, inputs), B (outputs, r)

as PEFT 0.17.1 computes it. B starts at zero, A uniform within 1 / sqrt(inputs) (kaiming_uniform_ with a = sqrt(5)),
drawn for each module from (seed, name) alone. All other parameters are frozen, as with `lora_enable` in QwenLM's
scripts.

The dropout mask of a pack is a function of (seed, position of the pack in the run, module), so that a run that was
interrupted goes on with the bits it would have had. MindSpore's own dropout has a state and can't do that. On Ascend
the mask comes from the generator below it, DropoutGenMaskExt, which counts from a seed that it is given (NEVER RUN:
this project has no NPU); elsewhere it is an integer hash of each element's index (whose shifts would run on Ascend's
slow AI CPU). The two masks differ, and so do runs on the two kinds of device.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import nn, ops
from mindspore.ops.auto_generate import DropoutDoMaskExt, DropoutGenMaskExt

from train.adapters.files import KEY_PREFIX, SUFFIX_A, SUFFIX_B, AdapterConfig, find_adapter, write_adapter
from train.arguments import TrainArguments
from train.errors import UsageError, WeightsError
from train.models.trained import TrainedModel
from train.weights.files import WeightToWrite, listing
from train.weights.names import WeightNames
from train.weights.parameters import weight_of
from train.weights.writer import ALONE, Writer

ALL_LINEAR = "all-linear"


class AdapterDropout(nn.Cell):
    """Zeroes a share of the elements and scales the others up; off until `begin` and after `end`.

    `state` holds the seed of the current pack, and how many of 2**31 hashes drop an element. The graph reads it, so
    that neither a new pack nor an evaluation compiles again.
    """

    state: ms.Parameter

    def __init__(self, rate: float) -> None:
        super().__init__()
        self.rate = rate
        self.threshold = round(rate * 2**31)
        self.has_generator = has_generator(ms.get_context("device_target"))
        if self.has_generator:
            self.generate_mask, self.apply_mask = DropoutGenMaskExt(), DropoutDoMaskExt()
        # Past the cell's own bookkeeping: no weight of the model, and not to be saved, counted or grouped with them.
        state = ms.Parameter(ms.Tensor(np.zeros(2, np.int32)), name="lora_dropout", requires_grad=False)
        object.__setattr__(self, "state", state)

    def begin(self, seed: int, position: int) -> None:
        """From here on, drop as for the pack at `position` of a run with `seed`."""
        ops.assign(self.state, ms.Tensor(np.array([_hash32(f"{seed}:{position}"), self.threshold], np.int32)))

    def end(self) -> None:
        ops.assign(self.state, ms.Tensor(np.zeros(2, np.int32)))

    def construct(self, x_NC: ms.Tensor, salt: int) -> ms.Tensor:
        return self._by_generator(x_NC, salt) if self.has_generator else self._by_hash(x_NC, salt)

    def _by_generator(self, x_NC: ms.Tensor, salt: int) -> ms.Tensor:
        seed = ops.cast(self.state[:1], ms.int64) * 2**32 + (salt & 0xFFFFFFFF)
        offset = ops.zeros((1,), ms.int64)
        mask = self.generate_mask(x_NC.shape, self.rate, seed, offset, x_NC.dtype)
        is_on = ops.cast(self.state[1] > 0, x_NC.dtype)
        return self.apply_mask(x_NC, mask, self.rate) * is_on + x_NC * (1 - is_on)

    def _by_hash(self, x_NC: ms.Tensor, salt: int) -> ms.Tensor:
        num_rows, num_channels = x_NC.shape
        index = ops.cast(ops.range(0, num_rows * num_channels, 1), ms.int32)
        # The mixing steps of MurmurHash3's finaliser, with the seed between them: int32 products wrap, and the mask
        # after each arithmetic shift makes it a logical one.
        h = ops.bitwise_xor(index, salt) * -1640531535
        h = ops.bitwise_xor(ops.bitwise_xor(h, ops.bitwise_right_shift(h, 16) & 0xFFFF), self.state[0]) * -2048144789
        h = ops.bitwise_xor(h, ops.bitwise_right_shift(h, 13) & 0x7FFFF) * -1028477387
        h = ops.bitwise_xor(h, ops.bitwise_right_shift(h, 16) & 0xFFFF) & 0x7FFFFFFF
        keep = ops.cast(ops.reshape(h, x_NC.shape) >= self.state[1], x_NC.dtype)
        scale = 2.0**31 / (2.0**31 - ops.cast(self.state[1], ms.float32))
        return x_NC * keep * ops.cast(scale, x_NC.dtype)


def has_generator(device: str) -> bool:
    """Whether MindSpore 2.7.0 has the kernels of DropoutGenMaskExt there."""
    return device == "Ascend"


class LoRA(nn.Cell):
    """What the adapter of one linear layer adds to its output."""

    def __init__(
        self, module: str, weight_shape: tuple[int, int], config: AdapterConfig, seed: int, dropout: nn.Cell | None
    ) -> None:
        super().__init__()
        outputs, inputs = weight_shape
        self.lora_A = ms.Parameter(ms.Tensor(initial_a(module, (config.r, inputs), seed)))
        self.lora_B = ms.Parameter(ms.Tensor(np.zeros((outputs, config.r), np.float32)))
        self.scaling = config.scaling
        self.salt = _hash32(module)
        self.dropout = dropout
        self.matmul = ops.MatMul(transpose_b=True)

    def construct(self, x_NC: ms.Tensor) -> ms.Tensor:
        return self.matmul(self.inner(x_NC), ops.cast(self.lora_B, x_NC.dtype))

    def inner(self, x_NC: ms.Tensor) -> ms.Tensor:
        """What B takes, (N, r): lora_alpha / r * A dropout(x)."""
        if self.dropout is not None:
            x_NC = self.dropout(x_NC, self.salt)
        return self.matmul(x_NC, ops.cast(self.lora_A, x_NC.dtype)) * self.scaling


@dataclass(frozen=True)
class Adapters:
    """The adapters of a model; `modules` by flat module name."""

    config: AdapterConfig
    names: WeightNames  # of the model
    modules: Mapping[str, LoRA]
    dropout: AdapterDropout | None
    seed: int

    @property
    def parameters(self) -> list[ms.Parameter]:
        return [each for adapter in self.modules.values() for each in (adapter.lora_A, adapter.lora_B)]

    @property
    def state(self) -> tuple[ms.Parameter, ...]:
        """What graphs read that belongs to no module."""
        return (self.dropout.state,) if self.dropout else ()

    def seeded(self, accumulate: Callable[..., ms.Tensor], positions: Iterable[int]) -> Callable[..., ms.Tensor]:
        """`accumulate(*batch)` with dropout on, for the packs at these positions of the run, one a call."""
        if self.dropout is None:
            return accumulate
        dropout, places = self.dropout, iter(positions)

        def accumulate_with_dropout(*batch: ms.Tensor) -> ms.Tensor:
            dropout.begin(self.seed, next(places))
            loss_sum = accumulate(*batch)
            dropout.end()
            return loss_sum

        return accumulate_with_dropout

    def save(self, folder: Path, writer: Writer = ALONE) -> None:
        """Write what PEFT's `PeftModel.from_pretrained` reads; the folder must be there."""
        write_adapter(folder, self.config, [self._to_write(each) for each in self.parameters], writer)

    def load(self, folder: Path) -> None:
        """Take the values of an adapter of the same shape, ours or PEFT's. Raises WeightsError, and changes nothing."""
        stored = find_adapter(folder, self.names)
        for name in ("r", "alpha"):
            theirs, ours = getattr(stored.config, name), getattr(self.config, name)
            if theirs != ours:
                raise WeightsError(f"{folder} has {name} {theirs}, this run {ours}; give --lora_{name} {theirs}")
        differing = sorted(set(stored.factors) ^ set(self.modules))
        if differing:
            paths = [self.names.nested(module) for module in differing]
            raise WeightsError(f"{folder} and lora_target_modules name different modules: {listing(paths)}")
        for module, adapter in self.modules.items():
            stored.require_shape(module, (adapter.lora_B.shape[0], adapter.lora_A.shape[1]))
        for module, adapter in self.modules.items():
            for parameter, weight in zip((adapter.lora_A, adapter.lora_B), stored.factors[module], strict=True):
                weight_of(parameter).fill(weight)

    def _to_write(self, parameter: ms.Parameter) -> WeightToWrite:
        return weight_of(parameter, KEY_PREFIX + self.names.nested(parameter.name)).to_write()

    def to_line(self) -> str:
        """What the log says at the start."""
        config = self.config
        return (
            f"LoRA on {len(self.modules)} layers ({listing(list(config.target_modules))}): r {config.r}, "
            f"alpha {config.alpha}, dropout {config.dropout}{self._kind_of_mask()}; all else is frozen, whatever "
            "tune_mm_* say"
        )

    def _kind_of_mask(self) -> str:
        if self.dropout is None:
            return ""
        return f" (masks by {'DropoutGenMaskExt' if self.dropout.has_generator else 'a hash'})"


def adapters_of(arguments: TrainArguments, model: TrainedModel) -> Adapters | None:
    """The adapters that a run asks for, added to `model`; None without `lora_enable`.

    Raises UsageError for targets that the model lacks, WeightsError for a `lora_adapter` that doesn't fit.
    """
    if not arguments.lora_enable:
        return None
    adapters = add_adapters(
        model,
        arguments.lora_target_modules,
        base_model=str(arguments.model),
        r=arguments.lora_r,
        alpha=arguments.lora_alpha,
        dropout=arguments.lora_dropout,
        seed=arguments.seed,
    )
    if arguments.lora_adapter is not None:
        adapters.load(arguments.lora_adapter)
    return adapters


def add_adapters(
    model: TrainedModel, targets: str, *, base_model: str, r: int, alpha: float, dropout: float, seed: int
) -> Adapters:
    """Freeze `model` and put an adapter beside every linear layer that `targets` names. Raises UsageError."""
    layers = {model.names.nested(name): (name, layer) for name, layer in model.adaptable_layers().items()}
    is_linear = {path: layer is not None for path, (_, layer) in layers.items()}
    target_modules, paths = match_targets(is_linear, targets, head=model.names.nested(model.names.head))
    config = AdapterConfig(base_model=base_model, r=r, alpha=alpha, dropout=dropout, target_modules=target_modules)
    for parameter in model.get_parameters():
        parameter.requires_grad = False
    shared_dropout = AdapterDropout(dropout) if dropout else None
    modules = {}
    for module, layer in map(layers.__getitem__, paths):
        assert layer is not None  # paths are those of linear layers
        adapter = LoRA(module, layer.weight_shape, config, seed, shared_dropout)
        modules[module] = layer.adapter = adapter
        for parameter, suffix in ((adapter.lora_A, SUFFIX_A), (adapter.lora_B, SUFFIX_B)):
            parameter.name = module + suffix
    return Adapters(config=config, names=model.names, modules=modules, dropout=shared_dropout, seed=seed)


def match_targets(is_linear: Mapping[str, bool], targets: str, *, head: str) -> tuple[tuple[str, ...], list[str]]:
    """`target_modules` for adapter_config.json, and the paths among `is_linear` to adapt, in its order.

    PEFT 0.17.1's rules, on the module paths of transformers 4.57.1: in a list with commas, each name stands for the
    modules that it equals or that end in a dot and it; `all-linear` for every linear layer but the head; anything
    else is a regular expression that a linear layer's whole path must match. Raises UsageError where a name matches
    nothing, or something that is not linear.
    """
    linear = [path for path, holds in is_linear.items() if holds]
    if targets == ALL_LINEAR or not re.fullmatch(r"[\w., ]+", targets):
        paths = [path for path in linear if _is_wanted(path, targets, head)]
        if not paths:
            raise UsageError(f"lora_target_modules {targets!r} matches no linear layer; {_ends(is_linear)}")
        return tuple(paths), paths  # spelled out: PEFT's regular expressions match more than linear layers
    names = tuple(dict.fromkeys(re.findall(r"[^, ]+", targets)))
    chosen = set()
    for name in names:
        matched = [path for path in is_linear if f".{path}".endswith(f".{name}")]
        other = [path for path in matched if not is_linear[path]]
        if other or not matched:
            what = f"names {other[0]}, which is not a linear layer" if other else "names no module"
            raise UsageError(f"lora_target_modules: {name!r} {what}; {_ends(is_linear)}")
        chosen.update(matched)
    if not chosen:
        raise UsageError(f"lora_target_modules {targets!r} names nothing; {_ends(is_linear)}")
    return names, [path for path in linear if path in chosen]


def initial_a(module: str, shape: tuple[int, int], seed: int) -> npt.NDArray[np.float32]:
    """A before training. RandomState, because its streams are frozen for ever."""
    random = np.random.RandomState(np.frombuffer(_digest(f"{seed}:{module}"), "<u4"))
    bound = 1 / np.sqrt(shape[1])
    return random.uniform(-bound, bound, shape).astype(np.float32)


def _is_wanted(path: str, targets: str, head: str) -> bool:
    if targets == ALL_LINEAR:
        return path != head
    try:
        return re.fullmatch(targets, path) is not None
    except re.error as error:
        raise UsageError(f"lora_target_modules {targets!r} is no regular expression: {error}") from None


def _ends(is_linear: Mapping[str, bool]) -> str:
    """The shortest ends of paths that name linear layers only."""
    ends = set()
    for path in (path for path, holds in is_linear.items() if holds):
        parts = path.split(".")
        lengths = range(1, len(parts) + 1)
        candidates = (".".join(parts[-length:]) for length in lengths if not parts[-length].isdigit())
        ends.add(next(end for end in candidates if all(is_linear[p] for p in is_linear if f".{p}".endswith(f".{end}"))))
    return f"linear layers are: {', '.join(sorted(ends))}"


def _hash32(text: str) -> int:
    """A signed 32-bit integer."""
    return int.from_bytes(_digest(text)[:4], "little", signed=True)


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode()).digest()
