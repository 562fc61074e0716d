"""Files behind a URL that fsspec knows: s3://, obs:// (by the S3 protocol), hdfs:// and others.

`MediaSource.path` is the URL; the other fields are not used. The version of a file is a hash of what its store says of
its content or its last change. Nothing is kept: planning reads the first bytes of images, writing shards whole files.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import posixpath
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import IO, Any

from preprocess.errors import ConfigError, FatalError, Reason, SampleError
from preprocess.media.archives.parts import is_archive
from preprocess.media.places import Place, RemoteFolder
from preprocess.sample import MediaSource, MediaStamp
from shards.files.paths import path_flaw

_MOST_READ_BYTES = 1 << 26  # of a file that is read at once; of larger ones, what is asked for
_HEAD_BYTES, _BUFFER_BYTES = 1 << 16, 1 << 22
# What file systems call that which changes with the content; the first that is there counts.
_VERSIONS = ("ETag", "etag", "md5", "checksum", "LastModified", "last_modified", "mtime", "created")
_ENDPOINTS = ("OBS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")
_REFUSED = ("http", "https", "file", "local")


def owns(source: MediaSource) -> bool:
    return _URL.match(source.path) is not None


def locate(written: str, place: Place | None, *, follow_links: bool) -> MediaSource | None:
    """None where the place is no URL. Raises SampleError (path_outside, missing_file); asks nobody."""
    if not isinstance(place, RemoteFolder):
        return None
    flaw = path_flaw(written)
    if flaw:
        raise SampleError(Reason.MISSING_FILE, f"{written!r} {flaw}")
    path = posixpath.normpath(written)
    if written.startswith("/") or path == ".." or path.startswith("../"):
        raise SampleError(
            Reason.PATH_OUTSIDE, f"{written!r} leaves data_path {place}; move the file or widen data_path"
        )
    return MediaSource(path=f"{place.url}/{path}")


def check_folder(place: RemoteFolder) -> None:
    """Raises ConfigError where there is none, or no way to it."""
    scheme = place.url.partition("://")[0].lower()
    if scheme in _REFUSED:
        advice = "say the path without file://" if scheme in ("file", "local") else "download it first"
        raise ConfigError(f"data_path {place}: {scheme}:// is not read; {advice}")
    try:
        with _naming_the_machine(place.url):
            if not _file_system(scheme).isdir(place.url):
                advice = "; archives are read on this machine: download it" if is_archive(place.url) else ""
                raise ConfigError(f"data_path {place} is not an existing folder{advice}")
    except FatalError as error:
        raise ConfigError(f"data_path {error}") from None
    except SampleError as error:
        raise ConfigError(f"data_path {place}: {error.detail}") from None


def describe(source: MediaSource) -> str:
    return source.path


def open_medium(source: MediaSource) -> IO[bytes]:
    with _naming_the_machine(source.path):
        files = _file_system_of(source)
        if files.size(source.path) > _MOST_READ_BYTES:
            return io.BufferedReader(_Reading(files.open(source.path, "rb", block_size=_BUFFER_BYTES)))
        return io.BytesIO(files.cat_file(source.path))


def open_stamped(source: MediaSource) -> tuple[IO[bytes], MediaStamp]:
    stamp = stamp_of(source)
    with _naming_the_machine(source.path):
        file = _file_system_of(source).open(source.path, "rb", block_size=_HEAD_BYTES)
    return _Reading(file), stamp  # type: ignore[return-value]


def local_path(_: MediaSource) -> None:
    """It is elsewhere."""


def stamp_of(source: MediaSource) -> MediaStamp:
    with _naming_the_machine(source.path):
        info = _file_system_of(source).info(source.path)
    if info["type"] != "file":
        raise SampleError(Reason.MISSING_FILE, f"{source.path} is not a file", source.path)
    said = next((str(info[name]) for name in _VERSIONS if info.get(name)), "")
    version = int.from_bytes(hashlib.sha256(said.encode()).digest()[:8], "big", signed=True)
    return MediaStamp(num_bytes=info["size"], version=version)


def stamped(source: MediaSource) -> str:
    return source.path


def describe_version(version: int) -> str:
    return f"version {version & 0xFFFFFFFF:08x}"


def read_error(source: MediaSource, error: OSError | ValueError) -> SampleError | FatalError:
    return _error(source.path, error)


class _Reading(io.RawIOBase):
    """A file of fsspec whose failures are those of a disk: decoders take any other error for the file's own fault."""

    def __init__(self, file: Any) -> None:
        self._file = file

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        try:
            return self._file.seek(offset, whence)
        except ValueError as error:
            raise OSError(errno.EINVAL, str(error)) from None

    def tell(self) -> int:
        return self._file.tell()

    def readinto(self, buffer: Any) -> int:
        try:
            content = self._file.read(len(buffer))
        except Exception as error:
            raise OSError(errno.EIO, f"{type(error).__name__}: {error}") from None
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        self._file.close()
        super().close()


@contextmanager
def _naming_the_machine(url: str) -> Iterator[None]:
    """Clients raise what they like; whatever does not say that the file is missing is not the sample's fault."""
    try:
        yield
    except (FatalError, SampleError):
        raise
    except Exception as error:
        raise _error(url, error) from None


def _error(url: str, error: Exception) -> SampleError | FatalError:
    if isinstance(error, FileNotFoundError | IsADirectoryError | NotADirectoryError):
        return SampleError(Reason.MISSING_FILE, f"{url}: no such file", url)
    return FatalError(f"{url}: {type(error).__name__}: {error}; mend that and run the same command again")


def _file_system_of(source: MediaSource) -> Any:
    return _file_system(source.path.partition("://")[0].lower())


@lru_cache(maxsize=8)
def _file_system(scheme: str) -> Any:
    """Of fsspec. Raises ConfigError where it, or what it needs for the scheme, is not installed."""
    try:
        import fsspec
    except ImportError:
        raise ConfigError(_advice(scheme, "fsspec is not installed")) from None
    try:
        if scheme == "obs":
            return fsspec.filesystem("s3", **_obs_options())
        return fsspec.filesystem(scheme)
    except ImportError as error:
        raise ConfigError(_advice(scheme, str(error))) from None
    except ValueError:
        raise ConfigError(f"{scheme}:// is no kind of address that fsspec knows") from None


def _advice(scheme: str, flaw: str) -> str:
    return f"{scheme}:// needs the extra `remote`: pip install 'qwen-vl-shards[remote]' ({flaw})"


def _obs_options() -> dict[str, Any]:
    """Of s3fs, for Huawei's object storage: it speaks S3, at its own address, and wants the bucket in the host."""
    endpoint = next((os.environ[name] for name in _ENDPOINTS if os.environ.get(name)), None)
    if endpoint is None:
        raise ConfigError(
            f"obs:// needs the address of its S3 endpoint: set {_ENDPOINTS[0]}, for example to "
            "https://obs.cn-north-4.myhuaweicloud.com"
        )
    return {"endpoint_url": endpoint, "config_kwargs": {"s3": {"addressing_style": "virtual"}}}
