"""The indexes of a run's archives, made before anything asks for them, each by one job of an array."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

from preprocess.jobs.share import Claims, Share
from preprocess.media.archives.index import ARCHIVES_DIR, ArchiveIndex, index_path, read_index, write_index
from preprocess.media.archives.listing import ArchiveError
from preprocess.media.archives.parts import PartFile, PartsReader, files_now
from preprocess.media.archives.tar import BLOCK, list_tar, looks_like_tar
from preprocess.media.archives.unpack import cost_line, looks_compressed, unpack
from preprocess.media.archives.zip import list_zip, looks_like_zip
from preprocess.media.cache import MediaCache

_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds between looks at what another job makes


def prepare_archives(
    archives: Iterable[str], cache: MediaCache, share: Share, tell: Callable[[str], None] = lambda _: None
) -> None:
    """An index of each archive, of its present version, in the cache. Raises ConfigError, ArchiveError."""
    missing = [archive for archive in dict.fromkeys(archives) if _made(archive, cache, files_now(archive)) is None]
    if not missing:
        return
    folder = cache.folder / ARCHIVES_DIR
    folder.mkdir(parents=True, exist_ok=True)
    with Claims(folder, share) as claims:
        for archive in missing:
            _make_once(archive, cache, claims, tell)


def _make_once(archive: str, cache: MediaCache, claims: Claims, tell: Callable[[str], None]) -> None:
    name, pause = index_path(cache.folder, archive).stem, _FIRST_PAUSE
    while True:
        files = files_now(archive)
        if _made(archive, cache, files) is not None:
            return
        if claims.take(name):
            try:
                if _made(archive, cache, files) is None:  # made at this moment
                    make_index(archive, files, cache, tell)
                return
            finally:
                claims.release(name)
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)


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
