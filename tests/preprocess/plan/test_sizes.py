"""Columns of sizes: what is read from a plan, what fits, and which uses of which samples share a pack."""

from __future__ import annotations

import tracemalloc
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from preprocess.cli.arguments import parse_config
from preprocess.config import RunConfig
from preprocess.errors import ConfigError
from preprocess.jobs.executor import ThisProcess
from preprocess.plan.inputs import open_sources
from preprocess.plan.make import make_plan
from preprocess.plan.sizes import Counts, PackedItems, SampleSizes, SizeColumns, fits, pack_samples
from preprocess.plan.tables import part_path, read_table
from shards import ModelConstants, read_model_constants
from tests.preprocess.workshop import samples_of

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


def two_uses_each(tokens: Counts, visual_tokens: Counts) -> SampleSizes:
    zeros = np.zeros(len(tokens), np.int32)
    return SampleSizes(
        records=np.arange(len(tokens), dtype=np.int32),
        copies=zeros + 2,
        tokens=tokens.astype(np.int32),
        image_patches=(4 * visual_tokens).astype(np.int32),
        video_patches=zeros,
    )


def short_answers(num_samples: int) -> SampleSizes:
    """Images of a few sizes with short text, as in VQA: many samples are of equal size."""
    rng = np.random.default_rng(0)
    visual = rng.choice([64, 256, 324], num_samples)
    return two_uses_each(visual + rng.integers(20, 60, num_samples), visual)


def all_different(num_samples: int) -> SampleSizes:
    rng = np.random.default_rng(0)
    visual = rng.integers(0, 4000, num_samples)
    return two_uses_each(visual + rng.integers(1, 4000, num_samples), visual)


@pytest.mark.parametrize(
    ("sizes", "pack_length", "most_together"),
    [(short_answers(20_000), 4096, 0.05), (all_different(4000), 32_768, 0.01)],
)
def test_copies_of_a_sample_rarely_share_a_pack(
    constants: ModelConstants, sizes: SampleSizes, pack_length: int, most_together: float
) -> None:
    packed = pack_samples(sizes, RunConfig(**CONFIG | {"pack_length": pack_length}), constants)
    assert len(packed.rows) / packed.num_packs > 5
    first, second = packed.packs[packed.repeats == 0], packed.packs[packed.repeats == 1]
    assert np.mean(first == second) < most_together


def test_which_samples_of_equal_size_come_together_is_random_and_depends_on_the_seed(constants: ModelConstants) -> None:
    sizes = short_answers(20_000)
    configs = [RunConfig(**CONFIG | {"pack_length": 4096, "seed": seed}) for seed in (0, 0, 1)]
    first, again, other = (pack_samples(sizes, config, constants) for config in configs)
    np.testing.assert_array_equal(again.packs, first.packs)
    assert len(mates(other) & mates(first)) < 0.05 * len(mates(first))
    for packed in (first, other):
        by_chance = np.random.default_rng(0).permutation(packed.packs)
        assert median_spread(packed.rows, packed.packs) > 0.95 * median_spread(packed.rows, by_chance)


def mates(packed: PackedItems) -> set[tuple[int, int]]:
    """Items that follow each other in a pack."""
    order = np.lexsort((packed.rows, packed.packs))
    same = packed.packs[order][1:] == packed.packs[order][:-1]
    return set(zip(order[:-1][same].tolist(), order[1:][same].tolist(), strict=True))


def median_spread(rows: Counts, packs: Counts) -> float:
    """Between the first and the last row of a pack."""
    first, last = np.full(packs.max() + 1, len(rows)), np.zeros(packs.max() + 1)
    np.minimum.at(first, packs, rows)
    np.maximum.at(last, packs, rows)
    return float(np.median(last - first))


def test_memory_for_a_sample_is_small_where_all_sizes_differ(constants: ModelConstants) -> None:
    sizes = replace(all_different(10_000), copies=np.ones(10_000, np.int32))
    config = RunConfig(**CONFIG | {"pack_length": 8192})
    pack_samples(sizes, config, constants)
    tracemalloc.start()
    pack_samples(sizes, config, constants)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak / len(sizes) < 100


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
    columns, num_parts = SizeColumns(), len(list((tmp_path / "samples").iterdir()))
    assert num_parts > 2
    for part in range(num_parts):
        columns.add(read_table(part_path(tmp_path, part)))
    sizes = columns.sizes()
    samples = list(samples_of(tmp_path))
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
