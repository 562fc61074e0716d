"""PNG files decode to Pillow's pixels, or are left to Pillow."""

from __future__ import annotations

import ctypes
import io
import sys
import zlib
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

import preprocess.pixels.png
from preprocess.pixels.direct import decoders_line, is_all_direct
from preprocess.pixels.kernel import VARIABLE, library
from preprocess.pixels.png import decode_png, png_content, why_pillow_decodes
from tests.preprocess.pixels.png_files import END_CHUNK, chunk, filtered, header, plain_png, png

pytestmark = pytest.mark.skipif(isinstance(library(), str), reason=str(library()))


@pytest.fixture(autouse=True)
def fresh_choice(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(VARIABLE, raising=False)
    decided = (why_pillow_decodes, preprocess.pixels.png._unfilter_function, preprocess.pixels.png._inflating)
    for each in decided:
        each.cache_clear()
    yield
    monkeypatch.undo()
    for each in decided:
        each.cache_clear()


@pytest.fixture(params=["zlib", "zlib_ng.zlib_ng"])
def inflating(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Each of the two that inflate."""
    module = pytest.importorskip(request.param)
    monkeypatch.setattr(preprocess.pixels.png, "_inflating", lambda: module)
    return module


def decoded(content: bytes) -> npt.NDArray[np.uint8] | None:
    """By us; None where Pillow must. Pillow must be able to decode it then, as if nothing had happened."""
    with Image.open(io.BytesIO(content)) as image:
        offered = png_content(image)
        pixels = decode_png(offered, image.mode, image.size) if offered is not None else None
        if pixels is not None:
            np.testing.assert_array_equal(pixels, np.asarray(image))
        return pixels


@settings(
    derandomize=True, max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.tuples(st.integers(1, 70), st.integers(1, 40)),
    st.sampled_from([0, 2]),
    st.lists(st.integers(0, 4), min_size=1, max_size=6),
    st.tuples(st.integers(0, 9), st.sampled_from([zlib.Z_DEFAULT_STRATEGY, zlib.Z_FIXED, zlib.Z_HUFFMAN_ONLY])),
    st.integers(1, 30),
)
def test_pixels_are_pillows(
    inflating: Any, size: tuple[int, int], colour: int, filters: list[int], how: tuple[int, int], parts: int
) -> None:
    level, strategy = how
    deflate = zlib.compressobj(level, strategy=strategy)
    deflated = deflate.compress(filtered(*size, colour, filters).tobytes()) + deflate.flush()
    assert decoded(png(header(*size, colour=colour), deflated, parts=parts)) is not None


@pytest.mark.parametrize("colour", [0, 2])
@pytest.mark.parametrize("parts", [1, 700])
@pytest.mark.parametrize("level", [0, 6])
def test_large_files_go_through_in_pieces(inflating: Any, colour: int, parts: int, level: int) -> None:
    """Rows of half a piece and rows of several, well compressed and not at all, in one chunk and in many."""
    for width, height in ((11_000, 40), (70_001, 9)):
        rows = filtered(width, height, colour, range(5))
        rows[:, width // 2 :] = 7
        rows[:, 0] %= 5
        assert (
            decoded(png(header(width, height, colour=colour), zlib.compress(rows.tobytes(), level), parts=parts))
            is not None
        )


@pytest.mark.parametrize(
    "before",
    [
        chunk(b"gAMA", (45455).to_bytes(4, "big")),
        chunk(b"eXIf", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"),
        chunk(b"iCCP", b"profile\0\0" + zlib.compress(b"of colours")),
        chunk(b"tEXt", b"Comment\0none"),
        chunk(b"IDAT", b""),
    ],
    ids=["gamma", "EXIF", "profile", "text", "empty pixels"],
)
def test_chunks_before_the_pixels_are_pillows_matter(inflating: Any, before: bytes) -> None:
    rows = filtered(20, 10, 2, range(5))
    assert decoded(png(header(20, 10), zlib.compress(rows.tobytes()), parts=2, before=before)) is not None


ROWS = filtered(20, 10, 2, range(5)).tobytes()
DEFLATED = zlib.compress(ROWS)
LEFT = {
    "interlaced": png(header(20, 10, interlace=1), DEFLATED),
    "wrong checksum of the stream": png(header(20, 10), DEFLATED[:-1] + bytes([DEFLATED[-1] ^ 1])),
    "too few rows": png(header(20, 10), zlib.compress(ROWS[:-61])),
    "part of a row": png(header(20, 10), zlib.compress(ROWS[:-1])),
    "a row too many": png(header(20, 10), zlib.compress(ROWS + ROWS[:61])),
    "a byte too many": png(header(20, 10), zlib.compress(ROWS + b"\0")),
    "bytes behind the stream": png(header(20, 10), DEFLATED + b"\0"),
    "two streams": png(header(20, 10), zlib.compress(ROWS[:61]) + zlib.compress(ROWS[61:])),
    "no end of the stream": png(header(20, 10), DEFLATED[:-4]),
    "no end": png(header(20, 10), DEFLATED, after=b""),
    "an end with content": png(header(20, 10), DEFLATED, after=chunk(b"IEND", b"\0")),
    "a chunk behind": png(header(20, 10), DEFLATED, after=chunk(b"tIME", bytes(7)) + chunk(*END_CHUNK)),
    "pixels behind another chunk": png(
        header(20, 10),
        DEFLATED[:50],
        after=chunk(b"gAMA", bytes(4)) + chunk(b"IDAT", DEFLATED[50:]) + chunk(*END_CHUNK),
    ),
    "a wrong checksum": png(header(20, 10), DEFLATED[:50], after=chunk(b"IDAT", DEFLATED[50:], 1) + chunk(*END_CHUNK)),
    "an unknown filter": png(header(20, 10), zlib.compress(b"\5" + ROWS[1:])),
    "no zlib": png(header(20, 10), b"\x79" + DEFLATED[1:]),
    "a dictionary": png(header(20, 10), b"\x78\xbb" + DEFLATED[2:]),
    "a large window": png(header(20, 10), b"\x88\x1c" + DEFLATED[2:]),
    "transparency": png(header(20, 10), DEFLATED, before=chunk(b"tRNS", bytes(6))),
    "an animation of one": png(header(20, 10), DEFLATED, before=chunk(b"acTL", b"\0\0\0\1\0\0\0\0")),
    "mostly chunks": png(header(20, 10), DEFLATED, after=chunk(b"IDAT", b"") * 8000 + chunk(*END_CHUNK)),
}
OTHER_KINDS = [(1, 0), (2, 0), (4, 0), (16, 0), (16, 2), (1, 3), (8, 3), (8, 4), (16, 4), (8, 6), (16, 6)]
for depth, colour in OTHER_KINDS:
    rows = filtered(20, 10, colour, range(5), depth).tobytes()
    palette = chunk(b"PLTE", bytes(range(6)) * 128) if colour == 3 else b""
    LEFT[f"{depth} bits of colour {colour}"] = png(header(20, 10, depth, colour), zlib.compress(rows), before=palette)


@pytest.mark.parametrize("what", LEFT)
def test_what_is_odd_or_wrong_is_left_to_pillow(inflating: Any, what: str) -> None:
    assert decoded(LEFT[what]) is None


def test_a_file_that_is_cut_anywhere_is_left_to_pillow(inflating: Any) -> None:
    content = plain_png(9, 5)
    pixels = content.index(b"IDAT") + 4
    for end in range(pixels, len(content)):
        assert decoded(content[:end]) is None
    assert decoded(content) is not None


def test_no_more_than_the_pixels_is_inflated(monkeypatch: pytest.MonkeyPatch) -> None:
    """20 MB of zeros behind a header of 10 rows."""
    inflated = 0

    class Counted:
        def __init__(self) -> None:
            self._inflate = zlib.decompressobj()

        def __getattr__(self, name: str) -> Any:
            return getattr(self._inflate, name)

        def decompress(self, *arguments: Any) -> bytes:
            nonlocal inflated
            piece = self._inflate.decompress(*arguments)
            inflated += len(piece)
            return piece

    module = SimpleNamespace(decompressobj=Counted, crc32=zlib.crc32, error=zlib.error)
    monkeypatch.setattr(preprocess.pixels.png, "_inflating", lambda: module)
    assert decoded(png(header(2000, 10), zlib.compress(bytes(20_000_000)))) is None
    assert 60_000 < inflated < 2 * 65_536 + 60_010


@pytest.mark.parametrize("colour", [0, 2])
def test_whatever_bytes_are_wrong_pillow_has_the_last_word(inflating: Any, colour: int) -> None:
    """What is decoded at all, Pillow decodes too, to the same pixels: checksums are made right again."""
    rng = np.random.default_rng(0)
    outcomes = []
    for trial in range(400):
        rows = filtered(31, 20, colour, range(5), seed=trial) % rng.integers(
            5, 30
        )  # has matches and codes of all kinds
        damaged = bytearray(zlib.compress(rows.tobytes()))
        for place in rng.integers(2, min(len(damaged), 90), rng.integers(1, 3)):
            damaged[place] ^= 1 << rng.integers(8)
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        with suppress(zlib.error):
            checksum = zlib.adler32(inflate.decompress(bytes(damaged[2:])))
            end = len(damaged) - len(inflate.unused_data)
            damaged[end:] = checksum.to_bytes(4, "big")
        outcomes.append(decoded(png(header(31, 20, colour=colour), bytes(damaged))) is not None)
    assert 40 < sum(outcomes) < 360


def test_the_environment_may_ask_for_pillow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "pillow")
    assert why_pillow_decodes() == f"{VARIABLE}=pillow"
    assert decoded(plain_png()) is None


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ("not built", "not built"),
        (SimpleNamespace(), "the C library is older than this version (run pip install again)"),
    ],
    ids=["none", "older"],
)
def test_without_the_library_pillow_decodes(found: Any, reason: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess.pixels.png, "library", lambda: found)
    assert why_pillow_decodes() == reason
    assert f"PNG files are decoded by Pillow ({reason})" in decoders_line()


def test_without_zlib_ng_zlib_inflates(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "zlib_ng", None)
    assert why_pillow_decodes() == ""
    assert (
        "PNG files are inflated by zlib, which takes half as long again as zlib-ng (zlib-ng is not installed)"
        in decoders_line()
    )
    assert not is_all_direct()
    assert decoded(plain_png()) is not None


def test_other_pixels_than_pillows_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    unfilter = preprocess.pixels.png._unfilter_function()

    def off_by_one(state: Any, piece: bytes, length: int) -> int:
        done: int = unfilter(state, piece, length)
        ctypes.cast(state.above, ctypes.POINTER(ctypes.c_uint8))[0] ^= 1
        return done

    monkeypatch.setattr(preprocess.pixels.png, "_unfilter_function", lambda: off_by_one)
    assert why_pillow_decodes() == "the C library decodes to other pixels than Pillow"


def test_the_buffers_are_used_again() -> None:
    images = [Image.open(io.BytesIO(plain_png(*size))) for size in ((300, 200), (30, 20))]
    contents = [png_content(image) for image in images[:1]]
    decode = partial(decode_png, mode="RGB")
    first = decode(contents[0], size=(300, 200))
    content = png_content(images[1])
    second = decode(content, size=(30, 20))
    assert first is not None
    assert second is not None
    assert np.shares_memory(first, second)
    assert np.shares_memory(np.frombuffer(contents[0], np.uint8), np.frombuffer(content, np.uint8))
