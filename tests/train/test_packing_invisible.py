"""A sample trains the same whatever stands beside it in its pack, and however much padding follows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from shards import Pack
from shards.batch import Batch, make_batch
from tests.train.golden_case import (
    CONSTANTS,
    IGNORE_INDEX,
    CompiledModel,
    Sample,
    make_sample,
    pack_samples,
    shape_for,
)
from train.models.attention import query_chunks

TOLERANCE = 1e-5
SAMPLES = {
    "image": make_sample(11, images=[(1, 6, 10)], videos=[]),
    "text": make_sample(12, images=[], videos=[], num_text=14),
    "mixed": make_sample(13, images=[(1, 4, 6), (1, 6, 2)], videos=[(2, 4, 6)], seconds=0.5, num_text=6),
    "video": make_sample(14, images=[], videos=[(3, 6, 4), (1, 4, 4)], num_text=7),
}
PACK = pack_samples(list(SAMPLES.values()), keys=[f"test:{name}" for name in SAMPLES])
ALONE = {name: pack_samples([sample]) for name, sample in SAMPLES.items()}


def rows_of(name: str) -> slice:
    index = list(SAMPLES).index(name)
    return slice(*PACK.cu_seqlens[index : index + 2])


def test_the_pack_holds_every_kind() -> None:
    assert len(SAMPLES["mixed"].image_grid_thw) > 1 and len(SAMPLES["mixed"].video_grid_thw)
    assert not len(SAMPLES["text"].image_grid_thw) and not len(SAMPLES["text"].video_grid_thw)
    assert PACK.num_samples == len(SAMPLES)
    assert PACK.num_tokens < shape_for([PACK]).pack_length


@pytest.mark.parametrize("name", SAMPLES)
def test_logits_in_a_pack_equal_those_alone(name: str, compiled: CompiledModel) -> None:
    packed = compiled.logits(PACK)[rows_of(name)]
    alone = compiled.logits(ALONE[name])
    assert packed.shape == alone.shape and np.ptp(alone) > 1
    np.testing.assert_allclose(packed, alone, rtol=0, atol=TOLERANCE)


def with_other_text(sample: Sample) -> Sample:
    """The same length, grids and labelled places; other words."""
    is_text = sample.input_ids < 90
    ids = np.where(is_text, (sample.input_ids + 1) % 90, sample.input_ids).astype(np.int32)
    return replace(
        sample, input_ids=ids, labels=np.where(sample.labels == IGNORE_INDEX, IGNORE_INDEX, ids).astype(np.int32)
    )


def with_other_pixels(sample: Sample) -> Sample:
    return replace(sample, image_patches=255 - sample.image_patches, video_patches=255 - sample.video_patches)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("text", with_other_text),
        ("image", with_other_text),
        ("image", with_other_pixels),
        ("mixed", with_other_pixels),
        ("video", with_other_pixels),
    ],
)
def test_changing_a_sample_leaves_the_others_bit_identical(
    name: str, change: Callable[[Sample], Sample], compiled: CompiledModel
) -> None:
    before = compiled.logits(PACK)
    after = compiled.logits(pack_samples([change(s) if n == name else s for n, s in SAMPLES.items()]))
    assert np.abs(after[rows_of(name)] - before[rows_of(name)]).max() > 1e-3, "the change changed nothing"
    for other in set(SAMPLES) - {name}:
        assert np.array_equal(after[rows_of(other)], before[rows_of(other)]), f"{other} saw {name}"


def test_loss_and_gradients_of_a_pack_are_the_sums_of_its_samples(compiled: CompiledModel) -> None:
    loss_of_pack, gradients_of_pack = compiled.step(PACK)
    results = [compiled.step(pack) for pack in ALONE.values()]
    counts = [pack.num_label_tokens for pack in ALONE.values()]
    assert len(set(counts)) > 1, "with equal counts a mean of means would pass"

    weighted_mean = sum(count * (loss / count) for count, (loss, _) in zip(counts, results, strict=True)) / sum(counts)
    assert abs(loss_of_pack / PACK.num_label_tokens - weighted_mean) <= TOLERANCE
    for name, gradient in gradients_of_pack.items():
        total = sum(gradients[name].astype(np.float64) for _, gradients in results)
        assert np.linalg.norm(gradient - total) <= 1e-4 * np.linalg.norm(total), name


def test_a_pack_of_text_gives_the_vision_tower_no_gradient(compiled: CompiledModel) -> None:
    _, gradients = compiled.step(ALONE["text"])
    visual = {name: gradient for name, gradient in gradients.items() if name.startswith("visual.")}
    assert visual and all(not gradient.any() for gradient in visual.values())
    assert gradients["model.layers.0.self_attn.q_proj.weight"].any()


def test_the_amount_of_padding_changes_nothing(compiled: CompiledModel) -> None:
    tight = CompiledModel(compiled.model, shape_for([PACK], pack_length=PACK.num_tokens))
    assert tight.shape.patches == len(PACK.image_patches) + len(PACK.video_patches)
    assert len(query_chunks(tight.shape.patches, False)) < len(query_chunks(compiled.shape.patches, False))
    assert all(vars(compiled.shape)[name] > size for name, size in vars(tight.shape).items() if name != "segments")
    loss, gradients = compiled.step(PACK)
    tight_loss, tight_gradients = tight.step(PACK)
    assert abs(tight_loss - loss) / PACK.num_label_tokens <= TOLERANCE
    for name, gradient in gradients.items():
        assert np.linalg.norm(tight_gradients[name] - gradient) <= 1e-4 * np.linalg.norm(gradient), name


def with_loud_padding(batch: Batch, pack: Pack) -> Batch:
    """Other words and pixels in the places that `pack` leaves free."""
    free_ids, free_positions = batch.input_ids.copy(), batch.position_ids.copy()
    free_ids[pack.num_tokens :] = 7
    free_positions[:, pack.num_tokens :] = 5
    images, videos = batch.image_patches.copy(), batch.video_patches.copy()
    images[len(pack.image_patches) :] = 200
    videos[len(pack.video_patches) :] = 100
    return replace(batch, input_ids=free_ids, position_ids=free_positions, image_patches=images, video_patches=videos)


def test_what_the_padding_holds_changes_nothing(compiled: CompiledModel) -> None:
    pack = ALONE["image"]
    batch = make_batch(pack, compiled.shape, CONSTANTS)
    loud = with_loud_padding(batch, pack)
    assert not np.array_equal(loud.input_ids, batch.input_ids)
    assert not np.array_equal(loud.video_patches, batch.video_patches)
    loss, gradients = compiled.step_of_batch(batch)
    loud_loss, loud_gradients = compiled.step_of_batch(loud)
    assert loud_loss == loss
    for name, gradient in gradients.items():
        assert np.array_equal(loud_gradients[name], gradient), name
