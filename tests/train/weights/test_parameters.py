"""safetensors files in every form in which they are on disk."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest
from mindspore import nn
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from tests.train.golden_case import build_golden_model, empty_golden_model
from train.errors import WeightsError
from train.models.qwen2_5_vl import NAMES
from train.models.trained import TrainedModel
from train.weights.files import INDEX_FILE, SINGLE_FILE, StoredWeight, from_float32, to_float32
from train.weights.parameters import load_weights, save_weights, weight_of
from train.weights.parts import Part

Weights = dict[str, np.ndarray]


def weights_of(model: TrainedModel) -> Weights:
    return {parameter.name: parameter.asnumpy() for parameter in model.get_parameters()}


WEIGHTS = weights_of(build_golden_model())


def load(model: TrainedModel, folder: Path) -> None:
    load_weights(model.weights(), folder, model.names, model.tied_weights)


def nested(weights: Weights) -> Weights:
    """Names as in `Qwen2_5_VLForConditionalGeneration.state_dict()` of transformers 4.57.1."""
    renamed = {}
    for name, value in weights.items():
        if name.startswith("visual."):
            name = f"model.{name}"
        elif name.startswith("model."):
            name = f"model.language_model.{name.removeprefix('model.')}"
        renamed[name] = value
    return renamed


def write_single(folder: Path, weights: Weights) -> None:
    save_file(weights, folder / SINGLE_FILE)


def write_sharded(folder: Path, weights: Weights) -> None:
    names = sorted(weights)
    parts = {f"model-{index + 1:05d}-of-00003.safetensors": names[index::3] for index in range(3)}
    for file, part in parts.items():
        save_file({name: weights[name] for name in part}, folder / file)
    weight_map = {name: file for file, part in parts.items() for name in part}
    (folder / INDEX_FILE).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def assert_loaded(model: TrainedModel, expected: Weights) -> None:
    loaded = weights_of(model)
    assert set(loaded) == set(expected)
    for name, value in expected.items():
        assert loaded[name].dtype == np.float32
        np.testing.assert_array_equal(loaded[name], value, err_msg=name)


@pytest.mark.parametrize("rename", [dict, nested], ids=["flat", "nested"])
@pytest.mark.parametrize("write", [write_single, write_sharded])
def test_both_namings_load_from_one_file_and_from_several(
    write: Callable[[Path, Weights], None], rename: Callable[[Weights], Weights], tmp_path: Path
) -> None:
    stored = rename(WEIGHTS)
    assert ("model.visual.patch_embed.proj.weight" in stored) == (rename is nested)
    write(tmp_path, stored)
    model = empty_golden_model()
    load(model, tmp_path)
    assert_loaded(model, WEIGHTS)


def test_names_are_those_of_the_published_checkpoints() -> None:
    assert {
        "visual.patch_embed.proj.weight",
        "visual.blocks.0.norm1.weight",
        "visual.blocks.0.attn.qkv.bias",
        "visual.blocks.2.mlp.gate_proj.bias",
        "visual.merger.ln_q.weight",
        "visual.merger.mlp.0.weight",
        "visual.merger.mlp.2.bias",
        "model.embed_tokens.weight",
        "model.layers.1.self_attn.k_proj.bias",
        "model.layers.1.self_attn.o_proj.weight",
        "model.layers.0.mlp.down_proj.weight",
        "model.layers.0.post_attention_layernorm.weight",
        "model.norm.weight",
        "lm_head.weight",
    } <= set(WEIGHTS)
    assert WEIGHTS["visual.patch_embed.proj.weight"].shape == (16, 3, 2, 4, 4)


@pytest.mark.parametrize("with_head", [True, False])
def test_a_tied_head_may_be_stored_or_not(with_head: bool, tmp_path: Path) -> None:
    expected = {name: value for name, value in WEIGHTS.items() if name != "lm_head.weight"}
    stored = {**expected, "lm_head.weight": expected["model.embed_tokens.weight"]} if with_head else expected
    write_single(tmp_path, stored)
    model = empty_golden_model(tie_word_embeddings=True)
    load(model, tmp_path)
    assert_loaded(model, expected)


def test_a_tied_head_that_differs_from_the_embedding_is_an_error(tmp_path: Path) -> None:
    write_single(tmp_path, WEIGHTS)
    with pytest.raises(WeightsError, match=r"lm_head.weight differs from model.embed_tokens.weight"):
        load(empty_golden_model(tie_word_embeddings=True), tmp_path)


def without(name: str) -> Weights:
    return {key: value for key, value in WEIGHTS.items() if key != name}


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (without("lm_head.weight"), "missing: lm_head.weight$"),
        (without("visual.blocks.1.attn.qkv.bias"), "missing: visual.blocks.1.attn.qkv.bias$"),
        ({**WEIGHTS, "visual.blocks.3.norm1.weight": np.ones(16, np.float32)}, "unexpected: visual.blocks.3.norm1"),
        (nested({**WEIGHTS, "model.extra": np.ones(1, np.float32)}), "unexpected: model.language_model.extra$"),
        ({}, r"missing: lm_head.weight, .* and 59 more$"),
        ({**WEIGHTS, "model.norm.weight": np.ones(31, np.float32)}, r"model.norm.weight has shape \(31,\), .* \(32,\)"),
        ({**WEIGHTS, "model.norm.weight": np.ones(32, np.int64)}, "model.norm.weight is I64; supported: F32"),
        ({**WEIGHTS, "model.visual.merger.ln_q.weight": np.ones(16, np.float32)}, "are the same weight"),
    ],
    ids=["no head", "no bias", "deeper", "nested extra", "nothing", "shape", "dtype", "twice"],
)
def test_weights_that_do_not_fit_are_an_error_that_names_them(stored: Weights, message: str, tmp_path: Path) -> None:
    write_single(tmp_path, stored)
    with pytest.raises(WeightsError, match=message) as raised:
        load(empty_golden_model(), tmp_path)
    assert str(tmp_path) in str(raised.value)


def test_files_that_are_missing_or_broken_are_errors(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=f"has neither {SINGLE_FILE}"):
        load(empty_golden_model(), tmp_path)

    whole = tmp_path / SINGLE_FILE
    write_single(tmp_path, WEIGHTS)
    content = whole.read_bytes()
    for broken, message in ((content[:-8], "ends within"), (content[:100], "not a safetensors"), (b"", "not a safe")):
        whole.write_bytes(broken)
        with pytest.raises(WeightsError, match=message):
            load(empty_golden_model(), tmp_path)

    write_sharded(tmp_path, WEIGHTS)
    os.remove(tmp_path / "model-00002-of-00003.safetensors")
    with pytest.raises(WeightsError, match="model-00002-of-00003"):
        load(empty_golden_model(), tmp_path)
    (tmp_path / INDEX_FILE).write_text("{}")
    with pytest.raises(WeightsError, match="is not an index"):
        load(empty_golden_model(), tmp_path)


def test_float16_becomes_float32(tmp_path: Path) -> None:
    half = {name: value.astype(np.float16) for name, value in WEIGHTS.items()}
    write_single(tmp_path, half)
    model = empty_golden_model()
    load(model, tmp_path)
    assert_loaded(model, {name: value.astype(np.float32) for name, value in half.items()})


def test_bfloat16_becomes_the_float32_whose_upper_half_it_is(tmp_path: Path) -> None:
    truncated = {name: (value.view(np.uint32) & 0xFFFF0000).view(np.float32) for name, value in WEIGHTS.items()}
    assert not np.array_equal(truncated["model.norm.weight"], WEIGHTS["model.norm.weight"])
    write_bfloat16(tmp_path / SINGLE_FILE, truncated)
    with safe_open(tmp_path / SINGLE_FILE, "np") as file:
        assert file.get_slice("model.norm.weight").get_dtype() == "BF16"
    model = empty_golden_model()
    load(model, tmp_path)
    assert_loaded(model, truncated)
    special = np.array([0x3F80, 0xC000, 0x7F80, 0x0001], np.uint16)
    np.testing.assert_array_equal(to_float32(special, "BF16"), np.array([1, -2, np.inf, 2.0**-133], np.float32))


def write_bfloat16(path: Path, weights: Weights) -> None:
    """By the format's description, because the library's NumPy writer has no bfloat16."""
    header, payload = {}, b""
    for name, value in weights.items():
        stored = (value.view(np.uint32) >> 16).astype("<u2").tobytes()
        offsets = [len(payload), len(payload) + len(stored)]
        header[name] = {"dtype": "BF16", "shape": list(value.shape), "data_offsets": offsets}
        payload += stored
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + payload)


def save(folder: Path, model: TrainedModel, **options: Any) -> list[str]:
    folder.mkdir(exist_ok=True)
    paths = save_weights(model.weights(), folder, **options)
    assert sorted(os.listdir(folder)) == sorted(path.name for path in paths), "a temporary file was left"
    return [path.name for path in paths]


def test_saving_and_loading_again_gives_the_same_model(tmp_path: Path) -> None:
    assert save(tmp_path / "out", build_golden_model()) == [SINGLE_FILE]
    stored = load_file(tmp_path / "out" / SINGLE_FILE)
    assert set(stored) == set(WEIGHTS) and all(value.dtype == np.float32 for value in stored.values())
    model = empty_golden_model()
    load(model, tmp_path / "out")
    assert_loaded(model, WEIGHTS)


def test_a_large_model_is_saved_in_several_files_with_an_index(tmp_path: Path) -> None:
    limit = 40_000
    names = save(tmp_path, build_golden_model(), max_shard_bytes=limit)
    assert names[0] == f"model-00001-of-{len(names) - 1:05d}.safetensors"
    assert names[-1] == INDEX_FILE, "the index comes last"
    shards = {name: load_file(tmp_path / name) for name in names[:-1]}
    index = json.loads((tmp_path / INDEX_FILE).read_text())
    assert index["weight_map"] == {key: name for name, shard in shards.items() for key in shard}
    assert index["metadata"]["total_size"] == sum(value.nbytes for value in WEIGHTS.values())
    sizes = [sum(value.nbytes for value in shard.values()) for shard in shards.values()]
    assert len(sizes) > 3 and max(sizes) <= limit
    model = empty_golden_model()
    load(model, tmp_path)
    assert_loaded(model, WEIGHTS)


def test_bfloat16_weights_are_saved_and_load_as_what_they_were_rounded_to(tmp_path: Path) -> None:
    save(tmp_path, build_golden_model(), dtype="BF16")
    assert (tmp_path / SINGLE_FILE).stat().st_size < 0.6 * sum(value.nbytes for value in WEIGHTS.values())
    model = empty_golden_model()
    load(model, tmp_path)
    assert_loaded(model, {name: to_float32(from_float32(value, "BF16"), "BF16") for name, value in WEIGHTS.items()})


def test_a_tied_model_is_saved_without_its_head(tmp_path: Path) -> None:
    model = build_golden_model(tie_word_embeddings=True)
    save(tmp_path, model)
    assert "lm_head.weight" not in load_file(tmp_path / SINGLE_FILE)
    again = empty_golden_model(tie_word_embeddings=True)
    load(again, tmp_path)
    assert_loaded(again, weights_of(model))


def test_saving_that_fails_leaves_an_older_file_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_single(tmp_path, {"old": np.ones(1, np.float32)})

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("shards.files.atomic.os.fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        save_weights(build_golden_model().weights(), tmp_path)
    assert os.listdir(tmp_path) == [SINGLE_FILE]
    assert set(load_file(tmp_path / SINGLE_FILE)) == {"old"}
    monkeypatch.undo()
    save(tmp_path, build_golden_model())
    assert set(load_file(tmp_path / SINGLE_FILE)) == set(WEIGHTS)


def test_a_compiled_graph_computes_with_what_is_written() -> None:
    parameter = ms.Parameter(ms.Tensor(np.ones(3, np.float32)), name="scale")

    class Scale(nn.Cell):
        def __init__(self) -> None:
            super().__init__(auto_prefix=False)
            self.scale = parameter

        @ms.jit
        def construct(self, x: ms.Tensor) -> ms.Tensor:
            return x * self.scale

    scale, weight, x = Scale(), weight_of(parameter), ms.Tensor(np.full(3, 2, np.float32))
    assert scale(x).asnumpy().tolist() == [2, 2, 2]
    weight.write(np.array([1, 2, 3], np.float32))
    assert scale(x).asnumpy().tolist() == [2, 4, 6]
    assert weight.read().tolist() == [1, 2, 3]


@pytest.mark.parametrize("write", [write_single, write_sharded])
def test_a_rank_reads_its_own_parts_and_nothing_else(
    write: Callable[[Path, Weights], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, WEIGHTS)
    monkeypatch.delattr(StoredWeight, "read")  # that of whole tensors
    num_read: list[int] = []
    read_values = StoredWeight.read_values

    def count(stored: StoredWeight, first: int, last: int) -> np.ndarray:
        num_read.append(last - first)
        return read_values(stored, first, last)

    monkeypatch.setattr(StoredWeight, "read_values", count)
    parts = {name: [part_for(value.shape, rank, 3) for rank in range(3)] for name, value in WEIGHTS.items()}
    held = []
    for rank in range(3):
        parameters = [parameter_for(name, each[rank]) for name, each in parts.items()]
        load_weights(map(weight_of, parameters), tmp_path, NAMES, {})
        held.append({each.name: weight_of(each).held for each in parameters})
    assert sum(num_read) == sum(value.size for value in WEIGHTS.values())
    for name, value in WEIGHTS.items():
        ranges = [each[name] for each in held]
        assert [(each.first, each.last) for each in ranges] == [part.bounds for part in parts[name]]
        np.testing.assert_array_equal(np.concatenate([each.read() for each in ranges]), value.reshape(-1))


def part_for(shape: tuple[int, ...], rank: int, num_parts: int) -> Part:
    return Part(shape=shape, rank=rank, num_parts=num_parts, gather=id)


def parameter_for(name: str, part: Part) -> ms.Parameter:
    parameter = ms.Parameter(ms.Tensor(np.zeros(part.length, np.float32)), name=name)
    parameter.part = part
    return parameter


def test_a_tied_head_is_compared_in_the_own_part(tmp_path: Path) -> None:
    """What ranks 0 and 1 hold is the same in both, what rank 2 holds is not."""
    embedding = np.arange(12, dtype=np.float32).reshape(6, 2)
    head = embedding.copy()
    head[-1, -1] = 7
    write_single(tmp_path, {"embedding": embedding, "head": head})
    for rank in range(3):
        parameter = parameter_for("embedding", part_for(embedding.shape, rank, 3))
        with pytest.raises(WeightsError, match="head differs") if rank == 2 else nullcontext():
            load_weights([weight_of(parameter)], tmp_path, NAMES, {"head": "embedding"})
