"""Batch -> what MindNLP's forward takes. Pure NumPy.

A `Batch` is padded and laid out for compiled graphs; nothing is compiled here, so that padding is left out again, and
the tower gets its patches as they were stored, with a grid for each frame, of which it makes windows itself.

Suffixes: those of `shards.batch`; N tokens that count, R real targets, Q real patches, F frames, X values of a patch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from shards import ModelConstants
from shards.architecture.qwen_vl import COLOUR_CHANNELS
from shards.batch import Batch, input_names

UNSEEN = float(np.finfo(np.float32).min)  # what transformers adds to the scores of keys that are not seen


@dataclass(frozen=True, kw_only=True)
class ForwardInputs:
    """Of one pack, up to the last token that predicts another: no token sees what comes after it."""

    input_ids: npt.NDArray[np.int64]  # (1, N)
    position_ids: npt.NDArray[np.int64]  # (3, 1, N)
    attention_mask: npt.NDArray[np.float32]  # (1, 1, N, N) 0 where a key is seen: each segment its own triangle
    embedding_index: npt.NDArray[np.int64]  # (N,) row of concat([text embeddings (N), visual embeddings])
    pixel_values: npt.NDArray[np.float32]  # (Q, X) as stored: images, then videos
    grid_thw: npt.NDArray[np.int64]  # (F, 3) of each frame: 1, rows, columns
    target_index: npt.NDArray[np.int64]  # (R,)
    target_ids: npt.NDArray[np.int64]  # (R,)


def batch_of(arrays: Sequence[npt.NDArray[Any]], constants: ModelConstants) -> Batch:
    """Of what iterating over one gave; without the tower's own, which MindNLP's makes itself."""
    known = {field.name for field in fields(Batch)}
    named = zip(input_names(constants), arrays, strict=True)
    return Batch(**{name: array for name, array in named if name in known}, tower=())


def forward_inputs(batch: Batch, constants: ModelConstants) -> ForwardInputs | None:
    """None where no token is supervised: there is nothing to compute."""
    is_real_L = batch.target_weight > 0
    if not is_real_L.any():
        return None
    target_index = batch.target_index[is_real_L].astype(np.int64)
    num_tokens = int(target_index.max()) + 1
    stored = _stored_patches(batch, constants)
    return ForwardInputs(
        input_ids=batch.input_ids[None, :num_tokens].astype(np.int64),
        position_ids=batch.position_ids[:, None, :num_tokens].astype(np.int64),
        attention_mask=_attention_mask(batch.token_keys[:num_tokens]),
        embedding_index=_embedding_index(batch, stored, num_tokens, constants),
        pixel_values=_pixel_values(batch, stored, constants),
        grid_thw=_frame_grids(batch, len(stored)),
        target_index=target_index,
        target_ids=batch.target_ids[is_real_L].astype(np.int64),
    )


def _attention_mask(token_keys: npt.NDArray[np.int32]) -> npt.NDArray[np.float32]:
    first_N1, last_N1 = token_keys[:, :1], token_keys[:, 1:]
    keys_N = np.arange(len(token_keys))
    return np.where((first_N1 <= keys_N) & (keys_N < last_N1), 0, UNSEEN).astype(np.float32)[None, None]


def _stored_patches(batch: Batch, constants: ModelConstants) -> npt.NDArray[np.int64]:
    """(Q,) for each real patch in the order of the tower, its row of concat([image patches (Pi), video patches (Pv)]).

    There are `merge_unit` of them for each token that takes a visual embedding.
    """
    num_visual = int((batch.embedding_index >= len(batch.input_ids)).sum())
    return batch.patch_index[: num_visual * constants.merge_unit].astype(np.int64)


def _embedding_index(
    batch: Batch, stored: npt.NDArray[np.int64], num_tokens: int, constants: ModelConstants
) -> npt.NDArray[np.int64]:
    """The batch's own, with visual embeddings in the order of what was stored, in which MindNLP's tower gives them."""
    index = batch.embedding_index[:num_tokens].astype(np.int64)
    # Ranks of the stored cells, in the order of the tower.
    place_of_row = np.argsort(np.argsort(stored[:: constants.merge_unit]))
    row = index - len(batch.input_ids)
    is_visual = row >= 0
    index[is_visual] = num_tokens + place_of_row[row[is_visual]]
    return index


def _pixel_values(batch: Batch, stored: npt.NDArray[np.int64], constants: ModelConstants) -> npt.NDArray[np.float32]:
    """As the reference image processor gives them. An image's patch is stored once and is two equal frames."""
    rows = np.sort(stored)
    num_slots = len(batch.image_patches)
    frames, side = constants.temporal_patch_size, constants.patch_size**2
    images = batch.image_patches[rows[rows < num_slots]].reshape(-1, COLOUR_CHANNELS, 1, side)
    videos = batch.video_patches[rows[rows >= num_slots] - num_slots].reshape(-1, COLOUR_CHANNELS, frames, side)
    patches = np.concatenate([np.repeat(images, frames, axis=2), videos])
    mean, std = (np.asarray(each, np.float32).reshape(-1, 1, 1) for each in (constants.image_mean, constants.image_std))
    normalised: npt.NDArray[np.float32] = (patches.astype(np.float32) / np.float32(255) - mean) / std
    return normalised.reshape(-1, constants.video_patch_bytes)


def _frame_grids(batch: Batch, num_patches: int) -> npt.NDArray[np.int64]:
    """A video of T frames is to the tower what T images of that size are: windows and attention end with a frame."""
    ends = batch.patch_ends[batch.patch_ends <= num_patches]
    ends = ends[: int(np.searchsorted(ends, num_patches)) + 1] if num_patches else ends[:0]
    starts = np.r_[0, ends[:-1]] if len(ends) else ends
    sizes = [batch.patch_positions[start:end].max(axis=0) + 1 for start, end in zip(starts, ends, strict=True)]
    return np.array([(1, *size) for size in sizes], np.int64).reshape(-1, 3)
