"""A pack taken apart gives back every sample's tokens, labels and media."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given

from shards import InvalidPack, Pack, PackCounts, check_pack, count_pack
from shards.segments import alone, cut_segments
from tests.shards.packs import CONSTANTS, make_pack, packs


def two_samples_with_media() -> Pack:
    """An image of 2 tokens in the first sample; another, and a video of 3, in the second."""
    one = make_pack(texts=(3,), images=[(1, 2, 4)])
    other = make_pack(texts=(2,), images=[(1, 2, 2)], videos=[(3, 2, 2)], seed=1)
    return Pack(
        input_ids=np.concatenate([one.input_ids, other.input_ids]),
        labels=np.concatenate([one.labels, other.labels]),
        position_ids=np.concatenate([one.position_ids, other.position_ids], axis=1),
        cu_seqlens=np.array([0, 5, 11], np.int32),
        image_patches=np.concatenate([one.image_patches, other.image_patches]),
        image_grid_thw=np.concatenate([one.image_grid_thw, other.image_grid_thw]),
        video_patches=other.video_patches,
        video_grid_thw=other.video_grid_thw,
        second_per_grid_ts=other.second_per_grid_ts,
        sample_keys=("a:b:7.1#2", "c:0"),
    )


def test_media_belong_to_the_sample_whose_tokens_they_are() -> None:
    pack = two_samples_with_media()
    check_pack(pack, CONSTANTS)
    first, second = cut_segments(pack, CONSTANTS)
    assert (first.key, first.dataset, first.start, first.stop) == ("a:b:7.1#2", "a:b", 0, 5)
    assert (second.dataset, second.start, second.stop) == ("c", 5, 11)
    [image] = first.spans
    assert (image.kind, image.index, image.start, image.stop, image.grid_thw) == ("image", 0, 3, 5, (1, 2, 4))
    assert image.second_per_grid is None
    spans = [(span.kind, span.index, span.start, span.stop) for span in second.spans]
    assert spans == [("image", 1, 7, 8), ("video", 0, 8, 11)]
    assert second.spans[1].second_per_grid == 0.5
    assert second.counts == PackCounts(
        num_samples=1,
        num_tokens=6,
        num_label_tokens=1,
        num_images=1,
        num_videos=1,
        num_image_patches=4,
        num_video_patches=12,
    )


def test_a_sample_alone_is_a_pack_of_its_own() -> None:
    pack = two_samples_with_media()
    first, second = cut_segments(pack, CONSTANTS)
    left = alone(pack, first)
    check_pack(left, CONSTANTS)
    assert left.sample_keys == (first.key,)
    assert len(left.video_patches) == len(left.second_per_grid_ts) == 0
    right = alone(pack, second)
    check_pack(right, CONSTANTS)
    np.testing.assert_array_equal(right.image_patches, pack.image_patches[8:])
    np.testing.assert_array_equal(right.position_ids, pack.position_ids[:, 5:])
    assert right.second_per_grid_ts.tolist() == [0.5]


@given(packs)
def test_samples_alone_have_the_counts_of_their_segments(pack: Pack) -> None:
    for segment in cut_segments(pack, CONSTANTS):
        taken = alone(pack, segment)
        check_pack(taken, CONSTANTS)
        assert count_pack(taken) == segment.counts


@given(packs)
def test_the_segments_of_a_pack_add_up_to_it(pack: Pack) -> None:
    segments = cut_segments(pack, CONSTANTS)
    assert sum((segment.counts for segment in segments), PackCounts()) == count_pack(pack)
    assert [segment.start for segment in segments] + [pack.num_tokens] == pack.cu_seqlens.tolist()
    for segment in segments:
        for span in segment.spans:
            token = CONSTANTS.image_token_id if span.kind == "image" else CONSTANTS.video_token_id
            assert (pack.input_ids[span.start : span.stop] == token).all()


def test_an_image_over_the_end_of_a_sample_is_refused() -> None:
    pack = two_samples_with_media()
    moved = replace(pack, cu_seqlens=np.array([0, 4, 11], np.int32))
    with pytest.raises(InvalidPack, match=r"a:b:7\.1#2: image 0 runs over the end of the sample"):
        cut_segments(moved, CONSTANTS)


def test_an_image_torn_apart_is_refused() -> None:
    pack = two_samples_with_media()
    tokens = pack.input_ids.copy()
    tokens[[2, 3]] = tokens[[3, 2]]
    with pytest.raises(InvalidPack, match="the tokens of image 0 are torn apart"):
        cut_segments(replace(pack, input_ids=tokens), CONSTANTS)


# --- videos in several runs ----------------------------------------------------------------------------------------

PIECEWISE = replace(CONSTANTS, model_type="qwen3_vl")


def video_between_times() -> Pack:
    """A sample of two temporal patches of 2 tokens each, after a text each, and a second one of one patch."""
    pack = make_pack(texts=(2, 3), videos=[(2, 2, 4), (1, 2, 2)])
    pad = CONSTANTS.video_token_id
    tokens = [1, pad, pad, 2, pad, pad, 3, 4, pad, 5]
    return replace(pack, input_ids=np.array(tokens, np.int32), cu_seqlens=np.array([0, 7, 10], np.int32))


def test_the_tokens_of_a_video_stand_in_the_runs_of_its_family() -> None:
    pack = video_between_times()
    first, second = cut_segments(pack, PIECEWISE)
    [video] = first.spans
    assert (video.runs, video.start, video.stop, video.num_tokens) == (((1, 3), (4, 6)), 1, 6, 4)
    assert (video.grid_thw, video.num_patches) == ((2, 2, 4), 16)
    assert [span.runs for span in second.spans] == [((8, 9),)]
    assert (first.counts.num_videos, first.counts.num_video_patches, second.counts.num_video_patches) == (1, 16, 4)
    with pytest.raises(InvalidPack, match="the tokens of video 0 are torn apart"):
        cut_segments(pack, CONSTANTS)


def test_a_run_torn_apart_is_refused() -> None:
    pack = video_between_times()
    tokens = pack.input_ids.copy()
    tokens[[3, 4]] = tokens[[4, 3]]
    with pytest.raises(InvalidPack, match="the tokens of video 0 are torn apart"):
        cut_segments(replace(pack, input_ids=tokens), PIECEWISE)


def test_a_video_whose_later_runs_are_over_the_end_of_a_sample_is_refused() -> None:
    moved = replace(video_between_times(), cu_seqlens=np.array([0, 4, 10], np.int32))
    with pytest.raises(InvalidPack, match="made up:0: video 0 runs over the end of the sample"):
        cut_segments(moved, PIECEWISE)
