"""What a run leaves behind: a folder that our own loader reads to the bit, and that transformers and PEFT read."""

from __future__ import annotations

import os
import subprocess
import zlib
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, ops
from safetensors.numpy import load_file

from tests.train.golden_adapter import adapt
from tests.train.golden_case import (
    CONSTANTS,
    ROOT,
    CompiledModel,
    build_golden_model,
    make_samples,
    pack_samples,
    shape_for,
    write_golden_model,
)
from tests.train.golden_families import FAMILIES, GoldenFamily
from train.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from train.adapters.merge import merge
from train.checkpoints.export import export_model
from train.models.folder import build_model
from train.models.trained import TrainedModel
from train.weights.files import INDEX_FILE, SINGLE_FILE

ORACLE = "ORACLE_PYTHON"  # an interpreter that has the extra `oracle`


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("export") / "base"
    write_golden_model(folder)
    (folder / INDEX_FILE).write_text("{}")  # beside other weights it would name files that are not there
    (folder / "chat_template.jinja").write_text("{{ messages }}")
    return folder


def trained(model: TrainedModel) -> TrainedModel:
    """Other weights than it was built with."""
    for parameter in model.get_parameters():
        ops.assign(parameter, parameter + Tensor(noise(parameter.name, parameter.shape)))
    return model


def noise(name: str, shape: tuple[int, ...]) -> np.ndarray:
    random = np.random.default_rng(zlib.crc32(name.encode()))
    return random.normal(scale=0.05, size=shape).astype(np.float32)


@pytest.mark.parametrize(("max_shard_bytes", "last"), [(10**9, SINGLE_FILE), (50_000, INDEX_FILE)])
def test_an_exported_folder_loads_to_the_bit(max_shard_bytes: int, last: str, base: Path, tmp_path: Path) -> None:
    model = trained(build_golden_model())
    export_model(tmp_path, model, base, None, max_shard_bytes=max_shard_bytes)
    assert (tmp_path / last).exists() and (tmp_path / INDEX_FILE).exists() == (last == INDEX_FILE)
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json", "chat_template.jinja"):
        assert (tmp_path / name).read_bytes() == (base / name).read_bytes()
    again = {each.name: each.asnumpy() for each in build_model(tmp_path).get_parameters()}
    for parameter in model.get_parameters():
        assert again[parameter.name].tobytes() == parameter.asnumpy().tobytes(), parameter.name


@pytest.mark.parametrize("name", FAMILIES)
def test_every_family_is_exported_under_the_names_of_its_published_files(name: str, tmp_path: Path) -> None:
    family = GoldenFamily(name)
    family.write(tmp_path / "base")
    model = trained(family.build())
    (tmp_path / "exported").mkdir()
    export_model(tmp_path / "exported", model, tmp_path / "base", None)
    again = {each.name: each.asnumpy() for each in build_model(tmp_path / "exported").get_parameters()}
    written = load_file(tmp_path / "exported" / SINGLE_FILE)
    assert written.keys() == again.keys()
    for parameter in model.get_parameters():
        assert again[parameter.name].tobytes() == parameter.asnumpy().tobytes(), parameter.name
    first = {"qwen2_vl": "visual.", "qwen3_vl": "model.visual."}[name]
    assert f"{first}patch_embed.proj.weight" in written


def test_with_adapters_only_they_are_written(base: Path, tmp_path: Path) -> None:
    model = build_golden_model()
    export_model(tmp_path, model, base, adapt(model))
    assert sorted(os.listdir(tmp_path)) == [CONFIG_FILE, WEIGHTS_FILE]


@pytest.mark.slow
@pytest.mark.skipif(ORACLE not in os.environ, reason=f"{ORACLE} names no interpreter with torch, transformers, peft")
@pytest.mark.parametrize("name", ["qwen2_5_vl", *FAMILIES])
def test_transformers_and_peft_read_what_we_write_and_give_our_logits(name: str, tmp_path: Path) -> None:
    sample = make_samples()["image"]
    if name in FAMILIES:
        family = GoldenFamily(name)
        write, build, constants, pack = family.write, family.build, family.constants, family.pack(sample)
    else:
        write, build, constants, pack = write_golden_model, build_golden_model, CONSTANTS, pack_samples([sample])
    shape = shape_for([pack], constants=constants)
    write(tmp_path / "base")

    exported = trained(build())
    (tmp_path / "exported").mkdir()
    export_model(tmp_path / "exported", exported, tmp_path / "base", None, max_shard_bytes=50_000)

    adapted = build()
    adapters = adapt(adapted, targets="all-linear", dropout=0.1)
    for parameter in adapters.parameters:
        ops.assign(parameter, Tensor(noise(parameter.name, parameter.shape)))
    (tmp_path / "adapter").mkdir()
    export_model(tmp_path / "adapter", adapted, tmp_path / "base", adapters)
    merge(tmp_path / "base", tmp_path / "adapter", tmp_path / "merged", max_shard_bytes=50_000)

    models = {"exported": exported, "adapter": adapted}
    logits = {name: CompiledModel(model, shape, constants).logits(pack) for name, model in models.items()}
    assert np.abs(logits["exported"] - logits["adapter"]).max() > 0.1
    np.savez(tmp_path / "logits.npz", **logits)
    command = [os.environ[ORACLE], str(ROOT / "scripts" / "check_exports.py"), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    print(done.stdout)
    assert done.returncode == 0, done.stdout + done.stderr
