"""Objects beside the turns, as ms-swift has them: `<ref-object>` and `<bbox>` in the text stand for one after another.

    {"messages": [... "Find <ref-object>" ... "<bbox>"], "objects": {"ref": ["sheep"], "bbox": [[10, 20, 30, 40]]}}

`bbox_type` says what the numbers are: `real` (pixels of the stored image, or of one of `width` and `height`), `norm1`,
`norm1000`; without it, the `boxes` of the dataset do. `image_id` numbers the image of each box where there are several.
Where no text has a placeholder, `objects` means nothing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from preprocess.arithmetic.boxes import BOX_TAG
from preprocess.errors import Reason, SampleError
from preprocess.read.forms.written import Written, check_text, kind_of
from preprocess.sample import BoxMode, PlacedBox

OBJECTS_KEY = "objects"
_REF_TAG = "<ref-object>"
_SIDES: Mapping[str, float] = {"norm1": 1.0, "norm1000": 1000.0}
_RELATIVE_SIDE = 1000.0


def with_objects(record: Mapping[str, Any], written: Written, boxes: BoxMode) -> Written:
    """With names in the place of theirs, and the boxes of the others. Raises SampleError."""
    objects = _mapping(record.get(OBJECTS_KEY))
    counts = [sum(turn.text.count(tag) for turn in written.turns) for tag in (_REF_TAG, BOX_TAG)]
    if not objects or not any(counts):
        return written
    names, placed = _list(objects, "ref"), tuple(_boxes(objects, boxes))
    for tag, count, given in zip((_REF_TAG, BOX_TAG), counts, (len(names), len(placed)), strict=True):
        if count and count != given:
            raise SampleError(Reason.TAG_COUNT, f"{count} {tag} for {given} in {OBJECTS_KEY!r}")
    if counts[1] and boxes == "none":
        detail = f"{BOX_TAG} stands for a box, and what its numbers mean is not said: set `boxes` in the registry"
        raise SampleError(Reason.AMBIGUOUS_BOXES, detail)
    left = iter(_name(name) for name in names)
    turns = tuple(
        replace(turn, text=re.sub(_REF_TAG, lambda _: next(left), turn.text)) if _REF_TAG in turn.text else turn
        for turn in written.turns
    )
    return replace(written, turns=turns, placed=placed if counts[1] else (), used=(*written.used, OBJECTS_KEY))


def _mapping(value: Any) -> Mapping[str, Any]:
    if isinstance(value, str) and value.lstrip().startswith("{"):
        try:
            value = json.loads(value)
        except (ValueError, RecursionError):
            return {}
    return value if isinstance(value, dict) else {}


def _list(objects: Mapping[str, Any], key: str) -> list[Any]:
    value = objects.get(key)
    if value is not None and not isinstance(value, list):
        raise SampleError(Reason.BAD_JSON, f"{key!r} of {OBJECTS_KEY!r} must be a list, not {kind_of(value)}")
    return value or []


def _name(name: Any) -> str:
    if not isinstance(name, str):
        raise SampleError(Reason.BAD_JSON, f"'ref' of {OBJECTS_KEY!r} holds {kind_of(name)}; a string is due")
    return check_text(name, OBJECTS_KEY)


def _boxes(objects: Mapping[str, Any], boxes: BoxMode) -> list[PlacedBox]:
    raw, images = _list(objects, "bbox"), _list(objects, "image_id")
    if images and len(images) != len(raw):
        raise SampleError(Reason.BAD_JSON, f"'image_id' of {OBJECTS_KEY!r} has {len(images)} for {len(raw)} boxes")
    type_ = objects.get("bbox_type") or ("norm1000" if boxes == "relative_1000" else "real")
    if type_ not in ("real", *_SIDES):
        raise SampleError(Reason.BAD_JSON, f"'bbox_type' must be one of real, {', '.join(_SIDES)}: {type_!r:.40}")
    width, height = (_size(objects, key) if type_ == "real" else _RELATIVE_SIDE for key in ("width", "height"))
    if (width > 0) != (height > 0):
        raise SampleError(Reason.BAD_JSON, f"{OBJECTS_KEY!r} has one of width and height; both are needed")
    factor = _RELATIVE_SIDE / _SIDES[type_] if type_ in _SIDES else 1
    return [
        PlacedBox(
            numbers=tuple(number * factor for number in _numbers(box)),
            image=_image(images[n]) if images else -1,
            width=width,
            height=height,
        )
        for n, box in enumerate(raw)
    ]


def _size(objects: Mapping[str, Any], key: str) -> float:
    value = objects.get(key)
    if value is None:
        return 0.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < float("inf"):
        raise SampleError(Reason.BAD_JSON, f"{key!r} of {OBJECTS_KEY!r} must be a number of pixels")
    return float(value)


def _image(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or value not in range(1_000_000):
        raise SampleError(Reason.AMBIGUOUS_BOXES, f"'image_id' of {OBJECTS_KEY!r} must be a number from 0")
    return int(value)


def _numbers(box: Any) -> list[float]:
    if (
        not isinstance(box, list)
        or len(box) not in (2, 4)
        or any(isinstance(number, bool) or not isinstance(number, int | float) for number in box)
    ):
        raise SampleError(Reason.BAD_JSON, f"'bbox' of {OBJECTS_KEY!r} must hold lists of four numbers, or of two")
    return [float(number) for number in box]
