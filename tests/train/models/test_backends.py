"""What another backend can't do is said before anything is written, whether it is installed or not."""

from __future__ import annotations

import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.train.tiny_run import make_packs, write_tiny_model, write_tiny_shards
from train.arguments import TrainArguments
from train.checkpoints.trainer_state import MAY_DIFFER
from train.cluster.world import World
from train.errors import UsageError
from train.graph_cache import cache_folder
from train.inputs import open_inputs
from train.models import FAMILIES
from train.models.backends import MINDNLP, MINDNLP_FAMILIES, MINDNLP_TAKES, NATIVE, describe, require_backend


@pytest.fixture
def arguments(tmp_path: Path) -> TrainArguments:
    """A run that could begin."""
    constants = write_tiny_model(tmp_path / "model")
    write_tiny_shards(tmp_path / "shards", make_packs(constants, num_packs=2), constants)
    return TrainArguments(shards=tmp_path / "shards", model=tmp_path / "model", output_dir=tmp_path / "out")


@pytest.mark.parametrize(
    ("name", "value"),
    [("lora_enable", True), ("bf16", True), ("gradient_checkpointing", True), ("jit_level", "O1"), ("zero_stage", 2)],
)
def test_flags_that_it_does_not_follow_are_refused(name: str, value: object, arguments: TrainArguments) -> None:
    assert name in MINDNLP_TAKES
    assert replace(arguments, **{name: value}).backend == NATIVE
    with pytest.raises(UsageError, match=rf"^{name} {value} with backend mindnlp must be .*leave --backend out$"):
        replace(arguments, backend=MINDNLP, **{name: value})


def test_what_it_follows_is_taken(arguments: TrainArguments) -> None:
    assert replace(arguments, backend=MINDNLP, zero_stage=0, tune_mm_vision=False).backend == MINDNLP


def test_an_unknown_backend_is_refused(arguments: TrainArguments) -> None:
    with pytest.raises(UsageError, match="backend torch is not supported: take one of native, mindnlp"):
        replace(arguments, backend="torch")


def test_other_families_are_refused() -> None:
    others = FAMILIES.keys() - MINDNLP_FAMILIES
    assert others
    for model_type in others:
        require_backend(NATIVE, model_type=model_type, num_ranks=8)
        with pytest.raises(UsageError, match=f"trains models of model_type qwen2_5_vl, not {model_type}; leave"):
            require_backend(MINDNLP, model_type=model_type, num_ranks=1)


def test_whose_code_computes_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("train.models.backends.find_spec", lambda name: SimpleNamespace(origin=f"/mine/{name}"))
    assert describe(NATIVE) is None
    assert describe(MINDNLP) == "computed by MindNLP, operator by operator: /mine/mindnlp"


def test_several_ranks_are_refused(arguments: TrainArguments) -> None:
    with pytest.raises(UsageError, match="trains in one process, not in 2: add --nproc 1"):
        open_inputs(replace(arguments, backend=MINDNLP), num_ranks=2)


def test_without_mindnlp_the_command_that_installs_it_is_named(
    arguments: TrainArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("train.models.backends.find_spec", lambda name: None if name == "mindnlp" else find_spec(name))
    with pytest.raises(UsageError, match=r"MindNLP is not installed.*scripts/setup\.sh --mindnlp.*extra mindnlp"):
        open_inputs(replace(arguments, backend=MINDNLP))
    assert not arguments.output_dir.exists()
    assert open_inputs(arguments).start.step == 0


def test_a_run_goes_on_with_another_backend_and_keeps_no_graphs_of_it(
    arguments: TrainArguments, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert "backend" in MAY_DIFFER
    monkeypatch.setattr("train.models.backends.find_spec", lambda name: object())
    for backend, is_kept in ((NATIVE, True), (MINDNLP, False)):
        chosen = replace(arguments, backend=backend)
        folder = cache_folder(chosen, open_inputs(chosen), World.single(), 0, environment={})
        assert (folder is not None) == is_kept


def test_nothing_of_it_is_imported_unless_it_is_asked_for() -> None:
    import train.loop
    import train.models.mindnlp.model  # noqa: F401

    assert not {"mindnlp", "mindtorch", "transformers"} & sys.modules.keys()
