"""Media behind URLs, by fsspec's file system in memory."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from demo_clips import write_clip

from preprocess.errors import ConfigError, FatalError, Reason, SampleError
from preprocess.media import remote_files, store
from preprocess.media.places import RemoteFolder
from tests.preprocess.media.archives.packing import contents_of
from tests.preprocess.workshop import Workshop, published, talk

fsspec = pytest.importorskip("fsspec")
PLACE = RemoteFolder(url="memory://bucket/media")


@pytest.fixture
def memory() -> Iterator[object]:
    files = fsspec.filesystem("memory")
    files.pipe("memory://bucket/media/a.bin", b"0123456789")
    files.pipe("memory://bucket/secret", b"secret")
    yield files
    files.rm("memory://bucket", recursive=True)
    remote_files._file_system.cache_clear()


def located(name: str) -> remote_files.MediaSource:
    return store.locate(name, PLACE, follow_links=True)


def test_shards_are_byte_for_byte_those_of_a_folder(workshop: Workshop, memory: fsspec.AbstractFileSystem) -> None:
    names = [workshop.image(f"train/{number}.jpg", (60 + number, 90)) for number in range(3)]
    write_clip(workshop.media / "clip.mp4", size=(112, 84), fps=10, num_frames=20)
    workshop.dataset([*(talk("<image>", image=name) for name in names), talk("<video>", video="clip.mp4")])
    from_folder = published(workshop.run(out="folder").folder)
    for name, content in contents_of(workshop.media).items():
        memory.pipe(f"memory://bucket/media/{name}", content)
    workshop.register("d", workshop.root / "d.jsonl", data_path="memory://bucket/media/")
    outcome = workshop.run(out="remote")
    assert (outcome.code, outcome.err) == (0, "")
    assert published(outcome.folder) == from_folder and len(outcome.keys) == 4


def test_a_medium_is_read_whole_or_in_pieces(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = located("./x/../a.bin")
    for most in (1 << 20, 5):
        monkeypatch.setattr(remote_files, "_MOST_READ_BYTES", most)
        with store.open_medium(source) as file:
            assert file.seek(4) == 4 and file.read(3) == b"456"
            assert file.seek(-1, 2) == 9 and file.read() == b"9"
    file, stamp = store.open_stamped(source, hash_content=True)
    with file:
        assert file.read() == b"0123456789"
    assert stamp.num_bytes == 10 and stamp == store.stamp_of(source, hash_content=True)
    assert store.describe(source) == "memory://bucket/media/a.bin"
    assert store.local_path(source) is None


def test_a_list_of_remote_frames_is_a_video(workshop: Workshop, memory: fsspec.AbstractFileSystem) -> None:
    for number in range(4):
        content = (workshop.media / workshop.image(f"{number}.png")).read_bytes()
        memory.pipe(f"memory://bucket/media/{number}.png", content)
    records = [talk("<video>", video=[[f"{number}.png" for number in range(4)]])]
    workshop.dataset(records, data_path="memory://bucket/media")
    outcome = workshop.run()
    assert outcome.code == 0 and outcome.keys == ["d:0"], outcome.rejects


def test_a_changed_file_has_another_stamp(memory: fsspec.AbstractFileSystem) -> None:
    source = located("a.bin")
    before = store.stamp_of(source)
    memory.pipe("memory://bucket/media/a.bin", b"9876543210")
    with pytest.raises(FatalError, match=r"it was 10 bytes of version [0-9a-f]{8} when it was planned"):
        store.check_unchanged(source, before, "d:0")


@pytest.mark.parametrize("name", ["../secret", "/bucket/secret", "x/../../secret"])
def test_paths_that_leave_the_url_are_rejects(memory: fsspec.AbstractFileSystem, name: str) -> None:
    with pytest.raises(SampleError) as raised:
        located(name)
    assert raised.value.reason == Reason.PATH_OUTSIDE


@pytest.mark.parametrize("name", ["none.bin", "a.bin/x", "."])
def test_what_is_no_file_there_is_missing(memory: fsspec.AbstractFileSystem, name: str) -> None:
    for look in (store.stamp_of, store.open_medium):
        with pytest.raises(SampleError) as raised:
            look(located(name))
        assert raised.value.reason == Reason.MISSING_FILE


def test_a_store_that_fails_is_no_fault_of_the_sample(
    memory: fsspec.AbstractFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Unreachable(Exception):
        pass

    def fail(*_: object, **__: object) -> None:
        raise Unreachable("no route")

    source = located("a.bin")
    file, _ = store.open_stamped(source)
    monkeypatch.setattr(file._file, "read", fail)
    with pytest.raises(OSError) as reading:
        file.read()
    assert isinstance(store.read_error(source, reading.value), FatalError)
    for name, look in (("info", store.stamp_of), ("cat_file", store.open_medium)):
        monkeypatch.setattr(type(memory), name, fail)
        with pytest.raises(FatalError, match="Unreachable: no route; mend that"):
            look(source)


def refused(workshop: Workshop, data_path: str) -> str:
    workshop.dataset([talk()], data_path=data_path)
    outcome = workshop.run()
    assert outcome.code == 2
    return outcome.error


def test_a_url_that_can_not_be_read_is_refused_before_the_run(
    workshop: Workshop, memory: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "data_path memory://bucket/none is not an existing folder" in refused(workshop, "memory://bucket/none")
    assert "archives are read on this machine: download it" in refused(workshop, "memory://bucket/x.tar.gz")
    assert "https:// is not read; download it first" in refused(workshop, "https://host/x")
    assert "say the path without file://" in refused(workshop, "file:///tmp")
    assert "no kind of address that fsspec knows" in refused(workshop, "sthree://bucket/x")
    for name in remote_files._ENDPOINTS:
        monkeypatch.delenv(name, raising=False)
    assert "set OBS_ENDPOINT_URL" in refused(workshop, "obs://bucket/x")
    monkeypatch.setitem(sys.modules, "s3fs", None)
    assert "s3:// needs the extra `remote`: pip install 'qwen-vl-shards[remote]'" in refused(workshop, "s3://bucket/x")
    monkeypatch.setitem(sys.modules, "fsspec", None)
    remote_files._file_system.cache_clear()
    assert "needs the extra `remote`" in refused(workshop, "memory://bucket/media")


def test_obs_is_asked_by_the_s3_protocol(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, dict[str, object]]] = []
    monkeypatch.setattr(fsspec, "filesystem", lambda scheme, **options: asked.append((scheme, options)))
    monkeypatch.setenv("OBS_ENDPOINT_URL", "https://obs.example")
    remote_files._file_system.cache_clear()
    remote_files._file_system("obs")
    remote_files._file_system.cache_clear()
    [(scheme, options)] = asked
    assert scheme == "s3" and options["endpoint_url"] == "https://obs.example"


def test_shards_are_not_written_to_a_url_yet(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    with pytest.raises(ConfigError, match="can't be written to a URL yet; name a folder"):
        workshop.config(output_dir=Path("s3://bucket/out"))
