"""Every flag of the Qwen launch script is taken, renamed or refused with where it went; files say the same."""

from __future__ import annotations

from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from demo_build import Demo
from hypothesis import given, settings
from hypothesis import strategies as st

from preprocess.cli.arguments import describe_flags, parse_config
from preprocess.cli.flags import TRAINING_FLAGS
from preprocess.config import EncodingConfig, RunConfig
from preprocess.errors import ConfigError
from train.arguments import FIELDS
from train.cli.flags import ELSEWHERE

REQUIRED = ["--model=m", "--datasets=d.yaml", "--dataset_use=coco", "--output_dir=out"]


def parse(*arguments: str) -> tuple[RunConfig, list[str]]:
    """The configuration, and the lines that the user is told."""
    notes: list[str] = []
    return parse_config([*REQUIRED, *arguments], notes.append), notes


def config_of(*arguments: str) -> RunConfig:
    config, notes = parse(*arguments)
    assert notes == []
    return config


def refusal(*arguments: str) -> str:
    notes: list[str] = []
    with pytest.raises(ConfigError) as raised:
        parse_config(arguments, notes.append)
    assert notes == [], "a refusal is one line"
    assert "\n" not in str(raised.value)
    return str(raised.value)


def write(folder: Path, text: str, name: str = "run.yaml") -> str:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return str(path)


# --- the Qwen launch script ----------------------------------------------------------------------------------------

TAKEN: dict[str, tuple[str, dict[str, Any]]] = {
    "dataset_use": ("coco%50,clips", {"dataset_use": "coco%50,clips"}),
    "output_dir": ("shards", {"output_dir": Path("shards")}),
    "max_pixels": ("50176", {"max_pixels": 50176}),
    "min_pixels": ("784", {"min_pixels": 784}),
    "base_interval": ("1", {"base_interval": 1.0}),
    "video_max_frames": ("16", {"video_max_frames": 16}),
    "video_min_frames": ("2", {"video_min_frames": 2}),
    "video_max_frame_pixels": ("12544", {"video_max_frame_pixels": 12544}),
    "video_min_frame_pixels": ("784", {"video_min_frame_pixels": 784}),
}
RENAMED: dict[str, tuple[str, dict[str, Any], str]] = {
    "model_name_or_path": ("/models/q", {"model": Path("/models/q")}, "--model_name_or_path is called --model here"),
    "model_max_length": ("8192", {"pack_length": 8192}, "--model_max_length is called --pack_length here"),
    "data_packing": ("True", {"packing": "global"}, "--data_packing True is --packing global here"),
    "data_flatten": ("False", {}, "--data_flatten False has no effect"),
    "cache_dir": ("./cache", {}, "--cache_dir is ignored"),
}
REFUSED = {
    "tune_mm_llm": "True",
    "tune_mm_vision": "False",
    "tune_mm_mlp": "True",
    "bf16": "",
    "per_device_train_batch_size": "4",
    "gradient_accumulation_steps": "4",
    "learning_rate": "2e-7",
    "mm_projector_lr": "1e-5",
    "vision_tower_lr": "1e-6",
    "optim": "adamw_torch",
    "num_train_epochs": "0.5",
    "warmup_ratio": "0.03",
    "lr_scheduler_type": "cosine",
    "weight_decay": "0",
    "logging_steps": "1",
    "save_steps": "1000",
    "save_total_limit": "1",
    "deepspeed": "zero3.json",
}
LAUNCH_SCRIPT = (
    *("model_name_or_path", "tune_mm_llm", "tune_mm_vision", "tune_mm_mlp", "dataset_use", "output_dir"),
    *("cache_dir", "bf16", "per_device_train_batch_size", "gradient_accumulation_steps", "learning_rate"),
    *("mm_projector_lr", "vision_tower_lr", "optim", "model_max_length", "data_flatten", "data_packing"),
    *("max_pixels", "min_pixels", "base_interval", "video_max_frames", "video_min_frames", "video_max_frame_pixels"),
    *("video_min_frame_pixels", "num_train_epochs", "warmup_ratio", "lr_scheduler_type", "weight_decay"),
    *("logging_steps", "save_steps", "save_total_limit", "deepspeed"),
)


def test_every_flag_of_the_launch_script_has_its_place() -> None:
    assert len(LAUNCH_SCRIPT) == 32
    assert sorted([*TAKEN, *RENAMED, *REFUSED]) == sorted(LAUNCH_SCRIPT)


@pytest.mark.parametrize("flag", TAKEN)
def test_a_flag_about_data_is_taken(flag: str) -> None:
    value, expected = TAKEN[flag]
    config = config_of(f"--{flag}", value)
    assert {name: getattr(config, name) for name in expected} == expected
    assert {name: getattr(config_of(), name) for name in expected} != expected


@pytest.mark.parametrize("flag", RENAMED)
def test_a_renamed_flag_works_and_a_note_says_its_name(flag: str) -> None:
    value, expected, note = RENAMED[flag]
    config, notes = parse(f"--{flag}", value)
    assert {name: getattr(config, name) for name in expected} == expected
    [line] = notes
    assert line.startswith(note)


@pytest.mark.parametrize(
    ("flag", "of_all", "of_each"),
    [
        ("video_max_pixels", "video_total_pixels", "video_max_frame_pixels"),
        ("video_min_pixels", "video_min_total_pixels", "video_min_frame_pixels"),
    ],
)
def test_limits_of_the_newer_scripts_are_told_apart(flag: str, of_all: str, of_each: str, tmp_path: Path) -> None:
    expected = (
        f": say --{of_all} for all frames together, as Qwen3-VL's processor counts, or --{of_each} for each of them"
    )
    assert refusal(*REQUIRED, f"--{flag}=784") == f"--{flag} 784{expected}"
    assert of_all in refusal(*REQUIRED, "--config", write(tmp_path, f"{flag}: 784\n"))


@pytest.mark.parametrize("flag", REFUSED)
def test_a_flag_about_training_is_refused_with_where_it_went(flag: str) -> None:
    words = [f"--{flag}", REFUSED[flag]] if REFUSED[flag] else [f"--{flag}"]
    value = REFUSED[flag] or "true"
    assert refusal(*REQUIRED, *words) == (
        f"--{flag} belongs to training: bash scripts/train.sh OUTPUT_DIR --{flag} {value}"
    )


TAKEN_FROM_TRAINING = {"data_flatten", "cache_dir", "model_name_or_path", "model_max_length", "data_packing"}
TRAINED_ONLY = sorted({*FIELDS, *ELSEWHERE} - {field.name for field in fields(RunConfig)} - TAKEN_FROM_TRAINING)


@pytest.mark.parametrize("flag", [flag for flag in TRAINED_ONLY if flag != "shards"])
def test_every_flag_that_training_alone_knows_is_sent_there(flag: str) -> None:
    assert (
        refusal(*REQUIRED, f"--{flag}=x")
        == f"--{flag} belongs to training: bash scripts/train.sh OUTPUT_DIR --{flag} x"
    )


def test_what_is_sent_to_training_is_known_there() -> None:
    assert set(TRAINING_FLAGS) == set(TRAINED_ONLY) - {"shards"}  # train.sh takes the shards as its first word
    assert set(REFUSED) < set(TRAINING_FLAGS)
    assert len(TRAINING_FLAGS) == len(set(TRAINING_FLAGS))


def test_packing_can_be_switched_off_by_either_name() -> None:
    assert config_of("--packing", "none").packing == "none"
    config, notes = parse("--data_packing", "False")
    assert config.packing == "none"
    assert notes == ["--data_packing False is --packing none here"]
    assert config_of("--data_flatten", "True") == config_of()


@pytest.mark.parametrize("flag", ["data_packing", "data_flatten"])
def test_a_switch_is_true_or_false(flag: str) -> None:
    assert refusal(*REQUIRED, f"--{flag}=maybe") == f"--{flag} maybe: say True or False"


# --- the command line ----------------------------------------------------------------------------------------------


def test_defaults_are_those_of_the_configuration() -> None:
    assert config_of() == RunConfig(
        model=Path("m"), datasets=Path("d.yaml"), dataset_use="coco", output_dir=Path("out")
    )


def test_every_field_is_a_flag_and_is_described() -> None:
    shown = describe_flags("run")
    for field in fields(RunConfig):
        assert f"--{field.name} " in shown
        assert field.metadata["help"]


@pytest.mark.parametrize("command", ["plan", "run"])
def test_the_help_says_what_must_be_given_and_no_types_of_python(command: str) -> None:
    shown = " ".join(describe_flags(command).split())
    assert shown.count("(required)") == len(REQUIRED)
    for field in fields(RunConfig):
        [(_, _, described)] = [shown.partition(f" --{field.name} ")]
        assert field.metadata["help"] in described
        if field.default not in (MISSING, None):
            assert f"{field.metadata['help']} (default: {field.default})" in described
    assert "--format {arrow,mindrecord}" in shown
    assert "--overwrite {true,false}" in shown
    assert "576*28*28" in shown
    for word in ("type:", "<class", "null", "None", "typing"):
        assert word not in shown


@pytest.mark.parametrize(
    "words",
    [
        ["--max_pixels", "9408"],
        ["--max_pixels=9408"],
        ["--max-pixels", "9408"],
        ["--max_pixels=1", "--max_pixels=9408"],
    ],
)
def test_flags_may_be_written_in_several_ways_and_the_last_wins(words: list[str]) -> None:
    assert config_of("--min_pixels=784", *words).max_pixels == 9408


@pytest.mark.parametrize(
    ("written", "number"), [("12*28*28", 9408), (" 12 * 28 * 28 ", 9408), ("9_408", 9408), ("9408", 9408)]
)
def test_products_are_understood(written: str, number: int) -> None:
    assert config_of("--min_pixels=784", f"--max_pixels={written}").max_pixels == number
    assert config_of(f"--pack_patches={written}").pack_patches == number


@settings(max_examples=25)
@given(st.lists(st.integers(1, 1000), min_size=1, max_size=4))
def test_a_product_is_that_of_its_factors(factors: list[int]) -> None:
    product = 1
    for factor in factors:
        product *= factor
    assert config_of("--max_pixels=" + "*".join(map(str, factors))).max_pixels == product


def test_only_numbers_are_multiplied() -> None:
    config = config_of("--output_dir=2*3", "--dataset_use=4*5")
    assert (config.output_dir, config.dataset_use) == (Path("2*3"), "4*5")


@pytest.mark.parametrize(
    ("word", "value"),
    [("true", True), ("True", True), ("false", False), ("False", False), ("no", False), ("yes", True), ("off", False)],
)
def test_booleans(word: str, value: bool) -> None:
    assert config_of(f"--supervise_newline={word}").supervise_newline is value
    assert config_of("--supervise_newline=false", "--supervise_newline").supervise_newline is True


def test_text_stays_text() -> None:
    for text in ("123", "null", "true", "[a, b]", "{}", "1e3", "~", "007", "a: b", "'q'"):
        config = config_of(f"--dataset_use={text}", f"--model={text}")
        assert (config.dataset_use, config.model) == (text, Path(text).expanduser())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--max_pixel=1"], "unknown flag --max_pixel; did you mean --max_pixels?"),
        (["--dataset_uses=x"], "unknown flag --dataset_uses; did you mean --dataset_use?"),
        (["--model_name=x"], "unknown flag --model_name; did you mean --model"),
        (["--colour"], "unknown flag --colour; python -m preprocess run --help lists them"),
        (["--="], "unknown flag --; "),
        (["run.yaml"], "'run.yaml' stands alone; a file of flags is given as --config run.yaml"),
        (["-c", "run.yaml"], "'-c' stands alone"),
        (["--"], "'--' stands alone"),
        (["--seed", "1", "2"], "'2' stands alone"),
        (["--seed=1.5"], "--seed 1.5: say a whole number, or a product such as 576*28*28"),
        (["--seed"], "--seed needs a value"),
        (["--reuse"], "--reuse needs a value"),
        (["--reuse="], "--reuse '': say a path"),
        (["--config"], "--config needs a YAML file"),
        (["--seed=null"], "--seed null: say a whole number"),
        (["--seed="], "--seed '': say a whole number"),
        (["--seed=1\n2"], "--seed '1\\n2': say a whole number"),
        (["--seed=x", "--seed=1"], "--seed x: say a whole number"),
        (["--max_pixels=abc"], "--max_pixels abc: say a whole number, or model"),
        (["--pack_length=abc"], "--pack_length abc: say a whole number, or a product such as 576*28*28"),
        (["--max_pixels=1e6"], "--max_pixels 1e6: say a whole number"),
        (["--max_pixels=2*x"], "--max_pixels 2*x: say a whole number"),
        (["--max_pixels=2*"], "--max_pixels 2*: say a whole number"),
        (["--max_pixels=" + "9" * 5000], "9: say a whole number"),
        (["--max_pixels=" + "9" * 5000 + "*2"], "9*2: say a whole number"),
        (["--max_pixels=" + "9" * 4000 + "*" + "9" * 4000], "9: say a whole number"),
        (["--base_interval=nan"], "base_interval is nan; it must be positive"),
        (["--base_interval=often"], "--base_interval often: say a number"),
        (["--supervise_newline=1"], "--supervise_newline 1: say True or False"),
        (["--video_decoder=opencv"], "--video_decoder opencv: say decord or pyav"),
        (["--format=webdataset"], "--format webdataset: say arrow or mindrecord"),
        (["--format=mindrecord", "--shard_bytes=5*1024*1024*1024"], "a MindRecord shard takes at most 4294967296"),
        (["--pack_patches=most"], "--pack_patches most: say a whole number, or auto"),
        (["--min_pixels=9000", "--max_pixels=28*28"], "min_pixels (9000) is larger than max_pixels (784)"),
    ],
)
def test_a_wrong_flag_is_refused_in_one_line(words: list[str], message: str) -> None:
    assert message in refusal(*REQUIRED, *words)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", [name for name, kind in get_type_hints(RunConfig).items() if kind is float])
def test_no_field_takes_what_is_no_number(name: str, number: str) -> None:
    assert refusal(*REQUIRED, f"--{name}={number}").startswith(f"{name} is {number}; ")


def test_what_is_missing_is_named() -> None:
    assert refusal("--model=m", "--output_dir=o") == (
        "--dataset_use, --datasets must be given, on the command line or in --config FILE"
    )


# --- configuration files -------------------------------------------------------------------------------------------


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    path = write(tmp_path, "max_pixels: 12*28*28\nmin_pixels: 784\nseed: 5\n")
    config = config_of("--seed=6", "--config", path)
    assert (config.max_pixels, config.min_pixels, config.seed) == (9408, 784, 6)


def test_of_two_files_the_later_wins(tmp_path: Path) -> None:
    one, two = write(tmp_path, "seed: 1\nworkers: 3", "1.yaml"), write(tmp_path, "seed: 2", "2.yaml")
    config = config_of(f"--config={one}", f"--config={two}")
    assert (config.seed, config.workers) == (2, 3)


def test_paths_in_a_file_are_relative_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path, "model: m\ndatasets: ../d.yaml\noutput_dir: /out\ndataset_use: a/b", "configs/run.yaml")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    config = parse_config(["--config", "../configs/run.yaml"], pytest.fail)
    assert config.model.resolve() == tmp_path / "configs" / "m"
    assert config.datasets.resolve() == tmp_path / "d.yaml"
    assert config.output_dir == Path("/out")
    assert config.dataset_use == "a/b"
    monkeypatch.chdir(tmp_path)
    assert config.model.resolve() == tmp_path / "configs" / "m"


def test_renamed_paths_in_a_file_are_relative_to_it_too(tmp_path: Path) -> None:
    path = write(tmp_path, "model_name_or_path: m\nmodel-max-length: 2*1024")
    config, notes = parse(f"--config={path}")
    assert config.pack_length == 2048
    assert parse_config([f"--config={path}", *REQUIRED[1:]], notes.append).model == tmp_path / "m"
    assert len(notes) == 4


def test_values_in_a_file_are_taken_as_they_stand_there(tmp_path: Path) -> None:
    """YAML would make 7, a date and a boolean of them."""
    path = write(tmp_path, "model: 007\ndatasets: 2026-13-45\noutput_dir: 1e3\ndataset_use: no")
    config = parse_config([f"--config={path}"], pytest.fail)
    names = (config.model, config.datasets, config.output_dir)
    assert names == (tmp_path / "007", tmp_path / "2026-13-45", tmp_path / "1e3")
    assert config.dataset_use == "no"


@pytest.mark.parametrize("text", ["seed: 4\r\n", "\ufeffseed: 4", "# a comment\nseed: 4 # four"])
def test_files_of_other_systems_are_read(tmp_path: Path, text: str) -> None:
    assert config_of(f"--config={write(tmp_path, text)}").seed == 4


def test_all_kinds_of_values_in_a_file(tmp_path: Path) -> None:
    path = write(tmp_path, "supervise_newline: false\nbase_interval: .5\nworkers: 0\npack_patches: auto\nseed: 1_000")
    config = config_of(f"--config={path}")
    assert config.supervise_newline is False
    assert (config.base_interval, config.workers, config.pack_patches, config.seed) == (0.5, 0, "auto", 1000)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "must be a YAML mapping"),
        ("- seed", "must be a YAML mapping"),
        ("seed: [1", "can't be read as YAML"),
        ("[" * 500, "can't be read as YAML"),
        ("seed: 1\nseed: 2", "'seed' stands twice"),
        ("max_pixels: 1\nmax-pixels: 2", "FILE: max_pixels stands twice; keep one"),
        ("seed:", "seed must be one value, not nothing"),
        ("seed: null", "seed must be one value, not null"),
        ("seed: ~", "seed must be one value, not ~"),
        ("dataset_use: [a, b]", "dataset_use must be one value, not ['a', 'b']"),
        ("video: {max_frames: 3}", "video must be one value"),
        ("config: other.yaml", "config can't stand in a file; give --config twice"),
        ("maxpixels: 3", "FILE: unknown key maxpixels; did you mean max_pixels?"),
        ("max-pixls: 3", "FILE: unknown key max_pixls; did you mean max_pixels?"),
        ("3: 3", "FILE: unknown key 3; python -m preprocess run --help lists them"),
        (
            "learning_rate: 1e-6",
            "FILE: learning_rate belongs to training: bash scripts/train.sh OUTPUT_DIR --learning_rate 1e-6",
        ),
        ("data_packing: maybe", "FILE: data_packing maybe: say True or False"),
        ("seed: first", "FILE: seed first: say a whole number"),
        ("workers: true", "FILE: workers true: say a whole number"),
        ('model: "a\\0b"', "holds a NUL character"),
        ('model: "\\udce9"', "is not UTF-8"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = write(tmp_path, text)
    message = message.replace("FILE", f"--config {path}")
    assert message in refusal(*REQUIRED[1:], f"--config={path}", *([] if "model" in text else REQUIRED[:1]))


def test_a_file_that_can_not_be_read_is_refused(tmp_path: Path) -> None:
    assert "missing.yaml: No such file" in refusal(f"--config={tmp_path / 'missing.yaml'}")
    assert "Is a directory" in refusal(f"--config={tmp_path}")
    (tmp_path / "latin.yaml").write_bytes(b"model: caf\xe9")
    assert "latin.yaml: 'utf-8' codec can't decode" in refusal(f"--config={tmp_path / 'latin.yaml'}")


def test_the_demo_configuration_is_read(demo: Demo) -> None:
    config = parse_config([f"--config={demo.config}"], pytest.fail)
    assert config.model == demo.model
    assert config.datasets == demo.registry
    assert {field.name for field in fields(EncodingConfig)} < {field.name for field in fields(config)}


def test_registries_are_several_words_or_a_list_in_a_file(tmp_path: Path) -> None:
    rest = [word for word in REQUIRED if not word.startswith("--datasets")]
    file = tmp_path / "run.yaml"
    file.write_text("datasets: [a.yaml, sub/b.py]")
    in_file = (tmp_path / "a.yaml", tmp_path / "sub" / "b.py")
    for words, expected in (
        (["--datasets", "a.yaml", "b.yaml"], (Path("a.yaml"), Path("b.yaml"))),
        (["--datasets=a.yaml", "--datasets", "b.yaml"], (Path("b.yaml"),)),
        ([f"--config={file}"], in_file),
        ([f"--config={file}", "--datasets=c.yaml"], (Path("c.yaml"),)),
    ):
        assert parse_config([*rest, *words], lambda line: None).registries == expected
    file.write_text("dataset_use: [a, b]")
    with pytest.raises(ConfigError, match="dataset_use must be one value"):
        parse_config([*REQUIRED, f"--config={file}"], lambda line: None)
    file.write_text("datasets: []")
    with pytest.raises(ConfigError, match="datasets must be one value"):
        parse_config([*rest, f"--config={file}"], lambda line: None)


def test_a_variable_that_is_not_set_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("UNSET", raising=False)
    with pytest.raises(ConfigError, match=r"--model .*: the variable \$UNSET is not set"):
        parse_config([*REQUIRED, "--model=$UNSET/m"], lambda line: None)
    with pytest.raises(ConfigError, match=r"--config .*: the variable \$UNSET is not set"):
        parse_config([*REQUIRED, "--config=$UNSET/m.yaml"], lambda line: None)
