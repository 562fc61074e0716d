"""What the tests of looking into datasets share: a small one, with images, videos and several shards."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from demo_build import Demo

from preprocess.cli.commands import main


@pytest.fixture(scope="session")
def small_run(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some of the demo, preprocessed into several shards. Read only."""
    folder = tmp_path_factory.mktemp("small_run") / "out"
    preprocess_demo(demo, folder, "--dataset_use=talk%30,scenes%50,clips%40", "--shard_bytes=300000")
    return folder


def preprocess_demo(demo: Demo, folder: Path, *flags: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(["run", f"--config={demo.config}", f"--output_dir={folder}", "--workers=0", *flags]) == 0
