"""Containers of videos: opened only where their format is data, and closed to all other files.

FFmpeg also plays lists: HLS, concat scripts, SDP, DASH name other files and addresses, and their demuxers open those.
So the demuxers are an explicit list, which FFmpeg holds a file against before it reads the header, and no protocol may
be used: the bytes come from us alone. decord, which can't be told either, gets only what was opened here.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from preprocess.errors import Reason, SampleError
from preprocess.media.store import open_medium, read_error, reject_of
from preprocess.sample import MediaSource

# FFmpeg's names of the demuxers that read nothing but the file. Sound is among them to be told what it is.
_DEMUXERS = (
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "asf", "ogg", "gif", "mp3", "wav"),
    *("h264", "hevc", "mpegvideo", "m4v", "ivf"),  # without a container
)
_OPTIONS = {"format_whitelist": ",".join(_DEMUXERS), "protocol_whitelist": "none"}
MOST_FRAME_PIXELS = 8192 * 4352  # of the highest levels of H.264, HEVC and AV1 alike
MOST_VIDEO_PIXELS = 1 << 33  # over all sampled frames: a thousand of 3840 x 2160
MOST_VIDEO_BYTES = 1 << 36  # of a file: all of it is read, and a worker has to do that in time
_VP8_SHOW_FRAME = 0x10  # in the first byte of a frame: RFC 6386, section 9.1


class Video:
    """An opened container and the video stream in it that a player would show."""

    def __init__(self, container: Any) -> None:
        stream = container.streams.best("video")
        if stream is None:
            raise SampleError(Reason.NO_FRAMES_OR_RATE, "no video stream in it")
        codec = stream.codec_context
        if codec is None:
            raise SampleError(Reason.UNDECODABLE, "FFmpeg has no decoder for its video stream; encode it again")
        check_frame_pixels(codec.height, codec.width)
        codec.thread_count = 1  # tasks are spread over processes
        codec.options = {**codec.options, "max_pixels": str(MOST_FRAME_PIXELS)}  # where the frames say another size
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


def check_frame_pixels(height: int, width: int) -> None:
    """Raises SampleError (decompression_bomb)."""
    if height * width > MOST_FRAME_PIXELS:
        size = f"frames of {width}x{height} pixels"
        raise SampleError(Reason.DECOMPRESSION_BOMB, f"{size}; at most {MOST_FRAME_PIXELS:,} pixels are decoded")


def check_video_pixels(num_frames: int, height: int, width: int) -> None:
    """Of the sampled frames together. Raises SampleError (decompression_bomb)."""
    if num_frames * height * width > MOST_VIDEO_PIXELS:
        raise SampleError(
            Reason.DECOMPRESSION_BOMB,
            f"{num_frames} sampled frames of {width}x{height} pixels; at most {MOST_VIDEO_PIXELS:,} pixels are decoded "
            "of a video: lower video_max_frames, or encode it smaller",
        )


def check_video_bytes(num_bytes: int) -> None:
    """Raises SampleError (undecodable)."""
    if num_bytes > MOST_VIDEO_BYTES:
        raise SampleError(
            Reason.UNDECODABLE,
            f"a file of {num_bytes:,} bytes; videos are read up to {MOST_VIDEO_BYTES:,}: cut it into parts",
        )


@contextmanager
def opened_video(source: MediaSource) -> Iterator[Video]:
    """Open a container with a video stream; what its bytes do wrong becomes a SampleError naming the file."""
    import av

    with open_medium(source) as file:
        try:
            check_video_bytes(file.seek(0, os.SEEK_END))
            file.seek(0)
            with _open(file) as container:
                yield Video(container)
        except SampleError as error:
            raise reject_of(source, error.reason, error.detail) from None
        except av.error.FFmpegError as error:
            raise reject_of(source, Reason.UNDECODABLE, _first_line(error)) from None
        except OSError as error:
            if error.errno == errno.EINVAL:  # an empty or damaged file made FFmpeg seek to before its start
                raise reject_of(source, Reason.UNDECODABLE, "not a video") from None
            raise read_error(source, error) from None


def _open(file: IO[bytes]) -> Any:
    """The container in `file`. Raises SampleError where its format is not on the list, or FFmpeg's errors."""
    import av

    try:
        return av.open(file, metadata_errors="replace", container_options=_OPTIONS)
    except av.error.ArgumentError:
        name = _refused_format(file)
        if not name:
            raise
    if name.endswith("_pipe") or name == "image2":
        raise SampleError(Reason.NO_FRAMES_OR_RATE, "a still picture, not a video; name it as an image")
    raise SampleError(
        Reason.UNDECODABLE, f"its format is {name!r}, which is not among those of videos that are read; encode it again"
    )


def _refused_format(file: IO[bytes]) -> str:
    """What FFmpeg calls the format that is not on the list: only its log says so. Empty where that is not the fault."""
    import av

    level, skips = av.logging.get_level(), av.logging.get_skip_repeated()
    file.seek(0)
    av.logging.set_level(av.logging.ERROR)
    av.logging.set_skip_repeated(False)
    try:
        with av.logging.Capture() as lines:
            av.open(file, metadata_errors="replace", container_options=_OPTIONS).close()
    except (av.error.FFmpegError, OSError):
        pass
    finally:
        av.logging.set_skip_repeated(skips)
        av.logging.set_level(level)
    return next((name for _, name, line in lines if line.startswith("Format not on whitelist")), "")


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
