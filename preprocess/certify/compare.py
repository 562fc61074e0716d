"""Ours beside the reference's, part by part: equal, another by named choices of the specification, or unexplained.

The reference gives alternatives: first what the processor does, then the same with the specification's choices applied
(scripts/certify/reference.py). A difference is explained only where ours equals one of them exactly; frames of videos
may be off by `FRAME_LEVELS`, since decoders differ, and that is named too.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from preprocess.certify.draw import Drawn
from preprocess.errors import FatalError
from shards import ModelConstants, Pack
from shards.segments import VisualSpan, cut_segments

FRAME_LEVELS = 2  # of 255
FUSED_ERROR = 1e-6  # of torchvision's processors, which rescale and normalise in one step
Array = npt.NDArray[Any]
Grid = tuple[int, int, int]


@dataclass(frozen=True, kw_only=True)
class Difference:
    part: str  # image 0, video 1, text
    what: str  # pixels, grid, seconds, ids, labels, positions
    choices: tuple[str, ...]  # of the specification, that it comes from; none: unexplained
    detail: str

    @property
    def is_explained(self) -> bool:
        return bool(self.choices)


@dataclass(frozen=True, kw_only=True)
class Shown:
    """Pixels that differ, to be drawn: patches as stored, and the grid they are of."""

    part: str
    ours: Array
    theirs: Array  # as the processor has them
    grid_thw: Grid
    their_grid: Grid


@dataclass(frozen=True, kw_only=True)
class Found:
    key: str
    differences: tuple[Difference, ...]
    num_images: int
    num_videos: int
    num_values: int  # of pixels
    num_tokens: int
    shown: tuple[Shown, ...] = ()

    @property
    def unexplained(self) -> tuple[Difference, ...]:
        return tuple(each for each in self.differences if not each.is_explained)


@dataclass(frozen=True)
class Reference:
    """What stands in FOLDER/reference."""

    folder: Path
    record: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Reference:
        path = folder / "reference" / "result.json"
        try:
            return cls(path.parent, json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise FatalError(f"{path}: {error}; the reference did not come to its end") from None

    def arrays(self, number: int) -> Mapping[str, Array]:
        with np.load(self.folder / f"{number}.npz") as file:
            return dict(file)


def compare_all(drawn: Sequence[Drawn], reference: Reference, constants: ModelConstants) -> Iterator[Found]:
    """Raises FatalError where the reference is of other samples."""
    keys = [sample["key"] for sample in reference.record["samples"]]
    if keys != [each.key for each in drawn]:
        raise FatalError(f"{reference.folder} is of other samples than those that were drawn; run again")
    for number, (each, record) in enumerate(zip(drawn, reference.record["samples"], strict=True)):
        yield compare(each, record, reference.arrays(number), constants)


def compare_values(reference: Reference, constants: ModelConstants) -> list[Difference]:
    """What each of 256 levels becomes: (float32(level / 255) - mean) / std, as the model computes it."""
    levels = (np.arange(256) / 255).astype(np.float32)
    mean, std = (np.array(values, np.float32)[:, None] for values in (constants.image_mean, constants.image_std))
    ours, theirs = (levels - mean) / std, np.array(reference.record["values"], np.float32)
    if np.array_equal(ours, theirs):
        return []
    detail = f"normalised values differ by up to {np.abs(ours - theirs).max():.3g}"
    return [Difference(part="all pixels", what="normalisation", choices=(), detail=detail)]


def compare(drawn: Drawn, record: Mapping[str, Any], arrays: Mapping[str, Array], constants: ModelConstants) -> Found:
    """One sample, with its record of result.json and its arrays."""
    pack, [segment] = drawn.pack, cut_segments(drawn.pack, constants)
    differences: list[Difference] = []
    shown: list[Shown] = []
    if "unreadable" in record:
        part, why = record["unreadable"]["part"], record["unreadable"]["why"]
        detail = f"the reference can't read it: {why}"
        differences.append(Difference(part=part, what="pixels", choices=(), detail=detail))
    else:
        for span in sorted(segment.spans, key=lambda span: (span.kind, span.index)):
            found, picture = _compare_medium(pack, span, record, arrays, constants)
            differences += found
            shown += picture
        differences += _compare_text(pack, record["texts"], arrays)
        differences += _given(drawn)
    return Found(
        key=drawn.key,
        differences=tuple(differences),
        num_images=len(pack.image_grid_thw),
        num_videos=len(pack.video_grid_thw),
        num_values=pack.image_patches.size + pack.video_patches.size,
        num_tokens=pack.num_tokens,
        shown=tuple(shown),
    )


def _given(drawn: Drawn) -> Iterator[Difference]:
    """What the reference got as we have it, because it knows nothing of the kind."""
    sample = drawn.measured.sample
    if any(turn.role in ("tools", "call", "tool") for turn in sample.turns):
        yield Difference(part="text", what="turns", choices=("tools",), detail="spelled as in Qwen2.5 for both")
    if sample.boxes != "none":
        yield Difference(part="text", what="turns", choices=("boxes",), detail="follow the resized image in both")


def _compare_medium(
    pack: Pack, span: VisualSpan, record: Mapping[str, Any], arrays: Mapping[str, Array], constants: ModelConstants
) -> tuple[list[Difference], list[Shown]]:
    part, name = f"{span.kind} {span.index}", f"{span.kind}{span.index}"
    ours = _patches(pack, span, constants)
    alternatives = record["media"][name]
    first, first_grid = _alternative(arrays, f"{name}.0")
    # One that is equal counts before one that is near.
    for allowed in (0, FRAME_LEVELS if span.kind == "video" else 0):
        for number, alternative in enumerate(alternatives):
            theirs, grid = _alternative(arrays, f"{name}.{number}")
            if grid != span.grid_thw or theirs.shape != ours.shape or not _same_seconds(span, alternative):
                continue
            off = _levels_off(ours, theirs)
            if off > allowed or alternative["float_error"] > FUSED_ERROR:
                continue
            choices = [
                *alternative["choices"],
                *(["video_decoding"] if off else []),
                *(["fused_normalisation"] if alternative["float_error"] else []),
            ]
            if not choices:
                return [], []
            same_grid = first_grid == span.grid_thw
            detail = _pixels_in_words(ours, first) if same_grid else f"{first_grid} patches, ours {span.grid_thw}"
            picture = Shown(part=part, ours=ours, theirs=first, grid_thw=span.grid_thw, their_grid=first_grid)
            is_other = not same_grid or _levels_off(ours, first)
            found = Difference(part=part, what="pixels", choices=tuple(choices), detail=detail)
            return [found], [picture] if is_other else []
    return _unexplained_medium(part, span, ours, alternatives[-1], arrays, f"{name}.{len(alternatives) - 1}")


def _unexplained_medium(
    part: str, span: VisualSpan, ours: Array, last: Mapping[str, Any], arrays: Mapping[str, Array], name: str
) -> tuple[list[Difference], list[Shown]]:
    """Beside the alternative in which all choices are applied."""
    theirs, grid = _alternative(arrays, name)
    found: list[tuple[str, str]] = []
    if grid != span.grid_thw:
        found.append(("grid", f"ours {span.grid_thw}, the processor's {grid}"))
    if not _same_seconds(span, last):
        found.append(
            ("seconds", f"ours {span.second_per_grid!r} a temporal patch, the reference's {last['seconds']!r}")
        )
    if grid == span.grid_thw and not np.array_equal(ours, theirs):
        found.append(("pixels", _pixels_in_words(ours, theirs)))
    if last["float_error"] and not found:
        found.append(("pixels", f"its values are {last['float_error']:.3g} from those of any pixels"))
    if not found:
        found.append(("pixels", "each of its alternatives agrees in something else"))
    picture = Shown(part=part, ours=ours, theirs=theirs, grid_thw=span.grid_thw, their_grid=grid)
    return [Difference(part=part, what=what, choices=(), detail=detail) for what, detail in found], [picture]


def _alternative(arrays: Mapping[str, Array], name: str) -> tuple[Array, Grid]:
    t, h, w = arrays[f"{name}.grid"].tolist()
    return arrays[name], (t, h, w)


def _patches(pack: Pack, span: VisualSpan, constants: ModelConstants) -> Array:
    """(patches, 3 * tp * p * p): an image as the tp equal frames that the model sees."""
    grids, patches = (
        (pack.image_grid_thw, pack.image_patches) if span.kind == "image" else (pack.video_grid_thw, pack.video_patches)
    )
    start = int(grids[: span.index].prod(axis=1).sum())
    own = patches[start : start + span.num_patches]
    if span.kind == "video":
        return own
    by_channel = own.reshape(len(own), 3, 1, -1)
    return np.repeat(by_channel, constants.temporal_patch_size, axis=2).reshape(len(own), -1)


def _same_seconds(span: VisualSpan, alternative: Mapping[str, Any]) -> bool:
    return span.second_per_grid == alternative["seconds"]


def _levels_off(ours: Array, theirs: Array) -> int:
    return int(np.abs(ours.astype(np.int16) - theirs.astype(np.int16)).max(initial=0))


def _pixels_in_words(ours: Array, theirs: Array) -> str:
    number = np.count_nonzero(ours != theirs)
    return f"{number:,} of {ours.size:,} values differ, by up to {_levels_off(ours, theirs)} of 255"


def _compare_text(
    pack: Pack, alternatives: Sequence[Mapping[str, Any]], arrays: Mapping[str, Array]
) -> Iterator[Difference]:
    """The alternative that agrees furthest: in ids, then labels, then positions."""
    furthest, what, detail = -1, "ids", "the reference has no alternative"
    for number, alternative in enumerate(alternatives):
        name = f"text{number}"
        steps = [("ids", pack.input_ids, arrays[f"{name}.ids"]), ("labels", pack.labels, arrays[f"{name}.labels"])]
        for which, positions in enumerate(alternative["positions"]):
            each = [*steps, ("positions", pack.position_ids, arrays[f"{name}.positions{which}"])]
            agreed = next((step for step in range(3) if not np.array_equal(*each[step][1:])), 3)
            if agreed < 3:
                if agreed >= furthest:
                    furthest, what, detail = agreed, each[agreed][0], _first_difference(*each[agreed][1:])
                continue
            choices = (*alternative["choices"], *positions["choices"])
            if choices:
                words = _text_in_words(pack, arrays)
                yield Difference(part="text", what="ids, labels, positions", choices=choices, detail=words)
            return
    yield Difference(part="text", what=what, choices=(), detail=detail)


def _text_in_words(pack: Pack, arrays: Mapping[str, Array]) -> str:
    """What of the first alternative, the processor's own, is another."""
    pairs = {"ids": pack.input_ids, "labels": pack.labels, "positions0": pack.position_ids}
    differing = [
        f"{name.removesuffix('0')}: {_first_difference(ours, arrays[f'text0.{name}'])}"
        for name, ours in pairs.items()
        if f"text0.{name}" in arrays and not np.array_equal(ours, arrays[f"text0.{name}"])
    ]
    return "; ".join(differing) or "the template can't be applied to it"


def _first_difference(ours: Array, theirs: Array) -> str:
    if ours.shape != theirs.shape:
        return f"{ours.shape[-1]} tokens, the processor has {theirs.shape[-1]}"
    place = tuple(np.argwhere(ours != theirs)[0].tolist())
    number = np.count_nonzero(ours != theirs)
    return f"{number} differ, the first at {place[-1]}: ours {ours[place]}, the processor's {theirs[place]}"
