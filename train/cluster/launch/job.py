"""How many processes a job has, and where they meet: flags and environment -> Job.

| | `scripts/train.sh` on each node | in a job of Slurm | otherwise |
| --- | --- | --- | --- |
| nodes | `NNODES` | `SLURM_STEP_NUM_NODES`, `SLURM_JOB_NUM_NODES` | 1 |
| this node, from 0 | `NODE_RANK` | `SLURM_NODEID` | 0 |
| ranks on each node | `--nproc`, `NPROC_PER_NODE` | | an NPU each; one without NPUs |
| address of node 0 | `MASTER_ADDR` | the first of `SLURM_STEP_NODELIST`, `SLURM_JOB_NODELIST` | this machine |
| port there | `MASTER_PORT` | from `SLURM_JOB_ID` | any that is free; 8118, msrun's, with several nodes |

A variable of the first column wins. The port is the scheduler's; with several nodes, the launchers meet at the next.
Under Slurm, `srun --ntasks-per-node=1 bash scripts/train.sh ...` starts one launcher on each node.
"""

from __future__ import annotations

import errno
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from train.errors import UsageError

_DEFAULT_PORT = 8118
_FIRST_SLURM_PORT, _SLURM_PORTS = 12_000, 10_000  # even numbers from there: two jobs on a node rarely get the same
_LAST_PORT = 65_534  # the launchers need the next one
_LOCAL = "127.0.0.1"
_SRUN = "srun --ntasks-per-node=1 bash scripts/train.sh ..."


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as a launcher sees it. Every node has the same number of ranks; they are numbered by node."""

    num_nodes: int
    node: int
    ranks_per_node: int
    address: str  # of node 0, IPv4
    port: int  # of the scheduler; the next one is the launchers'

    @property
    def size(self) -> int:
        return self.num_nodes * self.ranks_per_node

    @property
    def ranks(self) -> range:
        """Those of this node."""
        first = self.node * self.ranks_per_node
        return range(first, first + self.ranks_per_node)


def read_job(environment: Mapping[str, str], nproc: int | None, count_devices: Callable[[], int]) -> Job:
    """Raises UsageError where variables contradict each other, or where no job can start on this node."""
    _require_one_launcher(environment)
    num_nodes = _first_number(environment, "NNODES", "SLURM_STEP_NUM_NODES", "SLURM_JOB_NUM_NODES", least=1) or 1
    node = _node(environment, num_nodes)
    ranks_per_node = _ranks_per_node(environment, nproc, count_devices)
    address = _address(environment, num_nodes)
    job = Job(
        num_nodes=num_nodes,
        node=node,
        ranks_per_node=ranks_per_node,
        address=address,
        port=_port(environment, num_nodes),
    )
    if node == 0 and job.size > 1:
        for port in (job.port, job.port + 1)[: min(num_nodes, 2)]:
            _require_free_port(address, port)
    return job


def first_host(node_list: str) -> str:
    """The first host of a list as Slurm writes it: node[003-010,12],gpu1 -> node003; rack[1-2]n[01-04] -> rack1n01."""
    first = re.split(r",(?![^\[]*\])", node_list.strip(), maxsplit=1)[0]
    return re.sub(r"\[([^\],-]*)[^\]]*\]", r"\1", first)


def _require_one_launcher(environment: Mapping[str, str]) -> None:
    """Of a node, and on all nodes, where Slurm starts them."""
    if "NNODES" in environment or "SLURM_JOB_ID" not in environment:
        return
    if "SLURM_STEP_ID" not in environment:
        num_nodes = _number(environment, "SLURM_JOB_NUM_NODES", least=1) or 1
        if num_nodes > 1:
            raise UsageError(f"Slurm gave {num_nodes} nodes, and this is started on one of them only: {_SRUN}")
        return
    tasks = _number(environment, "SLURM_STEP_NUM_TASKS", least=1) or 1
    nodes = _number(environment, "SLURM_STEP_NUM_NODES", least=1) or 1
    if tasks > nodes:
        raise UsageError(f"srun starts this {tasks} times on {nodes} nodes; once on each is enough: {_SRUN}")


def _node(environment: Mapping[str, str], num_nodes: int) -> int:
    node = _first_number(environment, "NODE_RANK", "SLURM_NODEID", least=0)
    if node is None and num_nodes > 1:
        raise UsageError(f"NNODES is {num_nodes}, but NODE_RANK is not set: give each node its number, from 0")
    if node is not None and node >= num_nodes:
        raise UsageError(f"NODE_RANK is {node}, but NNODES is {num_nodes}: nodes are counted from 0")
    return node or 0


def _ranks_per_node(environment: Mapping[str, str], nproc: int | None, count_devices: Callable[[], int]) -> int:
    source = "--nproc"
    if nproc is None:
        source, nproc = "NPROC_PER_NODE", _number(environment, "NPROC_PER_NODE", least=1)
    num_devices = count_devices()
    if nproc is not None and num_devices and nproc > num_devices:
        raise UsageError(f"{source} is {nproc}, but this node has {num_devices} NPUs, and a rank needs one")
    return nproc or num_devices or 1


def _address(environment: Mapping[str, str], num_nodes: int) -> str:
    name, host = "MASTER_ADDR", environment.get("MASTER_ADDR")
    if not host:
        name = next(
            (each for each in ("SLURM_STEP_NODELIST", "SLURM_JOB_NODELIST", "SLURM_NODELIST") if each in environment),
            "",
        )
        host = first_host(environment[name]) if name and num_nodes > 1 else None
    if not host:
        if num_nodes > 1:
            raise UsageError(f"NNODES is {num_nodes}, but MASTER_ADDR is not set: give the address of node 0")
        return _LOCAL
    try:
        found = socket.getaddrinfo(host, None, family=socket.AF_INET, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        raise UsageError(f"{name} {host!r} is not known here: give the name or IPv4 address of node 0") from None
    return str(found[0][4][0])


def _port(environment: Mapping[str, str], num_nodes: int) -> int:
    port = _number(environment, "MASTER_PORT", least=1)
    if port is not None:
        if port > _LAST_PORT:
            raise UsageError(f"MASTER_PORT is {port}; it must be at most {_LAST_PORT}")
        return port
    if num_nodes == 1:
        return _free_port()
    slurm_job = _number(environment, "SLURM_JOB_ID", least=0)
    return _DEFAULT_PORT if slurm_job is None else _FIRST_SLURM_PORT + 2 * (slurm_job % _SLURM_PORTS)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_LOCAL, 0))
        return int(probe.getsockname()[1])


def _require_free_port(address: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # past connections are no obstacle, listeners are
        try:
            probe.bind((address, port))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                advice = "MASTER_ADDR must be that of node 0, and this is node 0"
                raise UsageError(f"{address} is no address of this machine: {advice}") from None
            raise UsageError(
                f"port {port} of {address}: {error.strerror}; end the job that uses it, or set another MASTER_PORT"
            ) from None


def _first_number(environment: Mapping[str, str], *names: str, least: int) -> int | None:
    return next((_number(environment, name, least=least) for name in names if environment.get(name)), None)


def _number(environment: Mapping[str, str], name: str, *, least: int) -> int | None:
    text = environment.get(name)
    if not text:
        return None
    if not text.isdecimal() or int(text) < least:
        raise UsageError(f"{name} is {text!r}; it must be a whole number from {least}")
    return int(text)
