"""`python -m train`, and `python -m train merge`.

Exit codes: 0 done, or stopped by a signal and saved; otherwise that of the error (`train.errors`).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from train.cli import merge_command
from train.cli.command_line import describe_flags, parse_command_line
from train.errors import WRONG_USAGE, TrainError
from train.inputs import open_inputs
from train.stop import StopRequest
from train.terminal import log, prepare_streams, say


def main(argv: Sequence[str]) -> int:
    merges = argv[:1] == ["merge"]
    if "--help" in argv or "-h" in argv:
        log(merge_command.describe_flags() if merges else describe_flags())
        return 0
    try:
        if merges:
            log(merge_command.run(argv[1:]))
            return 0
        command_line = parse_command_line(argv)
        inputs = open_inputs(command_line.arguments)
        for note in (*command_line.notes, *inputs.start.notes):
            say(f"note: {note}")
        if inputs.start.is_finished:
            return 0
        os.environ.setdefault("GLOG_v", "3")  # MindSpore's own log: errors only
        with StopRequest() as stop:
            from train.loop import train  # loads MindSpore, which takes seconds: wrong flags get their answer first

            train(command_line.arguments, inputs, log, stop)
    except TrainError as error:
        say(f"{error.kind}: {error}")
        return error.exit_code
    except OSError as error:  # what a run can't write is a TrainingFailed: these are folders that can't be looked into
        if error.filename is None:
            raise
        say(f"error: {error.filename} can't be read: {error.strerror}")
        return WRONG_USAGE
    return 0


if __name__ == "__main__":
    prepare_streams()
    sys.exit(main(sys.argv[1:]))
