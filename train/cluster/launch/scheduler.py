"""The scheduler: a process of its own, through which MindSpore's ranks find each other. It ends with them."""

from __future__ import annotations

import signal

from train.cluster.rank import end_with_launcher
from train.cluster.world import connect

if __name__ == "__main__":
    end_with_launcher()
    for _number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(_number, signal.SIG_IGN)  # batch systems signal every process; the ranks need it until they end
    connect()
