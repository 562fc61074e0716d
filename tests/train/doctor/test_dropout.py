from __future__ import annotations

import mindspore as ms
import numpy as np
import pytest

from train.adapters.lora import AdapterDropout
from train.cluster.world import World
from train.doctor import dropout
from train.doctor.dropout import check, check_generator, check_hash


class Stuck(AdapterDropout):
    """Every pack has the mask of the first."""

    def begin(self, seed: int, position: int) -> None:
        super().begin(seed, 0)


class Restless(AdapterDropout):
    """A pack has another mask each time."""

    count = 0

    def begin(self, seed: int, position: int) -> None:
        self.count += 1
        super().begin(seed, self.count)


def test_the_hash_is_as_numpy_has_it() -> None:
    assert check_hash().outcome == "ok"


def test_another_hash_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    right = dropout.hash_drops

    def one_off(seed: int, threshold: int) -> np.ndarray:
        drops = right(seed, threshold)
        drops[5, 7] = not drops[5, 7]
        return drops

    monkeypatch.setattr(dropout, "hash_drops", one_off)
    assert check_hash().outcome == "FAILED"
    assert check_hash().detail.startswith("1 elements are not")


@pytest.mark.parametrize(("kind", "outcome"), [(AdapterDropout, "ok"), (Stuck, "FAILED"), (Restless, "FAILED")])
def test_masks_must_come_again_and_differ_between_packs(kind: type[AdapterDropout], outcome: str) -> None:
    assert check_generator("generator", kind(0.25)).outcome == outcome


def test_another_share_is_seen() -> None:
    assert check_generator("generator", AdapterDropout(0.2)).outcome == "FAILED"


def test_cpu_has_no_generator() -> None:
    assert ms.get_context("device_target") == "CPU"
    assert [each.outcome for each in check(World.single())] == ["ok", "skipped"]
