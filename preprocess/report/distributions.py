"""How large samples and packs are: distributions of the plan, read batch by batch, so that its size does not matter."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from tqdm import tqdm

from preprocess.plan.tables import part_path, read_table

_BINS_PER_DOUBLING = 4


@dataclass(frozen=True, kw_only=True)
class Bin:
    low: int
    high: int  # inclusive
    number: int  # of values


@dataclass
class Distribution:
    """How often each integer from 0 occurs, exactly. Memory grows with the largest value, not with their number."""

    counts: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(1, np.int64))

    def add(self, values: npt.NDArray[np.integer], copies: npt.NDArray[np.integer] | None = None) -> None:
        """Each value once, or as often as `copies` says."""
        more = np.bincount(values, copies, minlength=len(self.counts)).astype(np.int64)
        more[: len(self.counts)] += self.counts
        self.counts = more

    @property
    def total(self) -> int:
        return int(self.counts.sum())

    @property
    def largest(self) -> int:
        return int(np.flatnonzero(self.counts).max(initial=0))

    def quantile(self, part: float) -> int:
        """The smallest value that at least `part` of all values do not exceed; 0 where there are none."""
        return int(np.searchsorted(np.cumsum(self.counts), max(part * self.total, 1))) if self.total else 0

    def bins(self, edges: Sequence[int]) -> list[Bin]:
        """From each edge to before the next; `edges` ascend, and the last one is above every value."""
        before = np.concatenate([[0], np.cumsum(self.counts)])[np.minimum(edges, len(self.counts))]
        return [
            Bin(low=low, high=end - 1, number=int(number))
            for low, end, number in zip(edges, edges[1:], np.diff(before), strict=False)
        ]


def even_edges(capacity: int, most_bins: int = 50) -> list[int]:
    """0 to `capacity`, in steps of one size."""
    step = -(-(capacity + 1) // most_bins)
    return list(range(0, capacity + step + 1, step))


def doubling_edges(values: Distribution) -> list[int]:
    """Steps that grow with the values, four a doubling. 0 has a bin of its own, which no step of that kind reaches."""
    present = np.flatnonzero(values.counts)
    positive = present[present > 0]
    if not len(positive):
        return [0, 1]
    smallest, largest = int(positive[0]), int(positive[-1])
    steps = range(_step(smallest), _step(largest) + 1)
    edges = {max(int(np.ceil(2 ** (step / _BINS_PER_DOUBLING))), smallest) for step in steps}
    return sorted(edges | {largest + 1} | ({0} if present[0] == 0 else set()))


def _step(value: int) -> int:
    """Number of the step that `value` > 0 lies in."""
    return int(np.floor(np.log2(value) * _BINS_PER_DOUBLING))


@dataclass(frozen=True, kw_only=True)
class PlanDistributions:
    """Of all uses of samples, and of all packs, as planned."""

    sample_tokens: Distribution
    sample_patches: Distribution
    pack_tokens: Distribution
    pack_patches: Distribution

    @classmethod
    def read(cls, plan: Path) -> PlanDistributions:
        found = cls(
            sample_tokens=Distribution(),
            sample_patches=Distribution(),
            pack_tokens=Distribution(),
            pack_patches=Distribution(),
        )
        num_parts = len(read_table(plan / "parts.arrow"))
        for part in tqdm(range(num_parts), desc="distributions", unit="part", leave=False, disable=None):
            names = ("copies", "num_tokens", "num_image_patches", "num_video_patches")
            for copies, tokens, image_patches, video_patches in _columns(part_path(plan, part), names):
                found.sample_tokens.add(tokens, copies)
                found.sample_patches.add(image_patches + video_patches, copies)
        for tokens, patches in _columns(plan / "packs.arrow", ("num_tokens", "num_patches")):
            found.pack_tokens.add(tokens)
            found.pack_patches.add(patches)
        return found


def _columns(path: Path, names: Sequence[str]) -> Iterator[list[npt.NDArray[np.integer]]]:
    """The named columns, a record batch at a time, in the order of `names`."""
    with pa.memory_map(str(path)) as file:
        fields = pa.ipc.open_file(file).schema
        options = pa.ipc.IpcReadOptions(included_fields=[fields.get_field_index(name) for name in names])
        reader = pa.ipc.open_file(file, options=options)
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            yield [batch.column(name).to_numpy() for name in names]
