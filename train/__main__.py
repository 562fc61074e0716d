"""`python -m train`, `launch` (the same with several processes), `doctor`, `preflight`, `certify` and `merge`.

Exit codes: 0 done, or stopped by a signal and saved; otherwise that of the error (`train.errors`). Of a launcher that
of the process that failed, or 128 + N where signal N ended it; its logs are written in any case.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from train.cli import certify_command, doctor_command, launch_command, merge_command, preflight_command
from train.cli.command_line import describe_flags, parse_command_line
from train.cluster.environment import find_place
from train.cluster.rank import guard_rank, say_done
from train.errors import FAILED, WRONG_USAGE, TrainError
from train.inputs import follow_global_batch, open_inputs
from train.stop import StopRequest
from train.terminal import log, prepare_streams, say


def main(argv: Sequence[str], *, is_process: bool = False) -> int:
    """`is_process`: nothing else runs in this process."""
    merges, launches, looks_ahead, examines, certifies = (
        argv[:1] == [name] for name in ("merge", "launch", "preflight", "doctor", "certify")
    )
    if "--help" in argv or "-h" in argv:
        if examines:
            log(doctor_command.describe_flags())
            return 0
        if looks_ahead or certifies:
            log((preflight_command if looks_ahead else certify_command).describe_flags())
            return 0
        if launches:
            log(launch_command.describe_flags())
        log(merge_command.describe_flags() if merges else describe_flags())
        return 0
    try:
        if merges:
            log(merge_command.run(argv[1:]))
            return 0
        if looks_ahead:
            for line in preflight_command.run(argv[1:]):
                log(line)
            return 0
        if certifies:
            return _certify(certify_command.run(argv[1:]))
        if launches:
            end = launch_command.run(argv[1:], say)
            return end if isinstance(end, int) else main(end, is_process=is_process)
        if examines:
            end_or_device = doctor_command.run(argv[1:], say)
            return end_or_device if isinstance(end_or_device, int) else _examine(end_or_device)
        has_launcher = guard_rank()
        place = find_place(os.environ)
        if place is not None and place.is_scheduler:
            _schedule()
        command_line = parse_command_line(argv)
        num_ranks = place.size if place else 1
        arguments, notes = follow_global_batch(command_line.arguments, num_ranks)
        inputs = open_inputs(arguments, num_ranks)
        for note in (*command_line.notes, *notes, *inputs.start.notes):
            say(f"note: {note}")
        if inputs.start.is_finished:
            return 0
        os.environ.setdefault("GLOG_v", "3")  # MindSpore's own log: errors only
        with StopRequest(second_ends=not has_launcher) as stop:
            from train.loop import train  # loads MindSpore, which takes seconds: wrong flags get their answer first

            train(arguments, inputs, log, stop, keeps_graphs=is_process)
        say_done()
    except TrainError as error:
        say(f"{error.kind}: {error}")
        return error.exit_code
    except OSError as error:  # what a run can't write is a TrainingFailed: these are folders that can't be looked into
        if error.filename is None:
            raise
        say(f"error: {error.filename} can't be read: {error.strerror}")
        return WRONG_USAGE
    return 0


def _schedule() -> None:
    """To the end of the job."""
    from train.cluster.world import connect

    connect()


def _examine(device: str) -> int:
    """This process, as a rank or alone."""
    guard_rank()
    place = find_place(os.environ)
    if place is not None and place.is_scheduler:
        _schedule()
    os.environ.setdefault("GLOG_v", "3")
    from train.building import choose_device  # loads MindSpore
    from train.cluster.world import connect
    from train.doctor.checkup import examine

    choose_device(device)
    is_well = examine(connect(), log)
    say_done()
    return 0 if is_well else FAILED


def _certify(inputs: certify_command.CertifyInputs) -> int:
    os.environ.setdefault("GLOG_v", "3")
    from train.building import choose_device  # loads MindSpore
    from train.certify.certify import certify

    choose_device("CPU")  # whose float32 is float32; `doctor` tells of NPUs
    lines, is_well = certify(inputs.shards, inputs.model, inputs.numbers, inputs.oracle)
    for line in lines:
        log(line)
    return 0 if is_well else FAILED


def run() -> int:
    """The command vl-train."""
    prepare_streams()
    return main(sys.argv[1:], is_process=True)


if __name__ == "__main__":
    sys.exit(run())
