"""How the command ends follows from the kind of error alone."""

import pytest

from train.__main__ import main
from train.errors import DamagedCheckpoint, ModelConfigError, TrainError, TrainingFailed, UsageError, WeightsError


@pytest.mark.parametrize(
    ("error", "exit_code", "start"),
    [
        (UsageError, 2, "error"),
        (ModelConfigError, 2, "error"),
        (WeightsError, 2, "error"),
        (DamagedCheckpoint, 2, "error"),
        (TrainingFailed, 1, "stopped"),
    ],
)
def test_every_error_has_its_exit_code_and_one_line(
    error: type[TrainError],
    exit_code: int,
    start: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> None:
        raise error("what to do")

    monkeypatch.setattr("train.__main__.parse_command_line", fail)
    assert main([]) == exit_code
    assert capsys.readouterr().err == f"train: {start}: what to do\n"


def test_a_bug_is_no_error_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise ValueError

    monkeypatch.setattr("train.__main__.parse_command_line", fail)
    with pytest.raises(ValueError):
        main([])


def test_no_text_of_an_error_steers_the_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(_: object) -> None:
        raise WeightsError("weight 'a\x1b]0;title\x07' is missing")

    monkeypatch.setattr("train.__main__.parse_command_line", fail)
    assert main([]) == 2
    assert capsys.readouterr().err == r"train: error: weight 'a\x1b]0;title\x07' is missing" + "\n"
