import json
import os
from pathlib import Path

import pytest

from train.reports.metrics import DatasetLoss, EvaluationResult, MetricsFile, RankTimes, StepReport, StepSums


def step_report(costs: tuple[float, float, float] = (0.0, 0.0, 0.0), **changes: object) -> StepReport:
    mean, in_turn, dealt = costs
    sums = StepSums(
        cost_mean=mean,
        cost_in_turn=in_turn,
        cost_dealt=dealt,
        num_tokens=80,
        num_label_tokens=4,
        num_patches=30,
        num_token_slots=100,
        num_patch_slots=40,
        flops=1000,
        loss_sum=10.0,
        seconds=2.0,
        data_wait_seconds=0.5,
    )
    return StepReport(
        **{"step": 3, "num_steps": 9, "epoch": 0.5, "learning_rate": 1e-3, "grad_norm": 2.0} | changes, sums=sums
    )


def test_sums_add_up_and_shares_are_of_the_sums() -> None:
    both = step_report().sums + StepSums(
        num_tokens=20, num_label_tokens=6, num_token_slots=100, loss_sum=5.0, seconds=3.0
    )
    assert both.loss == 1.5
    assert both.tokens_per_second == 20.0
    assert both.padding_share == 0.5
    assert both.patch_padding_share == 0.25
    assert both.data_wait_share == 0.1
    assert StepSums().loss == StepSums().tokens_per_second == StepSums().padding_share == 0.0


def test_a_line_tells_what_people_watch() -> None:
    assert step_report().to_line() == (
        "step 3/9 | loss 2.5000 | lr 1.00e-03 | 40 tokens/s | padding 20.0% | data wait 25.0% (500 ms)"
    )


def test_learning_rates_of_groups_are_told_where_they_differ() -> None:
    rates = {"llm": 1e-3, "vision": 1e-5}
    several = step_report(learning_rates=rates)
    assert "lr llm 1.00e-03, vision 1.00e-05 |" in several.to_line()
    assert several.to_json()["learning_rates"] == rates
    assert "learning_rates" not in step_report().to_json()


def test_utilisation_is_told_where_the_peak_is_known() -> None:
    known = step_report(peak_flops=2000.0)
    assert known.to_line().endswith("| MFU 25.0%")
    assert known.to_json()["flops_utilisation"] == 0.25
    assert "MFU" not in step_report().to_line()
    assert "flops_utilisation" not in step_report().to_json()


def test_a_rank_alone_tells_nothing_of_ranks() -> None:
    record = step_report().to_json()
    assert not [name for name in record if "cost" in name or "rank" in name or "device" in name]


def test_several_ranks_tell_what_a_device_does_and_whom_they_wait_for() -> None:
    times = RankTimes(busy_seconds=(1.0, 0.5), update_seconds=0.2) + RankTimes(
        busy_seconds=(0.2, 1.3), update_seconds=0.2
    )
    report = step_report(costs=(10.0, 15.0, 11.0), num_ranks=2, times=times, peak_flops=2000.0)
    line = report.to_line()
    assert "40 tokens/s (20 a device)" in line
    assert "MFU 12.5%" in line, "of both devices"
    assert "largest cost of a rank 1.100 (in turn 1.500) of the mean" in line
    assert line.endswith("slowest rank 1: 1.20 of the mean, exchange and update 20.0%")
    record = report.to_json()
    assert (record["num_ranks"], record["tokens_per_second_per_device"], record["slowest_rank"]) == (2, 20.0, 1)
    assert (record["slowness"], record["update_share"]) == (pytest.approx(1.2), pytest.approx(0.2))
    assert (record["cost_mean"], record["cost_in_turn"], record["cost_dealt"]) == (10.0, 15.0, 11.0)


def test_datasets_of_an_evaluation_have_losses_of_their_own() -> None:
    datasets = {"a": DatasetLoss(loss_sum=2.0, num_label_tokens=4), "b": DatasetLoss(loss_sum=7.0, num_label_tokens=2)}
    result = EvaluationResult(step=3, epoch=0.5, loss_sum=9.0, num_label_tokens=6, seconds=1.25, datasets=datasets)
    assert result.to_json()["eval_losses"] == {"a": 0.5, "b": 3.5}
    assert result.to_json()["eval_label_tokens"] == {"a": 4, "b": 2}
    assert result.to_line().endswith("in 1.2 s | a 0.5000 | b 3.5000")


def test_an_evaluation_weighs_by_supervised_token() -> None:
    result = EvaluationResult(step=3, epoch=0.5, loss_sum=9.0, num_label_tokens=6, seconds=1.25)
    assert result.to_json() == {
        "step": 3,
        "epoch": 0.5,
        "eval_loss": 1.5,
        "eval_num_label_tokens": 6,
        "eval_seconds": 1.25,
    }
    assert result.to_line() == "evaluation after step 3 | loss 1.5000 | 6 supervised tokens in 1.2 s"


def write_records(path: Path, *steps: int, first_step: int = 0) -> None:
    with MetricsFile(path, first_step=first_step) as metrics:
        for step in steps:
            metrics.write({"step": step})
        metrics.sync()


def read_steps(path: Path) -> list[int]:
    return [json.loads(line)["step"] for line in path.read_text().splitlines()]


@pytest.mark.parametrize(("first_step", "kept"), [(0, []), (2, [1, 2, 2]), (3, [1, 2, 2, 3]), (9, [1, 2, 2, 3, 4])])
def test_records_after_the_step_that_a_run_goes_on_from_are_dropped(
    first_step: int, kept: list[int], tmp_path: Path
) -> None:
    path = tmp_path / "metrics.jsonl"
    write_records(path, 1, 2, 2, 3, 4)  # 2: a record of training, and one of an evaluation
    write_records(path, 5, first_step=first_step)
    assert read_steps(path) == [*kept, 5]


def test_a_line_cut_short_by_a_crash_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_records(path, 1, 2)
    for cut in ('{"step": 3', '{"step": 3}', "\x00\x00\x00"):  # the second lacks the end of its line
        with open(path, "a") as file:
            file.write(cut)
        write_records(path, first_step=9)
        assert read_steps(path) == [1, 2]


def test_a_full_disk_is_one_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    with pytest.raises(OSError, match="No space left") as raised, MetricsFile(path) as metrics:
        with open("/dev/full", "wb") as full:
            os.dup2(full.fileno(), metrics._file.fileno())
        metrics.write({"step": 1})
    assert raised.value.filename == str(path)
    assert "metrics" in str(raised.value)
