"""Folders that tests of paths and of files share."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def linked(tmp_path: Path) -> Path:
    """real/ holds a.png and b/c.png; media/ holds d.png and links to all of it; alias is a link to media."""
    real, media = tmp_path / "real", tmp_path / "media"
    (real / "b").mkdir(parents=True)
    media.mkdir()
    for path in (real / "a.png", real / "b" / "c.png", media / "d.png"):
        path.write_bytes(b"content")
    (media / "a.png").symlink_to(real / "a.png")
    (media / "b").symlink_to(real / "b")
    (media / "inside.png").symlink_to(media / "d.png")
    (media / "loop.png").symlink_to(media / "loop.png")
    (tmp_path / "alias").symlink_to(media)
    return tmp_path
