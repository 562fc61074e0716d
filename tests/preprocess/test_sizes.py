"""Columns of sizes: what is read from a plan, what fits, and which uses of which samples share a pack."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.arguments import parse_config
from preprocess.config import RunConfig
from preprocess.errors import ConfigError
from preprocess.executor import ThisProcess
from preprocess.plan import open_sources
from preprocess.plan_tables import SamplesReader, read_table
from preprocess.run import make_plan
from preprocess.sizes import PackedItems, SampleSizes, fits, pack_samples
from shards import ModelConstants, read_model_constants

CONFIG = {"model": Path("m"), "datasets": Path("d"), "dataset_use": "d", "output_dir": Path("o"), "pack_length": 10}

rows = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3), st.integers(1, 4), st.integers(0, 2)), max_size=20)


@pytest.fixture(scope="module")
def constants(demo: Any) -> ModelConstants:
    return read_model_constants(demo.model)


def columns(rows: list[tuple[int, int, int, int]]) -> SampleSizes:
    """From (record, copies of that record, tokens, image patches / 4)."""
    copies_of_record: dict[int, int] = {}
    ordered = sorted(rows)
    for record, copies, _, _ in ordered:
        copies_of_record.setdefault(record, copies)
    table = [(record, copies_of_record[record], tokens, 4 * cells, 0) for record, _, tokens, cells in ordered]
    return SampleSizes(
        **dict(
            zip(
                ("records", "copies", "tokens", "image_patches", "video_patches"),
                np.array(table, np.int32).reshape(-1, 5).T,
                strict=True,
            )
        )
    )


def units_of(sizes: SampleSizes, packed: PackedItems) -> dict[tuple[int, int], set[int]]:
    """(record, repeat) -> the packs that its samples are in."""
    units: dict[tuple[int, int], set[int]] = {}
    for row, repeat, pack in zip(packed.rows, packed.repeats, packed.packs, strict=True):
        units.setdefault((int(sizes.records[row]), int(repeat)), set()).add(int(pack))
    return units


@given(rows)
def test_every_use_is_packed_once_and_ready_made_packs_stay_together(
    constants: ModelConstants, rows: list[tuple[int, int, int, int]]
) -> None:
    config = RunConfig(**CONFIG)
    sizes = columns(rows)
    sizes = sizes.keep(fits(sizes, config))
    packed = pack_samples(sizes, config, constants)
    uses = list(zip(packed.rows.tolist(), packed.repeats.tolist(), strict=True))
    assert uses == [(row, repeat) for row, copies in enumerate(sizes.copies) for repeat in range(copies)]
    assert set(packed.packs.tolist()) == set(range(packed.num_packs))
    assert all(len(packs) == 1 for packs in units_of(sizes, packed).values())
    assert np.all(np.bincount(packed.packs, sizes.tokens[packed.rows]) <= config.pack_length)
    assert np.all(np.bincount(packed.packs, sizes.patches[packed.rows]) <= packed.pack_patches)


def test_without_packing_every_use_is_a_pack(constants: ModelConstants) -> None:
    sizes = columns([(0, 2, 3, 1), (0, 2, 4, 2), (1, 1, 5, 0)])
    packed = pack_samples(sizes, RunConfig(**CONFIG, packing="none"), constants)
    assert sorted(packed.packs.tolist()) == list(range(5))
    assert packed.pack_patches == 8


def test_a_ready_made_pack_fits_as_a_whole_or_not_at_all_unless_nothing_is_packed() -> None:
    sizes = columns([(0, 1, 6, 1), (0, 1, 5, 1), (1, 1, 10, 3), (2, 1, 11, 0), (3, 0, 1, 1)])
    assert fits(sizes, RunConfig(**CONFIG)).tolist() == [False, False, True, False, True]
    assert fits(sizes, RunConfig(**CONFIG, pack_patches=8)).tolist() == [False, False, False, False, True]
    assert fits(sizes, RunConfig(**CONFIG, packing="none")).tolist() == [True, True, True, False, True]


def test_sizes_are_those_of_the_measured_samples_in_their_order(demo: Any, tmp_path: Path) -> None:
    words = ["--config", str(demo.config), "--workers", "0", "--dataset_use", "bundles%150,clips,charts%40"]
    config = parse_config(words, lambda line: None)
    make_plan(config, open_sources(config), tmp_path, ThisProcess())
    sizes = SampleSizes.read(tmp_path, read_table(tmp_path / "parts.arrow")["num_samples"].to_pylist())
    samples = list(SamplesReader(tmp_path))
    assert len(samples) == len(sizes)
    assert any(sample.videos for sample in samples)
    assert set(sizes.copies.tolist()) == {1, 2}
    for number, sample in enumerate(samples):
        assert sizes.tokens[number] == sample.num_tokens
        assert sizes.image_patches[number] == sample.num_image_patches
        assert sizes.video_patches[number] == sample.num_video_patches
    records = [(sample.sample.dataset, sample.sample.index) for sample in samples]
    assert len(set(records)) < len(records), "some must be members of ready-made packs"
    positions = {record: position for position, record in enumerate(dict.fromkeys(records))}
    assert sizes.records.tolist() == [positions[record] for record in records]


def test_more_uses_than_32_bits_number_are_refused(constants: ModelConstants) -> None:
    sizes = columns([(0, 2**31 - 1, 3, 1), (1, 1, 4, 2)])
    with pytest.raises(ConfigError, match="dataset_use gives 2,147,483,648 samples"):
        pack_samples(sizes, RunConfig(**CONFIG), constants)
