"""`data_path` of the registry: a folder, an archive, a pattern of archives, a URL, or a list of those."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from preprocess.errors import ConfigError
from preprocess.media.archives.parts import archive_beside, archive_of, archives_like, files_of, is_archive
from preprocess.media.places import Archives, DataPath, Place, RemoteFolder
from preprocess.media.remote_files import check_folder
from shards.files.paths import path_flaw

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_PATTERN = re.compile(r"[*?\[]")


def parse_data_path(where: str, written: Any, absolute: Callable[[str], Path]) -> DataPath:
    """What a registry says, which need not stand on this machine. Raises ConfigError."""
    if written is None or written == "":
        return None
    if isinstance(written, list | tuple) and written and all(isinstance(each, str) and each for each in written):
        return tuple(_parse(where, each, absolute) for each in written)
    if not isinstance(written, str):
        raise ConfigError(f"{where}: data_path must be a string, or a list of strings")
    return _parse(where, written, absolute)


def _parse(where: str, written: str, absolute: Callable[[str], Path]) -> Place:
    if path_flaw(written):
        raise ConfigError(f"{where}: data_path {written!r} {path_flaw(written)}")
    return RemoteFolder(url=written.rstrip("/")) if _URL.match(written) else absolute(written)


def find_places(where: str, data_path: DataPath) -> DataPath:
    """With each place as it is here: a folder, or the archives that its path names. Raises ConfigError."""
    if isinstance(data_path, tuple):
        return tuple(_find(where, place) for place in data_path)
    return None if data_path is None else _find(where, data_path)


def _find(where: str, place: Place) -> Place:
    if isinstance(place, RemoteFolder):
        try:
            check_folder(place)
        except ConfigError as error:
            raise ConfigError(f"{where}: {error}") from None
        return place
    path = str(place)
    if os.path.isdir(path):
        return place
    if is_archive(path) and files_of(archive_of(path)):
        return Archives(pattern=path, archives=(archive_of(path),))
    if is_archive(path) and not _PATTERN.search(path):
        raise ConfigError(f"{where}: data_path {path}: there is no such archive, whole or in parts; fetch it")
    if _PATTERN.search(path):
        found = archives_like(path)
        if not found:
            raise ConfigError(f"{where}: data_path {path} names no file")
        for archive in found:
            files_of(archive)  # says which part is missing
        return Archives(pattern=path, archives=found)
    if os.path.isfile(path):
        raise ConfigError(f"{where}: data_path {path} is a file, and no archive (.tar, .tar.gz, .tgz, .zip, or parts)")
    beside = archive_beside(path)
    hint = f"; beside it lies {beside}: say that" if beside else ""
    raise ConfigError(f"{where}: data_path {path} is not an existing folder{hint}")
