# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Agents talk to each other by JSON over HTTPS with mutual TLS. One persistent connection a peer and caller."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol

_CHUNK = 256 * 1024
#: A stream may pause for so long (seconds): a backup waits for locks, and a slow disk takes its time.
_STREAM_SECONDS = 60.0


class PeerError(Exception):
    """The peer did not answer in time or refused; the text says which."""


class Peer:
    """A caller's connection to the agent of another host. Not thread-safe."""

    def __init__(self, host: str, address: str, port: int, context: ssl.SSLContext, timeout: float) -> None:
        self.host = host
        self._where = (address, port)
        self._context = context
        self._timeout = timeout
        self._connection: http.client.HTTPSConnection | None = None

    def call(self, path: str, body: dict[str, Any] | None = None, *, timeout: float | None = None) -> dict[str, Any]:
        """POST ``body`` (or GET without one) and return the JSON object that comes back.

        ``timeout`` is seconds for this call; without it, those of this peer.

        :raises PeerError: no answer in time, or the peer answered with an error.
        """
        try:
            seconds = self._timeout if timeout is None else timeout
            connection = self._connection or self._make(seconds)
            self._connection = connection
            if connection.sock is not None:
                connection.sock.settimeout(seconds)
            payload = None if body is None else json.dumps(body)
            connection.request(
                "GET" if body is None else "POST",
                path,
                payload,
                {"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            text = response.read().decode()
        except (OSError, http.client.HTTPException) as error:
            self.close()
            raise PeerError(f"{self.host} {path}: {error or type(error).__name__}") from error
        if response.status != http.client.OK:
            raise PeerError(f"{self.host} {path}: {_reason(text)}")
        try:
            answer = json.loads(text)
        except ValueError as error:
            raise PeerError(f"{self.host} {path}: answered {text[:200]!r}") from error
        if not isinstance(answer, dict):
            raise PeerError(f"{self.host} {path}: answered {text[:200]!r}")
        return answer

    def _make(self, timeout: float) -> http.client.HTTPSConnection:
        address, port = self._where
        return http.client.HTTPSConnection(address, port, timeout=timeout, context=self._context)

    def stream(self, path: str) -> Iterator[bytes]:
        """GET a body piece by piece.

        :raises PeerError: the peer refused, or the stream ended before its end.
        """
        connection = self._make(_STREAM_SECONDS)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            if response.status != http.client.OK:
                raise PeerError(f"{self.host} {path}: {_reason(response.read().decode(errors='replace'))}")
            while chunk := response.read(_CHUNK):
                yield chunk
        except (OSError, http.client.HTTPException) as error:
            raise PeerError(f"{self.host} {path}: the stream broke: {error or type(error).__name__}") from error
        finally:
            connection.close()

    def close(self) -> None:
        """Close the connection; the next call opens another."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _reason(text: str) -> str:
    """The error in the body of a refusal."""
    try:
        return str(json.loads(text)["error"])
    except (KeyError, TypeError, ValueError):
        return text[:300]


class PeerHandler(Protocol):
    """What an agent answers its peers."""

    def answer_peer(self, caller: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """The reply to a call; :class:`PeerError` becomes an error for the caller."""

    def stream_to_peer(self, caller: str, path: str) -> Iterator[bytes]:
        """The pieces of a streamed body."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: PeerServer

    def setup(self) -> None:
        self.request.settimeout(_STREAM_SECONDS)
        self.request.do_handshake()
        super().setup()

    def do_GET(self) -> None:
        if self.path.startswith("/stream/"):
            self._stream()
        else:
            self._answer(None)

    def do_POST(self) -> None:
        self._answer(self.rfile.read(int(self.headers.get("Content-Length", "0"))))

    def log_message(self, *_args: Any) -> None:
        """The agent logs what it does, not who asked."""

    def _caller(self) -> str:
        certificate = self.request.getpeercert() or {}
        for part in certificate.get("subject", ()):
            for name, value in part:
                if name == "commonName":
                    return str(value)
        return ""

    def _admit(self, caller: str) -> None:
        if caller not in self.server.callers:
            raise PeerError(f"{caller or 'nobody'} is no database host of this estate")

    def _answer(self, body: bytes | None) -> None:
        caller = self._caller()
        status = http.client.OK
        try:
            self._admit(caller)
            request = None if body is None else json.loads(body or b"{}")
            reply = self.server.handler.answer_peer(caller, self.path, request)
        except PeerError as error:
            status, reply = http.client.CONFLICT, {"error": str(error)}
        except (KeyError, TypeError, ValueError) as error:
            # An agent of another version asks differently; it must hear that, not lose its connection.
            status, reply = http.client.BAD_REQUEST, {"error": f"not understood: {error!r}"}
        self._reply(status, reply)

    def _reply(self, status: int, reply: dict[str, Any]) -> None:
        data = json.dumps(reply).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def _stream(self) -> None:
        caller = self._caller()
        try:
            self._admit(caller)
            pieces = self.server.handler.stream_to_peer(caller, self.path)
            first = next(pieces, b"")
        except Exception as error:
            self._reply(http.client.CONFLICT, {"error": str(error)})
            return
        self.send_response(http.client.OK)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        # A failure on the way breaks the connection without the last chunk, so the reader knows that it has no whole.
        self._chunk(first)
        for piece in pieces:
            self._chunk(piece)
        self.wfile.write(b"0\r\n\r\n")

    def _chunk(self, data: bytes) -> None:
        if data:
            self.wfile.write(f"{len(data):x}\r\n".encode() + data + b"\r\n")


class PeerServer(ThreadingHTTPServer):
    """The HTTPS side of an agent. The handshake runs in the caller's own thread, so a silent client blocks nobody."""

    daemon_threads = True
    request_queue_size = 32

    def __init__(
        self,
        address: str,
        port: int,
        context: ssl.SSLContext,
        handler: PeerHandler,
        callers: frozenset[str],
    ) -> None:
        self.handler = handler
        self.callers = callers
        self._context = context
        super().__init__((address, port), _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        raw, address = super().get_request()
        return self._context.wrap_socket(raw, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A broken handshake or a client that left is no event."""


def serve(server: PeerServer) -> threading.Thread:
    """Run the server in a thread of its own."""
    thread = threading.Thread(target=server.serve_forever, name="peer", daemon=True)
    thread.start()
    return thread
