"""What a finished run holds, as one page: for people who would rather look than read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jinja2 import PackageLoader

from preprocess.errors import Reason
from preprocess.jobs.executor import Executor
from preprocess.ledger import Reject, read_ledger, with_sources
from preprocess.media.cache import MediaCache, folder_beside
from preprocess.plan.summary import PlanSummary
from preprocess.report.distributions import Bin, Distribution, PlanDistributions, doubling_edges, even_edges
from preprocess.report.marks import marks_of
from preprocess.report.thumbnails import ThumbnailStage, draw_rejects
from preprocess.timing import read_slowest
from shards import Manifest, PackCounts, open_shards
from shards.files.names import LEDGER_NAME, PLAN_DIR
from shards.look.info import flatten
from shards.look.page import EXTRACT, Picture, render, view_pack
from shards.look.readable import num_visual_tokens, reasons_of
from shards.look.transcript import Transcriber

_EXAMPLES = 3  # of each reason
_PACKS = 3
_SLOWEST = 10
_MOST_MEDIA = 4  # named, of one of the slowest samples
_KEYS = 40
_TICKS = 5

MEANINGS: Mapping[Reason, str] = {
    Reason.BAD_JSON: "The record does not parse, or a value has the wrong type.",
    Reason.UNKNOWN_KEYS: "A key is a near miss of a known one.",
    Reason.UNSUPPORTED: "The record asks for what is not done here.",
    Reason.NO_TURNS: "There is no conversation.",
    Reason.ROLE_ORDER: "Turns must be [system], then user and assistant in turn, ending with assistant.",
    Reason.TAG_COUNT: "As many <image> and <video> tags as media are needed.",
    Reason.MISPLACED_TAG: "A media tag stands in an answer or a system turn.",
    Reason.MISSING_FILE: "There is no such file.",
    Reason.UNDECODABLE: "The bytes are not those of a whole image or video.",
    Reason.AMBIGUOUS_BOXES: "Which pixels a box means can't be told.",
    Reason.ASPECT_RATIO: "One side is more than 200 times the other.",
    Reason.DECOMPRESSION_BOMB: "The image claims more pixels than any camera makes.",
    Reason.NO_FRAMES_OR_RATE: "The video's header tells no frames or no rate.",
    Reason.TOO_FEW_FRAMES: "The video has fewer frames than its header promises.",
    Reason.CRASH: "The decoder died on this file, twice, alone in a fresh process.",
    Reason.TIMEOUT: "The decoder did not finish this file in time, twice.",
    Reason.TOO_LONG: "The sample has more tokens than pack_length.",
    Reason.TOO_MANY_PATCHES: "The sample has more patches than pack_patches.",
    Reason.NOTHING_TO_LEARN: "Every answer is empty.",
    Reason.PATH_OUTSIDE: "The path leaves data_path.",
    Reason.UNSUPPORTED_LOCATION: "The medium stands where it is not read from; download it first.",
    Reason.AMBIGUOUS_PATH: "The path fits several members of archives.",
}


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """What the template draws: a bar a bin."""

    title: str
    what: str  # that is counted, plural
    unit: str
    is_logarithmic: bool
    bins: tuple[Bin, ...]
    median: int
    most: int  # the value that 95% do not exceed
    largest: int

    @property
    def highest(self) -> int:
        return max((bin.number for bin in self.bins), default=0)

    @property
    def counts(self) -> tuple[tuple[float, int], ...]:
        """(height in percent of the highest bar, number) of the lines that numbers stand at: whole, evenly apart."""
        if not self.highest:
            return ()
        step = _round_step(self.highest)
        return tuple((100 * number / self.highest, number) for number in range(0, self.highest + 1, step))

    @property
    def ticks(self) -> tuple[tuple[float, int], ...]:
        """(distance from the left in percent, value) of the values that stand below the bars."""
        num_bins = len(self.bins)
        step = max(-(-num_bins // _TICKS), 1)
        return tuple((100 * number / num_bins, self.bins[number].low) for number in range(0, num_bins, step))

    @classmethod
    def of(
        cls, title: str, what: str, unit: str, values: Distribution, edges: list[int], *, is_logarithmic: bool
    ) -> Histogram:
        return cls(
            title=title,
            what=what,
            unit=unit,
            is_logarithmic=is_logarithmic,
            bins=tuple(values.bins(edges)),
            median=values.quantile(0.5),
            most=values.quantile(0.95),
            largest=values.largest,
        )


def _round_step(highest: int) -> int:
    """1, 2 or 5 with noughts: at most four of them reach `highest`."""
    least, step = max(-(-highest // 4), 1), 1
    while step < least:
        step *= 10
    return next(each for each in (step // 5, step // 2, step) if each >= least)


@dataclass(frozen=True, kw_only=True)
class DatasetRow:
    name: str
    counts: PackCounts
    num_visual_tokens: int
    num_rejects: int


@dataclass(frozen=True, kw_only=True)
class ReasonView:
    reason: str
    meaning: str
    number: int
    examples: tuple[ExampleView, ...]


@dataclass(frozen=True, kw_only=True)
class ExampleView:
    key: str
    detail: str
    text: str
    picture: Picture | None
    note: str  # why there is no picture


def report_page(folder: Path, manifest: Manifest, plan: PlanSummary, executor: Executor) -> str:
    """`executor` draws the thumbnails. Raises ShardError where the shards can't be read."""
    shards = open_shards(folder)
    transcriber = Transcriber.beside(folder)
    numbers = np.unique(np.linspace(0, len(shards) - 1, _PACKS).astype(int)).tolist() if len(shards) else []
    rejects = {name: dataset.rejects for name, dataset in manifest.datasets.items()}
    totals, find_marks = manifest.totals, marks_of(manifest.model)
    return render(
        "report.html",
        PackageLoader("preprocess.report"),
        folder=str(folder),
        manifest=manifest,
        plan=plan,
        num_bytes=sum(shard.num_bytes for shard in manifest.shards),
        num_patches=totals.num_image_patches + totals.num_video_patches,
        lost=plan.totals - totals,
        histograms=_histograms(PlanDistributions.read(folder / PLAN_DIR), plan),
        datasets=_dataset_rows(manifest),
        reasons=_reason_views(reasons_of(rejects), folder, executor),
        packs=[view_pack(shards[number], number, manifest, transcriber, EXTRACT, find_marks) for number in numbers],
        slowest=read_slowest(folder / PLAN_DIR, _SLOWEST),
        most_media=_MOST_MEDIA,
        inputs=list(flatten(manifest.inputs, skip="model")),
        ignored_keys=sorted(plan.ignored_keys.items(), key=lambda item: -item[1])[:_KEYS],
    )


def _histograms(found: PlanDistributions, plan: PlanSummary) -> list[Histogram]:
    samples = [
        ("Tokens of a sample", "tokens", found.sample_tokens),
        ("Patches of a sample", "patches", found.sample_patches),
    ]
    packs = [
        ("Tokens of a pack", "tokens", found.pack_tokens, plan.pack_length),
        ("Patches of a pack", "patches", found.pack_patches, plan.pack_patches),
    ]
    return [
        *(
            Histogram.of(title, "samples", unit, values, doubling_edges(values), is_logarithmic=True)
            for title, unit, values in samples
        ),
        *(
            Histogram.of(title, "packs", unit, values, even_edges(max(capacity, values.largest)), is_logarithmic=False)
            for title, unit, values, capacity in packs
        ),
    ]


def _dataset_rows(manifest: Manifest) -> list[DatasetRow]:
    """Those with the most tokens first."""
    rows = [
        DatasetRow(
            name=name,
            counts=dataset.counts,
            num_visual_tokens=num_visual_tokens(dataset.counts, manifest.model),
            num_rejects=sum(dataset.rejects.values()),
        )
        for name, dataset in manifest.datasets.items()
    ]
    return sorted(rows, key=lambda row: (-row.counts.num_tokens, row.name))


def _reason_views(numbers: Mapping[str, int], folder: Path, executor: Executor) -> list[ReasonView]:
    """The most frequent first, each with its first samples."""
    examples: dict[str, list[Reject]] = {reason: [] for reason in numbers}
    for reject in read_ledger(folder / LEDGER_NAME):
        found = examples.setdefault(reject.reason, [])
        if len(found) < _EXAMPLES:
            found.append(reject)
    shown = [reject for found in examples.values() for reject in found]
    stage = ThumbnailStage(media_cache=MediaCache(folder=folder_beside(folder), most_bytes=0))  # nothing is added
    drawn = dict(zip(shown, draw_rejects(with_sources(shown, folder / PLAN_DIR), executor, stage), strict=True))
    return [
        ReasonView(
            reason=reason,
            meaning=MEANINGS[Reason(reason)],
            number=number,
            examples=tuple(_example_view(reject, drawn[reject]) for reject in examples[reason]),
        )
        for reason, number in sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    ]


def _example_view(reject: Reject, drawn: Picture | str) -> ExampleView:
    return ExampleView(
        key=reject.place,
        detail=reject.detail,
        text=reject.text or "",
        picture=drawn if isinstance(drawn, Picture) else None,
        note=drawn if isinstance(drawn, str) else "",
    )
