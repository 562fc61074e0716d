"""Pack -> Batch: static shapes, and everything the graph would otherwise have to work out about the layout. Pure NumPy.

    batch = make_batch(shards[0], BatchShape.of(shards.manifest), shards.manifest.model)
    loss_sum = model(*(ms.Tensor(array) for array in batch))

The vision tower sees one sequence of patches, images first, then videos, in window order:

    image_patches ─┐ embedded       ┌ patch_index: window order, then padding
    video_patches ─┘ separately   ──┘
    windows           (W, Q) rows of that sequence, Q patches each at most; window_position puts the outputs back
    full attention    one segment per temporal index, patch_keys
    merger            every merge_size**2 patches in a row become one visual embedding, still in window order
    embedding_index   row of concat([text embeddings, visual embeddings]) for each token

Every query of every attention layer has a range [first, last) of keys that it sees; padding sees padding only. Nothing
that is real ever reads padding, so that padding has no influence and receives no gradient, exactly.

Shapes: S tokens (pack_length), K segments, L supervised targets, Pi image patches, Pv video patches, P patches of both,
T temporal slices, W windows, Q patches of a whole window (64).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from shards.manifest import Manifest
from shards.model_constants import ModelConstants
from shards.pack import IGNORE_INDEX, Pack, PackMaxima

Int32 = npt.NDArray[np.int32]


@dataclass(frozen=True, kw_only=True)
class BatchShape:
    """The static sizes of a batch: what the fullest packs of a dataset need, and never 0 (no operator takes it)."""

    pack_length: int
    segments: int
    label_tokens: int
    image_patches: int
    video_patches: int
    patches: int
    temporal_slices: int
    windows: int

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"BatchShape.{field.name} is {getattr(self, field.name)}, less than 1")

    @classmethod
    def of(cls, manifest: Manifest) -> BatchShape:
        return cls.holding(manifest.maxima, manifest.pack_length, manifest.model)

    @classmethod
    def holding(cls, maxima: PackMaxima, pack_length: int, constants: ModelConstants) -> BatchShape:
        merge_unit = constants.merge_size**2
        return cls(
            pack_length=pack_length,
            segments=max(maxima.segments, 1),
            label_tokens=max(maxima.label_tokens, 1),
            image_patches=max(maxima.image_patches, merge_unit),
            video_patches=max(maxima.video_patches, merge_unit),
            patches=max(maxima.patches, merge_unit),
            temporal_slices=max(maxima.temporal_slices, 1),
            windows=max(maxima.windows, 1),
        )


class Batch(NamedTuple):
    """The model's inputs, in the order of its arguments."""

    input_ids: Int32  # (S,) padding: pad_token_id
    position_ids: Int32  # (3, S) temporal, height, width; padding: 0
    token_keys: Int32  # (S, 2) keys [first, last) that a token sees: from the start of its segment to itself
    token_ends: Int32  # (K+1,) end of each segment, then S: the padding is the last segment
    embedding_index: Int32  # (S,) row of concat([text embeddings (S), visual embeddings (P / merge unit)])
    target_index: Int32  # (L,) tokens that predict a supervised one; padding: 0
    target_ids: Int32  # (L,) the tokens they should predict
    target_weight: npt.NDArray[np.float32]  # (L,) 1, padding: 0
    image_patches: npt.NDArray[np.uint8]  # (Pi, 588)
    video_patches: npt.NDArray[np.uint8]  # (Pv, 1176)
    patch_index: Int32  # (P,) row of concat([embedded image patches (Pi), embedded video patches (Pv)]); padding: 0
    patch_positions: Int32  # (P, 2) row and column of the patch in its frame
    patch_keys: Int32  # (P, 2) keys [first, last) that a patch sees in full attention: its temporal slice
    patch_ends: Int32  # (T+1,) end of each temporal slice, then P
    window_index: Int32  # (W, Q) row of the patch sequence; padding: 0
    window_keys: Int32  # (W, Q, 2) keys [first, last) that a patch sees, within its window
    window_position: Int32  # (P,) place of each patch in the flattened windows; padding: 0


def make_batch(pack: Pack | None, shape: BatchShape, constants: ModelConstants) -> Batch:
    """Pad `pack` to `shape`. None is an empty pack: padding only, no supervised token.

    Raises ValueError if the pack doesn't fit: it is not of the dataset that `shape` was made for.
    """
    if pack is None:
        pack = _empty_pack(constants)
    vision = _lay_out_patches(pack, shape, constants)
    return Batch(
        **_lay_out_tokens(pack, shape, constants),
        embedding_index=_place_embeddings(pack, vision["patch_index"], shape, constants),
        **_lay_out_targets(pack, shape),
        image_patches=_pad(pack.image_patches, shape.image_patches, "image patches"),
        video_patches=_pad(pack.video_patches, shape.video_patches, "video patches"),
        **vision,
    )


def _lay_out_tokens(pack: Pack, shape: BatchShape, constants: ModelConstants) -> dict[str, Any]:
    length = shape.pack_length
    starts = np.repeat(pack.cu_seqlens[:-1], np.diff(pack.cu_seqlens))
    first = _pad(starts, length, "tokens", fill=pack.num_tokens)
    itself = np.arange(length, dtype=np.int32)
    return {
        "input_ids": _pad(pack.input_ids, length, "tokens", fill=constants.pad_token_id),
        "position_ids": np.ascontiguousarray(_pad(pack.position_ids.T, length, "tokens").T),
        "token_keys": np.stack([first, itself + 1], axis=1).astype(np.int32),
        "token_ends": _ends(pack.cu_seqlens[1:], shape.segments, length, "segments"),
    }


def _lay_out_targets(pack: Pack, shape: BatchShape) -> dict[str, Any]:
    """Token s predicts label s + 1. That is never another segment's: the first label of each is IGNORE_INDEX."""
    index = np.flatnonzero(pack.labels[1:] != IGNORE_INDEX)
    count = shape.label_tokens
    return {
        "target_index": _pad(index.astype(np.int32), count, "supervised tokens"),
        "target_ids": _pad(pack.labels[index + 1], count, "supervised tokens"),
        "target_weight": _pad(np.ones(len(index), np.float32), count, "supervised tokens"),
    }


def _place_embeddings(pack: Pack, patch_index: Int32, shape: BatchShape, constants: ModelConstants) -> Int32:
    """(S,) row of concat([text embeddings, visual embeddings]): the visual ones are in window order, tokens are not.

    The n-th image-pad token stands for the n-th merged cell of the image patches as stored; videos likewise.
    """
    merge_unit = constants.merge_size**2
    num_visual = (len(pack.image_patches) + len(pack.video_patches)) // merge_unit
    # The stored cell whose patches each visual embedding was made of; cells of videos come after the padded images.
    stored_cell = patch_index[: num_visual * merge_unit : merge_unit] // merge_unit
    num_cells = -(-(shape.image_patches + shape.video_patches) // merge_unit)
    row_of_cell = np.zeros(num_cells, np.int32)
    row_of_cell[stored_cell] = np.arange(num_visual, dtype=np.int32)

    index = np.arange(shape.pack_length, dtype=np.int32)
    first_video_cell = shape.image_patches // merge_unit
    for token_id, first_cell in ((constants.image_token_id, 0), (constants.video_token_id, first_video_cell)):
        places = np.flatnonzero(pack.input_ids == token_id)
        index[places] = shape.pack_length + row_of_cell[first_cell : first_cell + len(places)]
    return index


def _lay_out_patches(pack: Pack, shape: BatchShape, constants: ModelConstants) -> dict[str, Any]:
    frames = _frame_layouts(pack, shape, constants)
    total = sum(frame.num_patches for _, frame in frames)
    frame_starts = np.cumsum([0] + [frame.num_patches for _, frame in frames])[:-1]
    spans = [frame.num_patches for _, frame in frames]
    slice_first = np.repeat(frame_starts, spans)
    slice_last = slice_first + np.repeat(np.array(spans, dtype=np.int64), spans)
    patch_keys = np.empty((shape.patches, 2), np.int32)
    patch_keys[:, 0] = _pad(slice_first, shape.patches, "patches", fill=total)
    patch_keys[:, 1] = _pad(slice_last, shape.patches, "patches", fill=shape.patches)
    return {
        "patch_index": _pad(_joined([start + frame.order for start, frame in frames]), shape.patches, "patches"),
        "patch_positions": _pad(_joined([frame.positions for _, frame in frames], width=2), shape.patches, "patches"),
        "patch_keys": patch_keys,
        "patch_ends": _ends(np.cumsum(spans), shape.temporal_slices, shape.patches, "temporal slices"),
        **_lay_out_windows(_joined([frame.window_sizes for _, frame in frames]), shape, constants),
    }


def _lay_out_windows(sizes: Int32, shape: BatchShape, constants: ModelConstants) -> dict[str, Any]:
    """`sizes`: patches in each window of the sequence. Each becomes Q rows, padded where a border cut it."""
    capacity = window_patches(constants)
    slot = np.arange(capacity, dtype=np.int32)
    size_of = _pad(sizes, shape.windows, "windows")[:, None]  # (W, 1)
    first_row = np.cumsum(size_of, axis=0) - size_of
    is_real = slot < size_of
    real_slots = np.flatnonzero(is_real).astype(np.int32)
    return {
        "window_index": np.where(is_real, first_row + slot, 0).astype(np.int32),
        "window_keys": np.stack([np.where(is_real, 0, size_of), np.where(is_real, size_of, capacity)], axis=-1).astype(
            np.int32
        ),
        "window_position": _pad(real_slots, shape.patches, "patches"),
    }


def window_patches(constants: ModelConstants) -> int:
    """Patches of a window that no border cuts (64)."""
    return (constants.window_size // constants.patch_size) ** 2


@dataclass(frozen=True)
class FrameLayout:
    """One frame's patches in window order. Arrays are shared: don't write to them."""

    order: Int32  # (n,) where the patch stands among the frame's stored patches
    positions: Int32  # (n, 2) its row and column
    window_sizes: Int32  # (w,) patches in each window, never 0

    @property
    def num_patches(self) -> int:
        return len(self.order)


@lru_cache(maxsize=4096)
def lay_out_frame(grid_h: int, grid_w: int, merge_size: int, window_side: int) -> FrameLayout:
    """Windows of window_side x window_side merged cells, row by row, cut at the border; cells row by row within each.

    The rule is that of transformers 4.57.1, `Qwen2_5_VisionTransformerPretrainedModel.get_window_index` and
    `rot_pos_emb`. Stored patches are in the merger's block order: cells row by row, the patches of a cell row by row.
    """
    num_rows, num_columns = grid_h // merge_size, grid_w // merge_size  # in cells
    row, column = np.divmod(np.arange(num_rows * num_columns), num_columns)
    windows_across = -(-num_columns // window_side)
    window = row // window_side * windows_across + column // window_side
    cells = np.argsort(window, kind="stable")

    merge_unit = merge_size**2
    inner_row, inner_column = np.divmod(np.arange(merge_unit), merge_size)
    patch_rows = (row[cells, None] * merge_size + inner_row).reshape(-1)
    patch_columns = (column[cells, None] * merge_size + inner_column).reshape(-1)
    return FrameLayout(
        order=(cells[:, None] * merge_unit + np.arange(merge_unit)).reshape(-1).astype(np.int32),
        positions=np.stack([patch_rows, patch_columns], axis=1).astype(np.int32),
        window_sizes=(np.bincount(window) * merge_unit).astype(np.int32),
    )


def _frame_layouts(pack: Pack, shape: BatchShape, constants: ModelConstants) -> list[tuple[int, FrameLayout]]:
    """Every temporal index of the images, then of the videos: row of its first embedded patch, and layout."""
    window_side = constants.window_size // constants.grid_factor
    frames = []
    for grids, first_row in ((pack.image_grid_thw, 0), (pack.video_grid_thw, shape.image_patches)):
        row = first_row
        for grid_t, grid_h, grid_w in grids.tolist():
            layout = lay_out_frame(grid_h, grid_w, constants.merge_size, window_side)
            frames += [(row + index * layout.num_patches, layout) for index in range(grid_t)]
            row += grid_t * layout.num_patches
    return frames


def _joined(arrays: list[Int32], width: int | None = None) -> Int32:
    empty = np.zeros((0,) if width is None else (0, width), np.int32)
    return np.concatenate([empty, *arrays]).astype(np.int32, copy=False)


def _pad(array: npt.NDArray[Any], rows: int, what: str, fill: int = 0) -> npt.NDArray[Any]:
    if len(array) > rows:
        raise ValueError(f"a pack has {len(array)} {what}, the batch has room for {rows}: it is of another dataset")
    padded = np.full((rows, *array.shape[1:]), fill, np.int32 if array.dtype == np.int64 else array.dtype)
    padded[: len(array)] = array
    return padded


def _ends(ends: npt.NDArray[Any], count: int, total: int, what: str) -> Int32:
    """(count + 1,) the ends of the real segments, then `total`: once for the padding, again for segments that lack."""
    padded = _pad(np.asarray(ends, dtype=np.int32), count, what, fill=total)
    return np.append(padded, np.int32(total))


def _empty_pack(constants: ModelConstants) -> Pack:
    return Pack(
        input_ids=np.zeros(0, np.int32),
        labels=np.zeros(0, np.int32),
        position_ids=np.zeros((3, 0), np.int32),
        cu_seqlens=np.zeros(1, np.int32),
        image_patches=np.zeros((0, constants.image_patch_bytes), np.uint8),
        image_grid_thw=np.zeros((0, 3), np.int32),
        video_patches=np.zeros((0, constants.video_patch_bytes), np.uint8),
        video_grid_thw=np.zeros((0, 3), np.int32),
        second_per_grid_ts=np.zeros(0, np.float64),
        sample_keys=(),
    )
