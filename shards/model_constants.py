"""The numbers of a model folder that shards depend on (`shards.families.read_model_constants` reads them).

Preprocessing writes them into the manifest; training compares them with those of the model it loads.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from shards.errors import ModelMismatch
from shards.files.records import Record

_MOST_IDS = (1 << 31) - 1  # token ids are int32
# What is made of these takes memory: a patch of the largest has 12 MB.
_MOST_PIXELS, _MOST_WINDOW_PIXELS, _MOST_MERGED, _MOST_FRAMES, _MOST_GRID = 256, 4096, 64, 64, 4096
Count = TypeVar("Count", int, npt.NDArray[np.integer])


@dataclass(frozen=True, kw_only=True)
class ModelConstants:
    """Constants of one model. Sizes in pixels unless said otherwise; ids are token ids."""

    model_type: str  # names the family: see shards/families/
    vocab_size: int
    patch_size: int
    merge_size: int  # patches per side of one visual token
    temporal_patch_size: int  # frames
    window_size: int  # 0 where the vision tower has no windows
    tokens_per_second: float  # 0 where positions in time have no seconds
    im_start_token_id: int
    im_end_token_id: int
    pad_token_id: int
    vision_start_token_id: int
    vision_end_token_id: int
    image_token_id: int
    video_token_id: int
    image_mean: tuple[float, float, float]
    image_std: tuple[float, float, float]
    rescale_factor: float
    position_grid: int = 0  # rows per side of the learned positions of patches; 0 where there are none, then not stored

    @property
    def grid_factor(self) -> int:
        """Pixels per side of one visual token: resized sides are multiples of it (28)."""
        return self.patch_size * self.merge_size

    @property
    def merge_unit(self) -> int:
        """Patches that become one visual token (4)."""
        return self.merge_size**2

    def num_visual_tokens(self, num_patches: Count) -> Count:
        """Pad tokens that so many patches of whole grids stand behind."""
        return num_patches // self.merge_unit

    @property
    def image_patch_bytes(self) -> int:
        """Bytes of a stored image patch: channels * rows * columns (588)."""
        return 3 * self.patch_size**2

    @property
    def video_patch_bytes(self) -> int:
        """Bytes of a stored video patch: channels * frames * rows * columns (1,176)."""
        return self.image_patch_bytes * self.temporal_patch_size

    def to_json(self) -> dict[str, Any]:
        stored = {name: value for name, value in asdict(self).items() if name != "position_grid" or value}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in stored.items()}

    @classmethod
    def from_record(cls, record: Record) -> ModelConstants:
        """Raises FieldError where a number is missing, unknown, or one that no model has."""
        record.only(field.name for field in fields(cls))
        vocab_size = record.integer("vocab_size", 1, _MOST_IDS)
        ids = [field.name for field in fields(cls) if field.name.endswith("_token_id")]
        return cls(
            model_type=record.text("model_type"),
            vocab_size=vocab_size,
            patch_size=record.integer("patch_size", 1, _MOST_PIXELS),
            merge_size=record.integer("merge_size", 1, _MOST_MERGED),
            temporal_patch_size=record.integer("temporal_patch_size", 1, _MOST_FRAMES),
            window_size=record.integer("window_size", 0, _MOST_WINDOW_PIXELS),
            tokens_per_second=record.number("tokens_per_second"),
            **{name: record.integer(name, 0, vocab_size - 1) for name in ids},
            image_mean=record.three_numbers("image_mean"),
            image_std=record.three_numbers("image_std", above=0),
            rescale_factor=record.number("rescale_factor", above=0),
            position_grid=record.integer("position_grid", 1, _MOST_GRID) if "position_grid" in record.values else 0,
        )

    def require_equal(self, other: ModelConstants, *, mine: str, theirs: str) -> None:
        """Raise ModelMismatch naming every constant that differs between `mine` and `theirs`."""
        differing = [
            f"{field.name} is {getattr(self, field.name)} in {mine} and {getattr(other, field.name)} in {theirs}"
            for field in fields(self)
            if getattr(self, field.name) != getattr(other, field.name)
        ]
        if differing:
            raise ModelMismatch("; ".join(differing) + ". Preprocess again with this model, or train the other one.")
