"""What the launchers of a job with several nodes tell each other, over one connection from each to that of node 0.

    node k -> node 0    hello, with its number and counts; done; failed, with the reason
    node 0 -> node k    go, once all are there; end, with the reason where the job failed

A message is a line of JSON. A connection that breaks off before the last word is a launcher that is gone, or its
machine: TCP asks every few seconds whether that is there.
"""

from __future__ import annotations

import json
import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from train.cluster.launch.job import Job
from train.errors import TrainingFailed, UsageError

MEETING_SECONDS = 600.0  # batch systems start nodes one after the other, containers are fetched first
_RETRY_SECONDS = 0.5
_LOST_SECONDS = 30  # without an answer, a machine is gone
_KEEPALIVE = {"TCP_KEEPIDLE": 10, "TCP_KEEPINTVL": 5, "TCP_KEEPCNT": 4, "TCP_USER_TIMEOUT": 1000 * _LOST_SECONDS}
_LONGEST_MESSAGE = 65_536
_PROTOCOL = "train-launch-1"


class Peer:
    """The other end of a connection. `node` is None until it has said hello."""

    def __init__(self, connection: socket.socket, node: int | None = None) -> None:
        self.connection = connection
        self.node = node
        self.is_done = False
        self._received = b""
        connection.setblocking(False)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE.items():
            if hasattr(socket, name):  # on Linux
                connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)

    def say(self, kind: str, **contents: Any) -> None:
        with suppress(OSError):  # where it is gone, reading says so
            self.connection.sendall(json.dumps({"protocol": _PROTOCOL, "kind": kind, **contents}).encode() + b"\n")

    def hear(self) -> list[dict[str, Any]]:
        """The messages that have come. Raises EOFError where none can come any more, or where no launcher speaks."""
        try:
            while new := self.connection.recv(_LONGEST_MESSAGE):
                self._received += new
                if len(self._received) > _LONGEST_MESSAGE:
                    raise EOFError
            is_over = True
        except BlockingIOError:
            is_over = False
        except OSError:
            is_over = True
        *lines, self._received = self._received.split(b"\n")
        if is_over and not lines:
            raise EOFError
        return [_message(line) for line in lines]


class Nodes:
    """The other nodes, as one launcher sees them. Made by `meet`; alone, it has nobody to ask."""

    def __init__(self, job: Job, peers: list[Peer]) -> None:
        self._is_first = job.node == 0
        self._peers = peers
        self._failure: str | None = None
        self._is_over = not peers

    def failure(self) -> str | None:
        """Why the job failed elsewhere, if it did. Looks for news, and does not wait."""
        for peer in self._peers:
            if self._failure is not None or (peer.is_done and self._is_over):
                break
            try:
                messages = peer.hear()
            except EOFError:
                self._failure = f"node {peer.node} is gone: its launcher, or its machine"
                break
            for message in messages:
                self._take(peer, message)
        return self._failure

    def is_done(self) -> bool:
        """Whether all nodes are done. Say `done` before."""
        if self._is_first and all(peer.is_done for peer in self._peers):
            self._is_over = True
        return self._is_over

    def done(self) -> None:
        """The ranks of this node have ended as they should."""
        if not self._is_first:
            self._tell("done")

    def end(self, reason: str | None) -> None:
        """The last word of this launcher: all is done, or why it failed."""
        if self._is_first:
            self._tell("end", reason=reason)
        elif reason is not None:
            self._tell("failed", reason=reason)
        for peer in self._peers:
            peer.connection.close()

    def _take(self, peer: Peer, message: dict[str, Any]) -> None:
        reason = message.get("reason")
        if message["kind"] == "done":
            peer.is_done = True
        elif reason is not None:
            self._failure = str(reason)
        elif message["kind"] == "end":
            self._is_over = peer.is_done = True

    def _tell(self, kind: str, **contents: Any) -> None:
        for peer in self._peers:
            peer.say(kind, **contents)


def meet(job: Job, is_stopped: Callable[[], bool], seconds: float = MEETING_SECONDS) -> Nodes | None:
    """Wait for the launchers of all nodes. None if it was told to stop meanwhile.

    Raises UsageError where nodes were started with different numbers, TrainingFailed where some don't come.
    """
    if job.num_nodes == 1:
        return Nodes(job, [])
    end = time.monotonic() + seconds
    peers = _gather(job, is_stopped, end, seconds) if job.node == 0 else _join(job, is_stopped, end, seconds)
    return None if peers is None else Nodes(job, peers)


def _gather(job: Job, is_stopped: Callable[[], bool], end: float, seconds: float) -> list[Peer] | None:
    """Node 0: answers whoever comes."""
    found: dict[int, Peer] = {}
    strangers: list[Peer] = []
    with socket.create_server((job.address, job.port + 1)) as server, selectors.DefaultSelector() as selector:
        selector.register(server, selectors.EVENT_READ)
        while len(found) < job.num_nodes - 1:
            if is_stopped():
                _refuse([*found.values(), *strangers], "node 0 was told to stop")
                return None
            if time.monotonic() > end:
                reason = f"{_name_missing(job, found)} within {seconds:g} s"
                _refuse(found.values(), reason)
                raise TrainingFailed(reason)
            if selector.select(_RETRY_SECONDS if not strangers else _RETRY_SECONDS / 5):
                strangers.append(Peer(server.accept()[0]))
            for peer in list(strangers):
                try:
                    messages = peer.hear()
                    hello = messages[0] if messages else None
                except EOFError:
                    strangers.remove(peer)
                    peer.connection.close()
                    continue
                if hello is None:
                    continue
                strangers.remove(peer)
                problem = _problem(job, hello, found)
                if problem:
                    _refuse([peer, *found.values()], problem)
                    raise UsageError(problem)
                peer.node = int(hello["node"])
                found[peer.node] = peer
    peers = [found[node] for node in sorted(found)]
    for peer in peers:
        peer.say("go")
    return peers


def _join(job: Job, is_stopped: Callable[[], bool], end: float, seconds: float) -> list[Peer] | None:
    """Another node: tries until node 0 is there, then waits for its word."""
    where = f"{job.address} port {job.port + 1}"
    peer: Peer | None = None
    while not is_stopped():
        if time.monotonic() > end:
            raise TrainingFailed(
                f"node 0 does not start the job within {seconds:g} s: another node is missing"
                if peer
                else f"node 0 can't be reached at {where} within {seconds:g} s: is it running, is MASTER_ADDR right?"
            )
        if peer is None:
            try:
                peer = Peer(socket.create_connection((job.address, job.port + 1), timeout=5), node=0)
            except OSError:
                time.sleep(_RETRY_SECONDS)
                continue
            peer.say("hello", node=job.node, num_nodes=job.num_nodes, ranks_per_node=job.ranks_per_node)
        try:
            messages = peer.hear()
        except EOFError:
            raise TrainingFailed(f"what listens at {where} is not node 0 of this job, or it has ended") from None
        for message in messages:
            if message["kind"] == "go":
                return [peer]
            raise UsageError(str(message.get("reason")))
        time.sleep(_RETRY_SECONDS / 5)
    return None


def _refuse(peers: Any, reason: str) -> None:
    for peer in peers:
        peer.say("end", reason=reason)
        peer.connection.close()


def _problem(job: Job, hello: dict[str, Any], found: dict[int, Peer]) -> str | None:
    """Why a node can't be one of this job."""
    node = hello.get("node")
    for name, mine in (("num_nodes", job.num_nodes), ("ranks_per_node", job.ranks_per_node)):
        if hello.get(name) != mine:
            what = {"num_nodes": "NNODES", "ranks_per_node": "ranks per node (--nproc, NPROC_PER_NODE)"}[name]
            return f"node {node} was started with {what} {hello.get(name)}, node 0 with {mine}: they must be equal"
    if not isinstance(node, int) or not 0 < node < job.num_nodes or node in found:
        return f"two nodes say that they are node {node}: give each its own NODE_RANK"
    return None


def _name_missing(job: Job, found: dict[int, Peer]) -> str:
    missing = [str(node) for node in range(1, job.num_nodes) if node not in found]
    nodes = f"node {missing[0]}" if len(missing) == 1 else f"nodes {', '.join(missing)}"
    return f"{nodes} of {job.num_nodes} did not come"


def _message(line: bytes) -> dict[str, Any]:
    try:
        message = json.loads(line)
    except ValueError:
        raise EOFError from None
    if not isinstance(message, dict) or message.get("protocol") != _PROTOCOL:
        raise EOFError
    return message
