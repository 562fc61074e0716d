"""Reuse: patches of media that an earlier run decoded, copied from its shards.

Every run records where the patches of each medium stand (`places.py`). A later run with `--reuse OLD_DIR` gathers that
(`index.py`) and looks its own keys up there. What it writes is byte for byte what decoding would have given. An old
shard is verified by whoever first copies from it.
"""

from __future__ import annotations

from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from preprocess.config import EncodingConfig
from preprocess.errors import ConfigError, FatalError, damaged
from preprocess.plan.versions import versions_of_patches
from preprocess.sample import MeasuredImage
from preprocess.write.index import notes_dir, read_index, verify_once
from preprocess.write.places import MEDIA_DIR, Medium, content_key, is_hashed, media_path, source_key
from shards import ModelConstants, ShardError, open_shards
from shards.files.differences import differences
from shards.files.names import INPUTS_NAME, PLAN_DIR
from shards.formats.writer import shard_index
from shards.inputs import read_inputs
from shards.pack import PatchColumn

_PICTURE_OPTIONS = ("grey_16", "decoder")  # which pixels a file gives, or whether any


def check_old_run(
    old_dir: Path, config: EncodingConfig, constants: ModelConstants, versions: dict[str, str | None]
) -> None:
    """Refuse an old run whose patches are not those that this run would make. Raises ConfigError or ShardError."""
    manifest = open_shards(old_dir).manifest
    made_by, now = versions_of_patches(manifest.inputs["versions"]), versions_of_patches(versions)
    if made_by != now:
        changes = (f"{name} {old} instead of {new}" for name, old, new in differences(made_by, now))
        raise ConfigError(f"--reuse {old_dir}: it was decoded by {', '.join(changes)}; leave --reuse out")
    decoding = manifest.inputs["config"]
    for name in _PICTURE_OPTIONS:
        if decoding.get(name) != getattr(config, name):
            raise ConfigError(
                f"--reuse {old_dir}: {name} was {decoding.get(name, 'not known')} there, and is "
                f"{getattr(config, name)} now; say the same, or leave --reuse out"
            )
    sizes = ("patch_size", "merge_size", "temporal_patch_size")
    if any(getattr(manifest.model, size) != getattr(constants, size) for size in sizes):
        raise ConfigError(f"--reuse {old_dir}: its model cuts images into other patches; leave --reuse out")
    for name in (INPUTS_NAME, MEDIA_DIR):
        if not (old_dir / PLAN_DIR / name).exists():
            raise ConfigError(
                f"--reuse {old_dir}: {PLAN_DIR}/{name} is missing there; copy it too, or leave --reuse out"
            )
    # The others are looked at when they are gathered, by one process.
    index = shard_index(manifest.shards[0].name)
    if media_path(old_dir / PLAN_DIR, index).exists() and not is_hashed(old_dir / PLAN_DIR, index):
        raise ConfigError(
            f"--reuse {old_dir}: it was written before the places of media had a hash, so that they can't be trusted; "
            "leave --reuse out"
        )


class OldPatches:
    """Finds patches by medium, in shards of any format. One per process."""

    def __init__(self, old_dir: Path, plan: Path) -> None:
        self._old_dir = old_dir
        self._notes_dir = notes_dir(old_dir, plan)
        self._shards = open_shards(old_dir)
        self._verified: set[int] = set()
        self._columns = read_index(old_dir, plan)
        try:
            inputs = read_inputs(old_dir) or {}
        except ValueError as error:
            raise damaged(old_dir / PLAN_DIR / INPUTS_NAME, error) from None
        self._has_content_keys = bool(inputs.get("hash_media"))

    def find(self, medium: Medium) -> npt.NDArray[np.uint8] | None:
        """(patches, bytes) of `medium`, a view into the old shard if possible; None where it was not decoded before.

        Where both runs hashed media, only the content counts. Raises FatalError where the old shard is damaged.
        """
        highs, lows, shards, rows, first_patches = self._columns
        by_content = self._has_content_keys and medium.stamp.sha256
        high, low = content_key(medium) if by_content else source_key(medium)
        position = int(np.searchsorted(highs, np.uint64(high)))
        while position < len(highs) and highs[position] == high:
            if lows[position] == low:
                name: PatchColumn = "image_patches" if isinstance(medium, MeasuredImage) else "video_patches"
                first, number = int(first_patches[position]), prod(medium.grid_thw)
                return self._read(int(shards[position]), int(rows[position]), name, first, number)
            position += 1
        return None

    def _read(self, shard: int, row: int, name: PatchColumn, first: int, number: int) -> npt.NDArray[np.uint8]:
        if shard not in self._verified:
            self._verify(shard)
            self._verified.add(shard)
        try:
            return self._shards.shard(shard).patches(row, name, first, number)
        except ShardError as error:
            raise FatalError(f"{error}; or run without --reuse {self._old_dir}") from None

    def _verify(self, shard: int) -> None:
        """Against the manifest, unless any process of this run did so before and the files were not touched since."""
        entry = self._shards.manifest.shards[shard]
        hashes = {self._old_dir / file.name: file.sha256 for file in entry.files()}
        flaw = f"does not match its manifest; run without --reuse {self._old_dir}"
        verify_once(self._notes_dir / f"{entry.name}.verified", hashes, flaw)
