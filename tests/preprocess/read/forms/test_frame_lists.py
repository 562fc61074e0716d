"""Videos as lists of pictures, as nested lists, and as folders."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from preprocess.errors import Reason, SampleError
from preprocess.media import frame_lists
from preprocess.media.frame_lists import frames_of, is_list
from preprocess.media.store import describe
from preprocess.read.records import ReadRecord, read_record
from preprocess.read.registry import Dataset
from preprocess.sample import Sample
from tests.preprocess.read.forms.reading import messages, qwen, read, reject, sample

FRAMES = ["f/0.jpg", "f/1.jpg", "f/2.jpg"]


def names(read_sample: Sample, number: int = 0) -> list[str]:
    assert is_list(read_sample.videos[number])
    return [describe(frame).removeprefix("/media/") for frame in frames_of(read_sample.videos[number])]


def video(value: Any, key: str = "video", **more: Any) -> dict[str, Any]:
    return qwen("<video>What happens?", "A box moves.", **{key: value}, **more)


@pytest.mark.parametrize("key", ["video", "videos"])
@pytest.mark.parametrize("value", [FRAMES, [FRAMES], json.dumps(FRAMES), json.dumps([FRAMES])])
def test_a_list_of_pictures_is_one_video(value: Any, key: str) -> None:
    assert names(sample(video(value, key))) == FRAMES


@pytest.mark.parametrize("more", [{}, {"fps": 2.0}])
def test_a_part_may_hold_a_list(more: dict[str, Any]) -> None:
    record = messages([{"type": "video", "video": FRAMES, **more}, {"type": "text", "text": "What?"}], "That.")
    assert names(sample(record)) == FRAMES
    assert sample(record).settings[0].fps == more.get("fps", 1.0)
    assert read(record).ignored_keys == ()


def test_two_lists_are_two_videos() -> None:
    record = qwen("<video> or <video>?", "Both.", videos=[FRAMES, ["g/0.png"]])
    assert [names(sample(record), number) for number in (0, 1)] == [FRAMES, ["g/0.png"]]


def test_one_picture_is_a_video_of_one_frame() -> None:
    assert names(sample(video(["f/0.jpg"]))) == ["f/0.jpg"]


def test_names_of_videos_stay_videos() -> None:
    of_two = sample(qwen("<video><video>", "Both.", videos=["a.mp4", "b.gif"]))
    assert not any(map(is_list, of_two.videos))
    assert not is_list(sample(video("f/0.jpg")).videos[0])  # no list: a picture where a video is due


# --- rates ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "rate"),
    [
        ({"fps": 4}, 4.0),
        ({"fps": [2.5]}, 2.5),
        ({"times": [1.0, 1.5, 2.0]}, 2.0),
        ({"times": [[0, 10, 20]]}, 0.1),
        ({"times": [0, 1, 3], "fps": 7}, 2 / 3),
        ({}, 1.0),
        ({"fps": None, "times": None}, 1.0),
    ],
)
def test_the_record_may_say_the_rate(said: dict[str, Any], rate: float) -> None:
    found = read(video([FRAMES], "videos", **said))
    assert found.sample.settings[0].fps == rate
    assert found.sample.settings[0].is_listed
    assert ("assumed_rates" in found.notes) == (not any(said.values()))
    assert set(found.ignored_keys) <= {"fps", "times"} and "times" not in found.ignored_keys * bool(said.get("times"))


def test_a_rate_beside_a_video_file_means_nothing_and_is_counted() -> None:
    found = read(video("a.mp4", fps=30.0))
    assert (found.sample.settings, found.ignored_keys, found.notes) == ((), ("fps",), ())


def test_the_part_wins_over_the_record_and_the_record_over_the_dataset() -> None:
    part = {"type": "video", "video": FRAMES}
    text = {"type": "text", "text": "?"}
    rates = [
        sample(messages([{**part, **own}, text], "A.", **of_record), fps=5.0).settings[0].fps
        for own in ({"sample_fps": 2}, {"times": [0, 1, 2]}, {})
        for of_record in ({"fps": 3}, {})
    ]
    assert rates == [2, 2, 1, 1, 3, 5]


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (video([FRAMES], "videos", times=[0, 1]), "'times' has 2 values for 3 frames"),
        (video([FRAMES], "videos", times=[0, 1, 1]), "'times' of frames must grow"),
        (video([FRAMES], "videos", times=[0, 1, float("nan")]), "'times' of frames must grow"),
        (video([FRAMES], "videos", times=["0", 1, 2]), "'times' must be a list of seconds"),
        (video([FRAMES], "videos", fps=0), "'fps' of a list of frames must be a number above 0"),
        (video([FRAMES], "videos", fps=[1, 2]), "'fps' has 2 values for 1 videos"),
        (video([[]], "videos"), "a video is an empty list of frames"),
        (video([["f/0.jpg", 3]], "videos"), "each frame must be a path; one is a number"),
        (video([["x.jpg"] * 70_000], "videos"), "a list of 70,000 frames; at most 65,536"),
    ],
)
def test_a_wrong_list_is_named(record: Any, said: str) -> None:
    error = reject(record)
    assert error.reason is Reason.BAD_JSON
    assert said in error.detail


def test_a_frame_outside_of_the_data_is_refused() -> None:
    assert reject(video(["f/0.jpg", "../../etc/1.jpg"])).reason is Reason.PATH_OUTSIDE


# --- folders --------------------------------------------------------------------------------------------------------


def read_in(folder: Path, written: str = "f", **options: Any) -> ReadRecord:
    dataset = Dataset(name="d", annotation_path=folder / "d.json", data_path=folder, **options)
    return read_record(video(written), dataset, index=0, member=None)


def pictures(folder: Path, names_: Sequence[str]) -> None:
    folder.mkdir(parents=True)
    for name in names_:
        Image.new("RGB", (56, 28)).save(folder / name)


@pytest.mark.parametrize("follow_links", [True, False])
def test_a_folder_is_its_pictures_in_the_order_of_their_numbers(tmp_path: Path, follow_links: bool) -> None:
    pictures(tmp_path / "f", ["frame_10.jpg", "frame_2.jpg", "frame_1.PNG", ".hidden.jpg", "Frame_3.webp"])
    (tmp_path / "f" / "times.txt").write_text("0 1 2")
    found = read_in(tmp_path, follow_links=follow_links).sample
    shown = [Path(describe(frame)).name for frame in frames_of(found.videos[0])]
    assert shown == ["Frame_3.webp", "frame_1.PNG", "frame_2.jpg", "frame_10.jpg"]


def test_a_folder_may_have_a_rate(tmp_path: Path) -> None:
    pictures(tmp_path / "f", ["0.png", "1.png"])
    assert read_in(tmp_path, fps=8.0).sample.settings[0].fps == 8.0
    assert read_in(tmp_path).notes == ("assumed_rates",)


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    (tmp_path / "f").mkdir()
    with pytest.raises(SampleError, match="'f' is a folder without pictures; name a video") as raised:
        read_in(tmp_path)
    assert raised.value.reason is Reason.MISSING_FILE


def test_a_folder_of_too_many_files_is_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pictures(tmp_path / "f", ["0.png", "1.png", "2.png"])
    monkeypatch.setattr(frame_lists, "MOST_FRAMES", 3)
    assert len(frames_of(read_in(tmp_path).sample.videos[0])) == 3
    monkeypatch.setattr(frame_lists, "MOST_FRAMES", 2)
    with pytest.raises(SampleError, match="'f' is a folder of more than 2 files") as raised:
        read_in(tmp_path)
    assert raised.value.reason is Reason.UNSUPPORTED


def test_a_folder_behind_a_link_is_refused_where_links_are(tmp_path: Path) -> None:
    pictures(tmp_path / "outside" / "f", ["0.png"])
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "f").symlink_to(tmp_path / "outside" / "f")
    assert is_list(read_in(tmp_path / "data").sample.videos[0])
    with pytest.raises(SampleError) as raised:
        read_in(tmp_path / "data", follow_links=False)
    assert raised.value.reason is Reason.PATH_OUTSIDE
