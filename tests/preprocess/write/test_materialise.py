"""A pack holds its samples as each would be encoded alone; one that fails leaves the others as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_build import Demo

from preprocess.cli.arguments import parse_config
from preprocess.encode import SampleEncoder
from preprocess.errors import PlanMismatch, Reason, SampleError
from preprocess.jobs.executor import ThisProcess
from preprocess.jobs.share import Share
from preprocess.ledger import Reject
from preprocess.output_dir import prepare
from preprocess.run import plan_into_output
from preprocess.sample import EncodedSample, MeasuredSample
from preprocess.write.materialise import ShardStage, join_samples
from shards import IGNORE_INDEX, Pack, PackCounts, open_shards
from shards.formats.arrow import ArrowShard
from shards.formats.writer import ShardSidecar, read_sidecar
from tests.preprocess.workshop import Outcome, Workshop, samples_of, talk

PER_SAMPLE = {
    "image_patches": ("image_grid_thw", lambda grids: int(np.prod(grids, axis=1).sum())),
    "image_grid_thw": ("image_grid_thw", len),
    "video_patches": ("video_grid_thw", lambda grids: int(np.prod(grids, axis=1).sum())),
    "video_grid_thw": ("video_grid_thw", len),
    "second_per_grid_ts": ("video_grid_thw", len),
}


def split(pack: Pack, alone: list[EncodedSample]) -> list[dict[str, np.ndarray]]:
    """The arrays of each segment; media are shared out by the counts of the samples alone."""
    parts: list[dict[str, np.ndarray]] = []
    taken = dict.fromkeys(PER_SAMPLE, 0)
    for sample, first, last in zip(alone, pack.cu_seqlens[:-1], pack.cu_seqlens[1:], strict=True):
        part = {
            "input_ids": pack.input_ids[first:last],
            "labels": pack.labels[first:last],
            "position_ids": pack.position_ids[:, first:last],
        }
        for name, (grids, count) in PER_SAMPLE.items():
            end = taken[name] + count(getattr(sample, grids))
            part[name] = getattr(pack, name)[taken[name] : end]
            taken[name] = end
        parts.append(part)
    for name, end in taken.items():
        assert end == len(getattr(pack, name)), f"{name} of no sample"
    return parts


def test_each_segment_equals_its_sample_encoded_alone(demo: Demo, demo_run: Outcome) -> None:
    config = parse_config([f"--config={demo.config}"], lambda _: None)
    encoder = SampleEncoder.load(config.model, config)
    by_key = {measured.sample.key(): measured for measured in samples_of(demo_run.folder / "plan")}
    shared = mixed = with_video = 0
    for pack in demo_run.packs:
        alone = [encoder.encode(encoder.measure(by_key[key.partition("#")[0]].sample)) for key in pack.sample_keys]
        shared += len(alone) > 1
        with_video += any(len(sample.video_grid_thw) for sample in alone)
        mixed += any(len(sample.video_grid_thw) and len(sample.image_grid_thw) for sample in alone)
        for part, sample in zip(split(pack, alone), alone, strict=True):
            assert part.keys() == {name for name in EncodedSample.__dataclass_fields__} - {"num_reused", "notes"}
            assert sample.num_reused == 0
            for name, array in part.items():
                expected = getattr(sample, name)
                assert array.dtype == expected.dtype
                np.testing.assert_array_equal(array, expected, err_msg=name)
    assert min(shared, mixed, with_video) > 0


def test_joined_samples_keep_their_order_and_boundaries() -> None:
    def sample(size: int, images: int) -> EncodedSample:
        return EncodedSample(
            input_ids=np.arange(size, dtype=np.int32),
            labels=np.full(size, IGNORE_INDEX, np.int32),
            position_ids=np.tile(np.arange(size, dtype=np.int32), (3, 1)),
            image_patches=np.full((4 * images, 588), size, np.uint8),
            image_grid_thw=np.full((images, 3), [1, 2, 2], np.int32),
            video_patches=np.zeros((0, 1176), np.uint8),
            video_grid_thw=np.zeros((0, 3), np.int32),
            second_per_grid_ts=np.zeros(0),
        )

    pack = join_samples(["a", "b", "c"], [sample(5, 1), sample(3, 0), sample(4, 2)])
    assert pack.cu_seqlens.tolist() == [0, 5, 8, 12]
    assert pack.cu_seqlens.dtype == np.int32
    assert pack.position_ids[1].tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 0, 1, 2, 3]
    assert pack.image_patches[:, 0].tolist() == [5] * 4 + [4] * 8
    assert pack.sample_keys == ("a", "b", "c")


# --- samples that fail ---------------------------------------------------------------------------------------------


class PlannedRun:
    """A plan in one folder, whose indexes run with an encoder that fails on chosen records."""

    def __init__(self, workshop: Workshop, *, failing: set[int] = frozenset(), **changes: Any) -> None:
        self.config = workshop.config(**changes)
        self.sources = prepare(self.config, Share())
        self.plan = plan_into_output(self.config, self.sources, ThisProcess(), Share())
        self.encoder = SampleEncoder.load(self.config.model, self.config)
        self.taken_up = 0
        self._failing = failing

    def write_shard(self, index: int) -> ShardSidecar:
        return ShardStage(config=self.config).load().do_job(index, self._encode, self._count)

    def packs(self, index: int) -> list[Pack]:
        shard = ArrowShard(self.config.output_dir / f"shard-{index:06d}.arrow", self.sources.constants)
        return [shard[row] for row in range(len(shard))]

    def _encode(self, measured: MeasuredSample) -> EncodedSample:
        if measured.sample.index in self._failing:
            raise SampleError(Reason.UNDECODABLE, f"record {measured.sample.index} is broken")
        return self.encoder.encode(measured)

    def _count(self) -> None:
        self.taken_up += 1


def test_a_sample_that_fails_is_left_out_and_its_pack_keeps_place_and_order(workshop: Workshop, tmp_path: Path) -> None:
    workshop.dataset([talk("one " * (5 * n)) for n in range(20)])
    whole = PlannedRun(workshop, output_dir=tmp_path / "whole")
    short = PlannedRun(workshop, output_dir=tmp_path / "short", failing={3, 11, 19})
    assert whole.write_shard(0).rejects == ()
    sidecar = short.write_shard(0)
    lost = {"d:3", "d:11", "d:19"}
    assert len(whole.packs(0)) == len(short.packs(0)) > 2
    for before, after in zip(whole.packs(0), short.packs(0), strict=True):
        kept = [n for n, key in enumerate(before.sample_keys) if key not in lost]
        assert after.sample_keys == tuple(before.sample_keys[n] for n in kept)
        segments = np.split(before.input_ids, before.cu_seqlens[1:-1])
        np.testing.assert_array_equal(after.input_ids, np.concatenate([segments[n] for n in kept]))
    assert {reject["index"] for reject in sidecar.rejects} == {3, 11, 19}
    assert {reject["reason"] for reject in sidecar.rejects} == {"undecodable"}
    assert sidecar.datasets["d"].num_samples == 17
    assert short.taken_up == 20


def test_an_emptied_pack_is_dropped_and_the_others_move_up(workshop: Workshop) -> None:
    workshop.dataset([talk(f"number {n}") for n in range(6)])
    run = PlannedRun(workshop, packing="none", failing={1, 4})
    assert run.plan.num_packs == 6
    sidecar = run.write_shard(0)
    assert sidecar.shard is not None
    assert sidecar.shard.num_packs == 4
    assert {key for pack in run.packs(0) for key in pack.sample_keys} == {"d:0", "d:2", "d:3", "d:5"}


def test_a_shard_of_which_nothing_is_left_has_a_sidecar_and_no_file(workshop: Workshop) -> None:
    workshop.dataset([talk("number " * n) for n in range(4)])
    run = PlannedRun(workshop, packing="none", shard_bytes=1, failing={0, 1, 2, 3})
    assert run.plan.num_shards == 4
    for index in range(4):
        assert run.write_shard(index).shard is None
    assert read_sidecar(run.config.output_dir, 3) == run.write_shard(3)
    assert not list(run.config.output_dir.glob("*.arrow"))


def test_a_run_with_empty_shards_publishes_the_others(workshop: Workshop) -> None:
    whole, truncated = workshop.image(), workshop.truncated_image()
    workshop.dataset([talk("<image>", image=name) for name in (whole, truncated, whole)])
    outcome = workshop.run("--packing=none", "--shard_bytes=1", "--max_reject_share=1")
    assert outcome.plan.num_shards == 3
    assert len(outcome.manifest.shards) == 2
    assert outcome.keys == ["d:0", "d:2"]
    assert "differs from the plan: 1 sample " in outcome.out


def test_rejects_of_a_shard_name_the_record(workshop: Workshop) -> None:
    workshop.dataset([talk(), [talk("member"), talk("member")]])
    sidecar = PlannedRun(workshop, failing={1}).write_shard(0)
    assert sorted(map(Reject.from_json, sidecar.rejects), key=lambda reject: reject.member or 0) == [
        Reject(
            dataset="d",
            index=1,
            member=member,
            reason="undecodable",
            detail="record 1 is broken",
            text="user: member\nassistant: A picture.",
        )
        for member in (0, 1)
    ]


def test_counts_that_differ_from_the_plan_stop_the_run_and_leave_no_shard(workshop: Workshop) -> None:
    workshop.dataset([talk("<image>", image=workshop.image())])
    run = PlannedRun(workshop)
    measured = next(iter(samples_of(run.config.output_dir / "plan")))
    assert measured.num_image_patches == 24

    def encode_another(_: MeasuredSample) -> EncodedSample:
        return run.encoder.encode(replace(measured, num_image_patches=20))

    stage = ShardStage(config=run.config).load()
    with pytest.raises(PlanMismatch, match=r"d:0: .* planned \(\d+, \d+, 20, 0\)"):
        stage.do_job(0, encode_another, lambda: None)
    assert read_sidecar(run.config.output_dir, 0) is None
    assert not list(run.config.output_dir.glob("*.arrow"))


def test_shards_know_nothing_of_each_other(workshop: Workshop, tmp_path: Path) -> None:
    workshop.dataset([talk("one " * n) for n in range(12)])
    forward = PlannedRun(workshop, output_dir=tmp_path / "a", packing="none", shard_bytes=3000)
    backward = PlannedRun(workshop, output_dir=tmp_path / "b", packing="none", shard_bytes=3000)
    indexes = range(forward.plan.num_shards)
    assert len(indexes) > 2
    for index in indexes:
        forward.write_shard(index)
    for index in [*reversed(indexes), 1]:  # one of them twice
        backward.write_shard(index)
    for index in indexes:
        name = f"shard-{index:06d}.arrow"
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
        one, other = (read_sidecar(tmp_path / folder, index) for folder in ("a", "b"))
        assert one is not None and other is not None
        assert replace(one, slowest=()) == replace(other, slowest=())


def test_sums_of_the_sidecars_are_those_of_the_packs(demo_run: Outcome) -> None:
    for index, entry in enumerate(demo_run.manifest.shards):
        sidecar = read_sidecar(demo_run.folder, index)
        assert sidecar is not None
        assert sidecar.shard == entry
        packs = ArrowShard(demo_run.folder / entry.name, demo_run.manifest.model)
        total = sum(sidecar.datasets.values(), PackCounts())
        assert total.num_tokens == sum(packs[row].num_tokens for row in range(len(packs)))
        assert total.num_samples == sum(packs[row].num_samples for row in range(len(packs)))
        assert sidecar.num_media == total.num_images + total.num_videos
        assert sidecar.num_reused == 0
    assert len(open_shards(demo_run.folder)) == demo_run.manifest.num_packs
