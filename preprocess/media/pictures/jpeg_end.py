"""JPEG files that lack only their end marker, as broken transfers leave them: the same with it.

Whether the pixels themselves are whole, libjpeg says afterwards, by a warning; but not where whole scans are missing,
without which a picture is coarse or lacks its colours. So all coefficients of all components must have been sent in
full precision (ITU-T T.81, annexes B.2 and G.1).
"""

from __future__ import annotations

import io
import os
import struct
from typing import IO

_START, _END = b"\xff\xd8\xff", b"\xff\xd9"
_FRAMES = (0xC0, 0xC1, 0xC2)
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, 0xD9
_IN_SCAN = (0x00, *range(0xD0, 0xD8))  # a stuffed byte, restart markers
_ALONE = (0x01, *range(0xD0, 0xD9))  # markers without a segment
_COEFFICIENTS = 64
_MANY_BITS = 99


def with_end(file: IO[bytes]) -> IO[bytes]:
    """`file` itself, at its start, unless it is such a JPEG. May raise OSError."""
    file.seek(0)
    start = file.read(len(_START))
    if start == _START and file.seek(0, os.SEEK_END) > len(_START):
        file.seek(-len(_END), os.SEEK_END)
        if file.read(len(_END)) != _END:
            file.seek(0)
            content = file.read()
            if lacks_only_its_end(content):
                return io.BytesIO(content + _END)
    file.seek(0)
    return file


def lacks_only_its_end(content: bytes) -> bool:
    """Whether all scans of a JPEG file are there, and no end marker."""
    bits_left: dict[int, list[int]] = {}  # by component: of each coefficient, the low bits that were not sent
    position = 2
    try:
        while True:
            marker = content[position + 1]
            if content[position] != 0xFF or marker == _END_OF_IMAGE:
                return False
            if marker == 0xFF:  # filled up
                position += 1
                continue
            if marker in _ALONE:
                position += 2
                continue
            (length,) = struct.unpack_from(">H", content, position + 2)
            segment = content[position + 4 : position + 2 + length]
            position += 2 + length
            if marker in _FRAMES:
                bits_left = {segment[6 + 3 * number]: [_MANY_BITS] * _COEFFICIENTS for number in range(segment[5])}
            elif marker == _START_OF_SCAN:
                _note_scan(bits_left, segment)
                end = _end_of_scan(content, position)
                if end is None:
                    return bool(bits_left) and not any(map(any, bits_left.values()))
                position = end
    except (IndexError, KeyError, struct.error):
        return False


def _note_scan(bits_left: dict[int, list[int]], segment: bytes) -> None:
    number = segment[0]
    first, last, low_bits = segment[1 + 2 * number], segment[2 + 2 * number], segment[3 + 2 * number] & 0xF
    for component in segment[1 : 1 + 2 * number : 2]:
        bits_left[component][first : last + 1] = [low_bits] * (last + 1 - first)


def _end_of_scan(content: bytes, position: int) -> int | None:
    """Where the next marker stands; None where the file ends first."""
    while (position := content.find(b"\xff", position)) >= 0:
        if position + 1 == len(content):
            return None
        if content[position + 1] not in _IN_SCAN:
            return position
        position += 2
    return None
