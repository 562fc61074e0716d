from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor

from shards import DamagedShard, PackStream, measure_pack, open_shards
from shards.order import PackOrder
from tests.train.tiny_run import make_packs, write_tiny_model, write_tiny_shards
from train.cluster.world import World
from train.errors import TrainingFailed
from train.models.folder import build_model
from train.reports.metrics import StepSums
from train.steps.step import MicroBatch, make_step, micro_batches_of


class FakeOptimizer:
    def __init__(self, norm: float) -> None:
        self.norm = norm
        self.divisors: list[int] = []

    def step(self, learning_rates: list[float], *, divisor: int) -> float:
        self.divisors.append(divisor)
        return self.norm


def fake_step(losses: list[float], norm: float) -> tuple[FakeOptimizer, StepSums]:
    """`make_step` as the third of a run, with a made-up loss for each of its packs, of 1, 2, ... supervised tokens."""
    packs = [
        MicroBatch(
            batch=(),
            sums=StepSums(num_tokens=10, num_label_tokens=number),
            sample_keys=(f"tiny:{number}.0", f"tiny:{number}.1"),
        )
        for number in range(1, len(losses) + 1)
    ]
    returned = iter(losses)
    optimizer = FakeOptimizer(norm)
    sums, _, _ = make_step(
        3, iter(packs), lambda *batch: Tensor(np.float32(next(returned))), optimizer, [1e-3], World.single()
    )
    return optimizer, sums


def test_a_step_divides_once_by_all_its_supervised_tokens() -> None:
    optimizer, sums = fake_step([1.0, 5.0, 6.0], norm=1.0)
    assert optimizer.divisors == [1 + 2 + 3]
    assert sums == StepSums(num_tokens=30, num_label_tokens=6, loss_sum=12.0)
    assert sums.loss == 2.0


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_names_its_step_and_samples_and_no_others(value: float) -> None:
    with pytest.raises(TrainingFailed) as error:
        fake_step([1.0, value, 1.0], norm=1.0)
    assert "step 3: the loss is not finite in pack (tiny:2.0, tiny:2.1)" in str(error.value)


def test_a_gradient_that_is_not_finite_names_its_step_and_samples() -> None:
    with pytest.raises(TrainingFailed, match=r"step 3: the gradient is not finite in pack \(tiny:1.*pack \(tiny:2"):
        fake_step([1.0, 1.0], norm=np.nan)


def test_a_pack_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    constants = write_tiny_model(tmp_path / "model")
    write_tiny_shards(tmp_path / "shards", make_packs(constants, num_packs=2), constants)
    shards = open_shards(tmp_path / "shards")
    (tmp_path / "shards" / "shard-000001.arrow").unlink()
    packs = PackStream(shards, PackOrder(num_packs=2, seed=0, packs_per_step=2, num_positions=2))
    with pytest.raises(TrainingFailed, match=r"^\S+shard-000001\.arrow is missing") as error:
        list(micro_batches_of(packs, build_model(tmp_path / "model").work_of))
    assert isinstance(error.value.__cause__, DamagedShard)


def test_what_a_pack_adds_to_its_step_is_counted_with_and_without_padding(tmp_path: Path) -> None:
    constants = write_tiny_model(tmp_path / "model")
    packs = make_packs(constants, num_packs=4)
    write_tiny_shards(tmp_path / "shards", packs, constants)
    order = PackOrder(num_packs=4, seed=0, packs_per_step=3, num_positions=4)
    stream = PackStream(open_shards(tmp_path / "shards"), order)
    batches = list(micro_batches_of(stream, build_model(tmp_path / "model").work_of))
    taken = [index for step in range(order.num_steps) for index in order.packs_of_step(step)]
    assert None in taken
    for micro_batch, index in zip(batches, taken, strict=True):
        pack = None if index is None else packs[index]
        sums = micro_batch.sums
        assert sums.num_tokens == (pack.num_tokens if pack else 0)
        assert sums.num_label_tokens == (pack.num_label_tokens if pack else 0)
        assert sums.num_patches == (len(pack.image_patches) + len(pack.video_patches) if pack else 0)
        assert (sums.num_token_slots, sums.num_patch_slots) == (
            64,
            max(measure_pack(p, constants).patches for p in packs),
        )
