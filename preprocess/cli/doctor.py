"""What `doctor` says of this machine: versions, who resizes and decodes, the proof that bytes are Pillow's, speeds."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version

from PIL import features

import preprocess
from preprocess.pixels import PixelCheck

_PACKAGES = ("pillow", "simplejpeg", "zlib-ng", "decord2", "av", "numpy", "pyarrow", "tokenizers")


def versions_lines() -> list[str]:
    """What bytes and speeds depend on."""
    lines = [
        f"preprocess {preprocess.__version__}, Python {platform.python_version()}, {platform.system()} on "
        f"{platform.machine()}",
        ", ".join(f"{package} {_version(package)}" for package in _PACKAGES),
    ]
    codecs = {name: features.version(name) for name in ("libjpeg_turbo", "zlib", "webp")}
    return [*lines, "in Pillow: " + ", ".join(f"{name} {found or 'missing'}" for name, found in codecs.items())]


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed)"


def pixels_lines(check: PixelCheck) -> list[str]:
    """The outcome of `check_pixels`."""
    pillow = f"a photo of 2400x1550 is resized in {check.pillow_ms:.1f} ms by Pillow"
    if check.kernel_ms is None:
        return [check.line, f"nothing to compare: Pillow alone resizes here; {pillow}"]
    ratio = check.pillow_ms / check.kernel_ms
    return [
        check.line,
        f"{check.different:,} of {check.values:,} values differ from Pillow's, over {check.trials} random images and "
        "sizes" + ("" if check.is_equal else ": set QWEN_VL_PIXELS=pillow on this machine, and report the first line"),
        f"{pillow}, in {check.kernel_ms:.1f} ms by the C library ({ratio:.1f} times as fast)",
    ]
