"""HEIC and AVIF: pictures in a container of ISO/IEC 23008-12, which says in its first box what it is.

Pillow reads AVIF where it was built with it; HEIC needs the extra `heif` (pillow-heif), which older Pillows without
AVIF may use for that, too.
"""

from __future__ import annotations

from functools import cache
from typing import Literal

from PIL import features

from preprocess.errors import Reason, SampleError

FORMAT = "HEIF"  # Pillow's name, once pillow-heif is registered
BOX_BYTES = 64  # of a file, which hold the brands of any that is known
_AVIF_BRANDS = {b"avif", b"avis"}
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"msf1"}
_ADVICE = "install the extra: pip install 'qwen-vl-shards[heif]'"


def prepare(head: bytes) -> None:
    """Have Pillow know the format of a file that begins with `head`, if it is one of these.

    Raises SampleError (undecodable) where nothing installed reads it.
    """
    kind = _kind_of(head)
    if kind == "HEIC" and not _has_heic():
        raise SampleError(Reason.UNDECODABLE, f"it is HEIC, which needs pillow-heif; {_ADVICE}")
    if kind == "AVIF" and not features.check("avif") and not _has_avif():
        raise SampleError(
            Reason.UNDECODABLE, f"it is AVIF, and this Pillow was built without it; install another one, or {_ADVICE}"
        )


def _kind_of(head: bytes) -> Literal["HEIC", "AVIF"] | None:
    """By the major brand, then those that the file says to be compatible with."""
    if head[4:8] != b"ftyp":
        return None
    brands = [
        head[8:12],
        *(head[first : first + 4] for first in range(16, min(int.from_bytes(head[:4]), BOX_BYTES), 4)),
    ]
    if _AVIF_BRANDS & set(brands):
        return "AVIF"
    return "HEIC" if brands[0] in _HEIC_BRANDS else None


@cache
def _has_heic() -> bool:
    try:
        import pillow_heif
    except ImportError:
        return False
    pillow_heif.options.DECODE_THREADS = 1  # samples are spread over processes
    pillow_heif.register_heif_opener()
    return True


@cache
def _has_avif() -> bool:
    """pillow-heif left AVIF to Pillow in its version 1."""
    try:
        import pillow_heif
    except ImportError:
        return False
    if not hasattr(pillow_heif, "register_avif_opener"):
        return False
    pillow_heif.register_avif_opener()
    return True
