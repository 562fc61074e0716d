"""How launchers meet: those of other nodes are threads here."""

import socket
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import pytest

from train.cluster.launch.job import Job
from train.cluster.launch.nodes import Nodes, meet
from train.errors import TrainingFailed, UsageError


def never() -> bool:
    return False


@pytest.fixture
def port() -> int:
    """The scheduler's; the next one, where launchers meet, is free."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1]) - 1


@pytest.fixture
def others() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as pool:
        yield pool


def job(port: int, node: int, num_nodes: int = 2, ranks_per_node: int = 8) -> Job:
    return Job(num_nodes=num_nodes, node=node, ranks_per_node=ranks_per_node, address="127.0.0.1", port=port)


def refusal(call: Callable[[], object], kind: type[Exception]) -> str:
    with pytest.raises(kind) as error:
        call()
    assert "\n" not in str(error.value)
    return str(error.value)


def met(found: Future[Nodes | None]) -> Nodes:
    nodes = found.result(timeout=60)
    assert nodes is not None
    return nodes


def until(nodes: Nodes, condition: Callable[[Nodes], object]) -> object:
    for _ in range(100_000):
        found = condition(nodes)
        if found:
            return found
    raise AssertionError("nothing came")


def test_a_node_that_is_alone_waits_for_nobody() -> None:
    nodes = meet(job(1, 0, num_nodes=1), never)
    assert nodes is not None
    assert nodes.is_done()
    assert nodes.failure() is None


def test_three_nodes_meet_and_are_done_together(port: int, others: ThreadPoolExecutor) -> None:
    found = [others.submit(meet, job(port, node, num_nodes=3), never) for node in (2, 0, 1)]
    second, first, third = (met(each) for each in found)
    for each in (second, first):
        each.done()
    assert not first.is_done()
    assert not second.is_done()
    third.done()
    until(first, lambda nodes: nodes.failure() is None and nodes.is_done())
    first.end(None)
    for each in (second, third):
        until(each, lambda nodes: nodes.failure() is None and nodes.is_done())
        each.end(None)


def test_a_failure_is_known_on_all_nodes(port: int, others: ThreadPoolExecutor) -> None:
    found = [others.submit(meet, job(port, node, num_nodes=3), never) for node in range(3)]
    first, second, third = (met(each) for each in found)
    second.end("rank 9 ended with exit code 1")
    reason = until(first, Nodes.failure)
    assert reason == "rank 9 ended with exit code 1"
    first.end(str(reason))
    assert until(third, Nodes.failure) == reason


def test_a_missing_node_is_named(port: int, others: ThreadPoolExecutor) -> None:
    second = others.submit(meet, job(port, 1, num_nodes=4), never, 60)
    message = refusal(lambda: meet(job(port, 0, num_nodes=4), never, 2), TrainingFailed)
    assert message == "nodes 2, 3 of 4 did not come within 2 s"
    assert refusal(second.result, UsageError) == message  # said on the nodes that came, too


def test_a_missing_first_node_is_said(port: int) -> None:
    message = refusal(lambda: meet(job(port, 1), never, 0.2), TrainingFailed)
    assert f"node 0 can't be reached at 127.0.0.1 port {port + 1} within 0.2 s" in message


def test_nodes_of_different_numbers_are_refused_on_both(port: int, others: ThreadPoolExecutor) -> None:
    second = others.submit(meet, job(port, 1, ranks_per_node=4), never)
    message = refusal(lambda: meet(job(port, 0), never), UsageError)
    assert "node 1 was started with ranks per node (--nproc, NPROC_PER_NODE) 4, node 0 with 8" in message
    assert refusal(second.result, UsageError) == message


def test_another_number_of_nodes_is_refused(port: int, others: ThreadPoolExecutor) -> None:
    others.submit(meet, job(port, 1, num_nodes=3), never)
    assert "NNODES 3, node 0 with 2" in refusal(lambda: meet(job(port, 0), never), UsageError)


def test_two_nodes_of_one_number_are_refused(port: int, others: ThreadPoolExecutor) -> None:
    for _ in range(2):
        others.submit(meet, job(port, 1, num_nodes=3), never)
    message = refusal(lambda: meet(job(port, 0, num_nodes=3), never), UsageError)
    assert message == "two nodes say that they are node 1: give each its own NODE_RANK"


def test_strangers_that_knock_are_ignored(port: int, others: ThreadPoolExecutor) -> None:
    first = others.submit(meet, job(port, 0), never)
    for words in (b"GET / HTTP/1.1\r\n\r\n", b"\xff\x00\n", b'{"kind": "hello"}\n', b""):
        while True:
            with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port + 1)) as stranger:
                stranger.sendall(words)
                break
    second = others.submit(meet, job(port, 1), never)
    assert met(first).failure() is None
    assert met(second).failure() is None


def test_something_else_on_the_port_is_said(port: int, others: ThreadPoolExecutor) -> None:
    with socket.create_server(("127.0.0.1", port + 1)) as server:
        second = others.submit(meet, job(port, 1), never)
        connection, _ = server.accept()
        connection.sendall(b"220 mail.example\r\n")
        assert "is not node 0 of this job" in refusal(second.result, TrainingFailed)
        connection.close()


def test_waiting_ends_when_it_is_told_to(port: int) -> None:
    assert meet(job(port, 0), lambda: True) is None
    assert meet(job(port, 1), lambda: True) is None
