"""The flags of `certify`, and the way from a finished run to its certificate."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from preprocess.certify.compare import Reference, compare_all, compare_values
from preprocess.certify.draw import draw
from preprocess.certify.section import data_section
from preprocess.certify.task import Against, find_oracle, run_reference, write_task
from preprocess.cli.arguments import LISTS, Note, config_of
from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import ConfigError
from preprocess.jobs.share import EVERYTHING
from preprocess.media.archives.prepare import prepare_archives
from preprocess.media.cache import use as use_cache
from preprocess.media.places import archives_of_places
from preprocess.plan.summary import PlanSummary
from preprocess.read.dataset_use import choose_datasets
from preprocess.read.registry import read_registries
from shards import open_shards
from shards.errors import FlagError
from shards.files.differences import differences
from shards.files.names import CERTIFICATE_PAGE_NAME, PLAN_DIR
from shards.flags.settings import convert, read_settings
from shards.look.certificate import table, write_certificate
from shards.look.readable import counted

CERTIFY_USAGE = """usage: python -m preprocess certify --config run.yaml [--samples N] [flags of run]

Random samples of a finished run, out of its shards, beside what Hugging Face's processor, chat template and positions
make of the same files and texts: pixels, grids, ids, labels and positions must be equal, or differ by a choice that the
specification makes, which is then named. Prints a table; writes certificate.json and certificate.html beside the
manifest. Any other difference makes the exit code 1. `bash scripts/certify.sh` with the same flags makes the
environment that the reference runs in first.

  --samples N       how many (default: 200)
  --draw N          another N draws others (default: 0)
  --against WHICH   pil: the processor on Pillow; torchvision: the one on torchvision (default: pil)
  --oracle PYTHON   an interpreter that has torch, torchvision, transformers 4.57.1 and decord2
                    (default: that of .venv-oracle)"""


@dataclass(frozen=True, kw_only=True)
class CertifyArguments:
    config: RunConfig
    samples: int = 200
    draw: int = 0
    against: Against = "pil"
    oracle: Path | None = None


_OWN = {"samples": int, "draw": int, "against": str, "oracle": Path}


def parse_certify(words: Sequence[str], note: Note) -> CertifyArguments:
    """Raises ConfigError in one line."""
    try:
        settings = read_settings(words, LISTS)
        own = [setting for setting in settings if setting.flag in _OWN and not setting.file]
        config = config_of([setting for setting in settings if setting not in own], note)
        values = {setting.flag: convert(setting, _OWN[setting.flag]) for setting in own}
    except FlagError as error:
        raise ConfigError(str(error)) from None
    arguments = CertifyArguments(config=config, **values)
    if arguments.samples < 1:
        raise ConfigError(f"--samples {arguments.samples}: say how many, 1 or more")
    if arguments.against not in get_args(Against):
        raise ConfigError(f"--against {arguments.against}: it is one of {', '.join(get_args(Against))}")
    return arguments


def certify(arguments: CertifyArguments, note: Note) -> tuple[list[str], bool]:
    """Lines to print, and whether nothing is unexplained. Raises FatalError or ShardError."""
    config, oracle = arguments.config, find_oracle(arguments.oracle)
    folder = config.output_dir
    shards, plan = open_shards(folder), PlanSummary.read(folder / PLAN_DIR)
    if plan is None:
        raise ConfigError(f"{folder / PLAN_DIR} is missing or unfinished; certify needs the plan beside the shards")
    encoder = SampleEncoder.load(config.model, config)
    _require_same_run(config, plan, encoder)
    _open_media(config, note)
    drawn = list(draw(shards, folder / PLAN_DIR, plan, arguments.samples, arguments.draw))
    with tempfile.TemporaryDirectory(prefix="preprocess-certify-") as name:
        work = Path(name)
        write_task(work, drawn, config, encoder, arguments.against)
        run_reference(work, oracle)
        reference = Reference.read(work)
        found = list(compare_all(drawn, reference, encoder.constants))
        of_all = compare_values(reference, encoder.constants)
    section = {
        **data_section(found, of_all, reference, encoder.constants),
        "against": arguments.against,
        "draw": arguments.draw,
    }
    write_certificate(folder, shards.manifest, "data", section)
    lines = [
        f"{counted(len(drawn), 'sample')} of {plan.totals.num_samples:,}, {section['num_tokens']:,} tokens, "
        f"{section['num_values']:,} values of pixels, against {arguments.against}",
        *table(section),
        f"wrote {folder / CERTIFICATE_PAGE_NAME}; open it in a browser",
    ]
    return lines, not section["num_unexplained"]


def _require_same_run(config: RunConfig, plan: PlanSummary, encoder: SampleEncoder) -> None:
    ours = {"config": config.determining(encoder.constants), "model": encoder.constants.to_json()}
    wanted = json.loads(json.dumps(ours))
    planned = {name: plan.inputs[name] for name in wanted}
    planned["config"] = {name: value for name, value in planned["config"].items() if name != "format"}
    differing = [name for name, *_ in differences(planned, wanted)]
    if differing:
        raise ConfigError(
            f"{config.output_dir} holds the run of another configuration ({', '.join(differing)} differ); "
            "certify with that of the run"
        )


def _open_media(config: RunConfig, note: Note) -> None:
    use_cache(config.media_cache_of_run)
    uses = choose_datasets(read_registries(config.registries), config.dataset_use, config.limit)
    archives = [group for use in uses for group in archives_of_places(use.dataset.data_path)]
    prepare_archives(archives, config.media_cache_of_run, EVERYTHING, note)
