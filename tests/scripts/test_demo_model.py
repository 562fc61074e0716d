"""The demo's model folders: tokens in the published order, names and shapes of the config, each family."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from demo_build import Demo
from demo_model import (
    FAMILIES,
    PLAIN_ADDED_TOKENS,
    SIZES,
    SPECIAL_TOKENS,
    random_weights,
    train_tokenizer,
    write_model_folder,
)
from demo_qwen2_5_vl import weight_shapes
from demo_sizes import ModelSize
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from shards import read_model_constants


@pytest.fixture(scope="module")
def tokenizer(demo: Demo) -> Tokenizer:
    return Tokenizer.from_file(str(demo.model / "tokenizer.json"))


def test_special_tokens_come_last_in_the_published_order(demo: Demo, tokenizer: Tokenizer) -> None:
    ids = [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS + PLAIN_ADDED_TOKENS]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert (
        ids[-1] + 1 == tokenizer.get_vocab_size() <= json.loads((demo.model / "config.json").read_text())["vocab_size"]
    )
    assert ids[0] > 600, "too few merges were learned"


def test_tool_call_is_added_but_not_special(tokenizer: Tokenizer) -> None:
    special = {token.content: token.special for token in tokenizer.get_added_tokens_decoder().values()}
    assert special["<tool_call>"] is special["</tool_call>"] is False
    assert all(special[token] for token in SPECIAL_TOKENS)
    assert len(tokenizer.encode("<tool_call>").ids) == 1


def test_special_tokens_in_text_can_be_switched_off(tokenizer: Tokenizer) -> None:
    copy = Tokenizer.from_str(tokenizer.to_str())
    assert copy.encode("<|im_end|>").ids == [copy.token_to_id("<|im_end|>")]
    copy.encode_special_tokens = True
    assert copy.token_to_id("<|im_end|>") not in copy.encode("<|im_end|>").ids
    assert copy.encode("<tool_call>").ids == [copy.token_to_id("<tool_call>")]


@pytest.mark.parametrize(
    "text", ["Read all values of this chart.\n", "a\tb  \n\n# 12", "\u56fe\u8868 \U0001f4ca", "it's"]
)
def test_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_tokenizer_normalises_to_nfc(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("cafe\u0301").ids == tokenizer.encode("caf\u00e9").ids


def test_the_tokenizer_ignores_the_order_of_its_texts() -> None:
    texts = [f"{word} {number}" for word in ("bars", "lines", "pies") for number in range(20)]
    assert train_tokenizer(texts, vocab_size=400).to_str() == train_tokenizer(texts[::-1], vocab_size=400).to_str()


def test_the_project_reads_the_constants(demo: Demo) -> None:
    constants = read_model_constants(demo.model)
    assert constants.grid_factor == 28
    assert constants.window_size == 112
    assert constants.tokens_per_second == 2


def test_weights_have_the_published_names_and_the_shapes_of_the_config(demo: Demo) -> None:
    weights = load_file(demo.model / "model.safetensors")
    assert {name: weight.shape for name, weight in weights.items()} == dict(weight_shapes(ModelSize()))
    assert "lm_head.weight" not in weights
    assert weights["visual.patch_embed.proj.weight"].shape == (32, 3, 2, 14, 14)
    assert weights["model.layers.1.self_attn.k_proj.weight"].shape == (32, 64)
    assert all(weight.dtype == np.float32 and np.isfinite(weight).all() for weight in weights.values())
    assert sum(weight.size for weight in weights.values()) < 300_000


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_a_folder_that_the_project_reads(family: str, tmp_path: Path) -> None:
    write_model_folder(tmp_path / "model", ["a"], family=family)
    constants = read_model_constants(tmp_path / "model")
    assert (constants.model_type, constants.patch_size) == (family, SIZES[family].patch_size)
    weights = load_file(tmp_path / "model" / "model.safetensors")
    shapes = dict(FAMILIES[family].weight_shapes(SIZES[family]))
    assert {name: weight.shape for name, weight in weights.items()} == shapes
    prefixes = {name.partition(".")[0] if "visual" not in name else name.split("visual")[0] for name in shapes}
    assert prefixes == ({"model", "model."} if family == "qwen3_vl" else {"model", ""})
    assert sum(weight.size for weight in weights.values()) < 300_000


def test_rope_sections_fill_half_a_head(demo: Demo) -> None:
    config = json.loads((demo.model / "config.json").read_text())
    head_size = config["hidden_size"] // config["num_attention_heads"]
    assert 2 * sum(config["rope_scaling"]["mrope_section"]) == head_size
    assert ModelSize(hidden_size=512, num_heads=4).mrope_section == [16, 24, 24]


def test_a_smaller_model_can_be_asked_for() -> None:
    size = ModelSize(vocab_size=400, hidden_size=32, intermediate_size=64, vision_hidden_size=16)
    weights = random_weights(size, seed=1)
    assert sum(weight.size for weight in weights.values()) < 80_000
    assert not np.array_equal(
        weights["model.embed_tokens.weight"], random_weights(size, 2)["model.embed_tokens.weight"]
    )
