"""The plan on disk: Arrow files that workers map into memory instead of parsing annotations again.

plan/inputs.json     what determines the output, and where it was read; another run in the same folder is told by it
plan/claims/         of array jobs: what each is measuring; empty afterwards
plan/samples/        part-N.arrow: usable samples, their turns, media with measures, counts, number of copies; in its
                     metadata, what was counted and rejected on the way
plan/parts.arrow     every part: its dataset and number of samples
plan/packs.arrow     every pack, in the order of the shards: its samples (rows over all parts) and their repeats
plan/tasks.arrow     every shard: its first pack, and how many
plan/rejects.jsonl   samples that planning rejected
plan/plan.json       fingerprint and what it is of, totals; written last, so that a plan without it is unfinished
plan/done/           shard-N.json: the sidecar of each finished shard
plan/media/          shard-N.arrow: where the patches of each medium stand, for a later --reuse
plan/lost.jsonl      samples that were rejected while decoding, if there are any
plan/slowest.json    the samples that took longest, of all shards
plan/reuse-HASH/     index.arrow: plan/media/ of the run that is reused (HASH: of its manifest), all together;
                     SHARD.verified: that shard of it is what its manifest says
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocess.errors import FatalError, damaged
from preprocess.sample import (
    MeasuredImage,
    MeasuredSample,
    MeasuredVideo,
    MediaSource,
    MediaStamp,
    Sample,
    Turn,
)
from shards.files.atomic import open_atomically

SAMPLES_DIR = "samples"
CLAIMS_DIR = "claims"
_OPEN_PARTS = 256  # mapped at a time by one reader

_SOURCE = [("path", pa.string()), ("row", pa.int64()), ("column", pa.string()), ("item", pa.int32())]
# `mtime_ns` holds the version, which of a file is that; the name is kept so that plans of before can be read.
_STAMP = [("num_bytes", pa.int64()), ("mtime_ns", pa.int64()), ("sha256", pa.string())]
_MEDIUM = [
    ("source", pa.struct(_SOURCE)),
    ("stamp", pa.struct(_STAMP)),
    ("height", pa.int32()),
    ("width", pa.int32()),
    ("grid_thw", pa.list_(pa.int32(), 3)),
]
_IMAGE = pa.struct([*_MEDIUM, ("orientation", pa.int8())])
_VIDEO = pa.struct(
    [
        *_MEDIUM,
        ("num_frames", pa.int64()),
        ("fps", pa.float64()),
        ("frame_indices", pa.list_(pa.int64())),
        ("second_per_grid", pa.float64()),
    ]
)
SAMPLES_SCHEMA = pa.schema(
    [
        ("dataset", pa.dictionary(pa.int32(), pa.string())),  # one value a part
        ("index", pa.int64()),
        ("member", pa.int32()),  # null: not of a ready-made pack
        ("copies", pa.int32()),
        ("boxes", pa.dictionary(pa.int8(), pa.string())),  # one value a part
        ("turns", pa.list_(pa.struct([("role", pa.string()), ("text", pa.string())]))),
        ("images", pa.list_(_IMAGE)),
        ("videos", pa.list_(_VIDEO)),
        ("num_tokens", pa.int32()),
        ("num_label_tokens", pa.int32()),
        ("num_image_patches", pa.int64()),
        ("num_video_patches", pa.int64()),
    ]
)
PACKS_SCHEMA = pa.schema(
    [
        ("samples", pa.list_(pa.int64())),  # rows over all parts
        ("repeats", pa.list_(pa.int32())),  # 0: the first use of that sample
        ("num_tokens", pa.int32()),
        ("num_patches", pa.int64()),
    ]
)
PARTS_SCHEMA = pa.schema([("dataset", pa.string()), ("num_samples", pa.int64())])
SHARDS_SCHEMA = pa.schema([("first_pack", pa.int64()), ("num_packs", pa.int64())])


def write_part(
    folder: Path, part: int, rows: Sequence[tuple[MeasuredSample, int]], metadata: Mapping[str, str]
) -> None:
    """Write measured samples, each with its number of copies, as one part; `metadata` is about all of it."""
    columns = [_sample_row(measured, copies) for measured, copies in rows]
    batch = pa.RecordBatch.from_pylist(columns, schema=SAMPLES_SCHEMA.with_metadata(dict(metadata)))
    write_table(part_path(folder, part), pa.Table.from_batches([batch]))


def part_metadata(folder: Path, part: int) -> dict[str, str]:
    """Raises FileNotFoundError."""
    with pa.memory_map(str(part_path(folder, part))) as file:
        return decode_metadata(pa.ipc.open_file(file).schema)


def decode_metadata(schema: pa.Schema) -> dict[str, str]:
    metadata = schema.metadata or {}
    return {key.decode(): value.decode() for key, value in metadata.items()}


def part_path(folder: Path, part: int) -> Path:
    return folder / SAMPLES_DIR / f"part-{part:06d}.arrow"


def read_part_table(folder: Path, part: int, fingerprint: str) -> pa.Table:
    """The part of the plan with that fingerprint. Raises FatalError where it is damaged, or another plan's."""
    path = part_path(folder, part)
    table = read_table(path)
    if not table.schema.equals(SAMPLES_SCHEMA):
        raise damaged(path, ValueError("it has other columns than a part"))
    if decode_metadata(table.schema).get("fingerprint", "") != fingerprint:
        raise FatalError(f"{path} was measured by another run; remove it, and run the same command again")
    return table


def read_part(folder: Path, part: int, fingerprint: str) -> Iterator[MeasuredSample]:
    return map(_measured_sample, read_part_table(folder, part, fingerprint).to_pylist())


class SamplesReader:
    """Random access to measured samples by their row over all parts."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self._folder = folder
        self._fingerprint = fingerprint
        num_samples = read_table(folder / "parts.arrow")["num_samples"].to_pylist()
        self._ends = list(accumulate(num_samples))  # of each part, in rows
        self._open_part = lru_cache(maxsize=_OPEN_PARTS)(self._read_part)

    def __getitem__(self, row: int) -> MeasuredSample:
        part = bisect_right(self._ends, row)
        first = self._ends[part - 1] if part else 0
        return _measured_sample(self._open_part(part).slice(row - first, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[MeasuredSample]:
        for part in range(len(self._ends)):
            yield from read_part(self._folder, part, self._fingerprint)

    def _read_part(self, part: int) -> pa.Table:
        table, path = read_part_table(self._folder, part, self._fingerprint), part_path(self._folder, part)
        num_samples = self._ends[part] - (self._ends[part - 1] if part else 0)
        if len(table) != num_samples:  # two jobs measured it, and a decoder crashed or hung in only one of them
            raise FatalError(
                f"{path} has {len(table)} samples, the plan has {num_samples}; remove the output folder and run again"
            )
        return table


def _sample_row(measured: MeasuredSample, copies: int) -> dict[str, Any]:
    sample = measured.sample
    return {
        "dataset": sample.dataset,
        "index": sample.index,
        "member": sample.member,
        "copies": copies,
        "boxes": sample.boxes,
        "turns": [_fields(turn) for turn in sample.turns],
        "images": [_medium_row(image) for image in measured.images],
        "videos": [_medium_row(video) for video in measured.videos],
        "num_tokens": measured.num_tokens,
        "num_label_tokens": measured.num_label_tokens,
        "num_image_patches": measured.num_image_patches,
        "num_video_patches": measured.num_video_patches,
    }


def _medium_row(medium: MeasuredImage | MeasuredVideo) -> dict[str, Any]:
    stamp = {"num_bytes": medium.stamp.num_bytes, "mtime_ns": medium.stamp.version, "sha256": medium.stamp.sha256}
    return {**_fields(medium), "source": _fields(medium.source), "stamp": stamp}


def _fields(value: Any) -> dict[str, Any]:
    """Of a dataclass with slots. `asdict` copies every value as well, which takes six times as long."""
    return {name: getattr(value, name) for name in value.__slots__}


def _measured_sample(row: dict[str, Any]) -> MeasuredSample:
    images = tuple(MeasuredImage(**_medium(image)) for image in row["images"])
    videos = tuple(
        MeasuredVideo(**{**_medium(video), "frame_indices": tuple(video["frame_indices"])}) for video in row["videos"]
    )
    return MeasuredSample(
        sample=Sample(
            dataset=row["dataset"],
            index=row["index"],
            member=row["member"],
            turns=tuple(Turn(**turn) for turn in row["turns"]),
            images=tuple(image.source for image in images),
            videos=tuple(video.source for video in videos),
            boxes=row["boxes"],
        ),
        images=images,
        videos=videos,
        num_tokens=row["num_tokens"],
        num_label_tokens=row["num_label_tokens"],
        num_image_patches=row["num_image_patches"],
        num_video_patches=row["num_video_patches"],
    )


def _medium(record: dict[str, Any]) -> dict[str, Any]:
    stamp = record["stamp"]
    return {
        **record,
        "source": MediaSource(**record["source"]),
        "stamp": MediaStamp(num_bytes=stamp["num_bytes"], version=stamp["mtime_ns"], sha256=stamp["sha256"]),
        "grid_thw": tuple(record["grid_thw"]),
    }


def write_packs(
    path: Path,
    pack_of_item: npt.NDArray[np.integer],
    rows: npt.NDArray[np.integer],
    repeats: npt.NDArray[np.integer],
    tokens: npt.NDArray[np.integer],
    patches: npt.NDArray[np.integer],
) -> pa.Table:
    """Group items (one use of one sample each, all arguments (num_items,)) by pack, items in given order inside."""
    order = np.argsort(pack_of_item, kind="stable")
    num_packs = int(pack_of_item.max()) + 1 if len(order) else 0
    sizes = np.bincount(pack_of_item, minlength=num_packs)
    offsets = pa.array(np.concatenate([[0], np.cumsum(sizes)]), pa.int32())
    table = pa.Table.from_arrays(
        [
            pa.ListArray.from_arrays(offsets, pa.array(rows[order], pa.int64())),
            pa.ListArray.from_arrays(offsets, pa.array(repeats[order], pa.int32())),
            pa.array(np.bincount(pack_of_item, tokens, num_packs).astype(np.int64), pa.int32()),
            pa.array(np.bincount(pack_of_item, patches, num_packs).astype(np.int64), pa.int64()),
        ],
        schema=PACKS_SCHEMA,
    )
    write_table(path, table)
    return table


def write_parts(folder: Path, datasets: Sequence[str], num_samples: Sequence[int]) -> None:
    write_table(folder / "parts.arrow", pa.table([datasets, num_samples], schema=PARTS_SCHEMA))


def cut_into_shards(path: Path, num_bytes: npt.NDArray[Any], shard_bytes: int) -> pa.Table:
    """Cut the packs, whose sizes in bytes are `num_bytes`, into runs of about `shard_bytes`."""
    before = np.cumsum(num_bytes) - num_bytes
    shard_of_pack = before // shard_bytes
    _, first, counts = np.unique(shard_of_pack, return_index=True, return_counts=True)
    table = pa.Table.from_arrays([pa.array(first, pa.int64()), pa.array(counts, pa.int64())], schema=SHARDS_SCHEMA)
    write_table(path, table)
    return table


def read_table(path: Path) -> pa.Table:
    """Raises FatalError where the file is damaged."""
    try:
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # of the disk; PyArrow raises others, without a number, for what stands in a file
        raise damaged(path, error) from None


def write_table(path: Path, table: pa.Table, chunk_rows: int = 1 << 16) -> None:
    """Atomically: several machines may write the same plan into a shared folder at once, byte for byte the same."""
    with open_atomically(path) as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write_table(table, max_chunksize=chunk_rows)
