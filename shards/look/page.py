"""Pages that need nothing but themselves: packs with their pictures, text, loss mask and positions.

Everything that comes from data is escaped, and its control and bidirectional characters are written out, by the
environment that all templates share: no template can forget it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import BaseLoader, ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from shards.files.atomic import write_atomically
from shards.files.text import visible
from shards.look.pictures import Pixels, frames_of
from shards.look.plots import boxes_path, position_paths, supervised_ranges
from shards.look.readable import percentage, readable_bytes
from shards.look.show import pack_headline, position_ranges, span_line
from shards.look.transcript import Piece, Transcriber, name_span
from shards.manifest import Manifest
from shards.model_constants import ModelConstants
from shards.pack import Pack
from shards.reader import ShardSet
from shards.segments import Grid, Segment, VisualSpan, cut_segments

_LANE_HEIGHT = 10
_JPEG_QUALITY = 82


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much of a pack is drawn."""

    segments: int
    spans: int  # images and videos of one segment
    frames: int  # of one video
    side: int  # pixels, of a picture


EVERYTHING = Limits(segments=10**9, spans=10**9, frames=64, side=560)
EXTRACT = Limits(segments=24, spans=12, frames=8, side=280)


@dataclass(frozen=True, kw_only=True)
class Picture:
    uri: str  # data:image/jpeg;base64,...
    width: int  # as drawn
    height: int


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A box in an image, or a point, whose sides fall together; in shares of the image's sides."""

    image: int  # which one of the sample
    left: float
    top: float
    right: float
    bottom: float
    label: str

    @property
    def is_point(self) -> bool:
        return self.left == self.right and self.top == self.bottom


FindMarks = Callable[[str, Sequence[Grid]], Sequence[Mark]]  # of the text of a sample, and the grids of its images


@dataclass(frozen=True, kw_only=True)
class SpanView:
    name: str
    line: str
    pictures: tuple[Picture, ...]
    num_frames: int
    marks: tuple[Mark, ...]


@dataclass(frozen=True, kw_only=True)
class SegmentView:
    segment: Segment
    positions: dict[str, str]
    spans: tuple[SpanView, ...]
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, kw_only=True)
class PackView:
    """What the template `pack.html` draws."""

    number: int
    headline: str
    capacity: int  # tokens: the width of every lane
    lane_height: int
    all_segments: tuple[Segment, ...]
    images: str  # path data, as the next ones
    videos: str
    supervised: str
    positions: dict[str, str]
    largest_position: int
    segments: tuple[SegmentView, ...]  # the first ones

    @property
    def num_hidden(self) -> int:
        return len(self.all_segments) - len(self.segments)


def packs_page(shards: ShardSet, numbers: Sequence[int], transcriber: Transcriber) -> str:
    """The page of `shards show --html`."""
    views = (view_pack(shards[number], number, shards.manifest, transcriber, EVERYTHING) for number in numbers)
    return render("show.html", folder=str(shards.folder), packs=views, num_packs=len(numbers))


def no_marks(text: str, grids: Sequence[Grid]) -> Sequence[Mark]:
    """What boxes look like in a text, the shards don't know."""
    return ()


def view_pack(
    pack: Pack,
    number: int,
    manifest: Manifest,
    transcriber: Transcriber,
    limits: Limits,
    find_marks: FindMarks = no_marks,
) -> PackView:
    segments = cut_segments(pack, manifest.model)
    spans = [span for segment in segments for span in segment.spans]
    temporal, height, width = position_paths(pack)
    return PackView(
        number=number,
        headline=pack_headline(pack, manifest),
        capacity=max(manifest.pack_length, pack.num_tokens),
        lane_height=_LANE_HEIGHT,
        all_segments=tuple(segments),
        images=boxes_path((run for s in spans if s.kind == "image" for run in s.runs), _LANE_HEIGHT),
        videos=boxes_path((run for s in spans if s.kind == "video" for run in s.runs), _LANE_HEIGHT),
        supervised=boxes_path(supervised_ranges(pack), _LANE_HEIGHT),
        positions={"temporal": temporal, "height": height, "width": width},
        largest_position=int(pack.position_ids.max()),
        segments=tuple(
            view_segment(pack, segment, manifest.model, transcriber, limits, find_marks)
            for segment in segments[: limits.segments]
        ),
    )


def view_segment(
    pack: Pack,
    segment: Segment,
    constants: ModelConstants,
    transcriber: Transcriber,
    limits: Limits,
    find_marks: FindMarks = no_marks,
) -> SegmentView:
    pieces = tuple(transcriber.pieces(pack, segment))
    images = [span for span in segment.spans if span.kind == "image"]
    marks = find_marks("".join(piece.text for piece in pieces), [span.grid_thw for span in images]) if images else ()
    return SegmentView(
        segment=segment,
        positions=position_ranges(pack, segment),
        spans=tuple(
            _view_span(
                pack,
                span,
                constants,
                limits,
                tuple(mark for mark in marks if span.kind == "image" and span is images[mark.image]),
            )
            for span in segment.spans[: limits.spans]
        ),
        pieces=pieces,
    )


def _view_span(
    pack: Pack, span: VisualSpan, constants: ModelConstants, limits: Limits, marks: tuple[Mark, ...]
) -> SpanView:
    frames = frames_of(pack, span, constants)
    chosen = np.unique(np.linspace(0, len(frames) - 1, min(len(frames), limits.frames)).astype(int))
    side = limits.side if span.kind == "image" else limits.side // 2
    return SpanView(
        name=name_span(span),
        line=span_line(span, constants),
        pictures=tuple(picture(frames[number], side) for number in chosen),
        num_frames=len(frames),
        marks=marks,
    )


def picture(pixels: Pixels, side: int) -> Picture:
    """(H, W, 3) -> a JPEG of at most `side` pixels a side."""
    image = Image.fromarray(pixels)
    image.thumbnail((side, side))
    file = io.BytesIO()
    image.save(file, "JPEG", quality=_JPEG_QUALITY)
    uri = "data:image/jpeg;base64," + base64.b64encode(file.getvalue()).decode()
    return Picture(uri=uri, width=image.width, height=image.height)


def render(template: str, *more: BaseLoader, **values: Any) -> str:
    """A page from a template of this package, or of the loaders `more`."""
    environment = Environment(
        loader=ChoiceLoader([PackageLoader("shards.look"), *more]),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number="{:,}".format, bytes=readable_bytes)
    environment.globals.update(percentage=percentage)
    return environment.get_template(template).render(values)


def _shown(value: object) -> object:
    return visible(value, keep="\n\t") if isinstance(value, str) and not isinstance(value, Markup) else value


def write_page(path: Path, text: str) -> str:
    """Write a page; returns what to tell the user. Raises OSError."""
    content = text.encode()
    write_atomically(path, content)
    return f"wrote {path} ({readable_bytes(len(content))}); open it in a browser"
