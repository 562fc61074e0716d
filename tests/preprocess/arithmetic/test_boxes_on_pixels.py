"""Boxes through measuring, plan and encoding: the rewritten box lies on what it lay on before."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from demo_build import Demo
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tokenizers import Tokenizer

from preprocess.arithmetic.tokenizer import load_tokenizer
from preprocess.cli.commands import main
from preprocess.config import EncodingConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import ConfigError, FatalError
from preprocess.plan.measure import PartSummary
from preprocess.plan.tables import part_path, read_table, write_part, write_parts
from preprocess.read.registry import Dataset, read_registry
from preprocess.sample import BoxMode, EncodedSample, MeasuredSample, MediaSource, Sample, Turn
from shards import IGNORE_INDEX, open_shards
from tests.preprocess.workshop import samples_of

EXIF_ORIENTATION = 0x0112
CELL = 28 * 28

# --- on the pixels -------------------------------------------------------------------------------------------------

MARKER, PAPER = 255, 0


@pytest.fixture(scope="module")
def encoder(demo: Demo) -> SampleEncoder:
    return SampleEncoder.load(demo.model, EncodingConfig(min_pixels=4 * CELL, max_pixels=24 * CELL))


@pytest.fixture(scope="module")
def tokenizer(demo: Demo) -> Tokenizer:
    return load_tokenizer(demo.model / "tokenizer.json")


def sample_about(path: Path, answer: str, boxes: BoxMode) -> Sample:
    turns = (Turn(role="user", text="<image>Where?"), Turn(role="assistant", text=answer))
    return Sample(
        dataset="d", index=0, member=None, turns=turns, images=(MediaSource(path=str(path)),), videos=(), boxes=boxes
    )


def answer_of(tokenizer: Tokenizer, labels: npt.NDArray[np.int32]) -> str:
    """The supervised text, decoded from what is written."""
    return tokenizer.decode([int(i) for i in labels if i != IGNORE_INDEX]).removesuffix("\n")


def pixels_of(encoded: EncodedSample) -> npt.NDArray[np.uint8]:
    """(H, W, 3) of the only image: its patches laid out again, in the merger's blocks of 2 x 2."""
    [(_, gh, gw)] = encoded.image_grid_thw
    blocks = encoded.image_patches.reshape(gh // 2, gw // 2, 2, 2, 3, 14, 14)
    return blocks.transpose(0, 2, 5, 1, 3, 6, 4).reshape(gh * 14, gw * 14, 3)


def marked(pixels: npt.NDArray[np.uint8]) -> list[int]:
    """x1, y1, x2, y2 around all pixels that are nearer to the marker than to the paper."""
    ys, xs = np.nonzero(pixels[..., 0] > (MARKER + PAPER) // 2)
    return [int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1]


@st.composite
def marked_pictures(draw: st.DrawFn) -> tuple[tuple[int, int], list[int]]:
    """Stored (width, height), and the box of a marker in it, of at least a fifth of each side."""
    size, box = [], []
    for _ in range(2):
        side = draw(st.integers(60, 320))
        length = draw(st.integers(side // 5, side))
        start = draw(st.integers(0, side - length))
        size.append(side)
        box.append((start, start + length))
    (x1, x2), (y1, y2) = box
    return (size[0], size[1]), [x1, y1, x2, y2]


def store(folder: str, size: tuple[int, int], box: Sequence[int], orientation: int) -> Path:
    image = Image.new("RGB", size, (PAPER,) * 3)
    image.paste((MARKER,) * 3, tuple(box))
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = orientation
    path = Path(folder) / "marked.png"
    image.save(path, exif=exif)
    return path


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("mode", ["original", "relative_1000"])
@settings(max_examples=12, deadline=None)
@given(picture=marked_pictures())
def test_the_rewritten_box_lies_on_the_marker(
    encoder: SampleEncoder,
    tokenizer: Tokenizer,
    orientation: int,
    mode: BoxMode,
    picture: tuple[tuple[int, int], list[int]],
) -> None:
    size, box = picture
    written = box if mode == "original" else [round(1000 * value / size[i % 2], 2) for i, value in enumerate(box)]
    middle = [(written[0] + written[2]) / 2, (written[1] + written[3]) / 2]
    answer = json.dumps({"bbox_2d": written, "point_2d": middle})
    with TemporaryDirectory() as folder:
        path = store(folder, size, box, orientation)
        measured = encoder.measure(sample_about(path, answer, mode))
        encoded = encoder.encode(measured)
    assert (measured.images[0].width, measured.images[0].height) == (size[::-1] if orientation >= 5 else size)
    rewritten = json.loads(answer_of(tokenizer, encoded.labels))
    found = marked(pixels_of(encoded))
    assert np.abs(np.subtract(rewritten["bbox_2d"], found)).max() <= 1
    x, y = rewritten["point_2d"]
    assert abs(2 * x - found[0] - found[2]) <= 4 and abs(2 * y - found[1] - found[3]) <= 4


def test_each_orientation_moves_a_corner_to_another_place(
    encoder: SampleEncoder, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    boxes = set()
    for orientation in range(1, 9):
        path = store(str(tmp_path), (112, 84), [0, 0, 30, 20], orientation)
        sample = sample_about(path, '{"bbox_2d": [0, 0, 30, 20]}', "original")
        boxes.add(answer_of(tokenizer, encoder.encode(encoder.measure(sample)).labels))
    assert boxes == {
        f'{{"bbox_2d": {box}}}'
        for box in (
            [0, 0, 30, 20],
            [82, 0, 112, 20],
            [82, 64, 112, 84],
            [0, 64, 30, 84],
            [0, 0, 20, 30],
            [64, 0, 84, 30],
            [64, 82, 84, 112],
            [0, 82, 20, 112],
        )
    }


def test_a_file_turned_after_planning_is_not_encoded_with_the_old_boxes(encoder: SampleEncoder, tmp_path: Path) -> None:
    path = store(str(tmp_path), (112, 84), [0, 0, 30, 20], orientation=1)
    measured = encoder.measure(sample_about(path, '{"bbox_2d": [0, 0, 30, 20]}', "original"))
    store(str(tmp_path), (112, 84), [0, 0, 30, 20], orientation=3)
    with pytest.raises(FatalError, match="remove the output folder"):
        encoder.encode(measured)


# --- through registry, plan and run --------------------------------------------------------------------------------


@pytest.mark.parametrize("boxes", ["none", "original", "relative_1000"])
def test_both_registries_take_the_option(tmp_path: Path, boxes: str) -> None:
    (tmp_path / "r.yaml").write_text(
        f"d: {{annotation_path: d.jsonl, boxes: {boxes}}}\nplain: {{annotation_path: p}}\n"
    )
    (tmp_path / "r.py").write_text(
        f'D = {{"annotation_path": "d.jsonl", "boxes": "{boxes}"}}\ndata_dict = {{"d": D}}\n'
    )
    assert read_registry(tmp_path / "r.yaml")["d"].boxes == boxes
    assert read_registry(tmp_path / "r.py")["d"].boxes == boxes
    assert read_registry(tmp_path / "r.yaml")["plain"].boxes == "none"


@pytest.mark.parametrize("boxes", ["relative", "Original", None, True, 1000, ["original"]])
def test_other_options_are_refused(boxes: Any) -> None:
    with pytest.raises(ConfigError, match="boxes must be one of none, original, relative_1000"):
        Dataset(name="d", annotation_path=Path("d.jsonl"), data_path=None, boxes=boxes)


def test_the_plan_keeps_what_encoding_needs(encoder: SampleEncoder, tokenizer: Tokenizer, tmp_path: Path) -> None:
    answer = '{"bbox_2d": [0, 0, 90, 60]}'
    path = store(str(tmp_path), (300, 200), [0, 0, 90, 60], orientation=6)
    measured = encoder.measure(sample_about(path, answer, "original"))
    again = through_the_plan(measured, tmp_path)
    assert again == measured
    assert again.images[0].orientation == 6
    assert again.sample.turns[1].text == answer, "the plan holds what the annotation says"
    encoded = encoder.encode(again)
    assert json.loads(answer_of(tokenizer, encoded.labels))["bbox_2d"] != [0, 0, 90, 60]
    assert len(encoded.input_ids) == measured.num_tokens


def through_the_plan(measured: MeasuredSample, folder: Path) -> MeasuredSample:
    (folder / "samples").mkdir()
    write_part(folder, 0, [(measured, 1)], {})
    write_parts(folder, ["d"], [1])
    return samples_of(folder)[0]


@pytest.fixture
def grounded(tmp_path: Path) -> Path:
    """A folder with a registry of one dataset: two good records about a turned photo, three bad ones."""
    store(str(tmp_path), (300, 200), [30, 20, 120, 80], orientation=6)
    box = '{"bbox_2d": [30, 20, 120, 80]}'
    records: list[dict[str, Any]] = [
        {"image": "marked.png", "conversations": turns("<image>Where?", box)},
        {"image": "marked.png", "conversations": turns("<image>Where?", f"Here:\n```json\n[{box}]\n```")},
        {"images": ["marked.png"] * 2, "conversations": turns("<image><image>Where?", box)},
        {"conversations": turns("Where?", box)},
        {"image": "marked.png", "conversations": turns("<image>Where?", '{"bbox_2d": [30, 20]}')},
    ]
    (tmp_path / "d.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return tmp_path


def turns(question: str, answer: str) -> list[dict[str, str]]:
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


def run(demo: Demo, folder: Path, boxes: str, out: str, *flags: str) -> int:
    registry = folder / f"{boxes}.yaml"
    registry.write_text(f"d: {{annotation_path: d.jsonl, data_path: ., boxes: {boxes}}}\n")
    options = ("--dataset_use=d", "--pack_length=512", "--workers=0", "--max_reject_share=1", "--min_pixels=784")
    return main(
        ["run", f"--model={demo.model}", f"--datasets={registry}", f"--output_dir={folder / out}", *options, *flags]
    )


def written_answers(folder: Path, tokenizer: Tokenizer) -> dict[str, str]:
    """Sample key -> its supervised text."""
    return {
        key: answer_of(tokenizer, pack.labels[start:end])
        for pack in open_shards(folder)
        for key, start, end in zip(pack.sample_keys, pack.cu_seqlens[:-1], pack.cu_seqlens[1:], strict=True)
    }


def test_a_run_rewrites_answers_for_its_own_pixel_limits(demo: Demo, tokenizer: Tokenizer, grounded: Path) -> None:
    assert run(demo, grounded, "original", "large", "--max_pixels=128*28*28") == 0
    assert run(demo, grounded, "original", "small", "--max_pixels=8*28*28") == 0
    assert run(demo, grounded, "none", "untouched", "--max_pixels=8*28*28") == 0
    # Upright, the marker stands at 120..180 of 200 and 30..120 of 300; resized to 196x308 and to 56x84.
    assert written_answers(grounded / "large", tokenizer) == {
        "d:0": '{"bbox_2d": [118, 31, 176, 123]}',
        "d:1": 'Here:\n```json\n[{"bbox_2d": [118, 31, 176, 123]}]\n```',
    }
    assert written_answers(grounded / "small", tokenizer)["d:0"] == '{"bbox_2d": [34, 8, 50, 34]}'
    assert written_answers(grounded / "untouched", tokenizer)["d:0"] == '{"bbox_2d": [30, 20, 120, 80]}'
    assert len(written_answers(grounded / "untouched", tokenizer)) == 5


def test_bad_boxes_go_to_the_ledger_when_planning(demo: Demo, grounded: Path) -> None:
    assert run(demo, grounded, "original", "out") == 0
    rejects = PartSummary.of(read_table(part_path(grounded / "out" / "plan", 0))).rejects
    assert [(reject.index, reject.reason) for reject in rejects] == [
        (2, "ambiguous_boxes"),
        (3, "ambiguous_boxes"),
        (4, "bad_json"),
    ]


def test_the_option_is_part_of_the_fingerprint(demo: Demo, grounded: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(demo, grounded, "original", "out") == 0
    before = open_shards(grounded / "out").manifest
    assert before.inputs["datasets"]["d"]["boxes"] == "original"
    capsys.readouterr()
    assert run(demo, grounded, "none", "out") == 2
    assert "datasets.d.boxes was original, is none" in capsys.readouterr().err
    assert run(demo, grounded, "none", "out", "--overwrite=true") == 0
    assert open_shards(grounded / "out").manifest.fingerprint != before.fingerprint
