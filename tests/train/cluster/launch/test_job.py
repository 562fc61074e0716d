import socket
from collections.abc import Iterator

import pytest

from train.cluster.launch.job import Job, first_host, read_job
from train.errors import UsageError


def read(variables: dict[str, str] | None = None, nproc: int | None = None, num_devices: int = 0) -> Job:
    return read_job(variables or {}, nproc, lambda: num_devices)


def refusal(variables: dict[str, str], nproc: int | None = None, num_devices: int = 0) -> str:
    with pytest.raises(UsageError) as error:
        read(variables, nproc, num_devices)
    assert "\n" not in str(error.value)
    return str(error.value)


TWO_NODES = {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "127.0.0.1"}
SLURM = {
    "SLURM_JOB_ID": "1234567",
    "SLURM_JOB_NUM_NODES": "4",
    "SLURM_STEP_ID": "0",
    "SLURM_STEP_NUM_NODES": "4",
    "SLURM_STEP_NUM_TASKS": "4",
    "SLURM_NODEID": "2",
    "SLURM_JOB_NODELIST": "localhost,node[2-4]",
}


def test_a_machine_without_npus_is_one_process() -> None:
    assert read().size == 1


def test_a_rank_for_each_npu() -> None:
    job = read(num_devices=8)
    assert (job.num_nodes, job.node, job.size) == (1, 0, 8)
    assert list(job.ranks) == list(range(8))


def test_the_flag_wins_over_the_variable_and_that_over_the_devices() -> None:
    assert read({"NPROC_PER_NODE": "4"}, nproc=2, num_devices=8).size == 2
    assert read({"NPROC_PER_NODE": "4"}, num_devices=8).size == 4


def test_ranks_are_numbered_by_node() -> None:
    job = read({**TWO_NODES, "MASTER_PORT": "9000"}, num_devices=8)
    assert (job.size, job.address, job.port) == (16, "127.0.0.1", 9000)
    assert list(job.ranks) == list(range(8, 16))


def test_slurm_says_which_node_this_is_and_where_the_first_one_is() -> None:
    job = read(SLURM, num_devices=8)
    assert (job.num_nodes, job.node, job.size, job.address) == (4, 2, 32, "127.0.0.1")
    assert job.port % 2 == 0
    assert job.port != read({**SLURM, "SLURM_JOB_ID": "1234568"}, num_devices=8).port


def test_a_step_of_slurm_may_have_fewer_nodes_than_its_job() -> None:
    step = {**SLURM, "SLURM_STEP_NUM_NODES": "3", "SLURM_STEP_NUM_TASKS": "3", "SLURM_STEP_NODELIST": "localhost"}
    assert read({**step, "SLURM_JOB_NODELIST": "elsewhere.invalid"}, num_devices=8).size == 24


def test_our_own_variables_win_over_those_of_slurm() -> None:
    job = read({**SLURM, **TWO_NODES, "MASTER_PORT": "9000"}, num_devices=8)
    assert (job.num_nodes, job.node, job.port) == (2, 1, 9000)


@pytest.mark.parametrize(
    ("node_list", "host"),
    [
        ("node1", "node1"),
        ("node1,node2", "node1"),
        ("node[003-010,12],gpu1", "node003"),
        ("node[7,9]", "node7"),
        ("rack[1-2]n[01-04]", "rack1n01"),
        ("n[1-2]-ib", "n1-ib"),
    ],
)
def test_the_first_host_of_a_list(node_list: str, host: str) -> None:
    assert first_host(node_list) == host


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        ({"NNODES": "2", "MASTER_ADDR": "127.0.0.1"}, "NODE_RANK is not set"),
        ({"NNODES": "2", "NODE_RANK": "1"}, "MASTER_ADDR is not set"),
        ({**TWO_NODES, "NODE_RANK": "2"}, "NODE_RANK is 2, but NNODES is 2"),
        ({**TWO_NODES, "NNODES": "two"}, "NNODES is 'two'"),
        ({**TWO_NODES, "MASTER_ADDR": "nowhere.invalid"}, "MASTER_ADDR 'nowhere.invalid' is not known here"),
        ({**TWO_NODES, "MASTER_PORT": "70000"}, "MASTER_PORT is 70000"),
        ({"NPROC_PER_NODE": "gpu"}, "NPROC_PER_NODE is 'gpu'"),
        ({**TWO_NODES, "NODE_RANK": "0", "MASTER_ADDR": "192.0.2.1"}, "192.0.2.1 is no address of this machine"),
        ({**SLURM, "SLURM_STEP_NUM_TASKS": "32"}, "starts this 32 times on 4 nodes"),
        ({"SLURM_JOB_ID": "1", "SLURM_JOB_NUM_NODES": "4", "SLURM_NODEID": "0"}, "Slurm gave 4 nodes"),
    ],
)
def test_contradictions_are_refused(variables: dict[str, str], message: str) -> None:
    assert message in refusal(variables)


def test_more_ranks_than_npus_are_refused() -> None:
    assert "--nproc is 9, but this node has 8 NPUs" in refusal({}, nproc=9, num_devices=8)
    assert "NPROC_PER_NODE is 16" in refusal({"NPROC_PER_NODE": "16"}, num_devices=8)


@pytest.fixture
def used_port() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def test_a_port_in_use_is_refused(used_port: int) -> None:
    message = refusal({"MASTER_PORT": str(used_port)}, nproc=2)
    assert f"port {used_port} of 127.0.0.1: Address already in use" in message
    assert "MASTER_PORT" in message


def test_the_port_of_the_launchers_must_be_free_too(used_port: int) -> None:
    variables = {**TWO_NODES, "NODE_RANK": "0", "MASTER_PORT": str(used_port - 1)}
    assert f"port {used_port}" in refusal(variables, nproc=2)


def test_one_process_needs_no_port(used_port: int) -> None:
    assert read({"MASTER_PORT": str(used_port)}).size == 1
