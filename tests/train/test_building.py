import pytest

from train.building import choose_device
from train.errors import UsageError


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mindspore.get_context", lambda _: "CPU")
    with pytest.raises(UsageError, match="no Ascend libraries"):
        choose_device("Ascend")
    assert choose_device("auto") == "CPU"
