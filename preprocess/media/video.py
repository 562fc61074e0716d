"""Videos: probed without decoding more than one frame, then decoded at the planned frames only.

One function, `decode_frames`, with two decoders that give equal frames. Frames are numbered in presentation order,
from 0. Where the file's timestamps name each frame (MP4, Matroska), only the stretches from the key frame before a
wanted frame to that frame are decoded; elsewhere (AVI, transport streams, edit lists) decoding runs from the start.

decord is asked only where its random access is exact: in files with timestamps and closed GOPs, where each packet
shows a frame. PyAV, whose word is the last, decodes all others, and those that decord gives up on:

| file | what decord 3.4 does |
| --- | --- |
| AVI with B-frames | returns other frames than asked for |
| open GOPs | seeks one key frame too far for the frames shown before it |
| VP8 with hidden frames, files cut short | counts packets without a frame as frames |
| transport streams | begins a key frame late and repeats the last frame to make up for it |
| closed-GOP HEVC | now and then fails to decode ("Error sending packet"), another time not |
"""

from __future__ import annotations

import errno
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from preprocess.errors import Reason, SampleError
from preprocess.media.store import local_path, open_medium, read_error, reject_of
from preprocess.sample import MediaSource

Decoder = Literal["decord", "pyav"]
# Containers whose timestamps are presentation times, frame by frame.
_SEEKABLE_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
_VP8_SHOW_FRAME = 0x10  # in the first byte of a frame: RFC 6386, section 9.1
Frame = npt.NDArray[np.uint8]  # (H, W, 3) RGB, upright
Frames = npt.NDArray[np.uint8]  # (F, H, W, 3)


@dataclass(frozen=True, kw_only=True)
class VideoHeader:
    num_frames: int  # of the header if positive, else the number of packets
    fps: float  # average, frames per second
    height: int  # pixels, upright
    width: int


def probe_video(source: MediaSource, *, clamp_tail: bool = False) -> VideoHeader:
    """Frame count, rate and upright size. Decodes the first frame only: PyAV tells the display rotation no earlier.

    `clamp_tail` counts the frames that are there where the header promises more; it decodes the last one, too.
    """
    with _opened(source) as video:
        promised, rate = video.stream.frames, video.stream.average_rate
        num_frames = promised
        if promised <= 0 or clamp_tail:
            present = sum(1 for packet in video.packets() if video.shows(packet) and not packet.is_discard)
            num_frames = min(promised, present) if promised > 0 else present
    if clamp_tail and num_frames > 0:
        num_frames = _count_decodable(source, num_frames)
    # Opened anew where packets were read: not every container can be rewound to its first frame.
    with _opened(source) as video:
        if num_frames <= 0 or not rate or rate <= 0:
            raise SampleError(Reason.NO_FRAMES_OR_RATE, f"{num_frames} frames at rate {rate}; encode it again")
        first = next(video.frames(), None)
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
    with _opened(source) as video:
        index = _index_packets(video)
        if index is not None and indices[-1] >= len(index.times):
            raise _too_few(indices[-1], len(index.times))
    if decoder == "decord" and index is not None and index.suits_decord:
        frames = _decode_decord(source, indices)
        if frames is not None:
            return frames
    with _opened(source) as video:
        if index is None:
            return _stack(_decode_in_sequence(video, indices))
        return _stack(_decode_stretches(video, [index.times[i] for i in indices], index.key_times))


def _count_decodable(source: MediaSource, num_frames: int) -> int:
    """`num_frames`; where the last of them can't be decoded, the number of those before the first that can't."""
    try:
        decode_frames(source, [num_frames - 1], "pyav")
        return num_frames
    except SampleError:
        import av

        num_decoded = 0
        with _opened(source) as video, suppress(av.error.FFmpegError):
            for _ in video.frames():
                num_decoded += 1
        return min(num_decoded, num_frames)


class _Video:
    """An opened container and the video stream in it that a player would show."""

    def __init__(self, container: Any) -> None:
        stream = container.streams.best("video")
        if stream is None:
            raise SampleError(Reason.NO_FRAMES_OR_RATE, "no video stream in it")
        if container.format.name.endswith("_pipe"):
            raise SampleError(Reason.NO_FRAMES_OR_RATE, "a still picture, not a video; name it as an image")
        stream.codec_context.thread_count = 1  # tasks are spread over processes
        self.container = container
        self.stream = stream

    def packets(self) -> Iterator[Any]:
        """Whole packets, in decoding order: what a cut file still holds of its last one is left out."""
        return (packet for packet in self.container.demux(self.stream) if packet.size and not packet.is_corrupt)

    def shows(self, packet: Any) -> bool:
        """Whether the frame in it is for the eyes: VP8 has packets that only help to decode others."""
        return self.stream.codec_context.name != "vp8" or bool(memoryview(packet)[0] & _VP8_SHOW_FRAME)

    def frames(self) -> Iterator[Any]:
        """Decoded frames from where the container stands, in presentation order."""
        for packet in self.packets():
            yield from packet.decode()
        yield from self.stream.codec_context.decode(None)


@dataclass(frozen=True)
class _PacketIndex:
    """Presentation times, in the stream's time base, of all frames and of the key frames among them, sorted."""

    times: list[int]
    key_times: list[int]
    suits_decord: bool


def _index_packets(video: _Video) -> _PacketIndex | None:
    """Read (not decode) all packets. None where their timestamps don't name the frames."""
    if video.container.format.name not in _SEEKABLE_FORMATS:
        return None
    packets, num_others = [], 0
    for packet in video.container.demux(video.stream):
        if packet.size and not packet.is_corrupt and video.shows(packet):
            packets.append((packet.pts, packet.is_keyframe, packet.is_discard))
        else:
            num_others += packet.size > 0
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
        has_closed_gops &= pts >= last_key  # decoded after a key frame, shown after it
    key_times = sorted(pts for pts, is_keyframe, _ in packets if is_keyframe)
    return _PacketIndex(times, key_times, suits_decord=has_closed_gops and not num_others)


def _decode_stretches(video: _Video, times: Sequence[int], key_times: Sequence[int]) -> list[Frame]:
    """Decode from each key frame that is needed to the last wanted frame before the next one, and nothing else."""
    to_rgb = _ToRgb()
    frames: list[Frame] = []
    for key, wanted in groupby(times, lambda time: key_times[bisect_right(key_times, time) - 1]):
        video.container.seek(key, stream=video.stream, backward=True, any_frame=False)
        stretch = list(wanted)
        found = {frame.pts: to_rgb(frame) for frame in _decode_until(video, stretch) if frame.pts in stretch}
        for time in stretch:
            if time not in found:
                raise SampleError(Reason.TOO_FEW_FRAMES, f"no frame comes out of the decoder for time stamp {time}")
            frames.append(found[time])
    return frames


def _decode_until(video: _Video, times: Iterable[int]) -> Iterator[Any]:
    """Frames from where the container stands until the packets of all `times` have been decoded."""
    missing = set(times)
    for packet in video.packets():
        yield from packet.decode()
        missing.discard(packet.pts)
        if not missing:
            break
    yield from video.stream.codec_context.decode(None)


def _decode_in_sequence(video: _Video, indices: Sequence[int]) -> list[Frame]:
    to_rgb = _ToRgb()
    frames: list[Frame] = []
    position = -1
    for position, frame in enumerate(video.frames()):
        if position == indices[len(frames)]:
            frames.append(to_rgb(frame))
            if len(frames) == len(indices):
                return frames
    raise _too_few(indices[-1], position + 1)


class _ToRgb:
    """PyAV frames to upright RGB, through FFmpeg's own filter graph: `to_ndarray` interpolates chroma differently from
    decord and the ffmpeg program where the height is odd or samples have more than 8 bits.
    """

    def __init__(self) -> None:
        self._graph: Any = None
        self._made_for: tuple[Any, ...] = ()

    def __call__(self, frame: Any) -> Frame:
        """(H, W, 3), turned by the display matrix (PyAV says degrees, counter-clockwise)."""
        properties = (frame.width, frame.height, frame.format.name)
        if self._made_for != properties:
            self._graph, self._made_for = _rgb_graph(frame), properties
        self._graph.push(frame)
        rgb = self._graph.pull().to_ndarray()
        return np.rot90(rgb, k=round(frame.rotation / 90)) if frame.rotation else rgb


def _rgb_graph(frame: Any) -> Any:
    import av

    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or Fraction(1, 1)
    )
    to_rgb, sink = graph.add("format", "pix_fmts=rgb24"), graph.add("buffersink")
    source.link_to(to_rgb)
    to_rgb.link_to(sink)
    graph.configure()
    return graph


def _decode_decord(source: MediaSource, indices: Sequence[int]) -> Frames | None:
    """The same frames by decord; None where it fails, which is no proof that the file is at fault."""
    import decord

    file = local_path(source) or open_medium(source)
    try:
        # One thread: the order of threads must not matter.
        reader = decord.VideoReader(file, ctx=decord.cpu(0), num_threads=1)
        return reader.get_batch(list(indices)).asnumpy()
    except (decord.DECORDError, RuntimeError, IndexError):
        return None


def _stack(frames: list[Frame]) -> Frames:
    if len({frame.shape for frame in frames}) > 1:
        raise SampleError(Reason.UNDECODABLE, "the frame size changes inside the video; encode it again")
    return np.stack(frames)


def _too_few(wanted: int, present: int) -> SampleError:
    return SampleError(
        Reason.TOO_FEW_FRAMES,
        f"frame {wanted} is promised, but only {present} can be decoded; encode it again or set video_tail: clamp",
    )


@contextmanager
def _opened(source: MediaSource) -> Iterator[_Video]:
    """Open a container with a video stream; what its bytes do wrong becomes a SampleError naming the file."""
    import av

    with open_medium(source) as file:
        try:
            with av.open(file, metadata_errors="replace") as container:
                yield _Video(container)
        except SampleError as error:
            raise reject_of(source, error.reason, error.detail) from None
        except av.error.FFmpegError as error:
            raise reject_of(source, Reason.UNDECODABLE, _first_line(error)) from None
        except OSError as error:
            if error.errno == errno.EINVAL:  # an empty or damaged file made FFmpeg seek to before its start
                raise reject_of(source, Reason.UNDECODABLE, "not a video") from None
            raise read_error(source, error) from None


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
