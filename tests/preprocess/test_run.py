"""The whole job: what it writes, that it writes the same everywhere, and what is left when it fails."""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from demo_build import Demo
from PIL import Image

import preprocess.plan.make
from shards import DatasetSummary, Manifest, check_pack, count_pack, measure_pack, read_model_constants
from shards.model_folder import model_files
from tests.preprocess.workshop import Outcome, Workshop, talk


def contents(folder: Path) -> dict[str, bytes]:
    """Bytes by path, without the timings in the plan, the one thing that differs from run to run."""
    files = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for name, content in files.items():
        if name.startswith("plan/done/"):
            files[name] = json.dumps({**json.loads(content), "slowest": []}).encode()
    return {**files, "plan/slowest.json": b""} if "plan/slowest.json" in files else files


# --- what a run leaves ---------------------------------------------------------------------------------------------


def test_the_output_folder_holds_shards_manifest_ledger_model_and_plan(demo: Demo, demo_run: Outcome) -> None:
    found = set(contents(demo_run.folder))
    shards = {entry.name for entry in demo_run.manifest.shards}
    assert len(shards) > 2
    assert found == {
        *shards,
        *(f"plan/done/{Path(name).stem}.json" for name in shards),
        *(f"plan/media/{name}" for name in shards),
        "plan/slowest.json",
        "plan/decoding.json",
        *(f"plan/samples/part-{part:06d}.arrow" for part in range(8)),
        *(f"plan/{name}.arrow" for name in ("parts", "packs", "tasks")),
        *(f"plan/{name}" for name in ("inputs.json", "plan.json", "rejects.jsonl")),
        *(f"model/{name}" for name in ("config.json", "tokenizer.json", "preprocessor_config.json")),
        "manifest.json",
        "manifest.sha256",
        "rejects.jsonl",
    }
    assert not (demo_run.folder / ".writing").exists()
    for name in model_files(demo.model):
        assert (demo_run.folder / "model" / name).read_bytes() == (demo.model / name).read_bytes()


def test_the_manifest_says_what_the_shards_hold(demo: Demo, demo_run: Outcome) -> None:
    manifest, packs = demo_run.manifest, demo_run.packs
    constants = read_model_constants(demo.model)
    assert manifest.model == constants
    assert manifest.format == "arrow"
    assert manifest.pack_length == demo_run.plan.pack_length
    assert manifest.num_packs == len(packs)
    maxima, totals = measure_pack(packs[0], constants), count_pack(packs[0])
    for pack in packs[1:]:
        check_pack(pack, constants)
        maxima, totals = maxima.merge(measure_pack(pack, constants)), totals + count_pack(pack)
    assert manifest.maxima == maxima
    assert manifest.totals == totals
    assert sum((d.counts.num_samples for d in manifest.datasets.values()), 0) == totals.num_samples
    for entry in manifest.shards:
        content = (demo_run.folder / entry.name).read_bytes()
        assert (entry.num_bytes, entry.sha256) == (len(content), hashlib.sha256(content).hexdigest())


def test_the_manifest_counts_the_rejects_of_each_dataset(demo_run: Outcome) -> None:
    rejects = {name: dict(dataset.rejects) for name, dataset in demo_run.manifest.datasets.items() if dataset.rejects}
    assert rejects == {"flawed": {"aspect_ratio": 1, "missing_file": 1, "tag_count": 1}}
    assert [reject["dataset"] for reject in demo_run.rejects] == ["flawed"] * 3
    assert demo_run.manifest.num_rejects == 3


def test_the_fingerprint_is_taken_of_everything_that_determines_the_bytes(demo: Demo, demo_run: Outcome) -> None:
    inputs = demo_run.manifest.inputs
    assert set(inputs) == {"config", "datasets", "model", "tokenizer_sha256", "versions"}
    assert {"seed", "pack_length", "max_pixels", "dataset_use", "video_decoder", "packing"} <= set(inputs["config"])
    codecs = {"libjpeg_turbo", "webp", "avif", "jpg_2000", "libtiff", "libavcodec", "libavformat", "libswscale"}
    packages = {"pillow", "decord", "av", "numpy", "tokenizers", "pyarrow", "preprocess"}
    assert codecs | packages | {"machine", "pillow_heif"} == set(inputs["versions"])
    assert all(inputs["versions"][name] for name in codecs | packages | {"machine"})
    annotations = (demo.annotations / "charts.json").read_bytes()
    assert inputs["datasets"]["charts"]["annotations_sha256"] == hashlib.sha256(annotations).hexdigest()
    text = json.dumps(inputs, sort_keys=True).encode()
    assert demo_run.manifest.fingerprint == hashlib.sha256(text).hexdigest()


def test_no_time_host_path_or_number_of_workers_stands_in_the_manifest(demo: Demo, demo_run: Outcome) -> None:
    text = (demo_run.folder / "manifest.json").read_text()
    words = set(re.findall(r'"([^"]*)"', text))
    assert {"charts", "shard-000000.arrow"} <= words
    assert not [word for word in words if "/" in word or re.match(r"\d{4}-\d\d", word) or "worker" in word]
    for forbidden in (str(demo.root), str(demo_run.folder), socket.gethostname()):
        assert forbidden not in text


def test_the_run_prints_the_plan_and_then_what_was_written(demo_run: Outcome) -> None:
    lines = demo_run.out.splitlines()
    assert lines[0].split()[:2] == ["dataset", "samples"]
    assert any(line.startswith("wrote ") and "120 samples" in line for line in lines)
    assert "as planned: no sample was lost while decoding" in lines
    assert demo_run.err == ""


# --- equal inputs, equal bytes -------------------------------------------------------------------------------------


def test_neither_place_nor_workers_change_a_byte(
    workshop: Workshop, demo: Demo, demo_run: Outcome, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same data, from another working directory, into another folder, by two processes."""
    monkeypatch.chdir(workshop.media)
    flags = [f"--config={os.path.relpath(demo.config)}", "--output_dir=../out", "--shard_bytes=5000000"]
    outcome = workshop.command("run", *flags, "--workers=2")
    assert outcome.code == 0, outcome.err
    assert outcome.folder != demo_run.folder
    assert contents(outcome.folder) == contents(demo_run.folder)


def test_moved_data_give_the_same_shards_and_manifest(workshop: Workshop, demo: Demo, demo_run: Outcome) -> None:
    moved = workshop.root / "moved"
    shutil.copytree(demo.root, moved)
    flags = [f"--config={moved / 'run.yaml'}", f"--output_dir={workshop.root / 'out'}", "--shard_bytes=5000000"]
    outcome = workshop.command("run", *flags, f"--datasets={moved / 'datasets.py'}", "--workers=0")
    assert outcome.code == 0, outcome.err

    def published(folder: Path) -> dict[str, bytes]:
        """What names no place: all but the plan and the ledger, which say where each medium is."""
        return {
            name: content for name, content in contents(folder).items() if "plan/" not in name and "rej" not in name
        }

    assert len(published(outcome.folder)) > 8
    assert published(outcome.folder) == published(demo_run.folder)


def test_one_worker_writes_what_two_write(workshop: Workshop) -> None:
    workshop.dataset([talk("one " * n) for n in range(20)] + [talk("<image>", image=workshop.truncated_image())])
    flags = ("--packing=none", "--shard_bytes=9000", "--max_reject_share=1")
    runs = [workshop.run(*flags, f"--workers={number}", out=f"out{number}") for number in (1, 2)]
    assert len(runs[0].manifest.shards) > 2
    assert contents(runs[0].folder) == contents(runs[1].folder)
    assert runs[0].rejects != []


# --- from where it is started --------------------------------------------------------------------------------------


def test_paths_in_a_config_file_are_relative_to_it(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.dataset([talk()])
    (workshop.root / "configs").mkdir()
    shutil.copytree(workshop.model, workshop.root / "model")
    values = {
        "model": "../model",
        "datasets": "../datasets.yaml",
        "dataset_use": "d",
        "output_dir": "../out",
        "workers": 0,
    }
    (workshop.root / "configs" / "run.yaml").write_text(yaml.safe_dump(values))
    monkeypatch.chdir(workshop.media)
    outcome = workshop.command("run", "--config", "../configs/run.yaml")
    assert outcome.code == 0, outcome.err
    assert outcome.keys == ["d:0"]


def test_paths_on_the_command_line_are_relative_to_the_working_directory(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.dataset([talk()])
    monkeypatch.chdir(workshop.media)
    outcome = workshop.run("--datasets", "../datasets.yaml", "--output_dir", "../elsewhere", out="elsewhere")
    assert outcome.code == 0, outcome.err
    assert outcome.keys == ["d:0"]


# --- runs that fail ------------------------------------------------------------------------------------------------


def test_a_syntax_error_in_a_json_array_is_refused_before_anything_is_written(workshop: Workshop) -> None:
    workshop.dataset([talk()], suffix=".json")
    path = workshop.root / "d.json"
    path.write_text(path.read_text().replace("]}", "]]"))
    outcome = workshop.run()
    assert outcome.code == 2
    assert "at byte" in outcome.error
    assert "convert it to JSON Lines" in outcome.error
    assert not outcome.folder.exists()


def test_a_plan_that_fails_leaves_its_parts_and_the_next_run_completes_it(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.dataset([talk()])
    monkeypatch.setattr(preprocess.plan.make, "write_packs", full_disk)
    outcome = workshop.run()
    assert outcome.code == 1
    assert outcome.error.startswith("preprocess: stopped: [Errno 28] No space left on device: 'packs.arrow'")
    assert "run the same command again" in outcome.error
    left = set(contents(outcome.folder))
    parts = {"plan/samples/part-000000.arrow"}
    assert left == {*parts, "plan/inputs.json", "plan/rejects.jsonl", "plan/parts.arrow"}
    monkeypatch.undo()
    again, undisturbed = workshop.run(), workshop.run(out="undisturbed")
    assert again.code == 0
    assert contents(again.folder) == contents(undisturbed.folder)


def test_a_full_disk_while_writing_leaves_no_dataset(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.dataset([talk()])
    monkeypatch.setattr("shards.formats.writer._publish", full_disk)
    outcome = workshop.run()
    assert outcome.code == 1
    assert "No space left on device" in outcome.error
    assert not (outcome.folder / "manifest.json").exists()
    assert not list(outcome.folder.rglob("*shard-*"))


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device", "packs.arrow")


def test_a_bug_ends_the_run_with_its_traceback(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    def bug(*_: Any) -> None:
        raise KeyError("a bug")

    workshop.dataset([talk()])
    monkeypatch.setattr(preprocess.plan.make, "pack_samples", bug)
    with pytest.raises(KeyError, match="a bug"):
        workshop.run()


# --- the rest of the path ------------------------------------------------------------------------------------------


def test_parquet_goes_the_whole_way(workshop: Workshop) -> None:
    def png(color: str) -> bytes:
        file = io.BytesIO()
        Image.new("RGB", (56, 84), color).save(file, "PNG")
        return file.getvalue()

    workshop.image("red.png", color="red")
    rows = [
        talk("<image>", image={"bytes": png("red"), "path": "elsewhere.png"}),
        talk("<image>", image={"bytes": None, "path": "red.png"}),
        talk("Hi", image=None),
        talk("<image>", image={"bytes": b"", "path": "red.png"}),
        talk("<image>", image={"bytes": None, "path": None}),
        talk("<image>", image={"bytes": png("blue"), "path": None}),
    ]
    workshop.dataset(rows, suffix=".parquet")
    outcome = workshop.run("--packing=none", "--max_reject_share=1")
    assert outcome.code == 0, outcome.err
    assert [(reject["index"], reject["reason"]) for reject in outcome.rejects] == [(3, "undecodable"), (4, "tag_count")]
    assert "d.parquet (row 3, image[0])" in outcome.rejects[0]["detail"]
    packs = {pack.sample_keys[0]: pack for pack in outcome.packs}
    assert (packs["d:0"].image_patches == packs["d:1"].image_patches).all()
    assert (packs["d:0"].image_patches != packs["d:5"].image_patches).any()
    assert len(packs["d:2"].image_patches) == 0


def test_every_form_of_a_record_gives_the_same_sample(workshop: Workshop) -> None:
    image = workshop.image()
    said = [("user", "<image> What?"), ("assistant", "Red.")]
    qwen = [{"from": {"user": "human", "assistant": "gpt"}[role], "value": text} for role, text in said]
    chat = [{"role": role, "content": text} for role, text in said]
    records = [
        {"conversations": qwen, "image": image},
        {"conversations": qwen, "images": [image], "videos": []},
        {"messages": chat, "image": [image], "video": None},
        {"messages": chat, "images": str(workshop.media / image), "id": 2**70},
        [{"messages": chat, "images": image}],
    ]
    workshop.dataset(records, suffix=".json")
    workshop.dataset(records, name="lines", suffix=".jsonl")
    outcome = workshop.run("--packing=none")
    assert outcome.code == 0
    assert len(outcome.packs) == 10
    first, *others = outcome.packs
    for pack in others:
        assert (pack.input_ids == first.input_ids).all()
        assert (pack.labels == first.labels).all()
        assert (pack.image_patches == first.image_patches).all()


def test_manifest_and_datasets_of_a_small_run(workshop: Workshop) -> None:
    workshop.dataset([talk(), talk(answer="")], name="b")
    workshop.dataset([talk(), talk()], name="a")
    outcome = workshop.run("--dataset_use=a,b", "--max_reject_share=1")
    manifest: Manifest = outcome.manifest
    [pack] = outcome.packs
    assert set(manifest.datasets) == {"a", "b"}
    assert manifest.datasets["b"].rejects == {"nothing_to_learn": 1}
    assert manifest.datasets["a"] == DatasetSummary(counts=manifest.datasets["b"].counts * 2)
    assert manifest.totals == count_pack(pack)
