"""Numbers and tables, made fit to read. What came from data as text goes through `shards.files.text`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from shards.files.text import visible
from shards.model_constants import ModelConstants
from shards.pack import PackCounts

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")


def readable_bytes(number: float) -> str:
    unit = 0
    while number >= 1024 and unit < len(_UNITS) - 1:
        number, unit = number / 1024, unit + 1
    return f"{number:,.0f} {_UNITS[unit]}" if unit == 0 else f"{number:,.1f} {_UNITS[unit]}"


def counted(number: int, noun: str) -> str:
    """`1 pack`, `27 packs`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def percentage(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "0.0%"


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """First column to the left, the others to the right, under each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True))]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def num_visual_tokens(counts: PackCounts, constants: ModelConstants) -> int:
    return constants.num_visual_tokens(counts.num_image_patches + counts.num_video_patches)


def dataset_table(
    datasets: Mapping[str, PackCounts], rejects: Mapping[str, Mapping[str, int]], constants: ModelConstants
) -> str:
    """A line a dataset, and their sums where there are several. `rejects`: dataset -> reason -> samples."""
    rows = [("dataset", "samples", "tokens", "visual tokens", "label tokens", "images", "videos", "rejects")]
    numbers = {name: sum(rejects.get(name, {}).values()) for name in {**datasets, **rejects}}
    for name, counts in datasets.items():
        rows.append((visible(name), *_cells(counts, constants, numbers[name])))
    if len(datasets) > 1:
        rows.append(("all", *_cells(sum(datasets.values(), PackCounts()), constants, sum(numbers.values()))))
    return aligned(rows)


def reasons_of(rejects: Mapping[str, Mapping[str, int]]) -> dict[str, int]:
    """{dataset: {reason: samples}} -> {reason: samples}, in the order of the names."""
    by_reason: dict[str, int] = {}
    for reasons in rejects.values():
        for reason, number in reasons.items():
            by_reason[visible(reason)] = by_reason.get(visible(reason), 0) + number
    return dict(sorted(by_reason.items()))


def _cells(counts: PackCounts, constants: ModelConstants, num_rejects: int) -> tuple[str, str, str, str, str, str, str]:
    return (
        f"{counts.num_samples:,}",
        f"{counts.num_tokens:,}",
        f"{num_visual_tokens(counts, constants):,}",
        f"{counts.num_label_tokens:,}",
        f"{counts.num_images:,}",
        f"{counts.num_videos:,}",
        f"{num_rejects:,}",
    )
