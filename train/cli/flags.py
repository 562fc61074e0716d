"""Flags that users of the Qwen fine-tuning scripts type and that are not fields of TrainArguments: where each one went.

Together with the fields they are all flags that `python -m train` knows; any other name is an error.
"""

from __future__ import annotations

from types import MappingProxyType

from shards.flags.elsewhere import Alias, Elsewhere, Ignored, Refused

_FIXED = "belongs to `python -m preprocess run`: the shards fixed it; preprocess again to change it"

ELSEWHERE: Elsewhere = MappingProxyType(
    {
        "model_name_or_path": Alias("model"),
        "tune_mm_lora": Alias("lora_enable"),  # mindone's name for it
        "cache_dir": Ignored("nothing is downloaded"),
        "run_name": Ignored("a run is named by its output_dir"),
        "lr_scheduler_kwargs": Refused("has flags of its own here: --min_lr or --min_lr_rate"),
        "dataloader_num_workers": Ignored("packs are mapped into memory; one thread reads ahead"),
        "per_device_eval_batch_size": Ignored("evaluation takes one pack at a time, which does not change the loss"),
        # What went into the shards.
        "dataset_use": Refused(_FIXED),
        "datasets": Refused(_FIXED),
        "model_max_length": Refused(f"is `pack_length` and {_FIXED}"),
        "pack_length": Refused(_FIXED),
        "pack_patches": Refused(_FIXED),
        "data_packing": Refused(f"is `packing` (`data_packing False` is `packing: none`) and {_FIXED}"),
        "packing": Refused(_FIXED),
        "max_pixels": Refused(_FIXED),
        "min_pixels": Refused(_FIXED),
        "base_interval": Refused(_FIXED),
        "video_max_frames": Refused(_FIXED),
        "video_min_frames": Refused(_FIXED),
        "video_max_frame_pixels": Refused(_FIXED),
        "video_min_frame_pixels": Refused(_FIXED),
        # What this version can't do.
        "nproc": Refused("is a flag of scripts/train.sh, and of `python -m train launch`: this command is one process"),
    }
)
