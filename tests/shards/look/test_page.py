"""Pages of packs: the pictures are those of the patches, and nothing from data becomes markup."""

from __future__ import annotations

import base64
import io
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from shards import open_shards
from shards.look.page import EVERYTHING, EXTRACT, Limits, packs_page, picture, render, view_pack
from shards.look.pictures import frames_of
from shards.look.transcript import Transcriber
from shards.reader import ShardSet
from shards.segments import cut_segments


@pytest.fixture(scope="module")
def shards(small_run: Path) -> ShardSet:
    return open_shards(small_run)


class Elements(HTMLParser):
    """Names, attributes and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page)
        self.close()

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_a_picture_is_a_small_jpeg_of_the_pixels() -> None:
    pixels = np.zeros((84, 168, 3), np.uint8)
    pixels[:, :84] = 200, 100, 50
    drawn = picture(pixels, 42)
    assert (drawn.width, drawn.height) == (42, 21)
    content = base64.b64decode(drawn.uri.removeprefix("data:image/jpeg;base64,"))
    with Image.open(io.BytesIO(content)) as image:
        assert image.format == "JPEG"
        left, right = image.getpixel((8, 10)), image.getpixel((34, 10))
    np.testing.assert_allclose(left, (200, 100, 50), atol=8)  # JPEG is not exact
    np.testing.assert_allclose(right, (0, 0, 0), atol=8)


def test_a_page_has_every_medium_of_its_packs(shards: ShardSet, small_run: Path) -> None:
    numbers = range(len(shards))
    page = packs_page(shards, numbers, Transcriber.beside(small_run))
    num_pictures = 0
    for pack in shards:
        for segment in cut_segments(pack, shards.manifest.model):
            assert segment.key in page
            num_pictures += sum(len(frames_of(pack, span, shards.manifest.model)) for span in segment.spans)
    totals = shards.manifest.totals
    assert totals.num_videos
    assert num_pictures > totals.num_images + totals.num_videos
    elements = Elements(page)
    sources = [value for name, value in elements.attributes if name == "src"]
    assert len(sources) == num_pictures
    assert all(source is not None and source.startswith("data:image/jpeg;base64,") for source in sources)
    assert len([name for name, _ in elements.attributes if name == "alt"]) == num_pictures


def test_a_page_asks_nothing_of_the_network(shards: ShardSet, small_run: Path) -> None:
    page = packs_page(shards, [0], Transcriber.beside(small_run))
    elements = Elements(page)
    assert "script" not in elements.names
    assert "link" not in elements.names
    assert not re.search(r"https?:|//[a-z]|@import|url\(", re.sub(r'"data:image/jpeg;base64,[^"]*"', "", page))
    assert all(value and value.startswith("#") for name, value in elements.attributes if name == "href")
    policy = [value for name, value in elements.attributes if name == "content" and value and "default-src" in value]
    assert policy == [
        "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
    ]


def test_the_same_packs_give_the_same_page(shards: ShardSet, small_run: Path) -> None:
    assert packs_page(shards, [1], Transcriber.beside(small_run)) == packs_page(
        shards, [1], Transcriber.beside(small_run)
    )


def test_an_extract_says_what_it_leaves_out(shards: ShardSet, small_run: Path) -> None:
    number = max(range(len(shards)), key=lambda n: shards[n].num_samples)
    limits = Limits(segments=1, spans=0, frames=1, side=28)
    view = view_pack(shards[number], number, shards.manifest, Transcriber.beside(small_run), limits)
    assert len(view.segments) == 1
    assert view.num_hidden == shards[number].num_samples - 1
    assert view.segments[0].spans == ()
    assert view.num_hidden > 1
    assert f"and {view.num_hidden} more samples" in render("show.html", folder="x", packs=[view], num_packs=1)


def test_frames_are_chosen_from_the_whole_video(shards: ShardSet, small_run: Path) -> None:
    transcriber = Transcriber.beside(small_run)
    views = [
        view_pack(pack, n, shards.manifest, transcriber, replace(EXTRACT, frames=2)) for n, pack in enumerate(shards)
    ]
    videos = [span for view in views for segment in view.segments for span in segment.spans if span.num_frames > 1]
    assert videos
    assert {len(video.pictures) for video in videos} == {2}
    assert all(video.pictures[0] != video.pictures[1] for video in videos)
    page = render("show.html", folder="x", packs=views, num_packs=len(views))
    assert f"; 2 of {videos[0].num_frames} frames shown" in page


def test_everything_in_every_place_is_escaped(shards: ShardSet, small_run: Path) -> None:
    """One hostile text in place of every text of a pack's view."""
    hostile = """<script>alert(1)</script>"'&lt;\u202eevil\x1b"""
    view = view_pack(shards[0], 0, shards.manifest, Transcriber.beside(small_run), EVERYTHING)
    [first, *_] = [segment for segment in view.segments if segment.spans]
    pieces = tuple(replace(piece, text=hostile) for piece in first.pieces)
    spans = tuple(replace(span, name=hostile, line=hostile) for span in first.spans)
    segment = replace(first, segment=replace(first.segment, key=hostile), pieces=pieces, spans=spans)
    view = replace(view, headline=hostile, segments=(segment,), all_segments=(segment.segment,))
    page = render("show.html", folder=hostile, packs=[view], num_packs=1)
    clean = packs_page(shards, [0], Transcriber.beside(small_run))
    elements = Elements(page)
    assert set(elements.names) == set(Elements(clean).names)
    assert {name for name, _ in elements.attributes} == {name for name, _ in Elements(clean).attributes}
    assert "\u202e" not in page
    assert "\x1b" not in page
    shown = """<script>alert(1)</script>"'&lt;\\u202eevil\\x1b"""
    assert elements.text.count(shown) == 5 + len(pieces) + len(spans)  # title, heading, headline, key twice
    assert shown in [value for name, value in elements.attributes if name == "alt"]
