"""Videos that are written down as lists of pictures.

    {"video": ["f/0.jpg", "f/1.jpg"]}            pictures by their names: the frames of one video
    {"videos": [["f/0.jpg", "f/1.jpg"], ["g/0.jpg"]]}
    {"videos": ["f"]}                            a folder, which only locating shows (`read/media.py`)

`fps` beside them, in the part or in the record, says how many of these frames are a second, for each video or for all;
`times` when each was taken, in seconds. Where nothing does, one a second is assumed, and counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.media.frame_lists import MOST_FRAMES, is_picture

RATE_KEYS = ("fps", "times")
_HIGHEST_RATE = 1e6


@dataclass(frozen=True, kw_only=True, slots=True)
class FrameFiles:
    """The value of a medium: each of `frames` is a path, or a source that a reader knows."""

    frames: tuple[Any, ...]


def as_videos(values: Sequence[Any]) -> list[Any]:
    """What stands under `video` or `videos`, each list of frames as one. Raises SampleError."""
    if values and all(map(_names_a_picture, values)):
        return [frames_in(values)]
    return [frames_in(value) if isinstance(value, list | tuple) else value for value in values]


def frames_in(values: Sequence[Any]) -> FrameFiles:
    """Raises SampleError."""
    if not values:
        raise SampleError(Reason.BAD_JSON, "a video is an empty list of frames")
    if len(values) > MOST_FRAMES:
        raise SampleError(Reason.BAD_JSON, f"a video is a list of {len(values):,} frames; at most {MOST_FRAMES:,}")
    return FrameFiles(frames=tuple(values))


def _names_a_picture(value: Any) -> bool:
    return isinstance(value, str) and is_picture(value)


def rate_of(said: Mapping[str, Any], number: int, num_videos: int, num_frames: int) -> tuple[float, str]:
    """Frames a second of video `number`, and the key of `said` that says it; 0 and "" where none does.

    Raises SampleError.
    """
    times = said.get("times")
    if times not in (None, []):
        own = times[number] if isinstance(times, list) and isinstance(times[0], list) and number < len(times) else times
        return _rate_of_times(own, num_frames), "times"
    fps = said.get("fps")
    if isinstance(fps, list):
        if len(fps) != num_videos:
            raise SampleError(Reason.BAD_JSON, f"'fps' has {len(fps)} values for {num_videos} videos")
        fps = fps[number]
    if fps is None:
        return 0.0, ""
    if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps <= _HIGHEST_RATE:
        raise SampleError(Reason.BAD_JSON, "'fps' of a list of frames must be a number above 0")
    return float(fps), "fps"


def _rate_of_times(times: Any, num_frames: int) -> float:
    """Over all of them: frames are taken for evenly spaced."""
    if not isinstance(times, list) or any(isinstance(t, bool) or not isinstance(t, int | float) for t in times):
        raise SampleError(Reason.BAD_JSON, "'times' must be a list of seconds, one for each frame")
    if len(times) != num_frames:
        raise SampleError(Reason.BAD_JSON, f"'times' has {len(times)} values for {num_frames} frames")
    if any(not late - early > 0 for early, late in pairwise(times)):
        raise SampleError(Reason.BAD_JSON, "'times' of frames must grow")
    rate = (num_frames - 1) / (times[-1] - times[0]) if num_frames > 1 else 1.0
    if not 0 < rate <= _HIGHEST_RATE:
        raise SampleError(Reason.BAD_JSON, f"'times' say {rate:g} frames a second")
    return rate
