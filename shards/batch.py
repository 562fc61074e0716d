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
    """Pad `pack` to `shape`, in new arrays. None is an empty pack: padding only, no supervised token.

    Raises ValueError if the pack doesn't fit: it is not of the dataset that `shape` was made for.
    """
    if pack is None:
        pack = _empty_pack(constants)
    out = _uninitialised_batch(shape, constants)
    _fill(out.image_patches, pack.image_patches, "image patches")
    _fill(out.video_patches, pack.video_patches, "video patches")
    _lay_out_tokens(pack, out, constants)
    _lay_out_targets(pack, out)
    _lay_out_patches(_frames(pack, shape, constants), out)
    _place_embeddings(pack, out, constants)
    return out


def _uninitialised_batch(shape: BatchShape, constants: ModelConstants) -> Batch:
    """What the functions below write into: each value once, whether it is a pack's or padding."""
    tokens, targets, patches, windows = shape.pack_length, shape.label_tokens, shape.patches, shape.windows
    return Batch(
        input_ids=np.empty(tokens, np.int32),
        position_ids=np.empty((3, tokens), np.int32),
        token_keys=np.empty((tokens, 2), np.int32),
        token_ends=np.empty(shape.segments + 1, np.int32),
        embedding_index=np.empty(tokens, np.int32),
        target_index=np.empty(targets, np.int32),
        target_ids=np.empty(targets, np.int32),
        target_weight=np.empty(targets, np.float32),
        image_patches=np.empty((shape.image_patches, constants.image_patch_bytes), np.uint8),
        video_patches=np.empty((shape.video_patches, constants.video_patch_bytes), np.uint8),
        patch_index=np.empty(patches, np.int32),
        patch_positions=np.empty((patches, 2), np.int32),
        patch_keys=np.empty((patches, 2), np.int32),
        patch_ends=np.empty(shape.temporal_slices + 1, np.int32),
        window_index=np.empty((windows, window_patches(constants)), np.int32),
        window_keys=np.empty((windows, window_patches(constants), 2), np.int32),
        window_position=np.empty(patches, np.int32),
    )


def _lay_out_tokens(pack: Pack, out: Batch, constants: ModelConstants) -> None:
    _fill(out.input_ids, pack.input_ids, "tokens", padding=constants.pad_token_id)
    _fill(out.position_ids.T, pack.position_ids.T, "tokens")
    length, num_tokens = len(out.input_ids), pack.num_tokens
    segment_starts = np.repeat(pack.cu_seqlens[:-1], np.diff(pack.cu_seqlens))
    _fill(out.token_keys[:, 0], segment_starts, "tokens", padding=num_tokens)
    np.add(_count_up(length), 1, out=out.token_keys[:, 1])
    _fill(out.token_ends[:-1], pack.cu_seqlens[1:], "segments", padding=length)
    out.token_ends[-1] = length


def _lay_out_targets(pack: Pack, out: Batch) -> None:
    """Token s predicts label s + 1. That is never another segment's: the first label of each is IGNORE_INDEX."""
    index = np.flatnonzero(pack.labels[1:] != IGNORE_INDEX)
    _fill(out.target_index, index, "supervised tokens")
    _fill(out.target_ids, pack.labels[index + 1], "supervised tokens")
    out.target_weight[: len(index)] = 1
    out.target_weight[len(index) :] = 0


def _lay_out_patches(frames: list[tuple[int, FrameLayout]], out: Batch) -> None:
    """The patches of one frame after the other, in windows. `frames`: see `_frames`."""
    num_patches = sum(frame.num_patches for _, frame in frames)
    num_windows = sum(frame.num_windows for _, frame in frames)
    _check_room(num_patches, len(out.patch_index), "patches")
    _check_room(len(frames), len(out.patch_ends) - 1, "temporal slices")
    _check_room(num_windows, len(out.window_index), "windows")
    length, capacity = len(out.patch_index), out.window_index.shape[1]

    first = window = 0
    for number, (stored_at, frame) in enumerate(frames):
        last = first + frame.num_patches
        np.add(frame.order, stored_at, out=out.patch_index[first:last])
        out.patch_positions[first:last] = frame.positions
        _fill_keys(out.patch_keys[first:last], first, last)
        out.patch_ends[number] = last
        windows = slice(window, window + frame.num_windows)
        np.multiply(frame.window_is_real, first, out=out.window_index[windows])
        out.window_index[windows] += frame.window_index
        out.window_keys[windows] = frame.window_keys
        np.add(frame.window_position, window * capacity, out=out.window_position[first:last])
        first, window = last, windows.stop

    out.patch_index[first:] = 0
    out.patch_positions[first:] = 0
    _fill_keys(out.patch_keys[first:], first, length)
    out.patch_ends[len(frames) :] = length
    out.window_index[window:] = 0
    _fill_keys(out.window_keys[window:], 0, capacity)
    out.window_position[first:] = 0


def _place_embeddings(pack: Pack, out: Batch, constants: ModelConstants) -> None:
    """The visual embeddings are in window order, the tokens that stand for them are not.

    The n-th image-pad token stands for the n-th merged cell of the image patches as stored; videos likewise.
    """
    merge_unit = constants.merge_size**2
    length = len(out.input_ids)
    num_visual = (len(pack.image_patches) + len(pack.video_patches)) // merge_unit
    # The stored cell whose patches each visual embedding was made of; cells of videos come after the padded images.
    stored_cell = out.patch_index[: num_visual * merge_unit : merge_unit] // merge_unit
    row_of_cell = np.zeros(-(-(len(out.image_patches) + len(out.video_patches)) // merge_unit), np.int32)
    row_of_cell[stored_cell] = np.arange(length, length + num_visual)

    out.embedding_index[:] = _count_up(length)
    first_video_cell = len(out.image_patches) // merge_unit
    for token_id, first_cell in ((constants.image_token_id, 0), (constants.video_token_id, first_video_cell)):
        places = np.flatnonzero(pack.input_ids == token_id)
        out.embedding_index[places] = row_of_cell[first_cell : first_cell + len(places)]


def window_patches(constants: ModelConstants) -> int:
    """Patches of a window that no border cuts (64)."""
    return (constants.window_size // constants.patch_size) ** 2


@dataclass(frozen=True)
class FrameLayout:
    """One frame's n patches in window order, and its w windows of Q rows. Arrays are shared: don't write to them."""

    order: Int32  # (n,) where the patch stands among the frame's stored patches
    positions: Int32  # (n, 2) its row and column
    window_sizes: Int32  # (w,) patches in each window, never 0
    window_index: Int32  # (w, Q) which of the n patches; 0 in rows that the border cut off
    window_is_real: Int32  # (w, Q) 0 in rows that the border cut off, else 1
    window_keys: Int32  # (w, Q, 2) keys [first, last) of the row's query, within its window
    window_position: Int32  # (n,) the row of each patch in the flattened windows

    @property
    def num_patches(self) -> int:
        return len(self.order)

    @property
    def num_windows(self) -> int:
        return len(self.window_sizes)


@lru_cache(maxsize=512)  # about 32 bytes a patch each
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

    capacity = window_side**2 * merge_unit
    sizes = np.bincount(window) * merge_unit
    size_of, first_of = sizes[:, None], (np.cumsum(sizes) - sizes)[:, None]  # (w, 1)
    slot = np.arange(capacity)
    is_real = slot < size_of
    keys = np.stack([np.where(is_real, 0, size_of), np.where(is_real, size_of, capacity)], axis=-1)
    return FrameLayout(
        order=(cells[:, None] * merge_unit + np.arange(merge_unit)).reshape(-1).astype(np.int32),
        positions=np.stack([patch_rows, patch_columns], axis=1).astype(np.int32),
        window_sizes=sizes.astype(np.int32),
        window_index=np.where(is_real, first_of + slot, 0).astype(np.int32),
        window_is_real=is_real.astype(np.int32),
        window_keys=keys.astype(np.int32),
        window_position=np.flatnonzero(is_real).astype(np.int32),
    )


def _frames(pack: Pack, shape: BatchShape, constants: ModelConstants) -> list[tuple[int, FrameLayout]]:
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


@lru_cache(maxsize=8)
def _count_up(length: int) -> Int32:
    """0, 1, 2, ...; shared: don't write to it."""
    return np.arange(length, dtype=np.int32)


def _fill(out: npt.NDArray[Any], array: npt.NDArray[Any], what: str, padding: int = 0) -> None:
    """`array` along the first axis of `out`, then padding."""
    _check_room(len(array), len(out), what)
    out[: len(array)] = array
    out[len(array) :] = padding


def _fill_keys(out: Int32, first: int, last: int) -> None:
    """The same range for every query. By column: NumPy is slow where the innermost axis has two elements."""
    out[..., 0] = first
    out[..., 1] = last


def _check_room(number: int, room: int, what: str) -> None:
    if number > room:
        raise ValueError(f"a pack has {number} {what}, the batch has room for {room}: it is of another dataset")


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
