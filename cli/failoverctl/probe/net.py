"""Sockets that keep one deadline for a whole operation, and a small HTTP GET on top of them.

A time-out per system call would let an operation of five calls take five time-outs. Here every call
gets only what is left until the deadline (CLOCK_MONOTONIC, seconds).
"""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from _typeshed import ReadableBuffer, WriteableBuffer

_MAX_HEAD_BYTES = 65_536
_MAX_BODY_BYTES = 4_194_304


class DeadlineSocket(socket.socket):
    """A TCP socket whose blocking calls all end at ``deadline``.

    ``settimeout`` of callers (PyMySQL sets one before each read and write) is ignored on purpose:
    the deadline is the only limit. Calls raise TimeoutError when it has passed.
    """

    deadline: float = float("inf")

    def _arm(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("timed out")
        super().settimeout(left)

    def settimeout(self, value: float | None, /) -> None:
        """Keep the deadline; the caller's own time-out has no effect."""

    def connect(self, address: object, /) -> None:
        """Connect before the deadline. Raises OSError, TimeoutError."""
        self._arm()
        super().connect(address)  # type: ignore[arg-type]

    def sendall(self, data: ReadableBuffer, flags: int = 0, /) -> None:
        """Send everything before the deadline. Raises OSError, TimeoutError."""
        self._arm()
        super().sendall(data, flags)

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        """Receive before the deadline. Raises OSError, TimeoutError."""
        self._arm()
        return super().recv(bufsize, flags)

    def recv_into(self, buffer: WriteableBuffer, nbytes: int = 0, flags: int = 0, /) -> int:
        """Receive before the deadline; files made by ``makefile`` come here. Raises OSError."""
        self._arm()
        return super().recv_into(buffer, nbytes, flags)

    def is_quiet(self) -> bool:
        """Return whether an idle connection is still usable: open and with nothing to read.

        A server that closed or killed an idle connection has left an end-of-file, a reset or an
        error packet behind; good connection pools look for it before they send (go-sql-driver's
        ``connCheck`` does the same).
        """
        poller = select.poll()
        poller.register(self.fileno(), select.POLLIN | select.POLLERR | select.POLLHUP)
        return not poller.poll(0)


def connect(host: str, port: int, deadline: float) -> DeadlineSocket:
    """Return a connected socket without Nagle's delay. Raises OSError, TimeoutError.

    ``host`` should be an address: a name is resolved first, and the resolver knows no deadline.
    """
    family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    sock = DeadlineSocket(family, kind, protocol)
    try:
        sock.deadline = deadline
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.connect(address)
    except BaseException:
        sock.close()
        raise
    return sock


class HttpError(OSError):
    """The answer is no valid HTTP/1.x answer, or ended too early."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """Status, headers (names in lower case) and body of one answer."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def http_get(host: str, port: int, host_header: str, path: str, deadline: float) -> HttpAnswer:
    """Fetch one page over a new connection and return the whole answer.

    Redirects are not followed. HTTP/1.0 is asked for, so that the body ends with the connection or
    with Content-Length and is never chunked (RFC 9112 sections 6.1 and 6.3).
    Raises OSError (TimeoutError at the deadline, HttpError for a broken answer).
    """
    with connect(host, port, deadline) as sock:
        sock.sendall(
            f"GET {path} HTTP/1.0\r\nHost: {host_header}\r\nUser-Agent: failoverctl-probe\r\n"
            "Accept: */*\r\nConnection: close\r\n\r\n".encode("ascii")
        )
        data = bytearray()
        while (end := data.find(b"\r\n\r\n")) < 0:
            part = sock.recv(16_384)
            if not part:
                raise HttpError("connection closed before the answer was complete")
            data += part
            if len(data) > _MAX_HEAD_BYTES:
                raise HttpError(f"more than {_MAX_HEAD_BYTES} bytes of headers")
        status, headers = _parse_head(bytes(data[:end]))
        body = data[end + 4 :]
        length = headers.get("content-length")
        wanted = int(length) if length is not None and length.isdigit() else None
        while wanted is None or len(body) < wanted:
            part = sock.recv(65_536)
            if not part:
                break
            body += part
            if len(body) > _MAX_BODY_BYTES:
                raise HttpError(f"more than {_MAX_BODY_BYTES} bytes of body")
        if wanted is not None and len(body) < wanted:
            raise HttpError(f"body ended after {len(body)} of {wanted} bytes")
        return HttpAnswer(status, headers, bytes(body))


def _parse_head(head: bytes) -> tuple[int, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ", 2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not words[1].isdigit():
        raise HttpError(f"no HTTP status line: {lines[0][:60]!r}")
    headers = {}
    for line in lines[1:]:
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    return int(words[1]), headers


def describe(error: BaseException) -> str:
    """Return a short text for an error, without addresses that differ from run to run."""
    if isinstance(error, TimeoutError):
        return "timed out"
    if isinstance(error, ConnectionRefusedError):
        return "connection refused"
    if isinstance(error, ConnectionResetError | BrokenPipeError):
        return "connection reset"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return str(error) or type(error).__name__
