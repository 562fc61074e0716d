"""Everything outside of the configuration that a plan reads, and the fingerprint made of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.tokenizer import load_tokenizer
from preprocess.config import RunConfig
from preprocess.errors import AnnotationError
from preprocess.plan.versions import versions
from preprocess.read.annotations import AnnotationFile, open_annotations
from preprocess.read.registry import Dataset, DatasetUse, choose_datasets, read_registry
from shards import ModelConstants, read_model_constants
from shards.files.hashing import sha256_of_file
from shards.files.names import TOKENIZER_NAME
from shards.inputs import with_format, without_format
from shards.manifest import fingerprint_of


@dataclass(frozen=True)
class Sources:
    """Everything outside of the configuration that a plan reads."""

    uses: tuple[DatasetUse, ...]
    constants: ModelConstants
    inputs: Mapping[str, Any]  # what determines the output, for the fingerprint

    @cached_property
    def files(self) -> tuple[AnnotationFile, ...]:
        """Opened and checked when first asked for: a finished plan needs none. Raises AnnotationError."""
        return tuple(open_annotations(use.dataset.annotation_path) for use in self.uses)

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

    def open_files(self) -> None:
        """Open and check the annotations now. Raises AnnotationError."""
        _ = self.files

    @property
    def locations(self) -> Mapping[str, Any]:
        """Where the datasets stand. No byte depends on it, but measured samples and rejects do."""
        return {
            use.dataset.name: {
                "annotation_path": str(use.dataset.annotation_path),
                "data_path": None if use.dataset.data_path is None else str(use.dataset.data_path),
            }
            for use in self.uses
        }

    @property
    def num_records(self) -> int:
        """Records that will be measured, each once."""
        return sum(use.num_chosen(len(file)) for use, file in zip(self.uses, self.files, strict=True))


def open_sources(config: RunConfig) -> Sources:
    """Raises ConfigError, AnnotationError, shards.ModelFolderError or UnknownFamily; touches nothing."""
    constants = read_model_constants(config.model)
    family_of(constants.model_type)
    tokenizer = config.model / TOKENIZER_NAME
    load_tokenizer(tokenizer)  # workers need it: where it is broken, nothing should have been written
    uses = choose_datasets(read_registry(config.datasets), config.dataset_use)
    inputs = {
        "config": config.determining(constants),
        "datasets": {
            use.dataset.name: {
                "annotations_sha256": _hash_annotations(use.dataset),
                "follow_links": use.dataset.follow_links,
                "boxes": use.dataset.boxes,
            }
            for use in uses
        },
        "model": constants.to_json(),
        "tokenizer_sha256": sha256_of_file(tokenizer),
        "versions": versions(),
    }
    return Sources(uses, constants, with_format(inputs, config.format))


def _hash_annotations(dataset: Dataset) -> str:
    try:
        return sha256_of_file(dataset.annotation_path)
    except OSError as error:
        raise AnnotationError(
            f"{dataset.annotation_path}: {error.strerror}; check annotation_path in the registry"
        ) from None
