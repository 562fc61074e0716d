"""The layout of a batch, against transformers (golden) and against slow rules written down a second time."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import shards.batch
from shards import IGNORE_INDEX, Manifest, ModelConstants, Pack, PackMaxima, count_pack, measure_pack
from shards.batch import Batch, BatchShape, input_names, make_batch
from tests.shards.packs import CONSTANTS as PACK_CONSTANTS
from tests.shards.packs import make_pack, packs
from tests.train.golden_case import CONSTANTS, PACK_LENGTH, make_sample, pack_samples, shape_for

PACK = pack_samples(
    [
        make_sample(21, images=[(1, 4, 6)], videos=[]),
        make_sample(22, images=[(1, 10, 6)], videos=[(2, 6, 2), (3, 4, 6)]),
        make_sample(23, images=[], videos=[]),
        make_sample(24, images=[], videos=[(1, 2, 6)], num_text=4),
    ]
)


def roomy_shape() -> BatchShape:
    shape = shape_for([PACK], pack_length=PACK_LENGTH + 60)
    return replace(
        shape,
        segments=shape.segments + 2,
        label_tokens=shape.label_tokens + 5,
        image_patches=shape.image_patches + 8,
        video_patches=shape.video_patches + 4,
        patches=shape.patches + 12,
        temporal_slices=shape.temporal_slices + 3,
        windows=shape.windows + 2,
    )


@pytest.fixture(params=["tight", "roomy"])
def batch(request: pytest.FixtureRequest) -> Batch:
    shape = shape_for([PACK], pack_length=PACK_LENGTH + 60) if request.param == "tight" else roomy_shape()
    return make_batch(PACK, shape, CONSTANTS)


def grids_of(pack: Pack) -> list[list[int]]:
    return [*pack.image_grid_thw.tolist(), *pack.video_grid_thw.tolist()]


def test_every_patch_is_gathered_once_and_its_position_is_its_place(batch: Batch) -> None:
    """Follows each patch from where it is stored to its row and column, by the merger's block order."""
    stored = []  # (grid, frame, row, column) of each row of the padded image patches, then the video patches
    for pack_grids, room in ((PACK.image_grid_thw, batch.image_patches), (PACK.video_grid_thw, batch.video_patches)):
        kind = [
            (f"{len(stored)}.{index}", time, 2 * cell_row + row, 2 * cell_column + column)
            for index, (grid_t, grid_h, grid_w) in enumerate(pack_grids.tolist())
            for time in range(grid_t)
            for cell_row in range(grid_h // 2)
            for cell_column in range(grid_w // 2)
            for row in range(2)
            for column in range(2)
        ]
        stored += [*kind, *[None] * (len(room) - len(kind))]

    total = len(PACK.image_patches) + len(PACK.video_patches)
    gathered = [stored[row] for row in batch.patch_index[:total]]
    assert len(set(gathered)) == total and None not in gathered
    assert [patch[2:] for patch in gathered] == [tuple(position) for position in batch.patch_positions[:total]]

    first, last = batch.patch_keys[:total].T
    for row, (grid, time, _, _) in enumerate(gathered):
        segment = {patch[:2] for patch in gathered[first[row] : last[row]]}
        assert segment == {(grid, time)}, "full attention leaves its temporal slice"
    slices = [height * width for time, height, width in grids_of(PACK) for _ in range(time)]
    assert np.all(last - first == np.repeat(slices, slices))


def test_every_query_sees_a_key_and_padding_sees_only_padding(batch: Batch) -> None:
    total = len(PACK.image_patches) + len(PACK.video_patches)
    padding = {
        "token_keys": (batch.token_keys[PACK.num_tokens :], PACK.num_tokens, len(batch.input_ids)),
        "patch_keys": (batch.patch_keys[total:], total, len(batch.patch_index)),
    }
    for name, (keys, first, last) in padding.items():
        everything = getattr(batch, name)
        assert np.all(everything[:, 0] < everything[:, 1])
        assert np.all(keys[:, 0] >= first) and np.all(keys[:, 1] <= last)


def test_tokens_see_their_segment_up_to_themselves(batch: Batch) -> None:
    segment = np.searchsorted(PACK.cu_seqlens, np.arange(PACK.num_tokens), side="right") - 1
    first, last = batch.token_keys[: PACK.num_tokens].T
    np.testing.assert_array_equal(first, PACK.cu_seqlens[segment])
    np.testing.assert_array_equal(last, np.arange(PACK.num_tokens) + 1)
    assert len(set(first.tolist())) == PACK.num_samples


def test_ends_are_cumulative_and_reach_the_whole_sequence(batch: Batch) -> None:
    np.testing.assert_array_equal(batch.token_ends[: PACK.num_samples], PACK.cu_seqlens[1:])
    slices = [height * width for time, height, width in grids_of(PACK) for _ in range(time)]
    np.testing.assert_array_equal(batch.patch_ends[: len(slices)], np.cumsum(slices))
    for ends, length in ((batch.token_ends, len(batch.input_ids)), (batch.patch_ends, len(batch.patch_index))):
        assert np.all(np.diff(ends) >= 0) and ends[-1] == length


def test_visual_tokens_get_the_embedding_of_their_own_cell(batch: Batch) -> None:
    """The n-th image-pad token, in token order, is the n-th stored cell of the image patches; videos likewise."""
    length = len(batch.input_ids)
    cell_of_visual = batch.patch_index[::4] // 4
    for token_id, first_cell in (
        (CONSTANTS.image_token_id, 0),
        (CONSTANTS.video_token_id, len(batch.image_patches) // 4),
    ):
        places = np.flatnonzero(PACK.input_ids == token_id)
        visual = batch.embedding_index[places] - length
        assert len(places) and visual.min() >= 0
        assert not np.array_equal(visual, np.sort(visual)), "window order is token order: nothing is put in place"
        np.testing.assert_array_equal(cell_of_visual[visual], first_cell + np.arange(len(places)))
    is_text = ~np.isin(batch.input_ids, (CONSTANTS.image_token_id, CONSTANTS.video_token_id))
    np.testing.assert_array_equal(batch.embedding_index[is_text], np.flatnonzero(is_text))


def test_targets_are_the_next_labels_of_the_same_segment(batch: Batch) -> None:
    count = PACK.num_label_tokens
    np.testing.assert_array_equal(batch.target_weight, np.arange(len(batch.target_weight)) < count)
    index = batch.target_index[:count]
    np.testing.assert_array_equal(batch.target_ids[:count], PACK.input_ids[index + 1])
    np.testing.assert_array_equal(index + 1, np.flatnonzero(PACK.labels != IGNORE_INDEX))
    assert not set(index + 1) & set(PACK.cu_seqlens.tolist()), "a segment predicts the next one's first token"


@given(st.lists(packs | st.none(), min_size=1, max_size=3))
def test_every_value_is_written_whatever_the_memory_held(several: list[Pack | None]) -> None:
    room = [*filter(None, several), make_pack(images=[(1, 6, 10)], videos=[(2, 4, 2)])]
    maxima = reduce(PackMaxima.merge, (measure_pack(pack, PACK_CONSTANTS) for pack in room))
    shape = BatchShape.holding(maxima, maxima.tokens + 3, PACK_CONSTANTS)
    new_arrays = shards.batch._uninitialised_batch

    def full_of(byte: int) -> Callable[..., Batch]:
        def arrays(shape: BatchShape, constants: ModelConstants) -> Batch:
            batch = new_arrays(shape, constants)
            for array in batch:
                array.view(np.uint8).fill(byte)
            return batch

        return arrays

    for pack in several:
        made = []
        for byte in (0x00, 0x55):
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(shards.batch, "_uninitialised_batch", full_of(byte))
                made.append(make_batch(pack, shape, PACK_CONSTANTS))
        for name, array, other in zip(input_names(PACK_CONSTANTS), *made, strict=True):
            np.testing.assert_array_equal(array, other, err_msg=name)


def test_an_empty_pack_is_padding_only() -> None:
    shape = shape_for([PACK])
    batch = make_batch(None, shape, CONSTANTS)
    full = make_batch(PACK, shape, CONSTANTS)
    for name, empty_array, full_array in zip(input_names(CONSTANTS), batch, full, strict=True):
        assert (empty_array.shape, empty_array.dtype) == (full_array.shape, full_array.dtype), name
    assert not batch.target_weight.any()
    assert np.all(batch.token_keys[:, 0] < batch.token_keys[:, 1])


def test_shapes_and_dtypes_do_not_depend_on_the_pack_and_the_pack_is_not_written_to() -> None:
    text_only = pack_samples([make_sample(25, images=[], videos=[])])
    shape = shape_for([PACK])
    for array in vars(PACK).values():
        if isinstance(array, np.ndarray):
            array.flags.writeable = False  # as in a mapped file
    batches = [make_batch(pack, shape, CONSTANTS) for pack in (PACK, text_only, None)]
    kinds = [[(array.shape, array.dtype, array.flags.c_contiguous) for array in batch] for batch in batches]
    assert kinds[0] == kinds[1] == kinds[2]
    assert {str(array.dtype) for array in batches[0]} == {"int32", "float32", "uint8"}


def test_the_shape_is_what_the_manifest_reached_and_never_empty() -> None:
    text_only = pack_samples([make_sample(25, images=[], videos=[])])
    for pack in (PACK, text_only):
        manifest = manifest_of(pack, CONSTANTS)
        shape = BatchShape.of(manifest)
        assert shape.pack_length == manifest.pack_length
        make_batch(pack, shape, CONSTANTS)
    assert shape.image_patches == shape.patches == 4 and shape.windows == shape.temporal_slices == 1
    with pytest.raises(ValueError, match="windows is 0"):
        replace(shape, windows=0)


@pytest.mark.parametrize(
    ("field", "what"),
    [
        ("pack_length", "tokens"),
        ("segments", "segments"),
        ("label_tokens", "supervised tokens"),
        ("image_patches", "image patches"),
        ("video_patches", "video patches"),
        ("patches", "patches"),
        ("temporal_slices", "temporal slices"),
        ("windows", "windows"),
    ],
)
def test_a_pack_that_does_not_fit_is_an_error_that_says_what(field: str, what: str) -> None:
    shape = BatchShape.holding(measure_pack(PACK, CONSTANTS), PACK.num_tokens, CONSTANTS)
    make_batch(PACK, shape, CONSTANTS)
    with pytest.raises(ValueError, match=f"{getattr(shape, field)} {what}, the batch has room for"):
        make_batch(PACK, replace(shape, **{field: getattr(shape, field) - 1}), CONSTANTS)


def manifest_of(pack: Pack, constants: ModelConstants) -> Manifest:
    return Manifest(
        format="arrow",
        fingerprint="0" * 64,
        inputs={},
        model=constants,
        pack_length=PACK_LENGTH + 60,
        pack_patches=1024,
        maxima=measure_pack(pack, constants),
        totals=count_pack(pack),
        datasets={},
        shards=(),
    )
