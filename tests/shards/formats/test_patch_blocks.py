"""Patches come back from blocks as they were, whatever is in them, and blocks of something else are noticed."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shards.formats.patch_blocks import BLOCK_PATCHES, Patches, compress_patches, expand_patches


def noise(num_patches: int, side: int, frames: int, seed: int = 0) -> Patches:
    return np.random.default_rng(seed).integers(0, 256, (num_patches, 3 * frames * side * side), np.uint8)


def buffers(blocks: list[bytes]) -> list[pa.Buffer]:
    return [pa.py_buffer(block) for block in blocks]


@settings(max_examples=40)
@given(st.integers(0, 40), st.sampled_from([1, 2, 3, 8, 14, 16]), st.integers(1, 3), st.integers(0, 2**32 - 1))
@example(BLOCK_PATCHES - 1, 14, 1, 0)
@example(BLOCK_PATCHES, 16, 2, 0)
@example(2 * BLOCK_PATCHES + 1, 14, 2, 0)
def test_patches_come_back_as_they_were(num_patches: int, side: int, frames: int, seed: int) -> None:
    patches = noise(num_patches, side, frames, seed)
    blocks = compress_patches(patches, side)
    assert len(blocks) == -(-num_patches // BLOCK_PATCHES)
    expanded = expand_patches(buffers(blocks), num_patches, patches.shape[1], side)
    assert (expanded.dtype, expanded.shape, expanded.tobytes()) == (np.uint8, patches.shape, patches.tobytes())


def test_what_is_compressed_is_not_changed_and_may_lie_otherwise() -> None:
    patches = noise(20, 14, 1)
    before = patches.copy()
    assert compress_patches(np.asfortranarray(patches), 14) == compress_patches(patches, 14)
    np.testing.assert_array_equal(patches, before)


def test_a_slope_in_all_directions_and_colours_takes_almost_nothing() -> None:
    random = np.random.default_rng(0)
    first, by_colour, by_row, by_column = random.integers(0, 256, (4, 300, 1, 1, 1))
    colour, row, column = np.ogrid[:3, :14, :14]
    slopes = first + by_colour * colour + by_row * row + by_column * column
    patches = slopes.astype(np.uint8).reshape(300, -1)  # wrapped around many times
    [block] = compress_patches(patches, 14)
    assert len(block) * 10 < len(pa.Codec("zstd", compression_level=1).compress(patches.tobytes()))
    assert len(block) * 20 < patches.nbytes


def test_expanded_patches_are_read_only() -> None:
    blocks = compress_patches(noise(3, 14, 1), 14)
    assert not expand_patches(buffers(blocks), 3, 588, 14).flags.writeable


@pytest.mark.parametrize(
    ("num_patches", "width"), [(BLOCK_PATCHES + 6, 588), (BLOCK_PATCHES, 588), (2 * BLOCK_PATCHES, 588), (517, 1176)]
)
def test_blocks_of_other_patches_are_noticed(num_patches: int, width: int) -> None:
    blocks = buffers(compress_patches(noise(BLOCK_PATCHES + 5, 14, 1), 14))
    with pytest.raises((ValueError, OSError)):
        expand_patches(blocks, num_patches, width, 14)


@pytest.mark.parametrize("damage", [lambda block: block[:-1], lambda block: b"", lambda block: b"x" + block[1:]])
def test_a_damaged_block_is_noticed(damage) -> None:
    [block] = compress_patches(noise(5, 14, 1), 14)
    with pytest.raises(OSError, match="ZSTD"):
        expand_patches(buffers([damage(block)]), 5, 588, 14)
