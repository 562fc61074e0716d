"""One pack for a terminal: whose tokens stand where, what they say, what is supervised."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from shards.files.text import visible
from shards.look.readable import counted, percentage
from shards.look.transcript import Piece, Transcriber
from shards.manifest import Manifest
from shards.model_constants import ModelConstants
from shards.pack import Pack, count_pack
from shards.segments import Segment, VisualSpan, cut_segments

# What ordinary text must not look like: a special token, a collapsed image, the ends of a supervised part.
_MISTAKABLE = re.compile(r"<(?=\||(?:image|video) \d)|[⟦⟧]")


@dataclass(frozen=True, kw_only=True)
class Marks:
    """What stands around a piece: colours, or plain characters."""

    supervised: tuple[str, str]
    special: tuple[str, str]
    visual: tuple[str, str]


PLAIN = Marks(supervised=("⟦", "⟧"), special=("", ""), visual=("<", ">"))
COLOUR = Marks(supervised=("\x1b[1;32m", "\x1b[0m"), special=("\x1b[2m", "\x1b[0m"), visual=("\x1b[36m<", ">\x1b[0m"))


def pack_text(pack: Pack, number: int, manifest: Manifest, transcriber: Transcriber, marks: Marks) -> str:
    """Pack `number` of a dataset, segment by segment."""
    headline = f"pack {number:,} of {manifest.num_packs:,}: {pack_headline(pack, manifest)}"
    lines = [headline, f"supervised text looks {''.join(_wrap('like this', marks))}"]
    for position, segment in enumerate(cut_segments(pack, manifest.model)):
        lines += ["", *_segment_lines(pack, position, segment, manifest.model)]
        lines += transcript(transcriber.pieces(pack, segment), marks)
    return "\n".join(lines)


def pack_headline(pack: Pack, manifest: Manifest) -> str:
    counts = count_pack(pack)
    patches = counts.num_image_patches + counts.num_video_patches
    return (
        f"{counted(counts.num_samples, 'sample')}, "
        f"{counts.num_tokens:,} tokens "
        f"({percentage(counts.num_tokens, manifest.pack_length)} of {manifest.pack_length:,}), "
        f"{counts.num_label_tokens:,} supervised, {counted(counts.num_images, 'image')}, "
        f"{counted(counts.num_videos, 'video')}, {patches:,} patches "
        f"({percentage(patches, manifest.pack_patches)} of {manifest.pack_patches:,})"
    )


def span_line(span: VisualSpan, constants: ModelConstants) -> str:
    """Grid, pixels, tokens and, for videos, seconds."""
    t, h, w = span.grid_thw
    size = f"{h * constants.patch_size} x {w * constants.patch_size} pixels"
    frames = f"{t * constants.temporal_patch_size} frames of " if span.kind == "video" else ""
    seconds = "" if span.second_per_grid is None else f", second_per_grid {span.second_per_grid:g}"
    return f"grid {t} x {h} x {w}: {frames}{size} (height x width) -> {span.num_tokens:,} tokens{seconds}"


def position_ranges(pack: Pack, segment: Segment) -> dict[str, str]:
    """{"temporal": "0 to 17", ...}"""
    rows = pack.position_ids[:, segment.start : segment.stop]
    names = ("temporal", "height", "width")
    return {name: f"{row.min():,} to {row.max():,}" for name, row in zip(names, rows, strict=True)}


def _segment_lines(pack: Pack, position: int, segment: Segment, constants: ModelConstants) -> Iterator[str]:
    yield (
        f"segment {position:,}  {visible(segment.key)}  tokens {segment.start:,} to {segment.stop - 1:,}: "
        f"{segment.stop - segment.start:,}, {segment.num_label_tokens:,} supervised"
    )
    ranges = ", ".join(f"{name} {values}" for name, values in position_ranges(pack, segment).items())
    yield f"  positions  {ranges}"
    for span in segment.spans:
        yield f"  {span.kind} {span.index}    {span_line(span, constants)}"


def transcript(pieces: list[Piece], marks: Marks) -> list[str]:
    """What the tokens of a sample say, in lines."""
    text = "".join(part for piece in pieces for part in _marked(piece, marks))
    # Neighbouring supervised pieces, text and its <|im_end|>, read as one.
    joined = text.replace(marks.supervised[1] + marks.supervised[0], "")
    return [f"  │ {line}" for line in joined.removesuffix("\n").split("\n")]


def _marked(piece: Piece, marks: Marks) -> Iterator[str]:
    shown = visible(piece.text, keep="\n\t")
    if piece.kind == "text":
        shown = _MISTAKABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", shown)
    elif piece.kind == "visual":
        shown = f"{marks.visual[0]}{shown}{marks.visual[1]}"
    elif not piece.supervised:
        shown = f"{marks.special[0]}{shown}{marks.special[1]}"
    yield from _wrap(shown, marks) if piece.supervised else (shown,)


def _wrap(text: str, marks: Marks) -> Iterator[str]:
    """Marked line by line, so that no colour runs into what stands before the next line."""
    opening, closing = marks.supervised
    for number, line in enumerate(text.split("\n")):
        yield "\n" if number else ""
        yield f"{opening}{line}{closing}" if line else ""
