"""The files of a model folder together, and the constants that come from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shards.files.names import ALL_PROCESSORS_NAME, CONFIG_NAME, PROCESSOR_NAME, TOKENIZER_NAME
from shards.model_constants import ModelConstants
from shards.model_folder.json_file import JsonFile, ModelFolderError
from shards.model_folder.rope import Rope, language_values, read_rope
from shards.model_folder.tokenizer import parse_tokenizer, token_ids

_VIDEO_PROCESSOR_NAME = "video_preprocessor_config.json"
PAD_TOKEN = "<|endoftext|>"


@dataclass(frozen=True, kw_only=True)
class ModelFolder:
    """The files that constants come from, parsed."""

    path: Path
    config: JsonFile
    processor: JsonFile  # of images
    videos: JsonFile | None  # the processor of videos, where it is told apart
    tokenizer: JsonFile

    @classmethod
    def read(cls, path: Path) -> ModelFolder:
        """Raises ModelFolderError where a file is missing or no JSON object."""
        return cls(
            path=path,
            config=JsonFile.read(path / CONFIG_NAME),
            processor=read_processor(path, PROCESSOR_NAME, "image_processor"),
            videos=find_video_processor(path),
            tokenizer=parse_tokenizer(path),
        )

    @property
    def model_type(self) -> Any:
        """As config.json says it, unchecked."""
        return self.config.record.get("model_type")

    @property
    def vision(self) -> JsonFile:
        """What config.json says of the vision tower."""
        return self.config.section("vision_config")

    def constants(
        self, *, window_size: int = 0, tokens_per_second: float = 0, position_grid: int = 0
    ) -> ModelConstants:
        """Everything that stands at the same place for each family; the arguments are what does not.

        Understands flat config.json (as published with the older models) and nested ones (`text_config`, as newer
        transformers write them). Raises ModelFolderError where a value is missing or the files contradict each other.
        """
        config, processor = self.config, self.processor
        text = JsonFile(config.path, self._language())
        tokens = token_ids(self.tokenizer)
        constants = ModelConstants(
            model_type=self.model_type,
            vocab_size=text.size("vocab_size"),
            patch_size=processor.size("patch_size"),
            merge_size=processor.size("merge_size"),
            temporal_patch_size=processor.size("temporal_patch_size"),
            window_size=window_size,
            tokens_per_second=tokens_per_second,
            position_grid=position_grid,
            im_start_token_id=tokens.token_id("<|im_start|>"),
            im_end_token_id=tokens.token_id("<|im_end|>"),
            pad_token_id=tokens.token_id(PAD_TOKEN),
            vision_start_token_id=tokens.token_id("<|vision_start|>"),
            vision_end_token_id=tokens.token_id("<|vision_end|>"),
            image_token_id=tokens.token_id("<|image_pad|>"),
            video_token_id=tokens.token_id("<|video_pad|>"),
            image_mean=processor.three_numbers("image_mean"),
            image_std=processor.three_positive_numbers("image_std"),
            rescale_factor=processor.number("rescale_factor", default=1 / 255),
        )
        self.rope()  # no array depends on it, but training does
        _check_agreement(
            self.path,
            constants,
            config.record,
            self.vision.record,
            processor=processor.path,
            largest_token_id=max(tokens.record.values()),
        )
        if self.videos is not None:
            _check_video_processor(self.videos, constants)
        return constants

    def rope(self) -> Rope:
        """Raises ModelFolderError."""
        try:
            return read_rope(self._language())
        except ModelFolderError as error:
            raise ModelFolderError(f"{self.config.path}: {error}") from None

    def _language(self) -> dict[str, Any]:
        try:
            return language_values(self.config.record)
        except ModelFolderError as error:
            raise ModelFolderError(f"{self.config.path}: {error}") from None


def model_files(folder: Path) -> tuple[str, ...]:
    """Names of the files that constants come from, as they stand beside shards."""
    names = (PROCESSOR_NAME, ALL_PROCESSORS_NAME)
    processor = next((name for name in names if (folder / name).is_file()), PROCESSOR_NAME)
    videos = (_VIDEO_PROCESSOR_NAME,) if (folder / _VIDEO_PROCESSOR_NAME).is_file() else ()
    return CONFIG_NAME, TOKENIZER_NAME, processor, *videos


def find_video_processor(folder: Path) -> JsonFile | None:
    """As `read_processor`; None where nothing is said of videos."""
    own, all_of_them = folder / _VIDEO_PROCESSOR_NAME, folder / ALL_PROCESSORS_NAME
    if not own.is_file() and not (all_of_them.is_file() and "video_processor" in JsonFile.read(all_of_them).record):
        return None
    return read_processor(folder, _VIDEO_PROCESSOR_NAME, "video_processor")


def read_processor(folder: Path, name: str, section: str) -> JsonFile:
    """The file `name`; where there is none, that section of processor_config.json. Raises ModelFolderError.

    Where both stand, transformers 4 reads the one and transformers 5 the other, so they must agree.
    """
    own, all_of_them = folder / name, folder / ALL_PROCESSORS_NAME
    if not all_of_them.is_file():
        return JsonFile.read(own)
    shared = JsonFile.read(all_of_them)
    if not own.is_file():
        return shared.section(section)
    processor = JsonFile.read(own)
    others = shared.section(section).record if section in shared.record else {}
    for key in sorted((processor.record.keys() & others.keys()) - _ABOUT_CLASSES):
        if processor.record[key] != others[key]:
            raise ModelFolderError(
                f"{own} says {key} is {processor.record[key]!r}, {ALL_PROCESSORS_NAME} beside it says {others[key]!r}; "
                "the files are of different models: remove the one that is not this model's"
            )
    return processor


# What a processor is called may be said in each file in its own way.
_ABOUT_CLASSES = {"image_processor_type", "processor_class", "video_processor_type", "feature_extractor_type"}


def _check_video_processor(videos: JsonFile, constants: ModelConstants) -> None:
    """Videos become tokens by the same numbers as images."""
    for name in ("patch_size", "merge_size", "temporal_patch_size", "image_mean", "image_std"):
        said, found = videos.record.get(name), getattr(constants, name)
        if said is not None and said != (list(found) if isinstance(found, tuple) else found):
            raise ModelFolderError(
                f"{videos.path} says {name} is {said!r}, the image processor says {found}; "
                "the files are of different models"
            )


def _check_agreement(
    folder: Path,
    constants: ModelConstants,
    config: dict[str, Any],
    vision: dict[str, Any],
    *,
    processor: Path,
    largest_token_id: int,
) -> None:
    """config.json says some numbers a second time; a contradiction means files of two models were mixed."""
    said_twice = {
        "patch_size": vision.get("patch_size", vision.get("spatial_patch_size")),
        "merge_size": vision.get("spatial_merge_size"),
        "temporal_patch_size": vision.get("temporal_patch_size"),
        "vision_start_token_id": config.get("vision_start_token_id"),
        "vision_end_token_id": config.get("vision_end_token_id"),
        "image_token_id": config.get("image_token_id"),
        "video_token_id": config.get("video_token_id"),
    }
    for name, other in said_twice.items():
        if other is not None and other != getattr(constants, name):
            raise ModelFolderError(
                f"{folder}: config.json says {name} is {other}, the tokenizer or preprocessor says "
                f"{getattr(constants, name)}; the files are of different models"
            )
    if largest_token_id >= constants.vocab_size:
        raise ModelFolderError(
            f"{folder}: tokenizer.json has token id {largest_token_id}, config.json says vocab_size is "
            f"{constants.vocab_size}; the files are of different models"
        )
    if abs(constants.rescale_factor - 1 / 255) > 1e-9:
        raise ModelFolderError(
            f"{processor}: rescale_factor {constants.rescale_factor} is not 1/255, "
            "the only one that uint8 patches can be normalised with"
        )
