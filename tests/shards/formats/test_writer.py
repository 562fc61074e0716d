"""A shard appears under its name whole or not at all, and its sidecar after it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest

from shards import InvalidPack, Pack, PackCounts, PackMaxima, ShardEntry, measure_pack
from shards.formats.arrow import ArrowShard, ArrowShardWriter
from shards.formats.writer import ShardSidecar, read_sidecar, shard_name, sidecar_path, write_shard, write_sidecar
from tests.shards.packs import CONSTANTS, assert_same, make_pack

GOOD = make_pack(images=[(1, 4, 4)])
INVALID = replace(GOOD, labels=GOOD.input_ids)


def everything_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_shard_says_what_it_holds(tmp_path: Path) -> None:
    packs = [make_pack(texts=(9,)), GOOD]
    written = write_shard(tmp_path, 7, iter(packs), CONSTANTS)
    content = (tmp_path / "shard-000007.arrow").read_bytes()
    assert written.entry == ShardEntry(
        name="shard-000007.arrow", num_packs=2, num_bytes=len(content), sha256=hashlib.sha256(content).hexdigest()
    )
    assert written.maxima == measure_pack(packs[0], CONSTANTS).merge(measure_pack(GOOD, CONSTANTS))
    assert (written.maxima.segments, written.maxima.image_patches) == (2, 16)
    shard = ArrowShard(tmp_path / "shard-000007.arrow", CONSTANTS)
    for row, pack in enumerate(packs):
        assert_same(shard[row], pack)
    assert everything_in(tmp_path) == ["shard-000007.arrow"]


def test_while_packs_are_made_nothing_stands_under_the_final_name(tmp_path: Path) -> None:
    seen: list[list[str]] = []

    def packs() -> Iterator[Pack]:
        yield GOOD
        seen.append(everything_in(tmp_path))
        yield GOOD
        seen.append(everything_in(tmp_path))

    write_shard(tmp_path, 0, packs(), CONSTANTS)
    assert seen[0] == seen[1]
    [path] = map(Path, seen[0])
    assert (path.parent.parent, path.name) == (Path(".writing"), "shard-000000.arrow")
    assert everything_in(tmp_path) == ["shard-000000.arrow"]


@pytest.mark.parametrize("position", [0, 1, 2])
def test_an_invalid_pack_leaves_nothing(tmp_path: Path, position: int) -> None:
    packs = [GOOD, GOOD]
    packs.insert(position, INVALID)
    with pytest.raises(InvalidPack, match="a segment starts with a label"):
        write_shard(tmp_path, 0, packs, CONSTANTS)
    assert everything_in(tmp_path) == []
    assert list((tmp_path / ".writing").iterdir()) == []


@pytest.mark.parametrize("error", [RuntimeError("broken"), OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_an_iterator_that_raises_leaves_nothing(tmp_path: Path, error: BaseException) -> None:
    def packs() -> Iterator[Pack]:
        yield GOOD
        raise error

    with pytest.raises(type(error)) as raised:
        write_shard(tmp_path, 0, packs(), CONSTANTS)
    assert raised.value is error
    assert everything_in(tmp_path) == []


def test_few_packs_wait_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_write = Event()
    write = ArrowShardWriter.write
    num_made = num_written = 0
    waiting: list[int] = []

    def write_late(writer: ArrowShardWriter, pack: Pack) -> None:
        nonlocal num_written
        assert may_write.wait(timeout=60)
        write(writer, pack)
        num_written += 1

    def packs() -> Iterator[Pack]:
        nonlocal num_made
        for _ in range(20):
            num_made += 1
            waiting.append(num_made - num_written)
            if num_made == 4:  # so many are made while none can be written
                may_write.set()
            yield GOOD

    monkeypatch.setattr(ArrowShardWriter, "write", write_late)
    written = write_shard(tmp_path, 0, packs(), CONSTANTS)
    assert waiting[:4] == [1, 2, 3, 4]
    assert max(waiting) <= 5
    assert written.entry is not None and written.entry.num_packs == 20


def test_a_disk_that_fails_stops_the_iterator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    error = OSError(28, "No space left on device")
    taken: list[int] = []

    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(ArrowShardWriter, "write", fail)
    with pytest.raises(OSError) as raised:
        write_shard(tmp_path, 0, (taken.append(number) or GOOD for number in range(100)), CONSTANTS)
    assert raised.value is error
    assert len(taken) < 10
    assert everything_in(tmp_path) == []


def test_a_failed_rename_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="Input/output error"):
        write_shard(tmp_path, 0, [GOOD], CONSTANTS)
    assert everything_in(tmp_path) == []


@pytest.mark.parametrize(
    ("format", "renamed"),
    [("arrow", ["shard-000000.arrow"]), ("mindrecord", ["shard-000000.mindrecord.db", "shard-000000.mindrecord"])],
)
def test_an_index_appears_before_its_shard_and_the_folder_is_synced_after_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, format: str, renamed: list[str]
) -> None:
    events: list[str] = []
    replace_file, fsync = os.replace, os.fsync

    def noting_replace(source: Path, target: Path) -> None:
        replace_file(source, target)
        events.append(Path(target).name)

    def noting_fsync(descriptor: int) -> None:
        fsync(descriptor)
        path = Path(os.readlink(f"/proc/self/fd/{descriptor}"))
        events.append("folder" if path == tmp_path else f"{path.parent.parent.name}/{path.name}")

    monkeypatch.setattr(os, "replace", noting_replace)
    monkeypatch.setattr(os, "fsync", noting_fsync)
    write_shard(tmp_path, 0, [GOOD], CONSTANTS, format=format, largest_row_bytes=1 << 20)
    assert events[-len(renamed) - 1 :] == [*renamed, "folder"]
    assert set(events[: -len(renamed) - 1]) == {f".writing/{name}" for name in renamed}, "content is on the disk first"


def test_a_shard_without_packs_is_no_file(tmp_path: Path) -> None:
    written = write_shard(tmp_path, 0, [], CONSTANTS)
    assert written.entry is None
    assert written.maxima == PackMaxima()
    assert everything_in(tmp_path) == []


def test_what_an_interrupted_job_left_is_overwritten_and_another_at_work_is_left_alone(tmp_path: Path) -> None:
    leftover = tmp_path / ".writing" / "shard-000000-by-another"
    leftover.mkdir(parents=True)
    (leftover / "shard-000000.arrow").write_bytes(b"half a shard")
    (leftover / "more").write_bytes(b"")
    (tmp_path / "shard-000000.arrow").write_bytes(b"a shard without its sidecar")
    write_shard(tmp_path, 0, [GOOD], CONSTANTS)
    of_another = [f".writing/{leftover.name}/{name}" for name in ("more", "shard-000000.arrow")]
    assert everything_in(tmp_path) == [*of_another, "shard-000000.arrow"]
    assert (leftover / "shard-000000.arrow").read_bytes() == b"half a shard"
    assert_same(ArrowShard(tmp_path / "shard-000000.arrow", CONSTANTS)[0], GOOD)


def test_shards_follow_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        write_shard(tmp_path, 0, [GOOD], CONSTANTS)
    finally:
        os.umask(before)
    assert (tmp_path / "shard-000000.arrow").stat().st_mode & 0o777 == 0o640


def test_names_sort_in_order_of_the_shards() -> None:
    assert [shard_name(index) for index in (0, 12, 99_999)] == [
        "shard-000000.arrow",
        "shard-000012.arrow",
        "shard-099999.arrow",
    ]


# --- sidecars ------------------------------------------------------------------------------------------------------


def test_a_sidecar_comes_back_as_written(tmp_path: Path) -> None:
    sidecar = ShardSidecar(
        fingerprint="cd",
        shard=ShardEntry(name="shard-000003.arrow", num_packs=1, num_bytes=5, sha256="ab"),
        maxima=PackMaxima(tokens=4),
        datasets={"a": PackCounts(num_samples=1)},
        rejects=({"dataset": "a", "index": 3, "reason": "undecodable", "detail": "\udce9.png: broken"},),
        num_media=5,
        num_reused=2,
    )
    write_sidecar(tmp_path, 3, sidecar)
    assert read_sidecar(tmp_path, 3) == sidecar
    assert everything_in(tmp_path) == ["plan/done/shard-000003.json"]


def test_a_sidecar_may_tell_of_no_shard(tmp_path: Path) -> None:
    sidecar = ShardSidecar(
        fingerprint="cd", shard=None, maxima=PackMaxima(), datasets={}, rejects=(), num_media=0, num_reused=0
    )
    write_sidecar(tmp_path, 0, sidecar)
    assert read_sidecar(tmp_path, 0) == sidecar


def test_a_job_that_did_not_end_has_no_sidecar(tmp_path: Path) -> None:
    write_shard(tmp_path, 0, [GOOD], CONSTANTS)
    assert not sidecar_path(tmp_path, 0).exists()
    assert read_sidecar(tmp_path, 0) is None
