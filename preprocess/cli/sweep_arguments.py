"""The flags of `plan`: those of RunConfig, --sweep NAME=VALUE,VALUE ... and --packs_per_step N."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from preprocess.cli.arguments import LISTS, Note, config_of
from preprocess.cli.flags import ELSEWHERE, PLAN_FLAGS
from preprocess.config import SWEEPABLE, Combination, RunConfig, Sweep
from preprocess.errors import ConfigError
from shards.errors import FlagError
from shards.flags.elsewhere import Alias
from shards.flags.settings import Setting, convert, read_settings


@dataclass(frozen=True, kw_only=True)
class PlanArguments:
    config: RunConfig  # the first of a sweep if there is one
    sweep: Sweep | None
    rejects: Path | None  # file
    has_folder: bool  # for what a plan keeps of archives


def parse_plan(words: Sequence[str], note: Note) -> PlanArguments:
    """Raises ConfigError in one line."""
    try:
        settings = read_settings(words, lists=("sweep", *LISTS))
        asked = [setting for setting in settings if setting.flag in PLAN_FLAGS and not setting.file]
        others = [setting for setting in settings if setting not in asked]
        paths = [convert(setting, Path) for setting in asked if setting.flag == "rejects"]
        asked = [setting for setting in asked if setting.flag != "rejects"]
        if paths and asked:
            raise ConfigError("--rejects writes those of one configuration; leave --sweep out, or --rejects")
        if paths and not paths[-1].absolute().parent.is_dir():
            raise ConfigError(f"--rejects {paths[-1]}: there is no folder {paths[-1].parent}; make it")
        given = {setting.flag for setting in others}
        if "output_dir" not in given:  # which a run writes into, and a plan does not
            others = [Setting(flag="output_dir", value="plan"), *others]
        sweep = _sweep(asked, others, note) if asked else None
        return PlanArguments(
            config=sweep.combinations[0].config if sweep else config_of(others, note),
            sweep=sweep,
            rejects=(paths or [None])[-1],
            has_folder=not given.isdisjoint({"output_dir", "media_cache"}),
        )
    except FlagError as error:
        raise ConfigError(str(error)) from None


def _sweep(asked: Sequence[Setting], others: Sequence[Setting], note: Note) -> Sweep:
    swept = [setting for setting in asked if setting.flag == "sweep"]
    if not swept:
        raise ConfigError("--packs_per_step counts the steps of a --sweep; give --sweep too")
    choices = _choices([setting.value for setting in swept if setting.value is not None])
    packs_per_step = 1
    for setting in asked:
        if setting.flag == "packs_per_step":
            packs_per_step = convert(setting, int)
            if packs_per_step < 1:
                raise ConfigError(f"{setting.name} {setting.text}: say how many packs a training step takes, 1 or more")
    combinations: list[Combination] = []
    for values in product(*choices.values()):
        changes = [Setting(flag=name, value=value) for name, value in zip(choices, values, strict=True)]
        try:
            config = config_of([*others, *changes], note if not combinations else lambda line: None)
        except (ConfigError, FlagError) as error:
            written = " ".join(f"{change.name}={change.value}" for change in changes)
            raise ConfigError(f"--sweep, at {written}: {error}") from None
        combinations.append(Combination(values=values, config=config))
    return Sweep(names=tuple(choices), combinations=tuple(combinations), packs_per_step=packs_per_step)


def _choices(words: Sequence[str]) -> dict[str, list[str]]:
    """["pack_length=4096,8192"] -> {"pack_length": ["4096", "8192"]}"""
    choices: dict[str, list[str]] = {}
    for word in words:
        name, _, values = word.partition("=")
        match ELSEWHERE.get(name):
            case Alias(field):
                name = field
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
