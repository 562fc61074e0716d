"""What an earlier run recorded, gathered into one sorted table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import preprocess.run
import preprocess.write.index
from preprocess.errors import FatalError
from preprocess.jobs.share import Claims, Share
from preprocess.plan.holding import Hold
from preprocess.plan.tables import read_table, write_table
from preprocess.run import index_once
from preprocess.write.index import INDEX_SCHEMA, build_index, notes_dir, read_index
from preprocess.write.places import media_path
from tests.preprocess.workshop import Workshop, talk


@pytest.fixture
def old(workshop: Workshop) -> Path:
    """A finished run of several shards."""
    workshop.dataset([talk("<image>", image=workshop.image(f"{n}.png", size=(56, 56 + 28 * n))) for n in range(6)] * 2)
    outcome = workshop.run("--packing=none", "--shard_bytes=20000", out="old")
    assert outcome.code == 0, outcome.error
    return outcome.folder


@pytest.fixture
def plan(tmp_path: Path) -> Path:
    folder = tmp_path / "new-plan"
    folder.mkdir()
    return folder


def index_path(old: Path, plan: Path) -> Path:
    return notes_dir(old, plan) / "index.arrow"


def sorted_at_once(old: Path) -> pa.Table:
    """The same by the plainest means."""
    paths = sorted((old / "plan" / "media").iterdir())
    assert len(paths) > 2
    tables = [read_table(path) for path in paths]
    shards = np.repeat(np.arange(len(tables)), [len(table) for table in tables])
    whole = pa.concat_tables([table.replace_schema_metadata() for table in tables])
    order = np.lexsort((whole["key_low"].to_numpy(), whole["key_high"].to_numpy()))
    return whole.add_column(2, "shard", pa.array(shards, pa.int64())).take(pa.array(order))


@pytest.mark.parametrize("bucket_rows", [1, 3, 1 << 20])
def test_the_index_is_sorted_whatever_the_size_of_buckets(
    old: Path, plan: Path, monkeypatch: pytest.MonkeyPatch, bucket_rows: int
) -> None:
    """Equal keys, as of a medium that is used twice, stay in the order of the shards."""
    monkeypatch.setattr(preprocess.write.index, "_BUCKET_ROWS", bucket_rows)
    build_index(old, plan)
    index = read_table(index_path(old, plan))
    assert index.schema == INDEX_SCHEMA
    assert index.to_pydict() == sorted_at_once(old).to_pydict()
    assert len(set(index["key_high"].to_pylist())) < len(index)
    assert index["key_high"].num_chunks == 1
    assert sorted(path.name for path in notes_dir(old, plan).iterdir()) == ["index.arrow", "index.sha256"]


def test_rows_go_into_buckets_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess.write.index, "_BUCKET_ROWS", 100)
    dice = np.random.default_rng(0)
    shards = [[dice.integers(0, 1 << 64, 500, np.uint64)] for _ in range(4)]
    monkeypatch.setattr(preprocess.write.index, "_recorded", lambda old_dir: iter(shards))
    ends = preprocess.write.index._bucket_ends(Path())
    sizes = np.diff(np.unique(ends), prepend=0)
    assert sizes.sum() == 2000
    assert len(sizes) > 10 and sizes.max() <= 110


def test_an_index_is_made_once(old: Path, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(old, plan)
    monkeypatch.setattr(preprocess.write.index, "read_media", None)
    build_index(old, plan)


def test_an_altered_index_is_named(old: Path, plan: Path) -> None:
    build_index(old, plan)
    assert len(read_index(old, plan)[0])
    path = index_path(old, plan)
    index = read_table(path)
    write_table(path, index.set_column(3, "row", pa.array(index["row"].to_numpy() + 1, pa.int64())))
    with pytest.raises(FatalError, match=f"{path} is not what this run gathered; remove {path.parent}"):
        read_index(old, plan)


def test_a_whole_index_is_hashed_by_one_process(old: Path, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(old, plan)
    read_index(old, plan)
    real = preprocess.write.index.sha256_of_own_file
    monkeypatch.setattr(
        preprocess.write.index, "sha256_of_own_file", lambda path: real(path) if path.name == "manifest.json" else 1 / 0
    )
    read_index(old, plan)


@pytest.mark.parametrize("change", ["columns", "other shard", "other plan", "no hash", "bytes"])
def test_altered_places_are_named(old: Path, plan: Path, change: str) -> None:
    path = media_path(old / "plan", 1)
    table = read_table(path)
    says: dict[bytes, bytes] = dict(table.schema.metadata)
    match change:
        case "columns":
            firsts = pa.array(table["first_patch"].to_numpy() + 4, pa.int64())
            write_table(path, table.set_column(3, "first_patch", firsts))
        case "other shard":
            path.write_bytes(media_path(old / "plan", 0).read_bytes())
        case "other plan":
            write_table(path, table.replace_schema_metadata({**says, b"fingerprint": b"0"}))
        case "no hash":
            del says[b"sha256"]
            write_table(path, table.replace_schema_metadata(says))
        case "bytes":
            path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(FatalError, match=f"{path} (was altered|is damaged)"):
        build_index(old, plan)


def test_altered_places_stop_the_run(workshop: Workshop, old: Path) -> None:
    path = media_path(old / "plan", 0)
    table = read_table(path)
    write_table(path, table.set_column(2, "row", pa.array(table["row"].to_numpy() + 1, pa.int64())))
    outcome = workshop.run("--packing=none", "--reuse", str(old), "--seed=3", out="new")
    assert outcome.code == 1
    assert f"{path} was altered" in outcome.error
    assert not (outcome.folder / "manifest.json").exists()


def test_places_without_a_hash_are_refused_before_anything_is_written(workshop: Workshop, old: Path) -> None:
    path = media_path(old / "plan", 0)
    write_table(path, read_table(path).replace_schema_metadata())
    outcome = workshop.run("--packing=none", "--reuse", str(old), "--seed=3", out="new")
    assert outcome.code == 2
    assert "before the places of media had a hash" in outcome.error
    assert not outcome.folder.exists()


def test_one_array_job_gathers_and_the_others_wait(old: Path, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hold = Hold(folder=plan, inputs={})
    monkeypatch.setattr(Hold, "check", lambda self: None)
    waited = []
    with Claims(plan / "claims", Share(index=1, of=2)) as other:
        assert other.take(notes_dir(old, plan).name)

        def other_finishes(seconds: float) -> None:
            assert not index_path(old, plan).exists()
            waited.append(seconds)
            build_index(old, plan)

        monkeypatch.setattr(preprocess.run.time, "sleep", other_finishes)
        index_once(old, plan, Share(index=0, of=2), hold)
    assert len(waited) == 1
    assert not any((plan / "claims").iterdir())


def no_sleep(*_: Any) -> None:
    raise AssertionError


def test_an_array_job_that_comes_first_gathers(old: Path, plan: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preprocess.run.time, "sleep", no_sleep)
    index_once(old, plan, Share(index=0, of=2), Hold(folder=plan, inputs={}))
    assert len(read_index(old, plan)[0])
