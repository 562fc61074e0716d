"""The READMEs' table: rows come from results, and `--against` finds what is off."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

BENCH = Path(__file__).parents[2] / "scripts" / "bench"
MACHINE = "2 cores of a test, 1 GiB, Linux x86_64"


@pytest.fixture
def bench_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, whose results are those of the test."""
    monkeypatch.syspath_prepend(str(BENCH))
    module = importlib.import_module("bench_table")
    monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    (tmp_path / "results").mkdir()
    return module


def write_result(folder: Path, name: str, **figures: float) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.txt").write_text(f"2026-01-02, commit 0\n{MACHINE}\n\n{json.dumps(figures)}\n", encoding="utf-8")


def reuse(limit: float, mixture: float) -> dict[str, float]:
    return {
        "limit_reused_s": 1.0,
        "limit_scratch_s": limit,
        "limit_speedup": limit,
        "mixture_reused_s": 1.0,
        "mixture_scratch_s": mixture,
        "mixture_speedup": mixture,
    }


def test_every_row_comes_from_a_benchmark_and_has_words_in_both_languages(bench_table: ModuleType) -> None:
    rows = [(group, row) for group in bench_table.GROUPS for row in group.rows]
    assert len(rows) > 20
    for group, row in rows:
        source = (BENCH / f"{group.bench}.py").read_text(encoding="utf-8")
        assert "--quick" in source
        assert "json.dumps" in source
        assert row.ratios
        assert not re.search("[\u4e00-\u9fff]", row.english)
        assert re.search("[\u4e00-\u9fff]", row.chinese), row.english


@pytest.mark.parametrize(("language", "words"), [("en", "another mixture"), ("zh", "数据集配比")])
def test_the_newest_result_makes_the_rows_that_it_has_figures_for(
    bench_table: ModuleType, tmp_path: Path, language: str, words: str
) -> None:
    write_result(tmp_path / "results", "2026-01-01-reuse", **reuse(limit=9.0, mixture=9.0))
    write_result(tmp_path / "results", "2026-01-02-reuse", **reuse(limit=3.0, mixture=2.0))
    text = f"before\n{bench_table.BEGIN}\nold\n{bench_table.END}\nafter\n"
    lines = bench_table.render(text, language).splitlines()
    assert (lines[0], lines[-1]) == ("before", "after")
    (mixture,) = [line for line in lines if words in line]
    assert mixture.endswith("| 1.0 s | 2.0 s | 2.0 x |")
    assert sum("3.0 x" in line for line in lines) == 1
    assert not any("9.0" in line or "old" in line for line in lines)
    assert not any("打包长度加倍" in line or "twice as long" in line for line in lines)  # has no figures
    assert any(MACHINE in line and "2026-01-02" in line for line in lines)


@pytest.mark.parametrize(
    ("now", "code", "says"),
    [
        ({"limit": 3.5, "mixture": 1.7}, 0, "0 of 2 ratios"),
        ({"limit": 3.7, "mixture": 2.0}, 1, "+23%  <- off"),
        ({"limit": 3.0, "mixture": 1.5}, 1, "-25%  <- off"),
    ],
)
def test_ratios_more_than_a_fifth_apart_are_named(
    bench_table: ModuleType,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    now: dict[str, Any],
    code: int,
    says: str,
) -> None:
    write_result(tmp_path / "results", "2026-01-02-reuse", **reuse(limit=3.0, mixture=2.0))
    write_result(tmp_path / "now", "reuse", **reuse(**now))
    assert bench_table.compare(tmp_path / "now") == code
    printed = capsys.readouterr().out
    assert says in printed
    assert printed.count("<- off") == code


def test_a_benchmark_that_ended_before_its_figures_is_off(
    bench_table: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path / "results", "2026-01-02-reuse", **reuse(limit=3.0, mixture=2.0))
    (tmp_path / "now").mkdir()
    (tmp_path / "now" / "reuse.txt").write_text("Traceback\n")
    assert bench_table.compare(tmp_path / "now") == 1
    assert capsys.readouterr().out.count("missing") == 2


def test_a_ratio_that_varies_with_the_disk_is_shown_and_not_judged(
    bench_table: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figures = {"image_first_ours_ms": 1.0, "image_first_loader_ms": 40.0}
    write_result(tmp_path / "results", "2026-01-02-epoch", **figures, image_first_ratio=40.0)
    write_result(tmp_path / "now", "epoch", **figures, image_first_ratio=20.0)
    assert bench_table.compare(tmp_path / "now") == 0
    assert re.search(r"40 x +20 x +-50%  varies with the disk", capsys.readouterr().out)


def test_what_another_environment_measures_is_not_missed_without_it(
    bench_table: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bench_table, "ROOT", tmp_path)
    figures = {"tiny_compiled_s": 1.0, "tiny_mindnlp_s": 50.0, "tiny_to_mindnlp": 50.0}
    write_result(tmp_path / "results", "2026-01-02-step", **figures)
    write_result(tmp_path / "now", "step", tiny_compiled_s=1.0)
    assert bench_table.compare(tmp_path / "now") == 0
    assert "needs .venv-mindnlp" in capsys.readouterr().out
    (tmp_path / ".venv-mindnlp").mkdir()
    assert bench_table.compare(tmp_path / "now") == 1


def test_what_was_not_run_is_not_compared(
    bench_table: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_result(tmp_path / "results", "2026-01-02-reuse", **reuse(limit=3.0, mixture=2.0))
    assert bench_table.compare(tmp_path) == 0
    assert "0 of 0 ratios" in capsys.readouterr().out


def test_each_photograph_has_its_licence_beside_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(BENCH / "shared"))
    real = importlib.import_module("bench_real")
    assert real.__doc__ is not None
    table = dict(re.findall(r"^\| (\S+), \S+ \|.*\| ([^|]+) \|$", real.__doc__, re.MULTILINE))
    names = {Path(name).name for names in real.PHOTOGRAPHS.values() for name in names}
    assert table.keys() == names
    assert all(re.search("CC|public domain|no known", licence) for licence in table.values())
