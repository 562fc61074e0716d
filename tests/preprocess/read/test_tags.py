"""Media that the text does not place, or calls by the other name."""

from __future__ import annotations

from preprocess.errors import Reason
from tests.preprocess.read.forms.reading import qwen, read, reject, sample


def test_image_tags_of_a_record_with_videos_alone_mean_videos() -> None:
    found = read(qwen("<image>\nWhat moves?", "A ball.", "And <image>?", "A cat.", video=["a.mp4", "b.mp4"]))
    same = qwen("<video>\nWhat moves?", "A ball.", "And <video>?", "A cat.", video=["a.mp4", "b.mp4"])
    assert found.sample == sample(same)
    assert found.notes == ("image_tags_for_videos",)
    assert read(same).notes == ()


def test_they_do_not_where_anything_is_left_open() -> None:
    for record in (
        qwen("<image>?", "A ball.", image="a.png", video="a.mp4"),
        qwen("<image><video>?", "A ball.", video=["a.mp4", "b.mp4"]),
        qwen("<image>?", "A ball.", video=["a.mp4", "b.mp4"]),
    ):
        assert reject(record).reason is Reason.TAG_COUNT


def test_untagged_media_stand_before_the_first_question_where_the_registry_says_so() -> None:
    record = qwen("What?", "That.", "Sure?", "Yes.", system="Hi.", images=["a.png", "b.png"], video="c.mp4")
    tagged = qwen(
        "<image><image><video>What?", "That.", "Sure?", "Yes.", system="Hi.", images=["a.png", "b.png"], video="c.mp4"
    )
    assert sample(record, media_position="start") == sample(tagged)
    assert sample(tagged, media_position="start") == sample(tagged)
    assert reject(record).reason is Reason.TAG_COUNT


def test_each_kind_of_media_is_placed_by_itself() -> None:
    record = qwen("What is <video>?", "That.", image="a.png", video="c.mp4")
    tagged = qwen("<image>What is <video>?", "That.", image="a.png", video="c.mp4")
    assert sample(record, media_position="start") == sample(tagged)
    pair = {"image": "a.png", "video": "c.mp4"}
    assert sample(qwen("What is <image>?", "That.", **pair), media_position="start") == sample(
        qwen("<video>What is <image>?", "That.", **pair)
    )
    few = qwen("What is <image>?", "That.", images=["a.png", "b.png"])
    assert reject(few, media_position="start").reason is Reason.TAG_COUNT
