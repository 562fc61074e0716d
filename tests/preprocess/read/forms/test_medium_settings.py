"""What parts of a content and registry entries ask of single media."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from preprocess.errors import ConfigError, Reason
from preprocess.read.registry import Dataset, read_registry
from preprocess.sample import PLAIN, MediumSettings
from tests.preprocess.read.forms.reading import messages, qwen, read, reject, sample

TEXT = {"type": "text", "text": "What?"}


def settings(*parts: dict[str, Any], media: dict[str, Any] | None = None, **options: Any) -> tuple[Any, ...]:
    return sample(messages([*parts, TEXT], "This.", **(media or {})), **options).settings


def video(**asked: Any) -> dict[str, Any]:
    return {"type": "video", "video": "a.mp4", **asked}


def test_a_part_asks_for_its_own_medium_alone() -> None:
    image = {"type": "image", "image": "a.png", "max_pixels": 50176}
    assert settings(image, {"type": "image", "image": "b.png"}, video(nframes=6, video_start=1, video_end=2.5)) == (
        MediumSettings(max_pixels=50176),
        PLAIN,
        MediumSettings(num_frames=6, start=1.0, end=2.5),
    )
    assert read(messages([image, TEXT], "This.")).ignored_keys == ()


def test_without_settings_a_sample_has_none() -> None:
    assert settings(video()) == ()
    assert settings(video(fps=None, min_pixels=None)) == ()  # as a table has all keys in all parts


def test_a_part_without_a_medium_asks_for_the_next_of_the_record() -> None:
    record = messages([{"type": "image", "max_pixels": 784}, {"type": "image"}, TEXT], "A.", images=["a.png", "b.png"])
    plain = sample(qwen("<image><image>What?", "A.", images=["a.png", "b.png"]))
    assert sample(record).images == plain.images
    assert sample(record).settings == (MediumSettings(max_pixels=784), PLAIN)


def test_what_a_dataset_asks_counts_where_a_part_asks_nothing() -> None:
    image, of_dataset = {"type": "image", "image": "a.png"}, {"min_pixels": 784, "max_pixels": 50176, "nframes": 6}
    assert settings(image, video(fps=2.0, max_pixels=9999), **of_dataset) == (
        MediumSettings(min_pixels=784, max_pixels=50176),
        MediumSettings(min_pixels=784, max_pixels=9999, fps=2.0),
    )
    assert settings(video(), fps=0.5) == (MediumSettings(fps=0.5),)


@pytest.mark.parametrize(
    ("part", "reason", "said"),
    [
        (video(fps=1, nframes=4), Reason.UNSUPPORTED, "turn 0 says both 'nframes' and 'fps' of a video"),
        (video(fps=0), Reason.BAD_JSON, "'fps' 0, which no fps can be"),
        (video(fps="2"), Reason.BAD_JSON, "'fps' that is a string; a number is due"),
        (video(fps=True), Reason.BAD_JSON, "'fps' that is a boolean"),
        (video(fps=float("nan")), Reason.BAD_JSON, "'fps' nan"),
        (video(nframes=2.5), Reason.BAD_JSON, "'nframes' that is a number; a whole number is due"),
        (video(nframes=10**30), Reason.BAD_JSON, "'nframes' 1e+30"),
        (video(min_pixels=0), Reason.BAD_JSON, "'min_pixels' 0"),
        (video(min_pixels=float("inf")), Reason.BAD_JSON, "'min_pixels'"),
        (video(min_pixels=800, max_pixels=784), Reason.BAD_JSON, "min_pixels 800 above max_pixels 784"),
        (video(video_start=3, video_end=2), Reason.BAD_JSON, "video_start 3 above video_end 2"),
        (video(video_start=-1), Reason.BAD_JSON, "'video_start' -1"),
        ({"type": "image", "image": "a.png", "fps": 1}, Reason.UNSUPPORTED, "'fps' of an image"),
    ],
)
def test_what_makes_no_sense_is_named(part: dict[str, Any], reason: Reason, said: str) -> None:
    error = reject(messages([part, TEXT], "This."))
    assert error.reason is reason
    assert said in error.detail


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"nframes": 4, "fps": 1.0}, "dataset 'd' says both 'nframes' and 'fps'"),
        ({"min_pixels": 800, "max_pixels": 784}, "min_pixels 800 above max_pixels 784"),
        ({"fps": "two"}, "'fps' that is a string"),
        ({"nframes": 0}, "'nframes' 0"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Dataset(name="d", annotation_path=Path("/d.json"), data_path=None, **options)


def test_products_are_understood_in_a_registry(tmp_path: Path) -> None:
    path = tmp_path / "d.yaml"
    path.write_text("d: {annotation_path: d.json, max_pixels: 64*28*28}\n")
    assert read_registry(path)["d"].max_pixels == 64 * 28 * 28
