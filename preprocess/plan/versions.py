"""The versions of the software that determines the bytes of a dataset, and its kind of machine, for its fingerprint.

The same libraries give other pixels on another kind of machine where their loops are written by hand for each: colours
of video frames (swscale: by up to 3 levels between x86_64 and aarch64) and lossy JPEG 2000. JPEG, WebP and AVIF don't.

What writes a file format alone is not here: `shards.inputs` adds it where that format is chosen. Nor is what can't
change a byte: zlib and other lossless codecs, whose output a standard fixes, YAML, progress bars, Ray.
"""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

import numpy as np
import PIL
from PIL import features

import preprocess
from shards.inputs import WRITER_NAMES

# Of Pillow, which may be built with others, or without them: decoders whose pixels their standards leave open.
_PICTURE_CODECS = ("libjpeg_turbo", "webp", "avif", "jpg_2000", "libtiff")
# Of FFmpeg, which PyAV may be built with another one of: frames, their times, their colours.
_VIDEO_LIBRARIES = ("libavcodec", "libavformat", "libswscale")
_NOT_OF_PATCHES = {"tokenizers", "pyarrow", *WRITER_NAMES}


def versions() -> dict[str, str | None]:
    """None: there is no such codec, so that its images are rejects."""
    from av import library_versions  # loads FFmpeg

    return {
        "machine": platform.machine(),
        "pillow": PIL.__version__,
        **{codec: features.version(codec) for codec in _PICTURE_CODECS},
        "pillow_heif": _optional("pillow-heif"),
        "decord": version("decord2"),
        "av": version("av"),
        **{library: ".".join(map(str, library_versions[library])) for library in _VIDEO_LIBRARIES},
        "numpy": np.__version__,
        "tokenizers": version("tokenizers"),
        "pyarrow": version("pyarrow"),
        "preprocess": preprocess.__version__,
    }


def _optional(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def versions_of_patches(versions: dict[str, str | None]) -> dict[str, str | None]:
    """Those on which the patches of images and videos depend: neither on the text nor on the file format."""
    return {name: each for name, each in versions.items() if name not in _NOT_OF_PATCHES}
