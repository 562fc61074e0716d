"""The headers of tar files: ustar, GNU's long names, pax. POSIX.1-2017, pax, "ustar Interchange Format"."""

from __future__ import annotations

from collections.abc import Callable

from preprocess.media.archives.listing import ArchiveError, Listing, Packing

BLOCK = 512
_MOST_HEADER_BYTES = 1 << 20  # of what stands before a header about it
_REGULAR = (b"0", b"\0", b"7")
_HARD_LINK, _SYMBOLIC_LINK, _FOLDER = b"1", b"2", b"5"
_GNU_NAME, _GNU_TARGET, _PAX, _PAX_FOR_ALL = b"L", b"K", b"x", b"g"

ReadAt = Callable[[int, int], bytes]
"""(offset, number of bytes) -> bytes, fewer where they end; offsets only grow."""


def looks_like_tar(start: bytes) -> bool:
    """By the first block."""
    return len(start) == BLOCK and (start == bytes(BLOCK) or _has_checksum(start))


def list_tar(archive: str, read_at: ReadAt) -> Listing:
    """Raises ArchiveError."""
    listing = Listing(archive)
    offset = begun = end = 0  # of the next header; of the last member
    named: dict[bytes, bytes] = {}  # what was said about the next member
    while True:
        header = read_at(offset, BLOCK)
        if not header or header == bytes(BLOCK):
            if not header and (named or (end and not read_at(end - 1, 1))):
                raise _cut(archive, offset if named else begun)
            listing.resolve_links()
            return listing
        if len(header) < BLOCK:
            raise _cut(archive, offset)
        if not _has_checksum(header):
            raise ArchiveError(archive, f"is damaged at byte {offset:,}: no header of a member stands there")
        kind, size = header[156:157], _number(archive, header[124:136])
        data = offset + BLOCK
        if kind in (_GNU_NAME, _GNU_TARGET, _PAX, _PAX_FOR_ALL):
            if size > _MOST_HEADER_BYTES:
                raise ArchiveError(archive, f"has {size:,} bytes of names before the member at byte {offset:,}")
            content = read_at(data, size)
            if len(content) < size:
                raise _cut(archive, data)
            if kind == _PAX:
                named.update(_pax_records(archive, content))
            elif kind == _GNU_NAME:
                named[b"path"] = content.rstrip(b"\0")
            elif kind == _GNU_TARGET:
                named[b"linkpath"] = content.rstrip(b"\0")
            offset = data + _padded(size)
            continue
        if b"size" in named:
            size = _decimal(archive, named[b"size"])
        name = named.get(b"path") or _ustar_name(header)
        if kind in (_HARD_LINK, _SYMBOLIC_LINK, _FOLDER, b"3", b"4", b"6"):
            size = 0 if b"size" not in named else size
        if kind == _FOLDER or (kind == b"\0" and name.endswith(b"/")):
            pass
        elif any(key.startswith(b"GNU.sparse") for key in named) or kind not in (*_REGULAR, _HARD_LINK, _SYMBOLIC_LINK):
            listing.add(name, 0, 0, Packing.SPECIAL)
        elif kind == _HARD_LINK and not size:
            listing.add_link(name, named.get(b"linkpath") or _text(header[157:257]))
        elif kind in (_HARD_LINK, _SYMBOLIC_LINK):
            listing.add(name, 0, 0, Packing.LINK)
        else:
            listing.add(name, data, size, Packing.PLAIN)
        named, begun, end = {}, data, data + size
        offset = data + _padded(size)


def _padded(size: int) -> int:
    return -(-size // BLOCK) * BLOCK


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]


def _ustar_name(header: bytes) -> bytes:
    name, prefix = _text(header[:100]), _text(header[345:500])
    is_posix = header[257:263] == b"ustar\0"  # GNU's own has other fields there
    return prefix + b"/" + name if is_posix and prefix else name


def _has_checksum(header: bytes) -> bool:
    """Of all bytes, those of the sum itself as blanks; some wrote it over signed bytes."""
    try:
        said = int(_text(header[148:156]).strip() or b"x", 8)
    except ValueError:
        return False
    unsigned = sum(header) - sum(header[148:156]) + 8 * 32
    if said == unsigned:
        return True
    return said == unsigned - 256 * sum(byte > 127 for byte in header[:148] + header[156:])


def _number(archive: str, field: bytes) -> int:
    """Octal digits, or where the first bit is set an integer of 11 bytes (GNU)."""
    if field[0] == 0x80:
        number = int.from_bytes(field[1:], "big")
    else:
        try:
            number = int(_text(field).strip() or b"0", 8)
        except ValueError:
            number = -1
    if not 0 <= number < 1 << 62:
        raise ArchiveError(archive, f"is damaged: a member's size is {field!r}")
    return number


def _decimal(archive: str, text: bytes) -> int:
    if not text.isdigit() or len(text) > 18:
        raise ArchiveError(archive, f"is damaged: a member's size is {text[:40]!r}")
    return int(text)


def _pax_records(archive: str, content: bytes) -> dict[bytes, bytes]:
    """Lines of `LENGTH KEY=VALUE`, where the length is that of the whole line."""
    records: dict[bytes, bytes] = {}
    while content:
        length, _, rest = content.partition(b" ")
        num_bytes = int(length) if length.isdigit() and len(length) < 8 else 0
        key, separator, value = content[len(length) + 1 : num_bytes].partition(b"=")
        if not rest or not separator or not value.endswith(b"\n"):
            raise ArchiveError(archive, f"is damaged: {content[:40]!r} describes no member")
        records[key] = value[:-1]
        content = content[num_bytes:]
    return records


def _cut(archive: str, offset: int) -> ArchiveError:
    return ArchiveError(archive, f"ends in the middle of a member, which begins at byte {offset:,}: it was cut short")
