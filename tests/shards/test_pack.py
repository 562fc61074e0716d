"""check_pack names each invariant that a row breaks; the measures of a row equal slow counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given

from shards import (
    IGNORE_INDEX,
    InvalidPack,
    Pack,
    PackCounts,
    PackMaxima,
    UnknownFamily,
    check_pack,
    count_pack,
    measure_pack,
)
from tests.shards.packs import CONSTANTS, arrays, make_pack, packs


def valid_pack() -> Pack:
    """Text, an image and a video, three segments."""
    return make_pack(texts=(3, 5, 4), images=[(1, 4, 6)], videos=[(2, 4, 4)])


def changed(name: str, position: Any, value: int) -> Callable[[Pack], Pack]:
    def change(pack: Pack) -> Pack:
        array = getattr(pack, name).copy()
        assert not np.all(array[position] == value)
        array[position] = value
        return replace(pack, **{name: array})

    return change


def with_field(name: str, change: Callable[[Any], Any]) -> Callable[[Pack], Pack]:
    return lambda pack: replace(pack, **{name: change(getattr(pack, name))})


@given(packs)
def test_made_up_packs_are_valid(pack: Pack) -> None:
    check_pack(pack, CONSTANTS)


BROKEN: dict[str, tuple[Callable[[Pack], Pack], str]] = {
    "boundaries don't start at 0": (changed("cu_seqlens", 0, 1), "cu_seqlens does not run from 0 to S"),
    "boundaries don't end at S": (changed("cu_seqlens", -1, 11), "cu_seqlens does not run from 0 to S"),
    "an empty segment": (with_field("cu_seqlens", lambda b: b[[0, 1, 1, 3]]), "cu_seqlens is not strictly increasing"),
    "boundaries go back": (with_field("cu_seqlens", lambda b: b[[0, 2, 1, 3]]), "cu_seqlens is not strictly"),
    "a boundary is missing": (with_field("cu_seqlens", lambda b: b[[0, 1, 3]]), "cu_seqlens has shape (3,)"),
    "a key is missing": (with_field("sample_keys", lambda keys: keys[:-1]), "cu_seqlens has shape (4,)"),
    "positions run on": (changed("position_ids", (1, 17), 7), "position_ids do not restart at 0"),
    "a label is another token": (changed("labels", 2, 5), "neither IGNORE_INDEX nor its own token"),
    "labels are fewer": (with_field("labels", lambda a: a[:-1]), "labels has shape"),
    "a token is beyond the vocabulary": (changed("input_ids", 0, 1000), "outside the vocabulary"),
    "a token is negative": (changed("input_ids", 0, -1), "outside the vocabulary"),
    "an image pad too few": (changed("input_ids", 5, 1), "5 image-pad tokens for 6 visual tokens"),
    "a video pad too many": (changed("input_ids", 0, 995), "9 video-pad tokens for 8 visual tokens"),
    "image patches are missing": (with_field("image_patches", lambda a: a[:-1]), "image_patches has shape (23, 588)"),
    "video patches are missing": (with_field("video_patches", lambda a: a[1:]), "video_patches has shape (31, 1176)"),
    "image patches of videos": (with_field("image_patches", lambda a: np.tile(a, 2)), "image_patches has shape"),
    "a time is missing": (with_field("second_per_grid_ts", lambda a: a[:0]), "second_per_grid_ts has shape (0,)"),
    "a grid without rows": (changed("image_grid_thw", (0, 1), 0), "image_grid_thw is not (N, 3)"),
    "a grid cuts a cell": (changed("image_grid_thw", (0, 2), 5), "image_grid_thw is not (N, 3)"),
    "a negative grid": (with_field("video_grid_thw", lambda g: g * [1, -1, -1]), "video_grid_thw is not (N, 3)"),
    "a flat grid": (with_field("video_grid_thw", lambda g: g.reshape(-1)), "video_grid_thw is not (N, 3)"),
    "a grid of pairs": (with_field("image_grid_thw", lambda g: g[:, 1:]), "image_grid_thw is not (N, 3)"),
}


@pytest.mark.parametrize(("broken", "message"), BROKEN.values(), ids=BROKEN)
def test_a_broken_invariant_is_named(broken: Callable[[Pack], Pack], message: str) -> None:
    check_pack(valid_pack(), CONSTANTS)
    with pytest.raises(InvalidPack) as raised:
        check_pack(broken(valid_pack()), CONSTANTS)
    assert message in str(raised.value)
    assert str(raised.value).startswith("pack starting with made up:0: ")


@pytest.mark.parametrize("segment", [0, 1, 2])
def test_no_segment_may_start_with_a_label(segment: int) -> None:
    pack = valid_pack()
    start = pack.cu_seqlens[segment]
    labels = pack.labels.copy()
    assert labels[start] == IGNORE_INDEX
    labels[start] = pack.input_ids[start]
    with pytest.raises(InvalidPack, match="a segment starts with a label"):
        check_pack(replace(pack, labels=labels), CONSTANTS)


@pytest.mark.parametrize("name", arrays(valid_pack()))
def test_a_wrong_dtype_is_named(name: str) -> None:
    pack = valid_pack()
    with pytest.raises(InvalidPack, match=f"{name} is int16"):
        check_pack(replace(pack, **{name: getattr(pack, name).astype(np.int16)}), CONSTANTS)


def test_a_pack_without_samples_is_invalid() -> None:
    pack = valid_pack()
    nothing = {name: array[..., :0] if name == "position_ids" else array[:0] for name, array in arrays(pack).items()}
    empty = replace(pack, **{**nothing, "cu_seqlens": np.zeros(1, np.int32)}, sample_keys=())
    with pytest.raises(InvalidPack, match=r"\(empty\): it holds no sample"):
        check_pack(empty, CONSTANTS)


# --- counts --------------------------------------------------------------------------------------------------------


def test_the_measures_of_a_pack() -> None:
    pack = make_pack(texts=(3, 9), images=[(1, 4, 6), (1, 10, 8)], videos=[(3, 4, 4)])
    assert count_pack(pack) == PackCounts(
        num_samples=2,
        num_tokens=12 + 6 + 20 + 12,
        num_label_tokens=2,
        num_images=2,
        num_videos=1,
        num_image_patches=24 + 80,
        num_video_patches=48,
    )
    assert measure_pack(pack, CONSTANTS) == PackMaxima(
        image_patches=104,
        video_patches=48,
        patches=152,
        segments=2,
        images=2,
        videos=1,
        temporal_slices=5,
        windows=1 + 2 + 3,
        segment_tokens=3 + 6 + 20 + 12,
        tokens=50,
        label_tokens=2,
    )


def test_a_pack_of_an_unknown_family_can_not_be_measured() -> None:
    with pytest.raises(UnknownFamily, match="model_type 'qwen9_vl' is not one of qwen2_5_vl"):
        measure_pack(valid_pack(), replace(CONSTANTS, model_type="qwen9_vl"))


def test_counts_add_subtract_and_multiply() -> None:
    one = count_pack(valid_pack())
    assert one.num_images == 1
    assert one + one == one * 2
    assert one * 3 - one == one + one
    assert (one - one) == PackCounts()


def test_maxima_merge_field_by_field() -> None:
    long, wide = PackMaxima(tokens=9, windows=1), PackMaxima(tokens=2, windows=5, images=1)
    assert long.merge(wide) == wide.merge(long) == PackMaxima(tokens=9, windows=5, images=1)
