"""Videos: whatever the container, the frames are those of playing it from the start, with both decoders."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from fractions import Fraction
from itertools import product
from pathlib import Path
from typing import Any

import av
import decord
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_build import Demo
from demo_clips import cut_file, write_clip
from PIL import Image

from preprocess.errors import Reason, SampleError
from preprocess.media.videos import video
from preprocess.media.videos.video import Decoder, decode_frames, probe_video
from preprocess.sample import MediaSource
from tests.preprocess.clips import (
    FPS,
    FROM_THE_START,
    KINDS,
    SEEKABLE,
    SIZE,
    Frames,
    blank_packets,
    encoded,
    numbers,
    played,
    remux_with_hidden_frames,
)

DECODERS: tuple[Decoder, ...] = ("decord", "pyav")
both_decoders = pytest.mark.parametrize("decoder", DECODERS)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("clips")
    written = {}
    for name, kind in KINDS.items():
        written[name] = folder / f"{name}{kind.suffix}"
        kind.write(written[name])
    return written


def source(path: Path) -> MediaSource:
    return MediaSource(path=str(path))


def decoded(medium: MediaSource, indices: list[int], decoder: Decoder) -> npt.NDArray[np.uint8]:
    return np.stack(list(decode_frames(medium, indices, decoder)))


def assert_equal(frames: Any, expected: Frames) -> None:
    assert frames.shape == (len(expected), *expected[0].shape)
    assert frames.dtype == np.uint8
    for frame, wanted in zip(frames, expected, strict=True):
        assert np.array_equal(frame, wanted)


def scattered(num_frames: int) -> list[list[int]]:
    """Single frames, neighbours, the ends, and a few at random: key frames and those before and after them too."""
    rng = np.random.default_rng(num_frames)
    singles = [[index] for index in range(0, num_frames, 3)]
    random = [sorted(rng.choice(num_frames, 5, replace=False).tolist()) for _ in range(6)]
    return [*singles, *random, [0, num_frames - 1], [9, 10, 11], list(range(num_frames))]


# --- frames --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KINDS)
def test_frames_are_those_of_playing_from_the_start(name: str, files: dict[str, Path]) -> None:
    kind, path = KINDS[name], files[name]
    expected = played(path, kind.rotation)
    assert numbers(expected) == list(range(kind.first_shown, kind.first_shown + kind.num_frames))
    for decoder, indices in product(DECODERS, scattered(kind.num_frames)):
        assert_equal(decoded(source(path), indices, decoder), [expected[index] for index in indices])


def test_playing_is_converted_as_pyav_does_where_nothing_is_interpolated(files: dict[str, Path]) -> None:
    """So that the frames above are not compared with a conversion of their own kind alone."""
    with av.open(files["mp4"]) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert_equal(np.stack(frames), played(files["mp4"]))


@pytest.mark.parametrize("name", KINDS)
def test_the_header_says_the_size_and_number_of_what_is_played(name: str, files: dict[str, Path]) -> None:
    kind, header = KINDS[name], probe_video(source(files[name]))
    frames = played(files[name], kind.rotation)
    assert (header.height, header.width) == frames[0].shape[:2]
    assert header.num_frames == kind.num_frames + kind.first_shown
    if "uneven" not in name and "millisecond" not in name:
        assert header.fps == FPS


def test_rotated_frames_are_stored_lying_down(files: dict[str, Path]) -> None:
    with av.open(files["mp4_rotated_90"]) as container:
        stored = next(container.decode(video=0))
        assert (stored.height, stored.width) == SIZE
    header = probe_video(source(files["mp4_rotated_90"]))
    assert (header.width, header.height) == SIZE


def test_the_demo_clips_can_be_read(demo: Demo) -> None:
    for path in sorted((demo.media / "clips").iterdir()):
        header = probe_video(source(path))
        indices = [0, header.num_frames // 2, header.num_frames - 1]
        for decoder in DECODERS:
            assert numbers(decoded(source(path), indices, decoder)) == indices


def test_a_clip_inside_of_a_parquet_file_is_read(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "clips.parquet"
    cell = {"bytes": files["mp4"].read_bytes(), "path": "clip.mp4"}
    pq.write_table(pa.table({"video": [cell]}), path)
    inside = MediaSource(path=str(path), row=0, column="video")
    assert probe_video(inside) == probe_video(source(files["mp4"]))
    for decoder in DECODERS:
        assert numbers(decoded(inside, [3, 25], decoder)) == [3, 25]


# --- what is decoded, and by whom ----------------------------------------------------------------------------------


@both_decoders
@pytest.mark.parametrize("name", ["mp4", "mkv", "mp4_open_gops", "webm_vp9"])
def test_stretches_without_a_wanted_frame_are_not_decoded(
    name: str, decoder: Decoder, files: dict[str, Path], tmp_path: Path
) -> None:
    """10 to 16 are most of one group, and 34 to 39 the end of another: they can't be decoded, and need not be.

    17 to 19 are shown before the key frame 20 and, in open groups, come behind it in the file.
    """
    expected = played(files[name])
    damaged = tmp_path / files[name].name
    assert blank_packets(files[name], damaged, {*range(10, 17), *range(34, 40)}) == 13
    with pytest.raises(av.error.InvalidDataError):
        played(damaged)
    indices = [0, 6, 20, 26, 30]
    assert_equal(decoded(source(damaged), indices, decoder), [expected[index] for index in indices])
    with pytest.raises(SampleError) as caught:
        decoded(source(damaged), [0, 14], decoder)
    assert caught.value.reason is Reason.UNDECODABLE
    assert caught.value.detail.startswith(f"{damaged}: ")


def test_the_end_of_a_group_is_decoded_without_the_next_one(files: dict[str, Path], tmp_path: Path) -> None:
    """Its last frames leave the decoder late; what follows in the file must not be needed for that."""
    damaged = tmp_path / "damaged.mp4"
    blank_packets(files["mp4"], damaged, set(range(20, 40)))
    assert numbers(decoded(source(damaged), [18, 19], "pyav")) == [18, 19]


def never(*_: object, **__: object) -> Any:
    raise AssertionError("asked")


@pytest.mark.parametrize("name", SEEKABLE)
def test_timestamps_are_used_where_they_name_the_frames(
    name: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_decode_in_sequence", never)
    for decoder in DECODERS:
        decoded(source(files[name]), [15, 33], decoder)


@both_decoders
@pytest.mark.parametrize("name", FROM_THE_START)
def test_other_files_are_decoded_from_the_start(
    name: str, decoder: Decoder, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_decode_in_sequence", never)
    with pytest.raises(AssertionError, match="asked"):
        decoded(source(files[name]), [15, 33], decoder)


@pytest.mark.parametrize("name", ["mp4", "mp4_rotated_90", "mp4_odd_sides", "mkv", "webm_vp9", "mp4_uneven_times"])
def test_decord_is_asked_where_its_random_access_is_exact(
    name: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(video, "_decode_stretches", never)
    assert numbers(decoded(source(files[name]), [3, 25], "decord")) == [3, 25]
    with pytest.raises(AssertionError, match="asked"):
        decoded(source(files[name]), [3, 25], "pyav")


@pytest.mark.parametrize("name", ["mp4_open_gops", "mkv_open_gops", "mp4_hevc_open_gops", *FROM_THE_START])
def test_decord_is_not_asked_where_it_is_not(
    name: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decord, "VideoReader", never)
    first = KINDS[name].first_shown
    assert numbers(decoded(source(files[name]), [3, 25], "decord")) == [first + 3, first + 25]


@pytest.mark.parametrize("name", ["mp4", "mkv", "mp4_open_gops", "mp4_hevc_open_gops"])
def test_frames_that_no_other_needs_are_not_decoded(
    name: str, files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode_until = video._decode_until
    num_decoded = {True: 0, False: 0}

    def count(opened: Any, times: Any, skips: bool) -> Iterator[Any]:
        for frame in decode_until(opened, times, skips):
            num_decoded[skips] += 1
            yield frame

    monkeypatch.setattr(video, "_decode_until", count)
    with_skips = decoded(source(files[name]), [9, 26, 38], "pyav")
    assert num_decoded[False] == 0 < num_decoded[True]
    monkeypatch.setattr(video, "_CODECS_WITH_DISPENSABLE_FRAMES", set())
    assert_equal(with_skips, decoded(source(files[name]), [9, 26, 38], "pyav"))
    assert num_decoded[True] < 0.8 * num_decoded[False]


def test_a_frame_that_is_lost_by_skipping_others_is_decoded_without(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    decode_until = video._decode_until

    def lose(opened: Any, times: Any, skips: bool) -> Iterator[Any]:
        frames = list(decode_until(opened, times, skips))
        lost = sorted(frame.pts for frame in frames if frame.pts in times)[1:2] if skips else []
        return (frame for frame in frames if frame.pts not in lost)

    monkeypatch.setattr(video, "_decode_until", lose)
    assert numbers(decoded(source(files["mp4"]), [1, 3, 5, 7, 21, 33], "pyav")) == [1, 3, 5, 7, 21, 33]


@pytest.mark.parametrize("name", ["mp4_rotated_90", "avi_h264_with_b_frames"])
def test_frames_that_were_given_are_not_kept(name: str, files: dict[str, Path]) -> None:
    gc.collect()
    gc.disable()
    try:
        most_alive = 0
        for _ in decode_frames(source(files[name]), range(2, 38), "pyav"):
            most_alive = max(most_alive, sum(type(each) is av.VideoFrame for each in gc.get_objects()))
    finally:
        gc.enable()
    assert 0 < most_alive < 10


def test_where_decord_fails_pyav_has_the_last_word(files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """As it does at random in HEVC: a reject would depend on chance."""

    def fail(*_: object, **__: object) -> Any:
        raise decord.DECORDError("Thread worker: Error sending packet.")

    monkeypatch.setattr(decord.VideoReader, "get_batch", fail)
    assert numbers(decoded(source(files["mp4"]), [3, 25], "decord")) == [3, 25]


# --- numbers of frames ---------------------------------------------------------------------------------------------


def test_packets_are_counted_where_the_header_has_no_number(files: dict[str, Path]) -> None:
    for name, says in (("mp4", 40), ("mkv", 0), ("webm_vp9", 0), ("transport_stream", 0)):
        with av.open(files[name]) as container:
            assert container.streams.video[0].frames == says
        assert probe_video(source(files[name])).num_frames == 40


def without_rate(path: Path, target: Path) -> None:
    """Void in the place of Matroska's DefaultDuration, as browsers record."""
    content = path.read_bytes()
    start = content.index(b"\x23\xe3\x83")
    num_bytes = 4 + (content[start + 3] & 0x7F)
    void = bytes([0xEC, 0x80 | (num_bytes - 2)]) + bytes(num_bytes - 2)
    target.write_bytes(content[:start] + void + content[start + num_bytes :])


UNEVEN = [0, *range(3000, 3390, 10)]  # milliseconds


@pytest.fixture(scope="module")
def uneven(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("uneven") / "a.webm"
    millisecond = Fraction(1, 1000)
    encoded(".webm", "libvpx", {"deadline": "realtime"}, times=UNEVEN, time_base=millisecond).write(path)
    return path


def test_without_a_rate_in_the_header_time_stamps_tell(uneven: Path, tmp_path: Path) -> None:
    without_rate(uneven, tmp_path / "a.webm")
    with av.open(tmp_path / "a.webm") as container:
        assert not container.streams.video[0].average_rate
    header = probe_video(source(tmp_path / "a.webm"))
    assert (header.num_frames, header.fps) == (40, 39 / 3.38)
    assert numbers(decoded(source(tmp_path / "a.webm"), [0, 39], "decord")) == [0, 39]


def test_the_duration_may_be_that_of_the_time_stamps(uneven: Path) -> None:
    assert probe_video(source(uneven)).fps == FPS
    header = probe_video(source(uneven), times="stamps")
    assert (header.num_frames, header.fps) == (40, 39 / 3.38)


@pytest.mark.parametrize("name", ["mp4", "mkv", "webm_vp8", "mp4_open_gops", "transport_stream"])
def test_evenly_spaced_stamps_say_what_the_header_does(name: str, files: dict[str, Path]) -> None:
    by_header, by_stamps = (probe_video(source(files[name]), times=times) for times in ("header", "stamps"))
    assert by_stamps.num_frames == by_header.num_frames
    assert by_stamps.fps == pytest.approx(FPS, rel=1e-3)


def test_stamps_that_do_not_tell_frames_apart_are_refused(tmp_path: Path) -> None:
    encoded(".h264", "libx264", {"x264-params": "asm=0"}).write(tmp_path / "a.h264")
    assert probe_video(source(tmp_path / "a.h264")).num_frames == 40
    with pytest.raises(SampleError, match="40 frames without times; encode it again") as raised:
        probe_video(source(tmp_path / "a.h264"), times="stamps")
    assert raised.value.reason == Reason.NO_FRAMES_OR_RATE


def test_a_clamped_tail_lasts_as_long_as_the_frames_that_are_there(cut: Path) -> None:
    header = probe_video(source(cut), clamp_tail=True, times="stamps")
    assert header.num_frames < 60 and header.fps == pytest.approx(FPS)


def test_hidden_frames_are_decoded_but_not_counted(files: dict[str, Path], tmp_path: Path) -> None:
    path = tmp_path / "hidden.webm"
    remux_with_hidden_frames(files["webm_vp8"], path, {5, 17})
    shown = [number for number in range(40) if number not in (5, 17)]
    assert numbers(played(path)) == shown
    assert probe_video(source(path)).num_frames == 38
    for decoder in DECODERS:
        assert numbers(decoded(source(path), [0, 5, 6, 20, 37], decoder)) == [0, 6, 7, 22, 39]


@pytest.fixture(scope="module")
def cut(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MP4 of 60 frames whose header is whole and whose last frames are missing, the last one in part."""
    folder = tmp_path_factory.mktemp("cut")
    write_clip(folder / "whole.mp4", size=SIZE, fps=FPS, num_frames=60, faststart=True)
    cut_file(folder / "whole.mp4", folder / "cut.mp4", keep=0.6)
    return folder / "cut.mp4"


@both_decoders
def test_the_number_in_the_header_binds(decoder: Decoder, cut: Path) -> None:
    assert probe_video(source(cut)).num_frames == 60
    with pytest.raises(SampleError) as caught:
        decoded(source(cut), [0, 30, 59], decoder)
    assert caught.value.reason is Reason.TOO_FEW_FRAMES
    assert "frame 59" in caught.value.detail
    assert "clamp" in caught.value.detail
    assert str(cut) in caught.value.detail


@both_decoders
def test_a_clamped_tail_counts_the_frames_that_are_there(decoder: Decoder, cut: Path) -> None:
    num_frames = probe_video(source(cut), clamp_tail=True).num_frames
    assert 10 < num_frames < 59
    indices = list(range(0, num_frames, 5)) + [num_frames - 1]
    frames = decoded(source(cut), indices, decoder)
    whole = played(cut.with_name("whole.mp4"))
    # What came before the cut in decoding order is whole; of the last group, some frames in between are missing.
    assert_equal(frames, [whole[number] for number in numbers(frames)])
    assert numbers(frames)[:-2] == indices[:-2]


@both_decoders
@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".ts", ".mp4"])
def test_any_file_cut_short_gives_the_frames_that_clamping_promises(
    suffix: str, decoder: Decoder, tmp_path: Path
) -> None:
    whole, cut = tmp_path / f"whole{suffix}", tmp_path / f"cut{suffix}"
    write_clip(whole, size=SIZE, fps=FPS, num_frames=60, faststart=suffix == ".mp4")
    cut_file(whole, cut, keep=0.7)
    num_frames = probe_video(source(cut), clamp_tail=True).num_frames
    assert 10 < num_frames < 60
    assert numbers(decoded(source(cut), [0, 8], decoder)) == [0, 8]
    assert len(decoded(source(cut), [num_frames - 1], decoder)) == 1


@both_decoders
@pytest.mark.parametrize("suffix", [".mkv", ".avi", ".mp4"])
def test_a_clamped_tail_leaves_out_frames_whose_packets_cannot_be_decoded(
    suffix: str, decoder: Decoder, tmp_path: Path
) -> None:
    path = tmp_path / f"damaged{suffix}"
    write_clip(path, size=SIZE, fps=FPS, num_frames=60)
    with av.open(str(path)) as container:
        packets = [bytes(packet) for packet in container.demux(video=0) if packet.size]
    content = path.read_bytes()
    for packet in packets[-6:]:
        assert content.count(packet) == 1
        content = content.replace(packet, bytes(len(packet)))
    path.write_bytes(content)
    assert len(packets) == 60
    with pytest.raises(SampleError):
        decoded(source(path), [0, 59], decoder)
    num_frames = probe_video(source(path), clamp_tail=True).num_frames
    assert 50 < num_frames <= 54
    assert numbers(decoded(source(path), [0, 30, num_frames - 1], decoder)) == [0, 30, num_frames - 1]


def test_clamping_changes_nothing_in_a_whole_file(files: dict[str, Path]) -> None:
    for name in ("mp4", "mkv", "avi_h264_with_b_frames"):
        assert probe_video(source(files[name]), clamp_tail=True) == probe_video(source(files[name]))


def test_frames_cut_off_by_an_edit_list_are_not_there(files: dict[str, Path]) -> None:
    """The header counts them, so the whole number can't be had; clamping counts what is shown."""
    path = files["mp4_cut_by_an_edit_list"]
    assert probe_video(source(path)).num_frames == 40
    assert probe_video(source(path), clamp_tail=True).num_frames == 35
    for decoder in DECODERS:
        with pytest.raises(SampleError) as caught:
            decoded(source(path), [0, 39], decoder)
        assert caught.value.reason is Reason.TOO_FEW_FRAMES


# --- bad input -----------------------------------------------------------------------------------------------------


def reason_of(path: Path) -> Reason:
    with pytest.raises(SampleError) as caught:
        probe_video(source(path))
    assert str(path) in caught.value.detail
    return caught.value.reason


@pytest.mark.parametrize("content", [b"", b"\0", b"hello world\n" * 100, b"\0\0\0\x18ftypmp42"])
def test_what_is_no_video_is_undecodable(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    assert reason_of(path) is Reason.UNDECODABLE


def test_a_file_that_lost_its_index_is_undecodable(files: dict[str, Path], tmp_path: Path) -> None:
    """An MP4 has it at the end, unless told otherwise."""
    path = tmp_path / "cut.mp4"
    cut_file(files["mp4"], path, keep=0.5)
    assert reason_of(path) is Reason.UNDECODABLE


@pytest.mark.parametrize("name", ["not_there.mp4", "."])
def test_a_path_without_a_file_is_missing(name: str, tmp_path: Path) -> None:
    assert reason_of(tmp_path / name) is Reason.MISSING_FILE


@pytest.mark.parametrize("file_format", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_a_still_picture_is_no_video(file_format: str, tmp_path: Path) -> None:
    """FFmpeg would play it as one frame at 25 a second."""
    path = tmp_path / "clip.mp4"
    Image.new("RGB", (64, 48), (10, 200, 30)).save(path, file_format)
    assert reason_of(path) is Reason.NO_FRAMES_OR_RATE


@pytest.mark.parametrize("with_cover", [False, True])
def test_sound_is_no_video_even_with_a_cover_picture(with_cover: bool, tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    with av.open(path, "w") as container:
        sound = container.add_stream("mp3", rate=16000)
        if with_cover:
            cover = container.add_stream("mjpeg", rate=1)
            cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
            cover.disposition = av.stream.Disposition.attached_pic
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        silence.rate, silence.pts = 16000, 0
        container.mux(sound.encode(silence))
        container.mux(sound.encode(None))
        if with_cover:
            container.mux(cover.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8))))
            container.mux(cover.encode(None))
    with av.open(path) as container:
        assert len(container.streams.video) == with_cover
    assert reason_of(path) is Reason.NO_FRAMES_OR_RATE


def test_a_video_whose_frames_change_size_is_undecodable(tmp_path: Path) -> None:
    """Two transport streams behind each other, as some recorders write them."""
    path = tmp_path / "joined.ts"
    for number, size in enumerate([SIZE, (SIZE[0] // 2, SIZE[1] // 2)]):
        write_clip(tmp_path / f"{number}.ts", size=size, fps=FPS, num_frames=12)
    path.write_bytes((tmp_path / "0.ts").read_bytes() + (tmp_path / "1.ts").read_bytes())
    with pytest.raises(SampleError, match="size changes") as caught:
        decoded(source(path), [2, 20], "pyav")
    assert caught.value.reason is Reason.UNDECODABLE
