"""The demo data is what it says: deterministic, every kind present, annotations true, the model folder loadable."""

from __future__ import annotations

import ast
import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import demo_build
import demo_clips
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from demo_annotations import FILES, datasets
from demo_build import Demo, ForeignFolderError, build
from demo_clips import CLIPS, cut_file, read_frame_index, write_clip
from demo_drawings import COLORS, Gradient, ShapeScene, draw
from demo_images import EXIF_ORIENTATION, KINDS, THIN, Picture, pictures
from demo_model import (
    FAMILIES,
    PLAIN_ADDED_TOKENS,
    SIZES,
    SPECIAL_TOKENS,
    random_weights,
    train_tokenizer,
    write_model_folder,
)
from demo_questions import about_picture
from demo_qwen2_5_vl import weight_shapes
from demo_sizes import ModelSize
from PIL import Image, ImageOps
from safetensors.numpy import load_file
from tokenizers import Tokenizer

from shards import read_model_constants

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


# --- clips ---------------------------------------------------------------------------------------------------------


def decode(path: Path, *, turned: bool = True) -> list[np.ndarray]:
    """All frames in order, upright by the display matrix unless `turned` is False."""
    with av.open(path) as container:
        frames = list(container.decode(video=0))
    return [np.rot90(frame.to_ndarray(format="rgb24"), frame.rotation // 90 if turned else 0) for frame in frames]


@pytest.mark.parametrize("clip", CLIPS, ids=lambda clip: clip.name)
def test_demo_clip_decodes_with_readable_indices(demo: Demo, clip: Any) -> None:
    path = demo.media / "clips" / clip.file_name
    with av.open(path) as container:
        stream = container.streams.video[0]
        assert (stream.codec.name, stream.pix_fmt) == ("h264", "yuv420p")
        assert (stream.frames, stream.average_rate) == (clip.num_frames, clip.fps)
        assert (stream.width, stream.height) == clip.size
        frames = list(container.decode(stream))
    assert [i for i, frame in enumerate(frames) if frame.key_frame] == list(range(0, clip.num_frames, 12))
    assert av.video.frame.PictureType.B in {frame.pict_type for frame in frames}
    assert [read_frame_index(frame) for frame in decode(path)] == list(range(clip.num_frames))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("rotated_90.mp4", {"size": (90, 120), "rotation": 90}),
        ("rotated_180.mp4", {"size": (120, 90), "rotation": 180}),
        ("rotated_270.mkv", {"size": (90, 120), "rotation": 270}),
        ("odd.mp4", {"size": (101, 75), "pix_fmt": "yuv444p", "fps": Fraction(30000, 1001)}),
        ("odd_and_rotated.mp4", {"size": (75, 101), "pix_fmt": "yuv444p", "rotation": 90}),
        ("no_count.mkv", {"size": (120, 90)}),
        ("b_frames.avi", {"size": (120, 90), "b_frames": 3}),
        ("mpeg4.avi", {"size": (120, 90), "codec": "mpeg4"}),
        ("no_b_frames.mp4", {"size": (120, 90), "b_frames": 0, "gop": 5}),
    ],
)
def test_written_clip_shows_its_frames_upright_and_in_order(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    path = tmp_path / name
    write_clip(path, **{"fps": 10, "num_frames": 20, **options})
    frames = decode(path)
    assert [read_frame_index(frame) for frame in frames] == list(range(20))
    assert frames[0].shape == (options["size"][1], options["size"][0], 3)
    if "rotation" in options:
        with pytest.raises(ValueError, match="no readable index"):
            read_frame_index(decode(path, turned=False)[0])
    again = tmp_path / f"again_{name}"
    write_clip(again, **{"fps": 10, "num_frames": 20, **options})
    assert again.read_bytes() == path.read_bytes()


def test_matroska_says_no_frame_count_and_avi_holds_b_frames(tmp_path: Path) -> None:
    for suffix, count in ((".mkv", 0), (".avi", 20)):
        write_clip(tmp_path / f"clip{suffix}", size=(120, 90), fps=10, num_frames=20)
        with av.open(tmp_path / f"clip{suffix}") as container:
            assert container.streams.video[0].frames == count
            kinds = {frame.pict_type for frame in container.decode(video=0)}
        assert av.video.frame.PictureType.B in kinds


@pytest.mark.parametrize(("size", "pix_fmt"), [((64, 48), "yuv420p"), ((101, 75), "yuv444p"), ((37, 21), "yuv420p")])
def test_colours_are_converted_without_code_of_the_processor(size: tuple[int, int], pix_fmt: str) -> None:
    """Values by hand, and what FFmpeg makes of them, which may round otherwise."""
    rgb = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    rgb[:2, :2] = (255, 255, 255), (255, 255, 255)
    rgb[2:4, :2] = (255, 0, 0)
    frame = demo_clips._frame_of(rgb, pix_fmt)
    planes = [np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size) for plane in frame.planes]
    step = 1 if pix_fmt == "yuv444p" else 2
    assert [int(plane[0, 0]) for plane in planes] == [235, 128, 128]
    assert (int(planes[0][2, 0]), *(int(plane[2 // step, 0]) for plane in planes[1:])) == (82, 90, 240)
    assert not planes[0][:, size[0] :].any()
    again = frame.to_ndarray(format="rgb24") if step == 1 else rgb
    assert np.abs(again.astype(int) - rgb).max() < 8


def test_frame_index_survives_resizing(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", size=(160, 120), fps=10, num_frames=18)
    small = [np.asarray(Image.fromarray(frame).resize((84, 56))) for frame in decode(tmp_path / "clip.mp4")]
    assert [read_frame_index(frame) for frame in small] == list(range(18))


def test_a_cut_file_without_its_index_does_not_open(tmp_path: Path) -> None:
    write_clip(tmp_path / "whole.mp4", size=(160, 120), fps=10, num_frames=40)
    cut_file(tmp_path / "whole.mp4", tmp_path / "cut.mp4", keep=0.6)
    with pytest.raises(av.error.InvalidDataError):
        av.open(tmp_path / "cut.mp4")


def test_a_cut_file_with_its_index_in_front_promises_more_frames_than_it_holds(tmp_path: Path) -> None:
    write_clip(tmp_path / "whole.mp4", size=(160, 120), fps=10, num_frames=40, faststart=True)
    cut_file(tmp_path / "whole.mp4", tmp_path / "cut.mp4", keep=0.6)
    found = []
    with av.open(tmp_path / "cut.mp4") as container, contextlib.suppress(av.error.FFmpegError):
        assert container.streams.video[0].frames == 40
        for frame in container.decode(video=0):
            found.append(read_frame_index(frame.to_ndarray(format="rgb24")))
    assert found == list(range(len(found)))
    assert 0 < len(found) < 40


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("clip.avi", {"rotation": 90}, "no display matrix"),
        ("clip.mp4", {"size": (101, 75)}, "odd side"),
        ("clip.mp4", {"num_frames": 1025}, "the strip holds 1024"),
    ],
)
def test_impossible_clips_are_refused(tmp_path: Path, name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        write_clip(tmp_path / name, **{"size": (160, 120), "fps": 10, "num_frames": 3, **options})


# --- annotations ---------------------------------------------------------------------------------------------------


def read_records(demo: Demo, name: str) -> list[Any]:
    path = demo.annotations / FILES[name]
    if path.suffix == ".parquet":
        return pq.read_table(path).to_pylist()
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return json.loads(path.read_text())


def flat(records: list[Any]) -> Iterator[dict[str, Any]]:
    for record in records:
        yield from record if isinstance(record, list) else [record]


def media(record: dict[str, Any], kind: str) -> list[Any]:
    given = [record[key] for key in (kind, kind + "s") if record.get(key)]
    return [item for value in given for item in (value if isinstance(value, list) else [value])]


def turns(record: dict[str, Any]) -> list[tuple[str, str]]:
    names = {"human": "user", "gpt": "assistant"}
    if "conversations" in record:
        return [(names.get(turn["from"], turn["from"]), turn["value"]) for turn in record["conversations"]]
    return [(turn["role"], turn["content"]) for turn in record["messages"]]


@pytest.mark.parametrize("name", FILES)
def test_records_parse_and_are_sound(demo: Demo, name: str) -> None:
    flawed = 0
    for record in flat(read_records(demo, name)):
        said = turns(record)
        roles = [role for role, _ in said if role != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2) and roles
        problems = [
            kind
            for kind in ("image", "video")
            if sum(t.count(f"<{kind}>") for _, t in said) != len(media(record, kind))
        ]
        for item in media(record, "image") + media(record, "video"):
            path = demo.media / (item["path"] if isinstance(item, dict) else item)
            if not path.exists() or path.name == "thin.png":
                problems.append(str(item))
        flawed += bool(problems)
    assert flawed == (demo.num_flawed if name == "flawed" else 0)


def test_every_form_of_record_occurs(demo: Demo) -> None:
    records = {name: read_records(demo, name) for name in FILES}
    everything = [record for name in FILES for record in flat(records[name])]
    assert len(everything) == demo.num_records
    assert demo.num_flawed < 0.1 * demo.num_records

    assert any(isinstance(record, list) for record in records["bundles"])
    assert any(isinstance(record, dict) for record in records["bundles"])
    for key in ("conversations", "messages", "image", "images", "video", "videos", "id", "source"):
        assert any(record.get(key) for record in everything), key
    assert any(key in record and record[key] is None for record in everything for key in ("images", "videos"))
    assert any(record.get(key) == [] for record in everything for key in ("images", "videos"))
    assert any(len(media(record, "image")) > 2 for record in everything)
    assert any(len(media(record, "video")) > 1 for record in everything)
    assert any(media(record, "image") and media(record, "video") for record in everything)
    assert any(not media(record, "image") + media(record, "video") for record in everything)
    assert any(turns(record)[0][0] == "system" for record in everything)
    assert any(len(turns(record)) >= 6 for record in everything)
    assert any("<|im_end|>" in text for record in everything for _, text in turns(record))
    rows = [row["image"] for row in records["pages"]]
    assert None in rows
    assert {image["bytes"] is None for image in rows if image} == {True, False}


def test_embedded_bytes_are_the_file(demo: Demo) -> None:
    embedded = [row["image"] for row in read_records(demo, "pages") if row["image"] and row["image"]["bytes"]]
    assert embedded
    for image in embedded:
        assert image["bytes"] == (demo.media / image["path"]).read_bytes()


def test_both_registries_say_the_same(demo: Demo) -> None:
    from_yaml = yaml.safe_load(demo.registry.read_text())
    assignments = {
        statement.targets[0].id: statement.value
        for statement in ast.parse(demo.python_registry.read_text()).body
        if isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)
    }
    listed = assignments["data_dict"]
    assert isinstance(listed, ast.Dict)
    from_python = {
        ast.literal_eval(key): ast.literal_eval(assignments[value.id])
        for key, value in zip(listed.keys, listed.values, strict=True)
        if key is not None and isinstance(value, ast.Name)
    }
    assert from_python == from_yaml
    assert set(from_yaml) == set(FILES)
    for entry in from_yaml.values():
        assert (demo.root / entry["annotation_path"]).is_file()
        assert (demo.root / entry["data_path"]).is_dir()


def test_run_config_names_what_is_there(demo: Demo) -> None:
    config = yaml.safe_load(demo.config.read_text())
    assert (demo.root / config["model"]) == demo.model
    assert (demo.root / config["datasets"]) == demo.registry
    assert {use.partition("%")[0] for use in config["dataset_use"].split(",")} == set(FILES)
    assert not (demo.root / config["output_dir"]).exists()


def test_answers_about_shapes_are_true_to_the_pixels(demo: Demo) -> None:
    checked = 0
    for picture in pictures():
        if not isinstance(picture.content, ShapeScene) or KINDS[picture.kind].mode != "RGB":
            continue
        answer = about_picture(picture)[0].answer
        with Image.open(demo.media / "images" / picture.file_name) as stored:
            image = ImageOps.exif_transpose(stored)
        width, height = picture.size[0] / picture.content.columns, picture.size[1] / picture.content.rows
        for i, cell in enumerate(picture.content.cells):
            row, column = divmod(i, picture.content.columns)
            pixel = image.getpixel((int((column + 0.5) * width), int((row + 0.5) * height)))
            nearest = min(COLORS, key=lambda name: sum((a - b) ** 2 for a, b in zip(COLORS[name], pixel, strict=True)))
            if cell is None:
                assert min(pixel) > 240
            else:
                assert f"{nearest} {cell[0]}" in answer
                checked += 1
    assert checked > 20


def json_objects(text: str) -> list[dict[str, Any]]:
    """The JSON of an answer: an array in a code fence, or one object in a sentence."""
    found = json.loads(text[re.search(r"[\[{]", text).start() :].removesuffix("\n```"))
    return found if isinstance(found, list) else [found]


def ink(path: Path) -> np.ndarray:
    """(H, W) of the stored picture, its EXIF orientation not applied: whether a pixel is anything but white."""
    with Image.open(path) as stored:
        white = Image.new("RGBA", stored.size, "white")
        white.alpha_composite(stored.convert("RGBA"))
    return np.asarray(white)[..., :3].min(axis=-1) < 200


def test_boxes_frame_the_shapes_in_the_stored_pixels(demo: Demo) -> None:
    framed = pointed = turned = 0
    for record in read_records(demo, "shapes"):
        paths = [demo.media / file for file in media(record, "image")]
        inks = [ink(path) for path in paths]
        outside = [drawn.copy() for drawn in inks]
        assert all("image_index" in found for found in json_objects(turns(record)[1][1])) == (len(paths) > 1)
        for answer in (text for role, text in turns(record) if role == "assistant"):
            for found in json_objects(answer):
                drawn = inks[found.get("image_index", 0)]
                if "point_2d" in found:
                    x, y = found["point_2d"]
                    assert drawn[int(y), int(x)]
                    pointed += 1
                    continue
                x1, y1, x2, y2 = found["bbox_2d"]
                ys, xs = np.nonzero(drawn[y1:y2, x1:x2])
                edges = (xs.min(), ys.min(), x2 - x1 - 1 - xs.max(), y2 - y1 - 1 - ys.max())
                assert max(edges) <= 2, f"{found} of {record} is too large"
                outside[found.get("image_index", 0)][max(y1 - 1, 0) : y2 + 1, max(x1 - 1, 0) : x2 + 1] = False
                framed += 1
        assert not any(rest.any() for rest in outside), f"boxes of {record} are too small"
        for path in paths:
            with Image.open(path) as stored:
                turned += stored.getexif().get(EXIF_ORIENTATION, 1) != 1
    assert framed > 30 and pointed > 3 and turned


# --- the model folder ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tokenizer(demo: Demo) -> Tokenizer:
    return Tokenizer.from_file(str(demo.model / "tokenizer.json"))


def test_special_tokens_come_last_in_the_published_order(demo: Demo, tokenizer: Tokenizer) -> None:
    ids = [tokenizer.token_to_id(token) for token in SPECIAL_TOKENS + PLAIN_ADDED_TOKENS]
    assert ids == list(range(ids[0], ids[0] + len(ids)))
    assert (
        ids[-1] + 1 == tokenizer.get_vocab_size() <= json.loads((demo.model / "config.json").read_text())["vocab_size"]
    )
    assert ids[0] > 600, "too few merges were learned"


def test_tool_call_is_added_but_not_special(tokenizer: Tokenizer) -> None:
    special = {token.content: token.special for token in tokenizer.get_added_tokens_decoder().values()}
    assert special["<tool_call>"] is special["</tool_call>"] is False
    assert all(special[token] for token in SPECIAL_TOKENS)
    assert len(tokenizer.encode("<tool_call>").ids) == 1


def test_special_tokens_in_text_can_be_switched_off(tokenizer: Tokenizer) -> None:
    copy = Tokenizer.from_str(tokenizer.to_str())
    assert copy.encode("<|im_end|>").ids == [copy.token_to_id("<|im_end|>")]
    copy.encode_special_tokens = True
    assert copy.token_to_id("<|im_end|>") not in copy.encode("<|im_end|>").ids
    assert copy.encode("<tool_call>").ids == [copy.token_to_id("<tool_call>")]


@pytest.mark.parametrize(
    "text", ["Read all values of this chart.\n", "a\tb  \n\n# 12", "\u56fe\u8868 \U0001f4ca", "it's"]
)
def test_text_survives_the_tokenizer(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text).ids) == text


def test_the_tokenizer_normalises_to_nfc(tokenizer: Tokenizer) -> None:
    assert tokenizer.encode("cafe\u0301").ids == tokenizer.encode("caf\u00e9").ids


def test_the_tokenizer_ignores_the_order_of_its_texts() -> None:
    texts = [f"{word} {number}" for word in ("bars", "lines", "pies") for number in range(20)]
    assert train_tokenizer(texts, vocab_size=400).to_str() == train_tokenizer(texts[::-1], vocab_size=400).to_str()


def test_the_project_reads_the_constants(demo: Demo) -> None:
    constants = read_model_constants(demo.model)
    assert constants.grid_factor == 28
    assert constants.window_size == 112
    assert constants.tokens_per_second == 2


def test_weights_have_the_published_names_and_the_shapes_of_the_config(demo: Demo) -> None:
    weights = load_file(demo.model / "model.safetensors")
    assert {name: weight.shape for name, weight in weights.items()} == dict(weight_shapes(ModelSize()))
    assert "lm_head.weight" not in weights
    assert weights["visual.patch_embed.proj.weight"].shape == (32, 3, 2, 14, 14)
    assert weights["model.layers.1.self_attn.k_proj.weight"].shape == (32, 64)
    assert all(weight.dtype == np.float32 and np.isfinite(weight).all() for weight in weights.values())
    assert sum(weight.size for weight in weights.values()) < 300_000


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_has_a_folder_that_the_project_reads(family: str, tmp_path: Path) -> None:
    write_model_folder(tmp_path / "model", ["a"], family=family)
    constants = read_model_constants(tmp_path / "model")
    assert (constants.model_type, constants.patch_size) == (family, SIZES[family].patch_size)
    weights = load_file(tmp_path / "model" / "model.safetensors")
    shapes = dict(FAMILIES[family].weight_shapes(SIZES[family]))
    assert {name: weight.shape for name, weight in weights.items()} == shapes
    prefixes = {name.partition(".")[0] if "visual" not in name else name.split("visual")[0] for name in shapes}
    assert prefixes == ({"model", "model."} if family == "qwen3_vl" else {"model", ""})
    assert sum(weight.size for weight in weights.values()) < 300_000


def test_the_demo_of_another_family_is_refused(demo: Demo) -> None:
    assert demo.family == "qwen2_5_vl"
    with pytest.raises(ForeignFolderError, match="holds the demo of qwen2_5_vl"):
        build(demo.root, "qwen3_vl")


def test_rope_sections_fill_half_a_head(demo: Demo) -> None:
    config = json.loads((demo.model / "config.json").read_text())
    head_size = config["hidden_size"] // config["num_attention_heads"]
    assert 2 * sum(config["rope_scaling"]["mrope_section"]) == head_size
    assert ModelSize(hidden_size=512, num_heads=4).mrope_section == [16, 24, 24]


def test_a_smaller_model_can_be_asked_for() -> None:
    size = ModelSize(vocab_size=400, hidden_size=32, intermediate_size=64, vision_hidden_size=16)
    weights = random_weights(size, seed=1)
    assert sum(weight.size for weight in weights.values()) < 80_000
    assert not np.array_equal(
        weights["model.embed_tokens.weight"], random_weights(size, 2)["model.embed_tokens.weight"]
    )


def test_the_demo_content_is_stable_between_calls() -> None:
    assert pictures() == pictures()
    assert repr(datasets(pictures())) == repr(datasets(pictures()))
