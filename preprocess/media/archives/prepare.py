"""The indexes of a run's archives, made before anything asks for them, each by one job of an array."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from preprocess.errors import FatalError
from preprocess.jobs.share import Claims, Share
from preprocess.media.archives.index import ARCHIVES_DIR, ArchiveIndex, index_path, read_index, write_index
from preprocess.media.archives.listing import ArchiveError
from preprocess.media.archives.merged import merged_path, read_merged, version_of, write_merged
from preprocess.media.archives.parts import PartFile, PartsReader, files_now
from preprocess.media.archives.tar import BLOCK, list_tar, looks_like_tar
from preprocess.media.archives.unpack import cost_line, looks_compressed, unpack
from preprocess.media.archives.zip import list_zip, looks_like_zip
from preprocess.media.cache import MediaCache

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds between looks at what another job makes


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What one job does for all."""

    name: str
    is_done: Callable[[], bool]
    do: Callable[[], None]


def prepare_archives(
    groups: Iterable[Sequence[str]], cache: MediaCache, share: Share, tell: Callable[[str], None] = lambda _: None
) -> None:
    """An index of each archive, of its present version, in the cache, and one of those that are searched together.

    Raises ConfigError, ArchiveError.
    """
    together = [tuple(group) for group in groups]
    work = [_indexing(archive, cache, tell) for archive in dict.fromkeys(each for group in together for each in group)]
    merging = [_merging(group, cache) for group in dict.fromkeys(together) if len(group) > 1]
    if all(each.is_done() for each in (*work, *merging)):
        return
    folder = cache.folder / ARCHIVES_DIR
    folder.mkdir(parents=True, exist_ok=True)
    with Claims(folder, share) as claims:
        _do_once(work, claims)
        _do_once(merging, claims)


def _do_once(work: list[_Work], claims: Claims) -> None:
    """All of it, whichever job does it; what others are at is waited for when nothing else is left."""
    pause = _FIRST_PAUSE
    while work:
        left = [each for each in work if not _is_done_now(each, claims)]
        if len(left) == len(work):
            time.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)
        work = left


def _is_done_now(work: _Work, claims: Claims) -> bool:
    if work.is_done():
        return True
    if not claims.take(work.name):
        return False
    try:
        if not work.is_done():  # by another job, at this moment
            work.do()
        return True
    finally:
        claims.release(work.name)


def _indexing(archive: str, cache: MediaCache, tell: Callable[[str], None]) -> _Work:
    return _Work(
        name=index_path(cache.folder, archive).stem,
        is_done=lambda: _made(archive, cache, files_now(archive)) is not None,
        do=lambda: make_index(archive, files_now(archive), cache, tell),
    )


def _merging(archives: Sequence[str], cache: MediaCache) -> _Work:
    path = merged_path(cache.folder, archives)

    def is_done() -> bool:
        indexes, merged = _indexes(archives, cache), read_merged(path)
        return merged is not None and indexes is not None and merged.version == version_of(indexes)

    def do() -> None:
        indexes = _indexes(archives, cache)
        if indexes is None:
            raise FatalError(f"{archives[0]}: an index beside it went away while it was read; run again")
        write_merged(path, indexes)

    return _Work(name=path.stem, is_done=is_done, do=do)


def _indexes(archives: Sequence[str], cache: MediaCache) -> list[ArchiveIndex] | None:
    found = [read_index(index_path(cache.folder, archive)) for archive in archives]
    there = [index for index in found if index is not None]
    return there if len(there) == len(found) else None


def _made(archive: str, cache: MediaCache, files: tuple[PartFile, ...]) -> ArchiveIndex | None:
    index = read_index(index_path(cache.folder, archive))
    if index is None or index.files != files:
        return None
    return index if index.plain_tar is None or index.plain_tar.exists() else None


def make_index(archive: str, files: tuple[PartFile, ...], cache: MediaCache, tell: Callable[[str], None]) -> None:
    """Raises ArchiveError where the archive can't be used, FatalError where it can't be read."""
    path, unpacked = index_path(cache.folder, archive), ""
    with PartsReader(file.path for file in files) as reader:
        start = reader.read_at(0, BLOCK)
        if looks_compressed(start):
            tell(cost_line(archive, len(files), reader.num_bytes, cache))
            unpacked = path.with_suffix(".tar").name
            listing = unpack(archive, reader, path.with_name(unpacked), cache, tell)
        elif looks_like_zip(start):
            listing = list_zip(archive, reader)
        elif looks_like_tar(start):
            listing = list_tar(archive, reader.read_at)
        else:
            raise ArchiveError(archive, "is neither a tar nor a zip file")
    write_index(path, archive, files, listing, unpacked)
    if listing.num_refused:
        tell(f"{archive}: {listing.num_refused:,} members are left out, whose names are no paths below it")
