"""The row of the format: one pack, its invariants, and what it needs of a static batch.

Shape suffixes: S tokens, K segments (samples), I images, V videos, Pi image patches, Pv video patches.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from shards.errors import InvalidPack
from shards.families import family_of
from shards.model_constants import ModelConstants

IGNORE_INDEX = -100
PatchColumn = Literal["image_patches", "video_patches"]


@dataclass(frozen=True, kw_only=True)
class Pack:
    """Samples one after another, without padding. Arrays may be read-only views into a mapped file."""

    input_ids: npt.NDArray[np.int32]  # (S,)
    labels: npt.NDArray[np.int32]  # (S,) IGNORE_INDEX where no loss; the first of each segment always
    position_ids: npt.NDArray[np.int32]  # (3, S) temporal, height, width; restart at 0 in each segment
    cu_seqlens: npt.NDArray[np.int32]  # (K+1,) segment boundaries from 0 to S
    image_patches: npt.NDArray[np.uint8]  # (Pi, 588) channel, row, column
    image_grid_thw: npt.NDArray[np.int32]  # (I, 3) in patches, in token order
    video_patches: npt.NDArray[np.uint8]  # (Pv, 1176) channel, frame, row, column
    video_grid_thw: npt.NDArray[np.int32]  # (V, 3)
    second_per_grid_ts: npt.NDArray[np.float64]  # (V,) seconds
    sample_keys: tuple[str, ...]  # (K,) dataset:index[.member][#repeat]

    @property
    def num_tokens(self) -> int:
        return len(self.input_ids)

    @property
    def num_samples(self) -> int:
        return len(self.sample_keys)

    @property
    def num_label_tokens(self) -> int:
        """Supervised tokens: the divisor of the loss."""
        return int(np.count_nonzero(self.labels != IGNORE_INDEX))


@dataclass(frozen=True, kw_only=True)
class PackCounts:
    """The scalars of a row; also the sums of many rows."""

    num_samples: int = 0
    num_tokens: int = 0
    num_label_tokens: int = 0
    num_images: int = 0
    num_videos: int = 0
    num_image_patches: int = 0
    num_video_patches: int = 0

    def __add__(self, other: PackCounts) -> PackCounts:
        return PackCounts(**{name: number + vars(other)[name] for name, number in vars(self).items()})

    def __sub__(self, other: PackCounts) -> PackCounts:
        return self + other * -1

    def __mul__(self, copies: int) -> PackCounts:
        return PackCounts(**{name: number * copies for name, number in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class PackMaxima:
    """The largest of each count over rows: what a static batch must have room for."""

    image_patches: int = 0
    video_patches: int = 0
    patches: int = 0  # image and video patches of one row together
    segments: int = 0
    images: int = 0
    videos: int = 0
    temporal_slices: int = 0  # segments of the vision tower's full attention
    windows: int = 0  # segments of its window attention; 0 in families without
    segment_tokens: int = 0  # longest segment
    tokens: int = 0
    label_tokens: int = 0

    def merge(self, other: PackMaxima) -> PackMaxima:
        return PackMaxima(**{name: max(number, vars(other)[name]) for name, number in vars(self).items()})


@dataclass(frozen=True, kw_only=True)
class Outline:
    """How long the parts of a pack are, and whose they are: what it costs to train on it, without its content."""

    segment_lengths: npt.NDArray[np.int64]  # (K,) tokens
    grids: npt.NDArray[np.int64]  # (I + V, 3) in patches, those of images first
    sample_keys: tuple[str, ...]  # (K,)


def outline_of(pack: Pack, constants: ModelConstants) -> Outline:
    """Touches no array of tokens or patches. Raises InvalidPack where a length can't be one."""
    for name in ("image_grid_thw", "video_grid_thw"):
        _require(pack, _is_grid(getattr(pack, name), constants.merge_size), f"{name} is not (N, 3) of whole cells")
    lengths = np.diff(pack.cu_seqlens.astype(np.int64))
    _require(pack, len(lengths) == pack.num_samples and bool(np.all(lengths > 0)), "cu_seqlens is not increasing")
    return Outline(
        segment_lengths=lengths,
        grids=np.concatenate([pack.image_grid_thw, pack.video_grid_thw]).astype(np.int64),
        sample_keys=pack.sample_keys,
    )


def count_pack(pack: Pack) -> PackCounts:
    return PackCounts(
        num_samples=pack.num_samples,
        num_tokens=pack.num_tokens,
        num_label_tokens=pack.num_label_tokens,
        num_images=len(pack.image_grid_thw),
        num_videos=len(pack.video_grid_thw),
        num_image_patches=len(pack.image_patches),
        num_video_patches=len(pack.video_patches),
    )


def num_patches(grid_thw: npt.NDArray[np.integer]) -> int:
    """Patches of all grids (N, 3): sum of t * h * w, exact for any three sides (NumPy's integers would overflow)."""
    return sum(math.prod(grid) for grid in grid_thw.tolist())


def measure_pack(pack: Pack, constants: ModelConstants) -> PackMaxima:
    """Raises UnknownFamily."""
    grids = np.concatenate([pack.image_grid_thw, pack.video_grid_thw])
    return PackMaxima(
        image_patches=len(pack.image_patches),
        video_patches=len(pack.video_patches),
        patches=len(pack.image_patches) + len(pack.video_patches),
        segments=pack.num_samples,
        images=len(pack.image_grid_thw),
        videos=len(pack.video_grid_thw),
        temporal_slices=int(grids[:, 0].sum()),
        windows=family_of(constants.model_type).num_windows(grids, constants),
        segment_tokens=int(np.diff(pack.cu_seqlens).max()),
        tokens=pack.num_tokens,
        label_tokens=pack.num_label_tokens,
    )


def check_pack(pack: Pack, constants: ModelConstants) -> None:
    """Raise InvalidPack, naming the first sample of the pack, if any invariant of the row is broken."""
    for name in ("image_grid_thw", "video_grid_thw"):
        _require(pack, _is_grid(getattr(pack, name), constants.merge_size), f"{name} is not (N, 3) of whole cells")
    tokens = pack.num_tokens
    shapes = {
        "input_ids": (np.int32, (tokens,)),
        "labels": (np.int32, (tokens,)),
        "position_ids": (np.int32, (3, tokens)),
        "cu_seqlens": (np.int32, (pack.num_samples + 1,)),
        "image_patches": (np.uint8, (num_patches(pack.image_grid_thw), constants.image_patch_bytes)),
        "image_grid_thw": (np.int32, (len(pack.image_grid_thw), 3)),
        "video_patches": (np.uint8, (num_patches(pack.video_grid_thw), constants.video_patch_bytes)),
        "video_grid_thw": (np.int32, (len(pack.video_grid_thw), 3)),
        "second_per_grid_ts": (np.float64, (len(pack.video_grid_thw),)),
    }
    for name, (dtype, shape) in shapes.items():
        array = getattr(pack, name)
        if (array.dtype, array.shape) != (dtype, shape):  # naming a dtype takes longer than all other checks
            _require(pack, array.dtype == dtype, f"{name} is {array.dtype}, not {np.dtype(dtype)}")
            _require(pack, array.shape == shape, f"{name} has shape {array.shape}, expected {shape}")

    are_texts = all(isinstance(key, str) for key in pack.sample_keys)
    _require(pack, are_texts, "a sample key is no text")
    boundaries = pack.cu_seqlens
    _require(pack, pack.num_samples > 0, "it holds no sample")
    _require(pack, boundaries[0] == 0 and boundaries[-1] == tokens, "cu_seqlens does not run from 0 to S")
    _require(pack, bool(np.all(np.diff(boundaries) > 0)), "cu_seqlens is not strictly increasing")
    starts = boundaries[:-1]
    _require(pack, bool(np.all(pack.labels[starts] == IGNORE_INDEX)), "a segment starts with a label")
    _require(pack, bool(np.all(pack.position_ids[:, starts] == 0)), "position_ids do not restart at 0")
    _require(
        pack,
        bool(np.all((pack.labels == IGNORE_INDEX) | (pack.labels == pack.input_ids))),
        "a label is neither IGNORE_INDEX nor its own token",
    )
    in_vocabulary = (pack.input_ids >= 0) & (pack.input_ids < constants.vocab_size)
    _require(pack, bool(np.all(in_vocabulary)), "a token id is outside the vocabulary")
    for kind, token_id in (("image", constants.image_token_id), ("video", constants.video_token_id)):
        pads = int(np.count_nonzero(pack.input_ids == token_id))
        visual_tokens = constants.num_visual_tokens(num_patches(getattr(pack, f"{kind}_grid_thw")))
        _require(pack, pads == visual_tokens, f"{pads} {kind}-pad tokens for {visual_tokens} visual tokens")


def _is_grid(grid_thw: npt.NDArray[np.integer], merge_size: int) -> bool:
    """(N, 3), positive, height and width multiples of `merge_size`."""
    if grid_thw.ndim != 2 or grid_thw.shape[1] != 3:
        return False
    return bool(np.all(grid_thw > 0) and np.all(grid_thw[:, 1:] % merge_size == 0))


def _require(pack: Pack, holds: bool, message: str) -> None:
    if not holds:
        first = pack.sample_keys[0] if pack.sample_keys else "(empty)"
        raise InvalidPack(f"pack starting with {first}: {message}")
