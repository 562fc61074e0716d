"""Pictures of rejected images: as much as can be drawn, or why nothing can; no bomb and no crash gets through."""

from __future__ import annotations

import base64
import io
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from preprocess.errors import Reason
from preprocess.jobs.executor import ThisProcess, WorkerPool
from preprocess.ledger import Reject, read_ledger, with_sources
from preprocess.report.thumbnails import ThumbnailStage, draw_rejects, source_of
from preprocess.sample import MediaSource
from shards.files.names import LEDGER_NAME
from shards.look.page import Picture, picture
from tests.preprocess.faulty_stage import within
from tests.preprocess.workshop import Workshop, talk

HERE = ThisProcess()


def reject(path: Path | None, reason: Reason = Reason.UNDECODABLE, index: int = 0) -> Reject:
    source = None if path is None else MediaSource(path=str(path))
    return Reject(dataset="d", index=index, member=None, reason=reason.value, detail="it is broken", source=source)


def drawn(path: Path | None, reason: Reason = Reason.UNDECODABLE) -> Picture | str:
    wanted = reject(path, reason)
    [found] = draw_rejects([wanted], HERE)
    return found


def rejects_of(workshop: Workshop) -> list[Reject]:
    folder = workshop.run("--max_reject_share=1").folder
    return with_sources(list(read_ledger(folder / LEDGER_NAME)), folder / "plan")


def decoded(found: Picture | str) -> Image.Image:
    assert isinstance(found, Picture), found
    image = Image.open(io.BytesIO(base64.b64decode(found.uri.removeprefix("data:image/jpeg;base64,"))))
    assert image.size == (found.width, found.height)
    return image


def test_a_cut_image_is_drawn_as_far_as_it_goes(workshop: Workshop) -> None:
    path = workshop.media / workshop.truncated_image()
    image = decoded(drawn(path))
    assert image.size == (120, 90)
    top, bottom = image.convert("L").crop((0, 0, 120, 20)), image.convert("L").crop((0, 75, 120, 90))
    assert len(set(top.tobytes())) > 100  # noise
    assert len(set(bottom.tobytes())) < 10  # nothing


def test_pictures_are_small(workshop: Workshop) -> None:
    path = workshop.media / workshop.image("large.png", (3000, 10))
    image = decoded(drawn(path, Reason.ASPECT_RATIO))
    assert image.size == (160, 1)


@pytest.mark.parametrize("name", ["a: b.png", "a, b.png", "a (row 3, image[0]).png", "数\u202e据.png"])
def test_odd_names_are_kept_by_the_ledger(workshop: Workshop, name: str) -> None:
    workshop.dataset([talk("<image>", image=workshop.image(name, (1, 300)))])
    [found] = rejects_of(workshop)
    assert source_of(found) == MediaSource(path=str(workshop.media / name))
    assert isinstance(draw_rejects([found], HERE)[0], Picture)


def test_the_medium_at_fault_is_drawn_and_not_its_neighbour(workshop: Workshop) -> None:
    images = [workshop.image("a.png"), workshop.truncated_image()]
    workshop.dataset([talk("<image><image>", images=images)])
    [found] = rejects_of(workshop)
    assert source_of(found) == MediaSource(path=str(workshop.media / images[1]))


def test_the_image_of_a_wrong_box_is_drawn(workshop: Workshop) -> None:
    answer = '{"bbox_2d": [0, 0, 500, 20], "image_index": 1}'
    for name, images in (("one", ["a.png"]), ("two", ["b: c.png", "a.png"])):
        record = talk("<image>" * len(images), answer.replace("1}", f"{len(images) - 1}}}"), images=images)
        workshop.dataset([record], name=name, boxes="original")
    for image in ("a.png", "b: c.png"):
        workshop.image(image)
    rejects = rejects_of(workshop)
    assert [reject.reason for reject in rejects] == ["ambiguous_boxes"] * 2
    assert [source_of(reject) for reject in rejects] == [MediaSource(path=str(workshop.media / "a.png"))] * 2
    assert all(isinstance(found, Picture) for found in draw_rejects(rejects, HERE))


def test_media_in_parquet_are_drawn(workshop: Workshop) -> None:
    path = workshop.media / workshop.truncated_image()
    cells = [{"bytes": path.read_bytes(), "path": None}]
    workshop.dataset([talk("<image>", images=cells)], suffix=".parquet")
    [found] = rejects_of(workshop)
    assert source_of(found) == MediaSource(path=str(workshop.root / "d.parquet"), row=0, column="images", item=0)
    decoded(draw_rejects([found], HERE)[0])


@pytest.mark.parametrize("reason", [Reason.TAG_COUNT, Reason.BAD_JSON, Reason.MISSING_FILE])
def test_what_is_about_no_picture_is_not_opened(workshop: Workshop, reason: Reason) -> None:
    path = workshop.media / workshop.image()
    assert source_of(reject(path, reason)) is None
    assert isinstance(drawn(path, reason), str)


def test_a_plan_of_before_it_kept_sources_gives_no_pictures(workshop: Workshop) -> None:
    line = {"dataset": "d", "index": 0, "reason": "undecodable", "detail": f"{workshop.media}/a.png: broken"}
    workshop.image()
    found = Reject.from_json(line)
    assert draw_rejects([found], HERE) == ["the plan does not say which file it was"]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("gone.png", "No such file"),
        ("a\0b", "null byte"),
        ("a" * 5000, "name too long"),
        ("lone \ud800", "surrogates"),
        (".", "is not a regular file"),
        ("pipe", "is not a regular file"),
    ],
)
def test_what_is_no_file_any_more_is_explained(workshop: Workshop, name: str, said: str) -> None:
    os.mkfifo(workshop.media / "pipe")
    with within(20):
        note = drawn(workshop.media / name)
    assert isinstance(note, str)
    assert said in note


def test_a_bomb_is_not_decoded(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workshop.media / "bomb.png"
    Image.new("1", (10_000, 6_000)).save(path)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    assert drawn(path, Reason.DECOMPRESSION_BOMB) == "10,000 x 6,000 pixels are too many to draw"


def test_what_is_no_image_is_explained(workshop: Workshop) -> None:
    path = workshop.media / "clip.mp4"
    path.write_bytes(b"not a clip")
    assert drawn(path, Reason.TOO_FEW_FRAMES) == "no image that can be drawn (UnidentifiedImageError)"


def test_formats_that_run_programs_are_not_opened(workshop: Workshop) -> None:
    path = workshop.media / "a.eps"
    Image.new("RGB", (40, 40)).save(path, "EPS")
    assert drawn(path) == "no image that can be drawn (UnidentifiedImageError)"


@dataclass(frozen=True, kw_only=True)
class DeadlyStage(ThumbnailStage):
    """Dies on one file, as a decoder might."""

    deadly: str

    def do_item(self, source: MediaSource) -> Picture:
        if source.path == self.deadly:
            os.abort()
        return super().do_item(source)


def test_a_decoder_that_dies_costs_its_own_picture_only(workshop: Workshop) -> None:
    paths = [workshop.media / workshop.image(name) for name in ("a.png", "b.png")]
    rejects = [reject(path, Reason.CRASH, index) for index, path in enumerate(paths)]
    with WorkerPool(workers=1, item_timeout=60) as executor:
        found = draw_rejects(rejects, executor, DeadlyStage(deadly=str(paths[0])))
    note = found[0]
    assert isinstance(note, str)
    assert "its decoder died" in note
    assert isinstance(found[1], Picture)


def test_the_same_file_is_drawn_once(workshop: Workshop) -> None:
    path = workshop.media / workshop.image()
    seen: list[MediaSource] = []

    def draw(source: MediaSource) -> Picture:
        seen.append(source)
        with Image.open(source.path) as image:
            return picture(np.asarray(image), 10)

    rejects = [reject(path, index=index) for index in range(3)]
    assert len(set(map(str, draw_rejects(rejects, HERE, ThumbnailStage(draw=draw))))) == 1
    assert len(seen) == 1
