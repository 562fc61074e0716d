"""What a plan or a run says in the terminal."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from preprocess.config import AUTO, Sweep
from preprocess.ledger import Reject
from preprocess.plan.packing import AUTO_SLACK, balanced_patches
from preprocess.plan.summary import PlanSummary
from preprocess.plan.sweep import InEveryLine, SweepLine
from preprocess.timing import Timing
from preprocess.write.notes import read_decoding_notes
from preprocess.write.publish import Published
from shards import Manifest, ModelConstants, PackCounts
from shards.files.names import LEDGER_NAME, PLAN_DIR
from shards.files.text import visible
from shards.look.readable import aligned, counted, dataset_table, percentage, readable_bytes, reasons_of

_MOST_KEYS = 20
# [of one|of several]
NOTES: Mapping[str, str] = {
    "image_tags_for_videos": "{number} sample[|s] [has|have] videos and no images; their <image> tags mean videos",
    "answers_with_boxes": "{number} answer[|s] [holds|hold] boxes",
    "boxes_rewritten": "{number} [box or point was|boxes and points were] rewritten to what the model speaks of",
    "samples_without_boxes": "{number} sample[|s] [holds|hold] no box, and `boxes` is set",
    "boxes_left_alone": "{number} answer[|s] [holds|hold] boxes that were left alone; "
    "set `boxes` to have them rewritten",
    "special_as_text": "{number} special token[|s] in texts [was|were] taken for text; "
    "`allow_tokens` lets them through",
    "assumed_rates": "{number} video[|s] [is|are] frames that no fps or times tell of; one a second was assumed",
    "grey_as_is": "{number} image[|s] of 16-bit grey [has|have] values below 256, which were taken as they are",
    "grey_12_bits": "{number} image[|s] of 16-bit grey [has|have] values below 4,096, which were divided by 16",
    "grey_high_byte": "{number} image[|s] of 16-bit grey [has|have] larger values, of which the high byte was taken",
    "other_answers": "{number} question[|s] [has|have] several answers; the first was taken",
}


def plan_table(plan: PlanSummary, constants: ModelConstants) -> str:
    """A line a dataset, then sums, utilisation and rejects by reason."""
    lines = [dataset_table(plan.datasets, plan.rejects, constants)]
    used = _share_used(plan.totals, plan.num_packs, plan)
    lines.append(f"{used}; {counted(plan.num_shards, 'shard')}, about {readable_bytes(plan.num_bytes)}")
    patches = plan.totals.num_image_patches + plan.totals.num_video_patches
    if plan.inputs["config"]["pack_patches"] == AUTO and patches:
        lines.append(f"pack_patches auto: {_why_pack_patches(plan, patches, constants)}")
    if plan.ignored_keys:
        lines.append(_ignored_keys(plan.ignored_keys))
    lines += note_lines(plan.notes)
    lines += reject_lines(plan.rejects, plan.num_records)
    return "\n".join(lines)


def contents_table(manifest: Manifest, plan: PlanSummary, folder: Path) -> str:
    """The same of a published run, which may have lost samples while decoding."""
    counts = {name: dataset.counts for name, dataset in manifest.datasets.items()}
    rejects = {name: dataset.rejects for name, dataset in manifest.datasets.items()}
    used = _share_used(manifest.totals, manifest.num_packs, manifest)
    num_bytes = sum(shard.num_bytes for shard in manifest.shards)
    return "\n".join(
        [
            dataset_table(counts, rejects, manifest.model),
            f"{used}; {counted(len(manifest.shards), 'shard')}, {readable_bytes(num_bytes)}",
            *_difference(plan.totals - manifest.totals),
            *note_lines(read_decoding_notes(folder / PLAN_DIR)),
            *reject_lines(rejects, plan.num_records),
            *_where_rejects_stand(manifest, folder),
        ]
    )


def _share_used(totals: PackCounts, num_packs: int, of: PlanSummary | Manifest) -> str:
    patches = totals.num_image_patches + totals.num_video_patches
    return (
        f"{counted(num_packs, 'pack')}: "
        f"{percentage(totals.num_tokens, num_packs * of.pack_length)} of {of.pack_length:,} tokens and "
        f"{percentage(patches, num_packs * of.pack_patches)} of {of.pack_patches:,} patches used"
    )


def _difference(lost: PackCounts) -> list[str]:
    """From the plan."""
    if not lost.num_samples:
        return []
    samples = counted(lost.num_samples, "sample")
    return [f"differs from the plan: {samples} ({lost.num_tokens:,} tokens) could not be decoded"]


def _where_rejects_stand(manifest: Manifest, folder: Path) -> list[str]:
    if not manifest.num_rejects:
        return []
    return [
        f"each reject, with what is wrong, stands in {folder / LEDGER_NAME}; to use mended ones, run into a new folder"
    ]


def _why_pack_patches(plan: PlanSummary, num_patches: int, constants: ModelConstants) -> str:
    """What the chosen capacity follows from: the share of patches in the data, or the largest sample."""
    largest = f"{plan.largest_unit_patches:,} patches"
    if plan.inputs["config"]["packing"] == "none":
        return f"the largest sample's {largest}, since nothing is packed"
    balanced = balanced_patches(plan.totals.num_tokens, num_patches, plan.pack_length, constants.merge_unit)
    ratio = f"the data's {num_patches / plan.totals.num_tokens:.2f} patches a token and {AUTO_SLACK - 1:.1%} of room"
    if plan.largest_unit_patches > balanced:
        return f"the largest sample's {largest}; without it {balanced:,}, from {ratio}"
    return f"from {ratio}; the largest sample has {largest}"


def note_lines(notes: Mapping[str, Mapping[str, int]]) -> list[str]:
    """What was counted of each dataset, in words."""
    return [
        f"{visible(name)}: {note_in_words(note, number)}"
        for name, of_dataset in notes.items()
        for note, number in of_dataset.items()
    ]


def note_in_words(note: str, number: int) -> str:
    words = re.sub(r"\[(.*?)\|(.*?)\]", r"\1" if number == 1 else r"\2", NOTES[note])
    return words.format(number=f"{number:,}")


def _ignored_keys(keys: Mapping[str, int]) -> str:
    """The most frequent ones. Annotations may use anything as a key, a terminal can't show everything."""
    frequent = sorted(keys, key=lambda key: -keys[key])[:_MOST_KEYS]
    shown = [f"{visible(key)} ({keys[key]:,})" for key in frequent]
    others = [f"and {len(keys) - len(frequent):,} others"] if len(keys) > len(frequent) else []
    return f"ignored keys: {', '.join(shown + others)}"


def sweep_table(sweep: Sweep, common: InEveryLine, sweep_lines: Sequence[SweepLine]) -> str:
    """A line a combination; below, what is rejected in all of them."""
    steps = "steps" if sweep.packs_per_step == 1 else f"steps of {sweep.packs_per_step}"
    header = ("samples", "rejects", "tokens", "packs", "tokens used", "pack_patches", "patches used", "on disk", steps)
    rows: list[tuple[str, ...]] = [(*sweep.names, *header)]
    for line in sweep_lines:
        cells = (
            f"{line.num_samples:,}",
            f"{line.num_rejects:,}",
            f"{line.num_tokens:,}",
            f"{line.num_packs:,}",
            percentage(line.num_tokens, line.num_packs * line.pack_length),
            f"{line.pack_patches:,}",
            percentage(line.num_patches, line.num_packs * line.pack_patches),
            readable_bytes(line.num_bytes),
            f"{line.num_steps:,}",
        )
        rows.append((*line.values, *cells))
    always = reject_lines(common.rejects, common.num_records)
    return "\n".join([aligned(rows), *(f"in every line, {line}" for line in always)])


def reject_lines(rejects: Mapping[str, Mapping[str, int]], num_records: int) -> list[str]:
    by_reason = reasons_of(rejects)
    total = sum(by_reason.values())
    if not total:
        return ["rejects: none"]
    reasons_text = ", ".join(f"{reason} {number:,}" for reason, number in by_reason.items())
    return [f"rejects: {total:,} of {num_records:,} samples ({total / num_records:.1%}): {reasons_text}"]


def run_summary(
    published: Published, plan: PlanSummary, folder: Path, reuse: Path | None = None, *, was_done: bool = False
) -> str:
    """What was written, or had been; how it differs from the plan. `reuse` is the earlier run, if any."""
    manifest = published.manifest
    num_bytes = readable_bytes(sum(shard.num_bytes for shard in manifest.shards))
    packs, samples = counted(manifest.num_packs, "pack"), counted(manifest.totals.num_samples, "sample")
    content = f"{packs}, {samples}, {num_bytes} in {counted(len(manifest.shards), 'shard')}"
    lines = [f"was done before: {content} in {folder}" if was_done else f"wrote {content} to {folder}"]
    lines += _difference(published.lost) or ["as planned: no sample was lost while decoding"]
    if published.num_reused:
        lines.append(f"reused {published.num_reused:,} of {published.num_media:,} images and videos without decoding")
    elif reuse is not None:
        lines.append(
            f"reused none of {published.num_media:,} images and videos: {reuse} has none of these files in these sizes"
        )
    rejects = {name: dataset.rejects for name, dataset in manifest.datasets.items()}
    lines += note_lines(published.notes) + reject_lines(rejects, plan.num_records)
    return "\n".join(lines + _where_rejects_stand(manifest, folder))


def reject_examples(rejects: Iterable[Reject]) -> list[str]:
    """For each reason the first sample, with what is wrong."""
    first: dict[str, Reject] = {}
    for reject in rejects:
        first.setdefault(reject.reason, reject)
    return [visible(f"  {r.reason}: {r.place}: {r.detail}") for _, r in sorted(first.items())]


def slowest_lines(timings: Sequence[Timing]) -> list[str]:
    if not timings:
        return []
    lines = [visible(f"  {t.seconds:.3f} s  {t.sample}: {', '.join(t.media) or 'text only'}") for t in timings]
    return ["slowest samples to encode:", *lines]
