"""The demo's clips decode to what they say, turned and cut ones too."""

from __future__ import annotations

import contextlib
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import demo_clips
import numpy as np
import pytest
from demo_build import Demo
from demo_clips import CLIPS, cut_file, read_frame_index, write_clip
from PIL import Image


def decode(path: Path, *, turned: bool = True) -> list[np.ndarray]:
    """All frames in order, upright by the display matrix unless `turned` is False."""
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    return [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90 if turned else 0) for frame in frames]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_demo_clip_decodes_with_readable_indices(demo: Demo, clip: Any) -> None:
    path = demo.media / "clips" / clip.file_name
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.frames, stream.average_rate) == (clip.num_frames, clip.fps)
        assert (stream.width, stream.height) == clip.size
        frames = list(container.decode(stream))
    assert [i for i, frame in enumerate(frames) if frame.key_frame] == list(range(0, clip.num_frames, 12))
    assert av.video.frame.PictureType.B in {frame.pict_type for frame in frames}
    assert [read_frame_index(frame) for frame in decode(path)] == list(range(clip.num_frames))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rotated_90.mp4", {"size": (90, 120), "rotation": 90}),
        ("rotated_180.mp4", {"size": (120, 90), "rotation": 180}),
        ("rotated_270.mkv", {"size": (90, 120), "rotation": 270}),
        ("odd.mp4", {"size": (101, 75), "pix_fmt": "yuv444p", "fps": Fraction(30000, 1001)}),
        ("odd_and_rotated.mp4", {"size": (75, 101), "pix_fmt": "yuv444p", "rotation": 90}),
        ("no_count.mkv", {"size": (120, 90)}),
        ("b_frames.avi", {"size": (120, 90), "b_frames": 3}),
        ("mpeg4.avi", {"size": (120, 90), "codec": "mpeg4"}),
        ("no_b_frames.mp4", {"size": (120, 90), "b_frames": 0, "gop": 5}),
    ],
)
def test_written_clip_shows_its_frames_upright_and_in_order(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = tmp_path / name
    write_clip(path, **{"fps": 10, "num_frames": 20, **options})
    frames = decode(path)
    assert [read_frame_index(frame) for frame in frames] == list(range(20))
    assert frames[0].shape == (options["size"][1], options["size"][0], 3)
    if "rotation" in options:
        with pytest.raises(ValueError, match="no readable index"):
            read_frame_index(decode(path, turned=False)[0])
    again = tmp_path / f"again_{name}"
    write_clip(again, **{"fps": 10, "num_frames": 20, **options})
    assert again.read_bytes() == path.read_bytes()


def test_matroska_says_no_frame_count_and_avi_holds_b_frames(tmp_path: Path) -> None:
    for suffix, count in ((".mkv", 0), (".avi", 20)):
        write_clip(tmp_path / f"clip{suffix}", size=(120, 90), fps=10, num_frames=20)
        with av.open(tmp_path / f"clip{suffix}") as container:
            assert container.streams.video[0].frames == count
            kinds = {frame.pict_type for frame in container.decode(video=0)}
        assert av.video.frame.PictureType.B in kinds


@pytest.mark.parametrize(("size", "pix_fmt"), [((64, 48), "yuv420p"), ((101, 75), "yuv444p"), ((37, 21), "yuv420p")])
def test_colours_are_converted_without_code_of_the_processor(size: tuple[int, int], pix_fmt: str) -> None:
    """Values by hand, and what FFmpeg makes of them, which may round otherwise."""
    rgb = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    rgb[:2, :2] = (255, 255, 255), (255, 255, 255)
    rgb[2:4, :2] = (255, 0, 0)
    frame = demo_clips._frame_of(rgb, pix_fmt)
    planes = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]
    step = 1 if pix_fmt == "yuv444p" else 2
    assert [int(plane[0, 0]) for plane in planes] == [235, 128, 128]
    assert (int(planes[0][2, 0]), *(int(plane[2 // step, 0]) for plane in planes[1:])) == (82, 90, 240)
    assert not planes[0][:, size[0] :].any()
    again = frame.to_ndarray(format="rgb24") if step == 1 else rgb
    assert np.abs(again.astype(int) - rgb).max() < 8


def test_frame_index_survives_resizing(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", size=(160, 120), fps=10, num_frames=18)
    small = [np.asarray(Image.fromarray(frame).resize((84, 56))) for frame in decode(tmp_path / "clip.mp4")]
    assert [read_frame_index(frame) for frame in small] == list(range(18))


def test_a_cut_file_without_its_index_does_not_open(tmp_path: Path) -> None:
    write_clip(tmp_path / "whole.mp4", size=(160, 120), fps=10, num_frames=40)
    cut_file(tmp_path / "whole.mp4", tmp_path / "cut.mp4", keep=0.6)
    with pytest.raises(av.error.InvalidDataError):
        av.open(tmp_path / "cut.mp4")


def test_a_cut_file_with_its_index_in_front_promises_more_frames_than_it_holds(tmp_path: Path) -> None:
    write_clip(tmp_path / "whole.mp4", size=(160, 120), fps=10, num_frames=40, faststart=True)
    cut_file(tmp_path / "whole.mp4", tmp_path / "cut.mp4", keep=0.6)
    found = []
    with av.open(tmp_path / "cut.mp4") as container, contextlib.suppress(av.error.FFmpegError):
        assert container.streams.video[0].frames == 40
        for frame in container.decode(video=0):
            found.append(read_frame_index(frame.to_ndarray(format="rgb24")))
    assert found == list(range(len(found)))
    assert 0 < len(found) < 40


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("clip.avi", {"rotation": 90}, "no display matrix"),
        ("clip.mp4", {"size": (101, 75)}, "odd side"),
        ("clip.mp4", {"num_frames": 1025}, "the strip holds 1024"),
    ],
)
def test_impossible_clips_are_refused(tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_clip(tmp_path / name, **{"size": (160, 120), "fps": 10, "num_frames": 3, **options})
