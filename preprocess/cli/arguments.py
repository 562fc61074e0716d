"""The command line: flags named as in the Qwen fine-tuning scripts, every one of them allowed in a YAML file too.

A YAML value counts as if its flag stood first on the command line, so the command line wins. Paths in a YAML file are
relative to that file, paths on the command line to the working directory.
"""

from __future__ import annotations

import argparse
import difflib
import re
from collections.abc import Callable, Sequence
from dataclasses import MISSING, dataclass, fields, replace
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from preprocess.config import SWEEPABLE, Combination, RunConfig, Sweep
from preprocess.errors import ConfigError
from preprocess.read.strict_yaml import read_yaml_mapping

Note = Callable[[str], None]  # takes a line that the user should read

_PATHS = ("model", "datasets", "output_dir", "reuse")
_ALIASES = {"model_name_or_path": "model", "model_max_length": "pack_length"}
_BOOLEANS = {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}  # as in YAML
_TRAINING_FLAGS = (  # what `python -m train` knows and this command does not, be it refused or ignored there
    *("tune_mm_llm", "tune_mm_vision", "tune_mm_mlp", "tune_mm_lora"),
    *("lora_enable", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_adapter"),
    *("bf16", "gradient_checkpointing", "device", "deepspeed", "nproc"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps"),
    *("learning_rate", "mm_projector_lr", "vision_tower_lr", "optim", "weight_decay", "max_grad_norm"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "min_lr", "min_lr_rate", "warmup_ratio", "warmup_steps"),
    *("logging_steps", "disable_tqdm", "report_to", "run_name", "dataloader_num_workers"),
    *("save_strategy", "save_steps", "save_total_limit", "resume_from_checkpoint"),
    *("eval_shards", "eval_strategy", "eval_steps", "per_device_eval_batch_size"),
)
_PLAN_FLAGS = ("sweep", "packs_per_step")


@dataclass(frozen=True, kw_only=True)
class _Setting:
    """One `--flag value`, or one `flag: value` of a YAML file."""

    flag: str
    value: str
    file: str = ""  # "": it stands on the command line

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"--config {self.file}: {self.flag}" if self.file else f"--{self.flag}"

    def written(self, flag: str) -> str:
        """Another flag as it is written where this one stands."""
        return flag if self.file else f"--{flag}"


def parse_config(arguments: Sequence[str], note: Note) -> RunConfig:
    """Flags -> RunConfig. Raises ConfigError in one line, and then has noted nothing; touches nothing."""
    said = _split_flags(arguments)
    from_files = [key for setting in said if setting.flag == "config" for key in _read_yaml(Path(setting.value))]
    notes: list[str] = []
    settings = [
        translated
        for setting in [*from_files, *said]
        if setting.flag != "config"
        for translated in _translate(setting, notes.append)
    ]
    types = get_type_hints(RunConfig)
    for setting in settings:
        if setting.flag not in types:
            raise ConfigError(_unknown(setting, [*types, *_ALIASES]))
    values = {setting.flag: _convert(setting, types[setting.flag]) for setting in settings}
    required = [field.name for field in fields(RunConfig) if field.default is MISSING]
    missing = [f"--{name}" for name in required if name not in values]
    if missing:
        raise ConfigError(f"{', '.join(sorted(missing))} must be given, on the command line or in --config FILE")
    if values.get("executor") == "ray":  # its actors have working directories of their own
        values.update({name: values[name].absolute() for name in _PATHS if name in values})
    config = RunConfig(**values)
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


def make_parser(command: str) -> argparse.ArgumentParser:
    """One flag for each field of RunConfig; what --help shows. `parse_config` reads them."""
    parser = argparse.ArgumentParser(
        prog=f"python -m preprocess {command}",
        usage=f"python -m preprocess {command} --config FILE [--flag value ...]",
        epilog="Whole numbers may be products, such as 576*28*28.",
    )
    parser.add_argument("--config", metavar="FILE", help="YAML file that may hold any of these flags")
    types = get_type_hints(RunConfig)
    for field in fields(RunConfig):
        ending = {MISSING: " (required)", None: ""}.get(field.default, f" (default: {field.default})")
        choices = ("true", "false") if types[field.name] is bool else _choices(types[field.name])
        parser.add_argument(
            f"--{field.name}",
            metavar="{" + ",".join(choices) + "}" if choices and not _is_number(types[field.name]) else None,
            help=(field.metadata["help"] + ending).replace("%", "%%"),
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
            help="packs of a training step (a device's batch x accumulation x devices), for the steps of --sweep"
            " (default: 1)",
        )
    return parser


def _unknown(setting: _Setting, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(setting.flag, known, n=1)
    what = f"--config {setting.file}: unknown key" if setting.file else "unknown flag"
    hint = f"did you mean {setting.written(close[0])}?" if close else "python -m preprocess run --help lists them"
    return f"{what} {setting.written(setting.flag)}; {hint}"


def _translate(setting: _Setting, note: Note) -> list[_Setting]:
    """A flag of the Qwen scripts in our terms. Those that mean nothing here are refused, not ignored."""
    flag, name, value = setting.flag, setting.name, setting.value
    if flag in _TRAINING_FLAGS:
        raise ConfigError(f"{name} belongs to training: bash scripts/train.sh OUTPUT_DIR --{flag} {value}")
    if flag in _PLAN_FLAGS:
        raise ConfigError(f"{name} belongs to the command line of plan: python -m preprocess plan --{flag} {value}")
    if flag in _ALIASES:
        note(f"{name} is called {setting.written(_ALIASES[flag])} here")
        return [replace(setting, flag=_ALIASES[flag])]
    if flag == "data_packing":
        packing = "global" if _convert(setting, bool) else "none"
        note(f"{name} {value} is {setting.written('packing')} {packing} here")
        return [replace(setting, flag="packing", value=packing)]
    if flag == "data_flatten":
        if not _convert(setting, bool):
            note(f"{name} False has no effect: the samples of a row always stand one after another, unpadded")
        return []
    if flag == "cache_dir":
        note(f"{name} is ignored: nothing is downloaded, {setting.written('model')} is a folder")
        return []
    return [setting]


def _convert(setting: _Setting, kind: Any) -> Any:
    """The value in the type of its field. Raises ConfigError with what to say instead."""
    value, choices = setting.value, _choices(kind)
    try:
        if value in choices:
            return value
        if kind is bool:
            return _BOOLEANS[value.lower()]
        if kind is float:
            return float(value)
        if _is_number(kind):
            return _whole_number(value)
        if choices:
            raise ValueError
    except (KeyError, ValueError):
        shown = value if re.fullmatch(r"[\w.*/+-]+", value) else repr(value)
        raise ConfigError(f"{setting.name} {shown}: say {_expected(kind)}") from None
    return Path(value) if Path in (kind, *get_args(kind)) else value


def _expected(kind: Any) -> str:
    if kind is int:
        return "a whole number, or a product such as 576*28*28"
    if _is_number(kind):
        return f"a whole number, or {' or '.join(_choices(kind))}"
    return {bool: "True or False", float: "a number"}.get(kind) or " or ".join(_choices(kind))


def _choices(kind: Any) -> tuple[str, ...]:
    """(Literal["a", "b"] | int) -> ("a", "b")"""
    kinds = (kind, *get_args(kind))
    return tuple(word for each in kinds if get_origin(each) is Literal for word in get_args(each))


def _whole_number(value: str) -> int:
    """ "576*28*28" -> 451584. Raises ValueError, also for what 64 bits don't hold."""
    number = prod(int(factor) for factor in value.split("*"))
    if abs(number) >= 1 << 63:
        raise ValueError
    return number


def _split_flags(arguments: Sequence[str]) -> list[_Setting]:
    """["--a", "1", "--b=2", "--c"] -> a: 1, b: 2, c: true"""
    settings: list[_Setting] = []
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
        settings.append(_Setting(flag=flag.replace("-", "_"), value=value))
    return settings


def _read_yaml(path: Path) -> list[_Setting]:
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
    settings = [_Setting(flag=key.replace("-", "_"), value=value, file=str(path)) for key, value in values.items()]
    return [
        replace(each, value=str(folder / each.value)) if _ALIASES.get(each.flag, each.flag) in _PATHS else each
        for each in settings
    ]


def _is_number(kind: Any) -> bool:
    return kind is int or int in get_args(kind)
