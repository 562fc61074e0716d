"""config.json of a Hugging Face model folder, before any family has looked at it. Loads no MindSpore."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from shards.files.plain import read_own
from train.errors import ModelConfigError


def read_config_file(path: Path) -> dict[str, Any]:
    """The parsed file. Raises ModelConfigError naming `path`."""
    try:
        record = json.loads(read_own(path))
    except FileNotFoundError:
        raise ModelConfigError(f"{path} does not exist; the model must be a Hugging Face model folder") from None
    except OSError as error:
        raise ModelConfigError(f"{path} can't be read: {error.strerror or error}") from None
    except (ValueError, RecursionError) as error:
        raise ModelConfigError(f"{path} is not JSON: {error}") from None
    if not isinstance(record, dict):
        raise ModelConfigError(f"{path} is not a JSON object")
    return record
