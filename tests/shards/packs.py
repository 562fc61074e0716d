"""Packs for the tests of the format: made of made-up samples, valid in themselves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from hypothesis import strategies as st

from shards import IGNORE_INDEX, ModelConstants, Pack

Grid = tuple[int, int, int]

CONSTANTS = ModelConstants(
    model_type="qwen2_5_vl",
    vocab_size=1000,
    patch_size=14,
    merge_size=2,
    temporal_patch_size=2,
    window_size=112,
    tokens_per_second=2,
    im_start_token_id=990,
    im_end_token_id=991,
    pad_token_id=989,
    vision_start_token_id=992,
    vision_end_token_id=993,
    image_token_id=994,
    video_token_id=995,
    image_mean=(0.5, 0.5, 0.5),
    image_std=(0.25, 0.25, 0.25),
    rescale_factor=1 / 255,
)


def make_pack(
    texts: Sequence[int] = (3, 5), images: Sequence[Grid] = (), videos: Sequence[Grid] = (), seed: int = 0
) -> Pack:
    """One segment for each number of text tokens in `texts`; all the media stand at the end of the first one.

    The last text token of a segment is its label, where it has two.
    """
    random = np.random.default_rng(seed)
    segments = [random.integers(0, 900, size).tolist() for size in texts]
    num_labels = [int(len(segment) > 1) for segment in segments]
    labels = [
        [IGNORE_INDEX] * (len(segment) - number) + segment[len(segment) - number :]
        for segment, number in zip(segments, num_labels, strict=True)
    ]
    for grids, token in ((images, CONSTANTS.image_token_id), (videos, CONSTANTS.video_token_id)):
        num_pads = sum(t * h * w for t, h, w in grids) // CONSTANTS.merge_size**2
        segments[0] += [token] * num_pads
        labels[0] += [IGNORE_INDEX] * num_pads
    lengths = [len(segment) for segment in segments]
    return Pack(
        input_ids=np.concatenate(segments).astype(np.int32),
        labels=np.concatenate(labels).astype(np.int32),
        position_ids=np.concatenate([np.tile(np.arange(n, dtype=np.int32), (3, 1)) for n in lengths], axis=1),
        cu_seqlens=np.cumsum([0, *lengths], dtype=np.int32),
        image_patches=_patches(images, CONSTANTS.image_patch_bytes, random),
        image_grid_thw=np.array(images, np.int32).reshape(-1, 3),
        video_patches=_patches(videos, CONSTANTS.video_patch_bytes, random),
        video_grid_thw=np.array(videos, np.int32).reshape(-1, 3),
        second_per_grid_ts=np.linspace(0.5, 2.0, len(videos)),
        sample_keys=tuple(f"made up:{n}" for n in range(len(texts))),
    )


def _patches(grids: Sequence[Grid], width: int, random: np.random.Generator) -> np.ndarray:
    return random.integers(0, 256, (sum(t * h * w for t, h, w in grids), width), np.uint8)


def arrays(pack: Pack) -> dict[str, np.ndarray]:
    return {name: value for name, value in vars(pack).items() if isinstance(value, np.ndarray)}


def assert_same(got: Pack, expected: Pack) -> None:
    """Equal in every array's values, dtype and shape, and in the keys."""
    assert got.sample_keys == expected.sample_keys
    assert arrays(got).keys() == arrays(expected).keys() == vars(expected).keys() - {"sample_keys"}
    for name, array in arrays(expected).items():
        other = arrays(got)[name]
        assert (other.dtype, other.shape) == (array.dtype, array.shape), name
        np.testing.assert_array_equal(other, array, err_msg=name)


_sides = st.integers(1, 5).map(lambda n: n * CONSTANTS.merge_size)
image_grids = st.tuples(st.just(1), _sides, _sides)
video_grids = st.tuples(st.integers(1, 3), _sides, _sides)
packs = st.builds(
    make_pack,
    texts=st.lists(st.integers(1, 20), min_size=1, max_size=4),
    images=st.lists(image_grids, max_size=3),
    videos=st.lists(video_grids, max_size=2),
    seed=st.integers(0, 2**32 - 1),
)
