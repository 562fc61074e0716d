"""Which files of a model folder are read and copied. Needs no MindSpore.

Plain names, plain files. A link counts where it leads into the folder itself, or, as in the Hub's cache, into that of
its repository: `models--ORG--NAME/snapshots/REVISION/config.json -> ../../blobs/HASH`. Anything else that a link
leads to was never part of the model, and would be published with the trained one.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from shards.files.plain import link_out, open_plain
from train.errors import WeightsError
from train.weights.header import unreadable

INDEX_FILE = "model.safetensors.index.json"
STATE_NAME = "trainer_state.json"  # of a checkpoint, beside its weights
_COPIED_SUFFIXES = (".json", ".jinja", ".txt", ".model")
# The first names files that stay behind; the second is about the run that made them.
_NOT_COPIED = (INDEX_FILE, STATE_NAME)


def check_companions(model_folder: Path) -> None:
    """Raise WeightsError, naming the file, where `copy_companions` could not copy one. No folder has none."""
    for path in _companions(model_folder) if model_folder.is_dir() else ():
        require_own(model_folder, path.name)
        try:
            open_plain(path).close()
        except OSError as error:
            raise unreadable(path, error) from None


def copy_companions(model_folder: Path, folder: Path) -> None:
    """Copy what says how to use the weights of `model_folder`: configuration, tokenizer, processor. Raises OSError."""
    for source in _companions(model_folder):
        with open_plain(source) as content, open(folder / source.name, "wb") as copy:
            shutil.copyfileobj(content, copy)


def require_own(model_folder: Path, name: str) -> Path:
    """The path of a file of a model folder. Raises WeightsError for what lies elsewhere."""
    path = model_folder / name
    if not name or name in (".", "..") or "/" in name or "\0" in name:
        raise WeightsError(f"{model_folder}: {name!r} is not the name of a file in it; download the model again")
    target = link_out(path)
    if target is not None:
        raise WeightsError(f"{path} is a link out of the model folder, to {target}; put the file itself there (cp -L)")
    return path


def _companions(model_folder: Path) -> list[Path]:
    try:
        paths = sorted(model_folder.iterdir())
    except OSError as error:
        raise unreadable(model_folder, error) from None
    return [path for path in paths if path.suffix in _COPIED_SUFFIXES and path.name not in _NOT_COPIED]
