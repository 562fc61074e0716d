"""Files that Pillow refuses, or turns into something else, though their pixels are whole."""

from __future__ import annotations

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from preprocess.arithmetic.geometry import PixelLimits
from preprocess.errors import Reason, SampleError
from preprocess.media.images import encode_image, measure_image
from preprocess.media.pictures import png_chunks
from preprocess.media.pictures.opening import open_image
from preprocess.media.pictures.rules import PictureRules
from preprocess.media.pictures.upright import decode, upright_header
from preprocess.sample import MediaSource, Note
from shards import ModelConstants

LIMITS = PixelLimits(min_pixels=3136, max_pixels=200704)
FLAT = [(64, 96), (61, 83)]


def photo(height: int = 56, width: int = 84) -> Image.Image:
    rng = np.random.default_rng(height)
    small = Image.fromarray(rng.integers(0, 256, (5, 7, 3), dtype=np.uint8))
    return small.resize((width, height))


def patches_of(path: Path, constants: ModelConstants, rules: PictureRules | None = None) -> np.ndarray:
    rules = rules or PictureRules()
    measured = measure_image(MediaSource(path=str(path)), LIMITS, constants, rules=rules)
    return encode_image(measured, constants, rules)


def write(path: Path, picture: Image.Image, **options: object) -> Path:
    picture.save(path, **options)
    return path


def jpeg_with_exif(path: Path, exif: bytes, picture: Image.Image | None = None) -> Path:
    return write(path, picture or photo(), exif=b"Exif\0\0" + exif, quality=90)


def ifd(*entries: bytes) -> bytes:
    """A TIFF header and one directory."""
    return b"MM\0*\0\0\0\x08" + struct.pack(">H", len(entries)) + b"".join(entries) + b"\0\0\0\0"


ORIENTATION = struct.pack(">HHI", 0x0112, 3, 1)  # one short
BROKEN_FIELDS = {
    "an unknown type": struct.pack(">HHII", 0x9C9B, 77, 1, 0),
    "a value behind the end": struct.pack(">HHII", 0x010F, 2, 500, 100_000),
    "a denominator below zero": struct.pack(">HHII", 0x011A, 10, 1, 38),
    "a number where a text is due": struct.pack(">HHII", 0x0131, 4, 1, 5),
}


@pytest.mark.filterwarnings("ignore:Tag data larger than file")
@pytest.mark.parametrize("field", BROKEN_FIELDS)
@pytest.mark.parametrize("orientation", [1, 3, 6])
def test_broken_fields_beside_the_orientation_do_not_matter(
    field: str, orientation: int, tmp_path: Path, constants: ModelConstants
) -> None:
    exif = ifd(ORIENTATION + struct.pack(">HH", orientation, 0), BROKEN_FIELDS[field])
    exif += struct.pack(">ii", -1, -3) if "denominator" in field else b""
    path = jpeg_with_exif(tmp_path / "a.jpg", exif)
    as_stored = np.asarray(Image.open(path))
    upright = np.rot90(as_stored, {1: 0, 3: 2, 6: -1}[orientation])
    whole = write(tmp_path / "whole.png", Image.fromarray(np.ascontiguousarray(upright)))
    assert np.array_equal(patches_of(path, constants), patches_of(whole, constants))


@pytest.mark.parametrize("exif", [b"", b"MM", b"not a TIFF header", ifd(ORIENTATION)[:15], b"II*\0\xff\xff\xff\x7f"])
def test_what_cannot_be_parsed_counts_as_upright(exif: bytes, tmp_path: Path, constants: ModelConstants) -> None:
    plain = write(tmp_path / "plain.jpg", photo(), quality=90)
    assert np.array_equal(patches_of(jpeg_with_exif(tmp_path / "a.jpg", exif), constants), patches_of(plain, constants))


def test_a_png_with_exif_that_is_none_is_upright(tmp_path: Path, constants: ModelConstants) -> None:
    plain, odd = (
        write(tmp_path / f"{name}.png", photo(), **options)
        for name, options in (("plain", {}), ("odd", {"exif": b"Exif\0\0garbage"}))
    )
    assert b"eXIf" in odd.read_bytes()
    assert np.array_equal(patches_of(odd, constants), patches_of(plain, constants))


# --- metadata of PNG files ------------------------------------------------------------------------------------------


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


LARGE = zlib.compress(bytes(3 << 20))
TEXTS = {
    "a profile": chunk(b"iCCP", b"profile\0\0" + LARGE),
    "a compressed text": chunk(b"zTXt", b"Comment\0\0" + LARGE),
    "an international text": chunk(b"iTXt", b"Comment\0\1\0en\0\0" + LARGE),
    "a large XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + LARGE),
    "many large texts": b"".join(chunk(b"tEXt", b"Comment\0" + bytes([65]) * 900_000) for _ in range(80)),
    "a text with a wrong checksum": chunk(b"tEXt", b"Comment\0text")[:-1] + b"?",
}


@pytest.mark.parametrize("is_behind", [False, True])
@pytest.mark.parametrize("text", TEXTS)
def test_metadata_of_any_size_is_skipped(text: str, is_behind: bool, tmp_path: Path, constants: ModelConstants) -> None:
    plain = write(tmp_path / "plain.png", photo())
    content = plain.read_bytes()
    place = content.index(b"IEND") - 4 if is_behind else 33  # behind IHDR
    odd = tmp_path / "odd.png"
    odd.write_bytes(content[:place] + TEXTS[text] + content[place:])
    if not is_behind:
        with pytest.raises((ValueError, SyntaxError, OSError)):
            Image.open(odd).load()
    assert np.array_equal(patches_of(odd, constants), patches_of(plain, constants))


def test_a_png_of_many_texts_takes_little_memory(
    tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(png_chunks, "_MOST_RANGES", 3)
    plain = write(tmp_path / "plain.png", photo()).read_bytes()
    few, many = tmp_path / "few.png", tmp_path / "many.png"
    few.write_bytes(plain[:33] + 1000 * TEXTS["a compressed text"] + plain[33:])  # one after another: one gap
    many.write_bytes(plain[:33] + 4 * (TEXTS["a profile"] + chunk(b"pHYs", bytes(9))) + plain[33:])
    assert len(patches_of(few, constants))
    with pytest.raises(SampleError):  # by Pillow, of the fourth
        patches_of(many, constants)


@pytest.mark.parametrize("is_behind", [False, True])
@pytest.mark.parametrize("kind", [b"tEXt", b"zTXt", b"iTXt"])
def test_an_orientation_in_a_text_counts(
    kind: bytes, is_behind: bool, tmp_path: Path, constants: ModelConstants
) -> None:
    xmp = b'<x:xmpmeta tiff:Orientation="6"/>'
    exif = b"\nexif\n 40\n" + (b"Exif\0\0" + ifd(ORIENTATION + struct.pack(">HH", 6, 0))).hex().encode()
    content = {
        b"iTXt": b"XML:com.adobe.xmp\0\0\0\0\0" + xmp,
        b"tEXt": b"Raw profile type exif\0" + exif,
        b"zTXt": b"Raw profile type exif\0\0" + zlib.compress(exif),
    }[kind]
    plain = write(tmp_path / "plain.png", photo()).read_bytes()
    place = plain.index(b"IEND") - 4 if is_behind else 33
    odd = tmp_path / "odd.png"
    odd.write_bytes(plain[:place] + TEXTS["a profile"] + chunk(kind, content) + plain[place:])
    measured = measure_image(MediaSource(path=str(odd)), LIMITS, constants)
    assert (measured.orientation, measured.height, measured.width) == (6, 84, 56)
    turned = write(tmp_path / "turned.png", photo().transpose(Image.Transpose.ROTATE_270))
    assert np.array_equal(encode_image(measured, constants), patches_of(turned, constants))


# --- grey of more than 8 bits ---------------------------------------------------------------------------------------

GREY: list[tuple[int, int, Note]] = [
    (255, 0, "grey_as_is"),
    (256, 4, "grey_12_bits"),
    (4095, 4, "grey_12_bits"),
    (4096, 8, "grey_high_byte"),
    (65535, 8, "grey_high_byte"),
]


@pytest.mark.parametrize("suffix", [".png", ".tif"])
@pytest.mark.parametrize(("largest", "shift", "note"), GREY)
def test_grey_of_16_bits_goes_by_the_range_of_its_values(
    largest: int, shift: int, note: Note, suffix: str, tmp_path: Path, constants: ModelConstants
) -> None:
    values = np.linspace(0, largest, 56 * 84).astype(np.uint16).reshape(56, 84)
    path = write(tmp_path / f"a{suffix}", Image.fromarray(values))
    plain = write(tmp_path / "plain.png", Image.fromarray((values >> shift).astype(np.uint8)))
    notes: list[Note] = []
    measured = measure_image(MediaSource(path=str(path)), LIMITS, constants)
    patches = encode_image(measured, constants, PictureRules(), notes.append)
    assert np.array_equal(patches, patches_of(plain, constants))
    assert notes == [note]


def test_the_high_byte_alone_can_be_asked_for(tmp_path: Path, constants: ModelConstants) -> None:
    values = np.full((56, 84), 300, np.uint16)
    path = write(tmp_path / "a.png", Image.fromarray(values))
    notes: list[Note] = []
    rules = PictureRules(grey_16="high_byte")
    measured = measure_image(MediaSource(path=str(path)), LIMITS, constants)
    assert set(encode_image(measured, constants, rules, notes.append).reshape(-1)) == {1}
    assert not notes
    assert set(patches_of(path, constants).reshape(-1)) == {300 >> 4}


def test_grey_of_32_bits_is_cut_to_what_8_hold() -> None:
    file = io.BytesIO()
    Image.fromarray(np.array([[-5, 0, 70_000, 30_000]], np.int32)).save(file, "TIFF")
    with open_image(file) as image:
        decoded = decode(image, upright_header(image))
    assert np.asarray(decoded.pixels).tolist() == [[0, 0, 255, 30_000 >> 8]]


# --- JPEG files without their end -----------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("is_progressive", [False, True])
@pytest.mark.parametrize("num_cut", [1, 2])
def test_a_jpeg_that_lacks_its_end_alone_is_read_on_demand(
    num_cut: int, is_progressive: bool, mode: str, tmp_path: Path, constants: ModelConstants
) -> None:
    path = write(tmp_path / "a.jpg", photo().convert(mode), progressive=is_progressive, quality=85)
    whole = patches_of(path, constants)
    path.write_bytes(path.read_bytes()[:-num_cut])
    lenient = PictureRules(decoder="lenient")
    assert np.array_equal(patches_of(path, constants, lenient), whole)
    with pytest.raises(SampleError) as raised:
        patches_of(path, constants)
    assert raised.value.reason == Reason.UNDECODABLE


@pytest.mark.parametrize("is_progressive", [False, True])
def test_no_other_cut_passes_for_a_lost_end(is_progressive: bool, tmp_path: Path, constants: ModelConstants) -> None:
    path = write(tmp_path / "a.jpg", photo(), progressive=is_progressive, quality=85)
    content, lenient = path.read_bytes(), PictureRules(decoder="lenient")
    whole, num_refused = patches_of(path, constants), 0
    starts_of_scans = [n for n in range(len(content) - 1) if content[n : n + 2] == b"\xff\xda"]
    assert len(starts_of_scans) > 3 or not is_progressive
    for end in [*starts_of_scans[1:], *range(len(content) - 40, len(content) - 2, 3), len(content) // 2]:
        path.write_bytes(content[:end])
        try:
            assert np.array_equal(patches_of(path, constants, lenient), whole)  # all that was cut was filling
        except SampleError as error:
            assert error.reason == Reason.UNDECODABLE
            num_refused += 1
    assert num_refused > 8


# --- large pictures -------------------------------------------------------------------------------------------------


def test_the_largest_picture_can_be_chosen(tmp_path: Path, constants: ModelConstants) -> None:
    png, jpeg = write(tmp_path / "a.png", photo()), write(tmp_path / "a.tif", photo())
    for path in (png, jpeg):
        patches_of(path, constants, PictureRules(max_source_pixels=56 * 84))
        with pytest.raises(SampleError, match=r"84x56 pixels; at most 4,703 .*max_source_pixels") as raised:
            patches_of(path, constants, PictureRules(max_source_pixels=56 * 84 - 1))
        assert raised.value.reason == Reason.DECOMPRESSION_BOMB


def test_a_larger_picture_than_pillow_likes_is_read(
    tmp_path: Path, constants: ModelConstants, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = 56 * 84 // 3
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", before)
    path = write(tmp_path / "a.gif", photo().convert("L"))
    with pytest.raises(Image.DecompressionBombError):
        Image.open(path)
    patches_of(path, constants)
    assert before == Image.MAX_IMAGE_PIXELS


def test_texts_of_pngs_are_what_pillow_would_refuse() -> None:
    assert PngImagePlugin.MAX_TEXT_CHUNK == 1 << 20
