"""Training does not tell in which file format its shards are."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from shards import read_model_constants
from shards.batch import BatchShape, input_names, make_batch
from shards.convert import convert_shards
from tests.train.tiny_run import make_packs, write_tiny_model, write_tiny_shards
from train.__main__ import main
from train.arguments import TrainArguments
from train.inputs import open_inputs

FORMATS = ("arrow", "mindrecord", "arrow_zstd")


def losses(root: Path, shards: str) -> list[tuple[float, float]]:
    """Loss and gradient norm of each step."""
    output = root / f"trained on {shards}"
    flags = ["--learning_rate", "1e-2", "--max_steps", "3", "--logging_steps", "1", "--output_dir", str(output)]
    assert main(["--shards", str(root / shards), "--model", str(root / "model"), *flags]) == 0
    lines = (output / "metrics.jsonl").read_text().splitlines()
    return [(record["loss"], record["grad_norm"]) for record in map(json.loads, lines) if "loss" in record]


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder, and the same shards in every format."""
    root = tmp_path_factory.mktemp("formats")
    constants = write_tiny_model(root / "model")
    write_tiny_shards(root / "arrow", make_packs(constants, num_packs=6), constants)
    convert_shards(root / "arrow", root / "mindrecord", format="mindrecord")
    convert_shards(root / "arrow", root / "arrow_zstd", format="arrow_zstd")
    assert list((root / "mindrecord").glob("*.mindrecord"))
    return root


def test_training_reads_the_same_packs(root: Path) -> None:
    constants = read_model_constants(root / "model")
    inputs = [
        open_inputs(TrainArguments(shards=root / format, model=root / "model", output_dir=root / "out")).shards
        for format in FORMATS
    ]
    shape = BatchShape.of(inputs[0].manifest)
    assert [BatchShape.of(each.manifest) for each in inputs] == [shape] * len(FORMATS)
    assert [each.manifest.format for each in inputs] == list(FORMATS)
    for packs in zip(*inputs, strict=True):
        expected, *others = (make_batch(pack, shape, constants) for pack in packs)
        for batch in others:
            for name, array, got in zip(input_names(constants), expected, batch, strict=True):
                assert (got.dtype, got.shape, got.tobytes()) == (array.dtype, array.shape, array.tobytes()), name


@pytest.mark.slow  # two compilations, half a minute
@pytest.mark.parametrize("format", FORMATS[1:])
def test_losses_on_other_formats_are_those_on_arrow(root: Path, format: str) -> None:
    expected = losses(root, "arrow")
    assert len(expected) == 3
    assert losses(root, format) == expected
