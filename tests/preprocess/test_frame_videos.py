"""Videos that are pictures, and settings of single media, all the way to the shards."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_clips import write_clip
from PIL import Image, ImageOps

from preprocess.arithmetic.geometry import seconds_per_grid
from preprocess.media.frame_lists import frames_of
from preprocess.media.videos import containers
from preprocess.pixels import resize_video
from tests.preprocess.workshop import MEDIUM, TURNS, Workshop, samples_of, talk

LIMITS = ("--video_max_frame_pixels=50176", "--video_min_frame_pixels=784", "--pack_length=1024")


def frames(workshop: Workshop, folder: str, num_frames: int, size: tuple[int, int] = (112, 84)) -> list[str]:
    """Boxes that move, as JPEG files; width first."""
    (workshop.media / folder).mkdir(parents=True, exist_ok=True)
    names = [f"{folder}/{number}.jpg" for number in range(num_frames)]
    for number, name in enumerate(names):
        pixels = np.full((size[1], size[0], 3), 90, np.uint8)
        pixels[20:40, 5 * number : 5 * number + 20] = (220, 30, 30)
        Image.fromarray(pixels).save(workshop.media / name, quality=95)
    return names


def ask(**media: Any) -> dict[str, Any]:
    return talk("<video>What happens?", "A box moves.", **media)


def test_a_list_a_nested_list_and_a_folder_give_the_same(workshop: Workshop) -> None:
    names = frames(workshop, "f", 4)
    workshop.dataset([ask(video=names), ask(videos=[names]), ask(videos=["f"])])
    outcome = workshop.run("--packing=none", *LIMITS)
    assert outcome.keys == ["d:0", "d:1", "d:2"]
    for pack in outcome.packs:
        assert pack.video_grid_thw.tolist() == [[2, 6, 8]]
        assert pack.second_per_grid_ts.tolist() == [2.0]  # one a second
        pixels = [np.asarray(Image.open(workshop.media / name)) for name in names]
        expected = resize_video(pixels, 4, (84, 112), workshop.constants)
        np.testing.assert_array_equal(pack.video_patches, expected)
    assert outcome.plan.notes == {"d": {"assumed_rates": 3}}
    assert (
        "3 videos are frames that no fps or times tell of"
        in workshop.command("plan", *workshop.flags(*LIMITS, out="other")).out
    )


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_frames_may_lie_in_an_archive(workshop: Workshop, suffix: str) -> None:
    names = frames(workshop, "f", 4)
    archive = workshop.root / f"frames{suffix}"
    if suffix == ".zip":
        with zipfile.ZipFile(archive, "w") as packed:
            for name in names:
                packed.write(workshop.media / name, name)
    else:
        with tarfile.open(archive, "w") as unpacked:
            for name in names:
                unpacked.add(workshop.media / name, name)
    workshop.dataset([ask(videos=[names])], "d")
    workshop.dataset([ask(videos=[names])], "e", data_path=str(archive))
    outcome = workshop.run("--dataset_use=d,e", "--packing=none", *LIMITS)
    of_files, of_members = sorted(outcome.packs, key=lambda pack: pack.sample_keys)
    np.testing.assert_array_equal(of_members.video_patches, of_files.video_patches)


def test_a_frame_may_be_a_cell_of_a_parquet_file(workshop: Workshop) -> None:
    names = frames(workshop, "f", 4)
    cells = [{"bytes": (workshop.media / name).read_bytes(), "path": name} for name in names]
    turns = ask(video=names)["conversations"]
    columns = {"conversations": pa.array([turns], TURNS), "videos": pa.array([[cells]], pa.list_(pa.list_(MEDIUM)))}
    pq.write_table(pa.table(columns), workshop.root / "d.parquet")
    workshop.register("d", workshop.root / "d.parquet")
    workshop.dataset([ask(videos=[names])], "e")
    outcome = workshop.run("--dataset_use=d,e", "--packing=none", *LIMITS)
    of_cells, of_files = sorted(outcome.packs, key=lambda pack: pack.sample_keys)
    np.testing.assert_array_equal(of_cells.video_patches, of_files.video_patches)


def test_one_frame_fills_its_temporal_patch(workshop: Workshop) -> None:
    workshop.dataset([ask(video=frames(workshop, "f", 1), fps=2)])
    [pack] = workshop.run(*LIMITS).packs
    assert pack.video_grid_thw.tolist() == [[1, 6, 8]]
    first, second = np.moveaxis(pack.video_patches.reshape(-1, 3, 2, 14 * 14), 2, 0)
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_frames_are_turned_as_pictures_are(workshop: Workshop, orientation: int) -> None:
    rng = np.random.default_rng(0)
    stored = Image.fromarray(rng.integers(0, 256, (84, 112, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(workshop.media / "0.jpg", exif=exif, quality=95)
    stored.save(workshop.media / "0.png", exif=exif)
    for name in ("0.jpg", "0.png"):
        workshop.dataset([ask(video=[name, name])])
        [pack] = workshop.run("--overwrite=true", *LIMITS).packs
        with Image.open(workshop.media / name) as image:
            upright = np.asarray(ImageOps.exif_transpose(image))
        expected = resize_video([upright] * 2, 2, upright.shape[:2], workshop.constants)
        np.testing.assert_array_equal(pack.video_patches, expected)


def test_all_frames_of_a_list_count_up_to_the_most(workshop: Workshop) -> None:
    many = frames(workshop, "many", 20)
    parts = {"type": "video", "video": many, "nframes": 3}
    asked = {"messages": [{"role": "user", "content": [parts]}, {"role": "assistant", "content": "Moves."}]}
    workshop.dataset([ask(video=many[:7], fps=10), ask(video=many, fps=10), asked])
    outcome = workshop.run("--packing=none", "--video_max_frames=8", *LIMITS)
    samples = [samples_of(outcome.folder / "plan")[row] for row in range(3)]
    indices = [sample.videos[0].frame_indices for sample in samples]
    assert indices == [tuple(range(7)), (0, 2, 5, 8, 10, 13, 16, 19), (0, 9, 19)]
    kept = [len(frames_of(sample.videos[0].source)) for sample in samples]
    assert kept == [7, 8, 3]  # a plan names the frames that are read, and no others
    assert samples[1].videos[0].second_per_grid == seconds_per_grid(8, 2.0, 2)
    alone = resize_video(
        [np.asarray(Image.open(workshop.media / many[n])) for n in (0, 9, 19)], 3, (84, 112), workshop.constants
    )
    np.testing.assert_array_equal(outcome.packs[samples_of_keys(outcome.packs, "d:2")].video_patches, alone)


def samples_of_keys(packs: Any, key: str) -> int:
    return next(number for number, pack in enumerate(packs) if pack.sample_keys == (key,))


def test_faults_of_frames_are_rejects_that_name_the_frame(workshop: Workshop) -> None:
    names = frames(workshop, "f", 4)
    frames(workshop, "g", 2, size=(56, 56))
    cut = workshop.truncated_image("cut.jpg")
    Image.open(workshop.media / "f/0.jpg").resize((120, 90)).save(workshop.media / "h.jpg")
    workshop.dataset(
        [
            ask(video=[*names, "g/1.jpg"]),
            ask(video=[*names, "gone.jpg"]),
            ask(video=["h.jpg", cut]),
            ask(video="f/0.jpg"),
            ask(video=names),
        ]
    )
    outcome = workshop.run("--max_reject_share=1", *LIMITS)
    assert [(each["index"], each["reason"]) for each in outcome.rejects] == [
        (0, "undecodable"),
        (1, "missing_file"),
        (2, "undecodable"),
        (3, "no_frames_or_rate"),
    ]
    # Another size is seen in headers, while planning; missing pixels only where they are decoded.
    assert outcome.plan.rejects == {"d": {"missing_file": 1, "no_frames_or_rate": 1, "undecodable": 1}}
    said = [each["detail"] for each in outcome.rejects]
    assert "g/1.jpg is 56x56 pixels, the first frame 112x84; frames of a video are of one size" in said[0]
    assert "gone.jpg" in said[1] and "cut.jpg" in said[2]
    assert "a still picture, not a video; name it as an image" in said[3]


def test_frames_are_as_large_as_those_of_videos(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.dataset([ask(video=frames(workshop, "f", 2))])
    monkeypatch.setattr(containers, "MOST_FRAME_PIXELS", 112 * 84 - 1)
    outcome = workshop.run("--max_reject_share=1", *LIMITS)
    assert [each["reason"] for each in outcome.rejects] == ["decompression_bomb"]
    assert "f/0.jpg and 1 more frames: frames of 112x84 pixels" in outcome.rejects[0]["detail"]


def test_a_frame_that_changed_after_planning_stops_the_run(workshop: Workshop) -> None:
    names = frames(workshop, "f", 4)
    workshop.dataset([ask(video=names)])
    assert workshop.run("--hash_media=true", *LIMITS).code == 0
    outcome = workshop.run("--hash_media=true", *LIMITS, out="again")
    plan = outcome.folder / "plan"
    for path in (outcome.folder / "manifest.json", *(plan / "done").iterdir()):
        path.unlink()
    content = (workshop.media / names[2]).read_bytes()
    (workshop.media / names[2]).write_bytes(content + b"\0")
    stopped = workshop.run("--hash_media=true", *LIMITS, out="again")
    assert stopped.code == 1
    assert "f/0.jpg and 3 more frames is" in stopped.err and "when it was planned" in stopped.err


def test_frames_are_reused(workshop: Workshop) -> None:
    workshop.dataset([ask(video=frames(workshop, "f", 4))])
    old = workshop.run(*LIMITS)
    again = workshop.run(*LIMITS, "--seed=5", f"--reuse={old.folder}", out="again")
    assert "reused 1 of 1" in again.out
    np.testing.assert_array_equal(again.packs[0].video_patches, old.packs[0].video_patches)


# --- settings of single media ---------------------------------------------------------------------------------------


def content(*parts: dict[str, Any]) -> dict[str, Any]:
    spoken = [{"role": "user", "content": list(parts)}, {"role": "assistant", "content": "Yes."}]
    return {"messages": spoken}


def clip(workshop: Workshop, name: str = "a.mp4") -> str:
    write_clip(workshop.media / name, size=(112, 84), fps=10, num_frames=100)
    return name


def measured(workshop: Workshop, *flags: str) -> list[Any]:
    outcome = workshop.run("--packing=none", *LIMITS, *flags)
    assert outcome.code == 0, outcome.out + outcome.err
    samples = samples_of(outcome.folder / "plan")
    return [samples[row] for row in range(outcome.plan.totals.num_samples)]


def test_each_medium_has_its_own_limits(workshop: Workshop) -> None:
    image = {"type": "image", "image": workshop.image(size=(280, 280))}
    workshop.dataset(
        [
            content({**image, "max_pixels": 56 * 56}, image),
            content({**image, "min_pixels": 560 * 560, "max_pixels": 600 * 600}),
            content({"type": "video", "video": clip(workshop), "max_pixels": 56 * 56}),
        ]
    )
    first, second, third = measured(workshop, "--max_pixels=50176")
    assert [each.grid_thw for each in first.images] == [(1, 4, 4), (1, 16, 16)]
    assert [each.grid_thw for each in second.images] == [(1, 40, 40)]
    assert [each.grid_thw[1:] for each in third.videos] == [(2, 4)]


def test_a_limit_that_crosses_the_runs_other_one_is_a_reject(workshop: Workshop) -> None:
    workshop.dataset([content({"type": "image", "image": workshop.image(), "max_pixels": 700})])
    outcome = workshop.run("--max_reject_share=1")
    assert outcome.rejects[0]["reason"] == "unsupported"
    assert "its min_pixels would be 784, its max_pixels 700" in outcome.rejects[0]["detail"]


def test_frames_are_chosen_as_a_part_asks(workshop: Workshop) -> None:
    video = {"type": "video", "video": clip(workshop)}  # 100 frames, 10 seconds
    asked: list[dict[str, Any]] = [
        {},
        {"nframes": 6},
        {"fps": 0.7},
        {"fps": 100},
        {"video_start": 2.05, "video_end": 4.0},
        {"video_start": 9, "nframes": 2},
        {"video_end": 1000},
    ]
    workshop.dataset([content({**video, **each}) for each in asked])
    samples = measured(workshop)
    evenly = {n: tuple(np.linspace(0, 99, n).astype(int).tolist()) for n in (5, 6, 7, 8)}
    assert [each.videos[0].frame_indices for each in samples] == [
        evenly[5],
        evenly[6],
        evenly[7],
        evenly[8],
        (21, 27, 33, 40),
        (90, 99),
        evenly[5],
    ]
    seconds = [each.videos[0].second_per_grid for each in samples]
    assert seconds[4] == seconds_per_grid(4, 2.0, 2) and seconds[5] == seconds_per_grid(2, 1.0, 2)


def test_a_clip_without_a_frame_is_a_reject(workshop: Workshop) -> None:
    workshop.dataset([content({"type": "video", "video": clip(workshop), "video_start": 11.0})])
    outcome = workshop.run("--max_reject_share=1", *LIMITS)
    assert outcome.rejects[0]["reason"] == "no_frames_or_rate"
    assert "no frame is between 11 and 10 s; it lasts 10 s" in outcome.rejects[0]["detail"]


def test_a_dataset_has_its_own_limits_which_are_part_of_the_fingerprint(workshop: Workshop) -> None:
    records = [talk("<image><video>", image=workshop.image(size=(280, 280)), video=clip(workshop))]
    workshop.dataset(records, "d", max_pixels=56 * 56, nframes=2)
    workshop.dataset(records, "e")
    d, e = measured(workshop, "--dataset_use=d,e")
    assert (d.images[0].grid_thw, d.videos[0].grid_thw) == ((1, 4, 4), (1, 2, 4))
    assert (e.images[0].grid_thw[1], e.videos[0].grid_thw[0]) == (20, 3)
    inputs = workshop.run("--dataset_use=d,e", "--packing=none", *LIMITS).manifest.inputs["datasets"]
    assert inputs["d"].items() >= {"max_pixels": 56 * 56, "nframes": 2}.items()
    assert "max_pixels" not in inputs["e"]


def test_sweeps_count_what_runs_do(workshop: Workshop) -> None:
    image = {"type": "image", "image": workshop.image(size=(280, 280))}
    video = {"type": "video", "video": clip(workshop)}
    workshop.dataset(
        [
            content({**image, "max_pixels": 56 * 56}, image),
            content({**video, "fps": 0.7, "video_start": 3.0}),
            content({**video, "max_pixels": 56 * 56}, video),
            ask(video=frames(workshop, "f", 9)),
        ]
    )
    swept = workshop.command(
        "plan", *workshop.flags(*LIMITS), "--sweep", "max_pixels=3136,50176", "video_max_frames=4,8"
    )
    assert swept.code == 0, swept.err
    lines = [line.split() for line in swept.out.splitlines() if line.strip()[:1].isdigit()]
    assert len(lines) == 4
    for pixels, most, *counts in lines:
        out = f"out-{pixels}-{most}"
        one = workshop.run(*LIMITS, f"--max_pixels={pixels}", f"--video_max_frames={most}", out=out)
        assert one.plan.totals.num_tokens == int(counts[2].replace(",", "")), (pixels, most)


def test_a_plan_of_a_folder_does_not_depend_on_the_order_of_the_file_system(workshop: Workshop) -> None:
    frames(workshop, "f", 12)
    workshop.dataset([ask(video="f")])
    [sample] = measured(workshop, "--video_max_frames=12")
    names = [Path(str(each.path)).name for each in frames_of(sample.videos[0].source)]
    assert names == [f"{number}.jpg" for number in range(12)]
    assert sorted(os.listdir(workshop.media / "f")) != names
