"""What a run will need, as lines for people."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

from shards.batch import BatchShape
from shards.look.readable import counted
from shards.manifest import Manifest
from train.arguments import STAGES, TrainArguments
from train.models.sizes import ModelSizes
from train.preflight.memory import GB, USABLE, Memory, Parameters, count_parameters, lowest_stage, memory_of

# Segments that one call of the attention kernel of Ascend takes: MindSpore 2.7.0 documents 1,024 (CANN about 2,000).
MAX_SEGMENTS = 1024
MB = 10**6
_COLUMNS = ("weights", "sums", "moments", "activations", "head", "gathered", "total")


def report(sizes: ModelSizes, manifest: Manifest, arguments: TrainArguments, num_ranks: int) -> Iterator[str]:
    """One line after the other."""
    shape = BatchShape.of(manifest)
    parameters = count_parameters(sizes, arguments)
    packs = arguments.packs_per_step * num_ranks
    yield f"{parameters.all:,} parameters, {parameters.trained:,} of them trained, on {counted(num_ranks, 'rank')}"
    yield (
        f"{counted(manifest.num_packs, 'pack')} of {manifest.pack_length:,} tokens; {counted(packs, 'pack')} and "
        f"{packs * manifest.totals.num_tokens // manifest.num_packs:,} tokens a step, "
        f"{counted(-(-manifest.num_packs // packs), 'step')} an epoch"
    )
    flaw = segments_flaw(shape)
    most = max(shape.segments, shape.temporal_slices) + 1
    yield flaw or f"segments: at most {most} a pack, of {MAX_SEGMENTS} that the attention kernel of Ascend takes"
    yield disk_line(arguments.output_dir, parameters)
    yield from table(sizes, shape, arguments, num_ranks)


def table(sizes: ModelSizes, shape: BatchShape, arguments: TrainArguments, num_ranks: int) -> Iterator[str]:
    """Memory of a device at each stage, in GB, or of a tiny model in MB; and the stage that fits."""
    stages = STAGES if num_ranks > 1 else STAGES[:1]
    memories = {stage: memory_of(sizes, shape, arguments, stage, num_ranks) for stage in stages}
    unit, name_of_unit = unit_of(max(memory.total for memory in memories.values()))
    yield f"{name_of_unit} of a device  " + "".join(f"{name:>12}" for name in _COLUMNS)
    for stage, memory in memories.items():
        yield f"  zero_stage {stage}  " + "".join(f"{value / unit:12.1f}" for value in _values(memory))
    device_gb = arguments.device_memory
    if device_gb is None:
        yield "which stage fits: give --device_memory GB"
        return
    stage_or_none = lowest_stage(sizes, shape, arguments, num_ranks, device_gb)
    usable = f"{USABLE:.0%} of {device_gb:g} GB"
    if stage_or_none is not None:
        yield f"zero_stage {stage_or_none} is the lowest that fits into {usable}"
    else:
        yield (
            f"no zero_stage fits into {usable}: take more ranks, smaller packs, --bf16, --gradient_checkpointing or "
            "--lora_enable"
        )


def segments_flaw(shape: BatchShape) -> str | None:
    """What is wrong where Ascend's kernel can't take the packs; None if it can."""
    for what, number in (("samples", shape.segments + 1), ("frames", shape.temporal_slices + 1)):
        if number > MAX_SEGMENTS:
            return (
                f"segments: packs hold up to {number} {what}, the attention kernel of Ascend takes {MAX_SEGMENTS}: "
                "preprocess with a smaller pack_length or pack_patches"
            )
    return None


def disk_line(output_dir: Path, parameters: Parameters) -> str:
    """A checkpoint: float32 weights and two moments of what is trained."""
    existing = next(folder for folder in (output_dir.absolute(), *output_dir.absolute().parents) if folder.exists())
    needed, free = 4 * parameters.all + 8 * parameters.trained, shutil.disk_usage(existing).free
    enough = "" if free > 2 * needed else ": TOO LITTLE for two, of which one is written while the other stays"
    unit, name_of_unit = unit_of(needed)
    return f"a checkpoint takes {needed / unit:.1f} {name_of_unit}; {existing} has {free / GB:.1f} GB free{enough}"


def unit_of(num_bytes: float) -> tuple[int, str]:
    return (GB, "GB") if num_bytes >= GB else (MB, "MB")


def _values(memory: Memory) -> list[int]:
    return [getattr(memory, name) for name in _COLUMNS]
