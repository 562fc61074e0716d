"""Indexes of the annotations, shared by the jobs of an array: the first that needs one makes it, the others wait.

They stand beside the output folder, because which run it is to hold follows from the hashes in them. They outlive the
run, and are of use to the next one that has the same output folder; whoever wants may remove them.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Mapping
from pathlib import Path

from preprocess.errors import AnnotationError, ConfigError
from preprocess.jobs.share import Claims, Share
from preprocess.read.annotations import make_index
from preprocess.read.formats.detect import AnnotationFormat
from preprocess.read.index import AnnotationIndex, FileVersion, read_index

SUFFIX = ".annotations"  # of the folder's name, which begins as that of the output folder
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 5.0  # seconds between looks at what another job makes


def shared_indexes(
    output_dir: Path, formats: Mapping[Path, AnnotationFormat], share: Share
) -> Mapping[Path, AnnotationIndex]:
    """Of each annotation file, by its path. Raises AnnotationError, ConfigError."""
    whole = output_dir.resolve()
    folder = whole.with_name(f"{whole.name}{SUFFIX}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(
            f"{folder}: {error.strerror}; the jobs of an array keep an index of the annotations there, beside "
            "output_dir: name an output_dir in a folder that can be written"
        ) from None
    missing, found = list(formats), {}
    pause = _FIRST_PAUSE
    with Claims(folder, share) as claims:
        while True:
            for path in missing:
                index = _shared_index(path, formats[path], folder, claims)
                if index is not None:
                    found[path], pause = index, _FIRST_PAUSE
            missing = [path for path in missing if path not in found]
            if not missing:
                return found
            time.sleep(pause)  # others make what is left
            pause = min(2 * pause, _LONGEST_PAUSE)


def _shared_index(path: Path, format: AnnotationFormat, folder: Path, claims: Claims) -> AnnotationIndex | None:
    """Read, or made; None while another job makes it."""
    what = os.fsencode(path) + (b"" if format == "auto" else f"\0{format}".encode())
    name = hashlib.sha256(what).hexdigest()[:16]
    place = folder / f"{name}.arrow"
    if (found := read_index(place, path, _version(path))) is not None:
        return found
    if not claims.take(name):
        return None
    try:
        found = read_index(place, path, _version(path))  # made at this moment
        if found is None:
            found = make_index(path, format)
            found.write(place)
        return found
    finally:
        claims.release(name)


def _version(path: Path) -> FileVersion:
    try:
        return FileVersion.of(os.stat(path))
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror}; check annotation_path in the registry") from None
