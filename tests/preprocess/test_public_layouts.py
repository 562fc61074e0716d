"""Miniatures of public datasets as their downloads leave them, nothing unpacked: an entry of at most three lines each,
and no reject but for records that are wrong.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from demo_clips import write_clip
from PIL import Image

from tests.preprocess.media.archives.packing import split, write_tar_gz, write_zip
from tests.preprocess.workshop import MEDIUM, TURNS, Workshop, talk

Layout = Callable[[Path], tuple[str, list[str]]]
"""Writes a download into a folder; its registry, and the keys of the samples that are wrong."""


def picture(mode: str = "RGB", format: str = "JPEG") -> bytes:
    file = io.BytesIO()
    Image.new(mode, (56, 56)).save(file, format)
    return file.getvalue()


def put(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def put_lines(path: Path, records: list[Any]) -> None:
    put(path, "".join(json.dumps(record) + "\n" for record in records))


def put_array(path: Path, records: list[Any]) -> None:
    put(path, json.dumps(records))


def put_parquet(path: Path, columns: dict[str, Any], types: dict[str, pa.DataType]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    arrays = {name: pa.array(values, types.get(name)) for name, values in columns.items()}
    pq.write_table(pa.table(arrays), path, row_group_size=2)


def cell(content: bytes | None = None) -> dict[str, Any]:
    return {"bytes": picture() if content is None else content, "path": "a.jpg"}


def ask(image: Any = None, question: str = "<image>\nWhat is this?", **more: Any) -> dict[str, Any]:
    return talk(question, image=image, **more)


def cambrian(root: Path) -> tuple[str, list[str]]:
    records = [
        ask("coco/train2017/1.jpg", id="1", source="coco"),
        ask("allava/images/2.jpg"),
        talk("Only text."),
    ]
    put_lines(root / "jsons" / "Cambrian737k.jsonl", records)
    put_lines(root / "jsons" / "Cambrian7M_withsystemprompt.jsonl", records)
    write_tar_gz(root / "coco.tar.gz", {"coco/train2017/1.jpg": picture()})
    split(write_tar_gz(root / "allava.tar.gz", {"allava/images/2.jpg": picture()}), 3)
    put(root / "merge_tars.py", "print()")
    put(root / "README.md", "# Cambrian")
    return 'd: {annotation_path: root/jsons/Cambrian737k.jsonl, data_path: "root/*.tar.gz*"}', []


def llava_next(root: Path) -> tuple[str, list[str]]:
    for number in range(3):
        columns = {
            "id": ["a", "b", "c"],
            "image": [cell(), None, cell()],
            "conversations": [
                turns["conversations"] for turns in (ask(), talk("Only text."), ask(question="What?\n<image>"))
            ],
        }
        put_parquet(
            root / "data" / f"train-{number:05}-of-00003.parquet", columns, {"image": MEDIUM, "conversations": TURNS}
        )
    put_array(root / "llava_next_raw_format" / "llava_next_raw_format_processed.json", [])
    return "d: {annotation_path: root/data}", []


def allava(root: Path) -> tuple[str, list[str]]:
    for number in range(2):
        folder = root / "allava_laion" / "image_chunks"
        folder.mkdir(parents=True, exist_ok=True)
        write_zip(folder / f"images_{number}.zip", {f"images/{number}.jpeg": picture()})
    records = [
        ask(f"allava_laion/images/{number}.jpeg", url="https://x.org", original_caption="c") for number in range(2)
    ]
    put_array(root / "allava_laion" / "ALLaVA-Caption-LAION-4V.json", records)
    put_array(root / "allava_laion" / "ALLaVA-Instruct-LAION-4V.json", records)
    put_array(root / "allava_text" / "Evol-Instruct-GPT4-Turbo-143K.json", [talk("Only text.", idx=1)])
    return (
        "d:\n  annotation_path: [root/allava_laion, root/allava_text]\n"
        "  data_path: root/allava_laion/image_chunks/*.zip\n",
        [],
    )


def visual_web_instruct(root: Path) -> tuple[str, list[str]]:
    records = [
        ask(["images/1.png", "images/2.png"], "<image>\n<image>\nCompare.", idx=1),
        ask(None, "Only text.", idx=2),
    ]
    put_lines(root / "mixed_conversation.jsonl", records)
    put_parquet(root / "mixed_conversation.parquet", {"idx": [1]}, {})
    put_lines(root / "visualwebinstruct_qa.jsonl", [{"question": "Q", "answer": "A"}])
    write_zip(root / "images.zip", {f"images/{number}.png": picture("RGB", "PNG") for number in (1, 2)})
    return "d: {annotation_path: root/mixed_conversation.jsonl, data_path: root/images.zip}", []


def llava_onevision(root: Path) -> tuple[str, list[str]]:
    cells = [cell(picture(mode, "PNG")) for mode in ("RGBA", "P", "L")]
    columns = {
        "id": ["1", "2", "3"],
        "image": cells,
        "conversations": [ask()["conversations"]] * 3,
        "data_source": ["ai2d"] * 3,
    }
    name = "ai2d(cauldron,llava_format)"
    for number in range(2):
        path = root / name / f"train-{number:05}-of-00002.parquet"
        put_parquet(path, columns, {"image": MEDIUM, "conversations": TURNS})
    return f'"{name}": {{annotation_path: "root/{name}"}}', []


def llava_video(root: Path) -> tuple[str, list[str]]:
    folder = root / "0_30_s_academic_v0_1"
    for name, video in (("cap", "1"), ("oe_qa", "2"), ("mc_qa", "1")):
        record = talk("<image>\nWhat happens?", video=f"academic_source/{video}.mp4", data_source="x", id=video)
        put_array(folder / f"0_30_s_academic_v0_1_{name}_processed.json", [record])
    for number in (1, 2):
        clip = folder / f"{number}.mp4"
        write_clip(clip, size=(56, 56), fps=4, num_frames=16)
        write_tar_gz(folder / f"x_videos_{number}.tar.gz", {f"academic_source/{number}.mp4": clip.read_bytes()})
        clip.unlink()
    return 'd: {annotation_path: root/0_30_s_academic_v0_1, data_path: "root/0_30_s_academic_v0_1/*.tar.gz"}', []


def llava_mix665k(root: Path) -> tuple[str, list[str]]:
    put(root / "coco" / "train2017" / "1.jpg", picture())
    put(root / "ocr_vqa" / "images" / "2.jpg", picture("P", "GIF"))
    put(root / "vg" / "VG_100K_2" / "3.jpg", picture())
    backwards = {"conversations": list(reversed(ask()["conversations"])), "image": "coco/train2017/1.jpg"}
    records = [
        ask("coco/train2017/1.jpg", id="1"),
        ask("ocr_vqa/images/2.jpg"),
        ask("vg/VG_100K_2/3.jpg", "What?\n<image>"),
        talk("Only text.", model="gpt-4", id="x"),
        ask("ocr_vqa/images/gone.jpg"),
        backwards,
        talk("What does <image> mean in HTML?"),
    ]
    put_array(root / "llava_v1_5_mix665k.json", records)
    return "d: {annotation_path: root/llava_v1_5_mix665k.json, data_path: root}", ["d:4", "d:5", "d:6"]


def sharegpt4v(root: Path) -> tuple[str, list[str]]:
    put(root / "data" / "sam" / "images" / "sa_1.jpg", picture())
    records = [ask("sam/images/sa_1.jpg"), ask("sam/images/sa_1.jpg", "What?\n<image>")]
    for name in ("sharegpt4v_instruct_gpt4-vision_cap100k.json", "sharegpt4v_mix665k_cap23k_coco-ap9k.json"):
        put_array(root / name, records)
    return 'd: {annotation_path: "root/sharegpt4v_*.json", data_path: root/data}', []


QA = pa.list_(pa.struct([("user", pa.string()), ("assistant", pa.string()), ("source", pa.string())]))


def texts(*questions: str) -> list[dict[str, str]]:
    return [{"user": question, "assistant": "An answer.", "source": "s"} for question in questions]


def the_cauldron(root: Path) -> tuple[str, list[str]]:
    for subset in ("ai2d", "vqarad"):
        columns = {"images": [[cell()], [cell(), cell()]], "texts": [texts("Q1?", "Q2?"), texts("Compare.")]}
        path = root / subset / "train-00000-of-00001-2ce340398c113b79.parquet"
        put_parquet(path, columns, {"images": pa.list_(MEDIUM), "texts": QA})
    put(root / "README.md", "# The Cauldron")
    return "d: {annotation_path: root/*}", []


def fine_vision(root: Path) -> tuple[str, list[str]]:
    columns = {
        "images": [[cell()], []],
        "texts": [texts("Q1?", "Q2?"), texts("Only text.")],
        "source": ["s", "s"],
        "relevance_ratings": [[5, 4], [3]],
        "relevance_min": [4, 3],
    }
    for number in range(2):
        path = root / "ai2d_merged" / f"train-{number:05}-of-00002.parquet"
        put_parquet(path, columns, {"images": pa.list_(MEDIUM), "texts": QA})
    return "d: {annotation_path: root/ai2d_merged}", []


def refcoco(root: Path) -> tuple[str, list[str]]:
    columns = {"question_id": ["1"], "image": [cell()], "question": ["Where?"], "answer": [["left one", "the cat"]]}
    columns["bbox"] = [[1.0, 2.0, 3.0, 4.0]]
    put_parquet(root / "data" / "val-00000-of-00001.parquet", columns, {"image": MEDIUM})
    return "d: {annotation_path: root/data, media_position: start}", []


def demos(root: Path) -> tuple[str, list[str]]:
    put(root / "mllm_demo_data" / "1.jpg", picture())
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>Who?"},
        {"role": "assistant", "content": "Somebody.", "loss": True},
    ]
    put_array(root / "mllm_demo.json", [{"messages": messages, "images": ["mllm_demo_data/1.jpg"]}])
    boxes = {"ref": ["cat"], "bbox": [[1, 2, 30, 40]], "bbox_type": "real"}
    grounded = [
        {"role": "user", "content": "<image>Find the <ref-object>."},
        {"role": "assistant", "content": "<bbox>"},
    ]
    put_lines(root / "grounding.jsonl", [{"messages": grounded, "images": ["mllm_demo_data/1.jpg"], "objects": boxes}])
    return "d: {annotation_path: root, data_path: root, boxes: original}", []


LAYOUTS = (
    cambrian,
    llava_next,
    allava,
    visual_web_instruct,
    llava_onevision,
    llava_video,
    llava_mix665k,
    sharegpt4v,
    the_cauldron,
    fine_vision,
    refcoco,
    demos,
)


@pytest.mark.parametrize("write", LAYOUTS, ids=lambda write: write.__name__)
def test_a_download_is_a_dataset(workshop: Workshop, write: Layout) -> None:
    (workshop.root / "root").mkdir()
    registry, wrong = write(workshop.root / "root")
    assert len(registry.splitlines()) <= 3
    workshop.registry.write_text(registry)
    flags = workshop.flags("--dataset_use=all", "--max_reject_share=1", "--pack_length=1024")
    outcome = workshop.command("run", *flags)
    assert outcome.code == 0, outcome.err
    found = [f"{reject['dataset']}:{reject['index']}" for reject in outcome.rejects]
    assert found == wrong, outcome.rejects
    assert outcome.keys
    counts = outcome.manifest.totals
    assert counts.num_images + counts.num_videos > 0
