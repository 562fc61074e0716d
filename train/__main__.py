"""`python -m train`, `python -m train launch` (the same with several processes), `preflight` and `merge`.

Exit codes: 0 done, or stopped by a signal and saved; otherwise that of the error (`train.errors`). Of a launcher that
of the process that failed, or 128 + N where signal N ended it; its logs are written in any case.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from shards.files.text import visible
from train.cli import launch_command, merge_command, preflight_command
from train.cli.command_line import describe_flags, parse_command_line
from train.cluster.environment import find_place
from train.cluster.rank import guard_rank, say_done
from train.errors import TrainError
from train.inputs import follow_global_batch, open_inputs
from train.stop import StopRequest


def main(argv: Sequence[str]) -> int:
    merges, launches, looks_ahead = (argv[:1] == [name] for name in ("merge", "launch", "preflight"))
    if "--help" in argv or "-h" in argv:
        if looks_ahead:
            print(preflight_command.describe_flags())
            return 0
        if launches:
            print(launch_command.describe_flags())
        print(merge_command.describe_flags() if merges else describe_flags())
        return 0
    try:
        if merges:
            _log(merge_command.run(argv[1:]))
            return 0
        if looks_ahead:
            for line in preflight_command.run(argv[1:]):
                _log(line)
            return 0
        if launches:
            end = launch_command.run(argv[1:], _say)
            return end if isinstance(end, int) else main(end)
        has_launcher = guard_rank()
        place = find_place(os.environ)
        if place is not None and place.is_scheduler:
            from train.cluster.world import connect

            connect()  # to the end of the job
        command_line = parse_command_line(argv)
        num_ranks = place.size if place else 1
        arguments, notes = follow_global_batch(command_line.arguments, num_ranks)
        inputs = open_inputs(arguments, num_ranks)
        for note in (*command_line.notes, *notes, *inputs.start.notes):
            _say(f"note: {note}")
        if inputs.start.is_finished:
            return 0
        os.environ.setdefault("GLOG_v", "3")  # MindSpore's own log: errors only
        with StopRequest(second_ends=not has_launcher) as stop:
            from train.loop import train  # loads MindSpore, which takes seconds: wrong flags get their answer first

            train(arguments, inputs, _log, stop)
        say_done()
    except TrainError as error:
        _say(f"{error.kind}: {error}")
        return error.exit_code
    return 0


def _log(line: str) -> None:
    print(visible(line, keep="\n"), flush=True)


def _say(line: str) -> None:
    print(visible(f"train: {line}", keep="\n"), file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
