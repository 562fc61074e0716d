"""The demo's clips, and a builder for the video cases that tests need.

Every frame carries its own number twice: as a readable counter in a corner, and as a strip of black and white blocks
along the top, from which `read_frame_index` reads it back after decoding (and resizing):

    | bit 9 | bit 8 | ... | bit 0 |    white is 1
    | not 9 | not 8 | ... | not 0 |    the same bits inverted: frames that are not upright are noticed
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from demo_drawings import INK, Size, draw_shape, font
from PIL import Image, ImageDraw

INDEX_BITS = 10
STRIP_ROWS = 2
STRIP_SHARE = 0.22  # of the height of the frame, both rows together

TURNS = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}
"""Clockwise degrees -> Pillow's counter-clockwise name for the same turn."""


@dataclass(frozen=True)
class Motion:
    """One shape crossing the frame at constant speed. `direction` is a key of `PATHS`."""

    shape: str
    color: str
    direction: str


PATHS: dict[str, tuple[tuple[float, float], tuple[float, float]]] = {
    "left to right": ((0.15, 0.6), (0.85, 0.6)),
    "right to left": ((0.85, 0.6), (0.15, 0.6)),
    "top to bottom": ((0.5, 0.38), (0.5, 0.82)),
    "bottom to top": ((0.5, 0.82), (0.5, 0.38)),
}


@dataclass(frozen=True)
class Clip:
    """One file below the clips folder; `size` is (width, height) in pixels, `fps` frames per second."""

    name: str
    motion: Motion
    size: Size
    fps: int
    num_frames: int

    @property
    def file_name(self) -> str:
        return f"{self.name}.mp4"


CLIPS = (
    Clip("slow_ball", Motion("circle", "red", "left to right"), (224, 168), fps=10, num_frames=30),
    Clip("fast_star", Motion("star", "blue", "top to bottom"), (200, 152), fps=24, num_frames=60),
)


def write_demo_clip(clip: Clip, folder: Path) -> Path:
    """Encode one of the demo's clips; returns the file written."""
    path = folder / clip.file_name
    write_clip(path, size=clip.size, fps=clip.fps, num_frames=clip.num_frames, motion=clip.motion)
    return path


def write_clip(
    path: Path,
    *,
    size: Size,
    fps: int | Fraction,
    num_frames: int,
    gop: int = 12,
    b_frames: int = 2,
    rotation: int = 0,
    codec: str = "libx264",
    pix_fmt: str = "yuv420p",
    faststart: bool = False,
    motion: Motion = CLIPS[0].motion,
) -> None:
    """Write a video whose frames know their number; the suffix of `path` chooses the container (.mp4, .mkv, .avi).

    `size` is the (width, height) that a player shows. With `rotation` (90, 180, 270: degrees clockwise) the frames are
    stored turned the other way and the display matrix turns them back, as phones do. H.264 in `yuv420p` has even sides;
    for odd ones take `pix_fmt="yuv444p"`, or `codec="mpeg4"`. `faststart` puts the index of an MP4 in front, so that
    a file cut short still opens. A key frame comes every `gop` frames, and only there.

    The bytes are the same in every run; those of H.264 in `yuv420p` or `yuv444p` on every processor too, for one
    version of PyAV: colours are converted here, and x264 runs without assembly. Others go through FFmpeg's code for the
    processor at hand.
    Raises ValueError where the container or codec can't hold what is asked for.
    """
    if rotation and path.suffix == ".avi":
        raise ValueError("AVI has no display matrix, so it can't be rotated")
    if codec == "libx264" and pix_fmt == "yuv420p" and (size[0] % 2 or size[1] % 2):
        raise ValueError(f'{size} has an odd side, which H.264 can\'t hold in yuv420p; take pix_fmt="yuv444p"')
    shown = frames_of(size, num_frames, motion)
    stored_size = (size[1], size[0]) if rotation in (90, 270) else size
    flags = {"movflags": "faststart"} if faststart else {}
    with av.open(path, "w", container_options={"fflags": "+bitexact", **flags}) as container:
        stream = container.add_stream(codec, rate=fps, options=_encoder_options(codec, gop=gop, b_frames=b_frames))
        stream.width, stream.height = stored_size
        stream.pix_fmt = pix_fmt
        stream.codec_context.thread_count = 1
        stream.codec_context.time_base = 1 / Fraction(fps)
        if rotation:
            stream.set_display_rotation(-rotation)
        for index, image in enumerate(shown):
            stored = image.transpose(TURNS[360 - rotation]) if rotation else image
            frame = _frame_of(np.asarray(stored), pix_fmt)
            frame.pts = index
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _frame_of(rgb: np.ndarray, pix_fmt: str) -> av.VideoFrame:
    """A frame of `rgb` (height, width, 3) uint8: BT.601, limited range, in integers.

    FFmpeg's own conversion has code of its own for each kind of processor, which rounds in other ways.
    """
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    luma = (66 * red + 129 * green + 25 * blue + 128 >> 8) + 16
    chroma = [
        (-38 * red - 74 * green + 112 * blue + 128 >> 8) + 128,
        (112 * red - 94 * green - 18 * blue + 128 >> 8) + 128,
    ]
    is_halved = pix_fmt == "yuv420p"
    frame = av.VideoFrame(rgb.shape[1], rgb.shape[0], "yuv420p" if is_halved else "yuv444p")
    for plane, values in zip(frame.planes, [luma, *(map(_halve, chroma) if is_halved else chroma)], strict=True):
        rows = np.zeros((plane.height, plane.line_size), np.uint8)  # what lies beyond the edge is zero, not left over
        rows[:, : plane.width] = values
        plane.update(rows.tobytes())
    return frame


def _halve(values: np.ndarray) -> np.ndarray:
    """Means of 2 x 2; at an odd side the last row or column counts twice."""
    even = np.pad(values, [(0, side % 2) for side in values.shape], mode="edge")
    return even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2] + 2 >> 2


def read_frame_index(rgb: np.ndarray) -> int:
    """The number that frame `rgb`, (height, width, 3) uint8 and upright, carries in its strip of blocks.

    Raises ValueError where the strip can't be read: another picture, a turned frame, or one too damaged.
    """
    height, width, _ = rgb.shape
    row_height, column_width = height * STRIP_SHARE / STRIP_ROWS, width / INDEX_BITS
    rows = [round((row + 0.5) * row_height) for row in range(STRIP_ROWS)]
    columns = [int((column + 0.5) * column_width) for column in range(INDEX_BITS)]
    bits, inverted = rgb[np.ix_(rows, columns)].mean(axis=2)
    if np.abs(bits - inverted).min() < 100:
        raise ValueError("this frame carries no readable index; is it upright, and from write_clip?")
    return int("".join("1" if bit else "0" for bit in bits > inverted), 2)


def cut_file(path: Path, target: Path, *, keep: float) -> None:
    """Write the first `keep` (0 to 1) of the bytes of `path` to `target`, as an interrupted download does."""
    content = path.read_bytes()
    target.write_bytes(content[: int(len(content) * keep)])


def frames_of(size: Size, num_frames: int, motion: Motion) -> Iterator[Image.Image]:
    if num_frames > 1 << INDEX_BITS:
        raise ValueError(f"num_frames is {num_frames}, and the strip holds {1 << INDEX_BITS}")
    for index in range(num_frames):
        yield _draw_frame(size, index, index / max(1, num_frames - 1), motion)


def _draw_frame(size: Size, index: int, progress: float, motion: Motion) -> Image.Image:
    """Frame `index`; `progress` goes from 0 to 1 over the clip."""
    width, height = size
    image = Image.new("RGB", size, (232, 236, 240))
    pen = ImageDraw.Draw(image)
    (x0, y0), (x1, y1) = PATHS[motion.direction]
    center = ((x0 + progress * (x1 - x0)) * width, (y0 + progress * (y1 - y0)) * height)
    draw_shape(pen, motion.shape, motion.color, center=center, radius=0.13 * height)
    pen.text((width * 0.97, height * 0.97), str(index), fill=INK, font=font(height * 0.14), anchor="rs")
    _draw_strip(pen, size, index)
    return image


def _draw_strip(pen: ImageDraw.ImageDraw, size: Size, index: int) -> None:
    row_height, column_width = size[1] * STRIP_SHARE / STRIP_ROWS, size[0] / INDEX_BITS
    for column in range(INDEX_BITS):
        bit = index >> (INDEX_BITS - 1 - column) & 1
        for row in range(STRIP_ROWS):
            box = (column * column_width, row * row_height, (column + 1) * column_width, (row + 1) * row_height)
            pen.rectangle(box, fill=(255, 255, 255) if bit != row else (0, 0, 0))


def _encoder_options(codec: str, *, gop: int, b_frames: int) -> dict[str, str]:
    options = {"g": str(gop), "bf": str(b_frames), "flags": "+bitexact"}
    if codec == "libx264":
        # Without scene-cut detection and adaptive placement, key frames and B-frames stand where gop and bf say.
        # Without assembly the bytes depend on no processor: x264's for AVX-512 reads beyond the edge of odd sizes.
        params = f"scenecut=0:b-adapt=0:keyint_min={gop}:asm=0"
        return {**options, "crf": "20", "preset": "medium", "x264-params": params}
    if codec == "mpeg4":
        return {**options, "qscale": "3", "flags": "+bitexact+qscale", "sc_threshold": "1000000000"}
    return options
