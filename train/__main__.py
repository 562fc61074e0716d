"""`python -m train`, and `python -m train merge`.

Exit codes: 0 done, or stopped by a signal and saved; otherwise that of the error (`train.errors`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from train.cli.command_line import build_parser, parse_command_line
from train.cli.merge_command import describe_flags
from train.cli.merge_command import run as run_merge
from train.errors import TrainError
from train.inputs import open_inputs
from train.stop import StopRequest


def main(argv: Sequence[str]) -> int:
    merges = argv[:1] == ["merge"]
    if "--help" in argv or "-h" in argv:
        print(describe_flags()) if merges else build_parser().print_help()
        return 0
    try:
        if merges:
            _log(run_merge(argv[1:]))
            return 0
        command_line = parse_command_line(argv)
        inputs = open_inputs(command_line.arguments)
        for note in (*command_line.notes, *inputs.start.notes):
            _say(f"note: {note}")
        if inputs.start.is_finished:
            return 0
        os.environ.setdefault("GLOG_v", "3")  # MindSpore's own log: errors only
        with StopRequest() as stop:
            from train.loop import train  # loads MindSpore, which takes seconds: wrong flags get their answer first

            train(command_line.arguments, inputs, _log, stop)
    except TrainError as error:
        _say(f"{error.kind}: {error}")
        return error.exit_code
    return 0


def _log(line: str) -> None:
    print(line, flush=True)


def _say(line: str) -> None:
    print(f"train: {line}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
