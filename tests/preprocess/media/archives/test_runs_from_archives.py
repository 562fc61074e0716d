"""A run whose media lie in archives writes what it writes from the files themselves."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import decord
import pytest
from demo_clips import write_clip

from preprocess.media.archives import members
from preprocess.media.videos import video
from tests.preprocess.media.archives.packing import contents_of, split, write_tar, write_tar_gz, write_zip
from tests.preprocess.workshop import Workshop, published, talk


def several_media(workshop: Workshop) -> None:
    """Images, a nested one, and a video; a dataset of them."""
    names = [workshop.image(f"train/{number}.jpg", (60 + number, 90), "blue") for number in range(6)]
    names.append(workshop.image("deep/er/x.png"))
    write_clip(workshop.media / "clip.mp4", size=(112, 84), fps=10, num_frames=20)
    records = [talk("<image>Look", images=[name]) for name in names]
    workshop.dataset([*records, talk("<video>", video="clip.mp4")])


PACKERS: dict[str, Callable[[Path, dict[str, bytes]], object]] = {
    "media.tar": write_tar,
    "media.zip": write_zip,
    "deflated.zip": lambda path, contents: write_zip(path, contents, zipfile.ZIP_DEFLATED),
    "parts.tar": lambda path, contents: split(write_tar(path, contents), 3),
    "media.tar.gz": write_tar_gz,
    "media.tgz": write_tar_gz,
    "parts.tar.gz": lambda path, contents: split(write_tar_gz(path, contents), 12),
    "numbers.tar.gz": lambda path, contents: split(write_tar_gz(path, contents), 11, ".part{:03}", first=0),
}


@pytest.mark.parametrize("name", PACKERS)
def test_shards_are_byte_for_byte_those_of_a_folder(workshop: Workshop, name: str) -> None:
    several_media(workshop)
    from_folder = published(workshop.run(out="folder").folder)
    PACKERS[name](workshop.root / name, contents_of(workshop.media))
    workshop.register("d", workshop.root / "d.jsonl", data_path=str(workshop.root / name))
    os.rename(workshop.media, workshop.root / "away")
    outcome = workshop.run(out="archive")
    said = outcome.err.splitlines()
    assert outcome.code == 0 and len(said) == name.endswith("gz"), said
    assert not said or f"{workshop.root}/archive.media, which may hold" in said[0]
    assert not said or "is unpacked once: that takes less than a minute and at least" in said[0]
    assert len(outcome.keys) == 8 and not outcome.rejects
    assert published(outcome.folder) == from_folder


def test_nothing_is_unpacked_for_annotations_that_are_not_there(workshop: Workshop) -> None:
    write_tar_gz(workshop.root / "media.tar.gz", contents_of(workshop.media))
    workshop.register("d", workshop.root / "gone", data_path=str(workshop.root / "media.tar.gz"))
    outcome = workshop.run()
    assert outcome.code == 2
    assert "check annotation_path" in outcome.error
    assert not (workshop.root / "out.media").exists()


def test_places_are_tried_in_order(workshop: Workshop) -> None:
    first, second = workshop.root / "first", workshop.root / "second"
    for folder, color in ((first, "red"), (second, "blue")):
        folder.mkdir()
        workshop.image("x.png", color=color)
        os.rename(workshop.media / "x.png", folder / "x.png")
    workshop.image("y.png")
    os.rename(workshop.media / "y.png", second / "y.png")
    write_zip(workshop.root / "third.zip", {"z.png": (second / "y.png").read_bytes()})
    records = [talk("<image>", image=name) for name in ("x.png", "y.png", "z.png", "none.png")]
    workshop.dataset(records, data_path=[str(first), str(second), str(workshop.root / "third.zip")])
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.keys == ["d:0", "d:1", "d:2"]
    [pack] = outcome.packs
    first_patches = pack.image_patches[: len(pack.image_patches) // 3].reshape(-1, 3, 196)
    assert first_patches[:, 0].min() == 255 if pack.sample_keys[0] == "d:0" else 0  # red, as in the first folder
    [reject] = outcome.rejects
    assert reject["reason"] == "missing_file" and "'none.png' is in none of" in reject["detail"]
    for place in (first, second, "third.zip"):
        assert str(place) in reject["detail"]


def test_a_pattern_names_archives_whose_members_stand_where_they_would_be_unpacked(workshop: Workshop) -> None:
    contents = {f"images/{number}.png": workshop.media / workshop.image(f"{number}.png") for number in range(4)}
    chunks = workshop.root / "allava_laion" / "image_chunks"
    chunks.mkdir(parents=True)
    for number, (name, path) in enumerate(contents.items()):
        write_zip(chunks / f"images_{number % 2}_{number}.zip", {name: path.read_bytes()})
    records = [talk("<image>", image=f"allava_laion/images/{number}.png") for number in range(4)]
    workshop.dataset(records, data_path="allava_laion/image_chunks/*.zip")
    outcome = workshop.run()
    assert outcome.code == 0 and len(outcome.keys) == 4, outcome.err


def test_members_of_two_archives_are_an_error_that_names_both(workshop: Workshop) -> None:
    content = (workshop.media / workshop.image()).read_bytes()
    for name in ("one.zip", "two.zip"):
        write_zip(workshop.root / name, {"a.png": content, f"{name}.png": content})
    records = [talk("<image>", image=name) for name in ("a.png", "one.zip.png")]
    workshop.dataset(records, data_path=str(workshop.root / "*.zip"))
    outcome = workshop.run("--max_reject_share=1")
    [reject] = outcome.rejects
    assert reject["reason"] == "ambiguous_path"
    assert f"a.png in {workshop.root}/one.zip and a.png in {workshop.root}/two.zip" in reject["detail"]
    assert outcome.keys == ["d:1"]


@pytest.mark.parametrize(
    ("written", "path_case", "reason"),
    [
        ("Coco/B.PNG", "ignore", None),
        ("Coco/B.PNG", "exact", "missing_file"),
        ("coco/B.PNG", "exact", "missing_file"),
        ("coco/cafe\u0301.png", "exact", None),
        ("coco/CAFE\u0301.png", "ignore", None),
        ("COCO/a.png", "ignore", "ambiguous_path"),
        ("coco/A.png", "ignore", None),
        ("coco\\a.png", "exact", None),
        ("coco/a%2epng", "exact", None),
        ("above/COCO/b.png", "ignore", None),
        ("coco/none.png", "ignore", "missing_file"),
    ],
)
def test_names_of_members_are_found_in_other_spellings_as_files_are(
    workshop: Workshop, written: str, path_case: str, reason: str | None
) -> None:
    content = (workshop.media / workshop.image()).read_bytes()
    (workshop.root / "above").mkdir()
    names = ("coco/a.png", "coco/A.png", "coco/b.png", "coco/caf\u00e9.png")
    archive = write_zip(workshop.root / "above" / "a.zip", dict.fromkeys(names, content))
    records = [talk("<image>", image=written)]
    workshop.dataset(records, data_path=str(archive), path_case=path_case)
    outcome = workshop.run("--max_reject_share=1")
    assert [reject["reason"] for reject in outcome.rejects] == ([] if reason is None else [reason])
    hint = "; there is b.png: `path_case: ignore`"
    assert [hint in reject["detail"] for reject in outcome.rejects] == [written == "coco/B.PNG"] * len(outcome.rejects)


def test_a_changed_archive_stops_the_run(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (workshop.media / workshop.image()).read_bytes()
    archive = write_tar(workshop.root / "a.tar", {"a.png": content})
    workshop.dataset([talk("<image>", image="a.png")], data_path=str(archive))
    monkeypatch.setattr("preprocess.cli.commands.materialise", lambda *_: 1)
    assert workshop.run().code == 0
    monkeypatch.undo()
    write_tar(archive, {"before.png": content, "a.png": content})
    outcome = workshop.run()
    assert outcome.code == 1
    assert str(archive) in outcome.error and "when it was planned" in outcome.error


def test_an_archive_beside_a_missing_folder_is_named(workshop: Workshop) -> None:
    content = (workshop.media / workshop.image()).read_bytes()
    write_zip(workshop.media / "coco.zip", {"coco/a.png": content})
    split(write_tar_gz(workshop.media / "gqa.tar.gz", {"a.png": content}), 2)
    records = [talk("<image>", image=name) for name in ("coco/a.png", "gqa/images/a.png", "none/a.png", "b.png")]
    workshop.dataset(records)
    outcome = workshop.run("--max_reject_share=1")
    details = [reject["detail"] for reject in outcome.rejects]
    for detail, name in zip(details, ("coco", "gqa"), strict=False):
        archive = workshop.media / (f"{name}.zip" if name == "coco" else f"{name}.tar.gz")
        assert f"{archive.name}: add that to data_path" in detail
    assert all("add that" not in detail for detail in details[2:]) and len(details) == 4
    workshop.register("d", workshop.root / "d.jsonl", data_path=str(workshop.media / "coco"))
    assert f"beside it lies {workshop.media}/coco.zip: say that" in workshop.run(out="other").error


def test_an_archive_of_another_name_near_a_missing_folder_is_named(workshop: Workshop) -> None:
    (workshop.media / "laion").mkdir()
    split(write_tar_gz(workshop.media / "laion" / "chunk.tar.gz", {"images/a.png": b""}), 2)
    workshop.dataset([talk("<image>", image="laion/images/a.png"), talk("<image>", image="laion/b.png")])
    missing, beside = (reject["detail"] for reject in workshop.run("--max_reject_share=1").rejects)
    assert f"near it there is {workshop.media}/laion/chunk.tar.gz: if it is in an archive" in missing
    assert beside.endswith("No such file or directory")


def test_a_large_video_in_an_archive_is_not_read_whole(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    write_clip(workshop.media / "clip.mp4", size=(112, 84), fps=10, num_frames=20)
    write_tar(workshop.root / "a.tar", contents_of(workshop.media))
    workshop.dataset([talk("<video>", video="clip.mp4")], data_path=str(workshop.root / "a.tar"))
    before = workshop.run("--video_decoder=decord", out="whole")
    asked: list[object] = []
    real = decord.VideoReader
    monkeypatch.setattr(decord, "VideoReader", lambda *given, **more: (asked.append(given), real(*given, **more))[1])
    assert workshop.run("--video_decoder=decord", out="asked").code == 0 and len(asked) == 1
    monkeypatch.setattr(video, "_MOST_BYTES_IN_MEMORY", 1000)
    monkeypatch.setattr(members, "_MOST_READ_BYTES", 1000)
    after = workshop.run("--video_decoder=decord", out="pieces")
    assert len(asked) == 1 and published(before.folder) == published(after.folder)


def test_the_report_draws_rejected_members(workshop: Workshop) -> None:
    workshop.truncated_image()
    write_zip(workshop.root / "a.zip", contents_of(workshop.media))
    workshop.dataset([talk("<image>", image="truncated.jpg"), talk()], data_path=str(workshop.root / "a.zip"))
    folder = workshop.run("--max_reject_share=1").folder
    page = workshop.root / "report.html"
    assert workshop.command("report", str(folder), "--html", str(page)).code == 0
    assert page.read_text(encoding="utf-8").count("data:image/") == 1 and "is gone" not in page.read_text("utf-8")
