"""A part that is damaged counts as not measured, and the next run measures it again."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest

from preprocess.plan.measure import is_measured
from preprocess.plan.tables import part_path, read_table
from tests.preprocess.workshop import Workshop, published, talk


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def overwrite(path: Path) -> None:
    path.write_bytes(b"not Arrow" * 100)


def lose(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("damage", [cut_short, empty, overwrite, lose])
def test_a_damaged_part_is_measured_again(workshop: Workshop, damage: Callable[[Path], None]) -> None:
    workshop.dataset([talk("<image>", image=workshop.image()), talk("<image>", image="gone.png")])
    whole = workshop.run("--max_reject_share=1")
    plan = whole.folder / "plan"
    path, fingerprint, before = part_path(plan, 0), whole.plan.fingerprint, published(whole.folder)
    content = path.read_bytes()
    assert is_measured(plan, 0, fingerprint)
    assert not is_measured(plan, 0, "of another run")
    damage(path)
    assert not is_measured(plan, 0, fingerprint)
    for name in ("plan.json", "../manifest.json"):  # as if the run had ended while it was measuring
        (plan / name).unlink()
    assert workshop.run("--max_reject_share=1").code == 0
    assert path.read_bytes() == content
    assert published(whole.folder) == before


def test_the_schema_of_a_part_is_that_of_plans_before(workshop: Workshop) -> None:
    workshop.dataset([talk("<image>", image=workshop.image())])
    image = read_table(part_path(workshop.run().folder / "plan", 0)).schema.field("images").type.value_type
    assert image.field("stamp").type == pa.struct(
        {"num_bytes": pa.int64(), "mtime_ns": pa.int64(), "sha256": pa.string()}
    )
    assert image.field("source").type == pa.struct(
        {"path": pa.string(), "row": pa.int64(), "column": pa.string(), "item": pa.int32()}
    )
