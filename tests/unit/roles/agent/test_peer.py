# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Agents talking to each other over real mutual TLS on the loopback interface."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from failover_agent.config import Pki
from failover_agent.etcd import tls_context
from failover_agent.peer import Peer, PeerError, PeerServer, serve

PATIENT = 20.0


class Agent:
    """What the other side does with calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, dict[str, Any] | None]] = []
        self.slow = threading.Event()

    def answer_peer(self, caller: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        self.calls.append((caller, path, body))
        if path == "/slow":
            self.slow.wait(PATIENT)
        if path == "/refuse":
            raise PeerError("not prepared for run-1")
        return {"caller": caller, "body": body, "port": (body or {})["port"] if path == "/port" else 0}

    def stream_to_peer(self, caller: str, path: str) -> Iterator[bytes]:
        self.calls.append((caller, path, None))
        if path == "/stream/none":
            raise PeerError("www2 is replica, not primary: no copy is made from it")
        if path == "/stream/empty":
            return
        yield b"first " * 100_000
        if path == "/stream/broken":
            raise OSError("mariadb-backup ended with 1")
        yield b""
        yield b"last"


@pytest.fixture
def agent() -> Iterator[Agent]:
    made = Agent()
    yield made
    made.slow.set()


@pytest.fixture
def server(agent: Agent, pki: Callable[[str], Pki]) -> Iterator[PeerServer]:
    """www2, which knows www1 and nobody else."""
    made = PeerServer("127.0.0.1", 0, tls_context(pki("www2"), server=True), agent, frozenset({"www1"}))
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


Connect = Callable[..., Peer]


@pytest.fixture
def connect(server: PeerServer, pki: Callable[[str], Pki]) -> Iterator[Connect]:
    """Connections to www2, by default from www1."""
    peers = []

    def make(identity: Pki | None = None, timeout: float = PATIENT) -> Peer:
        context = tls_context(identity or pki("www1"))
        peers.append(Peer("www2", "127.0.0.1", server.server_port, context, timeout))
        return peers[-1]

    yield make
    for peer in peers:
        peer.close()


class TestCalls:
    """Questions and answers."""

    def test_a_question_and_its_answer(self, connect: Connect, agent: Agent) -> None:
        answer = connect().call("/facts", {"position": "0-1-5"})
        assert answer == {"caller": "www1", "body": {"position": "0-1-5"}, "port": 0}
        assert agent.calls == [("www1", "/facts", {"position": "0-1-5"})]

    def test_without_a_body_it_is_a_get(self, connect: Connect, agent: Agent) -> None:
        connect().call("/position")
        connect().call("/prepare", {})
        assert agent.calls == [("www1", "/position", None), ("www1", "/prepare", {})]

    def test_one_connection_serves_many_calls(self, connect: Connect) -> None:
        peer = connect()
        peer.call("/one", {})
        first = peer._connection
        assert first is not None
        peer.call("/two", {})
        assert peer._connection is first
        assert first.sock is not None

    def test_a_refusal_comes_with_its_reason_and_keeps_the_connection(self, connect: Connect) -> None:
        peer = connect()
        with pytest.raises(PeerError, match="www2 /refuse: not prepared for run-1"):
            peer.call("/refuse", {})
        kept = peer._connection
        peer.call("/more", {})
        assert peer._connection is kept

    def test_a_question_of_another_version_is_answered_all_the_same(self, connect: Connect) -> None:
        peer = connect()
        with pytest.raises(PeerError, match="not understood: KeyError"):
            peer.call("/port", {"colour": "red"})
        peer.call("/more", {})

    def test_nobody_listens(self, server: PeerServer, connect: Connect) -> None:
        peer = connect()
        server.shutdown()
        server.server_close()
        with pytest.raises(PeerError, match=r"www2 /facts: .*refused"):
            peer.call("/facts", {})

    def test_after_an_error_the_next_call_connects_again(self, connect: Connect) -> None:
        peer = connect()
        peer.call("/one", {})
        assert peer._connection is not None
        peer._connection.sock.close()
        with pytest.raises(PeerError):
            peer.call("/two", {})
        assert peer.call("/three", {})["caller"] == "www1"


class TestTimeouts:
    """Nobody waits for ever."""

    @pytest.mark.parametrize("warm", [True, False], ids=["open connection", "first call"])
    def test_the_time_of_a_call_is_kept(self, connect: Connect, warm: bool) -> None:
        peer = connect()
        if warm:
            peer.call("/one", {})
        started = time.monotonic()
        with pytest.raises(PeerError, match="timed out"):
            peer.call("/slow", {}, timeout=0.4)
        assert time.monotonic() - started < PATIENT / 2

    def test_it_is_the_time_of_that_call_only(self, connect: Connect, agent: Agent) -> None:
        peer = connect()
        peer.call("/one", {}, timeout=0.5)
        threading.Timer(0.8, agent.slow.set).start()
        assert peer.call("/slow", {})["caller"] == "www1"

    def test_the_peers_own_time_is_kept(self, connect: Connect) -> None:
        with pytest.raises(PeerError, match="timed out"):
            connect(timeout=0.4).call("/slow", {})


class TestTls:
    """Who may speak."""

    def test_another_name_of_the_same_estate_is_refused(
        self, connect: Connect, pki: Callable[[str], Pki], agent: Agent
    ) -> None:
        with pytest.raises(PeerError, match="witness is no database host of this estate"):
            connect(pki("witness")).call("/promote", {})
        with pytest.raises(PeerError, match="witness is no database host of this estate"):
            list(connect(pki("witness")).stream("/stream/seed"))
        assert agent.calls == []

    def test_the_right_name_of_another_authority_is_refused(
        self, connect: Connect, pki: Callable[[str], Pki], stranger: Pki, agent: Agent
    ) -> None:
        forged = Pki(pki("www1").ca, stranger.certificate, stranger.key)
        with pytest.raises(PeerError):
            connect(forged).call("/promote", {})
        assert agent.calls == []

    def test_without_a_certificate_nobody_is_heard(
        self, server: PeerServer, pki: Callable[[str], Pki], agent: Agent
    ) -> None:
        context = ssl.create_default_context(cafile=pki("www1").ca)
        with pytest.raises(PeerError):
            Peer("www2", "127.0.0.1", server.server_port, context, PATIENT).call("/promote", {})
        assert agent.calls == []

    def test_a_server_of_another_authority_is_not_told_anything(
        self, pki: Callable[[str], Pki], stranger: Pki, agent: Agent
    ) -> None:
        impostor = PeerServer("127.0.0.1", 0, tls_context(stranger, server=True), agent, frozenset({"www1"}))
        serve(impostor)
        peer = Peer("www2", "127.0.0.1", impostor.server_port, tls_context(pki("www1")), PATIENT)
        with pytest.raises(PeerError, match="certificate verify failed"):
            peer.call("/facts", {})
        impostor.shutdown()
        impostor.server_close()
        assert agent.calls == []

    def test_plain_http_is_no_language_here(self, server: PeerServer, agent: Agent) -> None:
        with socket.create_connection(("127.0.0.1", server.server_port), PATIENT) as raw:
            raw.sendall(b"POST /promote HTTP/1.1\r\nHost: www2\r\nContent-Length: 2\r\n\r\n{}")
            heard = b"".join(iter(lambda: raw.recv(4096), b""))
        assert b"HTTP/1.1 2" not in heard
        assert agent.calls == []


def test_silent_clients_block_nobody(server: PeerServer, connect: Connect) -> None:
    """Handshakes are made in threads of their own: half-open connections cost the others nothing."""
    silent = [socket.create_connection(("127.0.0.1", server.server_port)) for _number in range(20)]
    try:
        assert connect().call("/facts", {})["caller"] == "www1"
    finally:
        for each in silent:
            each.close()


class TestStreams:
    """Copies of a database on their way."""

    def test_a_whole_stream_arrives_in_order(self, connect: Connect) -> None:
        assert b"".join(connect().stream("/stream/seed")) == b"first " * 100_000 + b"last"

    def test_an_empty_stream_is_whole(self, connect: Connect) -> None:
        assert list(connect().stream("/stream/empty")) == []

    def test_a_refused_stream_says_why(self, connect: Connect) -> None:
        with pytest.raises(PeerError, match="no copy is made from it"):
            list(connect().stream("/stream/none"))

    def test_a_stream_that_breaks_is_never_taken_for_a_whole_one(self, connect: Connect) -> None:
        with pytest.raises(PeerError, match="the stream broke"):
            list(connect().stream("/stream/broken"))

    def test_a_reader_that_leaves_does_not_disturb_the_server(self, connect: Connect) -> None:
        stream = connect().stream("/stream/seed")
        assert next(stream).startswith(b"first")
        del stream
        assert connect().call("/facts", {})["caller"] == "www1"
