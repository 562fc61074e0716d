"""Files whose pixels are had without Pillow: which, and by what; the others are Pillow's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from PIL import Image

from preprocess.pixels import jpeg, png, webp
from preprocess.pixels.passes import Pixels


@dataclass(frozen=True, kw_only=True)
class _Decoder:
    """How files of one format are taken from Pillow, and what says why they are not."""

    content: Callable[[Image.Image], memoryview | None]
    decode: Callable[[bytes | memoryview, str, tuple[int, int]], Pixels | None]
    why_not: Callable[[], str]


_DECODERS = {
    "JPEG": _Decoder(content=jpeg.jpeg_content, decode=jpeg.decode_jpeg, why_not=jpeg.why_pillow_decodes),
    "PNG": _Decoder(content=png.png_content, decode=png.decode_png, why_not=png.why_pillow_decodes),
    "WebP": _Decoder(content=webp.webp_content, decode=webp.decode_webp, why_not=webp.why_pillow_decodes),
}


@dataclass(frozen=True, kw_only=True)
class DirectFile:
    """What `decode_directly` may try, until the next one. `mode` (RGB or L), `size` (width, height) as Pillow says."""

    format: str
    content: memoryview
    mode: str
    size: tuple[int, int]


def choose_decoders() -> None:
    """Decide, once in a process, what is decoded directly: small files are tried, for which Pillow's limits must not be
    those of a run."""
    for decoder in _DECODERS.values():
        decoder.why_not()


def direct_file(image: Image.Image) -> DirectFile | None:
    """None where Pillow must decode. May raise OSError."""
    for name, decoder in _DECODERS.items():
        content = decoder.content(image)
        if content is not None:
            return DirectFile(format=name, content=content, mode=image.mode, size=image.size)
    return None


def decode_directly(file: DirectFile) -> Pixels | None:
    """(H, W, 3 or 4) for mode RGB, (H, W) for L, not turned; None where Pillow must decode after all.

    The pixels stay only until the next call.
    """
    return _DECODERS[file.format].decode(file.content, file.mode, file.size)


def decoders_line() -> str:
    """Who decodes in this process, and why, in one line."""
    by_reason: dict[str, list[str]] = {}
    for name, decoder in _DECODERS.items():
        by_reason.setdefault(decoder.why_not(), []).append(name)
    parts = [
        f"{_listed(names)} files are decoded {f'by Pillow ({reason})' if reason else 'directly'}"
        for reason, names in by_reason.items()
    ]
    if reason := png.why_zlib_inflates():
        parts.append(f"PNG files are inflated by zlib, which takes half as long again as zlib-ng ({reason})")
    return ", ".join(parts)


def is_all_direct() -> bool:
    """Whether nothing that `decoders_line` says could be faster."""
    return not any(decoder.why_not() for decoder in _DECODERS.values()) and not png.why_zlib_inflates()


def _listed(names: list[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
