"""Indexes of archives: made once, by one job, whoever is killed meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Thread

import pytest

from preprocess.errors import ConfigError, SampleError
from preprocess.jobs.share import EVERYTHING, Claims, Share
from preprocess.media import cache
from preprocess.media.archives import members, prepare
from preprocess.media.archives.index import ARCHIVES_DIR, Member, read_index
from preprocess.media.archives.prepare import prepare_archives
from preprocess.media.places import Archives
from tests.preprocess.media.archives.packing import contents_of, split, write_tar, write_tar_gz, write_zip
from tests.preprocess.workshop import Workshop, published, talk

ROOT = Path(__file__).parents[4]
FIRST, SECOND = Share(index=0, of=2), Share(index=1, of=2)


@pytest.fixture
def used(tmp_path: Path) -> cache.MediaCache:
    return cache.MediaCache(folder=tmp_path / "cache", most_bytes=1 << 30)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The archives that were indexed."""
    archives: list[str] = []
    make = prepare.make_index

    def note(archive: str, *others: object) -> None:
        archives.append(archive)
        make(archive, *others)  # type: ignore[arg-type]

    monkeypatch.setattr(prepare, "make_index", note)
    return archives


def test_one_job_makes_it_and_the_others_read_it(tmp_path: Path, used: cache.MediaCache, made: list[str]) -> None:
    archive = str(write_tar(tmp_path / "a.tar", {"a": b"a"}))
    for share in (FIRST, SECOND):
        prepare_archives([[archive], [archive]], used, share)
    assert made == [archive]
    [index] = (used.folder / ARCHIVES_DIR).iterdir()
    found = read_index(index)
    assert found is not None and found.archive == archive and len(found) == 1


def test_a_changed_archive_is_indexed_again(tmp_path: Path, used: cache.MediaCache, made: list[str]) -> None:
    archive = write_tar_gz(tmp_path / "a.tar.gz", {"a": b"a"})
    prepare_archives([[str(archive)]], used, EVERYTHING)
    os.utime(archive, ns=(5, 5))
    prepare_archives([[str(archive)]], used, EVERYTHING)
    assert len(made) == 2
    [plain] = (used.folder / ARCHIVES_DIR).glob("*.tar")
    plain.unlink()
    prepare_archives([[str(archive)]], used, EVERYTHING)
    assert len(made) == 3, "what was unpacked had been removed"


def test_what_another_job_makes_is_waited_for(tmp_path: Path, used: cache.MediaCache, made: list[str]) -> None:
    folder = used.folder / ARCHIVES_DIR
    archive = str(write_zip(tmp_path / "a.zip", {"a": b"a"}))
    prepare_archives([[archive]], used, FIRST)
    [index] = folder.iterdir()
    ready = tmp_path / "ready.arrow"
    os.rename(index, ready)
    with Claims(folder, FIRST) as claims:
        assert claims.take(index.stem)
        waiter = Thread(target=prepare_archives, args=([[archive]], used, SECOND))
        waiter.start()
        while not (folder / ".clock-1-of-2").exists():  # it asked whose clock is how late, so it saw the claim
            assert waiter.is_alive()
            waiter.join(0.001)
        assert waiter.is_alive()
        os.rename(ready, index)
        waiter.join(60)
    assert made == [archive]


def test_archives_that_are_searched_together_have_their_names_in_one_table(
    tmp_path: Path, used: cache.MediaCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    archives = tuple(str(write_zip(tmp_path / f"{n:02}.zip", {f"{n}.jpg": b"%d" % n, "all": b""})) for n in range(30))
    place = Archives(pattern=str(tmp_path / "*.zip"), archives=archives)
    prepare_archives([archives], used, EVERYTHING)
    cache.use(used)
    asked: list[str] = []
    find = members._find

    def note(archive: str, name: str) -> list[Member]:
        asked.append(archive)
        return find(archive, name)

    monkeypatch.setattr(members, "_find", note)
    for number in (0, 17, 29):
        source = members.locate(f"{number}.jpg", place, follow_links=True)
        assert source is not None and members.describe(source) == f"{number}.jpg in {archives[number]}"
    assert set(asked) == {archives[0], archives[17], archives[29]}
    with pytest.raises(SampleError, match=r"all in .*00\.zip and all in .*01\.zip"):
        members.locate("all", place, follow_links=True)
    write_zip(Path(archives[3]), {"new.jpg": b"new"})
    prepare_archives([archives], used, EVERYTHING)
    cache.use(cache.MediaCache(folder=used.folder, most_bytes=1))
    assert members.locate("new.jpg", place, follow_links=True) is not None


def test_an_archive_that_goes_away_is_named(tmp_path: Path, used: cache.MediaCache) -> None:
    with pytest.raises(ConfigError, match=r"gone\.zip: there is no such archive"):
        prepare_archives([[str(tmp_path / "gone.zip")]], used, EVERYTHING)


# --- whole runs -----------------------------------------------------------------------------------------------------


def with_shards(workshop: Workshop) -> tuple[list[str], dict[str, bytes]]:
    """Flags of a run of several shards whose media lie in a split, compressed tar, and what it writes from a folder."""
    names = [workshop.image(f"{number}.png", (56 + 7 * number, 84)) for number in range(8)]
    records = [talk("<image>", image=name) for name in names]
    flags = ["--shard_bytes=1", "--packing=none"]
    workshop.dataset(records)
    from_folder = workshop.run(*flags, out="folder")
    assert from_folder.code == 0 and len(list(from_folder.folder.glob("shard-*"))) >= 8
    contents = contents_of(workshop.media)
    split(write_tar_gz(workshop.root / "media.tar.gz", contents), 5)
    workshop.register("d", workshop.root / "d.jsonl", data_path=str(workshop.root / "media.tar.gz"))
    return flags, published(from_folder.folder)


def test_array_jobs_unpack_once_and_write_the_same_bytes(workshop: Workshop, made: list[str]) -> None:
    flags, from_folder = with_shards(workshop)
    for index in (1, 0, 2):
        outcome = workshop.run(*flags, f"--task={index}/3")
        assert outcome.code == 0, outcome.err
    assert made == [f"{workshop.root}/media.tar.gz"]
    assert published(outcome.folder) == from_folder


KILLED = """
import os, sys
import preprocess.media.archives.unpack as unpack
import preprocess.write.materialise as materialise
from preprocess.cli.commands import main

what, at = sys.argv[1], int(sys.argv[2])
owner, name = {"unpack": (unpack._Unpacked, "_write"), "shard": (materialise, "write_sidecar")}[what]
real, calls = getattr(owner, name), []

def killed(*arguments):
    calls.append(1)
    real(*arguments)
    if len(calls) == at:
        os._exit(9)

setattr(owner, name, killed)
unpack._WRITE_BYTES = 4096
main(["run", *sys.argv[3:]])
"""


def test_a_run_that_is_killed_goes_on(workshop: Workshop) -> None:
    flags, from_folder = with_shards(workshop)
    for what, at in (("unpack", 2), ("unpack", 1), ("shard", 3)):
        command = [sys.executable, "-c", KILLED, what, str(at), *workshop.flags(*flags)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == 9, done.stderr
        unfinished = list((workshop.root / "out.media").rglob("*.unfinished"))
        assert len(unfinished) == (what == "unpack")
    outcome = workshop.run(*flags)
    assert outcome.code == 0 and published(outcome.folder) == from_folder
    [plain] = (workshop.root / "out.media").rglob("*.tar")
    counted = int((workshop.root / "out.media" / "bytes").read_text())
    assert plain.stat().st_size <= counted < plain.stat().st_size + 10_000  # nothing of those that were killed
    assert not list((workshop.root / "out.media").rglob("*.unfinished"))
