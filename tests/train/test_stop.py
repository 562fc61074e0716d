import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from train.stop import StopRequest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_is_noted_and_the_handlers_come_back(
    number: signal.Signals, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "mindspore", raising=False)
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.is_requested
        os.kill(os.getpid(), number)
        assert stop.is_requested
        assert stop.signal_name == number.name
    assert signal.getsignal(number) is before
    assert f"train: {number.name}: stopping after this step" in capfd.readouterr().err


def test_with_mindspore_loaded_a_sigterm_may_be_ctrl_c(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mindspore", None)  # type: ignore[arg-type]
    with StopRequest() as stop:
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop.signal_name == "SIGTERM or Ctrl-C"


def test_a_second_signal_ends_the_process_at_once() -> None:
    program = """
import os, signal
from train.stop import StopRequest
with StopRequest():
    os.kill(os.getpid(), signal.SIGTERM)
    print("still here", flush=True)
    os.kill(os.getpid(), signal.SIGINT)
    print("not here", flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGINT
    assert done.stdout == "still here\n"


def test_a_rank_of_a_launcher_outlives_a_second_signal() -> None:
    program = """
import os, signal
from train.stop import StopRequest
with StopRequest(second_ends=False) as stop:
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGINT)
    print(stop.signal_name, flush=True)
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "SIGTERM\n")
    assert done.stderr == "train: SIGTERM: stopping after this step and saving\n"
