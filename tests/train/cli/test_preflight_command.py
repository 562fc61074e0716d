"""`python -m train preflight`: the table from config.json and manifest.json alone, without MindSpore."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from demo_build import Demo

from tests.train.tiny_run import write_tiny_inputs
from train.__main__ import main

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preflight")
    write_tiny_inputs(folder, num_packs=8)
    return folder


def test_the_table_names_the_stage_that_fits(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["preflight", str(root / "shards"), "--model", str(root / "model"), "--world", "4"]
    assert main([*flags, "--device_memory", "64", "--per_device_train_batch_size", "2"]) == 0
    out = capsys.readouterr().out
    assert "on 4 ranks" in out
    assert "8 packs of 64 tokens; 8 packs and" in out
    assert "1 step an epoch" in out
    assert "of 1024 that the attention kernel of Ascend takes" in out
    assert f"MB; {Path.cwd()} has" in out  # GB of a checkpoint would be 0.0
    assert "MB of a device" in out
    assert [line.split()[1] for line in out.splitlines() if line.startswith("  zero_stage")] == ["0", "1", "2", "3"]
    assert out.splitlines()[-1] == "zero_stage 0 is the lowest that fits into 90% of 64 GB"
    assert main([*flags, "--device_memory", "0.0001"]) == 0
    assert "no zero_stage fits" in capsys.readouterr().out


def test_shards_of_another_model_are_refused(root: Path, demo: Demo, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["preflight", str(root / "shards"), "--model", str(demo.model)]) == 2
    assert capsys.readouterr().err.startswith("train: error: ")


def test_it_loads_no_mindspore(root: Path) -> None:
    program = (
        "import sys; from train.__main__ import main; "
        f"code = main(['preflight', {str(root / 'shards')!r}, '--model', {str(root / 'model')!r}]); "
        "sys.exit(code or 'mindspore' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=False).returncode == 0
