"""HEIC and AVIF: told by their first box, read by what is installed, else refused by name."""

from __future__ import annotations

import io
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageFile, features

from preprocess.arithmetic.geometry import PixelLimits
from preprocess.errors import Reason, SampleError
from preprocess.media.images import encode_image, measure_image
from preprocess.media.pictures import heif
from preprocess.sample import MediaSource
from shards import ModelConstants

LIMITS = PixelLimits(min_pixels=3136, max_pixels=200704)


def box(*brands: bytes) -> bytes:
    content = brands[0] + bytes(4) + b"".join(brands[1:])
    return struct.pack(">I", 8 + len(content)) + b"ftyp" + content


@pytest.fixture(autouse=True)
def forget() -> Iterator[None]:
    """What was found once is remembered."""
    heif._has_heic.cache_clear()
    heif._has_avif.cache_clear()
    yield
    heif._has_heic.cache_clear()
    heif._has_avif.cache_clear()
    Image.OPEN.pop(heif.FORMAT, None)
    Image.ID[:] = [name for name in Image.ID if name != heif.FORMAT]


def without_heif(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)


@pytest.mark.parametrize("brands", [(b"heic", b"mif1"), (b"mif1", b"heic"), (b"hevc",), (b"heix",)])
def test_without_the_extra_heic_names_it(
    brands: tuple[bytes, ...], tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_heif(monkeypatch)
    path = tmp_path / "photo.jpg"
    path.write_bytes(box(*brands) + bytes(200))
    with pytest.raises(SampleError, match=r"photo.jpg: it is HEIC, .* install 'qwen-vl-shards\[heif\]'") as raised:
        measure_image(MediaSource(path=str(path)), LIMITS, constants)
    assert raised.value.reason == Reason.UNDECODABLE


@pytest.mark.parametrize("brands", [(b"avif", b"mif1"), (b"mif1", b"avif"), (b"avis",)])
def test_a_pillow_without_avif_says_so(brands: tuple[bytes, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    without_heif(monkeypatch)
    monkeypatch.setattr(features, "check", lambda name: name != "avif")
    with pytest.raises(SampleError, match=r"it is AVIF, and this Pillow .* install 'qwen-vl-shards\[heif\]'"):
        heif.prepare(box(*brands))


@pytest.mark.parametrize("head", [b"", b"\xff\xd8\xff\xe0", box(b"isom", b"mp41"), b"\0\0\0\x18ftyp"])
def test_other_files_need_nothing(head: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    without_heif(monkeypatch)
    heif.prepare(head)


def test_avif_is_read_by_a_pillow_that_can(tmp_path: Path, constants: ModelConstants) -> None:
    if not features.check("avif"):
        pytest.skip("this Pillow was built without AVIF")
    path = tmp_path / "a.png"
    Image.new("RGB", (84, 56), (200, 100, 50)).save(path, "AVIF", quality=100)
    measured = measure_image(MediaSource(path=str(path)), LIMITS, constants)
    assert (measured.height, measured.width) == (56, 84)
    first = encode_image(measured, constants)[0].reshape(3, -1).mean(axis=1)
    assert np.abs(first - (200, 100, 50)).max() < 4


def test_heic_is_read_where_the_extra_is_installed(
    tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a plugin that registers as pillow-heif does, and reads the PNG file behind the box."""

    class Plugin(ImageFile.ImageFile):
        format = heif.FORMAT

        def _open(self) -> None:
            assert self.fp is not None
            content = self.fp.read()
            self.inner = Image.open(io.BytesIO(content[content.index(b"\x89PNG") :]))
            self._size, self._mode, self.tile = self.inner.size, self.inner.mode, []

        def load(self) -> object:
            self.inner.load()
            self.im = self.inner.im
            return Image.Image.load(self)

    module = ModuleType("pillow_heif")
    options = SimpleNamespace(DECODE_THREADS=4)
    vars(module).update(
        options=options,
        register_heif_opener=lambda: Image.register_open(heif.FORMAT, Plugin, lambda prefix: b"heic" in prefix),
    )
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    png = io.BytesIO()
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (56, 84, 3), dtype=np.uint8))
    picture.save(png, "PNG")
    (tmp_path / "plain.png").write_bytes(png.getvalue())
    (tmp_path / "photo.heic").write_bytes(box(b"heic", b"mif1") + png.getvalue())
    plain, photo = (
        measure_image(MediaSource(path=str(tmp_path / name)), LIMITS, constants) for name in ("plain.png", "photo.heic")
    )
    assert photo.grid_thw == plain.grid_thw
    assert np.array_equal(encode_image(photo, constants), encode_image(plain, constants))
    assert options.DECODE_THREADS == 1


def test_heic_files_of_pillow_heif_are_read(tmp_path: Path, constants: ModelConstants) -> None:
    pillow_heif = pytest.importorskip("pillow_heif")
    pillow_heif.register_heif_opener()
    path = tmp_path / "photo.jpg"
    Image.new("RGB", (84, 56), (200, 100, 50)).save(path, "HEIF", quality=100)
    Image.OPEN.pop(heif.FORMAT)
    measured = measure_image(MediaSource(path=str(path)), LIMITS, constants)
    first = encode_image(measured, constants)[0].reshape(3, -1).mean(axis=1)
    assert np.abs(first - (200, 100, 50)).max() < 4
