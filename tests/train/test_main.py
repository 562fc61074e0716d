"""`python -m train` as a process: signals. What else it does is in test_loop and test_arguments."""

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.train.tiny_run import write_tiny_inputs

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("main")
    write_tiny_inputs(root, num_packs=4)
    return root


@pytest.fixture
def training(root: Path, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A run that is compiling."""
    flags = ["--shards", root / "shards", "--model", root / "model", "--output_dir", tmp_path / "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "train", *map(str, flags), "--max_steps", "200", "--device", "CPU"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline().startswith("200 steps")
    yield process
    process.kill()
    process.communicate()


def test_a_signal_while_compiling_ends_the_run_before_its_first_step(training: subprocess.Popen[str]) -> None:
    training.send_signal(signal.SIGTERM)
    out, err = training.communicate()
    assert training.returncode == 0
    assert out.splitlines()[-1] == "SIGTERM or Ctrl-C: stopped before step 1; the same command goes on from there"
    assert "stopping after this step" in err


def test_a_second_signal_while_compiling_ends_it_at_once(training: subprocess.Popen[str]) -> None:
    training.send_signal(signal.SIGTERM)
    assert training.stderr is not None
    assert "a second signal stops at once" in training.stderr.readline()
    begin = time.monotonic()
    training.send_signal(signal.SIGTERM)
    out, _ = training.communicate()
    assert training.returncode == -signal.SIGTERM
    assert "compiled" not in out
    assert time.monotonic() - begin < 5


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_between_steps_saves_a_checkpoint_and_ends_with_code_0(
    number: signal.Signals, training: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert training.stdout is not None
    for line in training.stdout:
        if line.startswith("step 3/"):
            break
    training.send_signal(number)
    out, _ = training.communicate()
    assert training.returncode == 0
    *_, saved, stopped = out.splitlines()
    (checkpoint,) = (tmp_path / "out").glob("checkpoint-*")
    step = int(checkpoint.name.removeprefix("checkpoint-"))
    assert 3 <= step < 200
    assert saved.startswith(f"saved checkpoint-{step} in ")
    assert stopped.endswith(f": stopped after step {step}; the same command goes on from there")
