"""The tiny models of the golden values, in our terms: constants, packs of their samples, and a compiled step.

Without further arguments it is the Qwen2.5-VL of tests/golden/model.npz; `tests.train.golden_families` has the others.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
from tokenizers import Tokenizer, models

from shards import ModelConstants, Pack, PackMaxima, check_pack, measure_pack
from shards.batch import Batch, BatchShape, make_batch
from shards.model_folder.folder import PAD_TOKEN
from train.models import FAMILIES
from train.models.precision import FLOAT32
from train.models.trained import TrainedModel
from train.weights.parameters import save_weights

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "scripts" / "golden"))

from golden_model_case import (  # noqa: E402
    CONFIG,
    FRAMES,
    IGNORE_INDEX,
    IMAGE_MEAN,
    IMAGE_STD,
    IMAGE_TOKEN,
    MERGE,
    PATCH,
    TOKENS_PER_SECOND,
    VIDEO_TOKEN,
    VISION_END,
    VISION_START,
    Sample,
    digest,
    make_sample,
    make_samples,
    make_weights,
)

__all__ = ["CONFIG", "IGNORE_INDEX", "Sample", "digest", "make_sample", "make_samples"]

GOLDEN_PATH = ROOT / "tests" / "golden" / "model.npz"
PACK_LENGTH = 160
CONSTANTS = ModelConstants(
    model_type=CONFIG["model_type"],
    vocab_size=CONFIG["vocab_size"],
    patch_size=PATCH,
    merge_size=MERGE,
    temporal_patch_size=FRAMES,
    window_size=CONFIG["vision_config"]["window_size"],
    tokens_per_second=TOKENS_PER_SECOND,
    im_start_token_id=94,
    im_end_token_id=95,
    pad_token_id=0,
    vision_start_token_id=VISION_START,
    vision_end_token_id=VISION_END,
    image_token_id=IMAGE_TOKEN,
    video_token_id=VIDEO_TOKEN,
    image_mean=IMAGE_MEAN,
    image_std=IMAGE_STD,
    rescale_factor=1 / 255,
)


@cache
def golden() -> dict[str, Any]:
    with np.load(GOLDEN_PATH) as file:
        return {name: file[name] for name in file.files}


def golden_origin() -> dict[str, str]:
    return json.loads(str(golden()["origin"]))


def write_golden_model(
    folder: Path, config: dict[str, Any] = CONFIG, constants: ModelConstants = CONSTANTS, **changes: Any
) -> None:
    """The model of the golden values as a Hugging Face folder; `changes` are those of `build_golden_model`."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    processor = {
        "patch_size": PATCH,
        "merge_size": MERGE,
        "temporal_patch_size": FRAMES,
        "image_mean": IMAGE_MEAN,
        "image_std": IMAGE_STD,
        "rescale_factor": 1 / 255,
    }
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    tokens = {id_: f"token{id_}" for id_ in range(constants.vocab_size)} | {
        constants.pad_token_id: PAD_TOKEN,
        constants.im_start_token_id: "<|im_start|>",
        constants.im_end_token_id: "<|im_end|>",
        constants.vision_start_token_id: "<|vision_start|>",
        constants.vision_end_token_id: "<|vision_end|>",
        constants.image_token_id: "<|image_pad|>",
        constants.video_token_id: "<|video_pad|>",
    }
    vocabulary = {token: id_ for id_, token in tokens.items()}
    Tokenizer(models.WordLevel(vocabulary, unk_token=PAD_TOKEN)).save(str(folder / "tokenizer.json"))
    save_weights(build_golden_model(config, constants, **changes).weights(), folder)


def pack_samples(samples: list[Sample], keys: list[str] | None = None, constants: ModelConstants = CONSTANTS) -> Pack:
    pack = Pack(
        input_ids=np.concatenate([sample.input_ids for sample in samples]),
        labels=np.concatenate([sample.labels for sample in samples]),
        position_ids=np.concatenate([sample.position_ids for sample in samples], axis=1),
        cu_seqlens=np.cumsum([0, *(len(sample.input_ids) for sample in samples)]).astype(np.int32),
        image_patches=np.concatenate([sample.image_patches for sample in samples]),
        image_grid_thw=np.concatenate([sample.image_grid_thw for sample in samples]),
        video_patches=np.concatenate([sample.video_patches for sample in samples]),
        video_grid_thw=np.concatenate([sample.video_grid_thw for sample in samples]),
        second_per_grid_ts=np.concatenate([sample.second_per_grid_ts for sample in samples]),
        sample_keys=tuple(keys or [f"golden:{index}" for index in range(len(samples))]),
    )
    check_pack(pack, constants)
    return pack


def shape_for(packs: list[Pack], pack_length: int = PACK_LENGTH, constants: ModelConstants = CONSTANTS) -> BatchShape:
    maxima = PackMaxima()
    for pack in packs:
        maxima = maxima.merge(measure_pack(pack, constants))
    return BatchShape.holding(maxima, pack_length, constants)


def empty_golden_model(
    config: dict[str, Any] = CONFIG, constants: ModelConstants = CONSTANTS, **changes: Any
) -> TrainedModel:
    """The model of the golden values, with weights of zero."""
    room = import_module(FAMILIES[config["model_type"]])
    return room.build(room.FAMILY.reader.parse({**config, **changes}), constants, FLOAT32)


def build_golden_model(
    config: dict[str, Any] = CONFIG, constants: ModelConstants = CONSTANTS, **changes: Any
) -> TrainedModel:
    """The model of the golden values, with their weights."""
    model = empty_golden_model(config, constants, **changes)
    parameters = {parameter.name: parameter for parameter in model.get_parameters()}
    weights = make_weights({name: parameter.shape for name, parameter in parameters.items()})
    for name, parameter in parameters.items():
        parameter.set_data(ms.Tensor(weights[name]))
    return model


def compile_step(model: TrainedModel) -> Callable[..., tuple[ms.Tensor, tuple[ms.Tensor, ...]]]:
    """Forward and backward as one graph: batch tensors -> sum of the cross entropy, gradients."""
    differentiate = model.loss_and_gradients()

    @ms.jit
    def step(*batch: ms.Tensor) -> Any:
        return differentiate(*batch)

    return step


class CompiledModel:
    """Loss, gradients and logits of packs, each compiled once for one static shape."""

    def __init__(self, model: TrainedModel, shape: BatchShape, constants: ModelConstants = CONSTANTS) -> None:
        self.model = model
        self.shape = shape
        self.constants = constants
        self._step = compile_step(model)

        @ms.jit
        def logits(*batch: ms.Tensor) -> ms.Tensor:
            return model.logits(*batch)

        self._logits = logits

    def step(self, pack: Pack | None) -> tuple[float, dict[str, np.ndarray]]:
        """Sum of cross entropy, and gradients by name."""
        return self.step_of_batch(make_batch(pack, self.shape, self.constants))

    def step_of_batch(self, batch: Batch) -> tuple[float, dict[str, np.ndarray]]:
        loss_sum, gradients = self._step(*_tensors(batch))
        names = [parameter.name for parameter in self.model.trainable_params()]
        return float(loss_sum.asnumpy()), {
            name: gradient.asnumpy() for name, gradient in zip(names, gradients, strict=True)
        }

    def logits(self, pack: Pack) -> np.ndarray:
        """(tokens of the pack, vocab_size)"""
        return self._logits(*_tensors(make_batch(pack, self.shape, self.constants))).asnumpy()[: pack.num_tokens]


def _tensors(batch: Batch) -> list[ms.Tensor]:
    return [ms.Tensor(array) for array in batch]
