import json
from pathlib import Path

import numpy as np
import pytest
from mindspore import Parameter, ParameterTuple, Tensor, nn, ops, value_and_grad
from mindspore.common.api import ms_compile_cache

from train.steps.optimizer import AccumulateGradients, AdamW, zeros_like_parameters

GOLDEN = json.loads((Path(__file__).parents[2] / "golden" / "optimizer.json").read_text())["adamw"]


def float32(values: list) -> np.ndarray:
    return np.asarray(values, dtype=np.float32)


def make_parameters(values: dict[str, np.ndarray]) -> list[Parameter]:
    return [Parameter(Tensor(value), name=name) for name, value in values.items()]


class Line(nn.Cell):
    """Sum over tokens of (x . w + b - y)^2."""

    is_traced = True

    def __init__(self) -> None:
        super().__init__()
        self.weight = Parameter(Tensor(float32([[1.0], [-2.0]])), name="weight")
        self.bias = Parameter(Tensor(float32([0.5])), name="bias")

    def construct(self, x, y):
        return ((x @ self.weight + self.bias - y) ** 2).sum()

    def loss_and_gradients(self):
        return value_and_grad(self, None, ParameterTuple(self.trainable_params()))


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda run: f"decay{run['weight_decay']}-clip{run['max_grad_norm']}")
def test_steps_are_those_of_pytorch(golden: dict) -> None:
    parameters = make_parameters({name: float32(value) for name, value in golden["start"].items()})
    sums = zeros_like_parameters(parameters, "gradient_sum")
    optimizer = AdamW(
        parameters,
        sums,
        groups=[int(parameter.name in golden["groups"][1]) for parameter in parameters],
        weight_decay=golden["weight_decay"],
        max_grad_norm=golden["max_grad_norm"],
    )
    optimizer.compile()
    for step in golden["steps"]:
        for parameter, total in zip(parameters, sums, strict=True):
            ops.assign(total, Tensor(float32(step["gradients"][parameter.name]) * 8))
        norm = optimizer.step(step["learning_rates"], divisor=8)
        assert norm == pytest.approx(step["norm"], rel=1e-6)
        for parameter, total in zip(parameters, sums, strict=True):
            expected = float32(step["after"][parameter.name])
            np.testing.assert_allclose(parameter.asnumpy(), expected, rtol=0, atol=4e-7)
            assert not total.asnumpy().any()


def test_golden_steps_have_two_groups_and_are_clipped_and_not_clipped() -> None:
    for run in GOLDEN:
        assert [len(group) for group in run["groups"]] == [2, 2]
        assert all(len(set(step["learning_rates"])) == 2 for step in run["steps"])
    clipped = [step["norm"] > run["max_grad_norm"] for run in GOLDEN if run["max_grad_norm"] for step in run["steps"]]
    assert 0 < sum(clipped) < len(clipped)


def test_decay_spares_parameters_with_one_axis() -> None:
    parameters = make_parameters({"norm.weight": np.ones(3, np.float32), "weight": np.ones((2, 3), np.float32)})
    sums = zeros_like_parameters(parameters, "gradient_sum")
    optimizer = AdamW(parameters, sums, groups=[0, 0], weight_decay=0.5, max_grad_norm=1.0)
    optimizer.step([0.1], divisor=1)
    np.testing.assert_array_equal(parameters[0].asnumpy(), np.ones(3, np.float32))
    np.testing.assert_allclose(parameters[1].asnumpy(), np.full((2, 3), 0.95, np.float32), rtol=1e-7)


def test_compiling_changes_no_bit() -> None:
    before = np.random.default_rng(0).normal(size=(5, 7)).astype(np.float32)
    before[0, 0] = -0.0
    parameters = make_parameters({"weight": before.copy()})
    sums = zeros_like_parameters(parameters, "gradient_sum")
    optimizer = AdamW(parameters, sums, groups=[0], weight_decay=0.1, max_grad_norm=1.0)
    optimizer.compile()
    assert parameters[0].asnumpy().tobytes() == before.tobytes()
    assert optimizer.num_steps == 0


def test_hundreds_of_parameters_compile() -> None:
    """A Python loop in the graph fails here: the 3B model has 824 parameters."""
    parameters = make_parameters({f"weight.{index}": np.ones((2, 2), np.float32) for index in range(400)})
    sums = zeros_like_parameters(parameters, "gradient_sum")
    ops.assign(sums[399], Tensor(np.ones((2, 2), np.float32)))
    groups = [index % 3 for index in range(400)]
    optimizer = AdamW(parameters, sums, groups=groups, weight_decay=0.0, max_grad_norm=0.0)
    assert optimizer.step([0.1, 0.2, 0.3], divisor=1) == pytest.approx(2.0)
    np.testing.assert_allclose(parameters[399].asnumpy(), 0.9, rtol=1e-6)
    np.testing.assert_array_equal(parameters[0].asnumpy(), 1.0)


def test_gradients_add_up_over_packs_as_sums() -> None:
    model = Line()
    accumulate = AccumulateGradients(model)
    rng = np.random.default_rng(1)
    packs = [(rng.normal(size=(4, 2)).astype(np.float32), rng.normal(size=(4, 1)).astype(np.float32)) for _ in range(3)]
    losses = [float(accumulate(Tensor(x), Tensor(y)).asnumpy()) for x, y in packs]

    x, y = (np.concatenate(arrays) for arrays in zip(*packs, strict=True))
    errors = x @ model.weight.asnumpy() + model.bias.asnumpy() - y
    assert sum(losses) == pytest.approx(float((errors**2).sum()), rel=1e-6)
    np.testing.assert_allclose(accumulate.sums[0].asnumpy(), 2 * x.T @ errors, rtol=1e-5)
    np.testing.assert_allclose(accumulate.sums[1].asnumpy(), 2 * errors.sum(axis=0), rtol=1e-5)


def test_frozen_parameters_have_no_sum() -> None:
    model = Line()
    model.bias.requires_grad = False
    assert [total.name for total in AccumulateGradients(model).sums] == ["gradient_sum.weight"]


def test_new_learning_rates_do_not_compile_again() -> None:
    parameters = make_parameters({name: np.ones((2, 2), np.float32) for name in ("weight", "slow.weight")})
    sums = zeros_like_parameters(parameters, "gradient_sum")
    optimizer = AdamW(parameters, sums, groups=[0, 1], weight_decay=0.1, max_grad_norm=1.0)
    before = set(ms_compile_cache)
    optimizer.compile()
    compiled = set(ms_compile_cache)
    assert compiled - before
    for step, rate in enumerate((0.1, 0.01, 0.001), start=1):
        optimizer.step([rate, rate / 10], divisor=step)
    assert set(ms_compile_cache) == compiled


def test_there_is_one_learning_rate_for_each_group() -> None:
    parameters = make_parameters({name: np.ones((2, 2), np.float32) for name in ("weight", "slow.weight")})
    sums = zeros_like_parameters(parameters, "gradient_sum")
    optimizer = AdamW(parameters, sums, groups=[0, 1], weight_decay=0.1, max_grad_norm=1.0)
    with pytest.raises(ValueError, match="1 learning rates for 2 groups"):
        optimizer.step([0.1], divisor=1)
