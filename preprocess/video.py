"""Videos: probed without decoding more than one frame, then decoded at the planned frames only.

One function, `decode_frames`, with two decoders that give equal frames. Frames are numbered in presentation order,
from 0. Where the file's timestamps name each frame (MP4, Matroska), only the stretches from the key frame before a
wanted frame to that frame are decoded; elsewhere (AVI, transport streams, edit lists) decoding runs from the start.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, Literal

import av
import numpy as np
import numpy.typing as npt

from preprocess.errors import Reason, SampleError
from preprocess.media import open_medium, read_error
from preprocess.sample import MediaSource

Decoder = Literal["decord", "pyav"]
# Containers whose timestamps are presentation times, frame by frame.
_SEEKABLE_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
# Containers that decord reads from the first frame on. In transport streams it starts a key frame late and repeats the
# last frame to make up for it; PyAV decodes those, whichever decoder is chosen.
_DECORD_FORMATS = _SEEKABLE_FORMATS | {"avi"}
Frames = npt.NDArray[np.uint8]  # (F, H, W, 3) RGB, upright


@dataclass(frozen=True, kw_only=True)
class VideoHeader:
    num_frames: int  # of the header if positive, else the number of packets
    fps: float  # average, frames per second
    height: int  # pixels, upright
    width: int


def probe_video(source: MediaSource, *, clamp_tail: bool = False) -> VideoHeader:
    """Frame count, rate and upright size. Decodes the first frame only: PyAV tells the display rotation no earlier.

    `clamp_tail` counts the frames that have packets where the header promises more.
    """
    with _opened(source) as container:
        stream = container.streams.video[0]
        promised, rate = stream.frames, stream.average_rate
        num_frames = promised
        if promised <= 0 or clamp_tail:
            present = sum(1 for packet in _video_packets(container) if not packet.is_discard)
            num_frames = min(promised, present) if promised > 0 else present
        if num_frames <= 0 or not rate or rate <= 0:
            raise SampleError(Reason.NO_FRAMES_OR_RATE, f"{num_frames} frames at rate {rate}; encode it again")
    # Opened anew where packets were read: not every container can be rewound to its first frame.
    with _opened(source) as container:
        first = next(container.decode(container.streams.video[0]), None)
        if first is None:
            raise SampleError(Reason.NO_FRAMES_OR_RATE, "not one frame can be decoded; encode it again")
        height, width = first.height, first.width
        if first.rotation % 180:
            height, width = width, height
    return VideoHeader(num_frames=num_frames, fps=float(Fraction(rate)), height=height, width=width)


def decode_frames(source: MediaSource, indices: Sequence[int], decoder: Decoder) -> Frames:
    """The frames at `indices` (strictly increasing), upright RGB: (len(indices), H, W, 3).

    Raises SampleError: undecodable, or too_few_frames where the file ends before the last index.
    """
    with _opened(source) as container:
        index = _index_packets(container)
        if index is not None and indices[-1] >= len(index.times):
            raise _too_few(indices[-1], len(index.times))
        format_name = container.format.name
    if decoder == "pyav" or format_name not in _DECORD_FORMATS:
        with _opened(source) as container:
            return _stack(_decode_pyav(container, indices, index))
    # decord seeks to the key frame last decoded before the wanted frame, which in an open GOP is one too late.
    return _decode_decord(source, indices, random_access=index is not None and index.has_closed_gops)


@dataclass(frozen=True)
class _PacketIndex:
    """Presentation times, in the stream's time base, of all frames and of the key frames among them, sorted."""

    times: list[int]
    key_times: list[int]
    has_closed_gops: bool  # no frame is decoded after a key frame and shown before it


def _index_packets(container: Any) -> _PacketIndex | None:
    """Read (not decode) all packets. None where their timestamps don't name the frames."""
    if container.format.name not in _SEEKABLE_FORMATS:
        return None
    packets = [(packet.pts, packet.is_keyframe, packet.is_discard) for packet in _video_packets(container)]
    times = sorted(pts for pts, _, _ in packets if pts is not None)
    unusable = (
        not packets
        or len(set(times)) < len(packets)
        or any(is_discard for _, _, is_discard in packets)
        or not packets[0][1]
        or packets[0][0] != times[0]
    )
    if unusable:
        return None
    last_key, has_closed_gops = times[0], True
    for pts, is_keyframe, _ in packets:
        last_key = pts if is_keyframe else last_key
        has_closed_gops &= pts >= last_key
    key_times = sorted(pts for pts, is_keyframe, _ in packets if is_keyframe)
    return _PacketIndex(times, key_times, has_closed_gops)


def _video_packets(container: Any) -> Iterator[Any]:
    """Packets with a frame in them; the demuxer ends with an empty one."""
    return (packet for packet in container.demux(container.streams.video[0]) if packet.size)


def _decode_pyav(container: Any, indices: Sequence[int], index: _PacketIndex | None) -> list[npt.NDArray[np.uint8]]:
    stream = container.streams.video[0]
    if index is None:
        return _pick_in_sequence(container.decode(stream), indices)
    to_rgb = _ToRgb()
    frames: list[npt.NDArray[np.uint8]] = []
    decoding: Iterator[Any] | None = None
    last_key = None
    for time in (index.times[i] for i in indices):
        key = index.key_times[bisect_right(index.key_times, time) - 1]
        if decoding is None or key != last_key:
            container.seek(key, stream=stream, backward=True, any_frame=False)
            decoding, last_key = container.decode(stream), key
        frame = next((frame for frame in decoding if frame.pts == time), None)
        if frame is None:
            raise SampleError(Reason.TOO_FEW_FRAMES, f"no frame comes out of the decoder for time stamp {time}")
        frames.append(to_rgb(frame))
    return frames


def _pick_in_sequence(decoding: Iterator[Any], indices: Sequence[int]) -> list[npt.NDArray[np.uint8]]:
    wanted = iter(indices)
    next_wanted = next(wanted)
    to_rgb = _ToRgb()
    frames = []
    position = -1
    for position, frame in enumerate(decoding):
        if position == next_wanted:
            frames.append(to_rgb(frame))
            if len(frames) == len(indices):
                return frames
            next_wanted = next(wanted)
    raise _too_few(indices[-1], position + 1)


class _ToRgb:
    """PyAV frames to upright RGB, through FFmpeg's own filter graph: `to_ndarray` interpolates chroma differently from
    decord and the ffmpeg program where the height is odd or samples have more than 8 bits.
    """

    def __init__(self) -> None:
        self._graph: Any = None
        self._made_for: tuple[Any, ...] = ()

    def __call__(self, frame: Any) -> npt.NDArray[np.uint8]:
        """(H, W, 3), turned by the display matrix (PyAV says degrees, counter-clockwise)."""
        properties = (frame.width, frame.height, frame.format.name)
        if self._made_for != properties:
            self._graph, self._made_for = _rgb_graph(frame), properties
        self._graph.push(frame)
        rgb = self._graph.pull().to_ndarray()
        return np.rot90(rgb, k=round(frame.rotation / 90)) if frame.rotation else rgb


def _rgb_graph(frame: Any) -> Any:
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1)
    )
    to_rgb, sink = graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")
    source.link_to(to_rgb)
    to_rgb.link_to(sink)
    graph.configure()
    return graph


def _decode_decord(source: MediaSource, indices: Sequence[int], *, random_access: bool) -> Frames:
    import decord

    file = source.path if source.row < 0 else open_medium(source)
    try:
        # One thread: tasks are spread over processes, and the order of threads must not matter.
        reader = decord.VideoReader(file, ctx=decord.cpu(0), num_threads=1)
        if indices[-1] >= len(reader):
            raise _too_few(indices[-1], len(reader))
        if random_access:
            return reader.get_batch(list(indices)).asnumpy()
        wanted = set(indices)
        frames = []
        for position in range(indices[-1] + 1):
            frame = reader.next()
            if position in wanted:
                frames.append(frame.asnumpy())
    except SampleError as error:
        raise SampleError(error.reason, f"{source}: {error.detail}") from None
    except (decord.DECORDError, RuntimeError, StopIteration) as error:
        raise SampleError(Reason.UNDECODABLE, f"{source}: decord: {_first_line(error)}") from None
    return _stack(frames)


def _stack(frames: list[npt.NDArray[np.uint8]]) -> Frames:
    if len({frame.shape for frame in frames}) > 1:
        raise SampleError(Reason.UNDECODABLE, "the frame size changes inside the video; encode it again")
    return np.stack(frames)


def _too_few(wanted: int, present: int) -> SampleError:
    return SampleError(
        Reason.TOO_FEW_FRAMES,
        f"frame {wanted} is promised, but only {present} can be decoded; encode it again or set video_tail: clamp",
    )


@contextmanager
def _opened(source: MediaSource) -> Iterator[Any]:
    """Open a container with a video stream; what its bytes do wrong becomes a SampleError naming the file."""
    with open_medium(source) as file:
        try:
            with av.open(file, metadata_errors="replace") as container:
                if not container.streams.video:
                    raise SampleError(Reason.NO_FRAMES_OR_RATE, "no video stream in it")
                container.streams.video[0].codec_context.thread_count = 1
                yield container
        except SampleError as error:
            raise SampleError(error.reason, f"{source}: {error.detail}") from None
        except av.error.FFmpegError as error:
            raise SampleError(Reason.UNDECODABLE, f"{source}: {_first_line(error)}") from None
        except OSError as error:
            raise read_error(source, error) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
