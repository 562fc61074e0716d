"""Paths of media as written in annotations, and the rules that they obey."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path

from preprocess.errors import Reason, SampleError
from shards.files.paths import path_flaw


@lru_cache(maxsize=64)
def root_of(data_path: Path | None) -> str:
    """The folder that no path may leave."""
    return _normal(data_path or "/")


def resolve_path(written: str, data_path: Path | None, *, follow_links: bool) -> str:
    """The absolute path of a medium as written in an annotation.

    Relative paths stand below `data_path`; where it is None only absolute ones have a meaning. Raises SampleError
    (path_outside) for what leaves `data_path`, before any file is touched.
    """
    flaw = path_flaw(written)
    if flaw:
        raise SampleError(Reason.MISSING_FILE, f"{written!r} {flaw}")
    if data_path is None and not os.path.isabs(written):
        raise SampleError(
            Reason.PATH_OUTSIDE, f"{written!r} is relative, but the dataset has no data_path; give it one"
        )
    root = root_of(data_path)
    path = _normal(os.path.join(root, written))
    if not path.startswith(f"{root}/") and os.path.commonpath([root, path]) != root:
        raise SampleError(Reason.PATH_OUTSIDE, f"{written!r} leaves data_path {root}; move the file or widen data_path")
    if not follow_links and os.path.realpath(path) != _normal(
        f"{os.path.realpath(root)}/{os.path.relpath(path, root)}"
    ):
        raise SampleError(Reason.PATH_OUTSIDE, f"{written!r} goes through a link, and follow_links is false")
    return path


def _behind(root: str, below: str) -> str:
    return root if below == "." else os.path.join(root, below)


def _normal(path: str | Path) -> str:
    """Without `.`, `..` and empty parts. POSIX leaves open what two slashes at the start mean; on Linux, one."""
    normal = os.path.normpath(path)
    return normal[1:] if normal.startswith("//") else normal
