"""Tests of MindNLP run it in processes of their own: importing it changes MindSpore's Tensor for all that follows."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]

needs_mindnlp = pytest.mark.skipif(
    find_spec("mindnlp") is None, reason="MindNLP is not installed; bash scripts/test.sh --mindnlp"
)


def python(*words: object, code: int = 0) -> str:
    """What `python -m WORDS`, which must end with `code`, prints and says."""
    done = subprocess.run(
        [sys.executable, "-m", *map(str, words)], cwd=ROOT, capture_output=True, text=True, timeout=600, check=False
    )
    said = f"{done.stdout}{done.stderr}"
    assert done.returncode == code, said
    return said
