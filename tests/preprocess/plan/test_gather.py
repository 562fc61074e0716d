"""Each measured part is read once, and what it says comes together."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

import preprocess.plan.gather
import preprocess.plan.parts
from preprocess.config import RunConfig
from preprocess.errors import FatalError
from preprocess.jobs.executor import ThisProcess
from preprocess.plan.gather import OTHER_KEYS, MeasuredTotals, gather
from preprocess.plan.inputs import Sources, open_sources
from preprocess.plan.make import finish_plan
from preprocess.plan.measure import PartSummary
from preprocess.plan.parts import measure
from preprocess.plan.tables import SamplesReader, part_metadata, part_path, read_table, write_table
from shards import PackCounts
from tests.preprocess.workshop import Workshop, talk


@pytest.fixture
def config(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> RunConfig:
    """Two datasets of three parts each, with a reject in every one."""
    monkeypatch.setattr(preprocess.plan.parts, "RECORDS_PER_PART", 2)
    for name in ("a", "b"):
        workshop.dataset([talk(id=1), talk(answer="")] * 3, name=name)
    return workshop.config(dataset_use="a%200,b")


def measured(config: RunConfig, folder: Path) -> tuple[Sources, int]:
    sources = open_sources(config)
    return sources, measure(config, sources, folder, ThisProcess())


def test_a_plan_opens_each_part_once(config: RunConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources, num_parts = measured(config, tmp_path)
    opened: Counter[str] = Counter()
    memory_map = pa.memory_map

    def counting(path: str, *rest: Any) -> pa.MemoryMappedFile:
        opened[Path(path).name] += 1
        return memory_map(path, *rest)

    monkeypatch.setattr(pa, "memory_map", counting)
    assert finish_plan(config, sources, tmp_path, num_parts).num_packs
    assert opened == {part_path(tmp_path, part).name: 1 for part in range(6)}


def test_parts_add_up(config: RunConfig, tmp_path: Path) -> None:
    _, num_parts = measured(config, tmp_path)
    totals, seen = MeasuredTotals(["a", "b", "unused"]), []

    class Rows:
        def add(self, samples: pa.Table) -> None:
            seen.append(len(samples))

    rejects = list(gather(tmp_path, num_parts, part_metadata(tmp_path, 0)["fingerprint"], totals, Rows()))
    assert [(reject.dataset, reject.index) for reject in rejects] == [(name, n) for name in "ab" for n in (1, 3, 5)]
    assert seen == totals.part_samples == [1] * 6
    assert totals.part_datasets == ["a"] * 3 + ["b"] * 3
    assert totals.rejects == {name: {"nothing_to_learn": 3} for name in "ab"}
    assert (totals.num_rejects, totals.num_records) == (6, 12)
    assert totals.ignored_keys == {"id": 6}
    assert [totals.datasets[name].num_samples for name in "ab"] == [6, 3]
    assert totals.datasets["unused"] == PackCounts()


def test_ids_that_are_used_as_keys_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess.plan.gather, "MOST_IGNORED_KEYS", 3)
    totals = MeasuredTotals(["d"])
    for part in range(4):
        keys = {"id": 2, f"{part}a": 1, f"{part}b": 1}
        summary = PartSummary(
            fingerprint="", dataset="d", num_samples=2, counts=PackCounts(), rejects=(), ignored_keys=keys
        )
        totals.add(summary)
    assert totals.ignored_keys == {"id": 8, "0a": 1, "0b": 1, OTHER_KEYS: 6}


@pytest.mark.parametrize("keep", [0, 100])
def test_a_damaged_part_stops_the_plan_with_its_name(config: RunConfig, tmp_path: Path, keep: int) -> None:
    sources, num_parts = measured(config, tmp_path)
    path = part_path(tmp_path, 3)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(FatalError, match=rf"{path} is damaged .*; remove the folder of that run"):
        finish_plan(config, sources, tmp_path, num_parts)
    assert not (tmp_path / "plan.json").exists()


def test_a_part_of_another_run_is_not_gathered(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    plan = workshop.run().folder / "plan"
    with pytest.raises(FatalError, match=r"part-000000\.arrow was measured by another run"):
        list(gather(plan, 1, "0" * 64, MeasuredTotals(["d"])))
    with pytest.raises(FatalError, match="another run"):
        list(SamplesReader(plan, "0" * 64))


@pytest.mark.parametrize("summary", ["[]", "{", '{"counts": 5}', "{}"])
def test_a_part_whose_summary_is_damaged_is_named(workshop: Workshop, summary: str) -> None:
    workshop.dataset([talk()])
    plan = workshop.run().folder / "plan"
    table = read_table(part_path(plan, 0))
    fingerprint = part_metadata(plan, 0)["fingerprint"]
    write_table(part_path(plan, 0), table.replace_schema_metadata({"fingerprint": fingerprint, "summary": summary}))
    with pytest.raises(FatalError, match=r"part-000000\.arrow is damaged"):
        list(gather(plan, 1, fingerprint, MeasuredTotals(["d"])))


def test_a_part_with_other_columns_is_named(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    plan = workshop.run().folder / "plan"
    write_table(part_path(plan, 0), read_table(part_path(plan, 0)).drop_columns(["copies"]))
    with pytest.raises(FatalError, match=r"part-000000\.arrow is damaged"):
        list(gather(plan, 1, part_metadata(plan, 0)["fingerprint"], MeasuredTotals(["d"])))
