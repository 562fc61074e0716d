"""Everything outside of the configuration that a plan reads, and the fingerprint made of it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.tokenizer import check_allowed, load_model_tokenizer
from preprocess.config import RunConfig
from preprocess.errors import AnnotationError, ConfigError
from preprocess.jobs.share import EVERYTHING, Share
from preprocess.media.archives.prepare import prepare_archives
from preprocess.media.cache import use as use_cache
from preprocess.media.places import archives_of_places, as_written
from preprocess.plan.indexes import shared_indexes
from preprocess.plan.versions import versions
from preprocess.read.annotation_files import annotation_files
from preprocess.read.annotations import AnnotationFile, SeveralFiles, open_all
from preprocess.read.dataset_use import DatasetUse, choose_datasets
from preprocess.read.index import AnnotationIndex
from preprocess.read.options import chosen_options
from preprocess.read.registry import read_registries
from shards import ModelConstants, read_model_constants
from shards.architecture import check_architecture
from shards.files.hashing import sha256_of_file
from shards.inputs import with_format, without_format
from shards.manifest import fingerprint_of
from shards.model_folder import read_tokenizer, tokenizer_files

Stamp = tuple[int, int, int, int]  # inode, size, times of change of content and of status


@dataclass
class HashedInput:
    """A file as it was when it was hashed."""

    path: Path
    sha256: str
    stamp: Stamp

    @classmethod
    def of(cls, path: Path, index: AnnotationIndex | None = None) -> HashedInput:
        """Hashed now, or when its index was made. Raises FatalError where it is no longer the file of the index."""
        stamp = _stamp_of(path)  # before hashing: what is changed meanwhile is found later
        if index is not None:
            index.check()
        return cls(path, sha256_of_file(path) if index is None else index.sha256, stamp)

    def check(self) -> None:
        """Raises AnnotationError where the content is another one by now; a file that was only touched is none."""
        try:
            stamp = _stamp_of(self.path)
            if stamp == self.stamp:
                return
            sha256 = sha256_of_file(self.path)
        except OSError as error:
            raise AnnotationError(f"{self.path}: {error.strerror}, while a run was reading it") from None
        if sha256 != self.sha256:
            raise AnnotationError(
                f"{self.path} changed while a run was reading it; leave it as it is, and run again with --overwrite"
            )
        self.stamp = stamp


def _stamp_of(path: Path) -> Stamp:
    stat = path.stat()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


@dataclass(frozen=True)
class Sources:
    """Everything outside of the configuration that a plan reads."""

    uses: tuple[DatasetUse, ...]
    constants: ModelConstants
    inputs: Mapping[str, Any]  # what determines the output, for the fingerprint
    hashed: tuple[HashedInput, ...] = ()  # files whose hashes are in `inputs`
    paths: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # of the annotations, by dataset
    indexes: Mapping[Path, AnnotationIndex] = field(default_factory=dict)  # of annotations, by their path; array jobs

    @cached_property
    def files(self) -> tuple[AnnotationFile, ...]:
        """Opened and checked when first asked for: a finished plan needs none. Raises AnnotationError."""
        return tuple(
            open_all(self.paths[use.dataset.name], self.indexes, use.dataset.columns, use.dataset.annotation_format)
            for use in self.uses
        )

    @cached_property
    def several_files(self) -> dict[str, list[tuple[str, int]]]:
        """Of each dataset of several files, (path, number of records) of each; opens them. Raises AnnotationError."""
        return {
            use.dataset.name: [(str(path), number) for path, number in zip(paths, file.lengths, strict=True)]
            for use, file in zip(self.uses, self.files, strict=True)
            if isinstance(file, SeveralFiles)
            for paths in [self.paths[use.dataset.name]]
        }

    @property
    def fingerprint(self) -> str:
        """sha256 of everything that determines the bytes of the output."""
        return fingerprint_of(self.inputs)

    @property
    def plan_inputs(self) -> Mapping[str, Any]:
        """What determines the plan, which is the same for every file format."""
        return without_format(self.inputs)

    @property
    def plan_fingerprint(self) -> str:
        return fingerprint_of(self.plan_inputs)

    def check_unchanged(self, paths: Collection[Path] | None = None) -> None:
        """Raises AnnotationError where what was read since, of these files or of all, may not be what the fingerprint
        is of."""
        for path in self._hashed_by_path if paths is None else paths:
            self._hashed_by_path[path].check()

    @cached_property
    def _hashed_by_path(self) -> dict[Path, HashedInput]:
        return {each.path: each for each in self.hashed}

    def open_files(self) -> None:
        """Open and check the annotations now. Raises AnnotationError."""
        _ = self.files

    @property
    def locations(self) -> Mapping[str, Any]:
        """Where the datasets stand. No byte depends on it, but measured samples and rejects do."""
        return {
            use.dataset.name: {
                "annotation_path": _written(use.dataset.annotation_path),
                "data_path": as_written(use.dataset.data_path),
            }
            for use in self.uses
        }

    @property
    def num_records(self) -> int:
        """Records that will be measured, each once."""
        return sum(use.num_chosen(len(file)) for use, file in zip(self.uses, self.files, strict=True))


def open_sources(config: RunConfig, share: Share = EVERYTHING, tell: Callable[[str], None] = lambda _: None) -> Sources:
    """Raises ConfigError, AnnotationError, shards.ModelFolderError or UnknownFamily.

    Touches nothing, but for array jobs, which share indexes of the annotations, and for archives, whose indexes stand
    in `media_cache`; `tell` says what is done about those.
    """
    if not config.model.exists() and re.fullmatch(r"[\w-]+/[\w.-]+", str(config.model)):
        raise ConfigError(
            f"--model {config.model} is no folder here; if it is a model of the Hugging Face Hub, download it first "
            f"(hf download {config.model} --local-dir FOLDER) and say --model FOLDER"
        )
    constants = read_model_constants(config.model)
    check_architecture(config.model)  # no byte depends on it, but training does
    family_of(constants.model_type)
    loaded = load_model_tokenizer(config.model)  # workers need it: where it is broken, nothing should have been written
    uses = choose_datasets(read_registries(config.registries), config.dataset_use, config.limit)
    for use in uses:
        check_allowed(use.dataset.allow_tokens, loaded, constants, f"dataset {use.dataset.name!r}")
    use_cache(config.media_cache_of_run)
    paths = {use.dataset.name: annotation_files(use.dataset) for use in uses}
    everything = {path: use.dataset.annotation_format for use in uses for path in paths[use.dataset.name]}
    indexes = shared_indexes(config.output_dir, everything, share) if share.of > 1 else {}
    annotations = {name: [_hash_annotations(path, indexes) for path in files] for name, files in paths.items()}
    hashed = {each.path: each for of_dataset in annotations.values() for each in of_dataset}
    tokenizer = [HashedInput.of(config.model / name) for name in tokenizer_files(config.model)]
    # Unpacking may take hours, so it comes after what is soon found to be wrong.
    archives = [group for use in uses for group in archives_of_places(use.dataset.data_path)]
    prepare_archives(archives, config.media_cache_of_run, share, tell)
    inputs = {
        "config": config.determining(constants),
        "datasets": {
            use.dataset.name: {
                "annotations_sha256": _hash_of_all(annotations[use.dataset.name]),
                "follow_links": use.dataset.follow_links,
                "boxes": use.dataset.boxes,
                **chosen_options(use.dataset),
            }
            for use in uses
        },
        "model": constants.to_json(),
        "tokenizer_sha256": hashlib.sha256(read_tokenizer(config.model)).hexdigest(),
        "versions": versions(),
    }
    return Sources(
        uses=uses,
        constants=constants,
        inputs=with_format(inputs, config.shard_format),
        hashed=(*hashed.values(), *tokenizer),
        paths=paths,
        indexes=indexes,
    )


def _hash_annotations(path: Path, indexes: Mapping[Path, AnnotationIndex]) -> HashedInput:
    try:
        return HashedInput.of(path, indexes.get(path))
    except OSError as error:
        raise AnnotationError(f"{path}: {error.strerror}; check annotation_path in the registry") from None


def _hash_of_all(files: Sequence[HashedInput]) -> str:
    """The hash of a single file, or that of the hashes of several in their order, a line each."""
    if len(files) == 1:
        return files[0].sha256
    return hashlib.sha256("".join(f"{file.sha256}\n" for file in files).encode()).hexdigest()


def _written(annotation_path: Path | Sequence[Path]) -> str | list[str]:
    return str(annotation_path) if isinstance(annotation_path, Path) else list(map(str, annotation_path))
