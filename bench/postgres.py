"""A writer of the probe for PostgreSQL, on libpq without blocking, so that every operation keeps its deadline.

It does what `failoverctl.probe.clients.MysqlWriter` does: one persistent connection, a new one after
every error, more while one is stuck. The connection string names all hosts and asks for one that
takes writes, so no address has to move (libpq, 32.1.1 "Specifying Multiple Hosts"). A host that does not even refuse
comes last the next time, as drivers do that remember it: libpq would wait for it anew at each connection.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Sequence

from failoverctl.probe.clients import Reply
from failoverctl.probe.model import Outcome, Reader, Row, Target, WriteTarget
from psycopg import Error as PostgresError
from psycopg import pq

CREATE_TABLE = (
    "CREATE TABLE writes (run_id varchar(64), stream int, seq bigint, server varchar(64) NOT NULL, "
    "term_at timestamptz NOT NULL DEFAULT clock_timestamp(), PRIMARY KEY (run_id, stream, seq))"
)
"""The table as the role mariadb makes it."""

_INSERT = (
    b"INSERT INTO writes (run_id, stream, seq, server) VALUES ($1, $2, $3, host(inet_server_addr())) RETURNING server"
)
_SELECT = b"SELECT stream, seq, server FROM writes WHERE run_id = $1 ORDER BY stream, seq"

# PostgreSQL manual, appendix A "Error Codes". After these the row has certainly not been committed:
# classes of errors in the statement, and single conditions in which none is carried out. Everything
# else leaves it unknown, in particular 57P01 (terminated by an administrator): the transaction may
# have been committed on the old primary.
_NOT_COMMITTED_CLASSES = frozenset({"0A", "22", "23", "28", "3D", "3F", "40", "42", "53"})
_NOT_COMMITTED = frozenset({"25006", "55P03", "57014", "57P03"})


def outcome_of(state: str | None) -> Outcome:
    """Return how a statement ended that was answered by this SQLSTATE, or by none."""
    if state is None:
        return "info"
    # A statement cancelled while it waits for the standby is committed all the same, but that is
    # answered by a warning and success, not by 57014. 40003 says that nobody knows.
    if state == "40003":
        return "info"
    return "fail" if state in _NOT_COMMITTED or state[:2] in _NOT_COMMITTED_CLASSES else "info"


class StatementError(Exception):
    """The server answered with an error; ``state`` is its SQLSTATE, None when it just went away."""

    def __init__(self, text: str, state: str | None) -> None:
        super().__init__(text)
        self.state = state


class _Connection:
    """One libpq connection; everything on it ends at the deadline it was last armed with."""

    def __init__(self, conninfo: str, deadline: float) -> None:
        self.deadline = deadline
        self._pg = pq.PGconn.connect_start(conninfo.encode())
        try:
            self._connect()
        except BaseException:
            self._pg.finish()
            raise

    def is_usable(self) -> bool:
        """Say whether the server has said nothing unasked, such as good-bye."""
        return not _ready(self._pg.socket, False, 0.0)

    def query(self, statement: bytes, values: Sequence[object]) -> list[tuple[str, ...]]:
        """Run one statement. Raises StatementError or OSError."""
        try:
            self._pg.send_query_params(statement, [str(value).encode() for value in values])
            while self._pg.flush():
                self._wait(write=True)
            result = self._result()
        except PostgresError as error:
            raise StatementError(_line(str(error)), None) from error
        if result.status != pq.ExecStatus.TUPLES_OK:
            state = result.error_field(pq.DiagnosticField.SQLSTATE)
            raise StatementError(_line(result.get_error_message()), state.decode() if state else None)
        return [
            tuple((result.get_value(row, column) or b"").decode() for column in range(result.nfields))
            for row in range(result.ntuples)
        ]

    def close(self) -> None:
        """Close the socket."""
        self._pg.finish()

    def _connect(self) -> None:
        while True:
            status = self._pg.connect_poll()
            if status == pq.PollingStatus.OK:
                self._pg.nonblocking = 1
                return
            if status == pq.PollingStatus.FAILED:
                raise ConnectionError(_line(self._pg.get_error_message()))
            self._wait(write=status == pq.PollingStatus.WRITING)

    def _result(self) -> pq.abc.PGresult:
        """Return the last result of the statement; the first one that is an error, if any is."""
        found: pq.abc.PGresult | None = None
        while True:
            while self._pg.is_busy():
                self._wait(write=False)
                self._pg.consume_input()
            result = self._pg.get_result()
            if result is None:
                break
            if found is None or found.status == pq.ExecStatus.TUPLES_OK:
                found = result
        if found is None:
            raise ConnectionError("no answer")
        return found

    def _wait(self, *, write: bool) -> None:
        if not _ready(self._pg.socket, write, self.deadline - time.monotonic()):
            raise TimeoutError("timed out")


class PostgresWriter:
    """One writer of the probe; see `failoverctl.probe.clients.WriteClient`."""

    def __init__(self, target: Target) -> None:
        if target.write is None:
            raise ValueError("a writer needs target.write")
        hosts = target.write.host.split(",")
        orders = (",".join(hosts[number:] + hosts[:number]) for number in range(len(hosts)))
        self._conninfos = [conninfo(target.write, order, "read-write") for order in orders]
        self._run_id = target.run_id
        self._names = {reader.address: reader.host for reader in target.readers}
        self._idle: _Connection | None = None
        self._lock = threading.Lock()

    def write(self, stream: int, seq: int, deadline: float) -> Reply:
        """Insert one row and say which host took it."""
        try:
            connection = self._take(deadline)
        except (OSError, PostgresError) as error:
            return Reply("fail", error=f"connecting: {_line(str(error))}")
        try:
            address = connection.query(_INSERT, (self._run_id, stream, seq))[0][0]
        except StatementError as error:
            connection.close()
            return Reply(outcome_of(error.state), error=f"writing: {error.state or ''} {error}".replace("  ", " "))
        except (OSError, IndexError) as error:
            connection.close()
            return Reply("info", error=f"writing: {error}")
        self._give_back(connection)
        return Reply("ok", server=self._names.get(address, address))

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
                connection.deadline = deadline
                return connection
            connection.close()
        with self._lock:
            words = self._conninfos[0]
        try:
            return _Connection(words, deadline)
        except TimeoutError:
            self._put_last(words)
            raise

    def _put_last(self, words: str) -> None:
        with self._lock:
            if self._conninfos[0] == words:
                self._conninfos.append(self._conninfos.pop(0))

    def _give_back(self, connection: _Connection) -> None:
        with self._lock:
            if self._idle is None:
                self._idle = connection
                return
        connection.close()


def read_rows(reader: Reader, target: WriteTarget, run_id: str, timeout_seconds: float) -> tuple[Row, ...]:
    """Return the run's rows on one host. Raises OSError when it does not answer in time."""
    deadline = time.monotonic() + timeout_seconds
    connection = _Connection(conninfo(target, reader.address, "any", port=reader.port), deadline)
    try:
        rows = connection.query(_SELECT, (run_id,))
    except StatementError as error:
        raise OSError(str(error)) from error
    finally:
        connection.close()
    return tuple(Row(int(stream), int(seq), server) for stream, seq, server in rows)


def conninfo(target: WriteTarget, hosts: str, attributes: str, *, port: int | None = None) -> str:
    """Return libpq's connection string; ``hosts`` are addresses separated by commas.

    Without TLS, as the prober's MariaDB client does: a handshake costs the machine 20 ms of CPU.
    """
    return (
        f"host={hosts} port={port or target.port} user={target.user} password={target.password} "
        f"dbname={target.database} target_session_attrs={attributes} sslmode=disable gssencmode=disable"
    )


def _ready(descriptor: int, write: bool, seconds: float) -> bool:
    if seconds < 0:
        return False
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT if write else select.POLLIN)
    return bool(poll.poll(seconds * 1000.0))


def _line(text: str) -> str:
    return " ".join(text.split())[:120]
