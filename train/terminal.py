"""Lines for people. A terminal that is gone, closed or full, or can't show a character, stops nothing."""

from __future__ import annotations

import io
import os
import sys
from typing import TextIO

from shards.files.text import visible


def prepare_streams() -> None:
    """To be called once, before anything is said."""
    nowhere = open(os.devnull, "w")  # noqa: SIM115
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere  # whoever started us may have closed them
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # paths may hold what this terminal can't show


def log(line: str) -> None:
    """On stdout."""
    _write(sys.stdout, line, keep="\n\t")


def say(line: str) -> None:
    """On stderr. Escape sequences, which names of files and weights may hold, are written out."""
    _write(sys.stderr, f"train: {line}", keep="\n")


def _write(stream: TextIO, line: str, *, keep: str) -> None:
    try:
        print(visible(line, keep), file=stream, flush=True)
    except OSError:  # `| head` has ended, the terminal was closed, the disk is full: metrics.jsonl has all of it
        _leave(stream)


def _leave(stream: TextIO) -> None:
    """Whatever comes after goes nowhere, and so does what is left in the buffer, which would fail again at the end."""
    try:
        descriptor = os.open(os.devnull, os.O_WRONLY)
        os.dup2(descriptor, stream.fileno())
        os.close(descriptor)
    except (OSError, ValueError):  # no file behind it
        pass
