"""What a run reports: a line of the log and a record of metrics.jsonl every `logging_steps` steps."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any

METRICS_NAME = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class StepSums:
    """What one step did, or several together."""

    num_tokens: int = 0  # of samples: padding does not count
    num_label_tokens: int = 0
    loss_sum: float = 0.0  # over supervised tokens
    seconds: float = 0.0  # from the end of the step before to the end of this one
    data_wait_seconds: float = 0.0  # the part of it that was spent waiting for packs

    def __add__(self, other: StepSums) -> StepSums:
        return StepSums(**{each.name: getattr(self, each.name) + getattr(other, each.name) for each in fields(self)})

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.num_label_tokens)

    @property
    def tokens_per_second(self) -> float:
        return self.num_tokens / self.seconds if self.seconds else 0.0

    @property
    def data_wait_share(self) -> float:
        return self.data_wait_seconds / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class Progress:
    """Where the run stands after `step` of `num_steps` steps, with the sums since the report before."""

    step: int
    num_steps: int
    epoch: float
    learning_rate: float  # of this step
    grad_norm: float  # of this step, before clipping
    sums: StepSums

    def to_line(self) -> str:
        sums = self.sums
        return (
            f"step {self.step}/{self.num_steps} | loss {sums.loss:.4f} | lr {self.learning_rate:.2e} | "
            f"{sums.tokens_per_second:,.0f} tokens/s | "
            f"data wait {sums.data_wait_share:.1%} ({sums.data_wait_seconds * 1000:.0f} ms)"
        )

    def to_json(self) -> dict[str, Any]:
        record = asdict(self)
        sums = record.pop("sums")
        return {**record, "loss": self.sums.loss, "tokens_per_second": self.sums.tokens_per_second, **sums}


class MetricsFile:
    """metrics.jsonl, one record a line, on disk as soon as it is written. A context manager."""

    def __init__(self, path: Path) -> None:
        self._file = open(path, "x", encoding="utf-8", newline="\n")  # noqa: SIM115  (closed on leaving)

    def write(self, progress: Progress) -> None:
        self._file.write(json.dumps(progress.to_json()) + "\n")
        self._file.flush()

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()
