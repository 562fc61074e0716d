"""Where reports go: metrics.jsonl always, a progress bar on a terminal or lines in a log, TensorBoard on demand."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext, suppress
from pathlib import Path
from typing import Any

from tqdm import tqdm

from train.reports.metrics import METRICS_NAME, SAMPLES_NAME, MetricsFile, Report, StepReport

RUNS_DIR = "runs"  # TensorBoard's event files, in output_dir; the name that transformers gives it

Log = Callable[[str], None]


class Reporting:
    """A context manager, in which `output_dir` must exist. `reporters`: what reports go to besides metrics.jsonl.

    What an earlier start of the run reported after `first_step` steps is dropped (TensorBoard: hidden).
    """

    def __init__(
        self,
        output_dir: Path,
        log: Log,
        *,
        reporters: Sequence[str],
        disable_tqdm: bool,
        first_step: int,
        num_steps: int,
        log_samples: bool = False,
    ) -> None:
        self._closing = ExitStack()
        self._log = log
        self._metrics: MetricsFile | None = self._closing.enter_context(
            MetricsFile(output_dir / METRICS_NAME, first_step=first_step)
        )
        self._samples: MetricsFile | None = None
        if log_samples:
            self._samples = self._closing.enter_context(MetricsFile(output_dir / SAMPLES_NAME, first_step=first_step))
        self._bar: tqdm[Any] | None = None
        if sys.stderr.isatty() and not disable_tqdm:
            self._bar = self._closing.enter_context(
                tqdm(total=num_steps, initial=first_step, unit="step", file=sys.stderr, dynamic_ncols=True)
            )
        self._events = None
        if "tensorboard" in reporters:
            from tensorboardX import SummaryWriter  # an extra; `train.inputs` asks for it before anything is written

            self._events = SummaryWriter(
                str(output_dir / RUNS_DIR),
                purge_step=first_step + 1,
                filename_suffix=f".{first_step}",  # names hold the second, and a file of the same name is overwritten
            )
            self._closing.callback(self._events.close)

    @classmethod
    def silent(cls) -> Reporting:
        """For ranks other than the first: nothing is reported, nor written."""
        reporting = cls.__new__(cls)
        reporting._closing, reporting._log = ExitStack(), lambda line: None
        reporting._metrics, reporting._samples, reporting._bar, reporting._events = None, None, None, None
        return reporting

    def say(self, line: str) -> None:
        """A line for people alone."""
        if self._bar is None:
            self._log(line)
        else:
            self._bar.write(line)

    def advance(self) -> None:
        """One step was made."""
        if self._bar is not None:
            self._bar.update()

    def name_samples(self, step: int, packs: Callable[[], Sequence[Mapping[str, Any]]]) -> None:
        """Write which packs a step takes, where that was asked for."""
        if self._samples is not None:
            self._samples.write({"step": step, "packs": packs()})

    def report(self, report: Report) -> None:
        if self._metrics is None:
            return
        record = report.to_json()
        self._metrics.write(record)
        if self._events is not None:
            for tag, value in _scalars(record):
                self._events.add_scalar(tag, value, report.step)
        if self._bar is not None and isinstance(report, StepReport):
            self._bar.set_postfix_str(report.to_line().partition(" | ")[2])
        else:
            self.say(report.to_line())

    def sync(self) -> None:
        """What was reported so far survives a crash."""
        for file in filter(None, (self._metrics, self._samples)):
            file.sync()
        if self._events is not None:
            self._events.flush()

    def __enter__(self) -> Reporting:
        return self

    def __exit__(self, *exception: object) -> None:
        # What closing can't write is not what went wrong first.
        with suppress(OSError) if exception[0] else nullcontext():
            self._closing.close()


def _scalars(record: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Tags as transformers names them: train/loss, eval/loss."""
    for name, value in record.items():
        tag = f"eval/{name.removeprefix('eval_')}" if name.startswith("eval_") else f"train/{name}"
        if isinstance(value, Mapping):
            yield from ((f"{tag}/{group}", each) for group, each in value.items())
        elif name not in ("step", "num_steps"):
            yield tag, value
