"""What is not data is not opened as a video, and no header makes a decoder take the machine."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import decord
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_clips import write_clip
from PIL import Image

from preprocess.encode import SampleEncoder
from preprocess.errors import Reason, SampleError
from preprocess.media.videos import containers, video
from preprocess.media.videos.containers import opened_video
from preprocess.media.videos.upright import Frame, ToRgb
from preprocess.media.videos.video import decode_frames, probe_video
from preprocess.read.records import parse_record
from preprocess.read.registry import Dataset
from preprocess.sample import MediaSource
from tests.preprocess.workshop import MEDIUM, Workshop, talk

LISTS = {
    "concat": "ffconcat version 1.0\nfile '{clip}'\n",
    "hls": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{clip}\n#EXT-X-ENDLIST\n",
    "sdp": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 9 RTP/AVP 96\n",
    "dash": '<?xml version="1.0"?><MPD profiles="urn:mpeg:dash:profile:isoff-main:2011">{clip}</MPD>',
    "words": "Words, and no more than words.\n" * 50,
}
RECOGNISED = {"concat", "sdp"}  # whatever the file is called


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    write_clip(tmp_path / "clip.mp4", size=(64, 48), fps=10, num_frames=6)
    return tmp_path / "clip.mp4"


def reject(source: MediaSource) -> SampleError:
    with pytest.raises(SampleError) as caught:
        probe_video(source)
    return caught.value


@pytest.mark.parametrize("suffix", [".mp4", ".m3u8", ".txt"])
@pytest.mark.parametrize("name", LISTS)
def test_lists_of_other_files_and_texts_are_refused_by_name(name: str, suffix: str, clip: Path) -> None:
    path = clip.with_name(f"list{suffix}")
    path.write_text(LISTS[name].format(clip=clip), encoding="utf-8")
    error = reject(MediaSource(path=str(path)))
    assert error.reason is Reason.UNDECODABLE
    assert error.detail.startswith(f"{path}: ")
    if name in RECOGNISED:
        assert f"its format is {name!r}" in error.detail


@pytest.mark.parametrize("name", ["concat", "hls"])
def test_so_are_those_in_cells(name: str, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which FFmpeg would read relative to the current folder."""
    monkeypatch.chdir(tmp_path)
    content = LISTS[name].format(clip=clip.name).encode()
    path = tmp_path / "cells.parquet"
    pq.write_table(pa.table({"video": pa.array([{"bytes": content, "path": "a.m3u8"}], MEDIUM)}), path)
    assert reject(MediaSource(path=str(path), row=0, column="video")).reason is Reason.UNDECODABLE


def test_the_log_is_as_quiet_as_before(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_text(LISTS["sdp"], encoding="utf-8")
    before = av.logging.get_level(), av.logging.get_skip_repeated()
    for _ in range(2):  # a repeated line must not be swallowed
        assert "'sdp'" in reject(MediaSource(path=str(tmp_path / "a.mp4"))).detail
    assert (av.logging.get_level(), av.logging.get_skip_repeated()) == before


def test_a_codec_that_ffmpeg_does_not_know_is_a_reject(tmp_path: Path) -> None:
    path = tmp_path / "a.avi"
    write_clip(path, size=(64, 48), fps=10, num_frames=6, codec="mpeg4")
    content = path.read_bytes()
    assert b"FMP4" in content
    path.write_bytes(content.replace(b"FMP4", b"XQZ9"))
    error = reject(MediaSource(path=str(path)))
    assert error.reason is Reason.UNDECODABLE
    assert "no decoder for its video stream" in error.detail


def test_frames_of_a_giant_are_not_decoded(tmp_path: Path) -> None:
    path = tmp_path / "a.gif"
    images = [Image.new("P", (16, 16), number) for number in range(3)]
    images[0].save(path, save_all=True, append_images=images[1:])
    content = bytearray(path.read_bytes())
    content[6:10] = (8192).to_bytes(2, "little") * 2
    path.write_bytes(content)
    error = reject(MediaSource(path=str(path)))
    assert error.reason is Reason.DECOMPRESSION_BOMB
    assert "8192x8192" in error.detail


def test_frames_that_are_larger_than_the_header_says_are_not_decoded(
    clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "MOST_FRAME_PIXELS", 64 * 48 - 1)
    monkeypatch.setattr(containers, "check_frame_pixels", lambda *_: None)
    with pytest.raises(SampleError) as caught, opened_video(MediaSource(path=str(clip))) as opened:
        next(opened.frames())
    assert caught.value.reason is Reason.UNDECODABLE


def test_sampled_frames_have_a_limit_together(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(workshop.media / "clip.mp4", size=(112, 84), fps=10, num_frames=20)
    encoder = SampleEncoder.load(workshop.model, workshop.config())
    sample = parse_record(
        talk("<video>", video="clip.mp4"),
        Dataset(name="d", annotation_path=workshop.root / "d.jsonl", data_path=workshop.media),
        0,
        None,
    )
    num_sampled = len(encoder.measure(sample).videos[0].frame_indices)
    monkeypatch.setattr(containers, "MOST_VIDEO_PIXELS", num_sampled * 112 * 84)
    encoder.measure(sample)
    monkeypatch.setattr(containers, "MOST_VIDEO_PIXELS", num_sampled * 112 * 84 - 1)
    with pytest.raises(SampleError, match=f"clip.mp4: {num_sampled} sampled frames of 112x84") as caught:
        encoder.measure(sample)
    assert caught.value.reason is Reason.DECOMPRESSION_BOMB


@pytest.mark.parametrize(("seconds", "is_read"), [(3600, True), (2**31 - 1, False)])
def test_videos_of_weeks_are_refused(seconds: int, is_read: bool, tmp_path: Path) -> None:
    """Their positions in time would not fit."""
    path = tmp_path / "a.avi"
    write_clip(path, size=(64, 48), fps=10, num_frames=6, codec="mpeg4")
    content = bytearray(path.read_bytes())
    scale_and_rate = content.index(b"strh") + 28
    assert Fraction(*struct.unpack_from("<2I", content, scale_and_rate)) == Fraction(1, 10)
    struct.pack_into("<2I", content, scale_and_rate, seconds, 1)
    path.write_bytes(content)
    if is_read:
        assert probe_video(MediaSource(path=str(path))).fps == 1 / seconds
        return
    error = reject(MediaSource(path=str(path)))
    assert error.reason is Reason.NO_FRAMES_OR_RATE
    assert "up to 7 days" in error.detail


def test_pyav_turns_one_frame_into_pixels_at_a_time(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[int] = []

    class Counting(ToRgb):
        def __call__(self, frame: Any) -> Frame:
            made.append(frame.pts)
            return super().__call__(frame)

    monkeypatch.setattr(video, "ToRgb", Counting)
    for number, _ in enumerate(decode_frames(MediaSource(path=str(clip)), [0, 2, 3, 5], "pyav")):
        assert len(made) == number + 1


def test_so_does_decord(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[list[int]] = []
    get_batch = decord.VideoReader.get_batch
    monkeypatch.setattr(decord.VideoReader, "get_batch", lambda *words: asked.append(words[1]) or get_batch(*words))
    assert len(list(decode_frames(MediaSource(path=str(clip)), [0, 2, 3, 5], "decord"))) == 4
    assert asked == [[0], [2], [3], [5]]


def test_a_file_larger_than_any_video_is_not_read(clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    num_bytes = clip.stat().st_size
    monkeypatch.setattr(containers, "MOST_VIDEO_BYTES", num_bytes)
    assert probe_video(MediaSource(path=str(clip))).num_frames == 6
    monkeypatch.setattr(containers, "MOST_VIDEO_BYTES", num_bytes - 1)
    error = reject(MediaSource(path=str(clip)))
    assert error.reason is Reason.UNDECODABLE
    assert error.detail == (
        f"{clip}: a file of {num_bytes:,} bytes; videos are read up to {num_bytes - 1:,}: cut it into parts"
    )
