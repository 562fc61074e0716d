"""How many weights of a model are whole at once at zero_stage 3, where two ranks share them.

    python scripts/bench/parts/gathered.py [--quick]

A model of 52 shared weights (4 + 4 layers), with and without gradient_checkpointing. MindSpore writes down the graph of
the gradients, and in which order its kernels ran for a batch. A gathered weight is alive from its all-gather to the
last kernel that reads it, or a copy of it. Counted is the most at any time, on the worse of both ranks.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "shared"))

from bench_ranks import run_ranks

ROOT = Path(__file__).resolve().parents[3]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts" / "demo"), str(ROOT / "tests")]

NUM_RANKS = 2
# Their results are the weight itself, or a copy of it.
_COPIES = ("Reshape", "StridedSlice", "Slice", "Cast", "Transpose", "TensorMove", "Load", "TupleGetItem")
_NODE = re.compile(r"^  %(\d+)\([^)]*\) = (?:PrimFunc_)?(\w+)\((.*?)\)(?: |$)")
_NAME = re.compile(r"^      # Fullname with scope: \((.+)\)")


def main() -> None:
    if sys.argv[1:2] == ["as_rank"]:
        run_once(Path(sys.argv[2]), recomputes=sys.argv[3] == "True")
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="without gradient_checkpointing alone")
    is_quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory(prefix="bench-gathered-") as name:
        folder = Path(name)
        write_inputs(folder)
        found = {recomputes: measure(folder, recomputes) for recomputes in ([False] if is_quick else [False, True])}
    print(f"{found[False][2]} weights that {NUM_RANKS} ranks share")
    for recomputes, (alive, num_gathers, _) in found.items():
        how = f"{'with' if recomputes else 'without'} gradient_checkpointing"
        print(f"{how:34}{num_gathers:6} gathers of a batch")
        print(f"{how:34}{alive:6} weights whole at once")
    result = {"num_weights": found[False][2], "alive": found[False][0]}
    if not is_quick:
        result["alive_checkpointing"] = found[True][0]
    print(json.dumps(result))


def write_inputs(folder: Path) -> None:
    """folder/model and folder/shards."""
    from dataclasses import replace

    from demo_model import write_model_folder

    from shards import read_model_constants
    from tests.train.tiny_run import TINY, make_packs, write_tiny_shards

    size = replace(TINY, num_layers=4, vision_depth=4)
    write_model_folder(folder / "model", ["a short text to train a tokenizer on"], size=size)
    constants = read_model_constants(folder / "model")
    write_tiny_shards(folder / "shards", make_packs(constants, num_packs=4), constants)


def measure(folder: Path, recomputes: bool) -> tuple[int, int, int]:
    """The most that are alive; all-gathers of a batch; weights that are shared."""
    work = folder / f"recomputes-{recomputes}"
    work.mkdir()
    results = run_ranks(NUM_RANKS, work / "logs", [sys.executable, __file__, "as_rank", str(work), str(recomputes)])
    counts = [count_alive(work / f"rank-{rank}") for rank in range(NUM_RANKS)]
    return max(alive for alive, _ in counts), max(gathers for _, gathers in counts), results[0]


def run_once(work: Path, *, recomputes: bool) -> None:
    """Gradients of one batch, in a graph that MindSpore writes down."""
    from train.cluster.rank import guard_rank, say_done

    guard_rank()
    mine = work / f"rank-{os.environ['RANK_ID']}"
    mine.mkdir()
    os.environ["MS_ALLOC_CONF"] = f"memory_tracker:True,memory_tracker_path:{mine}"
    os.environ["MS_DEV_SAVE_GRAPHS"] = "2"
    os.environ["MS_DEV_SAVE_GRAPHS_PATH"] = str(mine)
    from shards import open_shards
    from shards.batch import BatchShape, make_batch
    from train.building import sharing_of
    from train.cluster.world import connect
    from train.models.folder import build_model
    from train.models.precision import FLOAT32
    from train.models.sharing import sharing
    from train.steps.step import to_device
    from train.steps.zero import AccumulateOnRanks
    from train.weights.parts import part_of

    world = connect()
    with sharing(sharing_of(world, FLOAT32, recomputes=recomputes)):
        model = build_model(work.parent / "model")
    if recomputes:
        model.recompute_layers()
    shards = open_shards(work.parent / "shards")
    batch = make_batch(shards[3], BatchShape.of(shards.manifest), shards.manifest.model)
    AccumulateOnRanks(model, world, 3)(*to_device(batch)).asnumpy()
    print("result", sum(part_of(each) is not None for each in model.get_parameters()), flush=True)
    world.barrier()
    say_done()


def count_alive(folder: Path) -> tuple[int, int]:
    """The most gathered weights at any time, and how many gathers there were."""
    graphs = folder.rglob("hwopt_comm_after_eliminate_nopnode_*.ir")
    (graph,) = (path for path in graphs if "AllGather" in path.read_text())
    (order,) = folder.rglob("task.csv")
    with order.open(newline="") as file:
        ran = {row["node_name"]: index for index, row in enumerate(csv.DictReader(file))}
    operators, names, readers = read_graph(graph)
    events = []
    for node in (node for node, operator in operators.items() if operator == "AllGather"):
        last = ran[names[node]]
        left = list(readers[node])
        while left:
            reader = left.pop()
            last = max(last, ran.get(names.get(reader, ""), last))
            if operators[reader] in _COPIES:
                left += readers[reader]
        events += [(ran[names[node]], 1), (last + 0.5, -1)]
    alive = most = 0
    for _, change in sorted(events):
        alive += change
        most = max(most, alive)
    return most, len(events) // 2


def read_graph(path: Path) -> tuple[dict[int, str], dict[int, str], dict[int, list[int]]]:
    """Of each node: operator, full name, and the nodes that read it."""
    operators: dict[int, str] = {}
    names: dict[int, str] = {}
    readers: dict[int, list[int]] = defaultdict(list)
    current = -1
    for line in path.read_text().splitlines():
        if found := _NODE.match(line):
            current = int(found[1])
            operators[current] = found[2]
            for argument in re.findall(r"%(\d+)\b", found[3]):
                readers[int(argument)].append(current)
        elif found := _NAME.match(line):
            names[current] = found[1]
    return operators, names, readers


if __name__ == "__main__":
    main()
