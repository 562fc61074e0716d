"""What an error of the disk means where a run begins: a wrong folder, or no room for now."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import pytest

import preprocess.output_dir
from preprocess.cli.commands import main
from preprocess.encode import SampleEncoder
from preprocess.errors import ConfigError
from preprocess.jobs.share import Share
from preprocess.output_dir import beginning_in, prepare
from tests.preprocess.workshop import Workshop, talk


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_not_a_wrong_folder(tmp_path: Path, number: int) -> None:
    error = OSError(number, os.strerror(number), str(tmp_path / "plan"))
    with pytest.raises(OSError) as raised, beginning_in(tmp_path):
        raise error
    assert raised.value is error


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOTDIR])
def test_a_folder_that_can_never_be_written_is_a_wrong_one(tmp_path: Path, number: int) -> None:
    with pytest.raises(ConfigError, match=rf"^output_dir {tmp_path}: .*; name another folder"), beginning_in(tmp_path):
        raise OSError(number, os.strerror(number))


@pytest.mark.parametrize(("number", "code"), [(errno.ENOSPC, 1), (errno.EDQUOT, 1), (errno.EROFS, 2)])
def test_a_run_says_whether_the_same_command_can_go_on(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, number: int, code: int
) -> None:
    def fail(folder: Path, inputs: Any) -> None:
        raise OSError(number, os.strerror(number), str(folder))

    workshop.dataset([talk()])
    monkeypatch.setattr(preprocess.output_dir, "write_inputs", fail)
    outcome = workshop.command("run", *workshop.flags())
    assert outcome.code == code
    assert ("make room, and run the same command again" in outcome.error) == (code == 1)
    assert ("name another folder" in outcome.error) == (code == 2)


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("name", ["plan", "model", ".writing", "manifest.json", "shard-000000.arrow", "plan/done"])
def test_a_link_in_place_of_what_is_ours_is_refused_before_anything_is_removed(workshop: Workshop, name: str) -> None:
    workshop.dataset([talk()])
    folder = workshop.run().folder
    elsewhere = workshop.root / "elsewhere"
    if (folder / name).exists():
        (folder / name).rename(elsewhere)
    else:
        elsewhere.mkdir()
    (folder / name).symlink_to(elsewhere)
    before = contents(workshop.root)
    outcome = workshop.run("--overwrite", "--seed=7")
    assert outcome.code == 2
    assert f"{name} is a link" in outcome.error
    assert contents(workshop.root) == before


def test_a_pipe_in_place_of_what_is_ours_is_refused(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    folder = workshop.run().folder
    (folder / "plan" / "inputs.json").unlink()
    os.mkfifo(folder / "plan" / "inputs.json")
    assert "plan/inputs.json is neither a file nor a folder" in workshop.run().error


def test_foreign_links_in_the_folder_stay(workshop: Workshop) -> None:
    workshop.dataset([talk()])
    folder = workshop.run().folder
    (folder / "latest").symlink_to(workshop.media)
    assert workshop.run("--overwrite", "--seed=7").code == 0
    assert (folder / "latest").is_symlink()


@pytest.mark.parametrize("inner", ["plan", "plan/samples/deeper", "model", ".writing/x"])
def test_an_output_folder_within_what_another_run_removes_is_refused(workshop: Workshop, inner: str) -> None:
    workshop.dataset([talk()])
    assert workshop.run().code == 0
    outcome = workshop.run(out=f"out/{inner}")
    assert outcome.code == 2
    assert "of another run" in outcome.error or "lies in the" in outcome.error
    assert workshop.run(out="out/beside").code == 0, "beside the shards nothing of a run's is removed"


# --- two runs, one folder --------------------------------------------------------------------------------------------


def at_this_moment(monkeypatch: pytest.MonkeyPatch, do: Callable[[], None]) -> None:
    """`do` just after a run found that it may use its folder, and before it takes it."""
    alone_in = preprocess.output_dir._alone_in

    def doing(folder: Path) -> AbstractContextManager[None]:
        monkeypatch.setattr(preprocess.output_dir, "_alone_in", alone_in)
        do()
        return alone_in(folder)

    monkeypatch.setattr(preprocess.output_dir, "_alone_in", doing)


@pytest.mark.parametrize("flags", [(), ("--overwrite",)])
@pytest.mark.parametrize("is_new", [True, False])
def test_a_run_that_comes_second_ends_with_one_line(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], is_new: bool
) -> None:
    workshop.dataset([talk()])
    if not is_new:
        assert workshop.run("--seed=1").code == 0
    winner = workshop.config(seed=2, overwrite=not is_new)
    at_this_moment(monkeypatch, lambda: void(prepare(winner, Share())))
    second = workshop.run("--seed=3", *([*flags] if is_new else ["--overwrite"]))
    assert second.code == 2
    assert "another run began there at this moment" in second.error
    assert workshop.run("--seed=2").code == 0, "the first goes on"
    assert workshop.command("report", str(second.folder)).code == 0


def void(_: object) -> None:
    """So that a lambda returns nothing."""


def test_the_same_run_twice_goes_on_together(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.dataset([talk()])
    at_this_moment(monkeypatch, lambda: void(prepare(workshop.config(), Share())))
    assert workshop.run().code == 0


def test_a_folder_without_locks_is_still_taken_by_one(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both find it free, its plan appears with the inputs of one."""
    workshop.dataset([talk()])
    begin = preprocess.output_dir._begin

    def second(folder: Path, inputs: dict[str, Any]) -> bool:
        assert begin(folder, {**inputs, "config": {}})
        return begin(folder, inputs)

    monkeypatch.setattr(preprocess.output_dir, "_begin", second)
    assert "another run began there at this moment" in workshop.run().error


@pytest.mark.parametrize("stage", ["measure", "encode"])
def test_a_run_whose_folder_is_taken_over_says_so_and_leaves_the_other_alone(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    workshop.dataset([talk()])
    original = getattr(SampleEncoder, stage)
    taken: list[dict[Path, bytes]] = []

    def taking_over(self: SampleEncoder, sample: Any) -> Any:
        if not taken:
            taken.append({})
            assert main(["run", *workshop.flags("--seed=2", "--overwrite")]) == 0
            taken[0] = contents(workshop.root / "out")
        return original(self, sample)

    monkeypatch.setattr(SampleEncoder, stage, taking_over)
    outcome = workshop.run("--seed=1")
    assert outcome.code == 1
    assert "was taken over by another run" in outcome.err.splitlines()[-1]
    assert contents(outcome.folder) == taken[0]


@pytest.mark.parametrize("name", ["plan/samples/part-000009.arrow", "plan/new", ".writing/new", "model/new"])
def test_a_run_that_writes_on_while_its_folder_is_removed_stops_neither(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """What it writes before it asks whose the folder is must not keep that from being taken."""
    workshop.dataset([talk()])
    assert workshop.run("--seed=1").code == 0
    rmtree = preprocess.output_dir.shutil.rmtree

    def writing_on(path: Path, **options: Any) -> None:
        folder = workshop.root / "out"
        with suppress(FileNotFoundError):
            if b"being_removed" in (folder / "plan" / "inputs.json").read_bytes():
                (folder / name).write_bytes(b"")
        rmtree(path, **options)
        with suppress(FileNotFoundError):
            if b"being_removed" in (folder / "plan" / "inputs.json").read_bytes():
                (folder / name).write_bytes(b"")

    monkeypatch.setattr(preprocess.output_dir.shutil, "rmtree", writing_on)
    outcome = workshop.run("--seed=2", "--overwrite")
    assert outcome.code == 0, outcome.error
    assert not (outcome.folder / name).exists()


def test_folders_that_a_stopped_run_makes_anew_do_not_keep_its_place(
    workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    workshop.dataset([talk()])
    assert workshop.run("--seed=1").code == 0
    remove = preprocess.output_dir._remove_run

    def removing(folder: Path) -> None:
        remove(folder)
        (folder / "plan" / "done").mkdir(parents=True)

    monkeypatch.setattr(preprocess.output_dir, "_remove_run", removing)
    assert workshop.run("--seed=2", "--overwrite").code == 0
