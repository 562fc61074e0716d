"""plan.json: what a finished plan says of itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from preprocess.errors import damaged
from shards import PackCounts
from shards.files.atomic import write_atomically
from shards.files.names import PLAN_NAME
from shards.inputs import with_format
from shards.manifest import fingerprint_of


@dataclass(frozen=True, kw_only=True)
class PlanSummary:
    """What `plan` prints. Counts are of uses: a repeated sample counts each time; rejects count once."""

    fingerprint: str  # of the inputs
    inputs: Mapping[str, Any]  # what determines the plan: those of the run, but for the file format
    datasets: Mapping[str, PackCounts]
    rejects: Mapping[str, Mapping[str, int]]  # dataset -> reason -> samples
    num_records: int  # samples read, usable or not, each once
    ignored_keys: Mapping[str, int]
    num_packs: int
    num_shards: int
    pack_length: int
    pack_patches: int  # capacity; chosen from the data where the configuration says auto
    largest_unit_patches: int  # of a sample, or of a ready-made pack
    num_bytes: int  # of all shards, about
    largest_row_bytes: int  # the most that any pack takes in a MindRecord page
    notes: Mapping[str, Mapping[str, int]] = field(default_factory=dict)  # dataset -> note -> how often
    files: Mapping[str, Sequence[Sequence[Any]]] = field(default_factory=dict)  # as `ledger.FilesOfDatasets`

    @property
    def totals(self) -> PackCounts:
        return sum(self.datasets.values(), PackCounts())

    @property
    def num_rejects(self) -> int:
        return sum(sum(reasons.values()) for reasons in self.rejects.values())

    def run_inputs(self, format: str) -> Mapping[str, Any]:
        """Of a run that writes this plan as `format`: those of its manifest."""
        return with_format(self.inputs, format)

    def run_fingerprint(self, format: str) -> str:
        return fingerprint_of(self.run_inputs(format))

    @classmethod
    def read(cls, folder: Path) -> PlanSummary | None:
        """None where the plan in `folder` is unfinished."""
        try:
            record = json.loads((folder / PLAN_NAME).read_text(encoding="utf-8"))
            record["datasets"] = {name: PackCounts(**counts) for name, counts in record["datasets"].items()}
            return cls(**record)
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(folder / PLAN_NAME, error) from None

    def write(self, folder: Path) -> None:
        write_atomically(folder / PLAN_NAME, json.dumps(asdict(self), indent=1) + "\n")
