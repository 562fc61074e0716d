"""Benchmarks of planning, packing, reading, races and interrupted training: they run alone, and hold what they show."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
ORACLE = BENCH.parents[1] / ".venv-oracle" / ".installed"
needs_oracle = pytest.mark.skipif(not ORACLE.exists(), reason="no .venv-oracle: scripts/bench.sh makes it")
needs_photographs = pytest.mark.skipif(
    not all(map(find_spec, ("skimage", "sklearn"))), reason="the extra bench has the photographs"
)


def run_quickly(name: str, folder: Path) -> dict[str, Any]:
    """The object on the last line of what a benchmark prints; it runs from some other folder."""
    (path,) = BENCH.rglob(f"{name}.py")
    command = [sys.executable, str(path), "--quick"]
    printed = subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout
    *table, last = printed.splitlines()
    assert len(table) >= 3
    return json.loads(last)


def has_figures_of_its_rows(name: str, result: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether the READMEs' table has rows of this benchmark, and it gives all their figures."""
    monkeypatch.syspath_prepend(str(BENCH))
    bench_table = importlib.import_module("bench_table")
    (group,) = (group for group in bench_table.GROUPS if group.bench == name)
    return all(bench_table.cells(row, result) for row in group.rows)


def test_packs_are_full_on_both_axes_and_found_fast(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("binpacking", reason="the extra dev has it")
    result = run_quickly("pack", tmp_path)
    assert has_figures_of_its_rows("pack", result, monkeypatch)
    assert result["token_fill"] >= 0.99
    assert result["patch_fill"] >= 0.97
    assert result["none_tokens_ratio"] > 5
    for way in ("windows_256", "windows_1000", "ffd"):
        assert result[f"{way}_tokens_ratio"] >= 1
        assert 1.02 < result[f"{way}_patches_ratio"] < 2
    assert result["seconds_per_million"] <= 20


@needs_oracle
@pytest.mark.slow
def test_an_epoch_of_shards_takes_a_fraction_of_that_of_a_loader(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    result = run_quickly("epoch", tmp_path)
    assert has_figures_of_its_rows("epoch", result, monkeypatch)
    assert result["image_ratio"] > 50  # in seconds of the core
    assert result["video_ratio"] > 100
    assert all(
        result[f"{kind}_first_ratio"] > 1 and result[f"{kind}_payback_epochs"] > 0 for kind in ("image", "video")
    )


@needs_oracle
@needs_photographs
@pytest.mark.slow
def test_preprocessing_is_faster_than_the_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_quickly("processors", tmp_path)
    assert has_figures_of_its_rows("processors", result, monkeypatch)
    for kind in ("photo", "real", "clip"):
        for name in ("decode", "resize", "pil", "torchvision", "loader"):
            assert {f"{kind}_to_{name}", f"{kind}_to_{name}_all"} <= result.keys()
        assert result[f"{kind}_to_pil"] > 1
    assert result["photo_to_decode"] < result["photo_to_resize"] < result["photo_to_pil"]


@needs_oracle
@needs_photographs
@pytest.mark.slow
def test_storage_is_that_of_bytes_not_of_floats(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_quickly("storage", tmp_path)
    assert has_figures_of_its_rows("storage", result, monkeypatch)
    for kind, ratio in (("image", 8), ("real", 8), ("clip", 4)):  # images twice, for a patch has two frames
        assert 0.97 * ratio < result[f"{kind}_float32_to_uint8"] < ratio
        assert result[f"{kind}_float32_to_zstd"] > 1.3 * ratio


@needs_oracle
@pytest.mark.slow
def test_a_training_step_does_the_work_of_pytorch_in_about_its_time(tmp_path: Path) -> None:
    result = run_quickly("step", tmp_path)  # which ends with an error where losses or norms of gradients differ
    assert result["large_to_pytorch"] > 1 / 1.5
    for size in ("tiny", "large"):
        assert result[f"{size}_to_uncompiled"] > 1


@pytest.mark.slow
def test_a_start_from_files_is_faster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_quickly("start", tmp_path)
    assert has_figures_of_its_rows("start", result, monkeypatch)
    assert result["cold_to_cached"] > 1.5


@pytest.mark.slow
def test_reused_patches_save_time_and_change_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    result = run_quickly("reuse", tmp_path)
    assert has_figures_of_its_rows("reuse", result, monkeypatch)
    assert result["identical"] is True
    assert all(result[f"{change}_speedup"] > 1.2 for change in ("limit", "mixture", "pack_length"))


@pytest.mark.slow
def test_planning_takes_little_memory_for_a_sample(tmp_path: Path) -> None:
    result = run_quickly("plan", tmp_path)
    assert set(result) == {"samples_per_s_per_core", "bytes_per_sample", "peak_mb", "share_of_bytes_read"}
    assert result["peak_mb"] < 250
    assert 1 / 64 <= result["share_of_bytes_read"] < 0.03
    assert 0 < result["bytes_per_sample"] <= 200
    assert result["samples_per_s_per_core"] > 0  # how many depends on what else this machine does


@pytest.mark.slow
def test_reading_is_measured_beside_memcpy(tmp_path: Path) -> None:
    result = run_quickly("read", tmp_path)
    assert set(result) == {"arrow_to_memcpy", "mindrecord_to_memcpy", "dataset_mb_per_s"}
    assert 0.1 < result["arrow_to_memcpy"] <= 1.1  # the loop around the copies is the same
    assert result["dataset_mb_per_s"] > 0  # how many depends on what else this machine does


@pytest.mark.slow
def test_training_that_was_killed_ends_with_the_same_bits(tmp_path: Path) -> None:
    result = run_quickly("interrupt_training", tmp_path)
    assert set(result) == {"kills", "identical"}
    assert result["kills"] >= 1
    assert result["identical"] is True


@pytest.mark.slow
def test_of_two_runs_in_one_folder_one_comes_out_whole(tmp_path: Path) -> None:
    assert run_quickly("race", tmp_path) == {"trials": 5, "one_whole": 5}


@pytest.mark.slow
def test_nothing_outlives_a_killed_rank_or_launcher(tmp_path: Path) -> None:
    result = run_quickly("kill_ranks", tmp_path)
    assert result["slowest_seconds"] < 10
    assert (result["orphans"], result["wrong_endings"]) == (0, 0)


@pytest.mark.slow
def test_compressed_patches_take_less_and_are_read_fast_enough(tmp_path: Path) -> None:
    result = run_quickly("disk", tmp_path)
    assert set(result) == {"bytes_per_patch_raw", "bytes_per_patch_compressed", "read_mb_per_s_compressed"}
    assert 588 <= result["bytes_per_patch_raw"] < 600
    assert result["bytes_per_patch_compressed"] < 0.6 * result["bytes_per_patch_raw"]
    assert result["read_mb_per_s_compressed"] > 41  # what a 7B on 8 NPUs takes, as the benchmark says


@pytest.mark.slow
def test_ranks_load_their_parts_alone(tmp_path: Path) -> None:
    result = run_quickly("loading", tmp_path)
    assert set(result) == {"bytes_of_weights", "peak_stage0", "peak_stage3", "peak_share", "peak_share_of_loading"}
    assert result["peak_share_of_loading"] <= 0.4  # a quarter, and the largest weight as it is read


@pytest.mark.slow
def test_gathered_weights_live_while_they_are_used(tmp_path: Path) -> None:
    result = run_quickly("gathered", tmp_path)
    assert result["num_weights"] == 52
    assert result["alive"] <= 10


@pytest.mark.slow
def test_a_long_run_keeps_its_memory_and_its_ranks_equal(tmp_path: Path) -> None:
    result = run_quickly("endurance", tmp_path)
    assert (result["steps"], result["drift"]) == (30, False)
    assert result["memory_growth"] <= 0.01
