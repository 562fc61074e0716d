"""Where media stand that the text does not say, or calls by the other name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from preprocess.arithmetic.chat import IMAGE_TAG, VIDEO_TAG, count_tags
from preprocess.sample import MEDIA_ROLES, Turn


def num_tags(turns: Sequence[Turn]) -> tuple[int, int]:
    """How many <image> and <video> tags stand in questions and results."""
    counts = [count_tags(turn.text) for turn in turns if turn.role in MEDIA_ROLES]
    return sum(images for images, _ in counts), sum(videos for _, videos in counts)


def mean_videos(turns: Sequence[Turn], num_images: int, num_videos: int) -> bool:
    """Whether the <image> tags are those of videos, as in LLaVA-Video: there is no other way to understand them."""
    return not num_images and num_videos > 0 and num_tags(turns) == (num_videos, 0)


def with_video_tags(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """With each <image> in a question made a <video>."""
    return tuple(
        replace(turn, text=turn.text.replace(IMAGE_TAG, VIDEO_TAG)) if turn.role in MEDIA_ROLES else turn
        for turn in turns
    )


def before_first_question(turns: Sequence[Turn], num_images: int, num_videos: int) -> tuple[Turn, ...]:
    """With tags before the first question for the kinds of media that have none; images stand before videos."""
    image_tags, video_tags = num_tags(turns)
    tags = (0 if image_tags else num_images) * IMAGE_TAG + (0 if video_tags else num_videos) * VIDEO_TAG
    first = next((number for number, turn in enumerate(turns) if turn.role == "user"), None)
    if not tags or first is None:
        return tuple(turns)
    return (*turns[:first], replace(turns[first], text=tags + turns[first].text), *turns[first + 1 :])
