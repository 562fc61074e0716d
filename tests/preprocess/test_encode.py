"""Headers and pixels say the same counts; media that changed in between stop the run, and so do our own slips."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_clips import write_clip
from PIL import Image

import preprocess.encode
from preprocess.encode import SampleEncoder
from preprocess.errors import FatalError, PlanMismatch, Reason, SampleError
from preprocess.media.videos.video import VideoHeader
from preprocess.read.records import parse_record
from preprocess.read.registry import Dataset
from preprocess.sample import EncodedSample, MeasuredImage, MeasuredSample, MediaSource, Sample, Turn
from preprocess.write.materialise import join_samples
from shards import IGNORE_INDEX, check_pack
from tests.preprocess.workshop import MEDIUM, Workshop, talk


@pytest.fixture
def encoder(workshop: Workshop) -> SampleEncoder:
    return load(workshop)


def load(workshop: Workshop, **changes: Any) -> SampleEncoder:
    return SampleEncoder.load(workshop.model, workshop.config(**changes))


def sample_of(workshop: Workshop, record: dict[str, Any]) -> Sample:
    dataset = Dataset(name="d", annotation_path=Path("d.jsonl"), data_path=workshop.media)
    return parse_record(record, dataset, 0, None)


def clip(workshop: Workshop, name: str = "a.mp4", num_frames: int = 20) -> str:
    write_clip(workshop.media / name, size=(112, 84), fps=10, num_frames=num_frames)
    return name


def counts(measured: MeasuredSample) -> tuple[int, int, int, int]:
    return (
        measured.num_tokens,
        measured.num_label_tokens,
        measured.num_image_patches,
        measured.num_video_patches,
    )


def assert_matches(measured: MeasuredSample, encoded: EncodedSample) -> None:
    assert counts(measured) == (
        len(encoded.input_ids),
        np.count_nonzero(encoded.labels != IGNORE_INDEX),
        len(encoded.image_patches),
        len(encoded.video_patches),
    )
    assert encoded.image_grid_thw.tolist() == [list(image.grid_thw) for image in measured.images]
    assert encoded.video_grid_thw.tolist() == [list(video.grid_thw) for video in measured.videos]


@pytest.mark.parametrize(
    ("images", "videos"), [(0, 0), (1, 0), (3, 0), (0, 1), (0, 2), (2, 1)], ids=lambda number: str(number)
)
def test_every_mixture_of_media_gives_a_valid_row(
    workshop: Workshop, encoder: SampleEncoder, images: int, videos: int
) -> None:
    image, video = workshop.image(), clip(workshop)
    record = talk("<image>" * images + "<video>" * videos, images=[image] * images, videos=[video] * videos)
    measured = encoder.measure(sample_of(workshop, record))
    encoded = encoder.encode(measured)
    assert (len(measured.images), len(measured.videos)) == (images, videos)
    assert_matches(measured, encoded)
    assert encoded.image_patches.shape == (24 * images, 588)
    assert encoded.video_patches.shape[1] == 1176
    assert len(encoded.second_per_grid_ts) == videos
    check_pack(join_samples(["d:0"], [encoded]), encoder.constants)


def test_a_frame_count_that_is_odd_is_filled_up(workshop: Workshop) -> None:
    encoder = load(workshop, video_min_frames=3, video_max_frames=3)
    measured = encoder.measure(sample_of(workshop, talk("<video>", video=clip(workshop))))
    [video] = measured.videos
    assert (len(video.frame_indices), video.grid_thw[0]) == (3, 2)
    encoded = encoder.encode(measured)
    assert_matches(measured, encoded)
    last = encoded.video_patches[len(encoded.video_patches) // 2 :].reshape(-1, 3, 2, 14, 14)
    np.testing.assert_array_equal(last[:, :, 0], last[:, :, 1])
    assert video.second_per_grid == pytest.approx(2 / (3 / 2.0))


def test_both_decoders_measure_and_encode_alike(workshop: Workshop) -> None:
    sample = sample_of(workshop, talk("<video>", video=clip(workshop)))
    one, two = load(workshop, video_decoder="decord"), load(workshop, video_decoder="pyav")
    assert one.measure(sample) == two.measure(sample)
    np.testing.assert_array_equal(
        one.encode(one.measure(sample)).video_patches, two.encode(two.measure(sample)).video_patches
    )


def test_encoding_again_gives_the_same(workshop: Workshop, encoder: SampleEncoder) -> None:
    measured = encoder.measure(sample_of(workshop, talk("<image>", image=workshop.image())))
    first, second = encoder.encode(measured), load(workshop).encode(measured)
    for name, array in vars_of(first).items():
        np.testing.assert_array_equal(array, vars_of(second)[name])


def vars_of(encoded: EncodedSample) -> dict[str, np.ndarray]:
    return {name: getattr(encoded, name) for name in EncodedSample.__dataclass_fields__}


# --- rejects -------------------------------------------------------------------------------------------------------


def reject(action: Any, *arguments: Any) -> SampleError:
    with pytest.raises(SampleError) as raised:
        action(*arguments)
    return raised.value


@pytest.mark.parametrize("answers", [[""], ["", ""]])
def test_empty_answers_teach_nothing(workshop: Workshop, encoder: SampleEncoder, answers: list[str]) -> None:
    turns = [turn for answer in answers for turn in talk(answer=answer)["conversations"]]
    assert reject(encoder.measure, sample_of(workshop, {"conversations": turns})).reason is Reason.NOTHING_TO_LEARN


def test_positions_that_do_not_fit_are_a_reject(
    workshop: Workshop, encoder: SampleEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    sample = sample_of(workshop, talk("<video>", video=clip(workshop)))
    monkeypatch.setattr(preprocess.encode, "num_positions", lambda *_: 2**31)
    encoder.measure(sample)
    monkeypatch.setattr(preprocess.encode, "num_positions", lambda *_: 2**31 + 1)
    assert reject(encoder.measure, sample).reason is Reason.TOO_LONG


@pytest.mark.parametrize("answers", [["", "x"], [" "], ["\n"]])
def test_one_token_of_an_answer_is_enough(workshop: Workshop, encoder: SampleEncoder, answers: list[str]) -> None:
    turns = [turn for answer in answers for turn in talk(answer=answer)["conversations"]]
    assert encoder.measure(sample_of(workshop, {"conversations": turns})).num_label_tokens >= 3


def test_frames_of_another_size_than_the_first_are_a_reject(workshop: Workshop, encoder: SampleEncoder) -> None:
    measured = encoder.measure(sample_of(workshop, talk("<video>", video=clip(workshop))))
    [video] = measured.videos
    error = reject(encoder.encode, replace(measured, videos=(replace(video, height=112, width=84),)))
    assert error.reason is Reason.UNDECODABLE
    assert "frames are 112x84 pixels, the first one was 84x112" in error.detail


def test_frames_that_are_missing_are_a_reject(workshop: Workshop, encoder: SampleEncoder) -> None:
    measured = encoder.measure(sample_of(workshop, talk("<video>", video=clip(workshop, num_frames=20))))
    [video] = measured.videos
    error = reject(encoder.encode, replace(measured, videos=(replace(video, frame_indices=(0, 20)),)))
    assert error.reason is Reason.TOO_FEW_FRAMES
    assert "a.mp4" in error.detail


def test_a_thin_video_is_a_reject_by_name(
    workshop: Workshop, encoder: SampleEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    header = VideoHeader(num_frames=20, fps=10.0, height=2, width=402)
    monkeypatch.setattr(preprocess.encode, "probe", lambda *_, **__: header)
    error = reject(encoder.measure, sample_of(workshop, talk("<video>", video=clip(workshop))))
    assert error.reason is Reason.ASPECT_RATIO
    assert "a.mp4: 402x2 pixels" in error.detail


# --- media that are not those that were measured -------------------------------------------------------------------


def move_away(path: Path) -> None:
    path.rename(path.with_suffix(".elsewhere"))


def put_a_folder_in_its_place(path: Path) -> None:
    move_away(path)
    path.mkdir()


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1))


def lengthen(path: Path) -> None:
    times = path.stat()
    path.write_bytes(path.read_bytes() + b"\0")
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


@pytest.mark.parametrize("change", [move_away, put_a_folder_in_its_place, touch, lengthen])
@pytest.mark.parametrize("kind", ["image", "video", "cell"])
def test_a_medium_that_is_gone_or_changed_since_it_was_measured_stops_the_run(
    workshop: Workshop, encoder: SampleEncoder, kind: str, change: Callable[[Path], None]
) -> None:
    path = workshop.media / (clip(workshop) if kind == "video" else workshop.image())
    source = MediaSource(path=str(path))
    if kind == "cell":
        cell = {"bytes": path.read_bytes(), "path": None}
        path = workshop.root / "d.parquet"
        pq.write_table(pa.table({"image": pa.array([cell], MEDIUM)}), path)
        source = MediaSource(path=str(path), row=0, column="image")
    media = {"videos": (source,)} if kind == "video" else {"images": (source,)}
    tag = "<video>" if kind == "video" else "<image>"
    measured = encoder.measure(replace(sample_of(workshop, talk()), **media, turns=talk_turns(tag)))
    assert_matches(measured, encoder.encode(measured))
    before = path.stat()
    os.utime(path, ns=(0, before.st_mtime_ns))
    assert_matches(measured, encoder.encode(measured))
    change(path)
    with pytest.raises(FatalError, match=r"run the same command again; or remove the output folder") as raised:
        encoder.encode(measured)
    assert str(raised.value).startswith(f"d:0: {path}")
    assert f"it was {before.st_size:,} bytes of 20" in str(raised.value)


def test_under_hash_media_content_alone_tells_whether_a_medium_changed(
    workshop: Workshop, encoder: SampleEncoder
) -> None:
    encoder = replace(encoder, config=replace(encoder.config, hash_media=True))
    path = workshop.media / workshop.image()
    measured = encoder.measure(sample_of(workshop, talk("<image>", image="a.png")))
    touch(path)
    assert path.stat().st_mtime_ns != measured.images[0].stamp.version
    assert_matches(measured, encoder.encode(measured))
    os.utime(path, ns=(0, measured.images[0].stamp.version))
    times, content = path.stat(), bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(0, times.st_mtime_ns))
    with pytest.raises(FatalError, match=r"sha256 [0-9a-f]{8}; it was .* sha256 [0-9a-f]{8} when it was planned"):
        encoder.encode(measured)


def talk_turns(question: str) -> tuple[Turn, ...]:
    return (Turn(role="user", text=question), Turn(role="assistant", text="A thing."))


def test_patches_of_an_earlier_run_do_not_stand_in_for_a_medium_that_is_gone(
    workshop: Workshop, encoder: SampleEncoder
) -> None:
    class NeverAsked:
        def find(self, _: object) -> None:
            pytest.fail("it was asked")

    measured = encoder.measure(sample_of(workshop, talk("<image>", image=workshop.image())))
    move_away(workshop.media / "a.png")
    with pytest.raises(FatalError, match="No such file"):
        replace(encoder, old_patches=NeverAsked()).encode(measured)  # type: ignore[arg-type]


def test_a_medium_that_goes_away_while_it_is_read_stops_the_run(
    workshop: Workshop, encoder: SampleEncoder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lose_it(image: MeasuredImage, *_: object) -> None:
        move_away(Path(image.source.path))
        raise SampleError(Reason.MISSING_FILE, "gone")

    measured = encoder.measure(sample_of(workshop, talk("<image>", image=workshop.image())))
    monkeypatch.setattr(preprocess.encode, "encode_image", lose_it)
    with pytest.raises(FatalError, match=r"a\.png: No such file"):
        encoder.encode(measured)


# --- bugs ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["num_tokens", "num_label_tokens", "num_image_patches", "num_video_patches"])
def test_counts_that_differ_without_a_decoding_error_are_a_bug(
    workshop: Workshop, encoder: SampleEncoder, name: str
) -> None:
    measured = encoder.measure(sample_of(workshop, talk("<image>", image=workshop.image())))
    wrong = replace(measured, **{name: getattr(measured, name) + 1})
    with pytest.raises(PlanMismatch, match=r"d:0: tokens, label tokens, .* are \(.*\), planned \("):
        encoder.encode(wrong)
    assert not issubclass(PlanMismatch, SampleError)


def test_equal_pixels_under_another_name_are_equal_patches(workshop: Workshop, encoder: SampleEncoder) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (70, 50, 3), np.uint8))
    for name in ("a.png", "b.bmp", "c.tif"):
        noise.save(workshop.media / name)
    record = talk("<image><image><image>", images=["a.png", "b.bmp", "c.tif"])
    one, two, three = np.split(encoder.encode(encoder.measure(sample_of(workshop, record))).image_patches, 3)
    assert len(one) > 0
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, three)
