import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.train.reports.test_metrics import step_report
from train.arguments import TrainArguments
from train.reports.metrics import EvaluationResult
from train.reports.reporting import Reporting

event_pb2 = pytest.importorskip("tensorboardX.proto.event_pb2", reason="the extra tensorboard has it")


@pytest.fixture
def arguments(tmp_path: Path) -> TrainArguments:
    return TrainArguments(shards=tmp_path, model=tmp_path, output_dir=tmp_path)


def evaluation(step: int) -> EvaluationResult:
    return EvaluationResult(step=step, epoch=0.5, loss_sum=9.0, num_label_tokens=6, seconds=1.0)


def report_two_steps(arguments: TrainArguments, *, first_step: int) -> list[str]:
    lines: list[str] = []
    with Reporting(
        arguments.output_dir,
        lines.append,
        reporters=arguments.reporters,
        disable_tqdm=arguments.disable_tqdm,
        first_step=first_step,
        num_steps=9,
    ) as reporting:
        reporting.say("begun")
        for step in (first_step + 1, first_step + 2):
            reporting.advance()
            reporting.report(step_report(step=step, learning_rates={"llm": 1e-3, "vision": 1e-5}))
        reporting.report(evaluation(first_step + 2))
        reporting.sync()
    return lines


def read_events(folder: Path) -> list[object]:
    """Of all files in order: records of length (8 bytes), its checksum (4), an event, its checksum (4)."""
    events = []
    for path in sorted(folder.iterdir(), key=lambda path: path.stat().st_mtime_ns):
        content = path.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            events.append(event_pb2.Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def test_every_report_is_a_line_and_a_record(arguments: TrainArguments) -> None:
    lines = report_two_steps(arguments, first_step=0)
    assert lines == [
        "begun",
        step_report(step=1, learning_rates={"llm": 1e-3, "vision": 1e-5}).to_line(),
        step_report(step=2, learning_rates={"llm": 1e-3, "vision": 1e-5}).to_line(),
        evaluation(2).to_line(),
    ]
    records = [json.loads(line) for line in (arguments.output_dir / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2, 2]
    assert not (arguments.output_dir / "runs").exists()


def test_tensorboard_has_the_same_numbers_and_hides_those_of_dropped_steps(arguments: TrainArguments) -> None:
    arguments = replace(arguments, report_to="tensorboard")
    report_two_steps(arguments, first_step=0)
    report_two_steps(arguments, first_step=1)
    events = read_events(arguments.output_dir / "runs")
    scalars = [(event.step, value.tag, value.simple_value) for event in events for value in event.summary.value]
    assert [(step, value) for step, tag, value in scalars if tag == "train/loss"] == [
        (step, 2.5) for step in (1, 2, 2, 3)
    ]
    assert (2, "eval/loss", 1.5) in scalars
    assert (1, "train/learning_rates/llm", pytest.approx(1e-3)) in scalars
    starts = [event.step for event in events if event.HasField("session_log")]
    assert starts == [1, 2], "TensorBoard hides events from these steps on that came before"


class Terminal:
    """A standard error that says it is a terminal."""

    def __init__(self) -> None:
        self.text = ""

    def isatty(self) -> bool:
        return True

    def write(self, text: str) -> int:
        self.text += text
        return len(text)

    def flush(self) -> None:
        pass


def test_a_terminal_gets_a_bar_unless_it_is_disabled(
    arguments: TrainArguments, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    assert report_two_steps(arguments, first_step=3) == []
    assert "5/9" in terminal.text
    assert "loss 2.5000" in terminal.text
    assert capsys.readouterr().out.splitlines() == ["begun", evaluation(5).to_line()]

    terminal.text = ""
    lines = report_two_steps(replace(arguments, disable_tqdm=True), first_step=3)
    assert len(lines) == 4
    assert terminal.text == ""
