"""The decoding rules, written a second time and by other means than the project's.

PNG files are decoded here by hand. For the other formats Pillow unpacks the stored pixels, in the mode they are stored
in, and everything after that (orientation, palettes, CMYK, transparency, depth) is arithmetic on arrays.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

ORIENTATION = 0x0112
CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # of a PNG colour type
PALETTE = 3


def decode(path: Path) -> np.ndarray:
    """(H, W, 3) uint8, upright, on white."""
    stored, orientation = decode_png(path) if path.suffix == ".png" else unpack(path)
    return turn_upright(stored, orientation)


def turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """What each EXIF orientation says of the stored rows and columns."""
    transposed = image.transpose(1, 0, 2)
    turned = {
        2: image[:, ::-1],
        3: image[::-1, ::-1],
        4: image[::-1],
        5: transposed,
        6: transposed[:, ::-1],
        7: transposed[::-1, ::-1],
        8: transposed[::-1],
    }
    return turned.get(orientation, image)


def on_white(color: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """Composite as Pillow's `paste` does: (white * (255 - alpha) + color * alpha) / 255 in rounded integers."""
    weighted = 255 * (255 - alpha.astype(np.int64)) + color.astype(np.int64) * alpha + 128
    return ((weighted >> 8) + weighted >> 8).astype(np.uint8)


def unpack(path: Path) -> tuple[np.ndarray, int]:
    """RGB as stored (rows and columns not yet turned), and the orientation."""
    with Image.open(path) as image:
        transparent = image.info.get("transparency")
        orientation = image.getexif().get(ORIENTATION, 1)
        stored = np.asarray(image)
        mode = image.mode
        if mode == "P":
            palette = np.array(image.getpalette(), np.uint8).reshape(-1, 3)
            color = palette[stored]
            alpha = np.where(stored == transparent, 0, 255)[..., None]
            return (color if transparent is None else on_white(color, alpha)), orientation
    if path.suffix == ".tif":
        orientation = 1  # Pillow turns TIFF files while it unpacks them
    if mode == "I;16":
        return np.repeat((stored >> 8).astype(np.uint8)[..., None], 3, axis=2), orientation
    if mode == "L":
        return np.repeat(stored[..., None], 3, axis=2), orientation
    if mode == "RGBA":
        return on_white(stored[..., :3], stored[..., 3:]), orientation
    if mode == "CMYK":
        return from_cmyk(stored), orientation
    if mode != "RGB":
        raise SystemExit(f"error: {path} has mode {mode}, for which no rule is written here")
    return stored, orientation


def from_cmyk(inks: np.ndarray) -> np.ndarray:
    """Light that is left after black, less what each ink takes of it, in rounded integers."""
    light = 255 - inks[..., 3:].astype(np.int64)
    taken = inks[..., :3] * light + 128
    return (light - ((taken >> 8) + taken >> 8)).clip(0, 255).astype(np.uint8)


# --- PNG by hand: not interlaced, which is all that is needed ------------------------------------------------------


def decode_png(path: Path) -> tuple[np.ndarray, int]:
    chunks = list(png_chunks(path.read_bytes()))
    named = dict(chunks)
    width, height, depth, color_type, _, _, interlaced = struct.unpack(">IIBBBBB", named[b"IHDR"])
    if interlaced:
        raise SystemExit(f"error: {path} is interlaced")
    data = zlib.decompress(b"".join(body for kind, body in chunks if kind == b"IDAT"))
    values = samples(unfilter(data, height, width, depth, color_type), width, depth, color_type)
    orientation = exif_orientation(named[b"eXIf"]) if b"eXIf" in named else 1
    return png_rgb(values, depth, color_type, named), orientation


def png_chunks(content: bytes) -> Iterator[tuple[bytes, bytes]]:
    position = 8
    while position < len(content):
        (size,) = struct.unpack_from(">I", content, position)
        yield content[position + 4 : position + 8], content[position + 8 : position + 8 + size]
        position += size + 12


def unfilter(data: bytes, height: int, width: int, depth: int, color_type: int) -> np.ndarray:
    """(height, bytes in a row)"""
    num_bits = CHANNELS[color_type] * depth
    row_bytes, step = -(-width * num_bits // 8), max(1, num_bits // 8)
    rows = np.zeros((height, row_bytes), np.uint8)
    above = bytearray(row_bytes)
    for y in range(height):
        start = y * (row_bytes + 1)
        row = bytearray(data[start + 1 : start + 1 + row_bytes])
        for i in range(row_bytes):
            left, corner = (row[i - step], above[i - step]) if i >= step else (0, 0)
            row[i] = row[i] + predicted(data[start], left, above[i], corner) & 255
        rows[y] = row
        above = row
    return rows


def predicted(kind: int, left: int, above: int, corner: int) -> int:
    if kind == 4:
        estimate = left + above - corner
        return min((left, above, corner), key=lambda value: abs(estimate - value))
    return (0, left, above, (left + above) // 2)[kind]


def samples(rows: np.ndarray, width: int, depth: int, color_type: int) -> np.ndarray:
    """(height, width, channels), of values of `depth` bits."""
    if depth == 16:
        values = rows.view(">u2").astype(np.int64)
    elif depth == 8:
        values = rows.astype(np.int64)
    else:
        bits = np.unpackbits(rows, axis=1).reshape(len(rows), -1, depth)
        values = (bits.astype(np.int64) << np.arange(depth - 1, -1, -1)).sum(axis=2)
    return values[:, : width * CHANNELS[color_type]].reshape(len(rows), width, -1)


def png_rgb(values: np.ndarray, depth: int, color_type: int, named: dict[bytes, bytes]) -> np.ndarray:
    """16 bits become the high byte; fewer than 8 are spread over 0 to 255."""
    keyed = named.get(b"tRNS")
    if color_type == PALETTE:
        color = np.frombuffer(named[b"PLTE"], np.uint8).reshape(-1, 3)[values[..., 0]]
        opacity = np.full(256, 255)
        opacity[: len(keyed or b"")] = list(keyed or b"")
        return on_white(color, opacity[values])
    bytewise = values >> 8 if depth == 16 else values * (255 // ((1 << depth) - 1))
    num_colors = 3 if color_type & 2 else 1
    color = np.broadcast_to(bytewise[..., :num_colors], (*values.shape[:2], 3)).astype(np.uint8)
    if color_type & 4:
        return on_white(color, bytewise[..., -1:])
    if keyed:
        hidden = (values == np.frombuffer(keyed, ">u2")).all(axis=2, keepdims=True)
        return on_white(color, np.where(hidden, 0, 255))
    return color


def exif_orientation(block: bytes) -> int:
    """Of a TIFF structure: its first directory holds 12-byte entries of tag, type, count and value."""
    order = "<" if block[:2] == b"II" else ">"
    (directory,) = struct.unpack_from(f"{order}I", block, 4)
    (num_entries,) = struct.unpack_from(f"{order}H", block, directory)
    for entry in range(num_entries):
        tag, _, _, value = struct.unpack_from(f"{order}HHIH", block, directory + 2 + 12 * entry)
        if tag == ORIENTATION:
            return value
    return 1
