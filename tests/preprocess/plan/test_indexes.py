"""Array jobs share one index of each annotation file."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

import pytest

import preprocess.plan.indexes
from preprocess.errors import AnnotationError, ConfigError, FatalError
from preprocess.jobs.share import Claims, Share
from preprocess.plan.indexes import SUFFIX, shared_indexes
from preprocess.plan.inputs import open_sources
from preprocess.read.annotations import make_index
from preprocess.read.formats.detect import AnnotationFormat
from preprocess.read.index import AnnotationIndex
from tests.preprocess.workshop import Workshop, talk

FIRST, SECOND = Share(index=0, of=2), Share(index=1, of=2)


@pytest.fixture
def annotations(tmp_path: Path) -> Path:
    path = tmp_path / "a.jsonl"
    path.write_text('{"a": 1}\n' * 10)
    return path


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The files that were indexed."""
    paths: list[Path] = []

    def make(path: Path, format: AnnotationFormat) -> AnnotationIndex:
        paths.append(path)
        return make_index(path, format)

    monkeypatch.setattr(preprocess.plan.indexes, "make_index", make)
    return paths


def test_one_job_makes_it_and_the_others_read_it(tmp_path: Path, annotations: Path, made: list[Path]) -> None:
    first = shared_indexes(tmp_path / "out", {annotations: "auto"}, FIRST)
    second = shared_indexes(tmp_path / "out", {annotations: "auto"}, SECOND)
    assert made == [annotations]
    assert first[annotations].sha256 == second[annotations].sha256
    assert second[annotations].checkpoints.num_records == 10
    assert not (tmp_path / "out").exists()
    assert [path.suffix for path in (tmp_path / f"out{SUFFIX}").iterdir()] == [".arrow"]


def test_a_file_whose_size_or_time_changed_is_read_again(tmp_path: Path, annotations: Path, made: list[Path]) -> None:
    shared_indexes(tmp_path / "out", {annotations: "auto"}, FIRST)
    os.utime(annotations, ns=(5, 5))
    shared_indexes(tmp_path / "out", {annotations: "auto"}, FIRST)
    assert len(made) == 2
    annotations.write_text('{"a": 1}\n' * 20)
    os.utime(annotations, ns=(5, 5))
    assert shared_indexes(tmp_path / "out", {annotations: "auto"}, FIRST)[annotations].checkpoints.num_records == 20


def test_what_another_job_makes_is_waited_for(tmp_path: Path, annotations: Path, made: list[Path]) -> None:
    folder = tmp_path / f"out{SUFFIX}"
    shared_indexes(tmp_path / "out", {annotations: "auto"}, FIRST)
    [index] = folder.iterdir()
    ready = tmp_path / "ready.arrow"
    os.rename(index, ready)
    found: list[AnnotationIndex] = []
    with Claims(folder, FIRST) as claims:
        assert claims.take(index.stem)
        waiter = Thread(
            target=lambda: found.extend(shared_indexes(tmp_path / "out", {annotations: "auto"}, SECOND).values())
        )
        waiter.start()
        while not (folder / ".clock-1-of-2").exists():  # it asked whose clock is how late, so it saw the claim
            assert waiter.is_alive()
            waiter.join(0.001)
        assert not found
        os.rename(ready, index)
        waiter.join(60)
    assert len(found) == 1
    assert made == [annotations]


def test_what_no_other_job_is_at_is_made_meanwhile(tmp_path: Path, annotations: Path, made: list[Path]) -> None:
    folder, second = tmp_path / f"out{SUFFIX}", tmp_path / "b.jsonl"
    second.write_text('{"a": 1}')
    shared_indexes(tmp_path / "out", {annotations: "auto"}, FIRST)
    [index] = folder.iterdir()
    ready = tmp_path / "ready.arrow"
    os.rename(index, ready)
    with Claims(folder, FIRST) as claims:
        assert claims.take(index.stem)
        waiter = Thread(target=shared_indexes, args=(tmp_path / "out", {annotations: "auto", second: "auto"}, SECOND))
        waiter.start()
        while not any(folder.glob("*.arrow")):
            assert waiter.is_alive()
            waiter.join(0.001)
        assert made == [annotations, second]
        os.rename(ready, index)
        waiter.join(60)
    assert made == [annotations, second]


def test_what_another_job_made_before_the_claim_was_taken_is_read(
    tmp_path: Path, annotations: Path, made: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shared_indexes(tmp_path / "out", {annotations: "auto"}, FIRST)
    looks = iter([None])
    read = preprocess.plan.indexes.read_index
    monkeypatch.setattr(preprocess.plan.indexes, "read_index", lambda *arguments: next(looks, read(*arguments)))
    assert shared_indexes(tmp_path / "out", {annotations: "auto"}, SECOND)[annotations].checkpoints.num_records == 10
    assert len(made) == 1
    assert next(looks, "asked") == "asked"


def test_array_jobs_read_by_the_index_what_others_read_without(workshop: Workshop, made: list[Path]) -> None:
    workshop.dataset([talk(), talk()])
    config = workshop.config()
    alone = open_sources(config)
    assert not made
    first, second = (open_sources(config, share) for share in (FIRST, SECOND))
    assert len(made) == 1
    assert first.fingerprint == second.fingerprint == alone.fingerprint
    assert [list(file) for file in second.files] == [list(file) for file in alone.files]
    [path] = second.indexes
    [file] = second.files
    os.utime(path, ns=(1, 1))
    with pytest.raises(FatalError, match="changed while it was read"):
        next(iter(file))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"gone\.jsonl: No such file .*; check annotation_path"):
        shared_indexes(tmp_path / "out", {tmp_path / "gone.jsonl": "auto"}, FIRST)


def test_a_place_that_can_not_be_written_is_named(tmp_path: Path, annotations: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match=r"out\.annotations: .* beside output_dir"):
        shared_indexes(tmp_path / "file" / "out", {annotations: "auto"}, FIRST)
