"""`preprocess plan` writes nothing, and so needs no output folder, but where a run will look for what it keeps."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.preprocess.media.archives.packing import write_zip
from tests.preprocess.workshop import Outcome, Workshop, talk


@pytest.fixture
def here(workshop: Workshop, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder."""
    folder = tmp_path_factory.mktemp("here")
    monkeypatch.chdir(folder)
    return folder


def planned(workshop: Workshop, *more: str) -> Outcome:
    flags = ["--model", str(workshop.model), "--datasets", str(workshop.registry), "--dataset_use", "all"]
    return workshop.command("plan", *flags, "--workers", "0", *more)


@pytest.mark.parametrize("more", [(), ("--sweep", "pack_length=256,512")])
def test_a_plan_needs_no_output_folder_and_leaves_nothing(
    workshop: Workshop, here: Path, more: tuple[str, ...]
) -> None:
    workshop.dataset([talk("<image>", image=workshop.image())])
    outcome = planned(workshop, *more)
    assert (outcome.code, outcome.err) == (0, "")
    assert list(here.iterdir()) == []


def test_one_of_archives_says_where_their_indexes_would_stand(workshop: Workshop, here: Path) -> None:
    content = (workshop.media / workshop.image()).read_bytes()
    workshop.dataset(
        [talk("<image>", image="a.png")], data_path=str(write_zip(workshop.root / "m.zip", {"a.png": content}))
    )
    outcome = planned(workshop)
    assert outcome.code == 2
    assert "--output_dir or --media_cache must be given: a plan keeps indexes of the archives of 'd'" in outcome.error
    assert planned(workshop, "--media_cache", "cache").code == 0
    assert [path.name for path in here.iterdir()] == ["cache"]


def test_one_on_ray_needs_a_folder_that_all_machines_see(workshop: Workshop, here: Path) -> None:
    workshop.dataset([talk()])
    outcome = planned(workshop, "--executor", "ray")
    assert outcome.code == 2
    assert "--output_dir must be given with --executor ray" in outcome.error
