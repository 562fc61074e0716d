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
    number: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    before = signal.getsignal(number)
    with StopRequest() as stop:
        assert not stop.is_requested
        os.kill(os.getpid(), number)
        assert stop.is_requested
        assert stop.signal_name == number.name
    assert signal.getsignal(number) is before
    assert f"train: {number.name}: stopping after this step" in capfd.readouterr().err


def test_signals_that_were_taken_away_can_be_taken_back() -> None:
    noted: list[int] = []
    with StopRequest() as stop:
        signal.signal(signal.SIGINT, lambda number, _: noted.append(number))
        stop.listen_again()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop.signal_name == "SIGINT"
        stop.listen_again()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_DFL, "the second one still ends the process"
    assert noted == []
    before = signal.getsignal(signal.SIGINT)
    StopRequest().listen_again()
    assert signal.getsignal(signal.SIGINT) is before


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
