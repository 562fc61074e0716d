"""A disk that is full, or read-only: one clear error, nothing that looks like a dataset, and a resume that completes.

On file systems of their own, which only root can mount; elsewhere these tests are skipped.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from preprocess.plan.summary import PlanSummary
from tests.preprocess.workshop import Workshop, published, talk

Mount = Callable[[str], None]  # takes options, of which "remount" changes those of a mounted one


@pytest.fixture
def disk(tmp_path: Path) -> Path:
    """An empty folder, on which `mount` puts a file system."""
    folder = tmp_path / "disk"
    folder.mkdir()
    return folder


@pytest.fixture
def mount(disk: Path) -> Iterator[Mount]:
    def mount(options: str) -> None:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(disk)]
        done = subprocess.run(command, check=False, capture_output=True, text=True)
        if done.returncode and not disk.is_mount():
            pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
        assert not done.returncode, done.stderr

    try:
        yield mount
    finally:
        if disk.is_mount():
            subprocess.run(["umount", str(disk)], check=True)


@pytest.fixture
def pictures(workshop: Workshop) -> Workshop:
    """Twelve photos that become 100 KB each, in shards of two."""
    workshop.dataset([talk("<image>", image=workshop.image(f"{n}.png", (196, 196))) for n in range(12)])
    return workshop


FLAGS = ("--packing=none", f"--shard_bytes={2 * 120_000}")


@pytest.mark.parametrize(("workers", "growth"), [(0, 1.5), (2, 8)])  # starting workers anew takes long
def test_a_disk_that_fills_up_is_one_error_at_every_stage_and_a_resume_goes_on(
    pictures: Workshop, disk: Path, mount: Mount, workers: int, growth: float
) -> None:
    whole = pictures.run(*FLAGS, "--workers=0", out="whole")
    assert len(whole.manifest.shards) == 6
    folder, planned_at = disk / "out", []
    kilobytes = 8
    mount(f"size={kilobytes}k")
    while True:
        outcome = pictures.command("run", *pictures.flags(*FLAGS, f"--workers={workers}"), f"--output_dir={folder}")
        if outcome.code == 0:
            break
        assert outcome.code == 1
        assert "No space left on device" in outcome.error
        assert str(folder) in outcome.error
        assert "run the same command again" in outcome.error
        assert not (folder / "manifest.json").exists()
        planned_at.append(PlanSummary.read(folder / "plan") is not None)
        kilobytes = int(kilobytes * growth)
        mount(f"remount,size={kilobytes}k")
    assert set(planned_at) == {False, True}, "it did not fill up both while planning and while writing shards"
    assert published(folder) == published(whole.folder)


def test_a_read_only_folder_is_refused_and_left_as_it_is(pictures: Workshop, disk: Path, mount: Mount) -> None:
    mount("ro")
    for folder in (disk, disk / "out"):
        outcome = pictures.command("run", *pictures.flags(*FLAGS), f"--output_dir={folder}")
        assert outcome.code == 2
        assert f"output_dir {folder}: Read-only file system; name another folder" in outcome.error
    assert list(disk.iterdir()) == []


def test_a_run_that_became_read_only_is_refused_and_left_as_it_is(pictures: Workshop, disk: Path, mount: Mount) -> None:
    mount("size=50m")
    command = ("run", *pictures.flags(*FLAGS), f"--output_dir={disk / 'out'}")
    assert pictures.command(*command).code == 0
    (disk / "out" / "manifest.json").unlink()
    before = published(disk)
    mount("remount,ro")
    for more in ((), ("--overwrite", "--seed=1")):
        outcome = pictures.command(*command, *more)
        assert outcome.code == 2
        assert "Read-only file system; name another folder" in outcome.error
    assert published(disk) == before
