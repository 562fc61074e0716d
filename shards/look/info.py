"""What a dataset holds, from its manifest alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from shards.files.text import visible
from shards.look.readable import dataset_table, percentage, readable_bytes, reasons_of
from shards.manifest import FORMAT_VERSION, Manifest
from shards.model_constants import ModelConstants
from shards.pack import PackMaxima


def info_text(manifest: Manifest, folder: Path) -> str:
    """Several tables, for a terminal."""
    num_bytes = [sum(file.num_bytes for file in shard.files()) for shard in manifest.shards]
    totals, slots = manifest.totals, manifest.num_packs * manifest.pack_length
    patches = totals.num_image_patches + totals.num_video_patches
    summary = [
        (visible(str(folder)), ""),
        ("format", f"{visible(manifest.format)}, version {FORMAT_VERSION}"),
        ("fingerprint", visible(manifest.fingerprint)),
        ("shards", f"{len(num_bytes):,}, {readable_bytes(sum(num_bytes))}{_range(num_bytes)}"),
        ("packs", f"{manifest.num_packs:,}"),
        ("tokens used", f"{percentage(totals.num_tokens, slots)} of {manifest.pack_length:,} a pack"),
        (
            "patches used",
            f"{percentage(patches, manifest.num_packs * manifest.pack_patches)} of {manifest.pack_patches:,}",
        ),
        ("label tokens", f"{percentage(totals.num_label_tokens, totals.num_tokens)} of the tokens are supervised"),
    ]
    counts = {name: dataset.counts for name, dataset in manifest.datasets.items()}
    rejects = {name: dataset.rejects for name, dataset in manifest.datasets.items()}
    reasons = [(visible(reason), f"{number:,}") for reason, number in reasons_of(rejects).items()]
    sections = [
        _pairs(summary),
        dataset_table(counts, rejects, manifest.model),
        "rejects by reason\n" + (_pairs(reasons, indent=2) if reasons else "  none"),
        "largest of one pack\n" + _pairs(_maxima(manifest.maxima), indent=2),
        "model\n" + _pairs(_constants(manifest.model), indent=2),
        "made with\n" + (_pairs(list(flatten(manifest.inputs, skip="model")), indent=2) or "  nothing is recorded"),
    ]
    return "\n\n".join(sections)


def flatten(record: Mapping[str, Any], prefix: str = "", skip: str = "") -> Iterator[tuple[str, str]]:
    """{"config": {"seed": 0}} -> ("config.seed", "0"); deeper records in one value; without the section `skip`."""
    for name, value in record.items():
        if not isinstance(value, Mapping):
            yield visible(prefix + name), visible(str(value))
        elif prefix:
            yield visible(prefix + name), visible(", ".join(f"{key} {leaf}" for key, leaf in value.items()))
        elif name != skip:
            yield from flatten(value, f"{name}.")


def _range(num_bytes: list[int]) -> str:
    if len(num_bytes) < 2:
        return ""
    return f" ({readable_bytes(min(num_bytes))} to {readable_bytes(max(num_bytes))} each)"


def _maxima(maxima: PackMaxima) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), f"{number:,}") for name, number in asdict(maxima).items()]


def _constants(model: ModelConstants) -> list[tuple[str, str]]:
    return [(field.name, visible(str(getattr(model, field.name)))) for field in fields(model)]


def _pairs(pairs: list[tuple[str, str]], indent: int = 0) -> str:
    """Names and values, both to the left."""
    width = max((len(name) for name, value in pairs if value), default=0)
    return "\n".join(" " * indent + (f"{name.ljust(width)}  {value}" if value else name) for name, value in pairs)
