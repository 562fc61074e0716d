"""What a run chooses about pictures; all of it is part of the fingerprint."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Grey16 = Literal["auto", "high_byte"]
"""How grey of more than 8 bits becomes 8: by the range of a file's values, or by its high byte."""
Strictness = Literal["strict", "lenient"]
"""Whether a JPEG file that lacks only its end marker is read."""

MOST_SOURCE_PIXELS = 178_956_970  # above, Pillow takes a picture for a decompression bomb


@dataclass(frozen=True, kw_only=True)
class PictureRules:
    grey_16: Grey16 = "auto"
    decoder: Strictness = "strict"
    max_source_pixels: int = MOST_SOURCE_PIXELS
