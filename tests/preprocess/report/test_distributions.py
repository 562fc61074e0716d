"""Distributions are exact, and bins leave no value out."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from preprocess.plan.tables import part_path, write_parts, write_table
from preprocess.report.distributions import Distribution, PlanDistributions, doubling_edges, even_edges
from tests.preprocess.workshop import Outcome, samples_of

VALUES = st.lists(st.integers(0, 5000), min_size=1, max_size=50)


def distribution(*batches: list[int]) -> Distribution:
    found = Distribution()
    for batch in batches:
        found.add(np.array(batch, np.int32))
    return found


@given(st.lists(VALUES, min_size=1, max_size=4))
def test_batches_add_up(batches: list[list[int]]) -> None:
    everything = sorted(value for batch in batches for value in batch)
    found = distribution(*batches)
    assert found.total == len(everything)
    assert found.largest == everything[-1]
    for part in (0.0, 0.1, 0.5, 0.95, 1.0):
        assert found.quantile(part) == everything[max(int(np.ceil(part * len(everything))), 1) - 1]


def test_copies_count() -> None:
    found = Distribution()
    found.add(np.array([3, 5], np.int32), np.array([2, 4], np.int32))
    assert found.counts.tolist() == [0, 0, 0, 2, 0, 4]
    assert found.counts.dtype == np.int64


def test_nothing_has_a_distribution_too() -> None:
    nothing = Distribution()
    assert (nothing.total, nothing.largest, nothing.quantile(0.5)) == (0, 0, 0)
    assert [bin.number for bin in nothing.bins(doubling_edges(nothing))] == [0]


@given(VALUES)
def test_every_value_is_in_its_bin(values: list[int]) -> None:
    found = distribution(values)
    for edges in (doubling_edges(found), even_edges(found.largest)):
        bins = found.bins(edges)
        assert edges == sorted(set(edges))
        assert sum(bin.number for bin in bins) == len(values)
        for bin in bins:
            assert bin.number == sum(bin.low <= value <= bin.high for value in values)


def test_even_bins_are_few_and_reach_the_capacity() -> None:
    for capacity in (1, 49, 50, 768, 4096, 131_072):
        edges = even_edges(capacity)
        assert edges[-1] > capacity
        assert len(edges) <= 52
        assert len(set(np.diff(edges))) == 1


def test_growing_bins_double_every_four_and_begin_at_the_smallest_value() -> None:
    edges = doubling_edges(distribution([0, 100, 7000]))
    assert edges[:3] == [0, 100, 108]
    assert 128 in edges
    assert edges[edges.index(128) + 4] == 256
    assert edges[-1] == 7001


def test_a_plan_is_never_held_in_memory(tmp_path: Path) -> None:
    """Six times the parts take the same memory, and no list of all samples."""
    peaks, part_rows = [], 100_000
    for num_parts in (2, 12):
        plan = tmp_path / str(num_parts)
        (plan / "samples").mkdir(parents=True)
        write_parts(plan, ["d"] * num_parts, [part_rows] * num_parts)
        numbers = np.arange(part_rows, dtype=np.int64)
        columns = {"copies": numbers % 3, "num_tokens": numbers % 4096, "num_image_patches": numbers % 16_384}
        for part in range(num_parts):
            write_table(part_path(plan, part), pa.table({**columns, "num_video_patches": numbers % 2}))
        write_table(plan / "packs.arrow", pa.table({"num_tokens": numbers % 4096, "num_patches": numbers % 16_384}))
        tracemalloc.start()
        found = PlanDistributions.read(plan)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert found.sample_tokens.total == num_parts * int((numbers % 3).sum())
        assert found.pack_patches.largest == 16_383
    assert peaks[1] < 1.1 * peaks[0]
    assert peaks[1] < 30 * part_rows


def test_those_of_a_plan_are_those_of_its_samples_and_packs(demo_run: Outcome) -> None:
    plan = demo_run.folder / "plan"
    found = PlanDistributions.read(plan)
    packs = demo_run.packs
    assert found.sample_tokens.total == sum(pack.num_samples for pack in packs)
    tokens: npt.NDArray[np.integer] = np.concatenate([np.diff(pack.cu_seqlens) for pack in packs])
    np.testing.assert_array_equal(found.sample_tokens.counts, np.bincount(tokens))
    np.testing.assert_array_equal(found.pack_tokens.counts, np.bincount([pack.num_tokens for pack in packs]))
    patches = [len(pack.image_patches) + len(pack.video_patches) for pack in packs]
    np.testing.assert_array_equal(found.pack_patches.counts, np.bincount(patches))
    samples = list(samples_of(plan))
    assert {sample.num_patches for sample in samples} == set(np.flatnonzero(found.sample_patches.counts))
    assert len(samples) < found.sample_patches.total  # some are repeated
