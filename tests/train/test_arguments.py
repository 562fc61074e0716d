import dataclasses
from pathlib import Path
from typing import get_type_hints

import pytest

from train.__main__ import main
from train.arguments import FIELDS, TrainArguments
from train.cli.command_line import CommandLine, parse_command_line
from train.cli.flags import ELSEWHERE
from train.errors import UsageError

REQUIRED = {"shards": "packs", "model": "qwen", "output_dir": "out"}
FLAGS = [text for name, value in REQUIRED.items() for text in (f"--{name}", value)]
PREPROCESS = "belongs to `python -m preprocess run`"

# Every flag of the Qwen launch script, and the others that its users add: what this command answers to it.
# A field: the value reaches TrainArguments. "note": goes on, and says something. Otherwise: words of the refusal.
LAUNCH_SCRIPT = [
    ("model_name_or_path", "other", "note"),
    ("tune_mm_llm", "True", True),
    ("tune_mm_llm", "False", False),
    ("tune_mm_vision", "True", True),
    ("tune_mm_vision", "False", False),
    ("tune_mm_mlp", "True", True),
    ("tune_mm_mlp", "False", False),
    ("dataset_use", "coco%50", PREPROCESS),
    ("output_dir", "out", Path("out")),
    ("cache_dir", "cache", "note"),
    ("bf16", "False", False),
    ("bf16", "True", True),
    ("bf16", None, True),
    ("per_device_train_batch_size", "4", 4),
    ("gradient_accumulation_steps", "2*4", 8),
    ("learning_rate", "2e-7", 2e-7),
    ("mm_projector_lr", "1e-6", 1e-6),
    ("vision_tower_lr", "1e-5", 1e-5),
    ("optim", "adamw_mindspore", "adamw_mindspore"),
    ("optim", "adamw_torch", "the only optimizer is adamw_mindspore"),
    ("model_max_length", "8192", "`pack_length`"),
    ("data_flatten", "True", True),
    ("data_flatten", None, True),
    ("data_flatten", "False", "note"),
    ("data_packing", "True", "`packing`"),
    ("data_packing", "False", "`packing: none`"),
    ("max_pixels", "576*28*28", PREPROCESS),
    ("min_pixels", "16*28*28", PREPROCESS),
    ("base_interval", "2", PREPROCESS),
    ("video_max_frames", "8", PREPROCESS),
    ("video_min_frames", "4", PREPROCESS),
    ("video_max_frame_pixels", "1664*28*28", PREPROCESS),
    ("video_min_frame_pixels", "256*28*28", PREPROCESS),
    ("num_train_epochs", "0.5", 0.5),
    ("warmup_ratio", "0.03", 0.03),
    ("lr_scheduler_type", "cosine", "cosine"),
    ("lr_scheduler_type", "polynomial", "cosine, linear, constant, cosine_with_min_lr"),
    ("lr_scheduler_type", "cosine_with_min_lr", "needs min_lr or min_lr_rate"),
    ("lr_scheduler_kwargs", '{"min_lr": 0}', "--min_lr or --min_lr_rate"),
    ("min_lr", "1e-7", "needs lr_scheduler_type cosine_with_min_lr"),
    ("min_lr_rate", "0.1", "needs lr_scheduler_type cosine_with_min_lr"),
    ("weight_decay", "0.01", 0.01),
    ("logging_steps", "10", 10),
    ("save_steps", "1000", 1000),
    ("save_total_limit", "1", 1),
    ("resume_from_checkpoint", "True", True),
    ("resume_from_checkpoint", "false", False),
    ("resume_from_checkpoint", None, True),
    ("zero_stage", "3", 3),
    ("zero_stage", "4", "must be one of 0, 1, 2, 3"),
    ("device_memory", "64", 64.0),
    ("device_memory", "0", "must be above 0"),
    ("deepspeed", "absent.json", "can't be read"),
    ("nproc", "8", "scripts/train.sh"),
    ("gradient_checkpointing", "False", False),
    ("gradient_checkpointing", "True", True),
    ("max_grad_norm", "0", 0.0),
    ("max_steps", "100", 100),
    ("warmup_steps", "10", 10),
    ("seed", "7", 7),
    ("run_name", "mine", "note"),
    ("report_to", "none", "none"),
    ("report_to", "tensorboard", "tensorboard"),
    ("report_to", "wandb", "metrics.jsonl"),
    ("disable_tqdm", "True", True),
    ("save_strategy", "no", "no"),
    ("save_strategy", "epoch", "epoch"),
    ("save_strategy", "best", "no, steps, epoch"),
    ("eval_strategy", "no", "no"),
    ("eval_strategy", "steps", "--eval_shards"),
    ("eval_steps", "100", 100),
    ("per_device_eval_batch_size", "8", "note"),
    ("dataloader_num_workers", "4", "note"),
    ("tune_mm_lora", "True", "note"),
    ("lora_enable", "True", True),
    ("lora_enable", None, True),
    ("lora_r", "8", "note"),
    ("lora_alpha", "16", "note"),
    ("lora_dropout", "0.05", "note"),
    ("lora_target_modules", "q_proj", "note"),
    ("lora_adapter", "adapter", "needs --lora_enable"),
]


def parse(*argv: str) -> CommandLine:
    return parse_command_line([*FLAGS, *argv])


def refusal(*argv: str) -> str:
    with pytest.raises(UsageError) as error:
        parse(*argv)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("in_file", [False, True], ids=["flag", "yaml"])
@pytest.mark.parametrize(("name", "value", "answer"), LAUNCH_SCRIPT, ids=lambda part: str(part)[:30])
def test_every_flag_of_the_launch_script_has_its_answer(
    name: str, value: str | None, answer: object, in_file: bool, tmp_path: Path
) -> None:
    argv = [f"--{name}"] if value is None else [f"--{name}", value]
    if in_file:
        (tmp_path / "run.yaml").write_text(f"{name}: {value or True}\n")
        argv = ["--config", str(tmp_path / "run.yaml")]
    if isinstance(answer, str) and answer not in (value, "note"):
        message = refusal(*argv)
        assert name in message
        assert answer in message
        return
    parsed = parse(*argv)
    if answer == "note":
        assert any(name in note for note in parsed.notes)
    else:
        assert getattr(parsed.arguments, name) == answer
        assert not parsed.notes


def test_the_list_holds_every_flag_that_is_not_our_own() -> None:
    listed = {name for name, _, _ in LAUNCH_SCRIPT}
    ours = {
        "shards",
        "eval_shards",
        "model",
        "backend",
        "device",
        "checkpoint_writer",
        "check_replicas",
        "deterministic",
        "jit_level",
        "log_samples",
        "profile_steps",
        "datasets",
        "pack_length",
        "pack_patches",
        "packing",
    }
    assert listed | ours == set(FIELDS) | set(ELSEWHERE)
    assert not set(FIELDS) & set(ELSEWHERE)


def test_defaults_are_those_of_the_dataclass() -> None:
    assert parse().arguments == TrainArguments(**{name: Path(value) for name, value in REQUIRED.items()})


def test_command_line_wins_over_the_file_and_the_last_flag_over_the_first(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("learning_rate: 1e-3\nseed: 5\nmodel_name_or_path: from_file\nmax_steps: 2*3\n")
    arguments = parse("--learning_rate", "1e-4", "--config", str(config), "--learning_rate=1e-5").arguments
    assert arguments.learning_rate == 1e-5
    assert arguments.seed == 5
    assert arguments.model == Path("qwen")
    assert arguments.max_steps == 6


def test_lora_flags_are_taken_with_lora_enable(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("tune_mm_lora: True\nlora_adapter: adapter\nlora_target_modules: q_proj,v_proj\n")
    arguments = parse(
        "--config", str(config), "--lora_r", "8", "--lora_alpha", "16", "--lora_dropout", "0.05"
    ).arguments
    assert arguments.lora_enable
    assert arguments.lora_adapter == tmp_path / "adapter"
    assert (arguments.lora_r, arguments.lora_alpha, arguments.lora_dropout) == (8, 16, 0.05)
    assert arguments.lora_target_modules == "q_proj,v_proj"
    assert not any("no effect" in note for note in parse("--lora_enable", "--lora_r", "8").notes)


def test_evaluation_needs_shards_and_a_strategy() -> None:
    assert "--eval_strategy" in refusal("--eval_shards", "other")
    parsed = parse("--eval_shards", "other", "--eval_strategy", "epoch").arguments
    assert parsed.eval_shards == Path("other")


def test_a_checkpoint_to_resume_from_is_a_path_and_relative_to_the_file(tmp_path: Path) -> None:
    assert parse("--resume_from_checkpoint", "out/checkpoint-5").arguments.resume_from_checkpoint == Path(
        "out/checkpoint-5"
    )
    (tmp_path / "run.yaml").write_text("resume_from_checkpoint: out/checkpoint-5\n")
    arguments = parse("--config", str(tmp_path / "run.yaml")).arguments
    assert arguments.resume_from_checkpoint == tmp_path / "out" / "checkpoint-5"


@pytest.mark.parametrize(
    ("text", "reporters"),
    [("none", ()), ("all", ("tensorboard",)), ("tensorboard", ("tensorboard",)), ("tensorboard,", None)],
)
def test_reporters_are_a_list(text: str, reporters: tuple[str, ...] | None) -> None:
    if reporters is None:
        assert "report_to" in refusal("--report_to", text)
    else:
        assert parse("--report_to", text).arguments.reporters == reporters


def test_dashes_are_underscores() -> None:
    assert parse("--logging-steps", "3").arguments.logging_steps == 3


def test_an_alias_stands_for_its_field() -> None:
    arguments = parse_command_line(["--shards", "s", "--output_dir", "o", "--model_name_or_path", "m"]).arguments
    assert arguments.model == Path("m")


def test_a_whole_run_can_stand_in_the_file(tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text("shards: s\nmodel: m\noutput_dir: o\nsave_strategy: no\ntune_mm_llm: true\nweight-decay: 0.1\n")
    arguments = parse_command_line(["--config", str(config)]).arguments
    assert (arguments.save_strategy, arguments.weight_decay) == ("no", 0.1)
    assert (arguments.shards, arguments.model) == (tmp_path / "s", tmp_path / "m"), "relative to the file"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--learnin_rate", "1"], "unknown flag --learnin_rate; did you mean --learning_rate?"),
        (["--learning-rates", "1"], "unknown flag --learning_rates; did you mean --learning_rate?"),
        (["--vision_lr", "1"], "did you mean --vision_tower_lr?"),
        (["--confg", "run.yaml"], "did you mean --config?"),
        (["--zzzz", "1"], "python -m train --help lists them"),
        (["learning_rate", "1"], "'learning_rate' stands alone; flags look like --name value"),
        (["-x"], "'-x' stands alone"),
        (["--seed"], "--seed needs a value"),
        (["--seed", "abc"], "--seed abc: say a whole number, or a product such as 576*28*28"),
        (["--seed", "3.5"], "--seed 3.5: say a whole number"),
        (["--max_steps", "2*"], "--max_steps 2*: say a whole number"),
        (["--seed", "abc", "--seed", "1"], "--seed abc: say a whole number"),
        (["--seed", "9" * 30], "say a whole number"),
        (["--learning_rate", "fast"], "--learning_rate fast: say a number"),
        (["--bf16", "maybe"], "--bf16 maybe: say True or False"),
        (["--config"], "needs a YAML file"),
        (["--config", "absent.yaml"], "--config absent.yaml: No such file"),
    ],
)
def test_wrong_flags_are_answered_in_one_line(argv: list[str], words: str) -> None:
    assert words in refusal(*argv)


_NUMBERS = [name for name, kind in get_type_hints(TrainArguments).items() if kind in (float, float | None)]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize("name", _NUMBERS)
def test_no_field_takes_what_is_no_number(name: str, number: str) -> None:
    argv = ["--lr_scheduler_type", "cosine_with_min_lr"] if name.startswith("min_lr") else []
    assert refusal(*argv, f"--{name}", number).startswith(f"{name} {number} must ")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("learnin_rate: 1\n", "run.yaml: unknown key learnin_rate; did you mean learning_rate?"),
        ("seed: [1, 2]\n", "seed must be one value, not ['1', '2']"),
        ("seed: {a: 1}\n", "seed must be one value, not {'a': '1'}"),
        ("seed: null\n", "seed must be one value, not null; leave the line out for the default"),
        ("bf16:\n", "bf16 must be one value, not nothing; leave the line out for the default"),
        ("seed: 1\nseed: 2\n", "'seed' stands twice"),
        ("config: other.yaml\n", "config can't stand in a file"),
        ("seed: many\n", "run.yaml: seed many: say a whole number"),
        ("just text\n", "must be a YAML mapping of names to values"),
        ("a: [\n", "can't be read as YAML"),
        ("logging_steps: 1\nlogging-steps: 2\n", "logging_steps stands twice; keep one"),
        ('shards: "a\\0b"\n', "holds a NUL character"),
    ],
)
def test_wrong_files_are_answered_in_one_line(text: str, words: str, tmp_path: Path) -> None:
    config = tmp_path / "run.yaml"
    config.write_text(text)
    assert words in refusal("--config", str(config))


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("per_device_train_batch_size", 0, "at least 1"),
        ("gradient_accumulation_steps", -1, "at least 1"),
        ("logging_steps", 0, "at least 1"),
        ("save_steps", 0, "at least 1"),
        ("eval_steps", 0, "at least 1"),
        ("save_total_limit", 0, "at least 1"),
        ("report_to", "tensorboard,wandb", "none, all or tensorboard"),
        ("max_steps", 0, "at least 1"),
        ("warmup_steps", -1, "not be negative"),
        ("warmup_ratio", 1.5, "between 0 and 1"),
        ("num_train_epochs", 0.0, "above 0"),
        ("learning_rate", float("nan"), "above 0"),
        ("learning_rate", 0.0, "above 0"),
        ("mm_projector_lr", 0.0, "above 0"),
        ("vision_tower_lr", -1e-6, "above 0"),
        ("weight_decay", -0.1, "not be negative"),
        ("max_grad_norm", float("inf"), "not be negative"),
        ("seed", -1, "not be negative"),
        ("lora_r", 0, "at least 1"),
        ("lora_alpha", 0, "at least 1"),
        ("lora_dropout", 0.9999999999, "from 0 to 0.999"),
        ("lora_dropout", float("nan"), "from 0 to 0.999"),
        ("device", "GPU", "auto, Ascend, CPU"),
    ],
)
def test_values_out_of_range_are_errors(name: str, value: object, words: str) -> None:
    with pytest.raises(UsageError, match=words) as error:
        dataclasses.replace(parse().arguments, **{name: value})
    assert name in str(error.value)


def test_learning_rates_are_independent_of_each_other() -> None:
    only_vision = parse("--learning_rate", "1e-5", "--vision_tower_lr", "1e-6").arguments
    assert only_vision.peaks == {"llm": 1e-5, "mlp": 1e-5, "vision": 1e-6}
    only_merger = parse("--learning_rate", "1e-5", "--mm_projector_lr", "1e-4").arguments
    assert only_merger.peaks == {"llm": 1e-5, "mlp": 1e-4, "vision": 1e-5}
    assert parse("--learning_rate", "1e-5").arguments.peaks == {"llm": 1e-5, "mlp": 1e-5, "vision": 1e-5}


def test_nothing_to_train_is_an_error() -> None:
    flags = [text for name in ("llm", "mlp", "vision") for text in (f"--tune_mm_{name}", "False")]
    assert parse(*flags[:4]).arguments.trained_groups == ("vision",)
    assert "nothing would be trained" in refusal(*flags)


def test_a_learning_rate_of_something_frozen_gives_a_note() -> None:
    (note,) = parse("--tune_mm_vision", "False", "--vision_tower_lr", "1e-6", "--mm_projector_lr", "1e-6").notes
    assert note == "vision_tower_lr has no effect, since tune_mm_vision is False"


def test_the_lowest_learning_rate_is_given_once_and_below_the_highest() -> None:
    schedule = ("--lr_scheduler_type", "cosine_with_min_lr", "--learning_rate", "1e-5")
    assert parse(*schedule, "--min_lr", "1e-6").arguments.lowest_factor == pytest.approx(0.1)
    assert parse(*schedule, "--min_lr_rate", "0.2").arguments.lowest_factor == 0.2
    assert parse("--lr_scheduler_type", "cosine").arguments.lowest_factor == 0
    assert "one of them" in refusal(*schedule, "--min_lr", "1e-6", "--min_lr_rate", "0.1")
    assert "between 0 and learning_rate" in refusal(*schedule, "--min_lr", "1e-4")
    assert "between 0 and" in refusal(*schedule, "--min_lr_rate", "-0.1")


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_folder_is_named(name: str) -> None:
    argv = [text for other, value in REQUIRED.items() if other != name for text in (f"--{other}", value)]
    with pytest.raises(UsageError, match=f"--{name} is missing"):
        parse_command_line(argv)


def test_help_explains_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(f"--{name}" in text for name in FIELDS)
    assert all(field.metadata["help"] for field in FIELDS.values())
    assert text.startswith("usage: python -m train ")
    assert all(f"{command} (" in text for command in ("launch", "preflight", "doctor", "merge"))


def test_wrong_usage_ends_with_code_2_and_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*FLAGS, "--packing", "none"]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("train: error: --packing ")
    assert err.count("\n") == 1
