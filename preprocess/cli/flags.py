"""Flags that users of the Qwen fine-tuning scripts type and that are not fields of RunConfig: where each one went."""

from __future__ import annotations

from dataclasses import replace
from types import MappingProxyType

from shards.errors import FlagError
from shards.flags.elsewhere import Alias, Elsewhere, Ignored, Translated
from shards.flags.settings import Setting, convert

TRAINING_FLAGS = (  # what `python -m train` knows and this command does not, be it refused or ignored there
    *("tune_mm_llm", "tune_mm_vision", "tune_mm_mlp", "tune_mm_lora"),
    *("lora_enable", "lora_r", "lora_alpha", "lora_dropout", "lora_target_modules", "lora_adapter"),
    *("bf16", "gradient_checkpointing", "device", "backend", "deepspeed", "nproc", "zero_stage", "device_memory"),
    *("per_device_train_batch_size", "gradient_accumulation_steps", "num_train_epochs", "max_steps"),
    *("learning_rate", "mm_projector_lr", "vision_tower_lr", "optim", "weight_decay", "max_grad_norm"),
    *("lr_scheduler_type", "lr_scheduler_kwargs", "min_lr", "min_lr_rate", "warmup_ratio", "warmup_steps"),
    *("logging_steps", "disable_tqdm", "report_to", "run_name", "dataloader_num_workers"),
    *("check_replicas", "log_samples", "profile_steps", "deterministic", "jit_level"),
    *("save_strategy", "save_steps", "save_total_limit", "resume_from_checkpoint", "checkpoint_writer"),
    *("eval_shards", "eval_strategy", "eval_steps", "per_device_eval_batch_size"),
)
PLAN_FLAGS = ("sweep", "packs_per_step", "rejects")


def _training(setting: Setting) -> tuple[None, str]:
    flag = f"--{setting.flag} {setting.text}"
    raise FlagError(f"{setting.name} belongs to training: bash scripts/train.sh OUTPUT_DIR {flag}")


def _plan(setting: Setting) -> tuple[None, str]:
    flag = f"--{setting.flag} {setting.text}"
    raise FlagError(f"{setting.name} belongs to the command line of plan: python -m preprocess plan {flag}")


def _data_packing(setting: Setting) -> tuple[Setting, str]:
    packing = "global" if convert(setting, bool) else "none"
    note = f"{setting.name} {setting.text} is {setting.written('packing')} {packing} here"
    return replace(setting, flag="packing", value=packing), note


def _data_flatten(setting: Setting) -> tuple[None, str]:
    if convert(setting, bool):
        return None, ""
    return None, f"{setting.name} False has no effect: the samples of a row always stand one after another, unpadded"


def _video_pixels(setting: Setting) -> tuple[None, str]:
    """Of the newer scripts, which hand it to the processor, whichever way that counts."""
    of_all = setting.written("video_total_pixels" if "max" in setting.flag else "video_min_total_pixels")
    of_each = setting.written(setting.flag.replace("_pixels", "_frame_pixels"))
    raise FlagError(
        f"{setting.name} {setting.text}: say {of_all} for all frames together, as Qwen3-VL's processor counts, or "
        f"{of_each} for each of them"
    )


ELSEWHERE: Elsewhere = MappingProxyType(
    {
        "model_name_or_path": Alias("model"),
        "model_max_length": Alias("pack_length"),
        "data_packing": Translated(_data_packing),
        "data_flatten": Translated(_data_flatten),
        "video_max_pixels": Translated(_video_pixels),
        "video_min_pixels": Translated(_video_pixels),
        "cache_dir": Ignored("nothing is downloaded, the model is a folder"),
        **dict.fromkeys(TRAINING_FLAGS, Translated(_training)),
        **dict.fromkeys(PLAN_FLAGS, Translated(_plan)),
    }
)
