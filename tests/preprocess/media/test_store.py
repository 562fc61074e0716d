"""A kind of source that is added from the outside, by one module and one line, goes all the way of a sample."""

from __future__ import annotations

import ast
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_clips import write_clip

from preprocess.encode import SampleEncoder
from preprocess.errors import FatalError, Reason, SampleError
from preprocess.ledger import Reject
from preprocess.media import confined_files, files, parquet_cells, store
from preprocess.plan.tables import read_part, write_part
from preprocess.read.records import parse_record
from preprocess.read.registry import Dataset
from preprocess.report.thumbnails import draw
from preprocess.sample import MeasuredSample, MediaSource, MediaStamp, Sample
from preprocess.timing import Timing
from preprocess.write.materialise import join_samples
from preprocess.write.reuse import source_key
from tests.preprocess.media import toy_source
from tests.preprocess.workshop import Workshop, talk

PACKAGE = Path(store.__file__).parents[1]


@pytest.fixture(autouse=True)
def toys(monkeypatch: pytest.MonkeyPatch) -> dict[str, bytes]:
    """The line that adds the kind; what it holds."""
    monkeypatch.setattr(store, "KINDS", (toy_source, *store.KINDS))
    monkeypatch.setattr(toy_source, "CONTENTS", {})
    return toy_source.CONTENTS


@pytest.fixture
def encoder(workshop: Workshop) -> SampleEncoder:
    return SampleEncoder.load(workshop.model, workshop.config())


def parsed(workshop: Workshop, *media: str) -> Sample:
    """A sample that has these images, and videos where their name ends with .mp4."""
    images, videos = [m for m in media if not m.endswith(".mp4")], [m for m in media if m.endswith(".mp4")]
    record = talk("<image>" * len(images) + "<video>" * len(videos), images=images, videos=videos)
    dataset = Dataset(name="d", annotation_path=workshop.root / "d.jsonl", data_path=workshop.media)
    return parse_record(record, dataset, 0, None)


def into_the_box(workshop: Workshop, toys: dict[str, bytes]) -> tuple[str, str]:
    """The same image and video as files and as toys; their names below the media folder."""
    names = workshop.image(), "clip.mp4"
    write_clip(workshop.media / names[1], size=(112, 84), fps=10, num_frames=20)
    toys.update({name: (workshop.media / name).read_bytes() for name in names})
    return names


def test_a_sample_goes_all_the_way_as_it_does_from_files(
    workshop: Workshop, encoder: SampleEncoder, toys: dict[str, bytes], tmp_path: Path
) -> None:
    names = into_the_box(workshop, toys)
    measured = {
        "file": encoder.measure(parsed(workshop, *names)),
        "toy": encoder.measure(parsed(workshop, *(f"toy:{name}" for name in names))),
    }
    for name in names:
        (workshop.media / name).rename(workshop.media / f"{name}.away")  # so that a toy can't be read from there
    [planned] = planned_and_read(tmp_path, measured["toy"])
    assert planned == measured["toy"]
    encoded = encoder.encode(planned)
    for name in names:
        (workshop.media / f"{name}.away").rename(workshop.media / name)
    from_files = encoder.encode(measured["file"])
    assert len(from_files.image_patches) and len(from_files.video_patches)
    packs = [join_samples(["d:0"], [sample]) for sample in (encoded, from_files)]
    for field in vars(packs[0]):
        np.testing.assert_array_equal(*(getattr(pack, field) for pack in packs), err_msg=field)
    media = [(*sample.images, *sample.videos) for sample in (measured["toy"], measured["file"])]
    keys = [source_key(medium) for of_sample in media for medium in of_sample]
    assert len(set(keys)) == 4
    assert keys[:2] == [source_key(medium) for medium in (*planned.images, *planned.videos)]
    assert Timing.of(planned.sample, 1.0).media == ("toy a.png", "toy clip.mp4")
    assert draw(planned.sample.images[0]) == draw(measured["file"].sample.images[0])


def planned_and_read(folder: Path, measured: MeasuredSample) -> list[MeasuredSample]:
    (folder / "samples").mkdir()
    write_part(folder, 0, [(measured, 1)], {})
    return list(read_part(folder, 0, ""))


@pytest.mark.parametrize("video_decoder", ["decord", "pyav"])
def test_both_decoders_of_videos_read_it(
    workshop: Workshop, encoder: SampleEncoder, toys: dict[str, bytes], video_decoder: Any
) -> None:
    into_the_box(workshop, toys)
    encoder = replace(encoder, config=replace(encoder.config, video_decoder=video_decoder))
    measured = encoder.measure(parsed(workshop, "toy:clip.mp4"))
    os.remove(workshop.media / "clip.mp4")
    assert len(encoder.encode(measured).video_patches) == measured.num_video_patches > 0


def test_rejects_name_it_and_say_where_it_is(
    workshop: Workshop, encoder: SampleEncoder, toys: dict[str, bytes]
) -> None:
    toys["broken.png"] = b"no picture"
    for name, reason, detail in (
        ("broken.png", Reason.UNDECODABLE, "toy broken.png: not an image, or its header is damaged"),
        ("gone.png", Reason.MISSING_FILE, "toy gone.png is not in the box"),
    ):
        sample = parsed(workshop, f"toy:{name}")
        with pytest.raises(SampleError) as raised:
            encoder.measure(sample)
        reject = Reject.of_sample(sample, raised.value)
        assert (reject.reason, reject.detail, reject.source) == (reason.value, detail, sample.images[0])
        assert Reject.from_json(reject.to_plan_json()) == reject


def test_one_that_changed_since_it_was_measured_stops_the_run(
    workshop: Workshop, encoder: SampleEncoder, toys: dict[str, bytes]
) -> None:
    into_the_box(workshop, toys)
    measured = encoder.measure(parsed(workshop, "toy:a.png"))
    toys["a.png"] += b"\0"
    with pytest.raises(FatalError, match=r"d:0: toy a\.png is [\d,]+ bytes of checksum [0-9a-f]{8}; it was "):
        encoder.encode(measured)
    del toys["a.png"]
    with pytest.raises(FatalError, match=r"d:0: toy a\.png is not in the box; it was "):
        encoder.encode(measured)


def test_a_whole_run_takes_it(workshop: Workshop, toys: dict[str, bytes]) -> None:
    into_the_box(workshop, toys)
    workshop.dataset([talk("<image>", image="a.png"), talk("<video>", video="clip.mp4")], name="files")
    from_files = workshop.run(out="files").packs
    with_toys = [talk("<image>", image="toy:a.png"), talk("<video>", video="toy:clip.mp4")]
    workshop.dataset(with_toys, name="files")
    first = workshop.run(out="toys")
    again = workshop.run(f"--reuse={workshop.root / 'toys'}", "--seed=3", out="again")
    assert first.keys == again.keys == ["files:0", "files:1"]
    assert "images and videos without decoding" in again.out
    for pack in first.packs:
        [of_files] = [other for other in from_files if other.sample_keys == pack.sample_keys]
        np.testing.assert_array_equal(pack.image_patches, of_files.image_patches)
        np.testing.assert_array_equal(pack.video_patches, of_files.video_patches)


# --- the kinds that there are --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        (MediaSource(path="/a.png"), files),
        (MediaSource(path="toy:a.png"), files),
        (MediaSource(path="/a/b.png", column="/a"), confined_files),
        (MediaSource(path="/d.parquet", row=0, column="image"), parquet_cells),
        (MediaSource(path="toy:", column="a.png"), toy_source),
    ],
)
def test_each_source_is_of_one_kind(source: MediaSource, kind: Any) -> None:
    assert store._kind_of(source) is kind


def test_only_files_have_a_path_that_decoders_may_open() -> None:
    assert store.local_path(MediaSource(path="/a.mp4")) == "/a.mp4"
    assert store.local_path(MediaSource(path="/d.parquet", row=0, column="video")) is None


@pytest.mark.parametrize(
    "change",
    [
        lambda source: replace(source, path="/e.parquet"),
        lambda source: replace(source, row=1),
        lambda source: replace(source, column="video"),
        lambda source: replace(source, item=1),
    ],
)
def test_keys_of_reuse_tell_sources_apart(change: Callable[[MediaSource], MediaSource]) -> None:
    source, stamp = MediaSource(path="/d.parquet", row=0, column="image"), MediaStamp(num_bytes=3, version=4)
    assert store.reuse_key(change(source), stamp) != store.reuse_key(source, stamp)


def test_keys_of_reuse_tell_versions_apart() -> None:
    source, stamp = MediaSource(path="/a.png"), MediaStamp(num_bytes=3, version=4)
    keys = [store.reuse_key(source, s) for s in (stamp, replace(stamp, num_bytes=4), replace(stamp, version=5))]
    assert keys[0] not in keys[1:]
    assert keys[0] == store.reuse_key(source, replace(stamp, sha256="ab"))


def test_nobody_else_looks_into_a_source() -> None:
    """Only modules of kinds do; the store takes all fields together for the key of reuse."""
    found = {
        (str(path.relative_to(PACKAGE)), node.attr)
        for path in PACKAGE.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in {"path", "row", "column", "item"}
        and ast.unparse(node.value).split(".")[-1] == "source"
    }
    assert {("media/files.py", "path"), ("media/parquet_cells.py", "row")} <= found
    archived = ("archives/members", "values/inline", "remote_files")
    kinds = {f"media/{name}.py" for name in (*archived, "confined_files", "files", "frame_lists", "parquet_cells")}
    assert {module for module, _ in found} == {*kinds, "media/store.py"}
