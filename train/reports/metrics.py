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
SAMPLES_NAME = "samples.jsonl"  # a line a step, with `--log_samples`


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
    # Of several ranks, sums over steps of estimated costs (`train.steps.dealing`):
    cost_mean: float = 0.0  # of a rank
    cost_in_turn: float = 0.0  # of the rank that the others wait for, had packs been taken in turn
    cost_dealt: float = 0.0  # and as they were dealt

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


@dataclass(frozen=True, kw_only=True)
class RankTimes:
    """How ranks spent one step, or several together."""

    busy_seconds: tuple[float, ...]  # of each: from its first pack to its last loss, before it waits for the others
    update_seconds: float  # of this rank: the exchange of what it waits for, and the update

    def __add__(self, other: RankTimes) -> RankTimes:
        return RankTimes(
            busy_seconds=tuple(map(sum, zip(self.busy_seconds, other.busy_seconds, strict=True))),
            update_seconds=self.update_seconds + other.update_seconds,
        )

    @property
    def slowest_rank(self) -> int:
        return self.busy_seconds.index(max(self.busy_seconds))

    @property
    def slowness(self) -> float:
        """Of the slowest, as a multiple of the mean."""
        total = sum(self.busy_seconds)
        return max(self.busy_seconds) * len(self.busy_seconds) / total if total else 1.0


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
    peak_flops: float | None = None  # a second, of a device; None where it is not known
    num_ranks: int = 1
    times: RankTimes | None = None  # None where there is one rank

    @property
    def flops_utilisation(self) -> float | None:
        """Model FLOPs utilisation."""
        return self.sums.flops_per_second / self.num_ranks / self.peak_flops if self.peak_flops else None

    def to_line(self) -> str:
        sums = self.sums
        rates = self.learning_rates
        rate = ", ".join(f"{name} {rates[name]:.2e}" for name in rates) or f"{self.learning_rate:.2e}"
        parts = [
            f"step {self.step}/{self.num_steps}",
            f"loss {sums.loss:.4f}",
            f"lr {rate}",
            f"{sums.tokens_per_second:,.0f} tokens/s{self._of_a_device()}",
            f"padding {sums.padding_share:.1%}",
            f"data wait {sums.data_wait_share:.1%} ({sums.data_wait_seconds * 1000:.0f} ms)",
        ]
        if self.flops_utilisation is not None:
            parts.append(f"MFU {self.flops_utilisation:.1%}")
        if sums.cost_mean:
            ratios = f"{sums.cost_dealt / sums.cost_mean:.3f} (in turn {sums.cost_in_turn / sums.cost_mean:.3f})"
            parts.append(f"largest cost of a rank {ratios} of the mean")
        if self.times is not None:
            slowest = f"slowest rank {self.times.slowest_rank}: {self.times.slowness:.2f} of the mean"
            parts.append(f"{slowest}, exchange and update {self._update_share():.1%}")
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
            **{name: value for name, value in vars(sums).items() if sums.cost_mean or not name.startswith("cost_")},
        }
        if self.num_ranks > 1:
            record["num_ranks"] = self.num_ranks
            record["tokens_per_second_per_device"] = sums.tokens_per_second / self.num_ranks
        if self.times is not None:
            record["slowest_rank"] = self.times.slowest_rank
            record["slowness"] = self.times.slowness
            record["update_share"] = self._update_share()
        if self.learning_rates:
            record["learning_rates"] = dict(self.learning_rates)
        if self.flops_utilisation is not None:
            record["flops_utilisation"] = self.flops_utilisation
        return record

    def _of_a_device(self) -> str:
        return f" ({self.sums.tokens_per_second / self.num_ranks:,.0f} a device)" if self.num_ranks > 1 else ""

    def _update_share(self) -> float:
        """Of the time of this rank. What graphs exchange while they add up gradients (stages 2 and 3) is not in it."""
        return self.times.update_seconds / self.sums.seconds if self.times and self.sums.seconds else 0.0


@dataclass(frozen=True, kw_only=True)
class DatasetLoss:
    loss_sum: float
    num_label_tokens: int

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.num_label_tokens)


@dataclass(frozen=True, kw_only=True)
class EvaluationResult:
    """The loss over all packs of `eval_shards` after `step` steps: a sum over supervised tokens."""

    step: int
    epoch: float
    loss_sum: float
    num_label_tokens: int
    seconds: float
    datasets: Mapping[str, DatasetLoss] = field(default_factory=dict)  # of those shards, where there are several

    @property
    def loss(self) -> float:
        return self.loss_sum / max(1, self.num_label_tokens)

    def to_line(self) -> str:
        datasets = "".join(f" | {name} {dataset.loss:.4f}" for name, dataset in self.datasets.items())
        return (
            f"evaluation after step {self.step} | loss {self.loss:.4f} | "
            f"{self.num_label_tokens:,} supervised tokens in {self.seconds:.1f} s{datasets}"
        )

    def to_json(self) -> dict[str, Any]:
        record: dict[str, Any] = {
            "step": self.step,
            "epoch": self.epoch,
            "eval_loss": self.loss,
            "eval_num_label_tokens": self.num_label_tokens,
            "eval_seconds": self.seconds,
        }
        if self.datasets:
            record["eval_losses"] = {name: dataset.loss for name, dataset in self.datasets.items()}
            record["eval_label_tokens"] = {name: dataset.num_label_tokens for name, dataset in self.datasets.items()}
        return record


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
