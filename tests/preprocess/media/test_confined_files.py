"""With `follow_links: false`, what is opened is what was checked."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import pytest

from preprocess.encode import SampleEncoder
from preprocess.errors import FatalError, Reason, SampleError
from preprocess.media.store import check_unchanged, locate, open_medium, stamp_of
from preprocess.read.records import parse_record
from preprocess.read.registry import Dataset
from preprocess.sample import MediaSource
from tests.preprocess.workshop import Workshop, talk


def located(linked: Path, name: str, folder: str = "media") -> MediaSource:
    return locate(name, linked / folder, follow_links=False)


def reject(source: MediaSource) -> SampleError:
    rejects = []
    for read in (open_medium, stamp_of):
        with pytest.raises(SampleError) as raised:
            read(source)
        rejects.append(raised.value)
    assert rejects[0].args == rejects[1].args
    return rejects[0]


@pytest.mark.parametrize("folder", ["media", "alias"])
def test_plain_files_are_read_and_stamped_as_others_are(linked: Path, folder: str) -> None:
    (linked / "media" / "x" / "y").mkdir(parents=True)
    (linked / "media" / "x" / "y" / "z.png").write_bytes(b"deep")
    for name, content in (("d.png", b"content"), ("x/y/z.png", b"deep")):
        source = located(linked, name, folder)
        with open_medium(source) as file:
            assert file.read() == content
        assert stamp_of(source) == stamp_of(MediaSource(path=source.path))


def test_without_data_path_paths_begin_at_the_root(linked: Path) -> None:
    source = locate(f"{os.path.realpath(linked)}/media/d.png", None, follow_links=False)
    with open_medium(source) as file:
        assert file.read() == b"content"


@pytest.mark.parametrize("part", ["x/d.png", "x"])
def test_what_became_a_link_is_not_read(linked: Path, part: str) -> None:
    media = linked / "media"
    (media / "x").mkdir()
    (media / "x" / "d.png").write_bytes(b"content")
    source = located(linked, "x/d.png")
    stamp = stamp_of(source)
    os.rename(media / part, linked / "away")
    (media / part).symlink_to(linked / "away")
    assert stamp_of(MediaSource(path=source.path)) == stamp  # so that only the link tells
    error = reject(source)
    assert error.reason is Reason.PATH_OUTSIDE
    assert "goes through a link, and follow_links is false" in error.detail
    with pytest.raises(FatalError, match=r"d:0: .* goes through a link"):
        check_unchanged(source, stamp, "d:0")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.png", "No such file"),
        ("d.png/below", "Not a directory"),
        ("f", "not a regular file"),
        ("pipe", "regular"),
    ],
)
def test_what_is_no_regular_file_is_missing(linked: Path, name: str, said: str) -> None:
    (linked / "media" / "f").mkdir()
    os.mkfifo(linked / "media" / "pipe")
    error = reject(located(linked, name))
    assert error.reason is Reason.MISSING_FILE
    assert said in error.detail


def test_no_descriptor_is_left_open(linked: Path) -> None:
    os.mkfifo(linked / "media" / "pipe")
    before = len(os.listdir("/proc/self/fd"))
    for name in ("d.png", "pipe", "gone.png", "d.png/below"):
        for source in (located(linked, name), MediaSource(path=str(linked / "media" / name))):
            with suppress(SampleError):
                open_medium(source).close()
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_file_swapped_for_a_link_after_parsing_stops_the_sample(workshop: Workshop) -> None:
    name = workshop.image()
    dataset = Dataset(name="d", annotation_path=workshop.root / "d.jsonl", data_path=workshop.media, follow_links=False)
    sample = parse_record(talk("<image>", image=name), dataset, 0, None)
    encoder = SampleEncoder.load(workshop.model, workshop.config())
    measured = encoder.measure(sample)
    assert len(encoder.encode(measured).image_patches)
    os.rename(workshop.media / name, workshop.root / "away.png")
    (workshop.media / name).symlink_to(workshop.root / "away.png")
    with pytest.raises(FatalError, match="goes through a link"):
        encoder.encode(measured)
    with pytest.raises(SampleError, match="goes through a link"):
        encoder.measure(sample)
