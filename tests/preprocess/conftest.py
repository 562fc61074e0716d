"""What the tests of preprocess share."""

from __future__ import annotations

import contextlib
import io
from pathlib import Path

import pytest
from demo_build import Demo

from preprocess.cli.commands import main
from shards import ModelConstants, read_model_constants
from tests.preprocess.workshop import Outcome, Workshop


@pytest.fixture
def workshop(tmp_path: Path, demo: Demo, capsys: pytest.CaptureFixture[str]) -> Workshop:
    """A folder for one small dataset, with the demo's model."""
    return Workshop(tmp_path, demo.model, capsys)


@pytest.fixture(scope="session")
def demo_run(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Outcome:
    """The whole demo, preprocessed into several shards. Read only."""
    folder = tmp_path_factory.mktemp("demo_run") / "shards"
    out, err = io.StringIO(), io.StringIO()
    flags = [f"--config={demo.config}", f"--output_dir={folder}", "--workers=0", "--shard_bytes=5000000"]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        code = main(["run", *flags])
    assert code == 0, err.getvalue()
    return Outcome(code, out.getvalue(), err.getvalue(), folder)


@pytest.fixture(scope="session")
def constants(demo: Demo) -> ModelConstants:
    """Those of the demo's model folder."""
    return read_model_constants(demo.model)
