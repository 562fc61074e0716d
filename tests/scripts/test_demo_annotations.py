"""The demo's annotations: every form of record, and answers that are true to the pixels."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from demo_annotations import FILES
from demo_build import Demo
from demo_drawings import COLORS, ShapeScene
from demo_images import EXIF_ORIENTATION, KINDS, pictures
from demo_questions import about_picture
from PIL import Image, ImageOps


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
