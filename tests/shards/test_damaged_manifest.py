"""Whatever a manifest with the right hash says: it is refused by the name of the field, or read; never a traceback."""

from __future__ import annotations

import hashlib
import json
import random
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from shards import DamagedShard, ShardError, UnknownFamily, UnsupportedVersion, open_shards, read_manifest
from shards.files.names import MANIFEST_HASH_NAME, MANIFEST_NAME
from shards.look.info import info_text
from shards.look.show import PLAIN, pack_text
from shards.look.transcript import Transcriber
from shards.verify import verify

DEEP: list[Any] = []
for _ in range(400):
    DEEP = [DEEP]
VALUES: list[Any] = [None, True, -1, 0, 1, 7, 10**18, 10**30, -1.5, float("nan"), float("inf"), 1e-320, "", "x", "../x"]
VALUES += ["\ud800\x1b", [], {}, [1], [None], {"a": 1}, {"a": {}}, [[]], DEEP, {"a": DEEP}]


@pytest.fixture
def dataset(small_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_run, tmp_path / "out", ignore=shutil.ignore_patterns("plan"))


def publish(folder: Path, record: Any) -> None:
    text = json.dumps(record)
    (folder / MANIFEST_NAME).write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    (folder / MANIFEST_HASH_NAME).write_text(f"{digest}  {MANIFEST_NAME}\n")


def change(folder: Path, edit: Callable[[Any], object]) -> None:
    record = json.loads((folder / MANIFEST_NAME).read_text())
    edit(record)
    publish(folder, record)


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Of every value in a record, however deep."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield (*path, key)
        yield from places(inner, (*path, key))


def mutated(record: Any, place: tuple[Any, ...], value: Any, *, remove: bool) -> Any:
    record = json.loads(json.dumps(record))
    *parents, last = place
    inner = record
    for key in parents:
        inner = inner[key]
    if remove:
        del inner[last]
    else:
        inner[last] = value
    return record


def look_at_everything(folder: Path) -> None:
    manifest = read_manifest(folder)
    info_text(manifest, folder)
    shards = open_shards(folder)
    if len(shards):
        pack_text(shards[0], 0, shards.manifest, Transcriber.beside(folder), PLAIN)


def test_mutated_manifests_are_refused_by_the_name_of_the_field_or_read(dataset: Path) -> None:
    record = json.loads((dataset / MANIFEST_NAME).read_text())
    record["shards"] = [max(record["shards"], key=lambda entry: entry["num_bytes"])]  # one is enough to look at
    publish(dataset, record)
    look_at_everything(dataset)
    chance = random.Random(0)
    everywhere = list(places(record))
    assert len(everywhere) > 80
    refused = 0
    for number in range(500):
        place = everywhere[number % len(everywhere)]
        remove = chance.random() < 0.1
        publish(dataset, mutated(record, place, chance.choice(VALUES), remove=remove))
        try:
            look_at_everything(dataset)
        except ShardError as error:
            refused += 1
            assert "manifest.json" in str(error) or "shard-0" in str(error), (place, error)
            assert len(str(error)) < 600
        with suppress(UnsupportedVersion):
            verify(dataset, quick=chance.random() < 0.9, workers=0, on_shard=lambda total: None)
    assert refused > 200


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("pack_patches", float("nan")),
        ("pack_length", 10**12),
        ("pack_length", True),
        ("fingerprint", 3),
        ("shards[0].num_bytes", -1),
        ("shards[0].num_packs", 10**18),
        ("shards[0].name", "../secret.arrow"),
        ("shards[0].name", "/etc/shard-000000.arrow"),
        ("shards[0].name", "shard-000000.mindrecord"),
        ("shards[1].name", "shard-000000.arrow"),
        ("maxima.windows", 20_000 * 20_000),
        ("maxima.image_patches", 20_000 * 20_000),
        ("maxima.segments", 10**9),
        ("model.window_size", 10**9),
        ("model.image_std", [1, 0, 1]),
        ("model.image_token_id", 10**9),
        ("model.tokens_per_second", float("inf")),
        ("inputs.config", None),
        ("inputs.deep", DEEP),
    ],
)
def test_values_of_a_wrong_type_or_range_are_refused(dataset: Path, field: str, value: Any) -> None:
    *parents, last = (int(key) if key.isdigit() else key for key in re.findall(r"\w+", field))

    def edit(record: Any) -> None:
        for key in parents:
            record = record[key]
        record[last] = value

    change(dataset, edit)
    with pytest.raises(
        DamagedShard, match=re.escape(f"{MANIFEST_NAME}: {field.partition('.deep')[0].split('[1]')[0]}")
    ):
        read_manifest(dataset)


def test_shards_for_a_kind_of_model_that_is_not_known_are_refused_on_opening(dataset: Path) -> None:
    change(dataset, lambda record: record["model"].update(model_type="qwen9_vl"))
    with pytest.raises(UnknownFamily, match=r"manifest\.json: model\.model_type 'qwen9_vl' is not one of qwen2_5_vl"):
        open_shards(dataset)


def test_more_packs_than_a_shard_holds_are_one_problem(dataset: Path) -> None:
    change(dataset, lambda record: record["shards"][0].update(num_packs=2**31 - 1))
    [problem] = verify(dataset, quick=False, workers=0, on_shard=lambda total: None)
    assert "the manifest says 2147483647" in problem.what


def test_another_number_of_bytes_is_a_problem(dataset: Path) -> None:
    change(dataset, lambda record: record["shards"][0].update(num_bytes=10**9))
    [problem] = verify(dataset, quick=True, workers=0, on_shard=lambda total: None)
    assert "the manifest says 1,000,000,000" in problem.what
