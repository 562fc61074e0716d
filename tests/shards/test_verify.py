"""Whatever was changed after writing is found and named; rows that were never right, too."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_build import Demo

import shards.verify
from shards import (
    Manifest,
    NotADataset,
    Pack,
    ShardEntry,
    UnsupportedVersion,
    open_shards,
    read_manifest,
    write_manifest,
)
from shards.files.hashing import sha256_of_file
from shards.formats.arrow import ArrowShardWriter
from shards.manifest import FORMAT_VERSION
from shards.verify import Problem, verify
from tests.shards.conftest import preprocess_demo

NUM_FLIPS = 200


@pytest.fixture
def dataset(small_run: Path, tmp_path: Path) -> Path:
    """A copy, to be damaged."""
    return shutil.copytree(small_run, tmp_path / "out", ignore=shutil.ignore_patterns("plan"))


def problems_of(folder: Path, *, quick: bool = False, workers: int = 0) -> list[Problem]:
    return verify(folder, quick=quick, workers=workers, on_shard=lambda total: None)


def rewrite(folder: Path, change: Callable[[Pack], Pack], shard: int = 1) -> None:
    """Change every pack of one shard, unchecked, and let the manifest agree with the file."""
    shards = open_shards(folder)
    manifest = shards.manifest
    first = sum(entry.num_packs for entry in manifest.shards[:shard])
    entry = manifest.shards[shard]
    packs = [change(shards[first + row]) for row in range(entry.num_packs)]
    with ArrowShardWriter(folder / "changed", manifest.model) as writer:
        for pack in packs:
            writer.write(pack)
    path = (folder / "changed").rename(folder / entry.name)
    entry = replace(entry, num_bytes=path.stat().st_size, sha256=sha256_of_file(path))
    write_manifest(folder, replace(manifest, shards=(*manifest.shards[:shard], entry, *manifest.shards[shard + 1 :])))


def test_a_whole_dataset_has_no_problem(small_run: Path) -> None:
    manifest = read_manifest(small_run)
    assert len(manifest.shards) > 2
    assert manifest.totals.num_videos
    assert manifest.totals.num_images
    seen: list[int] = []
    assert verify(small_run, quick=False, workers=0, on_shard=seen.append) == []
    assert seen == [len(manifest.shards)] * len(manifest.shards)
    assert problems_of(small_run, quick=True) == []


def test_processes_find_the_same(dataset: Path) -> None:
    flip(dataset / "shard-000001.arrow", 1000, bit=3)
    (dataset / "shard-000002.arrow").unlink()
    found = problems_of(dataset, workers=2)
    assert [problem.file for problem in found] == ["shard-000001.arrow", "shard-000002.arrow"]
    assert found == problems_of(dataset)


def flip(path: Path, byte: int, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[byte] ^= 1 << bit
    path.write_bytes(content)


def test_random_flips_of_single_bits_are_all_found_and_the_file_is_named(dataset: Path) -> None:
    random = np.random.default_rng(0)
    files = [path for path in sorted(dataset.iterdir()) if path.name.startswith(("shard-", "manifest."))]
    assert len(files) > 4
    for _ in range(NUM_FLIPS):
        path = files[random.integers(len(files))]
        byte, bit = int(random.integers(path.stat().st_size)), int(random.integers(8))
        flip(path, byte, bit)
        found = problems_of(dataset)
        flip(path, byte, bit)
        assert any(path.name in str(problem) for problem in found), (path.name, byte, bit, found)
    assert problems_of(dataset, quick=True) == []


def test_both_files_of_a_mindrecord_shard_count(demo: Demo, tmp_path: Path) -> None:
    folder = tmp_path / "mindrecord"
    preprocess_demo(demo, folder, "--dataset_use=talk%20,scenes%20", "--format=mindrecord")
    assert problems_of(folder) == []
    files = sorted(path for path in folder.iterdir() if path.name.startswith("shard-"))
    assert [path.name for path in files] == ["shard-000000.mindrecord", "shard-000000.mindrecord.db"]
    random = np.random.default_rng(0)
    for path in files:
        for byte in random.integers(path.stat().st_size, size=5).tolist():
            flip(path, byte, bit=byte % 8)
            assert [problem.file for problem in problems_of(folder)] == [path.name]
            flip(path, byte, bit=byte % 8)


def test_every_byte_of_the_hash_file_counts(dataset: Path) -> None:
    path = dataset / "manifest.sha256"
    for byte in range(path.stat().st_size):
        flip(path, byte, bit=byte % 8)
        assert any("manifest.sha256" in str(problem) for problem in problems_of(dataset, quick=True)), byte
        flip(path, byte, bit=byte % 8)
    assert problems_of(dataset, quick=True) == []


def test_a_file_with_a_wrong_hash_is_not_decoded(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for path in dataset.glob("shard-*"):
        flip(path, path.stat().st_size - 30, bit=0)  # in the footer
    opened: list[object] = []
    monkeypatch.setattr("shards.reader.ShardSet.__getitem__", lambda self, index: opened.append(index))
    found = problems_of(dataset)
    assert len(found) == len(list(dataset.glob("shard-*")))
    assert all("its sha256 is" in problem.what for problem in found)
    assert opened == []


def test_swapped_shards_are_both_named(dataset: Path) -> None:
    one, other = dataset / "shard-000000.arrow", dataset / "shard-000001.arrow"
    one.rename(dataset / "x")
    other.rename(one)
    (dataset / "x").rename(other)
    assert [problem.file for problem in problems_of(dataset, quick=True)] == [one.name, other.name]


def test_a_missing_shard_is_a_problem_among_others(dataset: Path) -> None:
    (dataset / "shard-000000.arrow").unlink()
    flip(dataset / "shard-000001.arrow", 0, bit=0)
    missing, flipped = problems_of(dataset)
    assert str(missing).startswith("shard-000000.arrow: it can't be read (No such file or directory); ")
    assert flipped.file == "shard-000001.arrow"


def test_another_tokenizer_is_named(dataset: Path) -> None:
    path = dataset / "model" / "tokenizer.json"
    path.write_bytes(path.read_bytes() + b"\n")
    [problem] = problems_of(dataset)
    assert problem.file == "model/tokenizer.json"


def test_a_config_of_another_model_is_named(dataset: Path) -> None:
    path = dataset / "model" / "config.json"
    text = path.read_text()
    path.write_text(text.replace('"window_size": 112', '"window_size": 56'))
    assert path.read_text() != text
    [problem] = problems_of(dataset, quick=True)
    assert "window_size is 56 in model/ and 112 in manifest.json" in str(problem)


def test_a_missing_model_file_is_named(dataset: Path) -> None:
    (dataset / "model" / "preprocessor_config.json").unlink()
    [problem] = problems_of(dataset)
    assert str(problem) == "model/preprocessor_config.json: it is missing; copy it from the model folder"


def test_the_processor_may_be_that_of_transformers_5(demo: Demo, tmp_path: Path) -> None:
    model = tmp_path / "model"
    shutil.copytree(demo.model, model)
    processor = json.loads((model / "preprocessor_config.json").read_text())
    (model / "preprocessor_config.json").unlink()
    (model / "processor_config.json").write_text(json.dumps({"image_processor": processor}))
    preprocess_demo(demo, tmp_path / "out", f"--model={model}", "--dataset_use=talk%10")
    kept = {path.name for path in (tmp_path / "out" / "model").iterdir()}
    assert kept == {"config.json", "tokenizer.json", "processor_config.json"}
    assert problems_of(tmp_path / "out") == []
    (tmp_path / "out" / "model" / "processor_config.json").unlink()
    [problem] = problems_of(tmp_path / "out")
    assert "preprocessor_config.json: it is missing" in str(problem)


def test_without_a_manifest_there_is_nothing_to_verify(dataset: Path) -> None:
    (dataset / "manifest.json").unlink()
    with pytest.raises(NotADataset):
        problems_of(dataset)


def test_a_newer_version_is_not_called_damaged(dataset: Path) -> None:
    text = (dataset / "manifest.json").read_text()
    newer = text.replace(f'"format_version": {FORMAT_VERSION}', '"format_version": 1000')
    (dataset / "manifest.json").write_text(newer)
    (dataset / "manifest.sha256").write_text(f"{hashlib.sha256(newer.encode()).hexdigest()}  manifest.json\n")
    with pytest.raises(UnsupportedVersion, match="1000"):
        problems_of(dataset)


def start_with_label(pack: Pack) -> Pack:
    labels = pack.labels.copy()
    labels[0] = pack.input_ids[0]
    return replace(pack, labels=labels)


def shift_positions(pack: Pack) -> Pack:
    return replace(pack, position_ids=pack.position_ids + np.int32(1))


def forget_grid(pack: Pack) -> Pack:
    return replace(pack, image_grid_thw=pack.image_grid_thw[:0], video_grid_thw=pack.video_grid_thw[:0])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (start_with_label, "a segment starts with a label"),
        (shift_positions, "position_ids do not restart at 0"),
        (forget_grid, "has shape"),
    ],
)
def test_broken_rows_are_each_named(dataset: Path, change: Callable[[Pack], Pack], what: str) -> None:
    rewrite(dataset, change)
    num_rows = read_manifest(dataset).shards[1].num_packs
    found = problems_of(dataset)
    assert [(problem.file, problem.row) for problem in found] == [("shard-000001.arrow", n) for n in range(num_rows)]
    assert all(what in problem.what for problem in found)
    assert problems_of(dataset, quick=True) == []


def change_manifest(folder: Path, change: Callable[[Manifest], Manifest]) -> None:
    write_manifest(folder, change(read_manifest(folder)))


def test_a_pack_over_capacity_is_named(dataset: Path) -> None:
    maxima = read_manifest(dataset).maxima
    length, patches = maxima.tokens - 1, maxima.patches - 1
    lower = {"tokens": length, "segment_tokens": min(length, maxima.segment_tokens)}
    change_manifest(dataset, lambda manifest: replace(manifest, pack_length=length, maxima=replace(maxima, **lower)))
    found = problems_of(dataset)
    assert found
    assert all("is over pack_length" in problem.what for problem in found)
    lower = {name: min(patches, getattr(maxima, name)) for name in ("patches", "image_patches", "video_patches")}
    change_manifest(
        dataset,
        lambda manifest: replace(manifest, pack_length=10**6, pack_patches=patches, maxima=replace(maxima, **lower)),
    )
    found = problems_of(dataset)
    assert found
    assert all("is over pack_patches" in problem.what for problem in found)


def test_sums_that_the_rows_do_not_give_are_named(dataset: Path) -> None:
    def lie(manifest: Manifest) -> Manifest:
        talk = manifest.datasets["talk"]
        return replace(
            manifest,
            totals=replace(manifest.totals, num_label_tokens=7),
            maxima=replace(manifest.maxima, windows=5),
            datasets={
                **manifest.datasets,
                "talk": replace(talk, counts=replace(talk.counts, num_samples=1_000)),
                "none": talk,
            },
        )

    change_manifest(dataset, lie)
    found = problems_of(dataset)
    assert {problem.file for problem in found} == {"manifest.json"}
    text = "\n".join(map(str, found))
    assert "maxima: windows is 5, the rows give " in text
    assert "totals: num_label_tokens is 7, the rows give " in text
    assert "dataset 'talk': num_samples is 1,000, the rows give " in text
    assert "dataset 'none': num_samples is " in text


def test_where_rows_could_not_be_read_sums_are_not_compared(dataset: Path) -> None:
    flip(dataset / "shard-000000.arrow", 500, bit=0)
    assert [problem.file for problem in problems_of(dataset)] == ["shard-000000.arrow"]


def test_few_shards_are_handed_out_ahead() -> None:
    class Pool(Executor):
        begun = 0

        def submit(self, work: Any, *arguments: Any) -> Any:
            self.begun += 1
            result: Future[int] = Future()
            result.set_result(self.begun)
            return result

    entries = [
        ShardEntry(name=f"shard-{number:06d}.arrow", num_packs=1, num_bytes=1, sha256="") for number in range(50)
    ]
    pool, ahead = Pool(), []
    for number, found in enumerate(shards.verify._map_ahead(pool, entries, 4), start=1):
        assert found == number  # in order
        ahead.append(pool.begun - number)
    assert (len(ahead), max(ahead)) == (50, 3)


def test_a_worker_gets_no_list_of_shards(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bytes] = []

    class Pool(ProcessPoolExecutor):
        def __init__(self, *arguments: Any, initargs: tuple[Any, ...], **options: Any) -> None:
            given.append(pickle.dumps(initargs))
            super().__init__(*arguments, initargs=initargs, **options)

    monkeypatch.setattr(shards.verify, "ProcessPoolExecutor", Pool)
    assert problems_of(dataset, workers=1, quick=True) == []
    [content] = given
    assert b"shard-000000" not in content
    assert len(content) < 4096
