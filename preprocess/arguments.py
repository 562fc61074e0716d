"""The command line: flags named as in the Qwen fine-tuning scripts, every one of them allowed in a YAML file too.

A YAML value counts as if its flag stood first on the command line, so the command line wins. Paths in a YAML file are
relative to that file, paths on the command line to the working directory.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, fields
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NoReturn, get_args, get_type_hints

from jsonargparse import ArgumentParser

from preprocess.config import RunConfig
from preprocess.errors import ConfigError
from preprocess.strict_yaml import read_yaml_mapping
from preprocess.sweep import SWEEPABLE, Combination, Sweep

Note = Callable[[str], None]  # takes a line that the user should read

_PATHS = ("model", "datasets", "output_dir", "reuse")
_ALIASES = {"model_name_or_path": "model", "model_max_length": "pack_length"}
_TRAINING_FLAGS = (
    "tune_mm_llm",
    "tune_mm_vision",
    "tune_mm_mlp",
    "tune_mm_lora",
    "lora_r",
    "lora_alpha",
    "bf16",
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "gradient_checkpointing",
    "learning_rate",
    "mm_projector_lr",
    "vision_tower_lr",
    "optim",
    "num_train_epochs",
    "max_steps",
    "warmup_ratio",
    "warmup_steps",
    "lr_scheduler_type",
    "weight_decay",
    "max_grad_norm",
    "logging_steps",
    "save_strategy",
    "save_steps",
    "save_total_limit",
    "eval_strategy",
    "per_device_eval_batch_size",
    "dataloader_num_workers",
    "report_to",
    "run_name",
    "deepspeed",
)
_PLAN_FLAGS = ("sweep", "packs_per_step")


def parse_config(arguments: Sequence[str], note: Note) -> RunConfig:
    """Flags -> RunConfig. Raises ConfigError in one line, and then has noted nothing; touches nothing."""
    said = _split_flags(arguments)
    from_files = [pair for flag, value in said if flag == "config" for pair in _read_yaml(Path(value))]
    notes: list[str] = []
    translated = [
        pair
        for flag, value in [*from_files, *said]
        if flag != "config"
        for pair in _translate(flag, value, notes.append)
    ]
    types = get_type_hints(RunConfig)
    for flag, _ in translated:
        if flag not in types:
            close = difflib.get_close_matches(flag, [*types, *_ALIASES], n=1)
            hint = f"did you mean --{close[0]}?" if close else "python -m preprocess run --help lists them"
            raise ConfigError(f"unknown flag --{flag}; {hint}")
    words = [f"--{flag}={_multiply(value) if _is_number(types[flag]) else value}" for flag, value in translated]
    values = vars(make_parser("run").parse_args(words))
    required = [field.name for field in fields(RunConfig) if field.default is MISSING]
    missing = [f"--{name}" for name in required if values[name] is None]
    if missing:
        raise ConfigError(f"{', '.join(sorted(missing))} must be given, on the command line or in --config FILE")
    if values["executor"] == "ray":  # its actors have working directories of their own
        values.update({name: values[name].absolute() for name in _PATHS if values[name] is not None})
    config = RunConfig(**{name: values[name] for name in types})
    for line in notes:
        note(line)
    return config


def parse_plan(arguments: Sequence[str], note: Note) -> tuple[RunConfig, Sweep | None]:
    """The flags of `plan`: those of RunConfig, and perhaps --sweep. Raises ConfigError in one line."""
    flags, words, packs_per_step = _take_sweep(arguments)
    if words is None:
        if packs_per_step is not None:
            raise ConfigError("--packs_per_step counts the steps of a --sweep; give --sweep too")
        return parse_config(flags, note), None
    choices = _sweep_choices(words)
    combinations: list[Combination] = []
    for values in product(*choices.values()):
        changes = [f"--{name}={value}" for name, value in zip(choices, values, strict=True)]
        try:
            config = parse_config([*flags, *changes], note if not combinations else lambda line: None)
        except ConfigError as error:
            raise ConfigError(f"--sweep, at {' '.join(changes)}: {error}") from None
        combinations.append(Combination(values=values, config=config))
    if not re.fullmatch(r"[1-9]\d*", packs_per_step or "1"):
        raise ConfigError(f"--packs_per_step {packs_per_step}: say how many packs a training step takes, 1 or more")
    sweep = Sweep(names=tuple(choices), combinations=tuple(combinations), packs_per_step=int(packs_per_step or "1"))
    return combinations[0].config, sweep


def _take_sweep(arguments: Sequence[str]) -> tuple[list[str], list[str] | None, str | None]:
    """The other flags, the words of --sweep, and the value of --packs_per_step; None for what is not given."""
    flags: list[str] = []
    taken: dict[str, list[str]] = {}
    name = ""
    for word in arguments:
        if word.startswith("--"):
            name, equals, value = word[2:].partition("=")
            name = name.replace("-", "_")
            if name in _PLAN_FLAGS:
                taken.setdefault(name, []).extend([value] if equals else [])
                continue
        if name in taken:
            taken[name].append(word)
        else:
            flags.append(word)
    steps = taken.get("packs_per_step")
    return flags, taken.get("sweep"), None if steps is None else " ".join(steps)


def _sweep_choices(words: Sequence[str]) -> dict[str, list[str]]:
    """["pack_length=4096,8192"] -> {"pack_length": ["4096", "8192"]}"""
    choices: dict[str, list[str]] = {}
    for word in words:
        name, _, values = word.partition("=")
        name = _ALIASES.get(name, name)
        if name not in SWEEPABLE:
            raise ConfigError(f"--sweep: {name!r} can't be swept; these can: {', '.join(SWEEPABLE)}")
        if name in choices:
            raise ConfigError(f"--sweep: {name} stands twice; separate its values by commas")
        choices[name] = list(dict.fromkeys(values.split(",")))
        if "" in choices[name]:
            raise ConfigError(f"--sweep {word}: a value is missing; say {name}=VALUE,VALUE")
    if not choices:
        raise ConfigError("--sweep needs NAME=VALUE,VALUE, for example max_pixels=200704,451584 pack_length=4096,8192")
    return choices


def make_parser(command: str) -> ArgumentParser:
    """One flag for each field of RunConfig; what --help shows."""
    parser = _Parser(prog=f"python -m preprocess {command}", default_env=False)
    parser.add_argument("--config", type=str, metavar="FILE", help="YAML file that may hold any of these flags")
    types = get_type_hints(RunConfig)
    for field in fields(RunConfig):
        parser.add_argument(
            f"--{field.name}",
            type=types[field.name],
            default=None if field.default is MISSING else field.default,
            help=field.metadata["help"],
        )
    if command == "plan":
        parser.add_argument(
            "--sweep",
            nargs="+",
            metavar="NAME=VALUE,VALUE",
            help=f"compare: one line for each combination of values, of {', '.join(SWEEPABLE)}",
        )
        parser.add_argument(
            "--packs_per_step",
            type=int,
            default=1,
            help="packs of a training step (a device's batch x accumulation x devices), for the steps of --sweep",
        )
    return parser


class _Parser(ArgumentParser):
    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        in_our_words = re.sub(r'Parser key "(\w+)":', r"--\1:", re.sub(r"<class '(\w+)'>", r"\1", message))
        raise ConfigError(" ".join(in_our_words.split()))


def _translate(flag: str, value: str, note: Note) -> list[tuple[str, str]]:
    """A flag of the Qwen scripts in our terms. Those that mean nothing here are refused, not ignored."""
    if flag in _TRAINING_FLAGS:
        raise ConfigError(f"--{flag} belongs to training: bash scripts/train.sh OUTPUT_DIR --{flag} {value}")
    if flag in _PLAN_FLAGS:
        raise ConfigError(f"--{flag} belongs to the command line of plan: python -m preprocess plan --{flag} {value}")
    if flag in _ALIASES:
        note(f"--{flag} is called --{_ALIASES[flag]} here")
        return [(_ALIASES[flag], value)]
    if flag == "data_packing":
        packing = "global" if _boolean(flag, value) else "none"
        note(f"--data_packing {value} is --packing {packing} here")
        return [("packing", packing)]
    if flag == "data_flatten":
        if not _boolean(flag, value):
            note("--data_flatten False has no effect: the samples of a row always stand one after another, unpadded")
        return []
    if flag == "cache_dir":
        note("--cache_dir is ignored: nothing is downloaded, --model is a folder")
        return []
    return [(flag, value)]


def _split_flags(arguments: Sequence[str]) -> list[tuple[str, str]]:
    """["--a", "1", "--b=2", "--c"] -> [("a", "1"), ("b", "2"), ("c", "true")]"""
    pairs: list[tuple[str, str]] = []
    position = 0
    while position < len(arguments):
        word = arguments[position]
        position += 1
        if not word.startswith("--") or word == "--":
            raise ConfigError(f"{word!r} stands alone; flags look like --max_pixels 802816")
        flag, equals, value = word[2:].partition("=")
        if not equals:
            has_value = position < len(arguments) and not arguments[position].startswith("--")
            value = arguments[position] if has_value else "true"
            position += has_value
        pairs.append((flag.replace("-", "_"), value))
    return pairs


def _read_yaml(path: Path) -> list[tuple[str, str]]:
    try:
        values = read_yaml_mapping(path, path.read_text(encoding="utf-8-sig"), verbatim=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"--config {path}: {getattr(error, 'strerror', None) or error}") from None
    for flag, value in values.items():
        if not isinstance(value, str) or value in ("", "~", "null"):
            raise ConfigError(f"--config {path}: {flag} must be one value, not {value or 'nothing'}")
    if "config" in values:
        raise ConfigError(f"--config {path}: config can't stand in a file; give --config twice on the command line")
    folder = path.absolute().parent
    pairs = [(flag.replace("-", "_"), value) for flag, value in values.items()]
    return [(flag, str(folder / value) if _ALIASES.get(flag, flag) in _PATHS else value) for flag, value in pairs]


def _multiply(value: str) -> str:
    """ "576*28*28" -> "451584"; anything else as it is."""
    if not re.fullmatch(r"\s*\d+(\s*\*\s*\d+)+\s*", value):
        return value
    try:
        return str(prod(int(factor) for factor in value.split("*")))
    except ValueError:  # thousands of digits, which the parser refuses by the flag's name
        return value


def _is_number(kind: Any) -> bool:
    return kind is int or int in get_args(kind)


def _boolean(flag: str, value: str) -> bool:
    if value.lower() not in ("true", "false"):
        raise ConfigError(f"--{flag} {value}: say True or False")
    return value.lower() == "true"
