"""Whose run an output folder holds: asked again before anything of a run comes to stand there under its final name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from preprocess.errors import FatalError
from shards.files.differences import differences
from shards.inputs import read_inputs


class TakenOver(FatalError):
    """Another run took the folder, or someone removed it."""


@dataclass(frozen=True, kw_only=True)
class Hold:
    """That a run has `folder`: its inputs stand there. Another run that takes the folder changes them first of all."""

    folder: Path  # output_dir
    inputs: Mapping[str, Any]

    def is_kept(self) -> bool:
        try:
            found = read_inputs(self.folder)
        except ValueError:
            return False
        return found is not None and not any(differences(found, self.inputs))

    def check(self) -> None:
        """Raises TakenOver."""
        if not self.is_kept():
            raise TakenOver(
                f"output_dir {self.folder} was taken over by another run, or removed, while this one was at work; "
                "name a folder of its own for each run"
            )

    @contextmanager
    def kept(self) -> Iterator[None]:
        """What goes wrong after the folder was taken over, as a file that is gone, is said to come from that."""
        try:
            yield
        except Exception:
            self.check()
            raise
