"""The command line of `python -m train`: flags and a YAML file -> TrainArguments.

1. Settings are collected: those of `--config FILE.yaml` first, then the flags, so that a flag wins over the file, and
   the last of several equal flags over the others. Paths in the file are relative to the file.
2. Each name is looked up: a field of TrainArguments, or an entry of `train.cli.flags.ELSEWHERE`, or an error that gives
   the nearest known name.
3. jsonargparse converts the values to the types of the fields.
"""

from __future__ import annotations

from argparse import ArgumentError
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, replace
from difflib import get_close_matches
from math import prod
from pathlib import Path
from re import fullmatch
from typing import Any, get_type_hints

import yaml
from jsonargparse import ArgumentParser

from shards.files.names import MANIFEST_NAME
from train.arguments import FIELDS, TrainArguments
from train.cli.deepspeed import read_stage
from train.cli.flags import ELSEWHERE, Alias, Ignored, Refused
from train.errors import UsageError

_TYPES = get_type_hints(TrainArguments)
_PATHS = ("shards", "eval_shards", "model", "output_dir", "model_name_or_path", "lora_adapter", "deepspeed")
_PATHS_OR_BOOLEANS = ("resume_from_checkpoint",)
_BOOLEANS = ("true", "false")
_KNOWN = (*FIELDS, *ELSEWHERE, "config")
_INTEGERS = (int, int | None)
_IN_WORDS = {
    bool: "True or False",
    int: "an integer",
    int | None: "an integer",
    float: "a number",
    float | None: "a number",
    bool | Path: "True, False or a checkpoint folder",
}
_MISSING = {
    "shards": "give the OUTPUT_DIR of `python -m preprocess run`",
    "model": "give the Hugging Face model folder to start from (the shards keep its config.json, but no weights)",
    "output_dir": "give a folder for the trained model",
}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One `--name value`, or one `name: value` of the YAML file."""

    name: str
    value: str | None  # None: a name without a value
    source: str  # what an error message calls it: "--name" or "--config FILE: name"


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    arguments: TrainArguments
    notes: tuple[str, ...]  # what the user should know of flags that do something else than they may think


def parse_command_line(argv: Sequence[str]) -> CommandLine:
    """Raises UsageError, with one line that says what to do. `--help` is the caller's."""
    flags = list(read_flags(argv))
    settings = [setting for flag in flags if flag.name == "config" for setting in _read_config(flag)]
    settings += [flag for flag in flags if flag.name != "config"]
    notes: list[str] = []
    chosen: dict[str, Setting] = {}
    for setting in settings:
        resolved = _resolve(setting, notes)
        if resolved is not None:
            chosen[resolved.name] = resolved
    if "shards" in chosen:
        _require_no_code_package(Path(chosen["shards"].value or ""))
    for name, advice in _MISSING.items():
        if name not in chosen:
            raise UsageError(f"--{name} is missing: {advice}")
    parser = build_parser()
    arguments = TrainArguments(**{name: _convert(parser, setting) for name, setting in chosen.items()})
    if arguments.deepspeed is not None:
        stage, note = read_stage(arguments.deepspeed)
        if arguments.zero_stage not in (None, stage):
            raise UsageError(f"zero_stage is {arguments.zero_stage}, but deepspeed {arguments.deepspeed} says {stage}")
        arguments = replace(arguments, zero_stage=stage)
        notes.append(note)
    if not arguments.data_flatten:
        notes.append(
            "data_flatten False changes nothing: the samples of a row are always one flat sequence, kept apart"
        )
    for name, flag in (("mm_projector_lr", "tune_mm_mlp"), ("vision_tower_lr", "tune_mm_vision")):
        if getattr(arguments, name) is not None and not getattr(arguments, flag):
            notes.append(f"{name} has no effect, since {flag} is False")
    if not arguments.lora_enable:
        notes += [f"{name} has no effect without lora_enable" for name in chosen if name.startswith("lora_")]
    return CommandLine(arguments=arguments, notes=tuple(dict.fromkeys(notes)))


def build_parser() -> ArgumentParser:
    parser = ArgumentParser(
        prog="python -m train",
        description="Train Qwen2.5-VL from a folder of shards. Integers may be products: 4*8.",
        exit_on_error=False,
    )
    parser.add_argument("--config", type=str, help="YAML file in which every flag can stand; the command line wins")
    for name, field in FIELDS.items():
        default = None if field.default is MISSING else field.default
        parser.add_argument(f"--{name}", type=_TYPES[name], default=default, help=field.metadata["help"])
    return parser


def read_flags(argv: Sequence[str]) -> Iterator[Setting]:
    """`--name value`, `--name=value` or `--name` alone, one after the other. Raises UsageError for anything else."""
    position = 0
    while position < len(argv):
        flag = argv[position]
        position += 1
        if not flag.startswith("--") or flag == "--":
            raise UsageError(f"{flag!r} is not a flag; write --name value")
        name, equals, text = flag[2:].partition("=")
        value: str | None = text
        if not equals:
            has_value = position < len(argv) and not argv[position].startswith("--")
            value = argv[position] if has_value else None
            position += has_value
        yield Setting(name=name.replace("-", "_"), value=value, source=f"--{name}")


def _read_config(flag: Setting) -> Iterator[Setting]:
    """Scalars stay text, as on the command line: `save_strategy: no` is no boolean, `1e-6` is a number."""
    if not flag.value:
        raise UsageError("--config needs a YAML file")
    path = Path(flag.value)
    try:
        root = yaml.compose(path.read_text(encoding="utf-8-sig"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise UsageError(f"--config {path} can't be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError) as error:
        raise UsageError(f"--config {path} is not YAML: {' '.join(str(error).split())}") from None
    if not isinstance(root, yaml.MappingNode):
        raise UsageError(f"--config {path} must hold lines of the form `name: value`")
    seen: set[str] = set()
    for key, value in root.value:
        name, text = str(key.value).replace("-", "_"), value.value
        if name == "config":
            raise UsageError(f"--config {path}: config can't stand in a file")
        if name in seen:
            raise UsageError(f"--config {path}: {name} stands twice; keep one")
        seen.add(name)
        is_plain = isinstance(value, yaml.ScalarNode) and text not in ("", "~", "null")
        if not is_plain and not isinstance(ELSEWHERE.get(name), Refused):  # those say themselves what to write
            raise UsageError(f"--config {path}: {name} needs one plain value; leave the line out for the default")
        if name in _PATHS or (name in _PATHS_OR_BOOLEANS and text.lower() not in _BOOLEANS):
            text = str(path.absolute().parent / text)
        yield Setting(name=name, value=text, source=f"--config {path}: {name}")


def _resolve(setting: Setting, notes: list[str]) -> Setting | None:
    """The setting under the name of its field; None where it has no effect. Adds to `notes`."""
    name, value = setting.name, setting.value
    match ELSEWHERE.get(name):
        case Refused(why):
            raise UsageError(f"{setting.source} {why}")
        case Ignored(why):
            notes.append(f"{setting.source} is ignored: {why}")
            return None
        case Alias(field):
            notes.append(f"{setting.source} is called {field} here")
            name = field
    if name not in FIELDS:
        near = get_close_matches(name, _KNOWN, n=1, cutoff=0.6)
        advice = f"did you mean {near[0]}?" if near else "`python -m train --help` lists the flags"
        raise UsageError(f"{setting.source} is not known; {advice}")
    if value is None and _TYPES[name] in (bool, bool | Path):
        value = "true"
    elif value is None:
        raise UsageError(f"{setting.source} needs a value")
    return Setting(name=name, value=value, source=setting.source)


def _convert(parser: ArgumentParser, setting: Setting) -> Any:
    """The value in the type of its field."""
    name, text = setting.name, setting.value
    expected = _TYPES[name]
    if expected is str or text is None:
        return text
    if expected in _INTEGERS and fullmatch(r"\d+(\s*\*\s*\d+)+", text.strip()):
        return prod(int(factor) for factor in text.split("*"))
    try:
        return parser.parse_object({name: text})[name]
    except ArgumentError:
        raise UsageError(f"{setting.source}: {text!r} is not {_IN_WORDS.get(expected, expected)}") from None


def _require_no_code_package(folder: Path) -> None:
    """`train.sh shards/`, typed in the project's root, finds a folder: the wrong one."""
    if (folder / "__init__.py").exists() and not (folder / MANIFEST_NAME).exists():
        raise UsageError(
            f"{folder} is this project's code package, not a dataset; give the OUTPUT_DIR of `python -m preprocess run`"
        )
