"""Attention over packed segments, empty ones among them, with the head sizes of the towers (80) and of the text (128).

`SequenceAttention`, which every device has, against NumPy; on Ascend, `FlashAttention` against it: results and
gradients. And what it costs that the kernel is told other segments for each pack: MindSpore prepares a kernel anew for
each call whose lengths are no constants of the graph.

Shapes: N tokens, H heads of queries, G heads of keys and values, D channels of a head.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import mindspore as ms
import numpy as np
import numpy.typing as npt
from mindspore import nn, ops

from train.cluster.world import World
from train.doctor.findings import Finding, ok, skipped, within
from train.doctor.timing import median_seconds
from train.models.attention import FlashAttention, SequenceAttention

Float32 = npt.NDArray[np.float32]
# Relative to the largest value. On Ascend, products of float32 may be rounded to HF32 (10 bits).
_LIMITS = {"CPU": 2e-5, "Ascend": 5e-3}
_KERNEL_LIMIT = 3e-2  # bfloat16 has 8 bits
_LAYERS = 16  # calls of the kernel in the graph that is timed


@dataclass(frozen=True, kw_only=True)
class Case:
    num_heads: int
    num_groups: int
    head_dim: int
    causal: bool
    lengths: tuple[int, ...]  # of segments; the padding is the last

    def __str__(self) -> str:
        empty = self.lengths.count(0)
        kind = "causal" if self.causal else "full"
        return f"{kind}, head dim {self.head_dim}, {len(self.lengths)} segments, {empty} of them empty"


VISION = Case(num_heads=2, num_groups=2, head_dim=80, causal=False, lengths=(64, 0, 16, 0, 48, 0, 0))
TEXT = Case(num_heads=4, num_groups=2, head_dim=128, causal=True, lengths=(33, 0, 1, 60, 0, 34, 0))


@dataclass(frozen=True, kw_only=True)
class Inputs:
    q: Float32  # (N, H, D)
    k: Float32  # (N, G, D)
    v: Float32  # (N, G, D)
    dout: Float32  # (N, H, D) gradient of the result
    keys: npt.NDArray[np.int32]  # (N, 2) range that a query sees
    ends: npt.NDArray[np.int32]  # of segments


def check(world: World) -> Iterator[Finding]:
    for case in (VISION, TEXT):
        yield check_operators(case, world.device)
    for case in (VISION, TEXT):
        if world.device == "Ascend":
            yield check_kernel(case, FlashAttention, ms.bfloat16)
        else:
            yield skipped(f"attention kernel ({case})", "Ascend alone has it")


def check_operators(case: Case, device: str) -> Finding:
    """`SequenceAttention` in float32 against NumPy in float64."""
    inputs = make_inputs(case)
    got = run(SequenceAttention(case.head_dim, causal=case.causal), inputs, ms.float32)
    return within(f"attention of operators ({case})", _distance(got, reference(inputs)), _LIMITS[device], "float32")


def check_kernel(case: Case, make: Callable[..., nn.Cell], compute: ms.Type) -> Finding:
    """The kernel in `compute` against `SequenceAttention` in float32, of the same numbers."""
    inputs = make_inputs(case)
    got = run(make(case.num_heads, case.head_dim, causal=case.causal), inputs, compute)
    expected = run(SequenceAttention(case.head_dim, causal=case.causal), inputs, ms.float32)
    return within(f"attention kernel ({case})", _distance(got, expected), _KERNEL_LIMIT, str(compute).lower())


def check_cost(world: World) -> Iterator[Finding]:
    what = "cost of segments that change from pack to pack"
    if world.device != "Ascend":
        yield skipped(what, "Ascend alone has the kernel")
        return
    yield measure_cost(what, FlashAttention, ms.bfloat16, length=4096)


def measure_cost(what: str, make: Callable[..., nn.Cell], compute: ms.Type, *, length: int) -> Finding:
    case = Case(num_heads=16, num_groups=2, head_dim=128, causal=True, lengths=(length // 4,) * 4)
    inputs = make_inputs(case)
    tensors = [ms.Tensor(each).astype(compute) for each in (inputs.q, inputs.k, inputs.v)]
    keys, ends = ms.Tensor(inputs.keys), ms.Tensor(inputs.ends)
    kernel = make(case.num_heads, case.head_dim, causal=True)

    @ms.jit
    def told(q: ms.Tensor, k: ms.Tensor, v: ms.Tensor, keys: ms.Tensor, ends: ms.Tensor) -> ms.Tensor:
        for _ in range(_LAYERS):
            q = kernel(q, k, v, keys, ends)
        return q

    @ms.jit
    def built_in(q: ms.Tensor, k: ms.Tensor, v: ms.Tensor) -> ms.Tensor:
        for _ in range(_LAYERS):
            q = kernel(q, k, v, keys, ends)
        return q

    as_inputs = median_seconds(lambda: told(*tensors, keys, ends)) / _LAYERS
    as_constants = median_seconds(lambda: built_in(*tensors)) / _LAYERS
    return ok(
        what,
        f"{length:,} tokens: {as_inputs * 1e6:.0f} us a call, {as_constants * 1e6:.0f} where they are constants of the "
        f"graph: {as_inputs / as_constants:.2f} times",
    )


def make_inputs(case: Case) -> Inputs:
    random = np.random.RandomState(0)
    length = sum(case.lengths)
    ends = np.cumsum(case.lengths)
    starts = ends - case.lengths
    tokens = np.arange(length)
    segments = np.searchsorted(ends, tokens, side="right")
    last = tokens + 1 if case.causal else ends[segments]

    def normal(heads: int) -> Float32:
        """Numbers that bfloat16 holds."""
        values = random.normal(size=(length, heads, case.head_dim)).astype(np.float32)
        return (values.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)

    return Inputs(
        q=normal(case.num_heads),
        k=normal(case.num_groups),
        v=normal(case.num_groups),
        dout=normal(case.num_heads),
        keys=np.stack([starts[segments], last], 1).astype(np.int32),
        ends=ends.astype(np.int32),
    )


def run(attention: nn.Cell, inputs: Inputs, compute: ms.Type) -> tuple[Float32, ...]:
    """The result, and the gradients of q, k and v."""
    q, k, v, dout = (ms.Tensor(each).astype(compute) for each in (inputs.q, inputs.k, inputs.v, inputs.dout))
    keys, ends = ms.Tensor(inputs.keys), ms.Tensor(inputs.ends)

    def weighted(q: ms.Tensor, k: ms.Tensor, v: ms.Tensor, keys: ms.Tensor, ends: ms.Tensor) -> tuple[ms.Tensor, ...]:
        out = attention(q, k, v, keys, ends)
        return (ops.cast(out, ms.float32) * ops.cast(dout, ms.float32)).sum(), out

    differentiate = ms.value_and_grad(weighted, (0, 1, 2), has_aux=True)

    @ms.jit
    def step(q: ms.Tensor, k: ms.Tensor, v: ms.Tensor, keys: ms.Tensor, ends: ms.Tensor) -> tuple[ms.Tensor, ...]:
        (_, out), gradients = differentiate(q, k, v, keys, ends)
        return out, *gradients

    return tuple(each.astype(ms.float32).asnumpy() for each in step(q, k, v, keys, ends))


def reference(inputs: Inputs) -> tuple[npt.NDArray[np.float64], ...]:
    """The same in NumPy, float64, over the matrix of all scores."""
    q, k, v, dout = (each.astype(np.float64).swapaxes(0, 1) for each in (inputs.q, inputs.k, inputs.v, inputs.dout))
    repeats = len(q) // len(k)
    k, v = np.repeat(k, repeats, 0), np.repeat(v, repeats, 0)
    scale = q.shape[-1] ** -0.5
    key = np.arange(q.shape[1])
    seen = (key >= inputs.keys[:, :1]) & (key < inputs.keys[:, 1:])
    scores = np.where(seen, scale * q @ k.swapaxes(1, 2), -np.inf)
    p = np.exp(scores - scores.max(-1, keepdims=True))
    p /= p.sum(-1, keepdims=True)
    out = p @ v
    dp = dout @ v.swapaxes(1, 2)
    ds = p * (dp - (dp * p).sum(-1, keepdims=True)) * scale
    of_keys = (
        each.reshape(-1, repeats, *each.shape[1:]).sum(1) for each in (ds.swapaxes(1, 2) @ q, p.swapaxes(1, 2) @ dout)
    )
    return tuple(each.swapaxes(0, 1) for each in (out, ds @ k, *of_keys))


def _distance(got: Sequence[npt.NDArray[np.floating]], expected: Sequence[npt.NDArray[np.floating]]) -> float:
    """The largest difference, relative to the largest value of its array. Not a number where one is not."""
    return float(
        np.max([np.abs(one - other).max() / np.abs(other).max() for one, other in zip(got, expected, strict=True)])
    )
