"""FLOPs of the families whose towers attend within frames; those of windows: tests/train/models/qwen2_5_vl."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from shards.batch import make_batch
from tests.train.golden_families import FAMILIES, GoldenFamily
from train.models import family_of
from train.models.qwen_vl.flops import Counts, all_frame_pairs, count_real, training_flops

NOTHING = Counts(tokens=0, token_pairs=0, label_tokens=0, patches=0, patch_pairs=0)


@pytest.fixture(params=FAMILIES)
def family(request: pytest.FixtureRequest) -> GoldenFamily:
    return GoldenFamily(request.param)


def test_only_what_is_real_counts(family: GoldenFamily) -> None:
    vision = family.parse().vision
    pack = family.pack(*family.samples.values())
    grids = [*pack.image_grid_thw.tolist(), *pack.video_grid_thw.tolist()]
    assert max(time for time, _, _ in grids) > 1
    shape = family.shape_for([pack, family.pack(family.samples["mixed"], family.samples["mixed"])], 700)
    counts = count_real(
        make_batch(pack, shape, family.constants),
        num_tokens=pack.num_tokens,
        num_label_tokens=pack.num_label_tokens,
        merge_unit=vision.merge_unit,
        patch_pairs=lambda batch, patches: all_frame_pairs(vision, batch, patches),
    )
    lengths = [len(sample.input_ids) for sample in family.samples.values()]
    assert counts == Counts(
        tokens=sum(lengths),
        token_pairs=sum(length * (length + 1) // 2 for length in lengths),
        label_tokens=pack.num_label_tokens,
        patches=sum(map(math.prod, grids)),
        patch_pairs=vision.depth * sum(time * (height * width) ** 2 for time, height, width in grids),
    )


def test_every_weight_counts_once_for_each_row_that_it_meets(family: GoldenFamily) -> None:
    config = family.parse()
    room = family_of(family.name)
    sizes = room.sizes(config)
    matrices = {name: math.prod(shape) for name, shape in sizes.shapes.items() if len(shape) > 1}
    looked_up = [name for name in matrices if name.endswith(("embed_tokens.weight", "pos_embed.weight"))]
    mergers = sum(size for name, size in matrices.items() if sizes.group_of[name] == "mlp")
    tower = sum(size for name, size in matrices.items() if sizes.group_of[name] == "vision" and name not in looked_up)
    head = matrices["lm_head.weight"]
    layers = sum(size for name, size in matrices.items() if ".layers." in name)

    def flops(**counts: int) -> int:
        return training_flops(config, room.FAMILY.tower_shapes(config.vision), replace(NOTHING, **counts))

    cells = 3
    assert flops(tokens=7) == 6 * 7 * layers
    assert flops(label_tokens=7) == 6 * 7 * head
    assert flops(patches=cells * 4) == 6 * (cells * 4 * tower + cells * mergers)
    assert flops(patch_pairs=10) == 3 * 2 * 2 * 10 * config.vision.hidden_size


def test_scores_count_the_channels_of_all_heads() -> None:
    family = GoldenFamily("qwen3_vl")
    config = family.parse()
    assert config.num_attention_heads * config.head_dim == 64 != config.hidden_size
    shapes = family_of("qwen3_vl").FAMILY.tower_shapes(config.vision)
    flops = training_flops(config, shapes, replace(NOTHING, token_pairs=10))
    assert flops == 3 * 2 * config.num_hidden_layers * 2 * 64 * 10
