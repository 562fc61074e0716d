"""Pack -> Batch: static shapes, and everything the graph would otherwise have to work out about the layout. Pure NumPy.

    batch = make_batch(shards[0], BatchShape.of(shards.manifest), shards.manifest.model)
    loss_sum = model(*(ms.Tensor(array) for array in batch))

The vision tower sees one sequence of patches, images first, then videos, frame by frame, in the order of its family:

    image_patches ─┐ embedded       ┌ patch_index: the family's order, then padding
    video_patches ─┘ separately   ──┘
    full attention    one segment per temporal index, patch_keys
    tower             what only the towers of this family read (`shards.families`): windows, for example
    merger            every merge_size**2 patches in a row become one visual embedding, still in that order
    embedding_index   row of concat([text embeddings, visual embeddings]) for each token

Every query of every attention layer has a range [first, last) of keys that it sees; padding sees padding only. Nothing
that is real ever reads padding, so that padding has no influence and receives no gradient, exactly.

Shapes: S tokens (pack_length), K segments, L supervised targets, Pi image patches, Pv video patches, P patches of both,
T temporal slices, W windows.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from shards.families import family_of
from shards.families.family import Family, Frame
from shards.families.padding import Int32, check_room, fill, fill_keys
from shards.manifest import Manifest
from shards.model_constants import ModelConstants
from shards.pack import IGNORE_INDEX, Pack, PackMaxima


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
    windows: int  # of window attention; 1 in families without

    def __post_init__(self) -> None:
        for field in fields(self):
            if getattr(self, field.name) < 1:
                raise ValueError(f"BatchShape.{field.name} is {getattr(self, field.name)}, less than 1")

    @classmethod
    def of(cls, manifest: Manifest) -> BatchShape:
        return cls.holding(manifest.maxima, manifest.pack_length, manifest.model)

    @classmethod
    def holding(cls, maxima: PackMaxima, pack_length: int, constants: ModelConstants) -> BatchShape:
        return cls(
            pack_length=pack_length,
            segments=max(maxima.segments, 1),
            label_tokens=max(maxima.label_tokens, 1),
            image_patches=max(maxima.image_patches, constants.merge_unit),
            video_patches=max(maxima.video_patches, constants.merge_unit),
            patches=max(maxima.patches, constants.merge_unit),
            temporal_slices=max(maxima.temporal_slices, 1),
            windows=max(maxima.windows, 1),
        )


@dataclass(frozen=True, kw_only=True)
class Batch:
    """The model's inputs: iterating gives the arrays in the order of its arguments, those of `tower` last."""

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
    tower: Any  # the family's own arrays, in a NamedTuple

    def __iter__(self) -> Iterator[npt.NDArray[Any]]:
        yield from (getattr(self, name) for name in _COMMON_INPUTS)
        yield from self.tower


_COMMON_INPUTS = tuple(field.name for field in fields(Batch) if field.name != "tower")


def input_names(constants: ModelConstants) -> tuple[str, ...]:
    """Of the arrays of a Batch, in their order."""
    return (*_COMMON_INPUTS, *family_of(constants.model_type).tower_input_names())


def make_batch(pack: Pack | None, shape: BatchShape, constants: ModelConstants) -> Batch:
    """Pad `pack` to `shape`, in new arrays. None is an empty pack: padding only, no supervised token.

    Raises ValueError if the pack doesn't fit: it is not of the dataset that `shape` was made for. Raises UnknownFamily.
    """
    family = family_of(constants.model_type)
    if pack is None:
        pack = _empty_pack(constants)
    out = _uninitialised_batch(shape, constants)
    fill(out.image_patches, pack.image_patches, "image patches")
    fill(out.video_patches, pack.video_patches, "video patches")
    _lay_out_tokens(pack, out, constants)
    _lay_out_targets(pack, out)
    frames = _frames(pack)
    _lay_out_patches(pack, frames, family, out, constants)
    family.fill_tower_inputs(out.tower, frames, constants)
    _place_embeddings(pack, out, constants)
    return out


def _uninitialised_batch(shape: BatchShape, constants: ModelConstants) -> Batch:
    """What the functions below write into: each value once, whether it is a pack's or padding."""
    tokens, targets, patches = shape.pack_length, shape.label_tokens, shape.patches
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
        tower=family_of(constants.model_type).new_tower_inputs(patches, shape.windows, constants),
    )


def _lay_out_tokens(pack: Pack, out: Batch, constants: ModelConstants) -> None:
    fill(out.input_ids, pack.input_ids, "tokens", padding=constants.pad_token_id)
    fill(out.position_ids.T, pack.position_ids.T, "tokens")
    length, num_tokens = len(out.input_ids), pack.num_tokens
    segment_starts = np.repeat(pack.cu_seqlens[:-1], np.diff(pack.cu_seqlens))
    fill(out.token_keys[:, 0], segment_starts, "tokens", padding=num_tokens)
    np.add(_count_up(length), 1, out=out.token_keys[:, 1])
    fill(out.token_ends[:-1], pack.cu_seqlens[1:], "segments", padding=length)
    out.token_ends[-1] = length


def _lay_out_targets(pack: Pack, out: Batch) -> None:
    """Token s predicts label s + 1. That is never another segment's: the first label of each is IGNORE_INDEX."""
    index = np.flatnonzero(pack.labels[1:] != IGNORE_INDEX)
    fill(out.target_index, index, "supervised tokens")
    fill(out.target_ids, pack.labels[index + 1], "supervised tokens")
    out.target_weight[: len(index)] = 1
    out.target_weight[len(index) :] = 0


def _frames(pack: Pack) -> list[Frame]:
    """Every temporal index of the images, then of the videos, one after another."""
    frames: list[Frame] = []
    first = 0
    for grid_t, grid_h, grid_w in [*pack.image_grid_thw.tolist(), *pack.video_grid_thw.tolist()]:
        for _ in range(grid_t):
            frames.append(Frame(grid_h, grid_w, first))
            first += grid_h * grid_w
    return frames


def _lay_out_patches(pack: Pack, frames: list[Frame], family: Family, out: Batch, constants: ModelConstants) -> None:
    """The patches of one frame after the other, in the family's order."""
    num_image_patches, num_video_patches = len(pack.image_patches), len(pack.video_patches)
    length = len(out.patch_index)
    check_room(num_image_patches + num_video_patches, length, "patches")
    check_room(len(frames), len(out.patch_ends) - 1, "temporal slices")
    # Embedded patches of videos stand behind the padded images, in the sequence they follow the images at once.
    video_offset = len(out.image_patches) - num_image_patches
    last = 0
    for number, frame in enumerate(frames):
        first, last = frame.first, frame.first + frame.num_patches
        order, positions = family.order_frame(frame.grid_h, frame.grid_w, constants)
        stored_at = first if first < num_image_patches else first + video_offset
        np.add(order, stored_at, out=out.patch_index[first:last])
        out.patch_positions[first:last] = positions
        fill_keys(out.patch_keys[first:last], first, last)
        out.patch_ends[number] = last
    out.patch_index[last:] = 0
    out.patch_positions[last:] = 0
    fill_keys(out.patch_keys[last:], last, length)
    out.patch_ends[len(frames) :] = length


def _place_embeddings(pack: Pack, out: Batch, constants: ModelConstants) -> None:
    """The visual embeddings are in the order of the tower, the tokens that stand for them are not.

    The n-th image-pad token stands for the n-th merged cell of the image patches as stored; videos likewise.
    """
    merge_unit = constants.merge_unit
    length = len(out.input_ids)
    num_visual = constants.num_visual_tokens(len(pack.image_patches) + len(pack.video_patches))
    # The stored cell whose patches each visual embedding was made of; cells of videos come after the padded images.
    stored_cell = out.patch_index[: num_visual * merge_unit : merge_unit] // merge_unit
    row_of_cell = np.zeros(-(-(len(out.image_patches) + len(out.video_patches)) // merge_unit), np.int32)
    row_of_cell[stored_cell] = np.arange(length, length + num_visual)

    out.embedding_index[:] = _count_up(length)
    first_video_cell = len(out.image_patches) // merge_unit
    for token_id, first_cell in ((constants.image_token_id, 0), (constants.video_token_id, first_video_cell)):
        places = np.flatnonzero(pack.input_ids == token_id)
        out.embedding_index[places] = row_of_cell[first_cell : first_cell + len(places)]


@lru_cache(maxsize=8)
def _count_up(length: int) -> Int32:
    """0, 1, 2, ...; shared: don't write to it."""
    return np.arange(length, dtype=np.int32)


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
