import os

import pytest

from train.building import BLOCKING, choose_device
from train.errors import UsageError


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mindspore.get_context", lambda _: "CPU")
    with pytest.raises(UsageError, match="no Ascend libraries"):
        choose_device("Ascend")
    assert choose_device("auto") == "CPU"


def test_on_cpu_the_main_thread_sleeps_while_a_graph_runs_unless_told_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv(BLOCKING, raising=False)
    choose_device("CPU")
    assert os.environ[BLOCKING] == "1"
    monkeypatch.setenv(BLOCKING, "0")
    choose_device("CPU")
    assert os.environ[BLOCKING] == "0"
