"""FORMAT.md tells the truth: its manifest is one that we write, its code reads what we wrote, without us."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from shards import DatasetSummary, Manifest, Pack, count_pack
from shards.formats.mindrecord import COLUMNS
from shards.formats.patch_blocks import BLOCK_PATCHES
from tests.shards.datasets import write_dataset
from tests.shards.packs import CONSTANTS, arrays, make_pack

FORMAT_MD = (Path(__file__).parents[2] / "shards" / "FORMAT.md").read_text(encoding="utf-8")
SHARDS = [
    [make_pack(texts=(5, 3), images=[(1, 2, 4)], seed=1), make_pack(texts=(4,), seed=2)],
    [make_pack(images=[(1, 2, 2), (1, 4, 4)], videos=[(1, 2, 2)], seed=3)],
]
PACKS = [pack for shard in SHARDS for pack in shard]


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", FORMAT_MD, re.MULTILINE | re.DOTALL)


def write_example(folder: Path, format: str) -> Manifest:
    folder.mkdir()
    counts = sum(map(count_pack, PACKS[1:]), count_pack(PACKS[0]))
    return write_dataset(
        folder,
        SHARDS,
        format,
        fingerprint="23e9ec735d791d955d225362a14a6ce3fff25ba0c5fa6ee292ed88882fc600b6",
        inputs={"config": {"format": format, "pack_length": 100}, "versions": {"pillow": "12.0.0"}},
        datasets={"made up": DatasetSummary(counts=counts, rejects={"missing_file": 1})},
    )


def read_by(script: str) -> list[dict[str, Any]]:
    """The variables of `script` at the end of each round of its innermost loop."""
    rows: list[dict[str, Any]] = []
    script = re.sub(r"^( +)# \.\.\.$", r"\1rows.append(dict(globals()))", script, flags=re.MULTILINE)
    assert "rows.append" in script
    exec(compile(script, "FORMAT.md", "exec"), {"rows": rows})
    return rows


def assert_read(row: dict[str, Any], pack: Pack) -> None:
    names = arrays(pack).keys() & row.keys()
    assert {"input_ids", "image_patches", "image_grid_thw"} <= names
    for name in names:
        expected = getattr(pack, name)
        np.testing.assert_array_equal(row[name], expected, err_msg=name)
        assert (row[name].dtype, row[name].shape) == (expected.dtype, expected.shape), name


def test_the_manifest_shown_is_one_that_we_write(tmp_path: Path) -> None:
    [shown] = blocks("json")
    written = json.loads(write_example(tmp_path / "out", "mindrecord").to_json())
    assert json.loads(shown) == written


@pytest.mark.parametrize(("format", "number"), [("arrow", 0), ("arrow_zstd", 1), ("mindrecord", 2)])
def test_the_code_shown_reads_every_pack_without_us(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, number: int
) -> None:
    script = blocks("python")[number]
    assert "shards import" not in script and "import shards" not in script
    write_example(tmp_path / "out", format)
    monkeypatch.chdir(tmp_path)
    rows = read_by(script)
    assert len(rows) == len(PACKS) == 3
    for row, pack in zip(rows, PACKS, strict=True):
        assert_read(row, pack)


def test_every_column_is_in_the_table() -> None:
    table = re.findall(r"^\| `(\w+)`", FORMAT_MD, re.MULTILINE)
    assert set(COLUMNS) <= set(table)
    assert f"of {BLOCK_PATCHES} patches each" in FORMAT_MD
    assert f"| (Pi, {CONSTANTS.image_patch_bytes}) |" in FORMAT_MD
