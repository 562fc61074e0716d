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
from preprocess.ledger import Reject
from preprocess.report.thumbnails import ThumbnailStage, draw_rejects, source_of
from preprocess.sample import MediaSource
from shards.look.page import Picture, picture
from tests.preprocess.workshop import Workshop, talk

HERE = ThisProcess()


def reject(detail: str, reason: Reason = Reason.UNDECODABLE, index: int = 0) -> Reject:
    return Reject(dataset="d", index=index, member=None, reason=reason.value, detail=detail)


def drawn(detail: str, reason: Reason = Reason.UNDECODABLE) -> Picture | str:
    wanted = reject(detail, reason)
    return draw_rejects([wanted], HERE)[wanted]


def decoded(found: Picture | str) -> Image.Image:
    assert isinstance(found, Picture), found
    image = Image.open(io.BytesIO(base64.b64decode(found.uri.removeprefix("data:image/jpeg;base64,"))))
    assert image.size == (found.width, found.height)
    return image


def test_a_cut_image_is_drawn_as_far_as_it_goes(workshop: Workshop) -> None:
    path = workshop.media / workshop.truncated_image()
    image = decoded(drawn(f"{path}: image file is truncated (12 bytes not processed)"))
    assert image.size == (120, 90)
    top, bottom = image.convert("L").crop((0, 0, 120, 20)), image.convert("L").crop((0, 75, 120, 90))
    assert len(set(top.tobytes())) > 100  # noise
    assert len(set(bottom.tobytes())) < 10  # nothing


def test_pictures_are_small(workshop: Workshop) -> None:
    path = workshop.media / workshop.image("large.png", (3000, 10))
    image = decoded(drawn(f"{path}: 3000x10 pixels: one side is", Reason.ASPECT_RATIO))
    assert image.size == (160, 1)


@pytest.mark.parametrize("name", ["a: b.png", "a, b.png", "a (row 3, image[0]).png", "数\u202e据.png"])
def test_odd_names_are_understood(workshop: Workshop, name: str) -> None:
    path = workshop.media / workshop.image(name)
    assert source_of(reject(f"{path}: cannot read: x, y: z")) == MediaSource(path=str(path))
    assert isinstance(drawn(f"{path}: cannot read: x, y: z"), Picture)


def test_the_image_of_a_wrong_box_is_drawn(workshop: Workshop) -> None:
    answer = '{"bbox_2d": [0, 0, 500, 20], "image_index": 1}'
    for name, images in (("one", ["a.png"]), ("two", ["b: c.png", "a.png"])):
        record = talk("<image>" * len(images), answer.replace("1}", f"{len(images) - 1}}}"), images=images)
        workshop.dataset([record], name=name, boxes="original")
    for image in ("a.png", "b: c.png"):
        workshop.image(image)
    rejects = [Reject.from_json(record) for record in workshop.run("--max_reject_share=1").rejects]
    assert [reject.reason for reject in rejects] == ["ambiguous_boxes"] * 2
    assert [source_of(reject) for reject in rejects] == [MediaSource(path=str(workshop.media / "a.png"))] * 2
    assert all(isinstance(found, Picture) for found in draw_rejects(rejects, HERE).values())


def test_media_in_parquet_are_found(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    path.touch()
    assert source_of(reject(f"{path} (row 7, images[2]): broken")) == MediaSource(
        path=str(path), row=7, column="images", item=2
    )


@pytest.mark.parametrize(
    ("reason", "detail"),
    [
        (Reason.TAG_COUNT, "{path}: tags"),
        (Reason.BAD_JSON, "{path}: not JSON"),
        (Reason.UNDECODABLE, "{path}.gone: broken"),
        (Reason.UNDECODABLE, "no colon at all"),
        (Reason.UNDECODABLE, "a\0b: broken"),
        (Reason.UNDECODABLE, "a" * 5000 + ": broken"),
        (Reason.UNDECODABLE, "lone \ud800: broken"),
        (Reason.MISSING_FILE, "{path}: No such file or directory"),
    ],
)
def test_what_is_about_no_file_is_not_opened(workshop: Workshop, reason: Reason, detail: str) -> None:
    detail = detail.format(path=workshop.media / workshop.image())
    assert source_of(reject(detail, reason)) is None
    assert isinstance(drawn(detail, reason), str)


def test_a_bomb_is_not_decoded(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    path = workshop.media / "bomb.png"
    Image.new("1", (10_000, 6_000)).save(path)
    assert path.stat().st_size < 20_000
    monkeypatch.setattr(Image.Image, "load", lambda self: pytest.fail("it was decoded"))
    assert drawn(f"{path}: too many", Reason.DECOMPRESSION_BOMB) == "10,000 x 6,000 pixels are too many to draw"


def test_what_is_no_image_is_explained(workshop: Workshop) -> None:
    path = workshop.media / "clip.mp4"
    path.write_bytes(b"not a clip")
    assert drawn(f"{path}: broken", Reason.TOO_FEW_FRAMES) == "no image that can be drawn (UnidentifiedImageError)"


def test_formats_that_run_programs_are_not_opened(workshop: Workshop) -> None:
    path = workshop.media / "a.eps"
    Image.new("RGB", (40, 40)).save(path, "EPS")
    assert drawn(f"{path}: broken") == "no image that can be drawn (UnidentifiedImageError)"


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
    rejects = [reject(f"{path}: broken", Reason.CRASH, index) for index, path in enumerate(paths)]
    with WorkerPool(workers=1, item_timeout=60) as executor:
        found = draw_rejects(rejects, executor, DeadlyStage(deadly=str(paths[0])))
    note = found[rejects[0]]
    assert isinstance(note, str)
    assert "its decoder died" in note
    assert isinstance(found[rejects[1]], Picture)


def test_the_same_file_is_drawn_once(workshop: Workshop) -> None:
    path = workshop.media / workshop.image()
    seen: list[MediaSource] = []

    def draw(source: MediaSource) -> Picture:
        seen.append(source)
        with Image.open(source.path) as image:
            return picture(np.asarray(image), 10)

    rejects = [reject(f"{path}: broken", index=index) for index in range(3)]
    assert len(set(map(str, draw_rejects(rejects, HERE, ThumbnailStage(draw=draw)).values()))) == 1
    assert len(seen) == 1
