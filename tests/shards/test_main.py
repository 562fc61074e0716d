"""The command line: exit codes, one line for each error, colours for terminals only."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from shards import Manifest, read_manifest
from shards.__main__ import main, pack_numbers
from shards.errors import FlagError

ROOT = Path(__file__).parents[2]


@pytest.fixture
def dataset(small_run: Path, tmp_path: Path) -> Path:
    return shutil.copytree(small_run, tmp_path / "out", ignore=shutil.ignore_patterns("plan"))


def test_info(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(small_run)]) == 0
    assert "fingerprint" in capsys.readouterr().out


def test_verify_says_what_it_looked_at(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(small_run), "--workers", "0"]) == 0
    assert main(["verify", str(small_run), "--workers=0", "--quick"]) == 0
    whole, quick = capsys.readouterr().out.splitlines()
    assert whole.startswith(f"{small_run} is whole: ")
    assert whole.endswith("(hashes, rows and sums)")
    assert quick.endswith("(hashes of all files; rows were not decoded)")


def test_verify_lists_what_is_wrong(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "shard-000000.arrow").unlink()
    (dataset / "model" / "config.json").unlink()
    assert main(["verify", str(dataset), "--workers=0"]) == 1
    *problems, last = capsys.readouterr().out.splitlines()
    assert [problem.split(":")[0] for problem in problems] == ["model/config.json", "shard-000000.arrow"]
    assert last == f"{dataset} is damaged: 2 problems in 2 files"


@pytest.mark.parametrize("command", ["info", "verify", "show"])
def test_what_is_no_dataset_is_wrong_usage(tmp_path: Path, command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([command, str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"shards: error: {tmp_path} has no manifest.json, so it is not a dataset")


def test_damage_that_ends_a_command_is_not_wrong_usage(dataset: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (dataset / "manifest.sha256").write_text("x")
    assert main(["info", str(dataset)]) == 1
    [line] = capsys.readouterr().err.splitlines()
    assert "manifest.sha256" in line


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["unknown"],
        ["info"],
        ["verify", "x", "--workers=-1"],
        ["convert", "a", "b"],
        ["convert", "a", "b", "--format=x"],
        ["convert", "a", "b", "--compress=gzip"],
        ["convert", "a", "b", "--format=mindrecord", "--compress=zstd"],
    ],
)
def test_wrong_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(arguments)
    assert stopped.value.code == 2
    assert "usage: python -m shards" in capsys.readouterr().err


def test_several_packs_are_shown(small_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["show", str(small_run), "--pack=1,0"]) == 0
    text = capsys.readouterr().out
    assert [line.split(" of")[0] for line in text.splitlines() if line.startswith("pack ")] == ["pack 1", "pack 0"]
    assert "⟦" in text
    assert "\x1b" not in text


def test_colours_are_for_terminals_that_want_them(
    small_run: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    assert main(["show", str(small_run)]) == 0
    coloured = capsys.readouterr().out
    monkeypatch.setenv("NO_COLOR", "1")
    assert main(["show", str(small_run)]) == 0
    plain = capsys.readouterr().out
    assert "\x1b[" in coloured
    assert "⟦" not in coloured
    assert "\x1b" not in plain
    assert "⟦" in plain


def test_a_page_is_written(small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "page.html"
    assert main(["show", str(small_run), "--pack", "0-1", "--html", str(page)]) == 0
    assert capsys.readouterr().out.startswith(f"wrote {page} (")
    assert page.read_text(encoding="utf-8").startswith("<!doctype html>")


def test_a_page_that_can_not_be_written_is_an_error(
    small_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", str(small_run), "--html", str(tmp_path / "no" / "page.html")]) == 1
    assert "page.html" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "asked"),
    [
        ("--format=mindrecord", "mindrecord"),
        ("--format=mindrecord --compress=none", "mindrecord"),
        ("--format=arrow", "arrow"),
        ("--compress=none", "arrow"),
        ("--compress=zstd", "arrow_zstd"),
        ("--format=arrow --compress=zstd", "arrow_zstd"),
    ],
)
def test_conversion_is_told_what_to_do_and_says_what_it_did(
    small_run: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    flags: str,
    asked: str,
) -> None:
    told: list[object] = []

    def convert_shards(
        source: Path, target: Path, *, format: str, workers: int, on_shard: Callable[[], None]
    ) -> Manifest:
        told.extend((source, target, format, workers))
        on_shard()
        return replace(read_manifest(source), format=format)

    monkeypatch.setitem(sys.modules, "shards.convert", SimpleNamespace(convert_shards=convert_shards))
    target = tmp_path / "new"
    assert main(["convert", str(small_run), str(target), *flags.split(), "--workers=3"]) == 0
    assert told == [small_run, target, asked, 3]
    manifest = read_manifest(small_run)
    assert capsys.readouterr().out.startswith(f"wrote {manifest.num_packs} packs, ")


@pytest.mark.parametrize(
    ("text", "numbers"),
    [("0", [0]), ("3, 1", [3, 1]), ("0,5,7-9", [0, 5, 7, 8, 9]), ("2-2", [2]), ("1-3,2", [1, 2, 3])],
)
def test_numbers_of_packs(text: str, numbers: list[int]) -> None:
    assert pack_numbers(text, 10) == numbers


@pytest.mark.parametrize("text", ["", "x", "1,", "-1", "3-1", "1-2-3", "1.5", "10", "0-10", "9" * 30])
def test_numbers_that_are_no_packs(text: str) -> None:
    with pytest.raises(FlagError, match="--pack"):
        pack_numbers(text, 10)


def test_a_reader_that_has_enough_ends_show_quietly(small_run: Path) -> None:
    command = [sys.executable, "-m", "shards", "show", str(small_run), "--pack=0-1"]
    for buffering in ({}, {"PYTHONUNBUFFERED": "1"}):  # it fails at the end, or in the middle
        with subprocess.Popen(
            command, cwd=ROOT, env={**os.environ, **buffering}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            assert process.stdout
            assert process.stderr
            process.stdout.close()
            assert (process.stderr.read(), process.wait()) == (b"", 128 + signal.SIGPIPE)


def test_a_full_disk_behind_the_output_is_one_line(small_run: Path) -> None:
    command = [sys.executable, "-m", "shards", "info", str(small_run)]
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (done.stderr, done.returncode) == ("shards: stopped: [Errno 28] No space left on device\n", 1)
