"""Media in Parquet columns of any shape: found by their type, numbered alike in a row's values and in its cells."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from preprocess.media.media_columns import is_bytes_of, media_within, replaced, slots_of
from preprocess.media.parquet_cells import EmbeddedMedium
from preprocess.read.formats.parquet_records import ParquetRows
from tests.preprocess.workshop import MEDIUM, Workshop, talk

PART = pa.struct([("type", pa.string()), ("text", pa.string()), ("image", MEDIUM), ("frames", pa.list_(MEDIUM))])
MESSAGES = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(PART))]))
PATHS = [("content", "image"), ("content", "frames")]


@pytest.mark.parametrize(
    ("type_", "paths"),
    [
        (MEDIUM, [()]),
        (pa.list_(MEDIUM), [()]),
        (pa.large_list(pa.struct([("path", pa.string()), ("bytes", pa.large_binary())])), [()]),
        (MESSAGES, PATHS),
        (pa.struct([("list", pa.list_(MEDIUM)), ("other", pa.string())]), [("list",)]),
        (pa.struct([("bytes", pa.binary())]), []),
        (pa.struct([("bytes", pa.string()), ("path", pa.string())]), []),
        (pa.string(), []),
        (pa.list_(pa.int32()), []),
    ],
)
def test_media_are_told_by_their_type(type_: pa.DataType, paths: list[Any], tmp_path: Path) -> None:
    assert media_within(type_) == paths
    pq.write_table(pa.table({"a.b": pa.nulls(1, type_)}), tmp_path / "a.parquet")
    schema = pq.ParquetFile(tmp_path / "a.parquet").schema
    leaves = [schema.column(number).path for number in range(len(schema))]
    of_bytes = [leaf for leaf in leaves if is_bytes_of("a.b", paths, leaf)]
    assert len(of_bytes) == len(paths)
    assert all(leaf.endswith(".bytes") for leaf in of_bytes)


def medium(number: int) -> dict[str, Any]:
    return {"bytes": str(number).encode(), "path": f"{number}.png"}


ROW = [
    {"role": "user", "content": [{"image": medium(0)}, {"image": None}, {"frames": [medium(10), None, medium(11)]}]},
    {"role": "assistant", "content": None},
    None,
    {"role": "user", "content": [None, {"image": medium(1), "frames": []}]},
]


def test_a_value_and_its_cells_are_numbered_alike() -> None:
    [scalar] = pa.array([ROW], MESSAGES)
    for path in PATHS:
        of_cells = [cell and cell["path"].as_py() for cell in slots_of(scalar, path)]
        changed = replaced(scalar.as_py(), path, lambda cell: f"<{cell and cell['path']}>")
        assert re.findall("'<(.*?)>'", str(changed)) == [str(each) for each in of_cells]
        assert None in of_cells and len(of_cells) > 3


def test_bytes_in_contents_are_not_read_with_the_records(tmp_path: Path) -> None:
    table = pa.table({"messages": pa.array([ROW], MESSAGES), "id": [1]})
    pq.write_table(table, tmp_path / "d.parquet")
    [record] = ParquetRows(tmp_path / "d.parquet")
    first, *_ = record["messages"]
    expected = EmbeddedMedium(path=str(tmp_path / "d.parquet"), row=0, column="messages", item=0, written="0.png")
    assert first["content"][0]["image"] == expected
    assert first["content"][1]["image"] is None
    cells = [first["content"][0]["image"], *first["content"][2]["frames"], record["messages"][3]["content"][1]["image"]]
    assert [cell and cell.item for cell in cells] == [0, 6, None, 8, 3]


@pytest.mark.parametrize("compression", ["NONE", "ZSTD"])
def test_media_in_contents_equal_files(workshop: Workshop, compression: str) -> None:
    names = [workshop.image(f"{color}.png", size, color) for color, size in (("red", (56, 84)), ("blue", (84, 56)))]
    cells = [{"bytes": (workshop.media / name).read_bytes(), "path": name} for name in names]

    def part(**given: Any) -> dict[str, Any]:
        return {"type": None, "text": None, "image": None, **given}

    def turns(*images: dict[str, Any]) -> list[dict[str, Any]]:
        parts = [part(type="image", image=image) for image in images]
        return [
            {"role": "user", "content": [*parts, part(type="text", text="What?")]},
            {"role": "assistant", "content": [part(type="text", text="That.")]},
        ]

    part_type = pa.struct([("type", pa.string()), ("text", pa.string()), ("image", MEDIUM)])
    type_ = pa.list_(pa.struct([("role", pa.string()), ("content", pa.list_(part_type))]))
    only_path = {"bytes": None, "path": names[0]}
    rows = [turns(*cells), turns(cells[1]), turns(only_path, cells[1], cells[0])]
    path = workshop.root / "d.parquet"
    pq.write_table(pa.table({"messages": pa.array(rows, type_)}), path, row_group_size=2, compression=compression)
    workshop.register("d", path)
    files = [names, names[1], [names[0], names[1], names[0]]]
    texts = ["<image><image>What?", "<image>What?", "<image><image><image>What?"]
    workshop.dataset([talk(text, "That.", image=each) for text, each in zip(texts, files, strict=True)], "e")
    outcome = workshop.run("--dataset_use=d,e", "--packing=none", "--max_pixels=50176")
    by_key = {pack.sample_keys[0]: pack for pack in outcome.packs}
    assert len(by_key) == 6
    for number in range(3):
        cell, file = by_key[f"d:{number}"], by_key[f"e:{number}"]
        for name in ("input_ids", "labels", "position_ids", "image_patches", "image_grid_thw"):
            np.testing.assert_array_equal(getattr(cell, name), getattr(file, name))
