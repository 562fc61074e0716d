"""Which loss belongs to which dataset."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from shards import DatasetSummary, load_padded, open_shards
from shards.batch import BatchShape, make_batch
from shards.manifest import read_manifest, write_manifest
from tests.train.tiny_run import make_packs, write_tiny_model, write_tiny_shards
from train.cluster.world import World
from train.models.folder import build_model
from train.models.trained import Work
from train.reports.metrics import StepSums
from train.steps.evaluate import Evaluation, sums_of
from train.steps.step import MicroBatch, micro_batches_of
from train.stop import StopRequest

NAMES = ("first", "second", "unused")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five packs whose samples come from two datasets in turn."""
    root = tmp_path_factory.mktemp("evaluate")
    constants = write_tiny_model(root / "model")
    packs = make_packs(constants, num_packs=5)
    keys = (f"{NAMES[number % 2]}:{number}" for number in range(100))
    for pack in packs:
        object.__setattr__(pack, "sample_keys", tuple(next(keys) for _ in pack.sample_keys))
    write_tiny_shards(root / "shards", packs, constants)
    manifest = read_manifest(root / "shards")
    object.__setattr__(manifest, "datasets", {name: DatasetSummary() for name in NAMES})
    write_manifest(root / "shards", manifest)
    return root


def micro_batch(root: Path, index: int) -> MicroBatch:
    shards = open_shards(root / "shards")
    pack = load_padded(shards, index, BatchShape.of(shards.manifest))
    (made,) = micro_batches_of([pack], lambda pack: Work(num_patches=0, num_patch_slots=0, flops=0))
    return made


def test_a_token_counts_for_the_dataset_of_its_sample(root: Path) -> None:
    shards = open_shards(root / "shards")
    index = next(index for index in range(len(shards)) if len(shards[index].sample_keys) == 3)
    pack, batch = shards[index], micro_batch(root, index)
    losses = np.arange(1.0, len(batch.batch.target_weight) + 1, dtype=np.float32) * batch.batch.target_weight
    expected = dict.fromkeys(NAMES, 0.0)
    counts = dict.fromkeys(NAMES, 0)
    places = np.flatnonzero(pack.labels != -100)
    for number, place in enumerate(places, 1):
        segment = int(np.searchsorted(pack.cu_seqlens, place, side="right")) - 1
        name = pack.sample_keys[segment].partition(":")[0]
        expected[name] += number
        counts[name] += 1
    assert counts["first"] > 0 and counts["second"] > 0
    whole, *others = sums_of(losses, batch, NAMES).tolist()
    assert whole == [len(places) * (len(places) + 1) / 2, len(places)]
    assert others == [[expected[name], counts[name]] for name in NAMES]


def test_without_names_there_is_one_sum_and_an_empty_pack_has_none(root: Path) -> None:
    batch = micro_batch(root, 0)
    losses = np.ones(len(batch.batch.target_weight), np.float32)
    assert sums_of(losses, batch, ()).tolist() == [[batch.sums.num_label_tokens, batch.sums.num_label_tokens]]
    assert sums_of(losses, None, NAMES).tolist() == [[0, 0]] * 4
    manifest = open_shards(root / "shards").manifest
    empty = make_batch(None, BatchShape.of(manifest), manifest.model)
    padded = MicroBatch(batch=empty, sums=StepSums(), sample_keys=())
    assert sums_of(losses, padded, NAMES).tolist() == [[0, 0]] * 4


def test_an_evaluation_tells_all_and_each_dataset(root: Path) -> None:
    model = build_model(root / "model")
    result = Evaluation(model, open_shards(root / "shards"), World.single()).run(StopRequest(), step=1, epoch=1.0)
    assert result is not None
    assert list(result.datasets) == list(NAMES)
    of_datasets = [result.datasets[name] for name in NAMES]
    assert sum(each.num_label_tokens for each in of_datasets) == result.num_label_tokens
    assert sum(each.loss_sum for each in of_datasets) == pytest.approx(result.loss_sum, rel=1e-12)
    assert of_datasets[0].loss != of_datasets[1].loss
    assert of_datasets[2].num_label_tokens == 0
