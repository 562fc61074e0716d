"""From stored patches back to pixels: what the model sees, resized as it sees it.

The 2 x 2 patches of one visual token are neighbours, the tokens run row by row; inside a patch stand channel, (frame,)
row, column. Shape letters: F frames, H W pixels, gt gh gw patches, p patch side, m merge side, tp frames per patch.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from shards.model_constants import ModelConstants
from shards.pack import Pack, num_patches
from shards.segments import VisualSpan

Pixels = npt.NDArray[np.uint8]


def rebuild_image(patches: Pixels, grid_thw: tuple[int, int, int], constants: ModelConstants) -> Pixels:
    """(gh * gw, 3 * p * p) -> (H, W, 3)."""
    _, gh, gw = grid_thw
    p, m = constants.patch_size, constants.merge_size
    cells = patches.reshape(gh // m, gw // m, m, m, 3, p, p)
    return cells.transpose(0, 2, 5, 1, 3, 6, 4).reshape(gh * p, gw * p, 3)


def rebuild_frames(patches: Pixels, grid_thw: tuple[int, int, int], constants: ModelConstants) -> Pixels:
    """(gt * gh * gw, 3 * tp * p * p) -> (F, H, W, 3), the repeated last frame of an odd number included."""
    gt, gh, gw = grid_thw
    tp, p, m = constants.temporal_patch_size, constants.patch_size, constants.merge_size
    cells = patches.reshape(gt, gh // m, gw // m, m, m, 3, tp, p, p)
    return cells.transpose(0, 6, 1, 3, 7, 2, 4, 8, 5).reshape(gt * tp, gh * p, gw * p, 3)


def frames_of(pack: Pack, span: VisualSpan, constants: ModelConstants) -> Pixels:
    """(F, H, W, 3) of one image (F is 1) or video of the pack."""
    if span.kind == "image":
        patches, grids, rebuild = pack.image_patches, pack.image_grid_thw, None
    else:
        patches, grids, rebuild = pack.video_patches, pack.video_grid_thw, rebuild_frames
    first = num_patches(grids[: span.index])
    own = patches[first : first + span.num_patches]
    return rebuild(own, span.grid_thw, constants) if rebuild else rebuild_image(own, span.grid_thw, constants)[None]
