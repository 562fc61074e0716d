"""What if: the plans of many configurations from one measurement.

Every sample is measured once, without a capacity, so that nothing is rejected for its size. The sizes that headers told
then give the counts under any limits, by the same functions as in a plan: each line of the table is what `plan` and
`run` say with that configuration. A line says so where they would refuse it, because no MindRecord page holds a pack.
What other rules reject is measured anew: under another model, and with limits over all frames.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache, partial
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from preprocess.arithmetic.families import family_of
from preprocess.arithmetic.geometry import FrameSampling, PixelLimits
from preprocess.arithmetic.grids import asked_limits, image_grid, sample_frames, video_grid
from preprocess.config import Combination, RunConfig, Sweep
from preprocess.encode import SampleEncoder
from preprocess.errors import SampleError
from preprocess.jobs.executor import Executor
from preprocess.jobs.progress import StageProgress
from preprocess.jobs.stage import Signal
from preprocess.plan.gather import MeasuredTotals, append, as_numpy, gather
from preprocess.plan.inputs import Sources, open_sources
from preprocess.plan.make import largest_pack
from preprocess.plan.parts import measure
from preprocess.plan.sizes import Counts, PackedItems, SampleSizes, SizeColumns, fits, pack_samples
from preprocess.plan.tables import read_part
from preprocess.sample import MeasuredSample, MediumSettings
from shards import ModelConstants, RowTooLarge
from shards.formats.kinds import check_row_fits
from shards.formats.mindrecord import largest_row_bytes
from shards.manifest import MOST_TOKENS

_NO_CAPACITY = MOST_TOKENS  # the largest that a run may ask for
_SIZES_REMEMBERED = 1 << 16
_TYPES = {"i": pa.int32(), "q": pa.int64(), "d": pa.float64()}  # by the codes of `array`
_SETTING_NAMES = tuple(each.name for each in fields(MediumSettings))
_SETTINGS = {f"settings.{name}": "d" if name in ("fps", "start", "end") else "q" for name in _SETTING_NAMES}


@dataclass(frozen=True, kw_only=True)
class SweepLine:
    """A line of the table. Counts are of uses, as in PlanSummary; rejects count once."""

    values: tuple[str, ...]  # as written, of each swept name; with a word after the last where `run` refuses them
    num_samples: int
    num_rejects: int
    num_tokens: int
    num_patches: int
    num_packs: int
    pack_length: int
    pack_patches: int
    num_bytes: int
    num_steps: int  # an epoch


@dataclass(frozen=True, kw_only=True)
class InEveryLine:
    """Samples read, each once, and those of them that every configuration rejects."""

    num_records: int
    rejects: Mapping[str, Mapping[str, int]]  # dataset -> reason -> samples


def run_sweep(
    config: RunConfig, sweep: Sweep, sources: Sources, folder: Path, executor: Executor
) -> tuple[InEveryLine, list[SweepLine]]:
    """Measure into the empty `folder`. What all lines have in common, and the line of each combination.

    `sources` are those of `config`. Raises what `open_sources` raises, for another model.
    """
    longest = max(combination.config.pack_length for combination in sweep.combinations)
    alike: dict[tuple[Path, bool], list[Combination]] = {}
    for combination in sweep.combinations:
        alike.setdefault(_rules_of_rejects(combination.config), []).append(combination)
    all_totals: list[MeasuredTotals] = []
    lines: dict[tuple[str, ...], SweepLine] = {}  # by the values as they are written
    for number, (rules, combinations) in enumerate(alike.items()):
        own = sources if rules == _rules_of_rejects(config) else open_sources(combinations[0].config)
        measured = folder / str(number)
        measured.mkdir()
        totals, own_lines = _run_alike(combinations, own, measured, executor, longest)
        all_totals.append(totals)
        for combination, line in zip(combinations, own_lines, strict=True):
            num_steps = -(-line.num_packs // sweep.packs_per_step)
            lines[combination.values] = replace(line, num_steps=num_steps)
    return _in_every_line(all_totals), [lines[combination.values] for combination in sweep.combinations]


def _rules_of_rejects(config: RunConfig) -> tuple[Path, bool]:
    """Where these are equal, so is what measuring rejects, whatever the limits are."""
    return config.model, config.video_total_pixels is not None


def _in_every_line(all_totals: Sequence[MeasuredTotals]) -> InEveryLine:
    first, *others = all_totals
    common = {name: Counter(reasons) for name, reasons in first.rejects.items()}
    for totals in others:
        common = {name: reasons & Counter(totals.rejects.get(name, {})) for name, reasons in common.items()}
    return InEveryLine(num_records=first.num_records, rejects=common)


def _run_alike(
    combinations: Sequence[Combination], sources: Sources, folder: Path, executor: Executor, longest: int
) -> tuple[MeasuredTotals, list[SweepLine]]:
    """Those of which measuring rejects the same. The lines have no steps yet."""
    config = replace(combinations[0].config, pack_length=_NO_CAPACITY, pack_patches="auto", hash_media=False)
    num_parts = measure(config, sources, folder, executor, most_text_tokens=longest)
    totals, columns = MeasuredTotals(use.dataset.name for use in sources.uses), SizeColumns()
    images = _Media("images", {"height": "i", "width": "i", **_SETTINGS})
    videos = _Media("videos", {"height": "i", "width": "i", "num_frames": "q", "fps": "d", **_SETTINGS})
    for _ in gather(folder, num_parts, sources.plan_fingerprint, totals, columns, images, videos):
        pass  # rejects, of which the totals has the number
    sizes = columns.sizes()
    text_tokens = _count_text(config, combinations, sources, folder, executor, totals, sizes)

    def line(combination: Combination) -> SweepLine:
        config, constants = combination.config, sources.constants
        image_patches = images.patches_by_row(partial(_image_patches, config, constants))
        video_patches = videos.patches_by_row(partial(_video_patches, config, constants))
        visual_tokens = constants.num_visual_tokens(image_patches + video_patches)
        resized = replace(
            sizes,
            tokens=text_tokens[_rules_of_text(config, constants)] + visual_tokens,
            image_patches=image_patches,
            video_patches=video_patches,
        )
        kept = resized.keep(fits(resized, config))
        packed = pack_samples(kept, config, constants)
        return SweepLine(
            values=combination.values if _is_writable(kept, packed, config, constants) else _refused(combination),
            num_samples=len(packed.rows),
            num_rejects=totals.num_rejects + len(sizes) - len(kept),
            num_tokens=int(kept.tokens[packed.rows].sum(dtype=np.int64)),
            num_patches=int(kept.patches[packed.rows].sum(dtype=np.int64)),
            num_packs=packed.num_packs,
            pack_length=config.pack_length,
            pack_patches=packed.pack_patches,
            num_bytes=int(kept.num_bytes(constants)[packed.rows].sum()),
            num_steps=0,
        )

    return totals, [line(combination) for combination in combinations]


def _is_writable(sizes: SampleSizes, packed: PackedItems, config: RunConfig, constants: ModelConstants) -> bool:
    """Whether the format holds the largest pack."""
    try:
        check_row_fits(config.shard_format, largest_row_bytes(largest_pack(sizes, packed), constants))
    except RowTooLarge:
        return False
    return True


def _refused(combination: Combination) -> tuple[str, ...]:
    *others, last = combination.values
    return (*others, f"{last} (refused: a pack is over a MindRecord page)")


class _Media:
    """All images, or all videos, of the measured samples: columns of shape (num_media,)."""

    def __init__(self, kind: str, types: Mapping[str, str]) -> None:
        """`types` of what headers say, as codes of `array`: the columns, in this order."""
        self._kind = kind
        self._num_rows = 0
        self._rows = array("i")  # of the sample that each belongs to
        self._columns = {name: array(code) for name, code in types.items()}

    def add(self, samples: pa.Table) -> None:
        """Those of the next part."""
        import pyarrow.compute as pc

        media = samples[self._kind].combine_chunks()
        own_rows = np.arange(self._num_rows, self._num_rows + len(samples), dtype=np.int32)
        append(self._rows, np.repeat(own_rows, pc.list_value_length(media).to_numpy()))
        for name, column in self._columns.items():
            values = pc.struct_field(media.flatten(), name.split("."))
            append(column, pc.fill_null(values.cast(_TYPES[column.typecode]), 0).to_numpy())
        self._num_rows += len(samples)

    def patches_by_row(self, num_patches: Callable[..., int]) -> Counts:
        """Of each row; `num_patches` takes one value of each column."""
        count = lru_cache(maxsize=_SIZES_REMEMBERED)(num_patches)
        patches = np.fromiter(map(count, *self._columns.values()), np.int32, len(self._rows))
        return np.bincount(as_numpy(self._rows), patches, self._num_rows).astype(np.int32)


def _image_patches(config: RunConfig, constants: ModelConstants, height: int, width: int, *asked: Any) -> int:
    limits = asked_limits(config.image_limits(constants), _settings(asked))
    return prod(image_grid(height, width, limits, constants))


def _video_patches(
    config: RunConfig, constants: ModelConstants, height: int, width: int, num_frames: int, fps: float, *asked: Any
) -> int:
    settings = _settings(asked)
    num_sampled = len(sample_frames(num_frames, fps, config.frame_sampling, constants, settings))
    limits = asked_limits(config.frame_limits(constants), settings)
    return prod(video_grid(num_sampled, height, width, limits, constants))


def _settings(asked: Sequence[Any]) -> MediumSettings:
    """From the columns of `_SETTINGS`, in their order."""
    return MediumSettings(**dict(zip(_SETTING_NAMES, asked, strict=True)))


TextRules = tuple[PixelLimits, FrameSampling | None]


def _rules_of_text(config: RunConfig, constants: ModelConstants) -> TextRules:
    """What texts depend on: boxes on the limits for images, the times that some families write on the frames."""
    pieces = family_of(constants.model_type).video_pieces((1, 2, 2), (0, 1), 1.0, 1.0)
    writes_times = any(isinstance(piece, str) for piece in pieces)
    return config.image_limits(constants), config.frame_sampling if writes_times else None


def _count_text(
    config: RunConfig,
    combinations: Sequence[Combination],
    sources: Sources,
    folder: Path,
    executor: Executor,
    totals: MeasuredTotals,
    sizes: SampleSizes,
) -> Mapping[TextRules, Counts]:
    """Tokens that are not visual, (num_rows,), by each of the rules that occur."""
    constants = sources.constants
    as_measured = sizes.tokens - constants.num_visual_tokens(sizes.patches)
    configs = {_rules_of_text(combination.config, constants): combination.config for combination in combinations}
    counted = {rules: as_measured.copy() for rules in configs}
    has_boxes = {use.dataset.name: use.dataset.boxes != "none" for use in sources.uses}
    times_differ = len({sampling for _, sampling in configs}) > 1
    ends = np.cumsum(totals.part_samples)
    rows = [slice(int(end) - number, int(end)) for end, number in zip(ends, totals.part_samples, strict=True)]
    parts = [
        part
        for part, dataset in enumerate(totals.part_datasets)
        if has_boxes[dataset] or (times_differ and sizes.video_patches[rows[part]].any())
    ]
    if not parts:
        return counted
    stage = RecountStage(
        config=config, folder=folder, fingerprint=sources.plan_fingerprint, configs=tuple(configs.values())
    )
    with StageProgress("count text", sum(totals.part_samples[part] for part in parts)) as progress:
        for part, text_tokens in executor.run(stage, parts, progress.take_up):
            for rules, tokens in zip(configs, text_tokens, strict=True):
                counted[rules][rows[part]] = tokens
    return counted


@dataclass(frozen=True, kw_only=True)
class RecountStage:
    """Encodes text again that follows the size of images or the frames of videos; a job is the number of a part."""

    config: RunConfig
    folder: Path  # of the plan
    fingerprint: str
    configs: tuple[RunConfig, ...]  # of each rules

    def load(self) -> LoadedRecountStage:
        encoder = SampleEncoder.load(self.config.model, self.config)
        return LoadedRecountStage(
            self.folder, self.fingerprint, tuple(replace(encoder, config=config) for config in self.configs)
        )


@dataclass(frozen=True)
class LoadedRecountStage:
    folder: Path
    fingerprint: str
    encoders: tuple[SampleEncoder, ...]  # of each rules

    def do_item(self, measured: MeasuredSample) -> list[int]:
        return [_num_text_tokens(encoder, measured) for encoder in self.encoders]

    def do_job(self, part: int, do_item: Callable[[MeasuredSample], list[int]], before_item: Signal) -> Counts:
        """(num_rules, num_samples)"""
        counts = []
        for measured in read_part(self.folder, part, self.fingerprint):
            before_item()
            counts.append(do_item(measured))
        return np.array(counts, np.int32).reshape(-1, len(self.encoders)).T


def _num_text_tokens(encoder: SampleEncoder, measured: MeasuredSample) -> int:
    """More than any pack holds where these rules reject the sample: too many frames of a large video."""
    try:
        resized = encoder.remeasure(measured)
    except SampleError:
        return _NO_CAPACITY + 1
    return resized.num_tokens - encoder.constants.num_visual_tokens(resized.num_patches)
