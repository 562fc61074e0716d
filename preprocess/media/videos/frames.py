"""The frames of a video, whatever it lies in: a file with a container, or pictures one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from preprocess.arithmetic.geometry import TURNED_SIDEWAYS
from preprocess.errors import Reason, SampleError
from preprocess.media.frame_lists import frames_of, is_list, list_of
from preprocess.media.images import measure_picture, read_picture
from preprocess.media.pictures.rules import PictureRules
from preprocess.media.store import describe, naming, reject_of
from preprocess.media.videos.containers import check_frame_pixels
from preprocess.media.videos.upright import Frame
from preprocess.media.videos.video import Decoder, Times, VideoHeader, decode_frames, probe_video
from preprocess.sample import MeasuredVideo, MediaSource


def probe(
    source: MediaSource, rules: PictureRules, *, fps: float, clamp_tail: bool = False, times: Times = "header"
) -> VideoHeader:
    """Frame count, rate and upright size; of a list of pictures the size of the first, `fps` being its rate."""
    if not is_list(source):
        return probe_video(source, clamp_tail=clamp_tail, times=times)
    frames = frames_of(source)
    with naming(source):
        (height, width, _), _ = measure_picture(frames[0], rules=rules)
        check_frame_pixels(height, width)
    return VideoHeader(num_frames=len(frames), fps=fps, height=height, width=width)


def chosen(source: MediaSource, indices: Sequence[int], header: VideoHeader, rules: PictureRules) -> MediaSource:
    """What of a video is read: of a list, only the frames at `indices`, all of the size in the header.

    Raises SampleError.
    """
    if not is_list(source):
        return source
    frames = frames_of(source)
    wanted = [frames[index] for index in indices]
    for frame in wanted:
        with naming(source):
            (height, width, _), _ = measure_picture(frame, rules=rules)
            if (height, width) != (header.height, header.width):
                raise _other_size(frame, (height, width), (header.height, header.width))
    return list_of(wanted)


def decode_video(video: MeasuredVideo, decoder: Decoder, rules: PictureRules) -> Iterator[Frame]:
    """The planned frames, upright RGB, (H, W, 3) each, of the planned size. Raises SampleError."""
    size = video.height, video.width
    if is_list(video.source):
        for source in frames_of(video.source):
            yield _decode_picture(source, size, rules)
        return
    for frame in decode_frames(video.source, video.frame_indices, decoder):
        if frame.shape[:2] != size:
            raise reject_of(
                video.source,
                Reason.UNDECODABLE,
                f"frames are {frame.shape[1]}x{frame.shape[0]} pixels, the first one was "
                f"{video.width}x{video.height}; encode it again",
            )
        yield frame


def _decode_picture(source: MediaSource, size: tuple[int, int], rules: PictureRules) -> Frame:
    header, _ = measure_picture(source, rules=rules)
    if header[:2] != size:
        raise _other_size(source, header[:2], size)
    picture = read_picture(source, rules, header)
    if picture.upright is not None:
        return np.asarray(picture.upright.convert("RGB"))
    assert picture.stored is not None
    stored = picture.stored[..., :3] if picture.stored.ndim == 3 else np.stack([picture.stored] * 3, axis=-1)
    return np.ascontiguousarray(_turned(stored, picture.header[2]))


def _turned(pixels: Frame, orientation: int) -> Frame:
    if orientation in TURNED_SIDEWAYS:
        pixels = pixels.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return pixels[:, ::-1] if orientation in (2, 3, 6, 7) else pixels


def _other_size(frame: MediaSource, found: tuple[int, int], expected: tuple[int, int]) -> SampleError:
    detail = f"{describe(frame)} is {found[1]}x{found[0]} pixels, the first frame {expected[1]}x{expected[0]}"
    return SampleError(Reason.UNDECODABLE, f"{detail}; frames of a video are of one size")
