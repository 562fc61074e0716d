"""What a run is told to do. Frozen and checked when made: a RunConfig that exists is valid in itself."""

from __future__ import annotations

import math
import os
import re
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from preprocess.arithmetic.geometry import FrameSampling, PixelLimits
from preprocess.errors import ConfigError
from preprocess.media import cache
from preprocess.media.pictures.rules import MOST_SOURCE_PIXELS, PictureRules
from shards import ModelConstants
from shards.files.formats import format_of
from shards.files.paths import path_flaw
from shards.formats.mindrecord import MAX_SHARD_BYTES
from shards.manifest import MOST_PATCHES, MOST_TOKENS

AUTO = "auto"
OF_MODEL = "model"  # a limit that the model folder says; `cli/model_limits.py` puts its number there
_BOUNDS: dict[str, tuple[float, float]] = {  # beyond these no run makes sense, and some library counts wrong
    "base_interval": (1e-6, math.inf),  # seconds; no video has as many frames, and its reciprocal does not overflow
    "max_source_pixels": (1, 1 << 32),  # what JPEG can say
    "pack_length": (1, MOST_TOKENS),  # what a shard may have in a row, as the next one
    "pack_patches": (1, MOST_PATCHES),
    "shard_bytes": (1, 1 << 50),
    "sample_timeout": (1e-3, 86_400.0),  # seconds: a day; waiting takes milliseconds, a few times as many, in 32 bits
    "video_min_frames": (1, 1 << 24),
    "video_max_frames": (1, 1 << 24),
    "video_fps": (1e-6, 1e6),  # no video has more
}
_DEFAULT_VISUAL_TOKENS = {  # limits in pixels whose default is so many visual tokens of the model, whatever their size
    "max_pixels": 576,
    "min_pixels": 16,
    "video_max_frame_pixels": 32,
    "video_min_frame_pixels": 4,
    "video_min_total_pixels": 128,  # of all frames together, as in the video processor of Qwen3-VL
}
_TOTAL_LIMITS = ("video_min_total_pixels", "video_total_pixels")


def option(default: Any, help_text: str) -> Any:
    return field(default=default, metadata=_help(help_text))


def limit(name: str, help_text: str) -> Any:
    """A limit in pixels; None: so many visual tokens as `_DEFAULT_VISUAL_TOKENS` says."""
    return field(
        default=None,
        metadata=_help(f"{help_text} (default: that of {_DEFAULT_VISUAL_TOKENS[name]} visual tokens of the model)"),
    )


def _help(text: str) -> dict[str, str]:
    return {"help": text}


@dataclass(frozen=True, kw_only=True)
class EncodingConfig:
    """The part that determines the arrays of one sample."""

    max_pixels: int | Literal["model"] | None = limit(
        "max_pixels", "largest area of a resized image, in pixels; model: what the model folder says"
    )
    min_pixels: int | Literal["model"] | None = limit(
        "min_pixels", "smallest area of a resized image, in pixels; model: what the model folder says"
    )
    video_sampling: Literal["interval", "qwen3"] = option(
        "interval",
        "which frames of a video: one each base_interval; qwen3: video_fps a second, as Qwen3-VL's processor",
    )
    base_interval: float = option(2.0, "seconds between sampled video frames, before the bounds on their number")
    video_fps: float | None = option(
        None, "of video_sampling qwen3: sampled frames per second, before the bounds on their number (default: 2)"
    )
    video_min_frames: int = option(4, "fewest frames of a video")
    video_max_frames: int = option(8, "most frames of a video")
    video_max_frame_pixels: int | None = limit(
        "video_max_frame_pixels", "largest area of a resized video frame, in pixels"
    )
    video_min_frame_pixels: int | None = limit(
        "video_min_frame_pixels", "smallest area of a resized video frame, in pixels"
    )
    video_total_pixels: int | Literal["model"] | None = option(
        None,
        "largest area of all sampled frames of a video together, in place of limits for each; model: both limits"
        " that the model folder says",
    )
    video_min_total_pixels: int | None = limit(
        "video_min_total_pixels", "smallest area of all sampled frames together, where video_total_pixels is given"
    )
    video_decoder: Literal["decord", "pyav"] = option(
        "pyav", "pyav: PyAV alone, which is never slower; decord: where its seeking is exact; both give equal frames"
    )
    video_tail: Literal["reject", "clamp"] = option(
        "reject", "videos shorter than their header says: reject them, or sample over the frames that exist"
    )
    video_times: Literal["header", "stamps"] = option(
        "header", "where the duration of a video comes from: the rate in its header, or the time stamps of its frames"
    )
    grey_16: Literal["auto", "high_byte"] = option(
        "auto", "grey of 16 or 32 bits: by the range of each file's values (8, 12 or 16 bits), or its high_byte"
    )
    decoder: Literal["strict", "lenient"] = option(
        "strict", "lenient: JPEG files that lack nothing but their end marker are read, too"
    )
    max_source_pixels: int = option(MOST_SOURCE_PIXELS, "largest area of an image file; all of it is decoded")
    supervise_newline: bool = option(True, "train the newline after <|im_end|>, as the Qwen scripts do")
    hash_media: bool = option(False, "tell unchanged media by their content too, for a later --reuse")

    def __post_init__(self) -> None:
        for low, high in (
            ("min_pixels", "max_pixels"),
            ("video_min_frame_pixels", "video_max_frame_pixels"),
            _TOTAL_LIMITS,
            ("video_min_frames", "video_max_frames"),
        ):
            given = [name for name in (low, high) if getattr(self, name) not in (None, OF_MODEL)]
            _require_positive(self, *given)
            if len(given) == 2:
                _require_order(low, getattr(self, low), high, getattr(self, high))
        _require_positive(self, "base_interval")
        _require_bounds(self, "base_interval", "video_min_frames", "video_max_frames", "max_source_pixels")
        if self.video_fps is not None:
            _require_positive(self, "video_fps")
            _require_bounds(self, "video_fps")
            if self.video_sampling != "qwen3":
                raise ConfigError("video_fps is of the rule video_sampling: qwen3; say that, or set base_interval")
        if self.video_total_pixels is None and self.video_min_total_pixels is not None:
            raise ConfigError("video_min_total_pixels has no effect without video_total_pixels; give that too")
        both = [
            name for name in ("video_min_frame_pixels", "video_max_frame_pixels") if getattr(self, name) is not None
        ]
        if self.video_total_pixels is not None and both:
            raise ConfigError(
                f"video_total_pixels takes the place of {' and '.join(both)}; leave one out, or set it to null"
            )

    def image_limits(self, constants: ModelConstants) -> PixelLimits:
        """Raises ConfigError where one that was given crosses the default of the other."""
        return self._limits("min_pixels", "max_pixels", constants)

    def frame_limits(self, constants: ModelConstants) -> PixelLimits:
        """Raises ConfigError where one that was given crosses the default of the other."""
        if self.video_total_pixels is not None:
            return replace(self._limits(*_TOTAL_LIMITS, constants), over_all_frames=True)
        return self._limits("video_min_frame_pixels", "video_max_frame_pixels", constants)

    def _limits(self, low: str, high: str, constants: ModelConstants) -> PixelLimits:
        least, most = (
            getattr(self, name) or _DEFAULT_VISUAL_TOKENS[name] * constants.grid_factor**2 for name in (low, high)
        )
        assert OF_MODEL not in (least, most), "the limits of the model folder were not looked up"
        _require_order(low, least, high, most)
        return PixelLimits(min_pixels=least, max_pixels=most)

    @property
    def picture_rules(self) -> PictureRules:
        return PictureRules(grey_16=self.grey_16, decoder=self.decoder, max_source_pixels=self.max_source_pixels)

    @property
    def frame_sampling(self) -> FrameSampling:
        sampling = FrameSampling(
            base_interval=self.base_interval,
            min_frames=self.video_min_frames,
            max_frames=self.video_max_frames,
            rule=self.video_sampling,
        )
        return sampling if self.video_fps is None else replace(sampling, rate=self.video_fps)


@dataclass(frozen=True, kw_only=True)
class RunConfig(EncodingConfig):
    """Everything that `run.yaml` and the command line can say."""

    model: Path = field(
        metadata=_help("Hugging Face model folder: config.json, tokenizer.json, preprocessor_config.json")
    )
    datasets: Path | tuple[Path, ...] = field(metadata=_help("registry file, YAML or Python; or several"))
    dataset_use: str = field(
        metadata=_help(
            'datasets to use, for example "coco%50,clips", "llava_*" or all; a name with a comma or a % in quotes'
        )
    )
    output_dir: Path = field(
        metadata=_help(
            "folder that the shards are written to: new, empty, or that of an unfinished run of the same configuration"
        )
    )
    format: Literal["arrow", "mindrecord"] = option("arrow", "file format of the shards")
    compress: Literal["none", "zstd"] = option(
        "none", "zstd: patches in about a third of the bytes, without loss, expanded whenever they are read; arrow only"
    )
    pack_length: int = option(4096, "capacity of a pack in tokens")
    pack_patches: int | Literal["auto"] = option(AUTO, "capacity of a pack in patches; auto: from the data")
    packing: Literal["global", "none"] = option("global", "pack samples together, or write one sample a row")
    durability: Literal["shard", "run"] = option(
        "shard",
        "shard: each is on the disk before it counts; run: all of a job at its end, checked if interrupted",
    )
    shard_bytes: int = option(256 << 20, "size of a shard file, about, before it is compressed")
    limit: int | None = option(None, "use so many records of each dataset at most, the first ones: for a quick try")
    seed: int = option(0, "seed of the choice of records and of the order of packs")
    workers: int = option(len(os.sched_getaffinity(0)), "processes that decode; 0: this one, unprotected from crashes")
    executor: Literal["local", "ray"] = option(
        "local", "where jobs run: processes here, or a Ray cluster, then a process for each of its CPUs"
    )
    task: str | None = option(None, "i/N: do share i (from 0) of N; for array jobs on a shared folder")
    reuse: Path | None = field(
        default=None, metadata=_help("folder of an earlier run, whose patches are copied where they are the same")
    )
    overwrite: bool = option(
        False,
        "remove another run, or a published one, that output_dir holds; an unfinished one of the same configuration"
        " goes on",
    )
    media_cache: Path | None = field(
        default=None,
        metadata=_help(
            "folder for indexes of archives, and for what these or Parquet files hold compressed; may be removed after "
            "the run "
            f"(default: that of output_dir, with {cache.SUFFIX} behind its name)"
        ),
    )
    media_cache_bytes: int = option(
        1 << 38, "most that media_cache may hold of media, in bytes; 0: nothing, then compressed tars can't be read"
    )
    sample_timeout: float = option(300.0, "seconds that one sample may take before its decoder is killed")
    max_reject_share: float = option(0.1, "share of rejected samples above which the run ends with exit code 1")

    def __post_init__(self) -> None:
        super().__post_init__()
        paths = [(name, getattr(self, name)) for name in ("model", "output_dir", "reuse", "media_cache")]
        for name, path in [*paths, *(("datasets", each) for each in self.registries)]:
            flaw = path_flaw(str(path))
            if flaw:
                raise ConfigError(f"{name} {str(path)!r} {flaw}")
        if re.match(r"[A-Za-z][A-Za-z0-9+.-]*:/", str(self.output_dir)):
            raise ConfigError(
                f"output_dir {self.output_dir}: shards can't be written to a URL yet; name a folder, and copy it when "
                "the run is done"
            )
        _require_positive(self, "pack_length", "shard_bytes", "sample_timeout")
        if self.durability == "run" and self.executor == "ray":
            raise ConfigError("durability run needs executor local: no machine can sync what another one wrote")
        if format_of(self.format, self.compress) is None:
            raise ConfigError(
                f"compress {self.compress} does not go with format {self.format}: MindDataset could not expand it; "
                "leave one of them out"
            )
        if self.format == "mindrecord" and self.shard_bytes > MAX_SHARD_BYTES:
            raise ConfigError(f"shard_bytes is {self.shard_bytes}; a MindRecord shard takes at most {MAX_SHARD_BYTES}")
        if self.pack_patches != AUTO:
            _require_positive(self, "pack_patches")
            _require_bounds(self, "pack_patches")
        _require_bounds(self, "pack_length", "shard_bytes", "sample_timeout")
        if not 0 <= self.max_reject_share <= 1:
            raise ConfigError(f"max_reject_share is {self.max_reject_share}; it is a share, from 0 to 1")
        if self.limit is not None:
            _require_positive(self, "limit")
        for name in ("seed", "workers", "media_cache_bytes"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; it must not be negative")

    def determining(self, constants: ModelConstants) -> dict[str, Any]:
        """What determines the plan: no locations, no workers, no format of shards. Raises ConfigError."""
        excluded = {
            "model",
            "datasets",
            "output_dir",
            "format",
            "compress",
            "durability",
            "workers",
            "executor",
            "task",
            "overwrite",
            "reuse",
            "hash_media",
            "media_cache",
            "media_cache_bytes",
            "sample_timeout",
            "max_reject_share",
        }
        if self.limit is None:  # so that it is no change to runs of before
            excluded.add("limit")
        images, frames = self.image_limits(constants), self.frame_limits(constants)
        limits: dict[str, Any] = {"max_pixels": images.max_pixels, "min_pixels": images.min_pixels}
        if frames.over_all_frames:
            excluded |= {"video_max_frame_pixels", "video_min_frame_pixels"}
            limits |= {"video_total_pixels": frames.max_pixels, "video_min_total_pixels": frames.min_pixels}
        else:
            excluded |= {*_TOTAL_LIMITS}
            limits |= {"video_max_frame_pixels": frames.max_pixels, "video_min_frame_pixels": frames.min_pixels}
        if self.video_sampling == "interval":
            excluded |= {"video_sampling", "video_fps"}
        else:
            excluded.add("base_interval")
            limits["video_fps"] = self.frame_sampling.rate
        return {name: value for name, value in {**asdict(self), **limits}.items() if name not in excluded}

    @property
    def registries(self) -> tuple[Path, ...]:
        """At least one."""
        return self.datasets if isinstance(self.datasets, tuple) else (self.datasets,)

    @property
    def media_cache_of_run(self) -> cache.MediaCache:
        folder = self.media_cache or cache.folder_beside(self.output_dir)
        return cache.MediaCache(folder=folder.absolute(), most_bytes=self.media_cache_bytes)

    @property
    def shard_format(self) -> str:
        """What `format` and `compress` say together: the format of the manifest."""
        chosen = format_of(self.format, self.compress)
        assert chosen is not None, "checked when it was made"
        return chosen

    @property
    def patch_capacity(self) -> int | None:
        return None if self.pack_patches == AUTO else int(self.pack_patches)


def _require_order(low: str, least: float, high: str, most: float) -> None:
    if least > most:
        raise ConfigError(f"{low} ({least}) is larger than {high} ({most}); swap or change them")


def _require_positive(config: EncodingConfig, *names: str) -> None:
    for name in names:
        if not 0 < getattr(config, name) < math.inf:
            raise ConfigError(f"{name} is {getattr(config, name)}; it must be positive")


def _require_bounds(config: EncodingConfig, *names: str) -> None:
    for name in names:
        value, (least, most) = getattr(config, name), _BOUNDS[name]
        if not least <= value <= most:
            bound = f"{least:,} is the least" if value < least else f"{most:,} is the most"
            raise ConfigError(f"{name} is {value}; {bound}")


SWEEPABLE = (
    "model",
    "max_pixels",
    "min_pixels",
    "pack_length",
    "pack_patches",
    "packing",
    "video_sampling",
    "base_interval",
    "video_fps",
    "video_min_frames",
    "video_max_frames",
    "video_max_frame_pixels",
    "video_min_frame_pixels",
    "video_total_pixels",
    "video_min_total_pixels",
)


@dataclass(frozen=True, kw_only=True)
class Combination:
    values: tuple[str, ...]  # as written, of each swept name
    config: RunConfig


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """What `plan --sweep` asks for."""

    names: tuple[str, ...]  # of SWEEPABLE
    combinations: tuple[Combination, ...]
    packs_per_step: int  # of all devices and accumulation steps together
