"""The comparison of kernels takes what is right, and sees what is wrong. The kernel of Ascend is played by others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import pytest
from mindspore import nn, ops

from train.cluster.world import World
from train.doctor import attention
from train.doctor.attention import TEXT, VISION, Case, check, check_kernel, check_operators, make_inputs, measure_cost
from train.models.attention import SequenceAttention


class Playing(nn.Cell):
    """`SequenceAttention` called as the kernel is; `change` spoils its result or what it is told."""

    def __init__(self, head_dim: int, causal: bool, change: Callable[..., Any]) -> None:
        super().__init__()
        self.attend = SequenceAttention(head_dim, causal=causal)
        self.change = change

    def construct(self, q: ms.Tensor, k: ms.Tensor, v: ms.Tensor, keys: ms.Tensor, ends: ms.Tensor) -> ms.Tensor:
        return self.change(self.attend, q, k, v, keys, ends)


def right(attend, q, k, v, keys, ends):
    return attend(q, k, v, keys, ends)


def one_segment(attend, q, k, v, keys, ends):
    first = ops.zeros_like(keys[:, :1])
    return attend(q, k, v, ops.concat((first, keys[:, 1:]), 1), ends)


def not_a_number(attend, q, k, v, keys, ends):
    return attend(q, k, v, keys, ends) * float("nan")


def no_gradient_of_v(attend, q, k, v, keys, ends):
    return attend(q, k, ops.stop_gradient(v), keys, ends)


def player(change: Callable[..., Any]) -> Callable[..., nn.Cell]:
    return lambda num_heads, head_dim, *, causal: Playing(head_dim, causal, change)


@pytest.mark.parametrize("case", [VISION, TEXT], ids=["vision", "text"])
def test_operators_equal_numpy_with_empty_segments(case: Case) -> None:
    assert case.lengths.count(0) >= 3
    assert 0 in case.lengths[1:-1] and case.lengths[-1] == 0, "between others, and at the end"
    assert check_operators(case, "CPU").outcome == "ok"


def test_heads_are_those_of_the_real_towers() -> None:
    assert (VISION.head_dim, TEXT.head_dim) == (80, 128)
    assert TEXT.num_heads > TEXT.num_groups > 1


@pytest.mark.parametrize(
    ("change", "outcome"),
    [(right, "ok"), (one_segment, "FAILED"), (not_a_number, "FAILED"), (no_gradient_of_v, "FAILED")],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_kernel_is_right_in_its_result_and_its_gradients(change: Callable[..., Any], outcome: str) -> None:
    assert check_kernel(TEXT, player(change), ms.float16).outcome == outcome


def test_inputs_are_exact_in_bfloat16() -> None:
    inputs = make_inputs(VISION)
    assert (inputs.q.view("uint32") & 0xFFFF).max() == 0
    assert inputs.q.std() > 0.9


def test_the_cost_of_segments_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(attention, "_LAYERS", 1)
    detail = measure_cost("cost", player(right), ms.float32, length=64).detail
    assert detail.startswith("64 tokens: ") and detail.endswith(" times")


def test_on_cpu_the_kernel_is_skipped() -> None:
    assert [each.outcome for each in check(World.single())] == ["ok", "ok", "skipped", "skipped"]
