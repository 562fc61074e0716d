"""--reuse: patches copied from an earlier run, byte for byte what decoding gives."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from demo_build import Demo

import preprocess.encode
import preprocess.plan.inputs
import preprocess.plan.tables
import preprocess.write.index
from preprocess.cli.commands import main
from preprocess.sample import MeasuredVideo, MediaSource, MediaStamp
from preprocess.write.places import Key, Medium, content_key, source_key
from shards import open_shards
from tests.preprocess.workshop import published, samples_of


@pytest.fixture
def own_demo(demo: Demo, tmp_path: Path) -> Demo:
    """A copy whose media tests may change; modification times are kept."""
    return Demo(**{**vars(demo), "root": Path(shutil.copytree(demo.root, tmp_path / "demo"))})


def run(demo: Demo, target: Path, *flags: str) -> int:
    return main(["run", "--config", str(demo.config), "--output_dir", str(target), "--workers", "0", *flags])


def count_decoded(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is decoded from now on, images and videos."""
    decoded: list[Any] = []
    for name in ("encode_image", "decode_video"):
        original = getattr(preprocess.encode, name)

        def note(medium: Any, *rest: Any, original: Any = original) -> Any:
            decoded.append(medium)
            return original(medium, *rest)

        monkeypatch.setattr(preprocess.encode, name, note)
    return decoded


def test_another_mixture_and_pack_length_decode_nothing(
    own_demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(own_demo, tmp_path / "old") == 0
    changes = ("--pack_length", "1024", "--seed", "5", "--dataset_use", "clips,bundles,charts%50,pages%150")
    assert run(own_demo, tmp_path / "scratch", *changes) == 0
    capsys.readouterr()
    decoded = count_decoded(monkeypatch)
    assert run(own_demo, tmp_path / "reused", *changes, "--reuse", str(tmp_path / "old")) == 0
    assert decoded == []
    assert "images and videos without decoding" in capsys.readouterr().out
    assert published(tmp_path / "reused") == published(tmp_path / "scratch")


def test_changed_limits_decode_only_what_changes_size(
    own_demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(own_demo, tmp_path / "old") == 0
    assert run(own_demo, tmp_path / "scratch", "--max_pixels", "64*28*28") == 0
    decoded = count_decoded(monkeypatch)
    assert run(own_demo, tmp_path / "reused", "--max_pixels", "64*28*28", "--reuse", str(tmp_path / "old")) == 0
    grids = [
        {
            image.grid_thw
            for sample in samples_of(tmp_path / name / "plan")
            for image in sample.images
            if image.source.path == decoded[0].source.path
        }
        for name in ("old", "scratch")
    ]
    assert grids[0].isdisjoint(grids[1])
    assert published(tmp_path / "reused") == published(tmp_path / "scratch")


def changed_in_place(path: Path) -> None:
    """Other bytes of the same length; whether the time tells is up to the caller."""
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


def test_a_touched_file_is_decoded_again_unless_its_content_is_known(
    own_demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--dataset_use", "charts", "--hash_media", "true")
    assert run(own_demo, tmp_path / "old", *flags) == 0
    touched = own_demo.media / "images" / "bars_0.jpg"
    os.utime(touched, ns=(1, 1))
    decoded = count_decoded(monkeypatch)
    assert run(own_demo, tmp_path / "by-time", "--dataset_use", "charts", "--reuse", str(tmp_path / "old")) == 0
    assert {Path(image.source.path).name for image in decoded} == {"bars_0.jpg"}
    decoded.clear()
    assert run(own_demo, tmp_path / "by-content", *flags, "--reuse", str(tmp_path / "old")) == 0
    assert decoded == []


def test_changed_content_is_decoded_again_where_size_and_time_do_not_tell(
    own_demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flags = ("--dataset_use", "charts", "--hash_media", "true")
    assert run(own_demo, tmp_path / "old", *flags) == 0
    changed = own_demo.media / "images" / "bars_0.jpg"
    times = changed.stat()
    changed_in_place(changed)
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    decoded = count_decoded(monkeypatch)
    assert run(own_demo, tmp_path / "new", *flags, "--reuse", str(tmp_path / "old")) == 0
    assert {Path(image.source.path).name for image in decoded} == {changed.name}


CLIP = MeasuredVideo(
    source=MediaSource(path="/media/clip.mp4"),
    stamp=MediaStamp(num_bytes=9, version=5, sha256="ab"),
    height=56,
    width=84,
    grid_thw=(4, 4, 6),
    num_frames=8,
    fps=2.0,
    frame_indices=tuple(range(8)),
    second_per_grid=1.0,
)


@pytest.mark.parametrize("key", [source_key, content_key])
@pytest.mark.parametrize("frames", [tuple(range(7)), (0, 1, 2, 3, 4, 5, 6, 8)])
def test_other_frames_of_a_video_have_another_key_though_their_grid_is_the_same(
    key: Callable[[Medium], Key], frames: tuple[int, ...]
) -> None:
    other = replace(CLIP, frame_indices=frames)
    assert other.grid_thw == CLIP.grid_thw == video_grid_of(len(frames))
    assert key(other) != key(CLIP)
    assert key(replace(CLIP, second_per_grid=2.0)) == key(CLIP), "what no pixel depends on"


def video_grid_of(num_frames: int) -> tuple[int, int, int]:
    """Of CLIP with so many frames, two of which make a temporal patch."""
    return (num_frames + 1) // 2, *CLIP.grid_thw[1:]


def test_keys_are_those_of_runs_before() -> None:
    """Recorded by the version that first wrote them: a change would decode again what older runs hold."""
    cell = replace(CLIP, source=MediaSource(path="/d.parquet", row=3, column="video", item=1))
    assert [source_key(CLIP), source_key(cell), content_key(CLIP)] == [
        (12832422772410887455, 10087936644716963579),
        (948452455917047815, 9913717525760438815),
        (13595327068851906496, 13022488517670606510),
    ]


def test_each_old_shard_is_verified_once_and_only_if_it_is_needed(
    own_demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(own_demo, tmp_path / "old", "--dataset_use", "charts,pages", "--shard_bytes", "1000000") == 0
    shards = sorted(path.name for path in (tmp_path / "old").glob("shard-*"))
    hashed: list[str] = []
    sha256_of_file = preprocess.write.index.sha256_of_own_file

    def note(path: Path) -> str:
        hashed.append(path.name)
        return sha256_of_file(path)

    monkeypatch.setattr(preprocess.write.index, "sha256_of_own_file", note)
    flags = ("--dataset_use", "charts%20", "--reuse", str(tmp_path / "old"))
    assert run(own_demo, tmp_path / "new", *flags, "--shard_bytes", "1000000") == 0
    verified = [name for name in hashed if name.startswith("shard-")]
    assert len(verified) == len(set(verified))
    assert 0 < len(verified) < len(shards)
    hashed.clear()
    for path in (tmp_path / "new").glob("shard-*"):
        path.unlink()
    assert run(own_demo, tmp_path / "new", *flags, "--shard_bytes", "1000000") == 0
    assert not any(name.startswith("shard-") for name in hashed), "a resume verifies nothing again"


def test_an_old_shard_that_changed_since_it_was_verified_is_verified_again(
    own_demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    assert run(own_demo, old, "--dataset_use", "charts") == 0
    flags = ("--dataset_use", "charts", "--seed", "3", "--reuse", str(old))
    assert run(own_demo, new, *flags) == 0
    [shard] = old.glob("shard-*")
    patches = open_shards(old)[0].image_patches[0].tobytes()
    content = bytearray(shard.read_bytes())
    content[content.find(patches) + 10] ^= 0x80
    shard.write_bytes(content)
    for path in new.glob("shard-*"):
        path.unlink()
    capsys.readouterr()
    assert run(own_demo, new, *flags) == 1
    assert f"{shard} does not match its manifest" in capsys.readouterr().err


def test_an_old_run_without_its_plan_is_refused_before_anything_is_written(
    own_demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(own_demo, tmp_path / "old", "--dataset_use", "charts") == 0
    shutil.rmtree(tmp_path / "old" / "plan" / "media")
    assert run(own_demo, tmp_path / "new", "--dataset_use", "charts", "--reuse", str(tmp_path / "old")) == 2
    assert "plan/media is missing there" in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_content_that_changed_since_it_was_hashed_is_not_decoded(
    own_demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Otherwise a later run would take the new pixels for those of the old content."""
    flags = ("--dataset_use", "charts", "--hash_media", "true")
    assert run(own_demo, tmp_path / "out", *flags) == 0
    for path in (tmp_path / "out").glob("shard-*"):
        path.unlink()
    changed = own_demo.media / "images" / "bars_0.jpg"
    times = changed.stat()
    changed_in_place(changed)
    os.utime(changed, ns=(times.st_atime_ns, times.st_mtime_ns))
    assert run(own_demo, tmp_path / "out", *flags) == 1
    assert f"{changed} is" in capsys.readouterr().err


def test_another_run_may_be_reused_when_a_run_goes_on(
    own_demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(own_demo, tmp_path / "charts", "--dataset_use", "charts") == 0
    assert run(own_demo, tmp_path / "both", "--dataset_use", "pages,charts", "--seed", "4") == 0
    use = ("--dataset_use", "charts,pages")
    assert run(own_demo, tmp_path / "scratch", *use) == 0
    assert run(own_demo, tmp_path / "new", *use, "--reuse", str(tmp_path / "charts")) == 0
    for path in (tmp_path / "new").glob("shard-*"):
        path.unlink()
    decoded = count_decoded(monkeypatch)
    assert run(own_demo, tmp_path / "new", *use, "--reuse", str(tmp_path / "both")) == 0
    assert decoded == []
    assert published(tmp_path / "new") == published(tmp_path / "scratch")


def test_a_damaged_old_shard_is_refused(own_demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(own_demo, tmp_path / "old", "--dataset_use", "charts") == 0
    shard = next((tmp_path / "old").glob("shard-*"))
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(bytes(content))
    capsys.readouterr()
    assert run(own_demo, tmp_path / "new", "--dataset_use", "charts", "--reuse", str(tmp_path / "old")) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert shard.name in line
    assert "without --reuse" in line
    assert not (tmp_path / "new" / "manifest.json").exists()
    assert run(own_demo, tmp_path / "new", "--dataset_use", "charts") == 0, "what the message advises works"


def test_patches_of_other_versions_are_refused(
    own_demo: Demo, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(own_demo, tmp_path / "old", "--dataset_use", "charts") == 0
    capsys.readouterr()
    monkeypatch.setattr(preprocess.plan.versions.PIL, "__version__", "9.9.9")
    assert run(own_demo, tmp_path / "new", "--dataset_use", "charts", "--reuse", str(tmp_path / "old")) == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "9.9.9" in line
    assert not (tmp_path / "new").exists()


def test_reusing_the_folder_itself_is_refused(
    own_demo: Demo, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(own_demo, tmp_path / "old", "--dataset_use", "charts") == 0
    capsys.readouterr()
    assert run(own_demo, tmp_path / "old", "--dataset_use", "charts", "--reuse", str(tmp_path / "old")) == 2
    assert "output_dir itself" in capsys.readouterr().err


def test_the_manifest_does_not_tell_that_patches_were_reused(own_demo: Demo, tmp_path: Path) -> None:
    assert run(own_demo, tmp_path / "old", "--dataset_use", "charts") == 0
    assert run(own_demo, tmp_path / "new", "--dataset_use", "charts", "--reuse", str(tmp_path / "old")) == 0
    inputs = json.loads((tmp_path / "new" / "manifest.json").read_text())["inputs"]
    assert "reuse" not in inputs["config"] and "hash_media" not in inputs["config"]
