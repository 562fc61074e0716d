"""Frames are shown as the display matrix says: all eight orientations, and no other."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from demo_clips import write_clip

from preprocess.errors import Reason, SampleError
from preprocess.media.videos import video
from preprocess.media.videos.upright import Frame
from preprocess.media.videos.video import Decoder, decode_frames, probe_video
from preprocess.sample import MediaSource

# a, b, c, d of the matrix -> what NumPy does to the stored frame
ORIENTATIONS = {
    "as stored": ((1, 0, 0, 1), lambda frame: frame),
    "mirrored": ((-1, 0, 0, 1), lambda frame: frame[:, ::-1]),
    "upside down": ((-1, 0, 0, -1), lambda frame: frame[::-1, ::-1]),
    "flipped": ((1, 0, 0, -1), lambda frame: frame[::-1]),
    "transposed": ((0, 1, 1, 0), lambda frame: frame.swapaxes(0, 1)),
    "clockwise": ((0, 1, -1, 0), lambda frame: np.rot90(frame, -1)),
    "anticlockwise": ((0, -1, 1, 0), lambda frame: np.rot90(frame, 1)),
    "transposed the other way": ((0, -1, -1, 0), lambda frame: np.rot90(frame.swapaxes(0, 1), 2)),
}


def with_matrix(path: Path, turn: Sequence[float]) -> MediaSource:
    """A clip whose track header holds that matrix, larger than one by a half, as players ignore."""
    write_clip(path, size=(64, 48), fps=10, num_frames=8)
    content = bytearray(path.read_bytes())
    start = content.index(b"tkhd") + 44
    assert struct.unpack_from(">9i", content, start) == (65536, 0, 0, 0, 65536, 0, 0, 0, 1 << 30)
    a, b, c, d = (round(98304 * number) for number in turn)
    struct.pack_into(">9i", content, start, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(content)
    return MediaSource(path=str(path))


@pytest.mark.parametrize("decoder", ["decord", "pyav"])
@pytest.mark.parametrize("name", ORIENTATIONS)
def test_frames_are_turned_and_mirrored(name: str, decoder: Decoder, tmp_path: Path) -> None:
    turn, shown = ORIENTATIONS[name]
    stored: list[Frame] = list(decode_frames(with_matrix(tmp_path / "a.mp4", (1, 0, 0, 1)), [1, 6], "pyav"))
    source = with_matrix(tmp_path / "b.mp4", turn)
    frames = list(decode_frames(source, [1, 6], decoder))
    for frame, expected in zip(frames, map(shown, stored), strict=True):
        np.testing.assert_array_equal(frame, expected)
    header = probe_video(source)
    assert (header.height, header.width) == frames[0].shape[:2]


def test_every_orientation_looks_different(tmp_path: Path) -> None:
    [stored] = decode_frames(with_matrix(tmp_path / "a.mp4", (1, 0, 0, 1)), [1], "pyav")
    assert (
        len({(turned.shape, turned.tobytes()) for _, shown in ORIENTATIONS.values() for turned in [shown(stored)]}) == 8
    )


def test_decord_is_asked_for_rotations_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(video, "_decode_decord", lambda source, _: asked.append(Path(source.path).stem) or iter(()))
    for name, (turn, _) in ORIENTATIONS.items():
        list(decode_frames(with_matrix(tmp_path / f"{name}.mp4", turn), [1], "decord"))
    assert asked == ["as stored", "upside down", "clockwise", "anticlockwise"]


@pytest.mark.parametrize("degrees", [1, 30, 45, 100])
def test_other_angles_are_refused_by_name(degrees: int, tmp_path: Path) -> None:
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    refused(with_matrix(tmp_path / "a.mp4", (cosine, sine, -sine, cosine)))


@pytest.mark.parametrize("matrix", [(0, 0, 0, 0), (1, 0.5, 0, 1), (1, 0, 0, 0), (1, 1, 1, 1)])
def test_matrices_that_are_no_turns_are_refused_by_name(matrix: tuple[float, ...], tmp_path: Path) -> None:
    refused(with_matrix(tmp_path / "a.mp4", matrix))


def refused(source: MediaSource) -> None:
    with pytest.raises(SampleError, match="none of the eight turns") as caught:
        probe_video(source)
    assert caught.value.reason is Reason.UNDECODABLE
    with pytest.raises(SampleError, match="none of the eight turns"):
        list(decode_frames(source, [1], "pyav"))
