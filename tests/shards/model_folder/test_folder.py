"""The constants come from the three JSON files of a model folder; what is missing or contradictory is named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from demo_build import Demo
from demo_model import write_model_folder

from shards import ModelConstants, ModelFolderError, read_model_constants
from shards.model_folder import ModelFolder, model_files

FILES = ("config.json", "tokenizer.json", "preprocessor_config.json")


@pytest.fixture
def model(demo: Demo, tmp_path: Path) -> Path:
    """A copy of the demo's model folder, to be spoiled."""
    folder = tmp_path / "model"
    folder.mkdir()
    for name in FILES:
        shutil.copyfile(demo.model / name, folder / name)
    return folder


def edit(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    record = json.loads(path.read_text())
    before = json.dumps(record)
    change(record)
    assert json.dumps(record) != before
    path.write_text(json.dumps(record))


def nest(config: dict[str, Any]) -> None:
    """config.json as newer transformers write it: the language model's values in `text_config`."""
    stay = {"model_type", "vision_config", "image_token_id", "video_token_id", "architectures"}
    config["text_config"] = {key: config.pop(key) for key in list(config) if key not in stay}
    config["text_config"]["model_type"] = "qwen2_5_vl_text"


def test_constants_are_those_of_the_files(model: Path) -> None:
    constants = read_model_constants(model)
    ids = {
        token["content"]: token["id"] for token in json.loads((model / "tokenizer.json").read_text())["added_tokens"]
    }
    assert len(set(ids.values())) > 7
    assert constants == ModelConstants(
        model_type="qwen2_5_vl",
        vocab_size=1024,
        patch_size=14,
        merge_size=2,
        temporal_patch_size=2,
        window_size=112,
        tokens_per_second=2,
        im_start_token_id=ids["<|im_start|>"],
        im_end_token_id=ids["<|im_end|>"],
        pad_token_id=ids["<|endoftext|>"],
        vision_start_token_id=ids["<|vision_start|>"],
        vision_end_token_id=ids["<|vision_end|>"],
        image_token_id=ids["<|image_pad|>"],
        video_token_id=ids["<|video_pad|>"],
        image_mean=(0.48145466, 0.4578275, 0.40821073),
        image_std=(0.26862954, 0.26130258, 0.27577711),
        rescale_factor=1 / 255,
    )
    assert (constants.grid_factor, constants.image_patch_bytes, constants.video_patch_bytes) == (28, 588, 1176)


def test_flat_and_nested_config_say_the_same(model: Path) -> None:
    flat = read_model_constants(model)
    edit(model / "config.json", nest)
    assert "vocab_size" not in json.loads((model / "config.json").read_text())
    assert read_model_constants(model) == flat


# --- folders of transformers 5 -------------------------------------------------------------------------------------


def of_transformers_5(config: dict[str, Any]) -> None:
    nest(config)
    text = config["text_config"]
    sections = text.pop("rope_scaling")["mrope_section"]
    text["rope_parameters"] = {
        "mrope_section": sections,
        "rope_theta": text.pop("rope_theta"),
        "rope_type": "default",
    }


def gather_processors(model: Path, section: str = "image_processor") -> None:
    record = json.loads((model / "preprocessor_config.json").read_text())
    (model / "preprocessor_config.json").unlink()
    (model / "processor_config.json").write_text(json.dumps({"processor_class": "AnyProcessor", section: record}))


def test_a_folder_of_transformers_5_says_the_same(model: Path) -> None:
    before, rope = read_model_constants(model), ModelFolder.read(model).rope()
    assert rope.theta == 1_000_000 and sum(rope.sections) > 3
    assert model_files(model) == ("config.json", "tokenizer.json", "preprocessor_config.json")
    edit(model / "config.json", of_transformers_5)
    gather_processors(model)
    assert read_model_constants(model) == before
    assert ModelFolder.read(model).rope() == rope
    assert model_files(model) == ("config.json", "tokenizer.json", "processor_config.json")


def test_without_a_section_for_images_the_file_is_named(model: Path) -> None:
    gather_processors(model, "video_processor")
    with pytest.raises(ModelFolderError, match=r"/processor_config.json: 'image_processor' is missing"):
        read_model_constants(model)


def test_two_processors_agree(model: Path) -> None:
    before = read_model_constants(model)
    record = json.loads((model / "preprocessor_config.json").read_text())
    both = {"image_processor": record | {"image_processor_type": "Qwen2VLImageProcessorFast"}, "tokenizer": {}}
    (model / "processor_config.json").write_text(json.dumps(both))
    assert read_model_constants(model) == before
    both["image_processor"]["image_std"] = [0.5, 0.5, 0.5]
    (model / "processor_config.json").write_text(json.dumps(both))
    with pytest.raises(ModelFolderError, match=r"says image_std is \[0.2.*says \[0.5, 0.5, 0.5\]; .*different models"):
        read_model_constants(model)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda text: text.pop("rope_parameters"), "rope_scaling is missing, and so is rope_parameters"),
        (lambda text: text["rope_parameters"].pop("rope_theta"), "rope_theta is missing"),
        (lambda text: text["rope_parameters"].pop("rope_type"), "rope_parameters.type is missing"),
        (lambda text: text["rope_parameters"].update(rope_type="yarn"), "rope_parameters.type is 'yarn'; supported"),
        (lambda text: text["rope_parameters"].update(rope_theta=0), "rope_parameters.rope_theta is 0, not a number"),
        (lambda text: text["rope_parameters"].update(mrope_section=[1, 2]), "not three numbers with the sum 8"),
        (lambda text: text["rope_parameters"].update(mrope_section=[3, 3, 3]), "not three numbers with the sum 8"),
        (lambda text: text["rope_parameters"].update(mrope_section=[2.0, 3, 3]), "not a list of integers"),
        (lambda text: text.update(rope_parameters=[1]), "rope_parameters is .1., not an object"),
        (
            lambda text: text.update(rope_theta=5e6),
            "rope_theta is 5000000.0, and rope_parameters.rope_",
        ),
        (lambda text: text.pop("num_attention_heads"), "num_attention_heads is missing"),
        (lambda text: text.update(num_attention_heads=0), "num_attention_heads is 0, not a positive integer"),
        (lambda text: text.update(head_dim=32), "not three numbers with the sum 16"),
    ],
)
def test_what_training_could_not_use_fails_first(
    model: Path, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    edit(model / "config.json", of_transformers_5)
    edit(model / "config.json", lambda config: change(config["text_config"]))
    with pytest.raises(ModelFolderError, match=rf"config\.json: .*{message}"):
        read_model_constants(model)


# --- videos --------------------------------------------------------------------------------------------------------


@pytest.fixture
def qwen3(tmp_path: Path) -> Path:
    write_model_folder(tmp_path / "qwen3", ["a"], family="qwen3_vl")
    return tmp_path / "qwen3"


def test_learned_positions_are_a_square(qwen3: Path) -> None:
    assert read_model_constants(qwen3).position_grid == 6
    edit(qwen3 / "config.json", lambda config: config["vision_config"].update(num_position_embeddings=37))
    with pytest.raises(ModelFolderError, match="num_position_embeddings is 37, which is no square"):
        read_model_constants(qwen3)


def test_time_stamps_are_those_of_two_frames(qwen3: Path) -> None:
    edit(qwen3 / "config.json", lambda config: config["vision_config"].update(temporal_patch_size=3))
    for name in ("preprocessor_config.json", "video_preprocessor_config.json"):
        edit(qwen3 / name, lambda processor: processor.update(temporal_patch_size=3))
    with pytest.raises(ModelFolderError, match="temporal_patch_size is 3; time stamps of this family are those of 2"):
        read_model_constants(qwen3)


@pytest.mark.parametrize(("name", "value"), [("patch_size", 14), ("merge_size", 4), ("image_mean", [0.5, 0.5, 0.4])])
def test_a_video_processor_of_another_model_is_refused(qwen3: Path, name: str, value: object) -> None:
    assert model_files(qwen3)[-1] == "video_preprocessor_config.json"
    edit(qwen3 / "video_preprocessor_config.json", lambda processor: processor.update({name: value}))
    with pytest.raises(ModelFolderError, match=rf"video_preprocessor_config\.json says {name} is .*different models"):
        read_model_constants(qwen3)


def test_a_folder_without_a_video_processor_is_one(qwen3: Path) -> None:
    before = read_model_constants(qwen3)
    (qwen3 / "video_preprocessor_config.json").unlink()
    assert read_model_constants(qwen3) == before
    assert model_files(qwen3) == ("config.json", "tokenizer.json", "preprocessor_config.json")


# --- missing and malformed -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(model: Path, name: str) -> None:
    (model / name).unlink()
    with pytest.raises(ModelFolderError, match=rf"{name}: No such file.*Hugging Face model folder"):
        read_model_constants(model)


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"\xff{}", b"[" * 100_000])
def test_a_file_that_is_no_json_object_is_named(model: Path, name: str, content: bytes) -> None:
    (model / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=rf"{name} (is not JSON|does not hold a JSON object)"):
        read_model_constants(model)


def test_a_model_that_is_no_folder_is_named(model: Path) -> None:
    with pytest.raises(ModelFolderError, match="Not a directory"):
        read_model_constants(model / "config.json")


VALUES = [
    ("config.json", None, "model_type"),
    ("config.json", None, "vocab_size"),
    ("config.json", None, "vision_config"),
    ("config.json", "vision_config", "window_size"),
    ("config.json", "vision_config", "tokens_per_second"),
    ("preprocessor_config.json", None, "patch_size"),
    ("preprocessor_config.json", None, "merge_size"),
    ("preprocessor_config.json", None, "temporal_patch_size"),
    ("preprocessor_config.json", None, "image_mean"),
    ("preprocessor_config.json", None, "image_std"),
]
SPOILED = {"absent": None, "text": "14", "list": [], "boolean": True}


@pytest.mark.parametrize(("name", "section", "key"), VALUES)
@pytest.mark.parametrize("value", SPOILED.values(), ids=SPOILED)
def test_a_missing_or_malformed_value_is_named(
    model: Path, name: str, section: str | None, key: str, value: object
) -> None:
    def spoil(record: dict[str, Any]) -> None:
        inner = record[section] if section else record
        inner[key] = value
        if value is None:
            del inner[key]

    edit(model / name, spoil)
    with pytest.raises(ModelFolderError, match=rf"{name}: .*{key}"):
        read_model_constants(model)


@pytest.mark.parametrize("size", [0, -14, 14.0])
def test_sizes_are_positive_integers(model: Path, size: float) -> None:
    edit(model / "preprocessor_config.json", lambda record: record.update(patch_size=size))
    with pytest.raises(ModelFolderError, match=f"'patch_size' is {size}, not a positive integer"):
        read_model_constants(model)


@pytest.mark.parametrize("token", ["<|im_start|>", "<|im_end|>", "<|endoftext|>", "<|vision_start|>", "<|image_pad|>"])
def test_a_missing_special_token_is_named(model: Path, token: str) -> None:
    def remove(tokenizer: dict[str, Any]) -> None:
        tokenizer["added_tokens"] = [added for added in tokenizer["added_tokens"] if added["content"] != token]

    edit(model / "tokenizer.json", remove)
    with pytest.raises(ModelFolderError) as raised:
        read_model_constants(model)
    assert f"tokenizer.json: {token!r} is missing" in str(raised.value)


@pytest.mark.parametrize("spoiled", [{"added_tokens": None}, {"added_tokens": [3]}, {"model": {}}, {"model": None}])
def test_a_tokenizer_of_another_form_is_refused(model: Path, spoiled: dict[str, Any]) -> None:
    edit(model / "tokenizer.json", lambda tokenizer: tokenizer.update(spoiled))
    with pytest.raises(ModelFolderError, match=r"is not a tokenizer.json with a vocabulary"):
        read_model_constants(model)


def test_another_kind_of_model_is_refused(model: Path) -> None:
    edit(model / "config.json", lambda config: config.update(model_type="llama"))
    with pytest.raises(ModelFolderError, match=r"model_type 'llama' is not one of qwen2_5_vl, qwen2_vl"):
        read_model_constants(model)


# --- contradictions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("section", "key", "name"),
    [
        ("vision_config", "patch_size", "patch_size"),
        ("vision_config", "spatial_merge_size", "merge_size"),
        ("vision_config", "temporal_patch_size", "temporal_patch_size"),
        (None, "image_token_id", "image_token_id"),
        (None, "video_token_id", "video_token_id"),
        (None, "vision_start_token_id", "vision_start_token_id"),
        (None, "vision_end_token_id", "vision_end_token_id"),
    ],
)
def test_a_number_said_twice_must_agree(model: Path, section: str | None, key: str, name: str) -> None:
    edit(model / "config.json", lambda config: (config[section] if section else config).update({key: 7}))
    with pytest.raises(ModelFolderError, match=rf"config.json says {name} is 7,.*the files are of different models"):
        read_model_constants(model)


def test_a_tokenizer_larger_than_the_vocabulary_is_refused(model: Path) -> None:
    edit(model / "config.json", lambda config: config.update(vocab_size=500))
    with pytest.raises(ModelFolderError, match=r"token id \d+, config.json says vocab_size is 500"):
        read_model_constants(model)


def test_windows_are_whole_cells(model: Path) -> None:
    edit(model / "config.json", lambda config: config["vision_config"].update(window_size=100))
    with pytest.raises(ModelFolderError, match="window_size 100 is no multiple"):
        read_model_constants(model)


def test_only_one_rescale_factor_suits_uint8(model: Path) -> None:
    edit(model / "preprocessor_config.json", lambda record: record.update(rescale_factor=0.00392156862745098))
    assert read_model_constants(model).rescale_factor == 0.00392156862745098
    edit(model / "preprocessor_config.json", lambda record: record.update(rescale_factor=1 / 127.5))
    with pytest.raises(ModelFolderError, match="is not 1/255"):
        read_model_constants(model)


# --- numbers and ids that would spoil what follows ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "section", "key", "value"),
    [
        ("preprocessor_config.json", None, "image_std", [0.3, 0, 0.3]),
        ("preprocessor_config.json", None, "image_std", [0.3, -0.3, 0.3]),
        ("preprocessor_config.json", None, "image_std", [0.3, float("nan"), 0.3]),
        ("preprocessor_config.json", None, "image_mean", [0.3, float("nan"), 0.3]),
        ("preprocessor_config.json", None, "image_mean", [0.3, float("inf"), 0.3]),
        ("preprocessor_config.json", None, "image_mean", [0.3, True, 0.3]),
        ("preprocessor_config.json", None, "image_mean", [0.3, 10**400, 0.3]),
        ("preprocessor_config.json", None, "rescale_factor", float("nan")),
        ("preprocessor_config.json", None, "patch_size", 1 << 31),
        ("config.json", "vision_config", "tokens_per_second", float("inf")),
        ("config.json", "vision_config", "tokens_per_second", float("nan")),
        ("config.json", "vision_config", "tokens_per_second", 0),
        ("config.json", "vision_config", "tokens_per_second", -2),
    ],
)
def test_numbers_that_nothing_can_be_computed_with_are_refused(
    model: Path, name: str, section: str | None, key: str, value: object
) -> None:
    edit(model / name, lambda record: (record[section] if section else record).update({key: value}))
    with pytest.raises(ModelFolderError, match=rf"{name}: '{key}' is .*, not a"):
        read_model_constants(model)


@pytest.mark.parametrize("number", ["905", True, -1, 1.5, None])
def test_ids_of_tokens_are_whole_numbers(model: Path, number: object) -> None:
    edit(model / "tokenizer.json", lambda tokenizer: tokenizer["model"]["vocab"].update(cat=number))
    with pytest.raises(ModelFolderError, match=r"tokenizer\.json: the id of token 'cat' is .*, not a whole number"):
        read_model_constants(model)


@pytest.mark.parametrize("other", ["<|video_pad|>", "<|endoftext|>"])
def test_two_tokens_of_one_id_are_refused(model: Path, other: str) -> None:
    """Equal pads would make images of videos."""

    def spoil(tokenizer: dict[str, Any]) -> None:
        ids = {added["content"]: added for added in tokenizer["added_tokens"]}
        ids["<|image_pad|>"]["id"] = ids[other]["id"]

    edit(model / "tokenizer.json", spoil)
    with pytest.raises(ModelFolderError, match=r"tokenizer\.json: .* and .* both have id \d+"):
        read_model_constants(model)
