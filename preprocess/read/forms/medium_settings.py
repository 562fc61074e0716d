"""What a part of a content says of its own medium, as qwen-vl-utils takes it.

{"type": "image", "image": "a.png", "max_pixels": 200704}
{"type": "video", "video": "a.mp4", "fps": 1.0, "video_start": 2.5, "video_end": 10}
{"type": "video", "video": ["0.jpg", "1.jpg"], "fps": 2.0}      how many of the frames that it holds are a second
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from preprocess.errors import Reason, SampleError
from preprocess.read.forms.written import MediumKind, kind_of
from preprocess.sample import MediumSettings

PIXEL_KEYS = ("min_pixels", "max_pixels")
VIDEO_KEYS = ("nframes", "fps", "video_start", "video_end")
_MOST: Mapping[str, float] = {
    **dict.fromkeys(PIXEL_KEYS, (1 << 31) - 1),
    "nframes": 1 << 24,
    "fps": 1e6,
    **dict.fromkeys(("video_start", "video_end"), 7 * 24 * 3600.0),
}
_WHOLE = (*PIXEL_KEYS, "nframes")


def settings_of(given: Mapping[str, Any], kind: MediumKind, where: str, *, is_list: bool = False) -> MediumSettings:
    """Of a part, or of a registry entry. `is_list`: of frames, of which `fps` does not say how many to take.

    Raises SampleError.
    """
    for key in VIDEO_KEYS:
        if kind == "image" and key in given:
            raise SampleError(Reason.UNSUPPORTED, f"{where} says {key!r} of an image, and means something for videos")
    values = {key: _number(key, given[key], where) for key in (*PIXEL_KEYS, *VIDEO_KEYS) if key in given}
    if "nframes" in values and "fps" in values and not is_list:
        raise SampleError(Reason.UNSUPPORTED, f"{where} says both 'nframes' and 'fps' of a video; keep one")
    for low, high in (PIXEL_KEYS, ("video_start", "video_end")):
        if low in values and high in values and values[low] > values[high]:
            raise SampleError(Reason.BAD_JSON, f"{where} says {low} {values[low]:g} above {high} {values[high]:g}")
    return MediumSettings(
        min_pixels=int(values.get("min_pixels", 0)),
        max_pixels=int(values.get("max_pixels", 0)),
        num_frames=int(values.get("nframes", 0)),
        fps=values.get("fps", 0.0),
        start=values.get("video_start", 0.0),
        end=values.get("video_end", 0.0),
    )


def _number(key: str, value: Any, where: str) -> float:
    least = 0 if key == "video_start" else 1 if key in _WHOLE else 1e-9
    if isinstance(value, bool) or not isinstance(value, int | float) or (key in _WHOLE and value != value // 1):
        due = "a whole number" if key in _WHOLE else "a number"
        raise SampleError(Reason.BAD_JSON, f"{where} has {key!r} that is {kind_of(value)}; {due} is due")
    if not least <= value <= _MOST[key]:
        raise SampleError(Reason.BAD_JSON, f"{where} has {key!r} {value:g}, which no {key} can be")
    return float(value)
