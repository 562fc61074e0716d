"""`python -m train merge`: exact where it can be, PEFT's numbers where not, and nothing written when it can't."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from mindspore import Tensor, ops
from safetensors.numpy import load_file

from tests.train.golden_adapter import ADAPTER, TRAINED, adapt, golden_training
from tests.train.golden_case import (
    ROOT,
    CompiledModel,
    build_golden_model,
    make_samples,
    pack_samples,
    write_golden_model,
)
from train.__main__ import main
from train.adapters.files import CONFIG_FILE, WEIGHTS_FILE
from train.adapters.merge import merge
from train.errors import TrainingFailed, WeightsError
from train.models.folder import build_model
from train.models.qwen2_5_vl import NAMES
from train.weights.files import INDEX_FILE, SINGLE_FILE, find_weights, from_float32, to_float32
from train.weights.parameters import save_weights

Q_PROJ = "model.layers.0.self_attn.q_proj"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merge") / "base"
    write_golden_model(folder)
    return folder


@pytest.fixture(scope="module")
def merged(base: Path) -> Path:
    folder = base.parent / "merged"
    assert merge(base, TRAINED, folder) == 13
    return folder


def adapter_factors() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """A and B by our names of modules."""
    tensors = load_file(TRAINED / WEIGHTS_FILE)
    factors = {}
    for name, a in tensors.items():
        if name.endswith(".lora_A.weight"):
            module = name.removeprefix("base_model.model.model.").removesuffix(".lora_A.weight")
            ours = module.replace("language_model.", "model.")
            factors[ours] = (a, tensors[name.replace("lora_A", "lora_B")])
    return factors


def test_adapted_weights_get_their_product_and_all_others_keep_their_bits(base: Path, merged: Path) -> None:
    before, after, factors = load_file(base / SINGLE_FILE), load_file(merged / SINGLE_FILE), adapter_factors()
    assert set(after) == set(before)
    changed = {name for name in before if after[name].tobytes() != before[name].tobytes()}
    assert changed == {f"{module}.weight" for module in factors}
    for module, (a, b) in factors.items():
        expected = before[f"{module}.weight"].astype(np.float64) + ADAPTER.alpha / ADAPTER.r * b.astype(np.float64) @ a
        np.testing.assert_allclose(after[f"{module}.weight"], expected, rtol=0, atol=1e-6)


def test_the_merged_model_gives_pefts_logits(merged: Path, compiled: CompiledModel) -> None:
    """`compiled` is shared: its weights are put back."""
    parameters = {each.name: each for each in compiled.model.get_parameters()}
    before = {name: each.asnumpy().copy() for name, each in parameters.items()}
    pack = pack_samples([make_samples()["image"]])
    try:
        for each in build_model(merged).get_parameters():
            ops.assign(parameters[each.name], each)
        ours = compiled.logits(pack)
    finally:
        for name, value in before.items():
            ops.assign(parameters[name], Tensor(value))
    theirs = golden_training()["adapter/logits"]
    np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-4)
    assert np.abs(compiled.logits(pack) - theirs).max() > 0.1, "the adapter changes the logits"


def test_the_folder_is_a_whole_model_folder(base: Path, merged: Path) -> None:
    assert sorted(os.listdir(merged)) == sorted(os.listdir(base))
    for name in ("config.json", "tokenizer.json", "preprocessor_config.json"):
        assert (merged / name).read_bytes() == (base / name).read_bytes()


def test_bfloat16_stays_bfloat16_and_is_rounded_once(base: Path, tmp_path: Path) -> None:
    narrow = shutil.copytree(base, tmp_path / "base")
    save_weights(build_model(base).weights(), narrow, dtype="BF16")
    merge(narrow, TRAINED, tmp_path / "merged")
    before, after = find_weights(narrow, NAMES), find_weights(tmp_path / "merged", NAMES)
    assert {weight.dtype for weight in after.values()} == {"BF16"}
    a, b = adapter_factors()[Q_PROJ]
    exact = to_float32(before[f"{Q_PROJ}.weight"].read_stored(), "BF16") + np.float32(2) * (b @ a)
    np.testing.assert_array_equal(after[f"{Q_PROJ}.weight"].read_stored(), from_float32(exact, "BF16"))
    np.testing.assert_array_equal(after["model.norm.weight"].read_stored(), before["model.norm.weight"].read_stored())


def test_sharded_models_are_read_and_written(base: Path, merged: Path, tmp_path: Path) -> None:
    sharded = shutil.copytree(base, tmp_path / "base")
    (sharded / SINGLE_FILE).unlink()
    save_weights(build_model(base).weights(), sharded, max_shard_bytes=50_000)
    merge(sharded, TRAINED, tmp_path / "merged", max_shard_bytes=100_000)
    assert 1 < len(list((tmp_path / "merged").glob("*.safetensors"))) < len(list(sharded.glob("*.safetensors")))
    assert (tmp_path / "merged" / INDEX_FILE).exists()
    stored, expected = find_weights(tmp_path / "merged", NAMES), load_file(merged / SINGLE_FILE)
    assert set(stored) == set(expected)
    for name, value in expected.items():
        np.testing.assert_array_equal(stored[name].read(), value)


def test_the_command_runs_without_mindspore(base: Path, tmp_path: Path) -> None:
    code = (
        "import sys; from train.__main__ import main; code = main(sys.argv[1:]); "
        "sys.exit('MindSpore was loaded' if 'mindspore' in sys.modules else code)"
    )
    argv = ["merge", "--model", base, "--adapter", TRAINED, f"--output_dir={tmp_path / 'out'}"]
    done = subprocess.run([sys.executable, "-c", code, *argv], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"added 13 adapters to {base}: {tmp_path / 'out'}\n"


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--model", "{base}", "--adapter", "{adapter}"], "--output_dir is missing: give a new"),
        (["--modle", "{base}"], "unknown flag --modle; did you mean --model?"),
        (["--model", "--adapter"], "--model needs a value"),
        (["--model", "{base}", "--adapter", "{adapter}", "--output_dir", "{base}"], "is not empty"),
        (["--model", "{base}", "--adapter", "{base}", "--output_dir", "{out}"], f"base has no {CONFIG_FILE}"),
        (
            ["--model", "{adapter}", "--adapter", "{adapter}", "--output_dir", "{out}"],
            "config.json does not exist; the model must be",
        ),
    ],
)
def test_wrong_usage_ends_with_code_2_and_one_line(
    argv: list[str], words: str, base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["merge", *(part.format(base=base, adapter=TRAINED, out=out) for part in argv)]) == 2
    printed, error = capsys.readouterr()
    assert printed == "" and error.count("\n") == 1
    assert words in error
    assert not out.exists()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"intermediate_size": 28}, r"gate_proj.* \(24, 32\), the model's .* has \(28, 32\); .* of another base model"),
        ({"num_hidden_layers": 1}, "adapts what .* does not have: model.language_model.layers.1.mlp.gate_proj"),
    ],
)
def test_an_adapter_of_another_base_is_refused(
    changes: dict[str, int], words: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_golden_model(tmp_path / "base", **changes)
    argv = ["--model", tmp_path / "base", "--adapter", TRAINED, "--output_dir", tmp_path / "out"]
    assert main(["merge", *map(str, argv)]) == 2
    assert not (tmp_path / "out").exists()
    assert re.search(words, capsys.readouterr().err)


def test_a_head_that_is_tied_is_not_merged(base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tied = shutil.copytree(base, tmp_path / "tied")
    config = json.loads((tied / "config.json").read_text())
    (tied / "config.json").write_text(json.dumps({**config, "tie_word_embeddings": True}))
    adapter = head_adapter(tmp_path / "adapter")
    assert merge(base, adapter, tmp_path / "untied") == 1
    assert main(["merge", "--model", str(tied), "--adapter", str(adapter), "--output_dir", str(tmp_path / "out")]) == 2
    assert "ties to the embedding" in capsys.readouterr().err


def head_adapter(folder: Path) -> Path:
    folder.mkdir()
    adapt(build_golden_model(), targets="lm_head").save(folder)
    return folder


def test_a_full_disk_says_so_and_leaves_no_weights(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("shards.files.atomic.os.fsync", fail)
    with pytest.raises(TrainingFailed, match="No space left on device; it is incomplete"):
        merge(base, TRAINED, tmp_path / "out")
    assert not list((tmp_path / "out").glob("*safetensors*"))


def test_weights_that_end_early_are_found_before_anything_is_written(base: Path, tmp_path: Path) -> None:
    cut = shutil.copytree(base, tmp_path / "cut")
    (weights,) = cut.glob("*.safetensors")
    os.truncate(weights, weights.stat().st_size - 4)
    with pytest.raises(WeightsError, match=r"model\.safetensors ends within"):
        merge(cut, TRAINED, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_help_names_every_flag(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["merge", "--help"]) == 0
    printed = capsys.readouterr().out
    assert all(f"--{name} " in printed for name in ("model", "adapter", "output_dir"))
