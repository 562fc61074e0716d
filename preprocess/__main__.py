"""python -m preprocess. Worker processes import this module too, and need none of what the commands import."""

from __future__ import annotations

import io
import sys

from preprocess.executor import limit_threads

if __name__ == "__main__":
    limit_threads()  # before NumPy is imported
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # names may hold what this terminal can't show
    from preprocess.commands import main

    sys.exit(main(sys.argv[1:]))
