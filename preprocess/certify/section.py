"""What was found, as the part of the certificate that is of data (`shards/look/certificate.py`)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from preprocess.certify.compare import Difference, Found, Reference, Shown
from preprocess.plan.versions import versions
from shards import ModelConstants
from shards.look.page import picture
from shards.look.pictures import Pixels, rebuild_frames

_MOST_PICTURES = 24
_SIDE = 280  # pixels
_RED = np.array([220, 30, 30])


def data_section(
    found: Sequence[Found], of_all: Sequence[Difference], reference: Reference, constants: ModelConstants
) -> dict[str, Any]:
    """`of_all` are differences that are of no single sample."""
    choices = Counter(name for each in found for name in {n for d in each.differences for n in d.choices})
    num_unexplained = len(of_all) + sum(len(each.unexplained) for each in found)
    return {
        "num_samples": len(found),
        "num_tokens": sum(each.num_tokens for each in found),
        "num_values": sum(each.num_values for each in found),
        "rows": [_row("images", found), _row("videos", found), _row("texts", found)],
        "choices": dict(choices.most_common()),
        "num_unexplained": num_unexplained,
        "differences": sorted(  # unexplained ones first
            [
                *({"key": "", **asdict(each)} for each in of_all),
                *({"key": each.key, **asdict(difference)} for each in found for difference in each.differences),
            ],
            key=lambda each: bool(each["choices"]),
        ),
        "keys": [each.key for each in found],
        "pictures": list(_pictures(found, constants)),
        "template": reference.record["template"],
        "versions": {"this project": versions(), "reference": reference.record["versions"]},
    }


def _row(what: str, found: Sequence[Found]) -> dict[str, Any]:
    """How many there are, and of how many something differs."""
    total, explained, unexplained = 0, 0, 0
    for each in found:
        total += {"images": each.num_images, "videos": each.num_videos, "texts": 1}[what]
        named = [difference for difference in each.differences if _kind(difference) == what]
        bad = {difference.part for difference in named if not difference.is_explained}
        unexplained += len(bad)
        explained += len({difference.part for difference in named} - bad)
    return {"what": what, "total": total, "explained": explained, "unexplained": unexplained}


def _kind(difference: Difference) -> str:
    return {"image": "images", "video": "videos"}.get(difference.part.split(" ")[0], "texts")


def _pictures(found: Sequence[Found], constants: ModelConstants) -> Iterable[dict[str, Any]]:
    """Unexplained ones first, then one for each combination of choices before a second one of any."""
    seen: Counter[Any] = Counter()
    ranked = []
    for each in found:
        for shown in each.shown:
            choices = next((d.choices for d in each.differences if d.part == shown.part), ())
            ranked.append(((bool(choices), seen[choices]), each.key, choices, shown))
            seen[choices] += 1
    for _, key, choices, shown in sorted(ranked, key=lambda entry: entry[0])[:_MOST_PICTURES]:
        views = _views(shown, constants)
        yield {
            "key": key,
            "part": shown.part,
            "choices": list(choices),
            "views": {name: asdict(picture(pixels, _SIDE)) for name, pixels in views.items()},
        }


def _views(shown: Shown, constants: ModelConstants) -> dict[str, Pixels]:
    """(H, W, 3) each, of the frame that differs most; patches in which any value differs are red."""
    ours = rebuild_frames(shown.ours, shown.grid_thw, constants)
    theirs = rebuild_frames(shown.theirs, shown.their_grid, constants)
    if shown.grid_thw != shown.their_grid:
        return {"ours": ours[0], "the processor's": theirs[0]}
    off = np.abs(ours.astype(np.int16) - theirs.astype(np.int16)).max(axis=3)  # (F, H, W)
    frame = int(off.sum(axis=(1, 2)).argmax())
    side = constants.patch_size
    height, width = off.shape[1:]
    by_patch = off[frame].reshape(height // side, side, width // side, side).max(axis=(1, 3))
    differs = np.kron(by_patch > 0, np.ones((side, side), bool))[..., None]
    pale = np.broadcast_to(160 + ours[frame].mean(axis=2, keepdims=True) * 0.35, ours[frame].shape)
    marked = np.where(differs, (pale + 2 * _RED) / 3, pale).astype(np.uint8)
    return {"ours": ours[frame], "the processor's": theirs[frame], "where they differ": marked}
