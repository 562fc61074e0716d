"""The commands of python -m preprocess: plan, run, try, report, certify, doctor.

Exit codes: 0 done; 1 finished with too many rejects or without a sample, or stopped by an error; 2 wrong usage or
configuration, no shard written; 143 and 130 stopped by SIGTERM and SIGINT.
"""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from preprocess.arithmetic.tokenizer import load_model_tokenizer
from preprocess.cli.arguments import describe_flags, parse_config
from preprocess.cli.certify_command import CERTIFY_USAGE, certify, parse_certify
from preprocess.cli.doctor import pixels_lines, versions_lines
from preprocess.cli.sweep_arguments import parse_plan
from preprocess.cli.trial_command import TRY_USAGE, find_record, parse_try
from preprocess.config import RunConfig
from preprocess.errors import AnnotationError, ConfigError, FatalError, disk_error
from preprocess.jobs.executor import WorkerPool
from preprocess.jobs.share import Share
from preprocess.ledger import read_ledger, write_ledger
from preprocess.media.places import archives_of_places
from preprocess.output_dir import hold_of, prepare
from preprocess.pixels import check_pixels, slower_line
from preprocess.plan.inputs import Sources, open_sources
from preprocess.plan.make import make_plan
from preprocess.plan.summary import PlanSummary
from preprocess.plan.sweep import run_sweep
from preprocess.read.dataset_use import choose_datasets
from preprocess.read.registry import read_registries
from preprocess.report.terminal import (
    contents_table,
    plan_table,
    reject_examples,
    run_summary,
    slowest_lines,
    sweep_table,
)
from preprocess.report.trial import TrialStage
from preprocess.report.trial_text import trial_text
from preprocess.run import choose_executor, materialise, plan_into_output
from preprocess.timing import read_slowest
from preprocess.write.publish import publish
from shards import ModelFolderError, ShardError, read_manifest, read_model_constants
from shards.files.names import LEDGER_NAME, MANIFEST_NAME, PLAN_DIR
from shards.files.text import one_line, visible
from shards.look.show import COLOUR, PLAIN
from shards.look.transcript import Transcriber

USAGE = """usage: python -m preprocess COMMAND ...

  plan --config run.yaml [flags]   measure and pack; decodes no image, leaves nothing but `media_cache` behind
       --sweep max_pixels=200704,451584 pack_length=4096,8192     compare configurations, a line each
       --rejects FILE              write what is rejected, and why, a line each
  run --config run.yaml [flags]    plan, then write the shards into output_dir
  try DATASET[:INDEX] --config run.yaml [flags]     one record on its way, or a file that holds one
       --html FILE                 the same as a page, with boxes drawn on its pictures
  report OUTPUT_DIR                what a finished run holds
       --html FILE                 the same as a page, with pictures
  certify --config run.yaml        samples of a finished run beside Hugging Face's processor: scripts/certify.sh
  doctor                           this machine: versions, whether the fast ways to pixels work, how fast they are

python -m preprocess run --help lists the flags."""

REPORT_USAGE = """usage: python -m preprocess report OUTPUT_DIR [--html FILE]

What a finished run holds: samples, tokens and rejects of each dataset, and the samples that took longest.

  --html FILE   write it as one page, with pictures, packs and distributions"""


DOCTOR_USAGE = """usage: python -m preprocess doctor

This machine: versions, whether the fast ways to pixels work and give Pillow's bytes, how fast they are. Exit code 1
where a byte differs."""


def main(arguments: Sequence[str]) -> int:
    commands = {
        "plan": _plan,
        "run": _run,
        "try": _try,
        "report": _report,
        "certify": _certify,
        "doctor": _doctor,
    }
    if not arguments or arguments[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if arguments else 2
    command, *rest = arguments
    try:
        if command not in commands:
            raise ConfigError(f"unknown command {command!r}; commands are {', '.join(commands)}")
        if "-h" in rest or "--help" in rest:
            usages = {"report": REPORT_USAGE, "try": TRY_USAGE, "certify": CERTIFY_USAGE, "doctor": DOCTOR_USAGE}
            print(usages.get(command) or describe_flags(command))
            return 0
        return commands[command](rest)
    except (ConfigError, AnnotationError, ModelFolderError, ShardError) as error:
        _say(f"preprocess: error: {error}")
        return 2
    except FatalError as error:
        _say(f"preprocess: stopped: {error}")
        return 1
    except BrokenPipeError:  # nobody reads what we print any more, as behind `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        _say(f"preprocess: stopped: {disk_error(error)}")
        return 1


def _plan(arguments: Sequence[str]) -> int:
    asked = parse_plan(arguments, _note)
    config, sweep, rejects = asked.config, asked.sweep, asked.rejects
    if not asked.has_folder:
        _require_nothing_kept(config)
    sources = open_sources(config, tell=_note)
    # Ray's actors may be on other machines, which share the disk of the output and not that of temporary files.
    shared = config.output_dir.parent if config.executor == "ray" else None
    if shared is not None and not shared.is_dir():
        raise ConfigError(f"--executor ray plans in a temporary folder in {shared}, which does not exist; make it")
    with (
        tempfile.TemporaryDirectory(prefix="preprocess-plan-", dir=shared) as folder,
        choose_executor(config) as executor,
    ):
        if sweep is not None:
            totals, sweep_lines = run_sweep(config, sweep, sources, Path(folder), executor)
            _show(sweep_table(sweep, totals, sweep_lines))
            return 0 if any(line.num_packs for line in sweep_lines) else 1
        plan = make_plan(config, sources, Path(folder), executor)
        _print_plan(plan, Path(folder), sources)
        if rejects is not None:
            write_ledger(rejects, read_ledger(Path(folder) / LEDGER_NAME))
    return _exit_code(config, plan.num_rejects, plan)


def _require_nothing_kept(config: RunConfig) -> None:
    """Raises ConfigError where a plan needs a place that a run will look into."""
    if config.executor == "ray":
        raise ConfigError("--output_dir must be given with --executor ray, which plans in a folder beside it")
    uses = choose_datasets(read_registries(config.registries), config.dataset_use, config.limit)
    for use in uses:
        if archives_of_places(use.dataset.data_path):
            raise ConfigError(
                "--output_dir or --media_cache must be given: a plan keeps indexes of the archives of "
                f"{use.dataset.name!r} there, for the run too"
            )


def _print_plan(plan: PlanSummary, folder: Path, sources: Sources) -> None:
    _show("\n".join([plan_table(plan, sources.constants), *reject_examples(read_ledger(folder / LEDGER_NAME))]))
    sys.stdout.flush()


def _run(arguments: Sequence[str]) -> int:
    config = parse_config(arguments, _note)
    share = Share.of_array_job(config.task, os.environ)
    if config.task is None and share.of > 1:
        _note(f"this Slurm array job does share {share} of one run; to run all of it in each job, say --task 0/1")
    with choose_executor(config) as executor:
        sources = prepare(config, share, _note)
        hold = hold_of(config, sources)
        with hold.kept():
            plan = plan_into_output(config, sources, executor, share)
            _print_plan(plan, config.output_dir / PLAN_DIR, sources)
            unfinished = materialise(config, plan, executor, share, hold)
    if unfinished:
        print(
            f"this share is done; {unfinished:,} of {plan.num_shards:,} shards are still to come from other shares, "
            "the last of which publishes"
        )
        return 0
    was_done = (config.output_dir / MANIFEST_NAME).is_file()
    with hold.kept():
        published = publish(config, plan, sources.constants, hold)
    if published is None:
        _say(f"preprocess: no sample is left; {config.output_dir / LEDGER_NAME} says why")
        return 1
    _show(run_summary(published, plan, config.output_dir, config.reuse, was_done=was_done))
    for line in (config.media_cache_of_run.held_line(), slower_line()):
        if line is not None:
            _show(line)
    return _exit_code(config, published.manifest.num_rejects, plan)


def _report(arguments: Sequence[str]) -> int:
    folder, page = _report_arguments(arguments)
    if page is not None and not page.parent.is_dir():
        raise ConfigError(f"--html {page}: there is no folder {page.parent}; make it, or name another file")
    manifest = read_manifest(folder)
    plan = PlanSummary.read(folder / PLAN_DIR)
    if plan is None:
        raise ConfigError(f"{folder / PLAN_DIR} is missing or unfinished; a report needs the plan beside the shards")
    if not (folder / LEDGER_NAME).is_file():
        raise ConfigError(
            f"{folder / LEDGER_NAME} is missing; copy it too, or publish again with the command of the run"
        )
    if page is not None:
        # Templates and pictures take long to import, which nothing but a page should wait for.
        from preprocess.report.page import report_page
        from preprocess.report.thumbnails import SECONDS as THUMBNAIL_SECONDS
        from shards.look.page import write_page

        with WorkerPool(workers=1, item_timeout=THUMBNAIL_SECONDS) as executor:
            _show(write_page(page, report_page(folder, manifest, plan, executor)))
        return 0
    _show(contents_table(manifest, plan, folder))
    for line in reject_examples(read_ledger(folder / LEDGER_NAME)) + slowest_lines(read_slowest(folder / PLAN_DIR, 5)):
        _show(line)
    return 0


def _try(arguments: Sequence[str]) -> int:
    options = parse_try(arguments, _note)
    job = find_record(options, _note)
    config = options.config
    constants, transcriber = read_model_constants(config.model), Transcriber(load_model_tokenizer(config.model))
    with WorkerPool(workers=1, item_timeout=config.sample_timeout) as executor:
        [(_, trials)] = executor.run(TrialStage(config=config), [job], lambda: None)
    if options.page is not None:
        # Templates and pictures take long to import, which nothing but a page should wait for.
        from preprocess.report.trial_page import trials_page
        from shards.look.page import write_page

        _show(write_page(options.page, trials_page(options.what, trials, constants, transcriber)))
    else:
        marks = COLOUR if sys.stdout.isatty() and not os.environ.get("NO_COLOR") else PLAIN
        for position, trial in enumerate(trials):
            print(("\n" if position else "") + trial_text(trial, constants, transcriber, marks))
    held = None if options.has_folder else config.media_cache_of_run.held_line()
    if held is not None:  # in a folder that no run will look into
        _note(held)
    return 1 if any(trial.error for trial in trials) else 0


def _certify(arguments: Sequence[str]) -> int:
    lines, is_well = certify(parse_certify(arguments, _note), _note)
    for line in lines:
        _show(line)
    return 0 if is_well else 1


def _doctor(arguments: Sequence[str]) -> int:
    if arguments:
        raise ConfigError("usage: python -m preprocess doctor")
    print("\n".join(versions_lines()), flush=True)
    check = check_pixels()
    print("\n".join(pixels_lines(check)))
    return 0 if check.is_equal else 1


def _report_arguments(arguments: Sequence[str]) -> tuple[Path, Path | None]:
    """The folder, and the page to write, if any. Raises ConfigError."""
    match [word for argument in arguments for word in re.split("(?<=^--html)=", argument)]:
        case [str(folder)] if not folder.startswith("-"):
            return Path(folder), None
        case [str(folder), "--html", str(page)] | ["--html", str(page), str(folder)]:
            return Path(folder), Path(page)
    raise ConfigError("usage: python -m preprocess report OUTPUT_DIR [--html FILE]")


def _exit_code(config: RunConfig, num_rejects: int, plan: PlanSummary) -> int:
    if not plan.num_packs:
        _say("preprocess: no sample is left; the rejects say why")
        return 1
    share = num_rejects / plan.num_records
    if share > config.max_reject_share:
        _say(
            f"preprocess: {share:.1%} of the samples were rejected, more than max_reject_share "
            f"({config.max_reject_share:.1%}); mend them and begin in a new folder, or raise it if that is acceptable"
        )
        return 1
    return 0


def _show(text: object) -> None:
    print(visible(str(text), keep="\n"))


def _note(line: str) -> None:
    _say(f"preprocess: note: {line}")


def _say(line: str) -> None:
    print(one_line(line), file=sys.stderr)
