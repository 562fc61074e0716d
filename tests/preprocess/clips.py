"""Videos of every kind that decoding has a rule for, and how a player decodes them: from the first frame on.

All show the demo's frames, which carry their number (`read_frame_index`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from demo_clips import CLIPS, frames_of, read_frame_index, write_clip

Frames = list[npt.NDArray[np.uint8]]

FPS = 24
SIZE = (120, 88)  # width and height
X264 = "scenecut=0:b-adapt=0:bframes=3:keyint_min=10"


@dataclass(frozen=True)
class Kind:
    """One way to store `num_frames` frames."""

    suffix: str
    write: Callable[[Path], None]
    num_frames: int = 40
    rotation: int = 0  # degrees clockwise that the display matrix turns stored frames by
    first_shown: int = 0  # the number that the first frame carries


def clip(suffix: str, *, size: tuple[int, int] = SIZE, gop: int = 10, num_frames: int = 40, **options: Any) -> Kind:
    def write(path: Path) -> None:
        write_clip(path, size=size, fps=FPS, num_frames=num_frames, gop=gop, **options)

    return Kind(suffix, write, num_frames, options.get("rotation", 0))


def encoded(
    suffix: str,
    codec: str,
    options: dict[str, str],
    *,
    size: tuple[int, int] = SIZE,
    pix_fmt: str = "yuv420p",
    times: Sequence[int] = range(40),
    time_base: Fraction = Fraction(1, FPS),
    first_shown: int = 0,
    container_options: dict[str, str] | None = None,
) -> Kind:
    """What `write_clip` has no option for. `times` are those of the frames, in units of `time_base`."""

    def write(path: Path) -> None:
        with av.open(path, "w", container_options=container_options or {}) as container:
            stream = container.add_stream(codec, rate=FPS, options=options)
            stream.width, stream.height = size
            stream.pix_fmt = pix_fmt
            stream.codec_context.thread_count = 1
            stream.codec_context.time_base = time_base
            for time, image in zip(times, drawn_frames(size, len(times)), strict=True):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts = time
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))

    return Kind(suffix, write, len(times) - first_shown, first_shown=first_shown)


def drawn_frames(size: tuple[int, int], num_frames: int) -> Iterable[npt.NDArray[np.uint8]]:
    return (np.asarray(image) for image in frames_of(size, num_frames, CLIPS[0].motion))


def remux_with_hidden_frames(source: Path, target: Path, hidden: set[int]) -> None:
    """Copy a VP8 file; the frames numbered `hidden` are decoded but no longer shown, as alternate references are."""
    with av.open(source) as original, av.open(target, "w") as copy:
        stream = original.streams.video[0]
        copied = copy.add_stream_from_template(stream)
        for number, packet in enumerate(packet for packet in original.demux(stream) if packet.size):
            content = bytearray(bytes(packet))
            if number in hidden:
                content[0] &= ~0x10
            changed = av.Packet(bytes(content))
            changed.pts, changed.dts, changed.time_base = packet.pts, packet.dts, packet.time_base
            changed.is_keyframe, changed.stream = packet.is_keyframe, copied
            copy.mux(changed)


def blank_packets(path: Path, target: Path, times: set[int]) -> int:
    """Copy a file with zeros in place of the packets shown as frames number `times`; returns how many those are."""
    content = bytearray(path.read_bytes())
    with av.open(path) as container:
        packets = [(packet.pts, bytes(packet)) for packet in container.demux(video=0) if packet.size]
    order = sorted(pts for pts, _ in packets)
    chosen = [payload for pts, payload in packets if order.index(pts) in times]
    for payload in chosen:
        assert content.count(payload) == 1
        position = content.index(payload)
        content[position : position + len(payload)] = bytes(len(payload))
    target.write_bytes(content)
    return len(chosen)


def played(path: Path, rotation: int = 0) -> Frames:
    """All frames as RGB by FFmpeg, decoded from the first one on and turned clockwise."""
    frames = []
    with av.open(path) as container:
        stream = container.streams.video[0]
        graph = av.filter.Graph()
        source, scale = graph.add_buffer(template=stream, time_base=stream.time_base), graph.add("format", "rgb24")
        sink = graph.add("buffersink")
        source.link_to(scale)
        scale.link_to(sink)
        graph.configure()
        for frame in container.decode(stream):
            graph.push(frame)
            frames.append(np.rot90(graph.pull().to_ndarray(), k=-rotation // 90))
    return frames


def numbers(frames: Iterable[npt.NDArray[np.uint8]]) -> list[int]:
    return [read_frame_index(frame) for frame in frames]


_uneven_times = np.cumsum(np.random.default_rng(0).integers(1, 60, 40)).tolist()
_vp9 = {"g": "10", "deadline": "realtime", "cpu-used": "8"}

SEEKABLE: dict[str, Kind] = {
    "mp4": clip(".mp4"),
    "mp4_rotated_90": clip(".mp4", rotation=90),
    "mp4_rotated_180": clip(".mp4", rotation=180),
    "mp4_rotated_270": clip(".mp4", rotation=270),
    "mp4_odd_sides": clip(".mp4", size=(121, 89), pix_fmt="yuv444p"),
    "mp4_odd_sides_mpeg4": clip(".mp4", size=(121, 89), codec="mpeg4"),
    "mp4_index_in_front": clip(".mp4", faststart=True),
    "mp4_long_gop": clip(".mp4", num_frames=120, gop=250),
    "mp4_every_frame_a_key": clip(".mp4", gop=1, b_frames=0),
    "mp4_short_gops": clip(".mp4", gop=2),
    "mp4_open_gops": encoded(".mp4", "libx264", {"g": "10", "x264-params": X264 + ":open-gop=1"}),
    "mp4_uneven_times": encoded(".mp4", "libx264", {"g": "10"}, times=_uneven_times, time_base=Fraction(1, 600)),
    "mp4_begins_late": encoded(".mp4", "libx264", {"g": "10"}, times=range(30, 70)),
    "mp4_fragmented": encoded(
        ".mp4", "libx264", {"g": "10"}, container_options={"movflags": "frag_keyframe+empty_moov"}
    ),
    "mp4_hevc_open_gops": encoded(
        ".mp4", "libx265", {"x265-params": "log-level=none:keyint=10:min-keyint=10:bframes=3:open-gop=1"}
    ),
    "mp4_hevc_closed_gops": encoded(
        ".mp4", "libx265", {"x265-params": "log-level=none:keyint=10:min-keyint=10:bframes=3:open-gop=0"}
    ),
    "mp4_hevc_10_bits": encoded(
        ".mp4", "libx265", {"x265-params": "log-level=none:keyint=10:bframes=3"}, pix_fmt="yuv420p10le"
    ),
    "mp4_full_range": encoded(".mp4", "libx264", {"g": "10"}, pix_fmt="yuvj420p"),
    "mkv": clip(".mkv"),
    "mkv_rotated_90": clip(".mkv", rotation=90),
    "mkv_open_gops": encoded(".mkv", "libx264", {"g": "10", "x264-params": X264 + ":open-gop=1"}),
    "mkv_uneven_times": encoded(".mkv", "libx264", {"g": "10"}, times=_uneven_times, time_base=Fraction(1, 600)),
    "mkv_without_index": encoded(".mkv", "libx264", {"g": "10"}, container_options={"live": "1"}),
    "webm_vp9": encoded(".webm", "libvpx-vp9", _vp9),
    "webm_vp9_odd_sides": encoded(".webm", "libvpx-vp9", _vp9, size=(121, 89)),
    "webm_vp8": encoded(".webm", "libvpx", _vp9),
}
"""Files whose timestamps name their frames."""

FROM_THE_START: dict[str, Kind] = {
    "avi_h264_with_b_frames": clip(".avi"),
    "avi_mpeg4_with_b_frames": clip(".avi", codec="mpeg4"),
    "avi_mpeg4_odd_sides": clip(".avi", codec="mpeg4", size=(121, 89)),
    "transport_stream": clip(".ts"),
    "flash_video": clip(".flv"),
    "mp4_cut_by_an_edit_list": encoded(".mp4", "libx264", {"g": "10"}, times=range(-5, 35), first_shown=5),
    "mkv_two_frames_a_millisecond": encoded(".mkv", "libx264", {"g": "10"}, time_base=Fraction(1, 2000)),
}
"""Files in which only counting from the first frame tells one from the other."""

KINDS = SEEKABLE | FROM_THE_START
