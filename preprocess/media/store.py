"""The media store: all that is done with a source of media, whatever its kind.

`KINDS` lists the kinds; each is a module that gives what `Kind` says, and it alone knows what the fields of its sources
mean. Everybody else passes sources on and asks here. A new kind is one such module and one line in `KINDS`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO, Any, Literal, Protocol

from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media import confined_files, files, parquet_cells, remote_files
from preprocess.media.archives import members
from preprocess.media.frame_lists import FrameLists
from preprocess.media.paths import resolve_path, root_of
from preprocess.media.places import Archives, DataPath, Place, RemoteFolder, places_of
from preprocess.media.values import inline
from preprocess.media.values.names import find_name
from preprocess.media.values.spellings import spellings_of
from preprocess.sample import MediaSource, MediaStamp
from shards.files.hashing import sha256_of

PathCase = Literal["exact", "ignore"]


class Kind(Protocol):
    """What a module of one kind of source gives."""

    def owns(self, source: MediaSource, /) -> bool:
        """Whether the source is of this kind; the first kind that says so has it."""

    def locate(self, written: str, place: Place | None, /, *, follow_links: bool) -> MediaSource | None:
        """The source that a text in an annotation names in this place; None where text or place are another kind's.

        Raises SampleError (path_outside, missing_file); reads nothing of the medium.
        """

    def describe(self, source: MediaSource, /) -> str:
        """What messages call it."""

    def open_medium(self, source: MediaSource, /) -> IO[bytes]:
        """Its bytes, seekable. Raises SampleError (missing_file) or FatalError (disk, machine)."""

    def open_stamped(self, source: MediaSource, /) -> tuple[IO[bytes], MediaStamp]:
        """Its bytes, unbuffered where they are a file's, and its stamp, of one look. Raises as `stamp_of` and
        `open_medium`, in this order."""

    def local_path(self, source: MediaSource, /) -> str | None:
        """A file on this machine that holds these bytes and nothing else, for decoders that are faster with one."""

    def stamp_of(self, source: MediaSource, /) -> MediaStamp:
        """Size and version, without a hash, from metadata alone. Raises SampleError (missing_file) or FatalError."""

    def stamped(self, source: MediaSource, /) -> str:
        """What messages call that of which the stamp is."""

    def describe_version(self, version: int, /) -> str:
        """What messages call a version."""

    def read_error(self, source: MediaSource, error: OSError | ValueError, /) -> SampleError | FatalError:
        """Tell a source that is wrong (a reject) from a disk or machine that fails (fatal)."""


def _kind_of(source: MediaSource) -> Kind:
    return next(kind for kind in KINDS if kind.owns(source))


# The last one takes what the others leave.
KINDS: tuple[Kind, ...] = (
    FrameLists(_kind_of),
    inline,
    members,
    remote_files,
    parquet_cells,
    confined_files,
    files,
)


def reveal(value: Any) -> Any:
    """A value of a record with what it stands for: a source, or what is written, where it is a reader's placeholder.

    Any other value as it is. Raises FatalError, or SampleError where it can't be a source.
    """
    return value.reveal() if is_placeholder(value) else value


def is_placeholder(value: Any) -> bool:
    """Whether a reader put it in the place of a medium."""
    return isinstance(value, parquet_cells.EmbeddedMedium | inline.InlineMedium)


def locate(written: str, data_path: DataPath, *, follow_links: bool, path_case: PathCase = "exact") -> MediaSource:
    """The medium that a text in an annotation names, by the rules of its kind; for files those of `paths.py`.

    Of several places, the first that has it; of several spellings, the first that is in any. Raises SampleError
    (path_outside, missing_file, ambiguous_path, unsupported_location).
    """
    places, spellings = places_of(data_path), spellings_of(written)
    if len(places) == len(spellings) == 1 and path_case == "exact":
        return _locate_in(spellings[0], places[0], follow_links)
    errors: list[SampleError] = []
    for spelled in spellings:
        for place in places:
            try:
                source = _locate_in(spelled, place, follow_links)
                stamp_of(source)
                return source
            except SampleError as error:
                if error.reason not in (Reason.MISSING_FILE, Reason.PATH_OUTSIDE):
                    raise
                errors.append(error)
    ignore_case = path_case == "ignore"
    if ignore_case or not written.isascii():
        for place in places:
            if (found := _locate_otherwise(spellings[0], place, follow_links, ignore_case)) is not None:
                return found
    if len(places) == 1:
        raise next((error for error in errors if error.reason == Reason.PATH_OUTSIDE), errors[0])
    is_outside = all(error.reason == Reason.PATH_OUTSIDE for error in errors)
    reason = Reason.PATH_OUTSIDE if is_outside else Reason.MISSING_FILE
    raise SampleError(reason, f"{written!r} is in none of {', '.join(map(str, places))}", written)


def _locate_otherwise(spelled: str, place: Place | None, follow_links: bool, ignore_case: bool) -> MediaSource | None:
    """In a folder or an archive, under another name for the same, by `values/names.py`."""
    if isinstance(place, Archives):
        return members.locate_otherwise(spelled.replace("\\", "/"), place, ignore_case=ignore_case)
    if not isinstance(place, Path | None):
        return None
    try:
        path = resolve_path(spelled.replace("\\", "/"), place, follow_links=True)
    except SampleError:
        return None  # said of each spelling
    found = find_name(path, root_of(place), ignore_case=ignore_case, follow_links=follow_links)
    return None if found is None else _locate_in(found, place, follow_links)


def _locate_in(written: str, place: Place | None, follow_links: bool) -> MediaSource:
    if isinstance(place, RemoteFolder):
        written = written.removeprefix(f"{place.url}/")
    sources = (kind.locate(written, place, follow_links=follow_links) for kind in KINDS)
    return next(source for source in sources if source is not None)


def describe(source: MediaSource) -> str:
    """What messages call it."""
    return _kind_of(source).describe(source)


def open_medium(source: MediaSource) -> IO[bytes]:
    """The bytes of a medium, seekable. Raises SampleError (missing_file) or FatalError (disk)."""
    return _kind_of(source).open_medium(source)


def open_stamped(source: MediaSource, *, hash_content: bool = False) -> tuple[IO[bytes], MediaStamp]:
    """What `open_medium` and `stamp_of` give and raise, by one look at the file; it may be unbuffered."""
    file, stamp = _kind_of(source).open_stamped(source)
    if hash_content:
        stamp = replace(stamp, sha256=sha256_of(file))
        file.seek(0)
    return file, stamp


def local_path(source: MediaSource) -> str | None:
    """A file on this machine that holds the bytes of the medium and nothing else, if there is one."""
    return _kind_of(source).local_path(source)


def stamp_of(source: MediaSource, *, hash_content: bool = False) -> MediaStamp:
    """Size and version of the source, and on demand the hash of the medium's bytes.

    Raises SampleError (missing_file) where it is not there, or FatalError.
    """
    stamp = _kind_of(source).stamp_of(source)
    if not hash_content:
        return stamp
    with open_medium(source) as file:
        return replace(stamp, sha256=sha256_of(file))


def check_unchanged(source: MediaSource, measured: MediaStamp, key: str) -> None:
    """Raises FatalError, naming the sample by its `key`, where the medium is not the one that was measured.

    Nothing that was planned for it holds then, and a mount that went away for an hour must not leave rejects for good.
    """
    kind = _kind_of(source)
    try:
        now = stamp_of(source, hash_content=bool(measured.sha256))
        if now == measured or (measured.sha256 and now.sha256 == measured.sha256):
            return
        found = f"{kind.stamped(source)} is {_describe_stamp(kind, now)}"
    except SampleError as error:
        found = error.detail
    raise FatalError(
        f"{key}: {found}; it was {_describe_stamp(kind, measured)} when it was planned. Mend the mount or bring the "
        "file back, and run the same command again; or remove the output folder to measure all media again"
    )


def _describe_stamp(kind: Kind, stamp: MediaStamp) -> str:
    content = f", sha256 {stamp.sha256[:8]}" if stamp.sha256 else ""
    return f"{stamp.num_bytes:,} bytes of {kind.describe_version(stamp.version)}{content}"


def reuse_key(source: MediaSource, stamp: MediaStamp) -> list[Any]:
    """What tells this version of this medium from all others, as JSON: the same in every run."""
    place = [source.path, source.row, source.column, source.item]
    return [place, stamp.num_bytes, stamp.version]


@contextmanager
def naming(source: MediaSource) -> Iterator[None]:
    """What is wrong with a sample inside is wrong with this medium: its name goes before the detail."""
    try:
        yield
    except SampleError as error:
        raise reject_of(source, error.reason, error.detail) from None


def reject_of(source: MediaSource, reason: Reason, detail: str) -> SampleError:
    """A reject that this medium is the cause of: its name goes before the detail."""
    name = describe(source)
    return SampleError(reason, f"{name}: {detail}", name)


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    """Tell a source that is wrong (a reject) from a disk or machine that fails (fatal)."""
    return _kind_of(source).read_error(source, error)
