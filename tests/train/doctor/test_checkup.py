"""What the doctor says, and that whatever fails makes it fail."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from train.cluster.world import World
from train.doctor.checkup import examine
from train.doctor.findings import Finding, failed, ok, skipped, within
from train.errors import TrainingFailed


def well(world: World) -> Iterator[Finding]:
    yield ok("heart", "beats")
    yield skipped("wings", "has none")


def ill(world: World) -> Iterator[Finding]:
    yield failed("leg", "is broken")


def raising(world: World) -> Iterator[Finding]:
    yield ok("eye", "sees")
    raise RuntimeError("no such kernel")


def test_what_is_right_and_what_is_skipped_passes() -> None:
    lines: list[str] = []
    assert examine(World.single(), lines.append, {"body": well})
    assert lines == ["ok       heart: beats", "skipped  wings: has none", "1 ok, 1 skipped, 0 FAILED"]


def test_what_failed_is_named_at_the_end() -> None:
    lines: list[str] = []
    assert not examine(World.single(), lines.append, {"legs": ill, "body": well})
    assert lines[-2:] == ["1 ok, 1 skipped, 1 FAILED", "failed: leg"]


def test_a_check_that_raises_has_failed_and_the_others_follow() -> None:
    lines: list[str] = []
    assert not examine(World.single(), lines.append, {"eyes": raising, "body": well})
    assert any("FAILED   eyes: raised RuntimeError" in line and "no such kernel" in line for line in lines)
    assert "ok       heart: beats" in lines


def test_of_several_ranks_one_that_raises_ends_the_job() -> None:
    with pytest.raises(TrainingFailed, match="eyes raised on rank 1"):
        examine(World(rank=1, size=2, device="CPU"), print, {"eyes": raising})


def test_a_distance_that_is_no_number_is_not_within() -> None:
    assert within("x", 0.5, 1.0, "").outcome == "ok"
    assert within("x", 1.5, 1.0, "").outcome == "FAILED"
    assert within("x", float("nan"), 1.0, "").outcome == "FAILED"
