"""Videos that lie there as single pictures: the kind of source that is made of others.

`MediaSource.path` is a JSON list of the sources of its frames, in their order; the other fields are not used. Its size
is the sum of theirs, its version a hash of all their stamps. Its bytes, which only hashing asks for, are those of all
frames one after another.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import IO, TYPE_CHECKING

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.paths import resolve_path
from preprocess.media.places import DataPath, places_of
from preprocess.media.values.spellings import spellings_of
from preprocess.sample import MediaSource, MediaStamp
from shards.files.records import Record

if TYPE_CHECKING:
    from preprocess.media.store import Kind

MOST_FRAMES = 1 << 16  # of one list: half an hour of all frames
# Of files that are taken for frames by their names.
PICTURE_SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".ppm", ".pgm", ".jp2", ".qoi", ".tga"),
    *(".avif", ".heic", ".heif"),
)
_START = "["  # no path and no address begins so


def is_list(source: MediaSource) -> bool:
    return source.path.startswith(_START)


def list_of(frames: Sequence[MediaSource]) -> MediaSource:
    return MediaSource(path=json.dumps([frame.to_json() for frame in frames], separators=(",", ":")))


@lru_cache(maxsize=4)  # asked several times for one sample
def frames_of(source: MediaSource) -> tuple[MediaSource, ...]:
    """Of a list, its frames."""
    return tuple(MediaSource.from_record(Record(frame)) for frame in json.loads(source.path))


def names_in_folder(written: str, data_path: DataPath, *, follow_links: bool) -> list[str] | None:
    """Frames in the folder that a text in an annotation names, in the order of their names, numbers as numbers.

    As an annotation would name them. None where it names no folder. Raises SampleError (missing_file, unsupported,
    unsupported_location).
    """
    for spelled in spellings_of(written):
        for place in places_of(data_path):
            names = _names_in(spelled, place, follow_links) if isinstance(place, Path | None) else None
            if names == []:
                raise SampleError(Reason.MISSING_FILE, f"{written!r} is a folder without pictures; name a video")
            if names is not None:
                return [os.path.join(spelled, name) for name in sorted(names, key=_in_order)]
    return None


def _names_in(written: str, place: Path | None, follow_links: bool) -> list[str] | None:
    """None for what is no folder, and where that is for others to say."""
    try:
        with os.scandir(resolve_path(written, place, follow_links=follow_links)) as entries:
            names = [entry.name for entry in islice(entries, MOST_FRAMES + 1)]
    except (SampleError, OSError, ValueError):
        return None
    if len(names) > MOST_FRAMES:
        raise SampleError(Reason.UNSUPPORTED, f"{written!r} is a folder of more than {MOST_FRAMES:,} files")
    return [name for name in names if is_picture(name) and not name.startswith(".")]


def is_picture(name: str) -> bool:
    return name.lower().endswith(PICTURE_SUFFIXES)


def _in_order(name: str) -> tuple[list[tuple[int, str]], str]:
    """frame_2.jpg comes before frame_10.jpg."""
    pieces = re.split("([0-9]+)", name)
    return [(int(piece), "") if number % 2 else (0, piece) for number, piece in enumerate(pieces)], name


class FrameLists:
    """What `store.Kind` says, by the kinds of the frames."""

    def __init__(self, kind_of: Callable[[MediaSource], Kind]) -> None:
        self._kind_of = kind_of

    def owns(self, source: MediaSource) -> bool:
        return is_list(source)

    def locate(self, written: str, place: object, *, follow_links: bool) -> None:
        """No text names a list."""

    def describe(self, source: MediaSource) -> str:
        first, *others = frames_of(source)
        name = self._kind_of(first).describe(first)
        return f"{name} and {len(others)} more frames" if others else f"{name} alone"

    def open_medium(self, source: MediaSource) -> IO[bytes]:
        content = io.BytesIO()
        for frame in frames_of(source):
            with self._kind_of(frame).open_medium(frame) as file:
                content.write(file.read())
        content.seek(0)
        return content

    def open_stamped(self, source: MediaSource) -> tuple[IO[bytes], MediaStamp]:
        stamp = self.stamp_of(source)
        return self.open_medium(source), stamp

    def local_path(self, source: MediaSource) -> None:
        """Of no single file."""

    def stamp_of(self, source: MediaSource) -> MediaStamp:
        return joined([self._kind_of(frame).stamp_of(frame) for frame in frames_of(source)])

    def stamped(self, source: MediaSource) -> str:
        return self.describe(source)

    def describe_version(self, version: int) -> str:
        return f"state {version:x}"

    def read_error(self, source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
        first = frames_of(source)[0]
        return self._kind_of(first).read_error(first, error)


def joined(stamps: Sequence[MediaStamp]) -> MediaStamp:
    """That of a list whose frames have these."""
    states = json.dumps([(stamp.num_bytes, stamp.version) for stamp in stamps]).encode()
    version = int.from_bytes(hashlib.blake2b(states, digest_size=8).digest(), "big", signed=True)
    return MediaStamp(num_bytes=sum(stamp.num_bytes for stamp in stamps), version=version)
