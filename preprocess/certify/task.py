"""What a process without this project needs to make drawn samples again, in files; and that process.

FOLDER/task.json says what every sample is of, in the words of the annotations; media that are no files of their own
(members of archives, cells of tables) are written to FOLDER/media/.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from preprocess.arithmetic.grids import asked_limits
from preprocess.certify.draw import Drawn
from preprocess.config import RunConfig
from preprocess.encode import SampleEncoder
from preprocess.errors import ConfigError, FatalError
from preprocess.media.frame_lists import frames_of, is_list
from preprocess.media.store import check_unchanged, describe, local_path, open_medium
from preprocess.sample import PLAIN, MeasuredImage, MeasuredSample, MeasuredVideo, MediaSource
from shards import ModelConstants

Against = Literal["pil", "torchvision"]
ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "scripts" / "certify" / "reference.py"
ENVIRONMENT = ROOT / ".venv-oracle"  # that scripts/certify.sh makes
_RULES = (
    *("grey_16", "decoder", "supervise_newline"),
    *("base_interval", "video_sampling", "video_min_frames", "video_max_frames"),
)


@dataclass(frozen=True, kw_only=True)
class Media:
    """Where the reference finds the media of samples."""

    folder: Path

    def path(self, source: MediaSource) -> str:
        """A file with exactly its bytes. Raises SampleError or FatalError where it can't be read."""
        local = local_path(source)
        if local is not None:
            return local
        suffix = Path(describe(source)).suffix
        copy = self.folder / f"{len(list(self.folder.iterdir()))}{suffix if suffix.isascii() else ''}"
        with open_medium(source) as file, open(copy, "wb") as out:
            shutil.copyfileobj(file, out)
        return str(copy)


def write_task(
    folder: Path, drawn: Sequence[Drawn], config: RunConfig, encoder: SampleEncoder, against: Against
) -> None:
    """Raises FatalError where a medium is not the one that was planned."""
    (folder / "media").mkdir(parents=True)
    media = Media(folder=folder / "media")
    constants = encoder.constants
    task = {
        "model": str(config.model.resolve()),
        "model_type": constants.model_type,
        "against": against,
        "tokens_per_second": constants.tokens_per_second,
        "processor": {
            name: value
            for name, value in constants.to_json().items()
            if name in ("patch_size", "temporal_patch_size", "merge_size", "image_mean", "image_std", "rescale_factor")
        },
        "rules": {name: getattr(config, name) for name in _RULES} | {"video_rate": config.frame_sampling.rate},
        "samples": [_sample(each.measured, config, encoder, media) for each in drawn],
    }
    (folder / "task.json").write_text(json.dumps(task) + "\n", encoding="utf-8")


def _sample(measured: MeasuredSample, config: RunConfig, encoder: SampleEncoder, media: Media) -> dict[str, Any]:
    sample, constants = measured.sample, encoder.constants
    media_of_sample: tuple[MeasuredImage | MeasuredVideo, ...] = (*measured.images, *measured.videos)
    for medium in media_of_sample:
        check_unchanged(medium.source, medium.stamp, sample.key())
    limits = config.image_limits(constants)
    return {
        "key": sample.key(),
        "turns": [asdict(turn) for turn in encoder.spelled_turns(measured)],
        "allow_tokens": sample.allow_tokens,
        "images": [
            {"path": media.path(image.source), "limits": asdict(asked_limits(limits, image.settings))}
            for image in measured.images
        ],
        "videos": [_video(video, config, constants, media) for video in measured.videos],
    }


def _video(video: MeasuredVideo, config: RunConfig, constants: ModelConstants, media: Media) -> dict[str, Any]:
    listed = frames_of(video.source) if is_list(video.source) else ()
    return {
        "path": describe(video.source) if listed else media.path(video.source),
        "frames": [media.path(frame) for frame in listed],
        "limits": asdict(asked_limits(config.frame_limits(constants), video.settings)),
        "plan": {
            "num_frames": video.num_frames,
            "fps": video.fps,
            "frame_indices": video.frame_indices,
            "seconds": video.second_per_grid,
            "has_settings": video.settings != PLAIN,
        },
    }


def find_oracle(given: Path | None) -> Path:
    """The interpreter that has torch and transformers. Raises ConfigError."""
    if not REFERENCE.is_file():
        raise ConfigError(f"{REFERENCE} is missing: certify needs the repository, not an installed package alone")
    oracle = given or ENVIRONMENT / "bin" / "python"
    if not oracle.is_file():
        raise ConfigError(
            f"{oracle} is missing; run `bash scripts/certify.sh` with these flags, which makes an environment with "
            "torch and transformers first, or name an interpreter that has them: --oracle PYTHON"
        )
    return oracle


def run_reference(folder: Path, oracle: Path) -> None:
    """Fills `folder`/reference. Raises FatalError."""
    # Neither our packages nor our rules for finding some hold there.
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONSAFEPATH")}
    done = subprocess.run([oracle, REFERENCE, folder], check=False, env=environment)
    if done.returncode:
        raise FatalError(f"{oracle} {REFERENCE} ended with exit code {done.returncode}; it says why above")
