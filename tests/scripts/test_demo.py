"""The demo data is what it says: deterministic, with every kind of picture."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import demo_build
import numpy as np
import pytest
from demo_annotations import datasets
from demo_build import Demo, ForeignFolderError, build
from demo_drawings import Gradient, draw
from demo_images import EXIF_ORIENTATION, KINDS, THIN, Picture, pictures
from PIL import Image, ImageOps

DEMO_SCRIPT = Path(__file__).parents[2] / "scripts" / "demo"


def run_script(out_dir: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, DEMO_SCRIPT, out_dir], capture_output=True, text=True, check=False)


# --- the folder ----------------------------------------------------------------------------------------------------


def test_two_builds_in_two_processes_and_folders_are_byte_equal(demo: Demo, tmp_path: Path) -> None:
    done = run_script(tmp_path / "elsewhere" / "again")
    assert done.returncode == 0, done.stderr
    assert contents(tmp_path / "elsewhere" / "again") == contents(demo.root)


def contents(root: Path) -> dict[str, bytes]:
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert len(found) > 50
    return found


def test_a_demo_of_the_same_code_is_reused(demo: Demo) -> None:
    stamp = demo.root / "demo.json"
    before = stamp.stat()
    again, reused = build(demo.root)
    assert reused
    assert again == demo
    assert stamp.stat() == before


def test_a_foreign_folder_is_refused_and_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("precious")
    done = run_script(tmp_path)
    assert done.returncode == 2
    assert "not empty" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_demo_of_other_code_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "demo.json").write_text('{"content_version": "0"}')
    with pytest.raises(ForeignFolderError, match="another version"):
        build(tmp_path)


def test_an_interrupted_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(demo_build, "write_model_folder", fail)
    with pytest.raises(KeyboardInterrupt):
        build(tmp_path / "out")
    assert list(tmp_path.iterdir()) == []


def test_an_empty_folder_is_filled(tmp_path: Path) -> None:
    made, reused = build(tmp_path)
    assert not reused
    assert made.config.is_file() and made.model.is_dir()


def test_the_demo_of_another_family_is_refused(demo: Demo) -> None:
    assert demo.family == "qwen2_5_vl"
    with pytest.raises(ForeignFolderError, match="holds the demo of qwen2_5_vl"):
        build(demo.root, "qwen3_vl")


def test_the_demo_content_is_stable_between_calls() -> None:
    assert pictures() == pictures()
    assert repr(datasets(pictures())) == repr(datasets(pictures()))


# --- pictures ------------------------------------------------------------------------------------------------------


def test_every_kind_occurs() -> None:
    assert {picture.kind for picture in pictures()} == set(KINDS)


@pytest.mark.parametrize("picture", pictures(), ids=lambda picture: f"{picture.name}-{picture.kind}")
def test_picture_opens_as_its_kind_claims(demo: Demo, picture: Picture) -> None:
    with Image.open(demo.media / "images" / picture.file_name) as image:
        kind = KINDS[picture.kind]
        assert image.mode == kind.mode
        assert image.size == picture.stored_size
        assert image.getexif().get(EXIF_ORIENTATION, 1) == kind.orientation
        assert ("transparency" in image.info) == (picture.kind == "png_palette_transparent")
        assert ("progressive" in image.info) == (picture.kind == "jpeg_progressive")
        assert getattr(image, "n_frames", 1) == (3 if picture.kind == "gif_animated" else 1)
        upright = ImageOps.exif_transpose(image)
        assert upright is not None
        assert upright.size == picture.size
        assert average_difference(on_white(upright), draw(picture.content, picture.size)) < 25


@pytest.mark.parametrize("kind", [name for name, kind in KINDS.items() if kind.orientation != 1])
def test_turned_pictures_are_upright_only_after_their_orientation_is_applied(demo: Demo, kind: str) -> None:
    picture = next(picture for picture in pictures() if picture.kind == kind)
    with Image.open(demo.media / "images" / picture.file_name) as image:
        image.load()
    expected = draw(picture.content, picture.size)
    upright = ImageOps.exif_transpose(image)
    assert average_difference(upright, expected) < 3
    assert image.size != expected.size
    for name, turn in {turn.name: turn for turn in Image.Transpose}.items():
        turned = image.transpose(turn)
        if turned.size == expected.size and turned.tobytes() != upright.tobytes():
            assert average_difference(turned, expected) > 3, f"{name} looks upright too"


@pytest.mark.parametrize("kind", ["png_rgba", "png_la", "png_palette_transparent"])
def test_transparency_hides_something_that_is_not_white(demo: Demo, kind: str) -> None:
    picture = next(picture for picture in pictures() if picture.kind == kind)
    with Image.open(demo.media / "images" / picture.file_name) as image:
        composited, forgotten = on_white(image), image.convert("RGB")
    assert composited.getpixel((3, 60)) == (255, 255, 255)
    assert forgotten.getpixel((3, 60)) == (0, 0, 0)


@pytest.mark.parametrize("kind", ["png_rgba", "png_la"])
def test_alpha_is_partial_too(demo: Demo, kind: str) -> None:
    picture = next(picture for picture in pictures() if picture.kind == kind)
    with Image.open(demo.media / "images" / picture.file_name) as image:
        alpha = np.unique(np.asarray(image)[..., -1])
    assert alpha[0] == 0 and len(alpha) > 50


def test_the_16_bit_gradient_uses_its_low_bytes(demo: Demo) -> None:
    picture = next(p for p in pictures() if p.kind == "png_grey16" and isinstance(p.content, Gradient))
    with Image.open(demo.media / "images" / picture.file_name) as image:
        values = np.asarray(image)
    assert values.dtype == np.uint16
    assert (values & 255 != values >> 8).mean() > 0.5
    assert values.min() == 0 and values.max() == 65535


def test_extreme_sizes_occur() -> None:
    sizes = {picture.size for picture in pictures()}
    assert {(60, 900), (900, 60), (9, 13)} <= sizes
    assert THIN.size == (1, 300)


def on_white(image: Image.Image) -> Image.Image:
    """RGB as a viewer shows it."""
    if image.mode == "I;16":
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8)).convert("RGB")
    translucent = image.convert("RGBA")
    paper = Image.new("RGBA", image.size, "white")
    paper.alpha_composite(translucent)
    return paper.convert("RGB")


def average_difference(one: Image.Image, other: Image.Image) -> float:
    return float(np.abs(np.asarray(one.convert("L"), dtype=int) - np.asarray(other.convert("L"), dtype=int)).mean())
