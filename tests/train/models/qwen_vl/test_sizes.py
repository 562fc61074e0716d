"""What is counted before there is a model is what the model has, in each family."""

from __future__ import annotations

import copy
import math
from typing import Any

import pytest

from tests.shards.architecture.test_qwen2_vl import PUBLISHED as QWEN2_VL_2B
from tests.shards.architecture.test_qwen3_vl import PUBLISHED as QWEN3_VL_4B
from tests.train.golden_families import FAMILIES, GoldenFamily
from train.models import family_of, qwen2_vl, qwen3_vl


@pytest.mark.parametrize("is_tied", [True, False])
@pytest.mark.parametrize("name", FAMILIES)
def test_shapes_groups_and_layers_are_those_of_the_model(name: str, is_tied: bool) -> None:
    model = GoldenFamily(name).build(is_tied=is_tied)
    family = family_of(name)
    sizes = family.sizes(model.config)
    assert sizes.shapes == {each.name: tuple(each.shape) for each in model.get_parameters()}
    assert next(iter(sizes.shapes)) == next(iter(model.get_parameters())).name
    assert sizes.group_of == {each.name: model.group_of(each.name) for each in model.get_parameters()}
    assert sizes.linear == {name for name, layer in model.adaptable_layers().items() if layer is not None}
    matrices = [math.prod(shape) for shape in sizes.shapes.values() if len(shape) > 1]
    assert family.num_matrix_values(model.config) == sum(matrices)


@pytest.mark.parametrize(
    ("name", "mergers"),
    [
        ("qwen2_vl", {"visual.merger"}),
        (
            "qwen3_vl",
            {
                "model.visual.merger",
                "model.visual.deepstack_merger_list.0",
                "model.visual.deepstack_merger_list.1",
            },
        ),
    ],
)
def test_every_merger_is_of_the_group_mlp(name: str, mergers: set[str]) -> None:
    model = GoldenFamily(name).build()
    groups = family_of(name).sizes(model.config).group_of
    ours = {parameter for parameter, group in groups.items() if group == "mlp"}
    assert ours == {parameter for parameter in groups if parameter.startswith(tuple(f"{each}." for each in mergers))}
    assert all(any(parameter.startswith(f"{each}.") for parameter in ours) for each in mergers)
    assert {group for parameter, group in groups.items() if "visual." not in parameter} == {"llm"}


def qwen2(width: int, inner: int, layers: int, heads: int, key_value_heads: int) -> dict[str, Any]:
    record = copy.deepcopy(QWEN2_VL_2B) | {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "tie_word_embeddings": False,
        "vocab_size": 152064,
    }
    record["vision_config"]["hidden_size"] = width
    return record


def qwen3(width: int, inner: int, layers: int, heads: int, *, tied: bool, large_tower: bool) -> dict[str, Any]:
    record = copy.deepcopy(QWEN3_VL_4B)
    record["text_config"] |= {
        "hidden_size": width,
        "intermediate_size": inner,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "tie_word_embeddings": tied,
    }
    record["vision_config"]["out_hidden_size"] = width
    if large_tower:
        record["vision_config"] |= {
            "depth": 27,
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "deepstack_visual_indexes": [8, 16, 24],
        }
    return record


# Numbers of parameters: those of transformers 4.57.1, built from these files on PyTorch's device `meta`.
PUBLISHED: dict[str, tuple[dict[str, Any], int]] = {
    "Qwen2-VL-2B": (QWEN2_VL_2B, 2_208_985_600),
    "Qwen2-VL-7B": (qwen2(3584, 18944, 28, 28, 4), 8_291_375_616),
    "Qwen2-VL-72B": (qwen2(8192, 29568, 80, 64, 8), 73_405_560_320),
    "Qwen3-VL-2B": (qwen3(2048, 6144, 28, 16, tied=True, large_tower=False), 2_127_532_032),
    "Qwen3-VL-4B": (QWEN3_VL_4B, 4_437_815_808),
    "Qwen3-VL-8B": (qwen3(4096, 12288, 36, 32, tied=False, large_tower=True), 8_767_123_696),
    "Qwen3-VL-32B": (qwen3(5120, 25600, 64, 64, tied=False, large_tower=True), 33_357_390_064),
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_the_published_models(name: str) -> None:
    record, number = PUBLISHED[name]
    family = qwen3_vl.FAMILY if record["model_type"] == "qwen3_vl" else qwen2_vl.FAMILY
    config = family.reader.parse(record)  # type: ignore[attr-defined]
    assert sum(map(math.prod, family.sizes(config).shapes.values())) == number
