"""What a rank reads is what the order says, padded; by itself and through MindSpore, from any step."""

from __future__ import annotations

import pickle
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shards import DamagedShard, Pack, PackStream, PaddedPack, ShardError, ShardSet, mindspore_dataset, open_shards
from shards.batch import Batch, BatchShape, input_names, make_batch
from shards.dataset import column_names
from shards.order import PackOrder
from tests.shards.packs import CONSTANTS
from tests.train.tiny_run import make_packs, write_tiny_shards

PACKS = make_packs(CONSTANTS, num_packs=7)
RUN = {"packs_per_step": 4, "num_epochs": 2.5, "seed": 5}  # 18 packs: 4 steps and half of one
ORDER = PackOrder(num_packs=7, seed=5, packs_per_step=4, num_positions=18)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two shards, of packs 0 to 3 and 4 to 6. Read only."""
    folder = tmp_path_factory.mktemp("dataset") / "shards"
    write_tiny_shards(folder, PACKS, CONSTANTS)
    return folder


@pytest.fixture(scope="module")
def shards(folder: Path) -> ShardSet:
    return open_shards(folder)


def assert_same_rows(got: Sequence[PaddedPack], expected: Sequence[PaddedPack]) -> None:
    assert [row[1:] for row in got] == [row[1:] for row in expected]
    for ours, theirs in zip(got, expected, strict=True):
        assert_same_batch(ours.batch, theirs.batch)


def assert_same_batch(got: Sequence[np.ndarray], expected: Batch) -> None:
    for name, array, other in zip(input_names(CONSTANTS), got, expected, strict=True):
        assert array.dtype == other.dtype, name
        np.testing.assert_array_equal(array, other, err_msg=name)


def test_rows_are_the_packs_of_the_order_padded(shards: ShardSet) -> None:
    shape = BatchShape.of(shards.manifest)
    rows = list(PackStream(shards, ORDER))
    indices = [index for step in range(ORDER.num_steps) for index in ORDER.packs_of_step(step)]
    assert len(rows) == len(indices) == 20
    for row, index in zip(rows, indices, strict=True):
        pack = None if index is None else PACKS[index]
        assert_same_batch(row.batch, make_batch(pack, shape, CONSTANTS))
        assert row[1:] == (
            (-1, 0, 0, ()) if pack is None else (index, pack.num_tokens, pack.num_label_tokens, pack.sample_keys)
        )


def test_a_run_ends_with_empty_packs_and_has_them_nowhere_else(shards: ShardSet) -> None:
    rows = list(PackStream(shards, ORDER))
    assert [row.pack_index == -1 for row in rows] == [False] * 18 + [True] * 2
    assert [row.batch.target_weight.any() for row in rows] == [True] * 18 + [False] * 2


@given(st.integers(0, 5), st.sampled_from([(0, 1), (1, 2), (3, 4)]))
def test_starting_at_a_step_is_skipping_the_steps_before(shards: ShardSet, step: int, rank_of: tuple[int, int]) -> None:
    rank, world_size = rank_of
    whole = list(PackStream(shards, ORDER, rank=rank, world_size=world_size))
    rest = PackStream(shards, ORDER, first_step=step, rank=rank, world_size=world_size)
    assert_same_rows(list(rest), whole[step * 4 // world_size :])
    assert len(rest) == len(whole) - step * 4 // world_size


def test_starting_late_reads_nothing_of_what_came_before(shards: ShardSet) -> None:
    read = []

    class Watched:
        folder = shards.folder
        manifest = shards.manifest

        def __len__(self) -> int:
            return len(shards)

        def __getitem__(self, index: int) -> Pack:
            read.append(index)
            return shards[index]

    list(PackStream(Watched(), ORDER, first_step=4))
    assert read == [index for index in ORDER.packs_of_step(4) if index is not None] != []


@pytest.mark.parametrize("world_size", [1, 2, 4])
def test_ranks_share_each_step(shards: ShardSet, world_size: int) -> None:
    whole = [row.pack_index for row in PackStream(shards, ORDER)]
    share = 4 // world_size
    by_rank = [
        [row.pack_index for row in PackStream(shards, ORDER, rank=rank, world_size=world_size)]
        for rank in range(world_size)
    ]
    for step in range(ORDER.num_steps):
        taken = [index for rank in by_rank for index in rank[step * share : (step + 1) * share]]
        assert sorted(taken) == sorted(whole[step * 4 : (step + 1) * 4])


def test_every_iteration_starts_anew_and_threads_and_copies_get_the_same(shards: ShardSet) -> None:
    stream = PackStream(shards, ORDER, first_step=1, rank=1, world_size=2)
    expected = list(stream)
    copy = pickle.loads(pickle.dumps(stream))
    assert len(pickle.dumps(stream)) < 1000
    with ThreadPoolExecutor(2) as threads:
        for rows in threads.map(list, [stream, stream, copy, copy]):
            assert_same_rows(rows, expected)


def test_rows_do_not_share_memory(shards: ShardSet) -> None:
    first, second, *_ = PackStream(shards, ORDER)
    assert not any(np.shares_memory(a, b) for a in first.batch for b in second.batch)
    assert all(array.flags.writeable for array in first.batch)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"first_step": 6}, "first_step is 6, the run has steps 0 to 5"),
        ({"first_step": -1}, "first_step is -1"),
        ({"world_size": 3}, "packs_per_step is 4, which 3 ranks can't share"),
        ({"rank": 2, "world_size": 2}, "rank is 2, ranks are 0 to 1"),
    ],
)
def test_numbers_that_do_not_fit_the_run_are_refused(shards: ShardSet, changed: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PackStream(shards, ORDER, **changed)


def test_an_order_of_another_dataset_is_refused(shards: ShardSet) -> None:
    with pytest.raises(ValueError, match=r"one of 8 packs, .*shards holds 7"):
        PackStream(shards, replace(ORDER, num_packs=8))


class Failing:
    """Shards that fail at pack 2."""

    def __init__(self, shards: ShardSet, error: Exception) -> None:
        self.folder = shards.folder
        self.manifest = shards.manifest
        self._shards = shards
        self._error = error

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: int) -> Pack:
        if index == 2:
            raise self._error
        return self._shards[index]


@pytest.mark.parametrize(
    ("error", "raised", "message"),
    [
        (DamagedShard("shard-000000.arrow is damaged"), DamagedShard, "shard-000000.arrow is damaged"),
        (
            OSError(5, "Input/output error"),
            ShardError,
            r"pack 2 of .*shards can't be read .*Input/output.*check the disk",
        ),
        (KeyError("a bug"), RuntimeError, r"pack 2 of .*shards can't be padded: 'a bug'"),
    ],
)
def test_an_error_comes_in_its_place_and_says_where(
    shards: ShardSet, error: Exception, raised: type[Exception], message: str
) -> None:
    rows: list[PaddedPack] = []
    with pytest.raises(raised, match=message):
        rows.extend(take_all(PackStream(Failing(shards, error), ORDER), rows))
    indices = [index for step in range(ORDER.num_steps) for index in ORDER.packs_of_step(step)]
    assert [row.pack_index for row in rows] == indices[: indices.index(2)] != []


def take_all(source: Any, taken: list[Any]) -> Iterator[Any]:
    for row in source:
        taken.append(row)
    return iter(())


@pytest.mark.parametrize("share", [{}, {"first_step": 2, "rank": 1, "world_size": 2}])
def test_mindspore_gives_the_same_rows(folder: Path, shards: ShardSet, share: dict[str, int]) -> None:
    expected = list(PackStream(shards, ORDER, **share))
    dataset = mindspore_dataset(folder, **RUN, **share)
    assert len(list(pickle.loads(pickle.dumps(dataset.source)))) == len(expected)
    assert dataset.get_dataset_size() == len(expected)
    names = [*input_names(CONSTANTS), "pack_index", "num_tokens", "num_label_tokens"]
    assert dataset.get_col_names() == list(column_names(CONSTANTS)) == names
    for _ in range(2):
        arrays = list(dataset.create_tuple_iterator(num_epochs=1, output_numpy=True))  # kept, while more are read
        for (*batch, pack_index, num_tokens, num_label_tokens), row in zip(arrays, expected, strict=True):
            assert_same_batch(batch, row.batch)
            assert (pack_index, num_tokens, num_label_tokens) == row[1:4]
            assert pack_index.dtype == np.int32 and pack_index.shape == ()
    named = list(dataset.create_dict_iterator(num_epochs=1))
    for tensors, row in zip(named, expected, strict=True):
        assert_same_batch([tensors[name].asnumpy() for name in input_names(CONSTANTS)], row.batch)
        assert int(tensors["pack_index"].asnumpy()) == row.pack_index


def test_mindspores_own_operations_follow(folder: Path, shards: ShardSet) -> None:
    import mindspore.dataset

    dataset = mindspore_dataset(folder, **RUN)
    assert isinstance(dataset, mindspore.dataset.Dataset)
    batched = [row["input_ids"] for row in dataset.batch(4).create_dict_iterator(num_epochs=1, output_numpy=True)]
    rows = [row.batch.input_ids for row in PackStream(shards, ORDER)]
    np.testing.assert_array_equal(np.concatenate(batched), np.stack(rows))
    assert batched[0].shape == (4, BatchShape.of(shards.manifest).pack_length)


@pytest.mark.parametrize("create", ["create_tuple_iterator", "create_dict_iterator"])
def test_mindspore_raises_the_error_itself(tmp_path: Path, create: str) -> None:
    write_tiny_shards(tmp_path / "shards", PACKS, CONSTANTS)
    dataset = mindspore_dataset(tmp_path / "shards", **RUN)
    (tmp_path / "shards" / "shard-000001.arrow").unlink()  # opened when the first of its packs is due
    indices = [index for step in range(ORDER.num_steps) for index in ORDER.packs_of_step(step)]
    of_missing_shard = next(place for place, index in enumerate(indices) if index >= 4)
    assert of_missing_shard > 0
    for _ in range(2):
        rows: list[Any] = []
        with pytest.raises(DamagedShard, match=r"^.*shard-000001\.arrow is missing; preprocess again") as error:
            take_all(getattr(dataset, create)(num_epochs=1), rows)
        assert "\n" not in str(error.value) and error.value.__suppress_context__
        assert len(rows) <= of_missing_shard  # MindSpore drops what it has read ahead


def test_a_folder_without_packs_has_no_rows(tmp_path: Path) -> None:
    write_tiny_shards(tmp_path / "shards", [], CONSTANTS)
    with pytest.raises(ShardError, match=r"shards holds no pack; preprocess again"):
        mindspore_dataset(tmp_path / "shards", **RUN)


LEAVE_IN_THE_MIDDLE = """
import sys
from shards import mindspore_dataset
rows = mindspore_dataset(sys.argv[1], packs_per_step=1, num_epochs=1000).create_tuple_iterator(num_epochs=1)
print(len(next(rows)))
"""


def test_a_process_may_end_while_mindspore_reads_ahead(folder: Path) -> None:
    command = [sys.executable, "-c", LEAVE_IN_THE_MIDDLE, str(folder)]
    done = subprocess.run(
        command, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, str(len(column_names(CONSTANTS)))), done.stderr
