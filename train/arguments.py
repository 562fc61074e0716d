"""What a training run is told: `TrainArguments`, checked when it is made. `train.cli.command_line` fills it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any

from train.errors import UsageError
from train.models.backends import BACKENDS, MINDNLP, MINDNLP_TAKES, NATIVE
from train.steps.schedule import COSINE_WITH_MIN, SCHEDULES

OPTIMIZER = "adamw_mindspore"
DEVICES = ("auto", "Ascend", "CPU")
STAGES = (0, 1, 2, 3)  # `train.steps.zero`
CHECKPOINT_WRITERS = ("shared", "gather")  # `train.checkpoints.writers`
JIT_LEVELS = ("O0", "O1")
STRATEGIES = ("no", "steps", "epoch")
REPORTERS = ("tensorboard",)  # besides metrics.jsonl and the log, which every run has


# Fields that can hold one value only, until the rest is written: name -> (the value, why not another one).
_ONLY_VALUES: Mapping[str, tuple[Any, str]] = MappingProxyType(
    {
        "optim": (OPTIMIZER, f"the only optimizer is {OPTIMIZER}: AdamW as in PyTorch, compiled"),
    }
)

_MOST_DROPOUT = 0.999  # what is kept is scaled up by 1 / (1 - lora_dropout)
_BATCH = ("per_device_train_batch_size", "gradient_accumulation_steps")
_AT_LEAST_1 = (*_BATCH, "logging_steps", "save_steps", "eval_steps")


def _flag(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, kw_only=True)
class TrainArguments:
    """One run. Raises UsageError for a value out of range or one that this version does not support."""

    shards: Path = field(metadata={"help": "folder written by `python -m preprocess run`"})
    model: Path = field(metadata={"help": "Hugging Face model folder to start from: JSON files and weights"})
    output_dir: Path = field(metadata={"help": "folder for the trained model, its checkpoints and metrics.jsonl"})

    num_train_epochs: float = _flag(1.0, "passes over the packs; fractions are fine")
    max_steps: int | None = _flag(None, "optimizer steps; where given, num_train_epochs is not used")
    per_device_train_batch_size: int = _flag(1, "packs a device, each a micro-step of its own")
    gradient_accumulation_steps: int = _flag(1, "multiplies the packs of an optimizer step")

    optim: str = _flag(OPTIMIZER, f"{OPTIMIZER}, the only one")
    learning_rate: float = _flag(1e-6, "highest learning rate, reached after the warm-up")
    mm_projector_lr: float | None = _flag(None, "that of the merger; learning_rate where left out")
    vision_tower_lr: float | None = _flag(None, "that of the rest of the vision tower; learning_rate where left out")
    weight_decay: float = _flag(0.0, "decoupled; not on biases and norms")
    max_grad_norm: float = _flag(1.0, "clip gradients to this global norm; 0 switches clipping off")
    lr_scheduler_type: str = _flag("cosine", f"after the warm-up: {', '.join(SCHEDULES)}")
    min_lr: float | None = _flag(None, f"where {COSINE_WITH_MIN} ends, of a peak of learning_rate")
    min_lr_rate: float | None = _flag(None, "the same as a share of the peak; give one of the two")
    warmup_ratio: float = _flag(0.0, "share of the steps over which the learning rate rises from 0")
    warmup_steps: int | None = _flag(None, "number of those steps; where given, warmup_ratio is not used")

    lora_enable: bool = _flag(False, "train LoRA adapters and freeze everything else, whatever tune_mm_* say")
    lora_r: int = _flag(64, "rank of an adapter")
    lora_alpha: int = _flag(128, "adapters count lora_alpha / lora_r times")
    lora_dropout: float = _flag(0.0, "share of an adapter's input that is dropped in training")
    lora_target_modules: str = _flag(
        "q_proj,k_proj,v_proj,o_proj", "ends of module names, with commas; a regular expression; or all-linear"
    )
    lora_adapter: Path | None = field(
        default=None, metadata={"help": "folder of an adapter to go on from, ours or PEFT's; otherwise a new one"}
    )

    seed: int = _flag(42, "order of the packs, start of the adapters")
    logging_steps: int = _flag(1, "steps between two lines of the log")
    disable_tqdm: bool = _flag(False, "log lines instead of a progress bar on a terminal")
    deterministic: bool = _flag(True, "the same run gives the same bits; False: operators may add in any order, faster")
    jit_level: str = _flag(JIT_LEVELS[0], f"of MindSpore's compiler: {', '.join(JIT_LEVELS)}, which fuses operators")
    log_samples: bool = _flag(False, "name the samples of every step in OUTPUT_DIR/samples.jsonl")
    profile_steps: str | None = _flag(None, "A-B: write MindSpore's profile of these steps to OUTPUT_DIR/profile")
    report_to: str = _flag("none", "none, tensorboard or all: event files in OUTPUT_DIR/runs")
    backend: str = _flag(
        NATIVE, f"what computes the model: {', '.join(BACKENDS)}; mindnlp runs MindNLP's, operator by operator on CPU"
    )
    device: str = _flag("auto", f"{', '.join(DEVICES)}; auto takes Ascend where MindSpore finds one")

    tune_mm_llm: bool = _flag(True, "train the language model and its head")
    tune_mm_mlp: bool = _flag(True, "train the merger")
    tune_mm_vision: bool = _flag(True, "train the rest of the vision tower")
    data_flatten: bool = _flag(True, "always holds within a row; False warns")
    bf16: bool = _flag(False, "compute in bfloat16, with float32 weights to update; Ascend only")
    gradient_checkpointing: bool = _flag(False, "compute each layer twice rather than keep its activations")

    zero_stage: int | None = _flag(
        None,
        "what ranks share (0 to 3): nothing, moments, gradients too, weights too; if left out, the "
        "lowest that fits device_memory, else 0",
    )
    deepspeed: Path | None = field(
        default=None, metadata={"help": "DeepSpeed's JSON file: its zero_optimization.stage is taken as zero_stage"}
    )
    device_memory: float | None = _flag(None, "GB of a device, which the zero_stage that is left out must fit")

    check_replicas: int | None = _flag(
        None, "steps between two comparisons of what all ranks hold whole, bit for bit; a difference stops the run"
    )

    save_strategy: str = _flag("steps", f"when to save a checkpoint: {', '.join(STRATEGIES)}; the end is one more time")
    save_steps: int = _flag(500, "optimizer steps between two checkpoints, with save_strategy steps")
    save_total_limit: int | None = _flag(None, "checkpoints to keep, the newest; all where left out")
    checkpoint_writer: str = _flag(
        "shared",
        "shared: each rank writes its parts of a file; gather: the first rank writes all, for network disks on which "
        "several machines write one file badly",
    )
    resume_from_checkpoint: bool | Path = field(
        default=True,
        metadata={"help": "True: go on from the newest checkpoint in output_dir; False: don't; or a checkpoint folder"},
    )
    eval_shards: Path | None = field(
        default=None, metadata={"help": "folder of shards to evaluate on, written like `shards`"}
    )
    eval_strategy: str = _flag("no", f"when to evaluate on eval_shards: {', '.join(STRATEGIES)}")
    eval_steps: int = _flag(500, "optimizer steps between two evaluations, with eval_strategy steps")

    def __post_init__(self) -> None:
        for name, (value, why) in _ONLY_VALUES.items():
            if getattr(self, name) != value:
                raise UsageError(f"{name} {getattr(self, name)} is not supported: {why}")
        for name in _AT_LEAST_1:
            self._require(getattr(self, name) >= 1, name, "must be at least 1")
        for name in ("max_steps", "save_total_limit", "check_replicas"):
            value = getattr(self, name)
            self._require(value is None or value >= 1, name, "must be at least 1; or leave it out")
        self._require(self.warmup_steps is None or self.warmup_steps >= 0, "warmup_steps", "must not be negative")
        self._require(0 <= self.warmup_ratio <= 1, "warmup_ratio", "must be between 0 and 1")
        self._require(_is_positive(self.num_train_epochs), "num_train_epochs", "must be above 0")
        self._require(_is_positive(self.learning_rate), "learning_rate", "must be above 0")
        for name in ("weight_decay", "max_grad_norm"):
            value = getattr(self, name)
            self._require(value == 0 or _is_positive(value), name, "must not be negative")
        self._require(self.lora_r >= 1, "lora_r", "must be at least 1")
        self._require(self.lora_alpha >= 1, "lora_alpha", "must be at least 1")
        self._require(0 <= self.lora_dropout <= _MOST_DROPOUT, "lora_dropout", f"must be from 0 to {_MOST_DROPOUT}")
        self._require(
            self.lora_enable or self.lora_adapter is None, "lora_adapter", "needs --lora_enable: it is trained further"
        )
        self._require(self.zero_stage in (None, *STAGES), "zero_stage", f"must be one of {', '.join(map(str, STAGES))}")
        memory = self.device_memory
        self._require(memory is None or _is_positive(memory), "device_memory", "must be above 0; or leave it out")
        self._require(self.seed >= 0, "seed", "must not be negative")
        self._require_known("lr_scheduler_type", SCHEDULES)
        self._require_known("backend", BACKENDS)
        self._require_known("device", DEVICES)
        self._require_known("jit_level", JIT_LEVELS)
        self._require_known("save_strategy", STRATEGIES)
        self._require_known("checkpoint_writer", CHECKPOINT_WRITERS)
        self._require_known("eval_strategy", STRATEGIES)
        self._require(
            set(self.reporters) <= set(REPORTERS),
            "report_to",
            f"is not supported: take none, all or {', '.join(REPORTERS)}; every run writes metrics.jsonl",
        )
        self._require(
            self.eval_strategy == "no" or self.eval_shards is not None,
            "eval_strategy",
            "needs --eval_shards DIR, a folder written like that of --shards",
        )
        self._require(
            self.eval_shards is None or self.eval_strategy != "no",
            "eval_shards",
            "is not used: give --eval_strategy steps or epoch with it",
        )
        self._require(
            self.profile_steps is None or bool(self.profiled_steps), "profile_steps", "must be steps A-B, from 1"
        )
        for name in ("mm_projector_lr", "vision_tower_lr"):
            rate = getattr(self, name)
            self._require(rate is None or _is_positive(rate), name, "must be above 0; or leave it out")
        self._check_lowest_rate()
        self._check_backend()
        if not self.trained_groups:
            raise UsageError("nothing would be trained: set one of tune_mm_llm, tune_mm_mlp and tune_mm_vision to True")

    @property
    def packs_per_step(self) -> int:
        """Micro-steps of one optimizer step, one pack each."""
        return self.per_device_train_batch_size * self.gradient_accumulation_steps

    @property
    def trained_groups(self) -> tuple[str, ...]:
        """Names of the groups of parameters (`train.steps.groups`) that are trained."""
        trained = {"llm": self.tune_mm_llm, "mlp": self.tune_mm_mlp, "vision": self.tune_mm_vision}
        return tuple(name for name, is_trained in trained.items() if is_trained)

    @property
    def peaks(self) -> dict[str, float]:
        """Highest learning rate of each group."""
        return {
            "llm": self.learning_rate,
            "mlp": self.learning_rate if self.mm_projector_lr is None else self.mm_projector_lr,
            "vision": self.learning_rate if self.vision_tower_lr is None else self.vision_tower_lr,
        }

    @property
    def lowest_factor(self) -> float:
        """Where the schedule ends, as a share of each peak: as in transformers, `min_lr` is one of learning_rate."""
        if self.min_lr is not None:
            return self.min_lr / self.learning_rate
        return self.min_lr_rate or 0.0

    def _check_lowest_rate(self) -> None:
        given = [name for name in ("min_lr", "min_lr_rate") if getattr(self, name) is not None]
        if self.lr_scheduler_type != COSINE_WITH_MIN:
            for name in given:
                self._require(False, name, f"needs lr_scheduler_type {COSINE_WITH_MIN}")
        elif len(given) != 1:
            raise UsageError(f"lr_scheduler_type {COSINE_WITH_MIN} needs min_lr or min_lr_rate, one of them")
        else:
            self._require(
                0 <= self.lowest_factor <= 1, given[0], "must be between 0 and learning_rate, or the share 1 of it"
            )

    def _check_backend(self) -> None:
        if self.backend != MINDNLP:
            return
        for name, (values, why) in MINDNLP_TAKES.items():
            taken = " or ".join(str(value) for value in values if value is not None)
            advice = f"with backend {MINDNLP} must be {taken}: {why}; change it, or leave --backend out"
            self._require(getattr(self, name) in values, name, advice)

    @property
    def profiled_steps(self) -> range:
        """Steps from 1; empty where there are none."""
        first, _, last = (self.profile_steps or "").partition("-")
        if not (first.isdecimal() and (last or first).isdecimal() and int(first) >= 1):
            return range(0)
        return range(int(first), int(last or first) + 1)

    @property
    def reporters(self) -> tuple[str, ...]:
        """`report_to` as a list; commas separate."""
        if self.report_to in ("none", "all"):
            return REPORTERS if self.report_to == "all" else ()
        return tuple(dict.fromkeys(name.strip() for name in self.report_to.split(",")))

    def _require(self, holds: bool, name: str, rule: str) -> None:
        if not holds:
            raise UsageError(f"{name} {getattr(self, name)} {rule}")

    def _require_known(self, name: str, known: tuple[str, ...]) -> None:
        self._require(getattr(self, name) in known, name, f"is not supported: take one of {', '.join(known)}")


FIELDS = MappingProxyType({each.name: each for each in fields(TrainArguments)})


def _is_positive(value: float) -> bool:
    return math.isfinite(value) and value > 0
