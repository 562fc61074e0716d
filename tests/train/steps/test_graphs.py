"""Graphs are compiled at the level of the run, and name all parameters that they read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from tests.train.golden_case import build_golden_model
from train.adapters.lora import add_adapters
from train.cluster.world import World
from train.steps import graphs
from train.steps.graphs import Graph, compiled, set_jit_level
from train.steps.optimizer import AccumulateGradients, Update
from train.steps.zero import AccumulateOnRanks


class Sum(Graph):
    @compiled
    def construct(self, x: ms.Tensor) -> ms.Tensor:
        return x.sum()


def test_the_level_is_the_one_that_is_set_when_a_graph_first_runs_and_what_cannot_be_traced_has_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    levels: list[str] = []
    jit = ms.jit

    def noting(function: Callable[..., Any], *, jit_level: str) -> Callable[..., Any]:
        levels.append(jit_level)
        return jit(function, jit_level=jit_level)

    monkeypatch.setattr(ms, "jit", noting)
    monkeypatch.setattr(graphs, "_level", "O0")

    class Cell(Graph):
        @compiled
        def construct(self, x: ms.Tensor) -> ms.Tensor:
            return x.sum()

    assert levels == []
    set_jit_level("O1")
    x = ms.Tensor(np.ones(3, np.float32))
    assert Cell(is_traced=False)(x).asnumpy() == 3
    assert levels == []
    cell = Cell()
    assert cell(x).asnumpy() == cell(x).asnumpy() == 3
    assert levels == ["O1"]


def test_it_is_one_graph_and_not_single_operators() -> None:
    assert Sum()(ms.Tensor(np.ones(3, np.float32))).asnumpy() == 3
    assert any("test_graphs" in phase for phase in ms.common.api.ms_compile_cache)


@pytest.mark.parametrize("make", [AccumulateGradients, lambda model: AccumulateOnRanks(model, World.single(), 2)])
def test_accumulation_names_weights_sums_and_what_dropout_reads(make: Callable[..., Graph]) -> None:
    model = build_golden_model()
    adapters = add_adapters(model, "q_proj", base_model="m", r=2, alpha=4, dropout=0.5, seed=0)
    accumulate = make(model)
    accumulate.reads(adapters.state)
    names = accumulate.parameters_dict()
    assert {each.name for each in model.get_parameters()} < set(names)
    assert {each.name for each in accumulate.sums} < set(names)
    assert names["lora_dropout"] is adapters.dropout.state
    assert len(names) == len(set(map(id, names.values())))


def test_the_update_names_all_that_it_changes() -> None:
    model = build_golden_model()
    sums = AccumulateGradients(model).sums
    parameters = ms.ParameterTuple(model.trainable_params())
    update = Update(parameters, sums, (0,) * len(parameters), (False,) * len(parameters), 1.0)
    assert len(update.parameters_dict()) == 4 * len(parameters)
