"""World and collectives, alone and as two ranks of MindSpore on CPU."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mindspore as ms
import numpy as np
import pytest

from tests.train.cluster.starting import run_launcher
from train.cluster.collectives import all_gather, all_reduce, reduce_scatter
from train.cluster.world import World

ROOT = Path(__file__).parents[3]


def test_alone_everything_is_ones_own() -> None:
    world = World.single()
    assert (world.rank, world.size, world.is_first) == (0, 1, True)
    assert world.sum(3.5) == 3.5
    assert world.gather([1.0, 2.0]).tolist() == [[1.0, 2.0]]
    assert world.agree_to_stop(True)
    assert not world.agree_to_stop(False)
    world.barrier()


def test_alone_graphs_hold_no_collectives() -> None:
    world = World.single()
    rows = ms.Tensor(np.arange(3, dtype=np.float32)[None])
    for made in (all_reduce, all_gather):
        assert np.array_equal(made(world)(rows).asnumpy(), rows.asnumpy())
    assert np.array_equal(reduce_scatter(world)(rows).asnumpy(), [0, 1, 2])


RANK = """
import json, os, sys
from train.cluster.rank import guard_rank
guard_rank()
import numpy as np
from train.cluster.world import connect
world = connect()
import mindspore as ms
from train.cluster.collectives import all_gather, all_reduce, reduce_scatter
made = all_reduce(world), all_gather(world), reduce_scatter(world)
@ms.jit
def exchange(rows):
    return made[0](rows), made[1](rows), made[2](rows)
rows = ms.Tensor(np.arange(6, dtype=np.float32).reshape(2, 3) + 10 * world.rank)
bits = np.array([0.1 + world.rank, 1e300, 5e-324, -0.0])
gathered = world.gather(bits)
world.barrier()
print("result", json.dumps({
    "world": [world.rank, world.size, world.device],
    "sum": [float(world.sum(0.1 + world.rank)), world.sum([1.0, world.rank]).tolist()],
    "gathered": gathered.tobytes().hex(),
    "timeout": os.environ["HCCL_CONNECT_TIMEOUT"],
    "stops": [world.agree_to_stop(world.rank == 1), world.agree_to_stop(False)],
    "graph": [each.asnumpy().tolist() for each in exchange(rows)],
}), flush=True)
"""


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    folder = tmp_path_factory.mktemp("ranks")
    (folder / "rank.py").write_text(RANK)
    done = run_launcher(2, folder, [sys.executable, str(folder / "rank.py")], scheduler=None)
    assert done.returncode == 0, done.stderr
    logs = [(folder / "logs" / f"rank_{rank}.log").read_text() for rank in range(2)]
    return [json.loads(line.removeprefix("result ")) for log in logs for line in log.splitlines() if "result" in line]


def test_ranks_know_their_world(results: list[dict[str, Any]]) -> None:
    assert [each["world"] for each in results] == [[0, 2, "CPU"], [1, 2, "CPU"]]


def test_ranks_wait_for_compiling(results: list[dict[str, Any]]) -> None:
    assert [each["timeout"] for each in results] == ["1800"] * 2


def test_numbers_are_gathered_bit_for_bit_and_summed_alike(results: list[dict[str, Any]]) -> None:
    expected = np.array([[0.1 + rank, 1e300, 5e-324, -0.0] for rank in range(2)])
    assert [each["gathered"] for each in results] == [expected.tobytes().hex()] * 2
    assert [each["sum"] for each in results] == [[0.1 + 1.1, [2.0, 1.0]]] * 2


def test_one_rank_that_wants_to_stop_stops_all(results: list[dict[str, Any]]) -> None:
    assert [each["stops"] for each in results] == [[True, False]] * 2


def test_graphs_exchange(results: list[dict[str, Any]]) -> None:
    rows = [np.arange(6.0).reshape(2, 3) + 10 * rank for rank in range(2)]
    total = sum(rows)
    for rank, each in enumerate(results):
        summed, gathered, row = each["graph"]
        assert summed == total.tolist()
        assert gathered == np.concatenate(rows).tolist()
        assert row == total[rank].tolist()


def test_numbers_of_ranks_that_contradict_each_other_are_refused() -> None:
    program = "from train.cluster.world import connect; connect()"
    variables = {"MS_ROLE": "MS_WORKER", "MS_WORKER_NUM": "2", "RANK_ID": "2"}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env={**os.environ, **variables}, capture_output=True, text=True
    )
    assert "rank 2 of 2 ranks" in done.stderr.splitlines()[-1]
