from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from shards import ModelConstants, Pack, PackMaxima, measure_pack
from shards.architecture.qwen2_5_vl import READER, ModelConfig
from shards.batch import BatchShape, make_batch
from tests.train.tiny_run import PACK_LENGTH, make_packs, write_tiny_model
from train.models.qwen2_5_vl.sizes import patch_pairs, tower_shapes
from train.models.qwen_vl.flops import Counts, count_real, training_flops


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flops") / "model"


@pytest.fixture(scope="module")
def constants(folder: Path) -> ModelConstants:
    return write_tiny_model(folder)


@pytest.fixture(scope="module")
def config(folder: Path, constants: ModelConstants) -> ModelConfig:
    return READER.read(folder / "config.json")


def window_sizes(height: int, width: int, constants: ModelConstants) -> list[int]:
    """Patches in each window of a frame, patch by patch."""
    side = constants.window_size // constants.patch_size
    counts = Counter((row // side, column // side) for row in range(height) for column in range(width))
    return list(counts.values())


def test_only_what_is_real_counts(constants: ModelConstants, config: ModelConfig) -> None:
    packs = make_packs(constants, num_packs=4)
    packs.append(replace_grid(packs[1], constants, (1, 10, 6)))  # cut windows: 8 + 2 rows
    maxima = PackMaxima()
    for pack in packs:
        maxima = maxima.merge(measure_pack(pack, constants))
    shape = BatchShape.holding(maxima, PACK_LENGTH, constants)
    assert {len(pack.image_grid_thw) + 2 * len(pack.video_grid_thw) for pack in packs} == {0, 1, 2, 3}
    for pack in packs:
        grids = np.concatenate([pack.image_grid_thw, pack.video_grid_thw]).tolist()
        lengths = np.diff(pack.cu_seqlens).tolist()
        counts = count_real(
            make_batch(pack, shape, constants),
            num_tokens=pack.num_tokens,
            num_label_tokens=pack.num_label_tokens,
            merge_unit=constants.merge_size**2,
            patch_pairs=partial(patch_pairs, config.vision),
        )
        full = sum(t * (h * w) ** 2 for t, h, w in grids)
        windowed = sum(t * size**2 for t, h, w in grids for size in window_sizes(h, w, constants))
        assert counts == Counts(
            tokens=pack.num_tokens,
            token_pairs=sum(length * (length + 1) // 2 for length in lengths),
            label_tokens=pack.num_label_tokens,
            patches=sum(t * h * w for t, h, w in grids),
            patch_pairs=full + windowed,  # a block each
        )


def replace_grid(pack: Pack, constants: ModelConstants, grid: tuple[int, int, int]) -> Pack:
    """The pack of one image with an image of another size; more pad tokens, fewer of text."""
    cells = grid[0] * grid[1] * grid[2] // constants.merge_size**2
    ids = np.full(pack.num_tokens, 0, np.int32)
    ids[:cells] = constants.image_token_id
    patches = np.zeros((cells * constants.merge_size**2, constants.image_patch_bytes), np.uint8)
    return replace(pack, input_ids=ids, image_patches=patches, image_grid_thw=np.array([grid], np.int32))


def test_an_empty_pack_is_no_work(constants: ModelConstants, config: ModelConfig) -> None:
    shape = BatchShape.holding(PackMaxima(patches=16, windows=2), PACK_LENGTH, constants)
    counts = count_real(
        make_batch(None, shape, constants),
        num_tokens=0,
        num_label_tokens=0,
        merge_unit=4,
        patch_pairs=partial(patch_pairs, config.vision),
    )
    assert counts == Counts(tokens=0, token_pairs=0, label_tokens=0, patches=0, patch_pairs=0)
    assert training_flops(config, tower_shapes(config.vision), counts) == 0


def test_every_weight_counts_once_for_each_row_that_it_meets(folder: Path, config: ModelConfig) -> None:
    """The products are those of the weights on disk: matrices, and the patch embedding's kernel."""
    sizes = Counter[str]()
    for name, weight in load_file(folder / "model.safetensors").items():
        if weight.ndim > 1:
            part = "visual.merger" if name.startswith("visual.merger") else ".".join(name.split(".")[:2])
            sizes[part] += weight.size
    assert set(sizes) == {"visual.patch_embed", "visual.blocks", "visual.merger", "model.embed_tokens", "model.layers"}

    nothing = Counts(tokens=0, token_pairs=0, label_tokens=0, patches=0, patch_pairs=0)
    assert (
        training_flops(config, tower_shapes(config.vision), replace(nothing, tokens=7)) == 6 * 7 * sizes["model.layers"]
    )
    assert (
        training_flops(config, tower_shapes(config.vision), replace(nothing, label_tokens=7))
        == 6 * 7 * sizes["model.embed_tokens"]
    )  # tied
    cells = 3
    patches = cells * config.vision.merge_unit
    assert training_flops(config, tower_shapes(config.vision), replace(nothing, patches=patches)) == 6 * (
        patches * (sizes["visual.patch_embed"] + sizes["visual.blocks"]) + cells * sizes["visual.merger"]
    )


def test_attention_counts_two_products_of_the_width_for_each_pair_and_layer(config: ModelConfig) -> None:
    """By hand: 2 layers of width 32; a tower of 2 blocks of width 16, whose pairs are counted over both."""
    assert (config.num_hidden_layers, config.hidden_size) == (2, 32)
    assert (config.vision.depth, config.vision.hidden_size, config.vision.fullatt_block_indexes) == (2, 16, (1,))
    nothing = Counts(tokens=0, token_pairs=0, label_tokens=0, patches=0, patch_pairs=0)
    assert (
        training_flops(config, tower_shapes(config.vision), replace(nothing, token_pairs=10)) == 3 * 2 * 2 * 2 * 32 * 10
    )
    assert training_flops(config, tower_shapes(config.vision), replace(nothing, patch_pairs=10)) == 3 * 2 * 2 * 16 * 10
