"""Small pictures of every kind: tests/golden/media. Committed, because encoders may differ between machines.

`demo_*` are stored as the demo stores each of its kinds; the others are what the demo has no use for. No picture equals
itself turned or mirrored, and transparent pixels hide colours.
"""

from __future__ import annotations

import struct
import sys
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from golden_files import GOLDEN
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "demo"))

from demo_images import EXIF_ORIENTATION, KINDS

MEDIA = GOLDEN / "media"
HEIGHT, WIDTH = 51, 66
GREY, RGB, PALETTE, GREY_ALPHA, RGBA = 0, 2, 3, 4, 6  # PNG colour types
LOSSLESS_TIFF = {"compression": "tiff_lzw"}


def main() -> None:
    MEDIA.mkdir(parents=True, exist_ok=True)
    for old in MEDIA.iterdir():
        old.unlink()
    picture = Image.fromarray(scene(HEIGHT, WIDTH))
    contents = {"png_grey16": ramp16(), "png_palette_transparent": Image.fromarray(blocks(HEIGHT, WIDTH))}
    for name, kind in KINDS.items():
        kind.save(contents.get(name, picture), MEDIA / f"demo_{name}{kind.suffix}")
    write_turned(picture)
    write_deep_pngs()
    write_transparent(picture)
    write_animations(picture)
    picture.crop((0, 0, 31, 21)).save(MEDIA / "windows.bmp")
    picture.convert("CMYK").save(MEDIA / "cmyk.tif", **LOSSLESS_TIFF)
    ramp16().save(MEDIA / "grey16.tif", **LOSSLESS_TIFF)
    shapes = {
        "tall": (900, 60),
        "wide": (45, 1100),
        "tiny": (13, 9),
        "pixel": (1, 1),
        "thin": (200, 1),
        "rows": (3, 40),
    }
    for name, (height, width) in shapes.items():
        Image.fromarray(scene(height, width)).save(MEDIA / f"{name}.png")
    files = list(MEDIA.iterdir())
    print(f"{MEDIA}: {len(files)} pictures, {sum(path.stat().st_size for path in files)} bytes")


def scene(height: int, width: int) -> np.ndarray:
    """(height, width, 3): two gradients, a checkerboard of odd sides, a noisy corner and a white one."""
    y, x = np.mgrid[0:height, 0:width]
    checks = ((x // 7 + y // 11) % 2) * 255
    image = np.stack([x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), checks], axis=2).astype(np.uint8)
    corner = image[: height // 4, : width // 4]
    corner[:] = np.random.default_rng(5).integers(0, 256, corner.shape, dtype=np.uint8)
    image[height - height // 5 :, width - width // 4 :] = 255
    return image


def blocks(height: int, width: int) -> np.ndarray:
    """(height, width, 3): six flat colours, white among them."""
    colors = np.random.default_rng(7).integers(0, 250, (6, 3), dtype=np.uint8)
    colors[0] = 255
    y, x = np.mgrid[0:height, 0:width]
    return colors[(x // 9 + 2 * (y // 8)) % 6]


def ramp16() -> Image.Image:
    """Neighbours differ in the low byte; the values reach both ends of 16 bits."""
    return Image.fromarray(np.linspace(0, 65535, HEIGHT * WIDTH).astype(np.uint16).reshape(HEIGHT, WIDTH))


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[EXIF_ORIENTATION] = orientation
    return tags


def write_turned(picture: Image.Image) -> None:
    """The same stored pixels with every orientation, one that means nothing, and in other containers."""
    for orientation in (*range(1, 9), 9):
        picture.save(MEDIA / f"orientation{orientation}.jpg", quality=85, exif=exif(orientation))
    picture.save(MEDIA / "orientation6.tif", exif=exif(6), **LOSSLESS_TIFF)
    picture.save(MEDIA / "orientation8.webp", quality=80, exif=exif(8))
    pixels = np.asarray(picture)[:21, :31]
    block = exif(6).tobytes().removeprefix(b"Exif\0\0")
    write_png("orientation6_before_pixels", pixels, RGB, 8, before=[(b"eXIf", block)])
    write_png("orientation6_after_pixels", pixels, RGB, 8, after=[(b"eXIf", block)])


def write_deep_pngs() -> None:
    """What Pillow can't write: 16 bits a channel with colour or alpha, and fewer than 8 bits."""
    rng = np.random.default_rng(11)
    deep = rng.integers(0, 65536, (20, 30, 4), dtype=np.uint16)
    write_png("deep_rgb", deep[..., :3], RGB, 16)
    write_png("deep_rgba", deep, RGBA, 16)
    write_png("deep_grey_alpha", deep[..., :2], GREY_ALPHA, 16)
    for depth in (2, 4):
        few = rng.integers(0, 1 << depth, (21, 31, 1), dtype=np.uint8)
        palette = rng.integers(0, 256, 3 << depth, dtype=np.uint8).tobytes()
        write_png(f"grey{depth}", few, GREY, depth)
        write_png(f"palette{depth}", few, PALETTE, depth, before=[(b"PLTE", palette)])


def write_transparent(picture: Image.Image) -> None:
    rng = np.random.default_rng(13)
    few = rng.integers(0, 8, (21, 31, 1), dtype=np.uint8)
    palette = rng.integers(0, 256, 24, dtype=np.uint8).tobytes()
    some_alpha = bytes([0, 60, 128, 255, 200])  # shorter than the palette: the rest is opaque
    write_png("palette_alpha", few, PALETTE, 8, before=[(b"PLTE", palette), (b"tRNS", some_alpha)])
    write_png("grey_key", few * 30, GREY, 8, before=[(b"tRNS", struct.pack(">H", 90))])
    colors = np.repeat(few * 30, 3, axis=2)
    write_png("rgb_key", colors, RGB, 8, before=[(b"tRNS", struct.pack(">HHH", 90, 90, 90))])
    translucent = picture.copy()
    translucent.putalpha(Image.fromarray(scene(HEIGHT, WIDTH)[::-1, :, 0].copy()))
    translucent.save(MEDIA / "rgba.webp", lossless=True, exact=True)
    translucent.save(MEDIA / "rgba.tif", **LOSSLESS_TIFF)


def write_animations(picture: Image.Image) -> None:
    """The later frames are the negative."""
    negative = Image.fromarray(255 - np.asarray(picture))
    picture.save(MEDIA / "animation.png", save_all=True, append_images=[negative], duration=100)
    picture.save(MEDIA / "animation.webp", save_all=True, append_images=[negative], duration=100, lossless=True)
    indexed, later = picture.quantize(16), negative.quantize(16)
    indexed.save(MEDIA / "transparent.gif", save_all=True, append_images=[later], transparency=3, disposal=2)


def write_png(
    name: str,
    pixels: np.ndarray,
    color_type: int,
    depth: int,
    *,
    before: Sequence[tuple[bytes, bytes]] = (),
    after: Sequence[tuple[bytes, bytes]] = (),
) -> None:
    """`pixels` is (height, width, channels), of values of `depth` bits; chunks stand before or after the image data."""
    height, width, _ = pixels.shape
    values = pixels.reshape(height, -1)
    if depth < 8:
        bits = values[:, :, None] >> np.arange(depth - 1, -1, -1, dtype=np.uint8) & 1
        rows = np.packbits(bits.reshape(height, -1), axis=1)
    else:
        rows = values.astype(">u2" if depth == 16 else "u1").view(np.uint8)
    data = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows), 9)
    header = struct.pack(">IIBBBBB", width, height, depth, color_type, 0, 0, 0)
    chunks = [(b"IHDR", header), *before, (b"IDAT", data), *after, (b"IEND", b"")]
    content = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    )
    (MEDIA / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n" + content)


if __name__ == "__main__":
    main()
