"""Publishing adds up the sidecars, writes the manifest last, and counts a repeated reject once."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from preprocess.config import RunConfig
from preprocess.errors import FatalError
from preprocess.jobs.executor import ThisProcess
from preprocess.jobs.share import Share
from preprocess.output_dir import hold_of, prepare
from preprocess.plan.holding import TakenOver
from preprocess.plan.inputs import Sources
from preprocess.plan.summary import PlanSummary
from preprocess.run import materialise, plan_into_output
from preprocess.write.publish import publish
from shards import PackCounts
from shards.formats.writer import sidecar_path
from shards.inputs import write_inputs
from tests.preprocess.workshop import Workshop, talk


def materialised(config: RunConfig) -> tuple[Sources, PlanSummary]:
    """Everything but publishing."""
    sources = prepare(config, Share())
    plan = plan_into_output(config, sources, ThisProcess(), Share())
    assert materialise(config, plan, ThisProcess(), Share(), hold_of(config, sources)) == 0
    return sources, plan


def test_a_shard_without_a_sidecar_is_not_published(workshop: Workshop) -> None:
    workshop.dataset([talk("one " * n) for n in range(6)])
    config = workshop.config(packing="none", shard_bytes=1)
    sources, plan = materialised(config)
    assert plan.num_shards > 3
    sidecar_path(config.output_dir, 3).unlink()
    with pytest.raises(FatalError, match=r"shard-000003\.json is missing"):
        publish(config, plan, sources.constants)
    assert not (config.output_dir / "manifest.json").exists()


def test_publishing_again_gives_the_same_manifest(workshop: Workshop) -> None:
    workshop.dataset([talk(), talk("<image>", image=workshop.truncated_image())])
    config = workshop.config()
    sources, plan = materialised(config)
    published = publish(config, plan, sources.constants)
    assert published is not None
    before = (config.output_dir / "manifest.json").read_bytes()
    (config.output_dir / "manifest.json").unlink()
    assert publish(config, plan, sources.constants) == published
    assert (config.output_dir / "manifest.json").read_bytes() == before
    assert published.lost.num_samples == 1
    assert published.lost + published.manifest.totals == plan.totals


def test_the_manifest_is_written_last(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.dataset([talk()])
    names: list[str] = []
    real_replace = os.replace

    def noting(source: Path, target: Path) -> None:
        real_replace(source, target)
        names.append(Path(target).name)

    monkeypatch.setattr(os, "replace", noting)
    outcome = workshop.run()
    assert names == [
        "inputs.json",
        "part-000000.arrow",
        "rejects.jsonl",  # of the plan
        "parts.arrow",
        "packs.arrow",
        "tasks.arrow",
        "plan.json",
        "shard-000000.arrow",
        "shard-000000.arrow",  # where its media stand, in plan/media
        "shard-000000.json",
        "rejects.jsonl",
        "slowest.json",
        "config.json",
        "tokenizer.json",
        "preprocessor_config.json",
        "manifest.sha256",
        "manifest.json",
    ]
    newest = max((path.stat().st_mtime_ns, path.name) for path in outcome.folder.rglob("*") if path.is_file())
    assert newest[1] == "manifest.json"


def test_a_dataset_that_lost_everything_stays_in_the_manifest(workshop: Workshop) -> None:
    workshop.dataset([talk("<image>", image=workshop.truncated_image())], name="lost")
    workshop.dataset([talk()], name="kept")
    manifest = workshop.run("--max_reject_share=1").manifest
    assert manifest.datasets["lost"].counts == PackCounts()
    assert manifest.datasets["lost"].rejects == {"undecodable": 1}
    assert manifest.datasets["kept"].counts == manifest.totals


def test_rejects_of_the_plan_and_of_shards_stand_in_the_order_of_the_annotations(workshop: Workshop) -> None:
    broken = talk("<image>", image=workshop.truncated_image())
    workshop.dataset([broken, talk(answer=""), talk(), broken, [talk(answer=""), broken, talk(answer="")]], name="b")
    workshop.dataset([talk(answer=""), broken, talk()], name="a")
    outcome = workshop.run("--dataset_use=b%200,a", "--max_reject_share=1")
    assert [(r["dataset"], r["index"], r.get("member"), r["reason"]) for r in outcome.rejects] == [
        ("b", 0, None, "undecodable"),
        ("b", 1, None, "nothing_to_learn"),
        ("b", 3, None, "undecodable"),
        ("b", 4, 0, "nothing_to_learn"),
        ("b", 4, 1, "undecodable"),
        ("b", 4, 2, "nothing_to_learn"),
        ("a", 0, None, "nothing_to_learn"),
        ("a", 1, None, "undecodable"),
    ]
    assert outcome.manifest.num_rejects == 8


def test_what_interrupted_jobs_left_is_removed(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    config = workshop.config()
    sources, plan = materialised(config)
    dead = subprocess.Popen(["true"])
    dead.wait()
    host = socket.gethostname().partition(".")[0]
    run = plan.run_fingerprint(config.format)[:16]
    leftover, foreign = (
        config.output_dir / ".writing" / f"shard-000000.{dead.pid}.{host}.{of}.x" for of in (run, "0" * 16)
    )
    for workspace in (leftover, foreign):
        workspace.mkdir(parents=True)
        (workspace / "shard-000000.arrow").write_bytes(b"half a shard")
    assert publish(config, plan, sources.constants) is not None
    assert not leftover.exists()
    assert foreign.exists(), "another run may be at work in it"
    shutil.rmtree(foreign)
    leftover.mkdir()
    assert publish(config, plan, sources.constants) is not None
    assert not leftover.parent.exists()


def test_a_sidecar_of_another_run_is_not_published(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    config = workshop.config()
    sources, plan = materialised(config)
    path = sidecar_path(config.output_dir, 0)
    path.write_text(json.dumps({**json.loads(path.read_text()), "fingerprint": "0" * 64}))
    with pytest.raises(FatalError, match=r"shard-000000\.json is missing, damaged or of another run"):
        publish(config, plan, sources.constants)
    assert not (config.output_dir / "manifest.json").exists()


def test_a_folder_that_another_run_took_is_not_published(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    config = workshop.config()
    sources, plan = materialised(config)
    hold = hold_of(config, sources)
    write_inputs(config.output_dir, {**hold.inputs, "config": {}})
    with pytest.raises(TakenOver, match="was taken over by another run"):
        publish(config, plan, sources.constants, hold)
    assert not (config.output_dir / "manifest.json").exists()
