"""From finished shards to the model's half of their certificate."""

from __future__ import annotations

import tempfile
from pathlib import Path

from shards import ShardSet
from shards.files.names import CERTIFICATE_PAGE_NAME
from shards.look.certificate import table, write_certificate
from train.certify.compare import model_section
from train.certify.losses import losses_of
from train.certify.task import run_reference, write_task


def certify(shards: ShardSet, model: Path, numbers: tuple[int, ...], oracle: Path) -> tuple[list[str], bool]:
    """Lines to print, and whether all losses are equal. Loads the model; raises TrainError or ShardError."""
    constants = shards.manifest.model
    with tempfile.TemporaryDirectory(prefix="train-certify-") as name:
        task = write_task(Path(name), model, {number: shards[number] for number in numbers}, constants)
        result = run_reference(task, oracle)  # first: it draws the weights of a tiny model
        section = model_section(task, losses_of(task, constants), result)
    write_certificate(shards.folder, shards.manifest, "model", section)
    largest = ", ".join(f"{each['value']:.1e} (of {each['bound']:.0e} allowed)" for each in section["largest"])
    lines = [
        section["what"],
        *table(section),
        f"largest relative differences: {largest}",
        f"wrote {shards.folder / CERTIFICATE_PAGE_NAME}; open it in a browser",
    ]
    return lines, not section["num_unexplained"]
