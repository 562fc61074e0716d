"""What a run reports, and metrics.jsonl, its record: a line every `logging_steps` steps, and one an evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from shards.errors import naming_file
from shards.files.atomic import write_atomically

METRICS_NAME = "metrics.jsonl"


@dataclass(frozen=True, kw_only=True)
class StepSums:
    """What one step did, or several together."""

    num_tokens: int = 0  # of samples: padding does not count
    num_label_tokens: int = 0
    num_patches: int = 0
    num_token_slots: int = 0  # tokens and patches that the static shapes had room for
    num_patch_slots: int = 0
    flops: int = 0  # see `train.models.trained.Work`
    loss_sum: float = 0.0  # over supervised tokens
    seconds: float = 0.0  # from the end of the step before to the end of this one; saving and evaluating don't count
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
    def flops_per_second(self) -> float:
        return self.flops / self.seconds if self.seconds else 0.0

    @property
    def data_wait_share(self) -> float:
        return self.data_wait_seconds / self.seconds if self.seconds else 0.0

    @property
    def padding_share(self) -> float:
        """Of the tokens that went through the language model."""
        return _share_left(self.num_tokens, self.num_token_slots)

    @property
    def patch_padding_share(self) -> float:
        """Of the patches that went through the vision tower."""
        return _share_left(self.num_patches, self.num_patch_slots)


class Report(Protocol):
    """Something to tell after a step."""

    @property
    def step(self) -> int: ...

    def to_line(self) -> str:
        """For people."""

    def to_json(self) -> dict[str, Any]:
        """For metrics.jsonl."""


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """Where the run stands after `step` of `num_steps` steps, with the sums since the report before."""

    step: int
    num_steps: int
    epoch: float
    learning_rate: float  # of this step
    grad_norm: float  # of this step, before clipping
    sums: StepSums
    learning_rates: Mapping[str, float] = field(default_factory=dict)  # of each parameter group, where they differ
    peak_flops: float | None = None  # a second, of the device; None where it is not known

    @property
    def flops_utilisation(self) -> float | None:
        """Model FLOPs utilisation."""
        return self.sums.flops_per_second / self.peak_flops if self.peak_flops else None

    def to_line(self) -> str:
        sums = self.sums
        rates = self.learning_rates
        rate = ", ".join(f"{name} {rates[name]:.2e}" for name in rates) or f"{self.learning_rate:.2e}"
        parts = [
            f"step {self.step}/{self.num_steps}",
            f"loss {sums.loss:.4f}",
            f"lr {rate}",
            f"{sums.tokens_per_second:,.0f} tokens/s",
            f"padding {sums.padding_share:.1%}",
            f"data wait {sums.data_wait_share:.1%} ({sums.data_wait_seconds * 1000:.0f} ms)",
        ]
        if self.flops_utilisation is not None:
            parts.append(f"MFU {self.flops_utilisation:.1%}")
        return " | ".join(parts)

    def to_json(self) -> dict[str, Any]:
        sums = self.sums
        record: dict[str, Any] = {
            "step": self.step,
            "num_steps": self.num_steps,
            "epoch": self.epoch,
            "loss": sums.loss,
            "learning_rate": self.learning_rate,
            "grad_norm": self.grad_norm,
            "tokens_per_second": sums.tokens_per_second,
            "padding_share": sums.padding_share,
            "patch_padding_share": sums.patch_padding_share,
            **vars(sums),
        }
        if self.learning_rates:
            record["learning_rates"] = dict(self.learning_rates)
        if self.flops_utilisation is not None:
            record["flops_utilisation"] = self.flops_utilisation
        return record


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The loss over all packs of `eval_shards` after `step` steps: a sum over supervised tokens."""

    step: int
    epoch: float
    loss_sum: float
    num_label_tokens: int
    seconds: float

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.num_label_tokens)

    def to_line(self) -> str:
        return (
            f"evaluation after step {self.step} | loss {self.loss:.4f} | "
            f"{self.num_label_tokens:,} supervised tokens in {self.seconds:.1f} s"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "epoch": self.epoch,
            "eval_loss": self.loss,
            "eval_num_label_tokens": self.num_label_tokens,
            "eval_seconds": self.seconds,
        }


class MetricsFile:
    """metrics.jsonl, one record a line, on disk as soon as it is written. A context manager.

    Records of an earlier run in the file stay up to `first_step`, and the file goes on from there.
    """

    def __init__(self, path: Path, *, first_step: int = 0) -> None:
        if path.exists():
            write_atomically(path, "".join(_lines_up_to(path, first_step)))
        # Nothing is buffered: what a full disk refused would fail again on closing, in the place of the first error.
        self._path = path
        self._file = open(path, "ab", buffering=0)  # noqa: SIM115  (closed on leaving)

    def write(self, record: Mapping[str, Any]) -> None:
        line = (json.dumps(record) + "\n").encode()
        with naming_file(self._path):
            while line:
                line = line[self._file.write(line) :]

    def sync(self) -> None:
        """What was written survives a crash of the machine."""
        with naming_file(self._path):
            os.fsync(self._file.fileno())

    def __enter__(self) -> MetricsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._file.close()


def _lines_up_to(path: Path, step: int) -> Iterator[str]:
    """Steps never decrease; a crash may have cut the last line short."""
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            try:
                is_kept = line.endswith("\n") and json.loads(line)["step"] <= step
            except (ValueError, KeyError, TypeError):
                return
            if not is_kept:
                return
            yield line


def _share_left(used: int, room: int) -> float:
    return 1 - used / room if room else 0.0
