"""The demo's annotation files, in every form that a record can have, and the registries that name them.

| dataset | file | form of its records |
| --- | --- | --- |
| charts | JSON array | `conversations`, one `image`; also `id`, `source`, a system turn of its own |
| scenes | JSON Lines | `messages`, a list of `images`; also null and empty media fields |
| pages | Parquet | Hugging Face layout: `image` as {bytes, path}, `conversations` as list of structs |
| clips | JSON array | `video` or `videos`; several of them; images and videos together |
| bundles | JSON array | ready-made packs (lists of records) between plain records |
| talk | JSON Lines | text only, some of it awkward on purpose |
| shapes | JSON Lines | boxes and points in the answers, in pixels of the stored pictures (`boxes: original`) |
| flawed | JSON Lines | good records and three that must be rejected |
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from demo_clips import CLIPS, Clip
from demo_images import THIN, Picture
from demo_questions import Exchange, about_clip, about_picture, where_one_shape_is, where_shapes_are
from demo_talk import DIALOGUES, PLAIN

Record = dict[str, Any]

IMAGES, CLIPS_FOLDER, ANNOTATIONS, MEDIA = "images", "clips", "annotations", "media"
NUM_FLAWED = 3
FILES = {
    "charts": "charts.json",
    "scenes": "scenes.jsonl",
    "pages": "pages.parquet",
    "clips": "clips.json",
    "bundles": "bundles.json",
    "talk": "talk.jsonl",
    "shapes": "shapes.jsonl",
    "flawed": "flawed.jsonl",
}
OPTIONS = {"shapes": {"boxes": "original"}}  # of the registry, beside the paths
DATASET_USE = "charts,scenes,pages,clips,bundles,talk%150,shapes,flawed"


def datasets(pictures: Sequence[Picture]) -> dict[str, list[Any]]:
    """Dataset name -> records; a list among them is a ready-made pack. Parquet rows get their bytes when written."""
    charts = [picture for picture in pictures if picture.name.startswith(("bars", "line", "pie"))]
    scenes = [picture for picture in pictures if picture.name.startswith(("scene", "tall", "wide"))]
    pages = [picture for picture in pictures if picture.name.startswith(("page", "gradient", "tiny"))]
    return {
        "charts": _charts(charts),
        "scenes": _scenes(scenes),
        "pages": _pages(pages),
        "clips": _clips(scenes),
        "bundles": _bundles(charts, scenes, pages),
        "talk": [_messages(dialogue) for dialogue in DIALOGUES],
        "shapes": _shapes([scene for scene in scenes if scene.name.startswith("scene")]),
        "flawed": _flawed(scenes),
    }


def texts(records: Iterable[Any]) -> list[str]:
    """Every text of every turn, in order: what the tokenizer is trained on."""
    found: list[str] = []
    for record in records:
        if isinstance(record, list):
            found += texts(record)
        else:
            found += [turn["value"] if "value" in turn else turn["content"] for turn in _turns(record)]
    return found


def num_records(records: Iterable[Any]) -> int:
    """Records, each member of a ready-made pack counted."""
    return sum(len(record) if isinstance(record, list) else 1 for record in records)


def write_annotations(root: Path, records: dict[str, list[Any]]) -> None:
    """Write the annotation files and both registries below `root`, whose media folder already holds the pictures."""
    folder = root / ANNOTATIONS
    folder.mkdir()
    for name, file_name in FILES.items():
        path = folder / file_name
        if path.suffix == ".parquet":
            _write_parquet(path, records[name], root / MEDIA)
        elif path.suffix == ".jsonl":
            path.write_text("".join(_json(record) + "\n" for record in records[name]), encoding="utf-8")
        else:
            path.write_text(_json(records[name], indent=1) + "\n", encoding="utf-8")
    (root / "datasets.yaml").write_text(_yaml_registry(), encoding="utf-8")
    (root / "datasets.py").write_text(_python_registry(), encoding="utf-8")


# --- the datasets --------------------------------------------------------------------------------------------------


def _charts(charts: Sequence[Picture]) -> list[Record]:
    records: list[Record] = []
    for i, picture in enumerate(charts):
        describe, *others = about_picture(picture)
        first = {"id": i, "source": "demo", "image": _file(picture)}
        records.append(first | _conversations([_tagged("<image>\n", describe), others[i % len(others)]]))
        if i % 2 == 0:
            chosen = [_tagged("<image>", others[(i + 1) % len(others)]), *others[: i % 3]]
            records.append({"image": _file(picture)} | _conversations(chosen))
    records[2]["conversations"].insert(0, {"from": "system", "value": "You read charts. Answer in one sentence."})
    records[4] |= {"id": 2**70, "score": float("nan")}
    return records


def _scenes(scenes: Sequence[Picture]) -> list[Record]:
    records: list[Record] = []
    for i, picture in enumerate(scenes):
        describe, *others = about_picture(picture)
        record = _messages([_tagged("<image>", describe), *others]) | {"images": [_file(picture)]}
        records.append(record | ({"videos": None}, {"videos": []}, {"video": None}, {})[i % 4])
    for i in range(5):
        several = [scenes[(i + 3 * j) % len(scenes)] for j in range(2 + i % 2)]
        described = [about_picture(picture)[0].answer.removeprefix("I see ") for picture in several]
        question = "".join(f"Picture {j + 1}: <image>\n" for j in range(len(several))) + "Which shapes are in each?"
        answer = " ".join(f"Picture {j + 1} has {text}" for j, text in enumerate(described))
        records.append(_messages([Exchange(question, answer)]) | {"images": [_file(picture) for picture in several]})
    one, two = scenes[0], scenes[1]
    in_turns = [_tagged("<image>\n", about_picture(one)[0]), _tagged("And here? <image>\n", about_picture(two)[0])]
    records.append(_messages(in_turns) | {"images": [_file(one), _file(two)]})
    without_media: tuple[Record, ...] = ({"images": None}, {"images": []}, {"image": None, "videos": []})
    for i, media in enumerate(without_media):
        dialogue = [Exchange(f"How many corners do {i + 2} triangles have?", f"They have {3 * (i + 2)} corners.")]
        records.append(_messages(dialogue) | media)
    return records


def _pages(pages: Sequence[Picture]) -> list[Record]:
    records: list[Record] = []
    for i, picture in enumerate(pages):
        describe, *others = about_picture(picture)
        record = {"id": i, "image": _file(picture)}
        records.append(record | _conversations([_tagged("<image>\n", describe), others[i % len(others)]]))
    records.append(
        {"id": len(records), "image": None} | _conversations([Exchange("Is there a page?", "No, only text.")])
    )
    return records


def _clips(scenes: Sequence[Picture]) -> list[Record]:
    records: list[Record] = []
    for clip in CLIPS:
        describe, *others = about_clip(clip)
        records.append({"video": _clip(clip)} | _conversations([_tagged("<video>\n", describe)]))
        records.append({"video": _clip(clip)} | _conversations([_tagged("<video>", others[0]), *others[1:]]))
        records.append({"videos": [_clip(clip)], "image": None} | _messages([_tagged("<video>\n", others[2])]))
    slow, fast = CLIPS
    both = f"First: {about_clip(slow)[1].answer} Second: {about_clip(fast)[1].answer}"
    question = "Clip 1: <video>\nClip 2: <video>\nWhat moves in each?"
    records.append({"videos": [_clip(slow), _clip(fast)]} | _conversations([Exchange(question, both)]))
    for i, clip in enumerate((fast, slow)):
        picture = scenes[i]
        seen = about_picture(picture)[0].answer
        question = ("<image>\n<video>\n", "<video>\n<image>\n")[i] + "Describe the picture and the clip."
        record = {"image": _file(picture), "video": _clip(clip)}
        records.append(record | _conversations([Exchange(question, f"{seen} {about_clip(clip)[1].answer}")]))
    return records


def _bundles(charts: Sequence[Picture], scenes: Sequence[Picture], pages: Sequence[Picture]) -> list[Any]:
    records: list[Any] = []
    for i in range(4):
        members = [charts[4 * i + 1], scenes[i], pages[i]]
        bundle: list[Record] = []
        for picture in members[: 2 + i % 2]:
            chosen = about_picture(picture)[1:]
            bundle.append({"image": _file(picture)} | _conversations([_tagged("<image>\n", chosen[0]), *chosen[1:]]))
        bundle.append(_conversations(PLAIN[i]))
        records.append(bundle)
        if i % 2:
            describe = about_picture(members[0])[0]
            records.append({"image": _file(members[0])} | _conversations([_tagged("<image>\n", describe)]))
    return records


def _shapes(scenes: Sequence[Picture]) -> list[Record]:
    records: list[Record] = []
    for i, picture in enumerate(scenes):
        found = _tagged("<image>", where_shapes_are([picture]))
        records.append(
            _messages([found, where_one_shape_is(picture)] if i % 2 else [found]) | {"image": _file(picture)}
        )
    several = scenes[3:5]
    found = _tagged("<image>" * len(several), where_shapes_are(several))
    records.append(_messages([found]) | {"images": [_file(picture) for picture in several]})
    return records


def _flawed(scenes: Sequence[Picture]) -> list[Record]:
    good = [
        _messages([_tagged("<image>\n", about_picture(picture)[1])]) | {"image": _file(picture)}
        for picture in scenes[:6]
    ]
    describe = _tagged("<image>\n", Exchange("Describe this picture.", "There is nothing to describe."))
    missing_file = _messages([describe]) | {"image": f"{IMAGES}/not_there.png"}
    two_tags_one_image = _messages([_tagged("<image>\n", describe)]) | {"image": _file(scenes[0])}
    too_thin = _messages([describe]) | {"image": _file(THIN)}
    return [*good[:2], missing_file, *good[2:4], two_tags_one_image, *good[4:], too_thin]


# --- the parts of a record -----------------------------------------------------------------------------------------


def _tagged(tags: str, exchange: Exchange) -> Exchange:
    return exchange._replace(question=tags + exchange.question)


def _conversations(dialogue: Iterable[Exchange]) -> Record:
    turns = []
    for question, answer in dialogue:
        turns += [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]
    return {"conversations": turns}


def _messages(dialogue: Sequence[Exchange | str]) -> Record:
    """`dialogue` may begin with a string: the system turn."""
    turns = []
    for part in dialogue:
        if isinstance(part, str):
            turns.append({"role": "system", "content": part})
        else:
            turns += [{"role": "user", "content": part.question}, {"role": "assistant", "content": part.answer}]
    return {"messages": turns}


def _turns(record: Record) -> list[dict[str, str]]:
    return record["conversations"] if "conversations" in record else record["messages"]


def _file(picture: Picture) -> str:
    return f"{IMAGES}/{picture.file_name}"


def _clip(clip: Clip) -> str:
    return f"{CLIPS_FOLDER}/{clip.file_name}"


# --- the files -----------------------------------------------------------------------------------------------------


def _json(value: object, indent: int | None = None) -> str:
    return json.dumps(value, ensure_ascii=False, indent=indent)


def _write_parquet(path: Path, records: Sequence[Record], media: Path) -> None:
    """Every third picture stays a path (its bytes are null); the others are inside the file."""
    image_type = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    turns_type = pa.list_(pa.struct([("from", pa.string()), ("value", pa.string())]))
    schema = pa.schema([("id", pa.int64()), ("image", image_type), ("conversations", turns_type)])
    rows = []
    for i, record in enumerate(records):
        image = record["image"]
        content = None if image is None or i % 3 == 2 else (media / image).read_bytes()
        rows.append(record | {"image": None if image is None else {"bytes": content, "path": image}})
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), path, row_group_size=4)


def _registry() -> dict[str, dict[str, str]]:
    return {
        name: {"annotation_path": f"{ANNOTATIONS}/{file_name}", "data_path": MEDIA, **OPTIONS.get(name, {})}
        for name, file_name in FILES.items()
    }


def _yaml_registry() -> str:
    entries = "".join(
        f"{name}:\n" + "".join(f"  {key}: {value}\n" for key, value in entry.items())
        for name, entry in _registry().items()
    )
    return "# The demo's datasets. Paths are relative to this file.\n" + entries


def _python_registry() -> str:
    """The same registry as the Qwen fine-tuning scripts write it."""
    blocks = "".join(
        f"{name.upper()} = {{\n" + "".join(f'    "{key}": "{value}",\n' for key, value in entry.items()) + "}\n\n"
        for name, entry in _registry().items()
    )
    entries = "".join(f'    "{name}": {name.upper()},\n' for name in FILES)
    return f"# The demo's datasets. Paths are relative to this file.\n\n{blocks}data_dict = {{\n{entries}}}\n"
