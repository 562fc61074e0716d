"""Videos: probed without decoding more than one frame, then decoded at the planned frames only.

One function, `decode_frames`, with two decoders that give equal frames, one frame after another: at their source
resolution no two need to stand in memory. Frames are numbered in presentation order, from 0. Where the file's
timestamps name each frame (MP4, Matroska), only the stretches from the key frame before a wanted frame to that frame
are decoded, each once however many frames of it are wanted, and in H.264 and HEVC without the frames that neither are
wanted nor help to decode others; elsewhere (AVI, transport streams, edit lists) decoding runs from the start.

What a damaged file shows where FFmpeg makes up for missing data depends on which frames were decoded before it, and so
on the decoder and on the frames that are wanted; the same frames of the same file are always the same. That is why one
thread decodes a video, be there idle ones: several make up other pixels, now and then other ones each time.

PyAV is the default, because of the two it is never slower (`scripts/bench/parts/video.py`). decord, where it is chosen,
is asked only where its random access is exact: in files with timestamps and closed GOPs, where each packet shows a
frame, and which are not mirrored, for it knows rotations only. PyAV, whose word is the last, decodes all others, and
those that decord gives up on:

| file | what decord 3.4 does |
| --- | --- |
| AVI with B-frames | returns other frames than asked for |
| open GOPs | seeks one key frame too far for the frames shown before it |
| VP8 with hidden frames, files cut short | counts packets without a frame as frames |
| transport streams | begins a key frame late and repeats the last frame to make up for it |
| closed-GOP HEVC | now and then fails to decode ("Error sending packet"), another time not |
"""

from __future__ import annotations

import os
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import groupby
from typing import Any, Literal

from preprocess.errors import Reason, SampleError
from preprocess.media.store import local_path, open_medium, reject_of
from preprocess.media.videos.containers import Video, check_frame_pixels, opened_video
from preprocess.media.videos.upright import Frame, ToRgb, orientation_of
from preprocess.sample import MediaSource

Decoder = Literal["decord", "pyav"]
Times = Literal["header", "stamps"]
# Containers whose timestamps are presentation times, frame by frame.
_SEEKABLE_FORMATS = {"mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm"}
# Codecs whose packets say whether other frames need theirs, and are decoded one by one as they are fed. In the others
# FFmpeg skips nothing (VP8, VP9, AV1), or may decode a frame with the packet after its own (MPEG-4 in old files).
_CODECS_WITH_DISPENSABLE_FRAMES = {"h264", "hevc"}
_LONGEST = 7 * 24 * 3600.0  # seconds; positions in time are 32-bit integers, and many videos may stand in a sample
_MOST_BYTES_IN_MEMORY = 1 << 28  # of a video that is not a file of its own, as in an archive
_HIGHEST_RATE = 1_000_000  # frames per second


@dataclass(frozen=True, kw_only=True)
class VideoHeader:
    num_frames: int  # of the header if positive, else the number of packets
    fps: float  # average, frames per second: the number of frames by this is the duration
    height: int  # pixels, upright
    width: int


def probe_video(source: MediaSource, *, clamp_tail: bool = False, times: Times = "header") -> VideoHeader:
    """Frame count, rate and upright size. Decodes the first frame only: PyAV tells the display matrix no earlier.

    `clamp_tail` counts the frames that are there where the header promises more; it decodes the last one, too.
    `times` says where the rate comes from; a header without one leaves it to the time stamps.
    """
    with opened_video(source) as video:
        promised, rate, time_base = video.stream.frames, video.stream.average_rate, video.stream.time_base
        num_frames, stamps = promised, None
        by_stamps = times == "stamps" or not rate or rate < 0
        if promised <= 0 or clamp_tail or by_stamps:
            stamps = [packet.pts for packet in video.packets() if video.shows(packet) and not packet.is_discard]
            if promised <= 0 or clamp_tail:
                num_frames = min(promised, len(stamps)) if promised > 0 else len(stamps)
    if clamp_tail and num_frames > 0:
        num_frames = _count_decodable(source, num_frames)
    if by_stamps and stamps is not None:
        rate = _rate_of(stamps, num_frames, time_base) or (rate if len(stamps) == 1 else None)
    # Opened anew where packets were read: not every container can be rewound to its first frame.
    with opened_video(source) as video:
        if num_frames <= 0 or not rate or rate <= 0:
            said = f"{num_frames} frames at rate {rate}" if times == "header" else f"{num_frames} frames without times"
            raise SampleError(Reason.NO_FRAMES_OR_RATE, f"{said}; encode it again")
        if rate > _HIGHEST_RATE or num_frames / rate > _LONGEST:
            raise SampleError(
                Reason.NO_FRAMES_OR_RATE,
                f"{num_frames} frames at rate {rate} per second; videos are read up to {_LONGEST / 86400:.0f} days and "
                f"{_HIGHEST_RATE:,} frames per second; encode it again",
            )
        first = next(video.frames(), None)
        if first is None:
            raise SampleError(Reason.NO_FRAMES_OR_RATE, "not one frame can be decoded; encode it again")
        height, width = first.height, first.width
        check_frame_pixels(height, width)
        if orientation_of(first).is_sideways:
            height, width = width, height
    return VideoHeader(num_frames=num_frames, fps=float(Fraction(rate)), height=height, width=width)


def _rate_of(stamps: Sequence[int | None], num_frames: int, time_base: Fraction | None) -> Fraction | None:
    """Frames per second over the time stamps of the first `num_frames`; None where they don't tell frames apart."""
    known = sorted(stamp for stamp in stamps if stamp is not None)[:num_frames]
    if time_base is None or len(known) < 2 or len(known) < min(num_frames, len(stamps)) or len(set(known)) < len(known):
        return None
    return Fraction(len(known) - 1) / (Fraction(known[-1] - known[0]) * time_base)


def decode_frames(source: MediaSource, indices: Sequence[int], decoder: Decoder) -> Iterator[Frame]:
    """The frames at `indices` (strictly increasing), upright RGB, (H, W, 3) each, all of one size.

    Raises SampleError: undecodable, or too_few_frames where the file ends before the last index.
    """
    shape: tuple[int, ...] = ()
    for frame in _frames_at(source, indices, decoder):
        shape = shape or frame.shape
        if frame.shape != shape:
            detail = "the frame size changes inside the video; encode it again"
            raise reject_of(source, Reason.UNDECODABLE, detail)
        yield frame


def _frames_at(source: MediaSource, indices: Sequence[int], decoder: Decoder) -> Iterator[Frame]:
    num_given = 0
    with opened_video(source) as video:
        index = _index_packets(video)
        if index is not None:
            if indices[-1] >= len(index.times):
                raise _too_few(indices[-1], len(index.times))
            if decoder == "decord" and index.suits_decord and not _is_mirrored(video, index):
                for frame in _decode_decord(source, indices):
                    yield frame
                    num_given += 1
            if num_given < len(indices):
                yield from _decode_stretches(video, [index.times[i] for i in indices[num_given:]], index.key_times)
            return
    # Opened anew, because packets were read: not every container can be rewound to its first frame.
    with opened_video(source) as video:
        yield from _decode_in_sequence(video, indices)


def _count_decodable(source: MediaSource, num_frames: int) -> int:
    """`num_frames`; where the last of them can't be decoded, the number of those before the first that can't."""
    try:
        deque(decode_frames(source, [num_frames - 1], "pyav"), maxlen=0)
        return num_frames
    except SampleError:
        import av

        num_decoded = 0
        with opened_video(source) as video, suppress(av.error.FFmpegError):
            for _ in video.frames():
                num_decoded += 1
        return min(num_decoded, num_frames)


@dataclass(frozen=True)
class _PacketIndex:
    """Presentation times, in the stream's time base, of all frames and of the key frames among them, sorted."""

    times: list[int]
    key_times: list[int]
    suits_decord: bool


def _index_packets(video: Video) -> _PacketIndex | None:
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


def _is_mirrored(video: Video, index: _PacketIndex) -> bool:
    """By the first frame; also where there is none."""
    video.container.seek(index.times[0], stream=video.stream, backward=True, any_frame=False)
    first = next(video.frames(), None)
    return first is None or orientation_of(first).is_mirrored


def _decode_stretches(video: Video, times: Sequence[int], key_times: Sequence[int]) -> Iterator[Frame]:
    """Decode from each key frame that is needed to the last wanted frame before the next one, and nothing else."""
    to_rgb = ToRgb()
    for key, wanted in groupby(times, lambda time: key_times[bisect_right(key_times, time) - 1]):
        stretch = deque(wanted)
        if video.stream.codec_context.name in _CODECS_WITH_DISPENSABLE_FRAMES:
            yield from _decode_stretch(video, key, stretch, to_rgb, skips=True)
        if stretch:  # also where a frame was lost because FFmpeg guesses their order from those that were skipped
            yield from _decode_stretch(video, key, stretch, to_rgb, skips=False)
        if stretch:
            raise SampleError(Reason.TOO_FEW_FRAMES, f"no frame comes out of the decoder for time stamp {stretch[0]}")


def _decode_stretch(video: Video, key: int, stretch: deque[int], to_rgb: ToRgb, *, skips: bool) -> Iterator[Frame]:
    """Take the times off `stretch` whose frames are found, in their order."""
    video.container.seek(key, stream=video.stream, backward=True, any_frame=False)
    found: dict[int, Frame] = {}  # those that came before their turn, which happens in damaged files only
    for frame in _decode_until(video, stretch, skips):
        if frame.pts in stretch:
            found[frame.pts] = to_rgb(frame)
        while stretch and stretch[0] in found:
            yield found.pop(stretch.popleft())


def _decode_until(video: Video, times: Iterable[int], skips: bool) -> Iterator[Any]:
    """Frames from where the container stands until the packets of all `times` have been decoded.

    `skips`: without most of those that no other frame is decoded from.
    """
    missing = set(times)
    for packet in video.packets():
        if skips:
            video.stream.codec_context.skip_frame = "DEFAULT" if packet.pts in missing else "NONREF"
        yield from packet.decode()
        missing.discard(packet.pts)
        if not missing:
            break
    video.stream.codec_context.skip_frame = "DEFAULT"
    yield from video.stream.codec_context.decode(None)


def _decode_in_sequence(video: Video, indices: Sequence[int]) -> Iterator[Frame]:
    to_rgb = ToRgb()
    position, num_given = -1, 0
    for position, frame in enumerate(video.frames()):
        if position == indices[num_given]:
            yield to_rgb(frame)
            num_given += 1
            if num_given == len(indices):
                return
    raise _too_few(indices[-1], position + 1)


def _decode_decord(source: MediaSource, indices: Sequence[int]) -> Iterator[Frame]:
    """The same frames by decord, until it fails, which is no proof that the file is at fault."""
    import decord

    with open_medium(source) as file:
        if local_path(source) is None and file.seek(0, os.SEEK_END) > _MOST_BYTES_IN_MEMORY:
            return  # decord would read all of it
        file.seek(0)
        # The very file that was opened, whatever stands at its path by now.
        given = file if local_path(source) is None else f"/proc/self/fd/{file.fileno()}"
        try:
            # One thread: the order of threads must not matter.
            reader = decord.VideoReader(given, ctx=decord.cpu(0), num_threads=1)
            for index in indices:
                frame = reader.get_batch([index]).asnumpy()[0]
                yield frame
        except (decord.DECORDError, RuntimeError, IndexError):
            return


def _too_few(wanted: int, present: int) -> SampleError:
    return SampleError(
        Reason.TOO_FEW_FRAMES,
        f"frame {wanted} is promised, but only {present} can be decoded; encode it again or set video_tail: clamp",
    )
