"""`certify_needs.py [flags of certify]`: for scripts/certify.sh, where the run and its model are, and what to install.

Prints the output folder, the model folder, and then one requirement a line: what the reference needs of the extra
`oracle`, torch in the version of constraints.txt, and what decodes and resizes in the versions of this environment.
"""

from __future__ import annotations

import configparser
import json
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from preprocess.cli.certify_command import CertifyArguments, parse_certify
from preprocess.errors import ConfigError

ROOT = Path(__file__).parents[1]
OF_THE_EXTRA = ("torch", "transformers", "jinja2")
AS_HERE = ("numpy", "pillow", "decord2", "av", "pillow-heif")


def requirements(needs_torchvision: bool) -> list[str]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    wanted = (*OF_THE_EXTRA, *(["torchvision"] if needs_torchvision else []))
    asked = [line for line in setup["options.extras_require"]["oracle"].split() if name_of(line) in wanted]
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {name_of(line): line for line in lines if not line.startswith("#")}
    found = [pins.get(name_of(line), line) for line in asked]
    for name in AS_HERE:
        try:
            found.append(f"{name}=={version(name)}")
        except PackageNotFoundError:
            continue  # HEIC is an extra
    return found


def name_of(requirement: str) -> str:
    return requirement.split("=")[0].rstrip("<>")


def needs_torchvision(arguments: CertifyArguments) -> bool:
    """Where it is what is compared with, and for Qwen3-VL, whose processor of videos is made on it."""
    if arguments.against == "torchvision":
        return True
    config = arguments.config.model / "config.json"
    return config.is_file() and str(json.loads(config.read_bytes()).get("model_type")).startswith("qwen3")


def main(words: Sequence[str]) -> int:
    try:
        arguments = parse_certify(words, lambda note: None)
    except ConfigError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(arguments.config.output_dir, arguments.config.model, *requirements(needs_torchvision(arguments)), sep="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
