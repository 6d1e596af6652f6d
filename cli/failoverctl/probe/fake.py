"""Servers that fail on schedule, to find out how far the prober's figures are from the truth.

They speak as much of the MySQL protocol and of HTTP as the prober's clients need, on 127.0.0.2: a
port there is never taken by an outgoing connection, so a server can leave and come back. Packets of
the MySQL protocol: MariaDB knowledge base, "Client/Server Protocol".
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import socket
import struct
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from failoverctl.probe.model import Row

ADDRESS = "127.0.0.2"

WindowKind = Literal["refuse", "silent", "stall", "read_only"]
"""How a server fails.

``refuse``: no listener, connections are reset. ``silent``: nothing is answered, and afterwards only
what TCP would have sent again. ``stall``: everything waits and is answered at the end, as after
SIGSTOP. ``read_only``: MariaDB's error 1290.
"""

# When Linux sends again what was lost, in seconds after the first time: TCP_TIMEOUT_INIT for a
# SYN, TCP_RTO_MIN for data, doubled each time (include/net/tcp.h; RFC 6298 section 5.5).
_SYN_RETRIES = (1.0, 3.0, 7.0, 15.0)
_DATA_RETRIES = (0.2, 0.6, 1.4, 3.0, 6.2, 12.6)


@dataclass(frozen=True, slots=True)
class Window:
    """One programmed outage; ``start`` in seconds of CLOCK_MONOTONIC."""

    start: float
    seconds: float
    kind: WindowKind

    @property
    def end(self) -> float:
        """When it is over, in seconds of CLOCK_MONOTONIC."""
        return self.start + self.seconds


class FakeServer(ABC):
    """Listens on a port of its own and fails in its windows."""

    def __init__(self, windows: Iterable[Window] = ()) -> None:
        self.windows = tuple(sorted(windows, key=lambda window: window.start))
        self.port = 0
        self._listener: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen, and begin to keep the schedule."""
        await self._listen()
        self._spawn(self._keep_schedule())

    async def stop(self) -> None:
        """Close everything."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._leave()

    def window(self) -> Window | None:
        """Return the window that is open now."""
        now = time.monotonic()
        return next((w for w in self.windows if w.start <= now < w.end), None)

    @abstractmethod
    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""

    async def gate(self, retries: Sequence[float] = _DATA_RETRIES) -> None:
        """Hold what has just arrived for as long as the open window says."""
        arrived = time.monotonic()
        while (window := self.window()) is not None:
            if window.kind == "silent":
                again = next((arrived + r for r in retries if arrived + r >= window.end), None)
                await asyncio.sleep(3600.0 if again is None else again - time.monotonic())
            elif window.kind == "stall":
                await asyncio.sleep(window.end - time.monotonic())
            else:
                return

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _listen(self) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((ADDRESS, self.port))
        self.port = sock.getsockname()[1]
        self._listener = await asyncio.start_server(self._accept, sock=sock, backlog=512)

    async def _leave(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for writer in list(self._open):
            sock = writer.get_extra_info("socket")
            if sock is not None:
                # Lingering for no time makes the close a reset, as of a host that is gone.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _keep_schedule(self) -> None:
        for window in self.windows:
            if window.kind != "refuse":
                continue
            await asyncio.sleep(window.start - time.monotonic())
            await self._leave()
            await asyncio.sleep(window.end - time.monotonic())
            await self._listen()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        task = asyncio.current_task()
        if task is not None:
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        try:
            await self.gate(_SYN_RETRIES)
            await self.serve(reader, writer)
        except (OSError, EOFError, asyncio.CancelledError):
            # The client gave up, or the server is stopped.
            pass
        finally:
            self._open.discard(writer)
            writer.close()


Page = tuple[int, Mapping[str, str], bytes]


class FakeHttp(FakeServer):
    """An HTTP server that answers every path with what ``page(path)`` returns."""

    def __init__(self, page: Callable[[str], Page], windows: Iterable[Window] = ()) -> None:
        super().__init__(windows)
        self._page = page

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request and close."""
        head = await reader.readuntil(b"\r\n\r\n")
        await self.gate()
        status, headers, body = self._page(head.split(b" ", 2)[1].decode("latin-1"))
        lines = [f"HTTP/1.1 {status} Fake", f"Content-Length: {len(body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body)
        await writer.drain()


def text_page(server: str) -> Page:
    """Return a small page served by ``server``."""
    return 200, {"X-Served-By": server, "Content-Type": "text/plain"}, b"It works.\n"


def role_page(host: str, role: str, term: int, vips: Mapping[str, bool]) -> Page:
    """Return an answer of an agent's ``/role``."""
    body = {
        "schema": 1,
        "host": host,
        "role": role,
        "term": term,
        "writable": role == "primary",
        "vips": dict(vips),
        "at": "2026-01-01T00:00:00.000Z",
    }
    return 200, {"Content-Type": "application/json"}, json.dumps(body).encode()


class FakeDatabase:
    """The table of one host and the hosts that replicate from it."""

    def __init__(self, host: str, replicas: Sequence[FakeDatabase] = ()) -> None:
        self.host = host
        self.replicas = list(replicas)
        self.read_only = False
        self.rows: dict[str, list[Row]] = {}

    def insert(self, run_id: str, row: Row) -> None:
        """Add one row here and on the replicas."""
        self.rows.setdefault(run_id, []).append(row)
        for replica in self.replicas:
            replica.insert(run_id, row)


_INSERT = re.compile(r"INSERT INTO writes .*VALUES \('([^']*)', (\d+), (\d+), @@hostname\)")
_SELECT = re.compile(r"SELECT stream, seq, server FROM writes WHERE run_id = '([^']*)'")
_OK = b"\x00\x00\x00\x02\x00\x00\x00"
_EOF = b"\xfe\x00\x00\x02\x00"
_COM_QUIT, _COM_QUERY = 1, 3
# CLIENT_LONG_PASSWORD, CONNECT_WITH_DB, PROTOCOL_41, TRANSACTIONS, SECURE_CONNECTION, PLUGIN_AUTH.
_CAPABILITIES = 0x1 | 0x8 | 0x200 | 0x2000 | 0x8000 | 0x80000
_UTF8MB4 = 45


class FakeMysql(FakeServer):
    """Speaks to PyMySQL and keeps rows in ``database``, which may be exchanged at any time."""

    def __init__(self, database: FakeDatabase, windows: Iterable[Window] = ()) -> None:
        super().__init__(windows)
        self.database = database

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Log the client in without looking at its password, then answer its queries."""
        database = self.database
        salt = b"12345678", b"123456789012\x00"
        greeting = b"\x0a11.8.6-MariaDB-fake\x00" + struct.pack("<I", 1) + salt[0] + b"\x00"
        greeting += struct.pack("<HBH", _CAPABILITIES & 0xFFFF, _UTF8MB4, 2)
        greeting += struct.pack("<HB", _CAPABILITIES >> 16, 21)
        greeting += bytes(10) + salt[1] + b"mysql_native_password\x00"
        await _send(writer, 0, [greeting])
        await _receive(reader)
        await self.gate()
        await _send(writer, 2, [_OK])
        while True:
            packet = await _receive(reader)
            await self.gate()
            if not packet or packet[0] == _COM_QUIT:
                return
            if packet[0] == _COM_QUERY:
                await _send(writer, 1, self._answer(database, packet[1:].decode("utf-8")))
            else:
                await _send(writer, 1, [_OK])

    def _answer(self, database: FakeDatabase, statement: str) -> list[bytes]:
        if found := _INSERT.search(statement):
            window = self.window()
            if database.read_only or (window is not None and window.kind == "read_only"):
                text = "The MariaDB server is running with the --read-only option"
                return [b"\xff" + struct.pack("<H", 1290) + b"#HY000" + text.encode()]
            row = Row(int(found[2]), int(found[3]), database.host)
            database.insert(found[1], row)
            return _result(["server"], [[row.server]])
        if found := _SELECT.search(statement):
            rows = database.rows.get(found[1], [])
            cells = [[str(row.stream), str(row.seq), row.server] for row in rows]
            return _result(["stream", "seq", "server"], cells)
        return [_OK]


async def _receive(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readexactly(4)
    return await reader.readexactly(int.from_bytes(head[:3], "little"))


async def _send(writer: asyncio.StreamWriter, sequence: int, packets: Sequence[bytes]) -> None:
    data = bytearray()
    for packet in packets:
        data += len(packet).to_bytes(3, "little") + bytes([sequence % 256]) + packet
        sequence += 1
    writer.write(bytes(data))
    await writer.drain()


def _text(value: str) -> bytes:
    data = value.encode()
    if len(data) >= 251:
        raise ValueError("longer than a one-byte length can say")
    return bytes([len(data)]) + data


def _result(names: Sequence[str], rows: Iterable[Sequence[str]]) -> list[bytes]:
    packets = [bytes([len(names)])]
    for name in names:
        # catalog, schema, table, original table, name, original name; then the fixed fields.
        column = _text("def") + _text("") * 3 + _text(name) * 2
        column += b"\x0c" + struct.pack("<HIBHB", _UTF8MB4, 256, 0xFD, 0, 0) + b"\x00\x00"
        packets.append(column)
    packets.append(_EOF)
    packets += [b"".join(_text(cell) for cell in row) for row in rows]
    packets.append(_EOF)
    return packets


class Servers:
    """Runs fake servers in a thread, as a context manager."""

    def __init__(self, servers: Sequence[FakeServer]) -> None:
        self._servers = servers
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Servers:
        """Start all servers; their ports are known afterwards."""
        self._thread.start()
        for server in self._servers:
            asyncio.run_coroutine_threadsafe(server.start(), self._loop).result(10.0)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop all servers."""
        for server in self._servers:
            with contextlib.suppress(TimeoutError):
                asyncio.run_coroutine_threadsafe(server.stop(), self._loop).result(5.0)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(5.0)
        self._loop.close()
