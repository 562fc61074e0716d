"""The directory of zip files: APPNOTE.TXT 6.3.10 of PKWARE, sections 4.3 to 4.5, zip64 included."""

from __future__ import annotations

import stat
import struct
import zlib

import numpy as np

from preprocess.media.archives.listing import ArchiveError, Listing, Packing, member_path
from preprocess.media.archives.parts import PartsReader

_END, _END_64, _LOCATOR_64, _ENTRY, _LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
_END_BYTES, _ENTRY_BYTES, _LOCAL_BYTES, _LONGEST_COMMENT = 22, 46, 30, 0xFFFF
_READ_BYTES = 1 << 20
_IS_ENCRYPTED, _IS_UTF_8 = 1, 1 << 11
_METHODS = {0: Packing.STORED, 8: Packing.DEFLATED}
_UNIX = 3


def looks_like_zip(start: bytes) -> bool:
    return start[:4] in (_LOCAL, _END)


def list_zip(archive: str, reader: PartsReader) -> Listing:
    """Raises ArchiveError. Members whose own fields are wrong are for whoever opens them to find."""
    listing = Listing(archive)
    num_entries, offset, num_bytes = _directory(archive, reader)
    if num_entries * _ENTRY_BYTES > num_bytes:
        raise _damaged(archive, f"its directory says {num_entries:,} members and has {num_bytes:,} bytes")
    directory, buffer, position, places = offset, b"", 0, []
    for number in range(num_entries):
        if len(buffer) - position < _ENTRY_BYTES + 3 * 0xFFFF and num_bytes:
            more = min(_READ_BYTES, num_bytes)
            buffer, position = buffer[position:] + reader.read_at(offset, more), 0
            offset, num_bytes = offset + more, num_bytes - more
        entry = buffer[position : position + _ENTRY_BYTES]
        if entry[:4] != _ENTRY or len(entry) < _ENTRY_BYTES:
            raise _damaged(archive, f"member {number:,} of {num_entries:,} is missing in its directory")
        (made_by, _, flags, method, _, checksum, stored, size, name_bytes, extra_bytes, comment_bytes, disk, _, mode,
         start) = struct.unpack("<4xHHHHIIIIHHHHHII", entry)  # fmt: skip
        name_end = position + _ENTRY_BYTES + name_bytes
        name, extra = buffer[position + _ENTRY_BYTES : name_end], buffer[name_end : name_end + extra_bytes]
        position = name_end + extra_bytes + comment_bytes
        if position > len(buffer):
            raise _damaged(archive, f"member {number:,} of {num_entries:,} is cut short in its directory")
        size, stored, start = _zip64(archive, extra, size, stored, start)
        if disk not in (0, 0xFFFF):
            raise _spanned(archive)
        if start + _LOCAL_BYTES + name_bytes + stored > directory:
            raise _damaged(archive, f"member {number:,} would end behind the archive's members")
        places.append((start, start + _LOCAL_BYTES + name_bytes + stored))
        if name.endswith((b"/", b"\\")):
            continue
        unix_mode = mode >> 16 if made_by >> 8 == _UNIX else 0
        if stat.S_ISLNK(unix_mode):
            packing = Packing.LINK
        elif stat.S_IFMT(unix_mode) not in (0, stat.S_IFREG):
            packing = Packing.SPECIAL
        elif flags & _IS_ENCRYPTED:
            packing = Packing.ENCRYPTED
        else:
            packing = _METHODS.get(method, Packing.UNKNOWN)
        listing.add(_text(name, flags), start, size, packing, stored, checksum)
    _refuse_overlaps(archive, places)
    return listing


def _directory(archive: str, reader: PartsReader) -> tuple[int, int, int]:
    """Number of entries, first byte, number of bytes."""
    first = max(reader.num_bytes - _END_BYTES - _LONGEST_COMMENT, 0)
    tail = reader.read_at(first, _END_BYTES + _LONGEST_COMMENT)
    position = tail.rfind(_END)
    while position >= 0:
        fields = tail[position : position + _END_BYTES]
        if len(fields) == _END_BYTES and position + _END_BYTES + int.from_bytes(fields[20:], "little") == len(tail):
            break
        position = tail.rfind(_END, 0, position)
    if position < 0:
        raise ArchiveError(archive, "is no whole zip file: the directory at its end is missing")
    disk, first_disk, here, entries, num_bytes, offset = struct.unpack("<4xHHHHII2x", fields)
    end = first + position
    locator = reader.read_at(end - 20, 20) if end >= 20 else b""
    if locator[:4] == _LOCATOR_64:
        end = int.from_bytes(locator[8:16], "little")
        record = reader.read_at(end, 56) if end < reader.num_bytes else b""
        if record[:4] != _END_64 or len(record) < 56:
            raise _damaged(archive, "its zip64 directory is not where it says")
        disk, first_disk, here, entries, num_bytes, offset = struct.unpack("<IIQQQQ", record[16:])
    if disk or first_disk or here != entries:
        raise _spanned(archive)
    if offset + num_bytes != end:
        raise _damaged(archive, f"its directory ends at byte {offset + num_bytes:,} where {end:,} is due")
    return entries, offset, num_bytes


def _zip64(archive: str, extra: bytes, *fields: int) -> tuple[int, ...]:
    """Size, stored size, offset: in the extra field of type 1 where the entry holds only ones, in this order."""
    wanted = [number for number, field in enumerate(fields) if field == 0xFFFFFFFF]
    found = list(fields)
    while wanted:
        kind, num_bytes = struct.unpack("<HH", extra[:4]) if len(extra) >= 4 else (0, 0)
        if len(extra) < 4 or len(extra) < 4 + num_bytes:
            raise _damaged(archive, "a member's zip64 sizes are missing")
        if kind == 1:
            if num_bytes < 8 * len(wanted):
                raise _damaged(archive, "a member's zip64 sizes are missing")
            for place, number in enumerate(wanted):
                found[number] = int.from_bytes(extra[4 + 8 * place : 12 + 8 * place], "little")
            break
        extra = extra[4 + num_bytes :]
    if max(found) >= 1 << 62:
        raise _damaged(archive, "a member's sizes are beyond any file's")
    return tuple(found)


def _refuse_overlaps(archive: str, places: list[tuple[int, int]]) -> None:
    """Members that share bytes are made to become more than they are."""
    if len(places) < 2:
        return
    spans = np.array(sorted(places), np.int64)
    if np.any(spans[1:, 0] < spans[:-1, 1]):
        raise _damaged(archive, "members share the same bytes")


def _text(name: bytes, flags: int) -> bytes:
    """In UTF-8. Names that are not, and don't claim to be, are in the character set of DOS."""
    if not flags & _IS_UTF_8:
        try:
            name.decode("utf-8")
        except UnicodeDecodeError:
            name = name.decode("cp437").encode()
    return name.replace(b"\\", b"/") if b"/" not in name else name


def content_at(reader: PartsReader, offset: int, name_in_listing: bytes) -> tuple[int, str | None]:
    """Where the bytes of a member begin, by the header before them; and what is wrong with that, if anything is."""
    header = reader.read_at(offset, _LOCAL_BYTES + len(name_in_listing))
    if len(header) < _LOCAL_BYTES or header[:4] != _LOCAL:
        return 0, "no header of a member stands where the directory says"
    flags, name_bytes, extra_bytes = struct.unpack("<6xH18xHH", header[:_LOCAL_BYTES])
    name = header[_LOCAL_BYTES : _LOCAL_BYTES + name_bytes]
    if name_bytes > len(name):
        name = reader.read_at(offset + _LOCAL_BYTES, name_bytes)
    if member_path(_text(name, flags)) != name_in_listing:
        return 0, f"the header before it calls it {name[:100]!r}"
    return offset + _LOCAL_BYTES + name_bytes + extra_bytes, None


def inflate(stored: bytes, size: int) -> bytes | None:
    """The content of a deflated member, whose size is known; None where it is another, or the data is damaged."""
    try:
        decoder = zlib.decompressobj(-zlib.MAX_WBITS)
        content = decoder.decompress(stored, size + 1)
    except zlib.error:
        return None
    return content if len(content) == size and decoder.eof else None


def _damaged(archive: str, flaw: str) -> ArchiveError:
    return ArchiveError(archive, f"is damaged: {flaw}")


def _spanned(archive: str) -> ArchiveError:
    return ArchiveError(
        archive,
        "is one of several disks (x.z01, x.z02, ... x.zip), which can't be read apart",
        "join them with `zip -s 0 x.zip --out whole.zip`",
    )
