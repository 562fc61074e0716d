"""`max_pixels: model`: limits that the model folder says, in place of the word.

| limit | where it stands |
| --- | --- |
| max_pixels, min_pixels | preprocessor_config.json: `max_pixels` and `min_pixels`, or `size` |
| video_total_pixels | video_preprocessor_config.json: `size`, if the processor is one that counts over all frames |

`size` calls them longest_edge and shortest_edge, but they are areas in pixels. What transformers 5 writes, all of it in
processor_config.json, is read too.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from preprocess.config import OF_MODEL, RunConfig
from preprocess.errors import ConfigError
from shards.files.names import PROCESSOR_NAME
from shards.model_folder.folder import find_video_processor, read_processor
from shards.model_folder.json_file import JsonFile, ModelFolderError

_KEYS = {"min_pixels": ("min_pixels", "shortest_edge"), "max_pixels": ("max_pixels", "longest_edge")}
_COUNTS_OVER_ALL_FRAMES = "Qwen3VLVideoProcessor"
_CELL = 28  # pixels per side of a visual token, in which users of the Qwen scripts count: 576*28*28
_LIMITS = (
    *("max_pixels", "min_pixels", "video_max_frame_pixels", "video_min_frame_pixels"),
    *("video_total_pixels", "video_min_total_pixels"),
)


def with_limits_of_model(config: RunConfig) -> RunConfig:
    """The same with numbers only. Raises ConfigError, or ModelFolderError where a file is missing or no JSON."""
    changes: dict[str, Any] = {}
    wanted = [name for name in _KEYS if getattr(config, name) == OF_MODEL]
    if wanted:
        processor = read_processor(config.model, PROCESSOR_NAME, "image_processor")
        changes |= {name: _limit(processor, name, name) for name in wanted}
    if config.video_total_pixels == OF_MODEL:
        videos = find_video_processor(config.model)
        kind = None if videos is None else videos.record.get("video_processor_type")
        if videos is None or kind != _COUNTS_OVER_ALL_FRAMES:
            raise ConfigError(
                f"video_total_pixels is model, and in {config.model} the video processor is {kind}, not "
                f"{_COUNTS_OVER_ALL_FRAMES}, whose limits are over all frames; say a number"
            )
        changes["video_total_pixels"] = _limit(videos, "max_pixels", "video_total_pixels")
        if config.video_min_total_pixels is None:
            changes["video_min_total_pixels"] = _limit(videos, "min_pixels", "video_total_pixels")
    return replace(config, **changes) if changes else config


def notes_on_limits(config: RunConfig) -> list[str]:
    """What limits written in cells of 28 x 28 pixels are in those of a model that has others."""
    given = {name: getattr(config, name) for name in _LIMITS}
    written = {name: pixels for name, pixels in given.items() if type(pixels) is int and pixels % _CELL**2 == 0}
    if not written:
        return []
    try:
        processor = read_processor(config.model, PROCESSOR_NAME, "image_processor")
        cell = processor.size("patch_size") * processor.size("merge_size")
    except ModelFolderError:  # which whoever reads the folder next says
        return []
    return [
        f"{name} {pixels:,} is {pixels // _CELL**2:,} times {_CELL} x {_CELL} pixels, and "
        f"{pixels / cell**2:,.5g} times {cell} x {cell}, those of a visual token of this model"
        for name, pixels in written.items()
        if cell != _CELL
    ]


def _limit(processor: JsonFile, name: str, flag: str) -> int:
    """In pixels. Where both spellings stand, transformers takes the first."""
    size = processor.record.get("size")
    places = [processor.record, size if isinstance(size, dict) else {}]
    for key in _KEYS[name]:
        for place in places:
            if place.get(key) is not None:
                return JsonFile(processor.path, place).size(key)
    raise ConfigError(f"{flag} is model, and {processor.path} says no {' or '.join(_KEYS[name])}; say a number")
