"""The rooms of a family: which ones have all three, and that one can be added from the outside."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from demo_build import Demo
from demo_clips import write_clip
from PIL import Image

import preprocess.arithmetic.families
import shards.families
import train.models
from preprocess.encode import SampleEncoder
from preprocess.sample import EncodedSample, MediaSource, Sample, Turn
from preprocess.write.materialise import join_samples
from shards import (
    ModelFolderError,
    Pack,
    check_pack,
    count_pack,
    load_padded,
    measure_pack,
    open_shards,
    read_model_constants,
)
from shards.batch import Batch, BatchShape, input_names, make_batch
from shards.look.transcript import Transcriber
from shards.segments import cut_segments
from shards.verify import verify
from tests import toy_vl
from tests.preprocess.workshop import Workshop, talk
from train.arguments import TrainArguments
from train.errors import UsageError
from train.inputs import open_inputs


@pytest.fixture
def workshop(tmp_path: Path, demo: Demo, capsys: pytest.CaptureFixture[str]) -> Workshop:
    return Workshop(tmp_path, demo.model, capsys)


ROOMS: dict[str, tuple[str, ...]] = {  # of each model_type: those in which its family has an entry
    "qwen2_5_vl": ("shards/families", "preprocess/arithmetic", "train/models"),
    "qwen2_vl": ("shards/families", "preprocess/arithmetic", "train/models"),
    "qwen3_vl": ("shards/families", "preprocess/arithmetic", "train/models"),
    "qwen3_vl_moe": ("shards/families", "preprocess/arithmetic"),
}
SHARED = {"qwen3_vl_moe": "qwen3_vl"}  # those that have no module of their own
ROOT = Path(__file__).parents[1]
TABLES: dict[str, dict[str, Any]] = {
    "shards/families": shards.families.FAMILIES,  # type: ignore[dict-item]
    "preprocess/arithmetic": preprocess.arithmetic.families.FAMILIES,  # type: ignore[dict-item]
    "train/models": train.models.FAMILIES,  # type: ignore[dict-item]
}


@pytest.mark.parametrize("room", TABLES)
def test_these_families_have_a_module_in_each_room(room: str) -> None:
    assert set(TABLES[room]) == {model_type for model_type, rooms in ROOMS.items() if room in rooms}
    for model_type, entry in TABLES[room].items():
        family = SHARED.get(model_type, model_type)
        assert (ROOT / room / f"{family}.py").is_file() or (ROOT / room / family / "__init__.py").is_file()
        name = entry if isinstance(entry, str) else entry.__name__
        assert import_module(name).__name__ == f"{room.replace('/', '.')}.{family}"


def test_a_model_is_found_by_its_type(demo: Demo) -> None:
    family = train.models.family_of("qwen2_5_vl")
    assert family.read_config(demo.model).vision.patch_size == 14


# --- refused -------------------------------------------------------------------------------------------------------


def change_json(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(path.read_text())
    change(record)
    path.write_text(json.dumps(record))


def model_of(demo: Demo, folder: Path, model_type: str, patch_size: int = 14) -> Path:
    """The demo's model folder as one of another family; its weights are no good."""
    shutil.copytree(demo.model, folder)

    def config(record: dict[str, Any]) -> None:
        record["model_type"] = model_type
        record["vision_config"] = {"patch_size": patch_size, "spatial_merge_size": 2}

    change_json(folder / "config.json", config)
    change_json(folder / "preprocessor_config.json", lambda record: record.update(patch_size=patch_size))
    return folder


@pytest.mark.parametrize("command", ["plan", "run"])
@pytest.mark.parametrize(
    ("known_to_shards", "message"),
    [
        (False, "config.json: model_type 'other_vl' is not one of qwen2_5_vl, qwen2_vl, qwen3_vl, qwen3_vl_moe"),
        (
            True,
            "models of model_type 'other_vl' can't be preprocessed for; these can: qwen2_5_vl, qwen2_vl, qwen3_vl, "
            "qwen3_vl_moe",
        ),
    ],
)
def test_an_unknown_family_is_refused_before_anything_is_written(
    workshop: Workshop, demo: Demo, monkeypatch: pytest.MonkeyPatch, command: str, known_to_shards: bool, message: str
) -> None:
    if known_to_shards:
        monkeypatch.setitem(TABLES["shards/families"], "other_vl", toy_vl)
    workshop.dataset([talk()])
    workshop.model = model_of(demo, workshop.root / "model", "other_vl")
    outcome = workshop.command(command, *workshop.flags())
    assert outcome.code == 2
    assert outcome.error.startswith("preprocess: error: ") and outcome.error.endswith(message)
    assert not (workshop.root / "out").exists()


def test_training_refuses_a_family_that_it_has_no_model_of(
    workshop: Workshop, demo: Demo, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.dataset([talk()])
    assert workshop.run().code == 0
    arguments = TrainArguments(shards=workshop.root / "out", model=demo.model, output_dir=workshop.root / "trained")
    open_inputs(arguments)
    monkeypatch.setattr(train.models, "FAMILIES", {"other_vl": "train.models.other_vl"})  # a copy keeps its order
    with pytest.raises(UsageError, match=r"model_type 'qwen2_5_vl' can't be trained; these can: .*other_vl"):
        open_inputs(arguments)


# --- added from the outside ----------------------------------------------------------------------------------------


@pytest.fixture
def toy(workshop: Workshop, demo: Demo, monkeypatch: pytest.MonkeyPatch) -> Workshop:
    """A workshop whose model is of the toy family."""
    workshop.model = model_of(demo, workshop.root / "model", toy_vl.MODEL_TYPE, patch_size=16)
    with pytest.raises(ModelFolderError, match="model_type 'toy_vl' is not one of"):
        read_model_constants(workshop.model)
    for room, table in TABLES.items():
        monkeypatch.setitem(table, toy_vl.MODEL_TYPE, toy_vl.__name__ if room == "train/models" else toy_vl)
    return workshop


def talk_about_both(workshop: Workshop) -> dict[str, Any]:
    """Of 32 frames, 10 a second, the toy takes the frames 0, 10, 20 and 30; that is four, in two temporal patches."""
    write_clip(workshop.media / "a.mp4", size=(112, 84), fps=10, num_frames=32)
    noise = np.random.default_rng(0).integers(0, 256, (40, 30, 3), np.uint8)
    Image.fromarray(noise).save(workshop.media / "a.png")
    answer = json.dumps({"bbox_2d": [3, 10, 15, 40]})
    return talk("<image>Look at<video>this.", answer, image="a.png", video="a.mp4")


@pytest.mark.parametrize("flag", ["--format=arrow", "--format=mindrecord", "--compress=zstd"])
def test_a_sample_of_a_toy_family_goes_all_the_way(toy: Workshop, flag: str) -> None:
    toy.dataset([talk_about_both(toy), talk()], boxes="original")
    outcome = toy.run(flag)
    assert outcome.code == 0, outcome.err
    [pack] = open_shards(outcome.folder)
    manifest = open_shards(outcome.folder).manifest
    assert (manifest.model.model_type, manifest.model.patch_size) == ("toy_vl", 16)
    assert manifest.inputs["config"]["max_pixels"] == 576 * 32 * 32
    assert manifest.maxima == measure_pack(pack, manifest.model) and manifest.maxima.windows == 0
    check_pack(pack, manifest.model)

    assert pack.image_grid_thw.tolist() == [[1, 4, 6]] and pack.image_patches.shape == (24, 3 * 16 * 16)
    assert pack.video_grid_thw.tolist() == [[2, 2, 8]] and pack.video_patches.shape == (32, 2 * 3 * 16 * 16)
    one, other = sorted(texts_of(toy, pack), key=len, reverse=True)
    assert other == "<|im_start|>user\nWhat is this?<|im_end|>\n<|im_start|>assistant\nA picture.<|im_end|>\n"
    assert one == (
        "<|im_start|>user\n"
        f"<|vision_start|>{'<|image_pad|>' * 6}<|vision_end|>"
        f"Look at<0.0 seconds><|vision_start|>{'<|video_pad|>' * 4}<|vision_end|>"
        f"<2.0 seconds><|vision_start|>{'<|video_pad|>' * 4}<|vision_end|>"
        "this.<|im_end|>\n"
        '<|im_start|>assistant\n{"bbox_2d": [10, 25, 50, 100]}<|im_end|>\n'
    )

    [both, _] = sorted(cut_segments(pack, manifest.model), key=lambda segment: -len(segment.spans))
    assert [span.num_tokens for span in both.spans] == [6, 8]
    pieces = Transcriber.beside(outcome.folder).pieces(pack, both)
    visual = [piece.text for piece in pieces if piece.kind == "visual"]
    assert visual == ["image 4x6 -> 6 tokens", "video 2x8, 1 of 2 -> 4 tokens", "video 2x8, 2 of 2 -> 4 tokens"]
    assert not verify(outcome.folder, quick=False, workers=0, on_shard=lambda _: None)

    shape = BatchShape.of(manifest)
    batch = load_padded(open_shards(outcome.folder), 0, shape).batch
    names = input_names(manifest.model)
    assert names[-2:] == ("position_index", "position_weight") and "window_index" not in names
    assert [len(list(each)) for each in (batch, names)] == [16, 16]
    assert_laid_out(batch, pack, frames=[(4, 6), (2, 8), (2, 8)])
    empty = make_batch(None, shape, manifest.model)
    assert [array.shape for array in empty] == [array.shape for array in batch]
    assert not empty.tower.position_weight.any()


def texts_of(workshop: Workshop, pack: Pack) -> list[str]:
    tokenizer = SampleEncoder.load(workshop.model, workshop.config()).chat._tokenizer
    parts = np.split(pack.input_ids, pack.cu_seqlens[1:-1])
    return [tokenizer.decode(ids.tolist(), skip_special_tokens=False) for ids in parts]


def assert_laid_out(batch: Batch, pack: Pack, frames: list[tuple[int, int]]) -> None:
    """Patches as they are stored, full attention a frame, and each place of the pixels in the grid of positions."""
    num_images, num_videos = len(pack.image_patches), len(pack.video_patches)
    expected = [*range(num_images), *range(len(batch.image_patches), len(batch.image_patches) + num_videos)]
    total = num_images + num_videos
    assert batch.patch_index[:total].tolist() == expected
    assert batch.patch_ends[: len(frames)].tolist() == np.cumsum([h * w for h, w in frames]).tolist()
    pads = np.flatnonzero(batch.embedding_index >= len(batch.input_ids))
    assert (np.diff(batch.embedding_index[pads]) == 1).all(), "visual embeddings come in the order of their tokens"
    index, weight = batch.tower.position_index[:total], batch.tower.position_weight[:total]
    np.testing.assert_allclose(weight.sum(axis=1), 1, rtol=1e-6)
    sides = np.repeat(frames, [h * w for h, w in frames], axis=0)
    places = (weight[..., None] * np.stack(np.divmod(index, toy_vl.SIDE), axis=-1)).sum(axis=1) / (toy_vl.SIDE - 1)
    np.testing.assert_allclose(places, batch.patch_positions[:total] / (sides - 1), atol=1e-6)


def test_what_is_measured_of_a_toy_family_is_what_is_encoded(toy: Workshop) -> None:
    toy.dataset([talk_about_both(toy)])
    record = talk_about_both(toy)
    encoder = SampleEncoder.load(toy.model, toy.config())
    turns = (Turn(role="user", text=record["conversations"][0]["value"]), Turn(role="assistant", text="Yes."))
    image, video = (MediaSource(path=str(toy.media / record[kind])) for kind in ("image", "video"))
    sample = Sample(dataset="d", index=0, member=None, turns=turns, images=(image,), videos=(video,))
    measured = encoder.measure(sample)
    assert measured.videos[0].frame_indices == (0, 10, 20, 30)
    encoded = encoder.encode(measured)
    pack = join_samples(["d:0"], [encoded])
    check_pack(pack, encoder.constants)
    assert count_pack(pack) == measured.counts
    assert positions_of_pads(encoded, encoder.constants.video_token_id) == [
        # one frame at a time: (base, base + row, base + column), and the text between them goes on
        *[(0, 0, column) for column in range(4)],
        *[(0, 0, column) for column in range(4)],
    ]


def positions_of_pads(encoded: EncodedSample, pad_id: int) -> list[tuple[int, int, int]]:
    """Of each run of pads, from its first one on."""
    found: list[tuple[int, int, int]] = []
    pads = np.flatnonzero(encoded.input_ids == pad_id)
    for run in np.split(pads, np.flatnonzero(np.diff(pads) > 1) + 1):
        own = encoded.position_ids[:, run]
        assert own[0, 0] == encoded.position_ids[:, run[0] - 1].max() + 1
        assert encoded.position_ids[0, run[-1] + 1] == own.max() + 1
        found += map(tuple, (own - own[0, 0]).T.tolist())
    return found


def test_the_model_of_a_toy_family_is_built_by_its_module(toy: Workshop) -> None:
    constants = read_model_constants(toy.model)
    family = train.models.family_of(constants.model_type)
    model = family.build(family.read_config(toy.model), constants, None)
    assert model == f"a model of the configuration in {toy.model}, patches of 16"
