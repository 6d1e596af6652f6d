"""The clients of the prober: one insert, one page, and the outcome of each in honest words."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import pymysql
from pymysql.constants import CR

from failoverctl.probe import net
from failoverctl.probe.model import HttpTarget, Outcome, Reader, Row, WriteTarget

if TYPE_CHECKING:
    from collections.abc import Sequence

# Numbers: MariaDB knowledge base, "MariaDB Error Code Reference". After these answers the statement
# has certainly not been committed. Everything else that goes wrong once the statement may have been
# sent counts as unknown, in particular 1053 and 1927 (shutdown, connection killed): with lossless
# semi-sync a row can be in the binary log of the old primary at that moment.
NOT_COMMITTED = frozenset(
    {
        1040,  # too many connections
        1044,  # access denied to the database
        1045,  # access denied for the user
        1047,  # unknown command; Galera: node not ready for use
        1049,  # unknown database
        1129,  # host is blocked
        1130,  # host is not allowed to connect
        1142,  # command denied
        1146,  # no such table
        1203,  # user has too many connections
        1205,  # lock wait time-out, the statement was rolled back
        1213,  # deadlock, the transaction was rolled back
        1226,  # resource limit of the user
        1290,  # --read-only
        1792,  # read-only transaction
        1836,  # server is in read-only mode
    }
)
_CLIENT_ERRORS = range(CR.CR_ERROR_FIRST, 2100)  # PyMySQL's own numbers, not the server's


@dataclass(frozen=True, slots=True)
class Reply:
    """How one attempt ended; ``server`` is who acknowledged it, ``error`` a short text."""

    outcome: Outcome
    server: str | None = None
    error: str | None = None


class WriteClient(Protocol):
    """One writer of the probe. Called from several threads at once while its target is slow."""

    def write(self, stream: int, seq: int, deadline: float) -> Reply:
        """Insert the row (stream, seq) once, never twice, and return before ``deadline``.

        ``deadline`` is in seconds of CLOCK_MONOTONIC. Never raises for what the target does.
        """
        ...

    def close(self) -> None:
        """Let go of the connections that are idle."""
        ...


class PageClient(Protocol):
    """The HTTP client of the probe."""

    def fetch(self, deadline: float) -> Reply:
        """Fetch the page over a new connection and return before ``deadline``."""
        ...


class _Connection:
    """One PyMySQL connection on a socket that keeps the deadline of the current operation."""

    def __init__(self, host: str, port: int, user: str, password: str, database: str, deadline: float) -> None:
        self._sock = net.connect(host, port, deadline)
        try:
            self._session = pymysql.connect(
                host=host,
                port=port,
                user=user,
                password=password,
                database=database,
                charset="utf8mb4",
                autocommit=True,
                defer_connect=True,
                # Making a TLS context costs 20 ms of CPU per connection, and the TLS layer would take
                # the socket and its deadline away. The password is not sent in clear either way.
                ssl_disabled=True,
            )
            self._session.connect(self._sock)
        except BaseException:
            self._sock.close()
            raise

    def arm(self, deadline: float) -> None:
        self._sock.deadline = deadline

    def is_usable(self) -> bool:
        return self._sock.is_quiet()

    def query(self, statement: str, values: Sequence[object]) -> tuple[tuple[object, ...], ...]:
        with self._session.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()

    def close(self) -> None:
        # Without COM_QUIT: it could block, and a server ends the session by the closed socket as
        # well.
        self._sock.close()


class MysqlWriter:
    """One writer with a persistent connection to MariaDB, reconnecting after every error.

    While an operation is stuck the next ones are sent on additional connections, because the plan
    does not wait. One idle connection is kept, the others are closed when they come back, so a
    quiet writer costs the server one connection.
    """

    _INSERT = "INSERT INTO writes (run_id, stream, seq, server) VALUES (%s, %s, %s, @@hostname) RETURNING server"

    def __init__(self, target: WriteTarget, run_id: str) -> None:
        self._target = target
        self._run_id = run_id
        self._idle: _Connection | None = None
        self._lock = threading.Lock()

    def write(self, stream: int, seq: int, deadline: float) -> Reply:
        """Insert one row; see WriteClient.write."""
        try:
            connection = self._take(deadline)
        except (OSError, pymysql.MySQLError) as error:
            return Reply("fail", error=_text(error, "connecting"))
        try:
            rows = connection.query(self._INSERT, (self._run_id, stream, seq))
            server = str(rows[0][0])
        except (OSError, pymysql.MySQLError, IndexError) as error:
            connection.close()
            return Reply(_outcome_after_sending(error), error=_text(error, "writing"))
        self._give_back(connection)
        return Reply("ok", server=server)

    def close(self) -> None:
        """Close the idle connection."""
        with self._lock:
            connection, self._idle = self._idle, None
        if connection is not None:
            connection.close()

    def _take(self, deadline: float) -> _Connection:
        with self._lock:
            connection, self._idle = self._idle, None
        if connection is not None:
            if connection.is_usable():
                connection.arm(deadline)
                return connection
            connection.close()
        target = self._target
        return _Connection(target.host, target.port, target.user, target.password, target.database, deadline)

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if self._idle is None:
                self._idle = connection
                return
        connection.close()


class HttpClient:
    """Fetches the page; good is a complete answer with a status below 400."""

    def __init__(self, target: HttpTarget) -> None:
        self._target = target

    def fetch(self, deadline: float) -> Reply:
        """Fetch the page once; see PageClient.fetch.

        A page that was not received is a failed request, also after a time-out: unlike a write it
        leaves nothing behind whose fate could be unknown.
        """
        target = self._target
        try:
            answer = net.http_get(target.host, target.port, target.host_header, target.path, deadline)
        except (OSError, ValueError) as error:
            return Reply("fail", error=net.describe(error))
        server = answer.headers.get("x-served-by")
        if answer.status < 400:
            return Reply("ok", server=server)
        return Reply("fail", server=server, error=f"status {answer.status}")


def read_rows(reader: Reader, target: WriteTarget, run_id: str, timeout_seconds: float) -> tuple[Row, ...]:
    """Return the run's rows on one host, read from its own address.

    Raises OSError or pymysql.MySQLError when the host does not answer within ``timeout_seconds``.
    """
    deadline = time.monotonic() + timeout_seconds
    connection = _Connection(reader.address, reader.port, target.user, target.password, target.database, deadline)
    try:
        rows = connection.query(
            "SELECT stream, seq, server FROM writes WHERE run_id = %s ORDER BY stream, seq",
            (run_id,),
        )
    finally:
        connection.close()
    return tuple(Row(int(str(stream)), int(str(seq)), str(server)) for stream, seq, server in rows)


def remove_old_rows(target: WriteTarget, timeout_seconds: float = 5.0) -> bool:
    """Remove the rows of earlier runs that are older than a week; return whether that went well.

    So the table stays small, and the rows of recent runs stay there as evidence.
    """
    deadline = time.monotonic() + timeout_seconds
    try:
        connection = _Connection(target.host, target.port, target.user, target.password, target.database, deadline)
    except (OSError, pymysql.MySQLError):
        return False
    try:
        # Bounded: one statement must never hold up replication.
        connection.query("DELETE FROM writes WHERE term_at < NOW() - INTERVAL 7 DAY LIMIT %s", (20_000,))
    except (OSError, pymysql.MySQLError):
        return False
    finally:
        connection.close()
    return True


def _number(error: BaseException) -> int | None:
    if isinstance(error, pymysql.MySQLError) and error.args and isinstance(error.args[0], int):
        return error.args[0]
    return None


def _outcome_after_sending(error: BaseException) -> Outcome:
    return "fail" if _number(error) in NOT_COMMITTED else "info"


def _text(error: BaseException, phase: str) -> str:
    number = _number(error)
    if number is None:
        return f"{phase}: {net.describe(error)}"
    cause: BaseException | None = getattr(error, "original_exception", None) or error.__context__
    if number in _CLIENT_ERRORS and isinstance(cause, OSError):
        return f"{phase}: {net.describe(cause)}"
    text = str(error.args[1]) if len(error.args) > 1 else ""
    return f"{phase}: {number} {text}"[:120].strip()
