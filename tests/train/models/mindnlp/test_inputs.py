"""What MindNLP is given, against the packs that it is made of."""

from __future__ import annotations

import numpy as np
import pytest

from shards import Pack
from shards.batch import make_batch
from tests.train.golden_case import CONSTANTS, make_sample, make_samples, pack_samples, shape_for
from train.models.mindnlp.inputs import UNSEEN, ForwardInputs, batch_of, forward_inputs

SAMPLES = make_samples()
BOTH = make_sample(5, images=[(1, 6, 10), (1, 2, 2)], videos=[(3, 6, 8)])
PACKS = {
    **{name: pack_samples([sample]) for name, sample in SAMPLES.items()},
    "all": pack_samples([*SAMPLES.values(), BOTH]),
}


def inputs_of(pack: Pack | None, like: Pack | None = None) -> ForwardInputs | None:
    shape = shape_for([pack or like, PACKS["all"]], pack_length=400, constants=CONSTANTS)
    return forward_inputs(batch_of(list(make_batch(pack, shape, CONSTANTS)), CONSTANTS), CONSTANTS)


@pytest.mark.parametrize("name", PACKS)
def test_every_token_takes_its_own_embedding(name: str) -> None:
    pack, inputs = PACKS[name], inputs_of(PACKS[name])
    num_tokens = inputs.input_ids.shape[1]
    assert num_tokens == np.flatnonzero(pack.labels != -100).max(), "what comes later is seen by no target"
    unit = CONSTANTS.merge_unit
    expected = np.arange(num_tokens)
    for token, first in ((CONSTANTS.image_token_id, 0), (CONSTANTS.video_token_id, len(pack.image_patches) // unit)):
        places = np.flatnonzero(pack.input_ids == token)
        expected[places] = num_tokens + first + np.arange(len(places))
    np.testing.assert_array_equal(inputs.embedding_index, expected)
    np.testing.assert_array_equal(inputs.input_ids[0], pack.input_ids[:num_tokens])
    np.testing.assert_array_equal(inputs.position_ids[:, 0], pack.position_ids[:, :num_tokens])


@pytest.mark.parametrize("name", PACKS)
def test_patches_are_normalised_in_the_order_of_the_pack_and_images_count_twice(name: str) -> None:
    pack, inputs = PACKS[name], inputs_of(PACKS[name])
    frames, side = CONSTANTS.temporal_patch_size, CONSTANTS.patch_size**2
    images = pack.image_patches.reshape(-1, 3, 1, side).repeat(frames, 2)
    stored = np.concatenate([images, pack.video_patches.reshape(-1, 3, frames, side)]).astype(np.float64)
    mean, std = (np.reshape(each, (3, 1, 1)) for each in (CONSTANTS.image_mean, CONSTANTS.image_std))
    expected = ((stored / 255 - mean) / std).reshape(-1, CONSTANTS.video_patch_bytes)
    assert inputs.pixel_values.dtype == np.float32
    np.testing.assert_allclose(inputs.pixel_values, expected, atol=1e-6)


@pytest.mark.parametrize("name", PACKS)
def test_every_frame_is_a_grid(name: str) -> None:
    pack = PACKS[name]
    grids = [*pack.image_grid_thw.tolist(), *pack.video_grid_thw.tolist()]
    expected = [(1, height, width) for time, height, width in grids for _ in range(time)]
    for inputs in (inputs_of(pack), inputs_of_tight(pack)):
        np.testing.assert_array_equal(inputs.grid_thw, np.array(expected, np.int64).reshape(-1, 3))
        assert inputs.grid_thw.prod(1).sum() == len(inputs.pixel_values)


def inputs_of_tight(pack: Pack) -> ForwardInputs:
    """Of a batch without padding."""
    batch = make_batch(pack, shape_for([pack], pack_length=pack.num_tokens), CONSTANTS)
    return forward_inputs(batch_of(list(batch), CONSTANTS), CONSTANTS)


def test_a_token_sees_its_segment_up_to_itself() -> None:
    pack, inputs = PACKS["all"], inputs_of(PACKS["all"])
    num_tokens = inputs.input_ids.shape[1]
    segment = np.repeat(np.arange(len(pack.cu_seqlens) - 1), np.diff(pack.cu_seqlens))[:num_tokens]
    seen = (segment[:, None] == segment) & np.tri(num_tokens, dtype=bool)
    assert seen.sum() < num_tokens * (num_tokens + 1) // 2, "several segments"
    np.testing.assert_array_equal(inputs.attention_mask, np.where(seen, 0, np.float32(UNSEEN))[None, None])


def test_targets_are_the_supervised_tokens() -> None:
    pack, inputs = PACKS["all"], inputs_of(PACKS["all"])
    places = np.flatnonzero(pack.labels != -100)
    assert len(places) == pack.num_label_tokens > 1
    np.testing.assert_array_equal(inputs.target_index, places - 1)
    np.testing.assert_array_equal(inputs.target_ids, pack.labels[places])


def test_without_a_target_there_is_nothing_to_compute() -> None:
    assert inputs_of(None, PACKS["text"]) is None
