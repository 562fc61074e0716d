"""The flags of `try`, and which record they ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

from preprocess.cli.arguments import LISTS, Note, config_of
from preprocess.config import RunConfig
from preprocess.errors import ConfigError
from preprocess.jobs.share import EVERYTHING
from preprocess.media.archives.prepare import prepare_archives
from preprocess.media.cache import use as use_cache
from preprocess.media.data_path import find_places
from preprocess.media.places import archives_of_places
from preprocess.read.annotation_files import annotation_files
from preprocess.read.annotations import open_all
from preprocess.read.dataset_use import choose_datasets
from preprocess.read.formats.detect import BY_SUFFIX
from preprocess.read.formats.inline_media import with_places
from preprocess.read.registry import Dataset, read_registries
from preprocess.report.trial import TrialJob
from shards.errors import FlagError
from shards.flags.nearest import nearest_name
from shards.flags.settings import Setting, read_settings

TRY_USAGE = """usage: python -m preprocess try WHAT --config run.yaml [--html FILE] [flags of run]

One record on its way: the form that was recognised, its media and their sizes, tokens, what is supervised, or why it is
a reject. Writes nothing but the page, and what a run would keep of archives: in `media_cache`, or beside output_dir,
or else in ./try.media.

  WHAT          DATASET, DATASET:INDEX or DATASET:INDEX.MEMBER as in rejects.jsonl, INDEX from 0;
                or a JSON file that holds one record, or FILE:INDEX of any file of annotations: with --dataset_use NAME
                it is read as one of that dataset, else its media are looked for beside the file, and --model is all
                that is needed
  --html FILE   write it as a page, with the pictures and the boxes drawn on them"""

_NAMED = re.compile(r"(?P<name>.+):(?P<index>[0-9]{1,18})(\.(?P<member>[0-9]{1,9}))?")


@dataclass(frozen=True, kw_only=True)
class TryArguments:
    what: str
    page: Path | None
    config: RunConfig
    is_given: frozenset[str]  # flags

    @property
    def has_folder(self) -> bool:
        """Whether archives are kept where a run will look for them."""
        return not self.is_given.isdisjoint({"output_dir", "media_cache"})


def parse_try(words: Sequence[str], note: Note) -> TryArguments:
    """Raises ConfigError in one line."""
    if not words or words[0].startswith("--"):
        raise ConfigError(TRY_USAGE.partition("\n")[0])
    try:
        settings = read_settings(words[1:], LISTS)
        pages = [setting for setting in settings if setting.flag == "html" and not setting.file]
        if any(not setting.value for setting in pages):
            raise ConfigError("--html needs the name of a file")
        others = [setting for setting in settings if setting not in pages]
        given = frozenset(setting.flag for setting in others)
        # What a run needs and a single record does not; neither is looked at.
        unneeded = {"output_dir": "try", "datasets": "datasets.yaml", "dataset_use": "all"}
        filled = [Setting(flag=flag, value=value) for flag, value in unneeded.items() if flag not in given]
        config = config_of([*filled, *others], note)
    except FlagError as error:
        raise ConfigError(str(error)) from None
    page = Path(pages[-1].value) if pages else None
    if page is not None and not page.parent.is_dir():
        raise ConfigError(f"--html {page}: there is no folder {page.parent}; make it, or name another file")
    return TryArguments(what=words[0], page=page, config=config, is_given=given)


def find_record(arguments: TryArguments, note: Note) -> TrialJob:
    """Raises ConfigError or AnnotationError where it can't be found."""
    config = arguments.config
    use_cache(config.media_cache_of_run)
    path, place = _file_named(arguments.what)
    if path is not None:
        dataset = _dataset_of_file(path, arguments)
        if place is None and BY_SUFFIX.get(path.suffix, "json") == "json":
            job = TrialJob(dataset=dataset, index=0, record=_read_file(path))
        else:
            index, member = place or (0, None)
            of_file = replace(dataset, annotation_path=path, annotation_format="auto")
            job = TrialJob(dataset=dataset, index=index, record=_read_record(of_file, index), member=member)
    else:
        if "datasets" not in arguments.is_given:
            raise ConfigError(f"try {arguments.what}: no file of that name; for a dataset give --config or --datasets")
        dataset, index, member = _named(arguments.what, config)
        job = TrialJob(dataset=dataset, index=index, record=_read_record(dataset, index), member=member)
    if member_missing(job):
        raise ConfigError(f"try {arguments.what}: record {job.index} has no member {job.member}")
    prepare_archives(archives_of_places(job.dataset.data_path), config.media_cache_of_run, EVERYTHING, note)
    return job


def member_missing(job: TrialJob) -> bool:
    return job.member is not None and not (isinstance(job.record, list) and job.member < len(job.record))


def _file_named(what: str) -> tuple[Path | None, tuple[int, int | None] | None]:
    """A file, if it is one, and where the record stands in it, if that is said."""
    if Path(what).is_file():
        return Path(what), None
    match = _NAMED.fullmatch(what)
    if match is None or not Path(match["name"]).is_file():
        return None, None
    return Path(match["name"]), _place(match)


def _place(match: re.Match[str]) -> tuple[int, int | None]:
    """INDEX and MEMBER."""
    return int(match["index"]), int(match["member"]) if match["member"] else None


def _dataset_of_file(path: Path, arguments: TryArguments) -> Dataset:
    config = arguments.config
    if "dataset_use" not in arguments.is_given or "datasets" not in arguments.is_given:
        return Dataset(name=path.stem, annotation_path=path, data_path=path.absolute().parent)
    uses = choose_datasets(read_registries(config.registries), config.dataset_use)
    if len(uses) != 1:
        raise ConfigError(f"try {path}: say --dataset_use NAME, the one dataset that the record is to be read as")
    return uses[0].dataset


def _named(what: str, config: RunConfig) -> tuple[Dataset, int, int | None]:
    registry = read_registries(config.registries)
    match = None if what in registry else _NAMED.fullmatch(what)
    name = match["name"] if match else what
    if name not in registry:
        nearest = nearest_name(name, registry)
        hint = f"; did you mean {nearest!r}?" if nearest else f"; the registry has {', '.join(registry)}"
        raise ConfigError(f"try {what}: neither a file nor a dataset{hint}")
    dataset = registry[name]
    dataset = replace(dataset, data_path=find_places(dataset.where, dataset.data_path))
    return dataset, *(_place(match) if match else (0, None))


def _read_file(path: Path) -> Any:
    try:
        raw = path.read_bytes()
        return with_places(json.loads(raw.decode("utf-8-sig")), raw, path, 0)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"try {path}: not a JSON record: {error}; of a file of many say {path}:INDEX") from None


def _read_record(dataset: Dataset, index: int) -> Any:
    file = open_all(annotation_files(dataset), columns=dataset.columns, format=dataset.annotation_format)
    if index >= len(file):
        raise ConfigError(f"dataset {dataset.name!r} has {len(file):,} records, the first is 0; there is no {index:,}")
    start = file.checkpoint(index)
    records: Iterator[Any] = file.read_from(start)
    return next(islice(records, index - start, None))
