"""What the system refuses is not called damage; few open files are enough; a file cut while in use is named."""

from __future__ import annotations

import errno
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from shards import DamagedShard, Pack, UnreadableShard, load_padded, open_shards, write_manifest
from shards.__main__ import main
from shards.batch import BatchShape
from shards.files.hashing import sha256_of_file
from shards.formats.arrow import ArrowShardWriter
from shards.verify import verify
from tests.shards.datasets import some_packs, write_dataset
from tests.shards.packs import make_pack

ROOT = Path(__file__).parents[2]


@contextmanager
def no_file_more() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    lowest = os.dup(0)
    os.close(lowest)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


READ_MANY = """
import random, resource, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
from pathlib import Path
from shards import PackStream, open_shards
from shards.order import PackOrder
from shards.verify import verify
folder = Path(sys.argv[1])
found = verify(folder, quick=False, workers=int(sys.argv[2]), on_shard=lambda total: None)
assert not [problem for problem in found if problem.file.startswith("shard-")], found[:3]
training, evaluation = open_shards(folder), open_shards(folder)
order = PackOrder(num_packs=len(training), seed=1, packs_per_step=8, num_positions=800)
for number, padded in enumerate(PackStream(training, order)):
    assert padded.num_tokens
    evaluation[number * 37 % len(evaluation)]
print(number + 1)
"""


@pytest.mark.parametrize(("format", "num_shards", "workers"), [("arrow", 400, 2), ("mindrecord", 20, 0)])
def test_many_shards_are_read_with_64_open_files(tmp_path: Path, format: str, num_shards: int, workers: int) -> None:
    pack = make_pack(images=[(1, 4, 4)])
    if format == "arrow":
        manifest = write_dataset(tmp_path, [[pack]])
        [entry] = manifest.shards
        names = [f"shard-{number:06d}.arrow" for number in range(num_shards)]
        for name in names[1:]:
            os.link(tmp_path / entry.name, tmp_path / name)
        write_manifest(tmp_path, replace(manifest, shards=tuple(replace(entry, name=name) for name in names)))
    else:  # each file knows its own name
        write_dataset(tmp_path, [[pack]] * num_shards, format)
    command = [sys.executable, "-c", READ_MANY, str(tmp_path), str(workers)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("800\n", 0), done.stderr


# --- refused by the system --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["arrow", "mindrecord"])
def test_too_few_file_handles_are_no_damage(tmp_path: Path, format: str) -> None:
    write_dataset(tmp_path, [some_packs(1)], format)
    shards = open_shards(tmp_path)
    with no_file_more(), pytest.raises(UnreadableShard, match=r"shard-0.*Too many open files.*ulimit -n"):
        shards[0]
    with no_file_more(), pytest.raises(UnreadableShard, match=r"manifest.json.*ulimit -n"):
        open_shards(tmp_path)
    shape = BatchShape.of(shards.manifest)
    with no_file_more(), pytest.raises(UnreadableShard, match="ulimit -n"):
        load_padded(shards, 0, shape)
    assert shards[0].num_samples == 2


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "shard-000000.arrow"])
def test_a_file_that_one_may_not_read_is_no_damage(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write_dataset(tmp_path, [some_packs(1)])
    open_file = os.open

    def refuse(path: Any, *rest: Any, **options: Any) -> int:
        if Path(path).name == name:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return open_file(path, *rest, **options)

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(UnreadableShard, match=rf"{name} can't be read \(Permission denied\); get the permission"):
        open_shards(tmp_path)[0]
    if name.startswith("manifest"):
        assert main(["info", str(tmp_path)]) == 1
        assert "preprocess again" not in capsys.readouterr().err
    else:
        [problem] = verify(tmp_path, quick=True, workers=0, on_shard=lambda total: None)[-1:]
        assert str(problem) == f"{name}: it can't be read (Permission denied); get the permission to read it"


@pytest.mark.parametrize("name", ["manifest.json", "manifest.sha256", "shard-000000.arrow"])
def test_nothing_waits_for_a_fifo(tmp_path: Path, name: str) -> None:
    write_dataset(tmp_path, [some_packs(1)])
    shards = open_shards(tmp_path)
    (tmp_path / name).unlink()
    os.mkfifo(tmp_path / name)
    with pytest.raises(UnreadableShard, match=rf"{name} can't be read \(not a plain file"):
        shards[0] if name.startswith("shard") else open_shards(tmp_path)


# --- changed while in use ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", ["arrow", "mindrecord"])
def test_a_shard_that_is_cut_while_it_is_mapped_is_named(tmp_path: Path, format: str) -> None:
    """Without the check, this process ends by SIGBUS: so another one reads."""
    write_dataset(tmp_path, [[make_pack(images=[(1, 40, 40)], seed=seed) for seed in range(3)]], format)
    code = f"""
import os, sys
from shards import open_shards
shards = open_shards(sys.argv[1])
shards[0]
os.truncate(sys.argv[1] + "/shard-000000.{format}", 4096)
shards[2]
"""
    command = [sys.executable, "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done
    assert re.search(r"DamagedShard: .*shard-000000\.\w+ has 4096 bytes, not \d+ as before", done.stderr)


@pytest.mark.parametrize("format", ["arrow", "mindrecord"])
def test_a_shard_that_grew_before_it_was_mapped_is_named(tmp_path: Path, format: str) -> None:
    write_dataset(tmp_path, [some_packs(1)], format)
    shards = open_shards(tmp_path)
    with open(tmp_path / f"shard-000000.{format}", "ab") as file:
        file.write(b"more")
    with pytest.raises(DamagedShard, match=r"bytes, not \d+ as before"):
        shards[0]


# --- rows with the right hash -----------------------------------------------------------------------------------------


def with_values(name: str, index: Any, value: int) -> Callable[[Pack], Pack]:
    def change(pack: Pack) -> Pack:
        array = getattr(pack, name).copy()
        array[index] = value
        return replace(pack, **{name: array})

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (with_values("input_ids", 1, -5), "a token id is outside the vocabulary"),
        (with_values("input_ids", 1, 10**9), "a token id is outside the vocabulary"),
        (with_values("labels", 1, 10**9), "a label is neither IGNORE_INDEX nor its own token"),
        (with_values("cu_seqlens", -1, 10**9), "cu_seqlens does not run from 0 to S"),
        (with_values("cu_seqlens", 1, 10**9), "cu_seqlens is not strictly increasing"),
        (with_values("image_grid_thw", (0, slice(1, 3)), 20_000), "image_patches has shape"),
        (with_values("image_grid_thw", 0, 2**30), "image_patches has shape"),
        (with_values("image_grid_thw", 0, -2), "image_grid_thw is not"),
    ],
)
def test_rows_that_would_be_indexed_beyond_their_ends_are_not_given_to_anyone(
    tmp_path: Path, change: Callable[[Pack], Pack], message: str
) -> None:
    manifest = write_dataset(tmp_path, [[make_pack(images=[(1, 4, 4)])]])
    shape = BatchShape.of(manifest)
    [entry] = manifest.shards
    with ArrowShardWriter(tmp_path / "changed", manifest.model) as writer:
        writer.write(change(make_pack(images=[(1, 4, 4)])))
    path = (tmp_path / "changed").rename(tmp_path / entry.name)
    entry = replace(entry, num_bytes=path.stat().st_size, sha256=sha256_of_file(path))
    write_manifest(tmp_path, replace(manifest, shards=(entry,)))
    with pytest.raises(DamagedShard, match=rf"shard-000000\.arrow, row 0: .*{message}"):
        load_padded(open_shards(tmp_path), 0, shape)
