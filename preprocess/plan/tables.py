"""The plan on disk: Arrow files that workers map into memory instead of parsing annotations again.

plan/inputs.json     what determines the output, and where it was read; another run in the same folder is told by it
plan/claims/         of array jobs: what each is measuring or gathering; empty afterwards
plan/samples/        part-N.arrow: usable samples, their turns, media with measures, counts, number of copies; in its
                     metadata, what was counted and rejected on the way
plan/parts.arrow     every part: its dataset and number of samples
plan/packs.arrow     every pack, in the order of the shards: its samples (rows over all parts) and their repeats
plan/tasks.arrow     every shard: its first pack, and how many
plan/rejects.jsonl   samples that planning rejected
plan/plan.json       fingerprint and what it is of, totals; written last, so that a plan without it is unfinished
plan/done/           shard-N.json: the sidecar of each finished shard
plan/media/          shard-N.arrow: where the patches of each medium stand, for a later --reuse; in its metadata, the
                     plan, the shard and a hash of the columns
plan/lost.jsonl      samples that were rejected while decoding, if there are any
plan/slowest.json    the samples that took longest, of all shards
plan/decoding.json   what was counted while decoding, if anything
plan/reuse-HASH/     index.arrow: plan/media/ of the run that is reused (HASH: of its manifest), all together;
                     index.sha256: its hash; NAME.verified: when the index, or a shard of that run, was compared with
                     its hash, and how it was last touched then
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import lru_cache
from itertools import accumulate, chain
from operator import attrgetter
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from preprocess.errors import FatalError, damaged
from preprocess.sample import (
    PLAIN,
    MeasuredImage,
    MeasuredSample,
    MeasuredVideo,
    MediaSource,
    MediaStamp,
    MediumSettings,
    PlacedBox,
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
_SETTINGS = [
    *[(name, pa.int64()) for name in ("min_pixels", "max_pixels", "num_frames")],
    *[(name, pa.float64()) for name in ("fps", "start", "end")],
    ("is_listed", pa.bool_()),
]
_MEDIUM = [
    ("source", pa.struct(_SOURCE)),
    ("stamp", pa.struct(_STAMP)),
    ("height", pa.int32()),
    ("width", pa.int32()),
    ("grid_thw", pa.list_(pa.int32(), 3)),
    ("settings", pa.struct(_SETTINGS)),  # null: none
]
_TURN = pa.struct([("role", pa.string()), ("text", pa.string()), ("is_trained", pa.bool_())])
_PLACED = pa.struct(
    [("numbers", pa.list_(pa.float64())), ("image", pa.int32()), ("width", pa.float64()), ("height", pa.float64())]
)
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
        ("turns", pa.list_(_TURN)),
        ("allow_tokens", pa.list_(pa.string())),
        ("placed", pa.list_(_PLACED)),
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
    samples = [measured.sample for measured, _ in rows]
    columns = [
        _one_value([sample.dataset for sample in samples], pa.int32()),
        pa.array([sample.index for sample in samples], pa.int64()),
        pa.array([sample.member for sample in samples], pa.int32()),
        pa.array([copies for _, copies in rows], pa.int32()),
        _one_value([sample.boxes for sample in samples], pa.int8()),
        _lists([sample.turns for sample in samples], _turn_columns),
        pa.array([sample.allow_tokens for sample in samples], pa.list_(pa.string())),
        _lists([sample.placed for sample in samples], _placed_columns),
        _lists([measured.images for measured, _ in rows], _image_columns),
        _lists([measured.videos for measured, _ in rows], _video_columns),
        *(
            pa.array([getattr(measured, field.name) for measured, _ in rows], field.type)
            for field in list(SAMPLES_SCHEMA)[-4:]
        ),
    ]
    batch = pa.RecordBatch.from_arrays(columns, schema=SAMPLES_SCHEMA.with_metadata(dict(metadata)))
    write_table(part_path(folder, part), pa.Table.from_batches([batch]))


def part_metadata(folder: Path, part: int) -> dict[str, str]:
    """Raises FileNotFoundError."""
    with pa.memory_map(str(part_path(folder, part))) as file:
        return decode_metadata(pa.ipc.open_file(file).schema)


def decode_metadata(schema: pa.Schema) -> dict[str, str]:
    metadata = schema.metadata or {}
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in metadata.items()}


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


def _one_value(texts: list[str], index_type: pa.DataType) -> pa.DictionaryArray:
    return pa.array(texts, pa.dictionary(index_type, pa.string()))


def _lists(values: Sequence[Sequence[Any]], columns: Callable[[Sequence[Any]], pa.StructArray]) -> pa.ListArray:
    """One list a row. Columns are built whole: a dict for each row and medium takes several times as long."""
    ends = accumulate(map(len, values), initial=0)
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), columns(list(chain.from_iterable(values))))


def _struct(type_: pa.StructType, *columns: pa.Array) -> pa.StructArray:
    return pa.StructArray.from_arrays(columns, fields=list(type_))


def _plain(type_: pa.StructType, values: Sequence[Any], names: Sequence[str]) -> list[pa.Array]:
    """Columns of attributes that are called as in `type_`."""
    return [pa.array(list(map(attrgetter(name), values)), type_.field(name).type) for name in names]


def _turn_columns(turns: Sequence[Turn]) -> pa.StructArray:
    return _struct(_TURN, *_plain(_TURN, turns, ("role", "text", "is_trained")))


def _placed_columns(boxes: Sequence[PlacedBox]) -> pa.StructArray:
    return _struct(_PLACED, *_plain(_PLACED, boxes, ("numbers", "image", "width", "height")))


def _medium_columns(media: Sequence[MeasuredImage | MeasuredVideo]) -> list[pa.Array]:
    source, stamp = pa.struct(_SOURCE), pa.struct(_STAMP)
    stamps = [medium.stamp for medium in media]
    settings = [PLAIN if medium.settings == PLAIN else medium.settings for medium in media]
    versions = pa.array([each.version for each in stamps], pa.int64())
    num_bytes, hashes = _plain(stamp, stamps, ("num_bytes", "sha256"))
    sides = list(chain.from_iterable(medium.grid_thw for medium in media))
    return [
        _struct(source, *_plain(source, [medium.source for medium in media], [name for name, _ in _SOURCE])),
        _struct(stamp, num_bytes, versions, hashes),
        *_plain(_IMAGE, media, ("height", "width")),
        pa.FixedSizeListArray.from_arrays(pa.array(sides, pa.int32()), 3),
        pa.array([None if each is PLAIN else asdict(each) for each in settings], pa.struct(_SETTINGS)),
    ]


def _image_columns(images: Sequence[MeasuredImage]) -> pa.StructArray:
    return _struct(_IMAGE, *_medium_columns(images), *_plain(_IMAGE, images, ("orientation",)))


def _video_columns(videos: Sequence[MeasuredVideo]) -> pa.StructArray:
    names = ("num_frames", "fps", "frame_indices", "second_per_grid")
    return _struct(_VIDEO, *_medium_columns(videos), *_plain(_VIDEO, videos, names))


def _measured_sample(row: dict[str, Any]) -> MeasuredSample:
    images = tuple(MeasuredImage(**_medium(image)) for image in row["images"])
    videos = tuple(
        MeasuredVideo(**{**_medium(video), "frame_indices": tuple(video["frame_indices"])}) for video in row["videos"]
    )
    settings = (*(image.settings for image in images), *(video.settings for video in videos))
    return MeasuredSample(
        sample=Sample(
            dataset=row["dataset"],
            index=row["index"],
            member=row["member"],
            turns=tuple(Turn(**turn) for turn in row["turns"]),
            images=tuple(image.source for image in images),
            videos=tuple(video.source for video in videos),
            boxes=row["boxes"],
            allow_tokens=tuple(row["allow_tokens"]),
            placed=tuple(PlacedBox(**{**box, "numbers": tuple(box["numbers"])}) for box in row["placed"]),
            settings=settings if any(each is not PLAIN for each in settings) else (),
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
        "settings": PLAIN if record["settings"] is None else MediumSettings(**record["settings"]),
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
