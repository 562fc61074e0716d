"""The same records for models of several families: what is written, and what one may take from another's run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_clips import write_clip
from demo_model import write_model_folder
from PIL import Image

from preprocess.encode import SampleEncoder
from shards import Pack, check_pack, load_padded, open_shards
from shards.batch import BatchShape
from shards.look.transcript import Transcriber
from shards.segments import cut_segments
from shards.verify import verify
from tests.preprocess.workshop import Outcome, Workshop, talk

TEXTS = ["What is this?", "Is that it?", "<0.3 seconds>", "A picture.", "You are a helpful assistant."]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("models")
    for family in ("qwen2_5_vl", "qwen2_vl", "qwen3_vl"):
        write_model_folder(root / family, TEXTS, family=family)
    mixture = root / "qwen3_vl_moe"
    write_model_folder(mixture, TEXTS, family="qwen3_vl")
    config = json.loads((mixture / "config.json").read_text())
    (mixture / "config.json").write_text(json.dumps(config | {"model_type": "qwen3_vl_moe"}))
    return {path.name: path for path in root.iterdir()}


@pytest.fixture
def workshop(tmp_path: Path, folders: dict[str, Path], capsys: pytest.CaptureFixture[str]) -> Workshop:
    """An image of 60 x 100 pixels, and a video of 2.5 seconds, of which 5 frames are taken."""
    workshop = Workshop(tmp_path, folders["qwen2_5_vl"], capsys)
    noise = np.random.default_rng(0).integers(0, 256, (100, 60, 3), np.uint8)
    Image.fromarray(noise).save(workshop.media / "a.png")
    write_clip(workshop.media / "a.mp4", size=(112, 84), fps=10, num_frames=25)
    answer = json.dumps({"bbox_2d": [6, 10, 30, 40]})
    record = talk("<image>Is that it?<video>", answer, image="a.png", video="a.mp4")
    workshop.dataset([record], boxes="original")
    return workshop


def run(workshop: Workshop, model: Path, *more: str, out: str = "out") -> Outcome:
    workshop.model = model
    outcome = workshop.run("--base_interval=0.5", "--pack_length=512", *more, out=out)
    assert outcome.code == 0, outcome.err
    return outcome


def text_of(workshop: Workshop, pack: Pack) -> str:
    tokenizer = SampleEncoder.load(workshop.model, workshop.config()).chat._tokenizer
    return tokenizer.decode(pack.input_ids.tolist(), skip_special_tokens=False)


def visual(kind: str, number: int) -> str:
    return f"<|vision_start|>{f'<|{kind}_pad|>' * number}<|vision_end|>"


SYSTEM = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
EXPECTED: dict[str, tuple[str, int]] = {  # of each family: the text, and bytes of an image patch
    # 100 x 60 becomes 112 x 56, and 84 x 112 stays
    "qwen2_5_vl": (
        f"{SYSTEM}<|im_start|>user\n{visual('image', 8)}Is that it?{visual('video', 36)}<|im_end|>\n"
        '<|im_start|>assistant\n{"bbox_2d": [6, 11, 28, 45]}<|im_end|>\n',
        588,
    ),
    "qwen2_vl": (
        f"{SYSTEM}<|im_start|>user\n{visual('image', 8)}Is that it?{visual('video', 36)}<|im_end|>\n"
        '<|im_start|>assistant\n{"bbox_2d": [100, 100, 500, 400]}<|im_end|>\n',
        588,
    ),
    # 100 x 60 becomes 96 x 64, and 84 x 112 becomes 96 x 128 (half to even); frames 0, 6, 12, 18, 24 and 24 again
    "qwen3_vl": (
        f"<|im_start|>user\n{visual('image', 6)}Is that it?<0.3 seconds>{visual('video', 12)}"
        f"<1.5 seconds>{visual('video', 12)}<2.4 seconds>{visual('video', 12)}<|im_end|>\n"
        '<|im_start|>assistant\n{"bbox_2d": [100, 100, 500, 400]}<|im_end|>\n',
        768,
    ),
}


@pytest.mark.parametrize("format", ["arrow", "mindrecord"])
@pytest.mark.parametrize("family", EXPECTED)
def test_a_record_becomes_what_the_family_wants(
    workshop: Workshop, folders: dict[str, Path], family: str, format: str
) -> None:
    text, patch_bytes = EXPECTED[family]
    outcome = run(workshop, folders[family], f"--format={format}")
    manifest = outcome.manifest
    assert manifest.model.model_type == family
    [pack] = outcome.packs
    check_pack(pack, manifest.model)
    assert text_of(workshop, pack) == text
    assert (pack.image_patches.shape[1], pack.video_patches.shape[1]) == (patch_bytes, 2 * patch_bytes)
    assert not verify(outcome.folder, quick=False, workers=0, on_shard=lambda _: None)
    [segment] = cut_segments(pack, manifest.model)
    pieces = Transcriber.beside(outcome.folder).pieces(pack, segment)
    assert [piece.kind for piece in pieces].count("visual") == text.count("<|vision_start|>")
    batch = load_padded(open_shards(outcome.folder), 0, BatchShape.of(manifest)).batch
    assert len(batch.tower) == {"qwen2_5_vl": 3, "qwen2_vl": 0, "qwen3_vl": 2}[family]


def test_answers_with_boxes_depend_on_the_limits_in_one_family_alone(
    workshop: Workshop, folders: dict[str, Path]
) -> None:
    for family, is_same in (("qwen2_5_vl", False), ("qwen2_vl", True), ("qwen3_vl", True)):
        answers = []
        for name, least in (("small", "1024"), ("large", "40*32*32")):
            outcome = run(workshop, folders[family], f"--min_pixels={least}", out=f"{family}-{name}")
            [pack] = outcome.packs
            answers.append(pack.labels[pack.labels >= 0].tolist())
        assert (answers[0] == answers[1]) is is_same, family


def test_a_mixture_of_experts_is_preprocessed_for_as_the_dense_model(
    workshop: Workshop, folders: dict[str, Path]
) -> None:
    dense = run(workshop, folders["qwen3_vl"], out="dense")
    mixture = run(workshop, folders["qwen3_vl_moe"], out="mixture")
    assert mixture.manifest.model.model_type == "qwen3_vl_moe"
    [one], [other] = dense.packs, mixture.packs
    assert one.input_ids.tolist() == other.input_ids.tolist()
    assert one.position_ids.tolist() == other.position_ids.tolist()
    assert np.array_equal(one.video_patches, other.video_patches)


def test_patches_are_reused_where_families_cut_the_same_and_refused_elsewhere(
    workshop: Workshop, folders: dict[str, Path]
) -> None:
    old = run(workshop, folders["qwen2_5_vl"], out="old")
    new = run(workshop, folders["qwen2_vl"], f"--reuse={old.folder}", out="new")
    assert "reused 2 of 2 images and videos" in new.out
    scratch = run(workshop, folders["qwen2_vl"], out="scratch")
    assert (new.folder / "manifest.json").read_bytes() == (scratch.folder / "manifest.json").read_bytes()
    workshop.model = folders["qwen3_vl"]
    refused = workshop.run("--base_interval=0.5", "--pack_length=512", f"--reuse={old.folder}", out="other")
    assert refused.code == 2
    assert "its model cuts images into other patches; leave --reuse out" in refused.err
    assert not (refused.folder / "manifest.json").exists()


def test_frames_and_sizes_of_a_video_follow_the_processor_of_qwen3(
    workshop: Workshop, folders: dict[str, Path]
) -> None:
    rules: dict[str, Any] = {"video_sampling": "qwen3", "video_fps": 4, "video_max_frames": 20, "pack_length": 4096}
    workshop.model = folders["qwen3_vl"]
    flags = [f"--{name}={value}" for name, value in rules.items()]
    few = workshop.run(*flags, "--video_total_pixels=model", out="few")
    assert few.code == 0, few.err
    config = few.manifest.inputs["config"]
    assert (config["video_sampling"], config["video_fps"]) == ("qwen3", 4)
    assert (config["video_total_pixels"], config["video_min_total_pixels"]) == (25165824, 4096)
    [pack] = few.packs
    assert pack.video_grid_thw.tolist() == [[5, 6, 8]]  # 10 frames of 96 x 128
    smaller = workshop.run(*flags, "--video_total_pixels=40*32*32", "--video_min_total_pixels=1024", out="smaller")
    assert [pack.video_grid_thw.tolist() for pack in smaller.packs] == [[[5, 2, 4]]]
