"""python -m preprocess. Worker processes import this module too, and need none of what the commands import."""

from __future__ import annotations

import io
import os
import sys

from preprocess.jobs.signals import Stopped, stopping_on_signals
from preprocess.jobs.worker import limit_threads


def run() -> int:
    limit_threads()  # before NumPy is imported
    nowhere = open(os.devnull, "w")  # noqa: SIM115
    sys.stdout, sys.stderr = sys.stdout or nowhere, sys.stderr or nowhere  # whoever started us may have closed them
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may hold what this terminal can't show
    try:
        with stopping_on_signals():
            try:
                from preprocess.cli.commands import main
            except ModuleNotFoundError as error:
                if error.name is None or error.name.partition(".")[0] in ("preprocess", "shards"):
                    raise
                print(
                    f"preprocess: error: {error.name} is not installed for {sys.executable}; `bash scripts/setup.sh` "
                    "makes .venv with all that is needed, and .venv/bin/python has it",
                    file=sys.stderr,
                )
                return 2
            return main(sys.argv[1:])
    except Stopped as stop:
        print(f"preprocess: {stop}", file=sys.stderr)
        return stop.exit_code


if __name__ == "__main__":
    sys.exit(run())
