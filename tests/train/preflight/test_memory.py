"""The arithmetic of model state: the published models, and that counted shapes are those of the model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from shards.architecture.qwen2_5_vl import READER, ModelConfig, VisionConfig
from shards.architecture.qwen_vl import QWEN2
from shards.batch import BatchShape
from tests.train.golden_case import CONFIG, build_golden_model
from train.adapters.lora import add_adapters
from train.arguments import TrainArguments
from train.models import cross_entropy
from train.models.qwen2_5_vl import sizes
from train.models.sizes import ModelSizes
from train.preflight import memory
from train.preflight.memory import GB, count_parameters, lowest_stage, memory_of, state_bytes

ARGUMENTS = TrainArguments(shards=Path("s"), model=Path("m"), output_dir=Path("o"))
# Qwen/Qwen2.5-VL-*-Instruct, config.json: hidden_size, intermediate_size, layers, heads, key-value heads, vocabulary,
# tied, and the vision tower's intermediate_size; then billions of parameters.
PUBLISHED = {
    "3B": (2048, 11008, 36, 16, 2, 151936, True, 3420, 3.755),
    "7B": (3584, 18944, 28, 28, 4, 152064, False, 3420, 8.292),
    "32B": (5120, 27648, 64, 40, 8, 152064, False, 3456, 33.45),
    "72B": (8192, 29568, 80, 64, 8, 152064, False, 3456, 73.41),
}
STATE_GB = {  # of one of N devices, at each stage; float32 weights, sums and two moments
    ("3B", 8): (60.1, 33.8, 20.7, 7.5),
    ("7B", 8): (132.7, 74.6, 45.6, 16.6),
    ("32B", 8): (535.2, 301.1, 184.0, 66.9),
    ("32B", 16): (535.2, 284.3, 158.9, 33.5),
    ("32B", 32): (535.2, 276.0, 146.3, 16.7),
    ("72B", 32): (1174.6, 605.6, 321.2, 36.7),
    ("72B", 64): (1174.6, 596.5, 307.4, 18.4),
}

SHAPE = BatchShape(
    pack_length=8192,
    segments=16,
    label_tokens=4096,
    image_patches=16384,
    video_patches=4,
    patches=16384,
    temporal_slices=32,
    windows=512,
)


def published(name: str) -> ModelSizes:
    width, inner, layers, heads, kv_heads, words, tied, vision_inner, _ = PUBLISHED[name]
    config = ModelConfig(
        generation=QWEN2,
        vocab_size=words,
        hidden_size=width,
        intermediate_size=inner,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=kv_heads,
        head_dim=128,
        rms_norm_eps=1e-6,
        rope_theta=1e6,
        mrope_section=(16, 24, 24),
        tie_word_embeddings=tied,
        vision=VisionConfig(
            depth=32,
            hidden_size=1280,
            intermediate_size=vision_inner,
            num_heads=16,
            out_hidden_size=width,
            patch_size=14,
            temporal_patch_size=2,
            spatial_merge_size=2,
            window_size=112,
            fullatt_block_indexes=(7, 15, 23, 31),
        ),
    )
    return sizes(config)


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_of_the_published_models(name: str) -> None:
    assert count_parameters(published(name), ARGUMENTS).all / 1e9 == pytest.approx(PUBLISHED[name][-1], rel=1e-3)


@pytest.mark.parametrize(("name", "num_ranks"), STATE_GB)
def test_model_state_of_a_device(name: str, num_ranks: int) -> None:
    parameters = count_parameters(published(name), ARGUMENTS)
    for stage, expected in enumerate(STATE_GB[name, num_ranks]):
        assert sum(state_bytes(parameters, stage, num_ranks)) / GB == pytest.approx(expected, rel=0.01)


@pytest.mark.parametrize("tied", [True, False])
def test_shapes_are_those_of_the_model(tied: bool) -> None:
    config = READER.parse({**CONFIG, "tie_word_embeddings": tied})
    model = build_golden_model(tie_word_embeddings=tied)
    counted = sizes(config)
    assert counted.shapes == {each.name: tuple(each.shape) for each in model.get_parameters()}
    assert counted.group_of == {each.name: model.group_of(each.name) for each in model.get_parameters()}
    assert counted.linear == {name for name, layer in model.adaptable_layers().items() if layer is not None}


@pytest.mark.parametrize("targets", ["q_proj,gate_proj", "all-linear"])
def test_adapters_are_counted_as_they_are_made(targets: str) -> None:
    config = READER.parse({**CONFIG, "tie_word_embeddings": False})
    model = build_golden_model(tie_word_embeddings=False)
    arguments = replace(ARGUMENTS, lora_enable=True, lora_r=3, lora_target_modules=targets)
    adapters = add_adapters(model, targets, base_model="m", r=3, alpha=6, dropout=0.0, seed=0)
    trained = sum(each.size for each in adapters.parameters)
    assert count_parameters(sizes(config), arguments).trained == trained > 0


def test_chunks_of_the_head_are_those_of_the_cross_entropy() -> None:
    assert (memory.CHUNK_TOKENS, memory.MAX_CHUNKS) == (cross_entropy.CHUNK_TOKENS, cross_entropy.MAX_CHUNKS)
    model = published("7B")

    def head(label_tokens: int) -> int:
        return memory_of(model, replace(SHAPE, label_tokens=label_tokens), ARGUMENTS, 0, 1).head

    assert head(100) < head(512) == head(4096) == head(512 * 32) < head(512 * 64), "one chunk's logits at a time"


def test_the_lowest_stage_that_fits() -> None:
    arguments = replace(ARGUMENTS, bf16=True, gradient_checkpointing=True)
    stages = {name: lowest_stage(published(name), SHAPE, arguments, 8, 64) for name in PUBLISHED}
    assert stages == {"3B": 1, "7B": 2, "32B": None, "72B": None}
    assert lowest_stage(published("32B"), SHAPE, arguments, 32, 64) == 3
    assert lowest_stage(published("3B"), SHAPE, replace(arguments, lora_enable=True), 1, 64) == 0
