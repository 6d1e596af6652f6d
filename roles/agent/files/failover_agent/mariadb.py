# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The local MariaDB, over its unix socket as root (authenticated by the socket, so there is no password to keep).

Clients can take all connections that this socket shares with the port for clients (``max_connections``); one more is
for administrators, and one of them may hold it. Clients that wait for a replica hold theirs until it acknowledges, so
that neither the replica nor the agent may depend on them. Both have a port with connections of its own for that
(MariaDB Server Documentation, ``extra_port`` and ``extra_max_connections``): replicas use it always, the agent when the
socket is refused, with its certificate and an account that is let in from this host only.
"""

from __future__ import annotations

import contextlib
import re
import socket
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pymysql
import pymysql.cursors

from failover_agent import binlog, gtid
from failover_agent.config import Config, Pki
from failover_agent.gates import REQUIRED_SETTINGS, Activity
from failover_agent.model import Ballot, Database, Replication

#: Statements as they show in the process list, perhaps behind comments.
_COMMENTS = r"\s*(?:/\*.*?\*/\s*)*"
_SCHEMA_CHANGE = re.compile(rf"{_COMMENTS}(ALTER|CREATE|DROP|OPTIMIZE|RENAME|TRUNCATE|REPAIR)\b", re.IGNORECASE)
_BACKUP = re.compile(rf"{_COMMENTS}(BACKUP\s+STAGE|FLUSH\s+TABLES)\b", re.IGNORECASE)
_POSITIONS = "SELECT @@gtid_binlog_pos AS binlog, @@gtid_slave_pos AS applied, @@server_id AS server_id"
_CAUGHT_UP = "has sent all binlog"
#: The state of a thread that met a full disk. It tries again once a minute; KILL ends it at once, SHUTDOWN does not.
_NO_SPACE = "Waiting for someone to free space"
#: Too many connections (ER_CON_COUNT_ERROR).
_FULL = 1040
_LOOPBACK = "127.0.0.1"
#: How long another server's port may take to answer, in seconds.
_PORT_SECONDS = 0.5


class DatabaseError(Exception):
    """A statement failed, timed out or the server is away; the text names the statement.

    ``timed_out`` says that the server took the connection or the statement and gave no answer: it hangs. ``full`` says
    that it took no connection because clients hold all of them.
    """

    def __init__(self, message: str, *, timed_out: bool = False, full: bool = False) -> None:
        super().__init__(message)
        self.timed_out = timed_out
        self.full = full


@dataclass(frozen=True)
class Received:
    """What a replica has received, and whether that can still grow.

    ``position`` is all that this server received, ``applied`` what is applied of it. ``unapplied`` says that there is
    more in the relay log. ``error`` is that of the SQL thread. ``errant`` is the newest transaction that it wrote
    itself, which is no part of either.
    """

    io_stopped: bool
    sql_running: bool
    position: str
    applied: str
    unapplied: bool
    error: str = ""
    errant: str = ""


class Connection:
    """One open connection. ``timeout`` is seconds for one statement.

    ``place`` is the path of a unix socket; or a TCP port of this host, where ``user`` shows the certificate of ``pki``.
    """

    def __init__(self, place: str | int, timeout: float, *, user: str = "root", pki: Pki | None = None) -> None:
        where: dict[str, Any] = {"unix_socket": place} if isinstance(place, str) else {"host": _LOOPBACK, "port": place}
        if pki is not None:
            where["ssl"] = {"ca": pki.ca, "cert": pki.certificate, "key": pki.key}
        try:
            self._raw = pymysql.connect(
                **where,
                user=user,
                autocommit=True,
                connect_timeout=max(1, round(timeout)),
                read_timeout=timeout,
                write_timeout=timeout,
                cursorclass=pymysql.cursors.DictCursor,
            )
        except (pymysql.Error, OSError) as error:
            full = isinstance(error, pymysql.Error) and error.args[:1] == (_FULL,)
            text = f"cannot connect to {place}: {error}"
            raise DatabaseError(text, timed_out=_timed_out(error), full=full) from error
        #: The server's id of this connection, as ``KILL`` wants it.
        self.thread_id = int(self.value("SELECT CONNECTION_ID()"))

    def rows(self, statement: str, arguments: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """Run a statement and return its rows (empty for one without a result).

        :raises DatabaseError: it failed or the server is away.
        """
        try:
            with self._raw.cursor() as cursor:
                cursor.execute(statement, tuple(arguments) or None)
                return list(cursor.fetchall())
        except (pymysql.Error, OSError) as error:
            text = f"{statement.split(chr(10))[0][:120]}: {error}"
            raise DatabaseError(text, timed_out=_timed_out(error)) from error

    def run(self, *statements: str) -> None:
        """Run statements in order; the first failure ends it."""
        for statement in statements:
            self.rows(statement)

    def value(self, statement: str, arguments: Sequence[Any] = ()) -> Any:
        """The first column of the first row, or None."""
        rows = self.rows(statement, arguments)
        return next(iter(rows[0].values())) if rows else None

    def close(self) -> None:
        """Close it; never fails."""
        try:
            self._raw.close()
        except (pymysql.Error, OSError):
            return


class MariaDB:
    """What the agent does with the local server. Not thread-safe: the agent serialises its acts."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._kept: Connection | None = None
        self._listens = config.replication_port

    def connect(self, timeout: float) -> Connection:
        """A connection of one's own, for an act that must not share one."""
        try:
            return self._by_socket(timeout)
        except DatabaseError as error:
            if not error.full:
                raise
            try:
                return self._by_port(timeout)
            except DatabaseError as other:
                raise DatabaseError(f"{error}; {other}", timed_out=other.timed_out, full=other.full) from other

    def _by_socket(self, timeout: float) -> Connection:
        return Connection(self._config.database_socket, timeout)

    def _by_port(self, timeout: float) -> Connection:
        config = self._config
        return Connection(config.replication_port, timeout, user=config.database_user, pki=config.pki)

    def client_options(self) -> list[str]:
        """How programs of MariaDB reach this server as an administrator: a backup needs more than one connection, so
        over the port that clients cannot use up, unless the server has none yet.
        """
        config = self._config
        try:
            self._by_port(2.0).close()
        except DatabaseError:
            return ["--user=root", f"--socket={config.database_socket}"]
        return [
            f"--user={config.database_user}",
            f"--host={_LOOPBACK}",
            f"--port={config.replication_port}",
            "--ssl",
            f"--ssl-ca={config.pki.ca}",
            f"--ssl-cert={config.pki.certificate}",
            f"--ssl-key={config.pki.key}",
        ]

    def observe(self) -> Database:
        """The state of the server; ``running`` is False (with the error) when it does not answer within 2 s.

        ``hung`` is then True if it took the connection: the process exists, and is stopped or stuck.
        """
        try:
            connection = self._connection()
            return read_database(connection, self._config.hosts)
        except DatabaseError as error:
            self.forget()
            return Database(running=False, hung=error.timed_out, error=str(error))

    def forget(self) -> None:
        """Drop the kept connection, after an error or when the server is about to stop."""
        if self._kept is not None:
            self._kept.close()
            self._kept = None

    @property
    def lacks(self) -> str:
        """What this server will have only when it is started again; empty when nothing."""
        port = self._config.replication_port
        if self._listens == port:
            return ""
        return f"MariaDB does not listen on port {port} yet: clients that use up its connections can lock replicas out"

    @staticmethod
    def settings(connection: Connection) -> tuple[tuple[str, str], ...]:
        """The settings that :data:`REQUIRED_SETTINGS` judges."""
        names = ", ".join(f"@@{name} AS {name}" for name in REQUIRED_SETTINGS)
        return tuple((k, str(v)) for k, v in connection.rows(f"SELECT {names}")[0].items())

    def activity(self, connection: Connection) -> Activity:
        """What runs on the server that a switchover would disturb, this connection left out."""
        oldest = connection.value(
            "SELECT COALESCE(MAX(TIMESTAMPDIFF(MICROSECOND, trx_started, NOW(6))) / 1e6, 0)"
            " FROM information_schema.innodb_trx WHERE trx_mysql_thread_id NOT IN (0, CONNECTION_ID())"
        )
        statements = connection.rows(
            "SELECT info FROM information_schema.processlist"
            " WHERE command IN ('Query', 'Execute') AND user != 'system user'"
            " AND id != CONNECTION_ID() AND info IS NOT NULL"
        )
        texts = [" ".join(str(row["info"]).split()) for row in statements]
        return Activity(
            oldest_transaction_seconds=max(0.0, float(oldest or 0.0)),
            schema_changes=tuple(text[:120] for text in texts if _SCHEMA_CHANGE.match(text)),
            backups=tuple(text[:120] for text in texts if _BACKUP.match(text)),
        )

    # ---- acts

    def make_read_only(self, connection: Connection, limit: float) -> None:
        """``read_only=1``, waiting at most ``limit`` seconds for running commits.

        :raises DatabaseError: it did not happen in time; the setting is then off.
        """
        connection.run(f"SET SESSION lock_wait_timeout={max(1, round(limit))}", "SET GLOBAL read_only=1")

    def make_writable(self, connection: Connection) -> None:
        """``read_only=0``: the undo of a fence."""
        connection.run("SET GLOBAL read_only=0")

    def position(self, connection: Connection) -> str:
        """Everything this server holds, read until ``gtid_binlog_pos`` stands still.

        :raises DatabaseError: it still moves after ten readings, so somebody writes through the fence.
        """
        last = connection.rows(_POSITIONS)[0]
        for _reading in range(10):
            again = connection.rows(_POSITIONS)[0]
            if again == last:
                return str(_merged(again))
            last = again
        raise DatabaseError(f"gtid_binlog_pos still moves under read_only: {last['binlog']}")

    def wait_for(self, connection: Connection, position: str, limit: float) -> bool:
        """Whether the server has applied ``position`` (or reaches it within ``limit`` seconds)."""
        if _has(connection.rows(_POSITIONS)[0], gtid.parse(position)):
            return True
        return bool(connection.value("SELECT MASTER_GTID_WAIT(%s, %s)", (position, limit)) == 0)

    def kill_clients(self, connection: Connection, keep: Iterable[int] = (), *, privileged_only: bool = False) -> int:
        """End client sessions (not replication, not ``keep``); how many.

        ``privileged_only`` takes just those that ``read_only`` does not stop.
        """
        kept = {connection.thread_id, *keep}
        if self._kept is not None:
            kept.add(self._kept.thread_id)
        rows = connection.rows(
            "SELECT id, user FROM information_schema.processlist"
            " WHERE command NOT LIKE 'Binlog Dump%' AND command != 'Daemon'"
            " AND user NOT IN ('system user', 'event_scheduler')"
        )
        writers = _read_only_admins(connection) if privileged_only else None
        killed = 0
        for row in rows:
            if int(row["id"]) in kept or (writers is not None and row["user"] not in writers):
                continue
            try:
                connection.run(f"KILL CONNECTION {int(row['id'])}")
                killed += 1
            except DatabaseError:
                continue  # It ended by itself between the two statements.
        return killed

    def promote(self, connection: Connection, position: str, *, wait_for_replica: bool, limit: float) -> None:
        """Become writable: everything up to ``position`` applied, no replication of its own, semi-sync as told.

        :raises DatabaseError: ``position`` was not reached within ``limit`` seconds; nothing is changed then.
        """
        if not self.wait_for(connection, position, limit):
            raise DatabaseError(f"{position} was not applied within {limit:g} s")
        connection.run(
            "STOP SLAVE",
            "RESET SLAVE ALL",
            f"SET GLOBAL rpl_semi_sync_master_enabled={int(wait_for_replica)}",
            "SET GLOBAL read_only=0",
        )

    def wait_for_replicas(self, *, enabled: bool) -> None:
        """Semi-sync of the primary on or off."""
        try:
            self._connection().run(f"SET GLOBAL rpl_semi_sync_master_enabled={int(enabled)}")
        except DatabaseError:
            self.forget()  # Nothing more is said in a session in which this may still be carried out.
            raise

    def received(self, connection: Connection) -> Received:
        """What the server has received as a replica, applied or not.

        A server that was just started says nothing about its relay log; then the files are read. What is applied of it
        is told by ``gtid_slave_pos`` alone: a write of this server's own may have taken the next number.
        """
        positions = connection.rows(_POSITIONS)[0]
        rows = connection.rows("SHOW SLAVE STATUS")
        if not rows:
            holds = str(_merged(positions))
            return Received(True, False, holds, holds, False)
        row = rows[0]
        applied = gtid.parse(str(positions["applied"] or ""))
        told = gtid.parse(str(row.get("Gtid_IO_Pos") or ""))
        newer = [each for each in told.last if binlog.beyond(each, applied)]
        if not told:
            try:
                newer = [each.gtid for each in binlog.transactions(self.relay_log(), applied)]
            except binlog.BinlogError as error:
                raise DatabaseError(f"the relay log cannot be read: {error}") from error
        return Received(
            io_stopped=str(row["Slave_IO_Running"]) == "No",
            sql_running=str(row["Slave_SQL_Running"]) == "Yes",
            position=str(binlog.position_of(newer, applied)),
            applied=str(applied),
            unapplied=bool(newer),
            error=str(row.get("Last_SQL_Error") or ""),
            errant=errant(positions),
        )

    @staticmethod
    def applied(connection: Connection) -> gtid.Position:
        """What is applied of what was received."""
        return gtid.parse(str(connection.rows(_POSITIONS)[0]["applied"] or ""))

    def relay_log(self) -> list[Path]:
        """The files of the relay log."""
        index = next(iter(sorted(Path(self._config.database_directory).glob("*relay*.index"))), None)
        return binlog.log_files(index) if index else []

    def attach(
        self,
        connection: Connection,
        address: str,
        *,
        acknowledge: bool = True,
        keep_received: bool = True,
        limit: float = 1.0,
    ) -> None:
        """Replicate from ``address`` by GTID, over TLS with this host's certificate; ``acknowledge`` as semi-sync
        replica.

        It connects to the port that clients cannot use up; to the one for clients only where the other server has not
        been started since it was given two. A replica of the same host changes its port when nothing is lost by it.

        A START SLAVE of both threads throws away what is received and not applied (databases.md, finding 6). With
        ``keep_received`` it is applied first; where only the receiving stopped, only that is started again.

        :raises DatabaseError: what was received is not applied within ``limit`` seconds; nothing is discarded then.
        """
        config = self._config
        connection.run("STOP SLAVE IO_THREAD")
        connection.run(
            f"SET GLOBAL rpl_semi_sync_master_enabled=0, GLOBAL rpl_semi_sync_slave_enabled={int(acknowledge)}"
        )
        status = connection.rows("SHOW SLAVE STATUS")
        replication, port = parse_replication(status), self._port_of(address)
        if keep_received and replication is not None and replication.sql_running:
            same = replication.host == address and replication.uses_gtid
            if same and int(status[0]["Master_Port"]) == port:
                connection.run("START SLAVE IO_THREAD")
                return
            if not (
                self.wait_for(connection, replication.gtid_io_pos, limit)
                if replication.uses_gtid
                else self._wait_for_relay_log(connection, limit)
            ):
                if replication.host == address:
                    connection.run("START SLAVE IO_THREAD")
                    return
                raise DatabaseError(f"what was received, up to {replication.gtid_io_pos}, is not applied yet")
        elif keep_received and replication is not None:
            received = self.received(connection)
            if received.unapplied:
                why = received.error or "nothing applies it"
                raise DatabaseError(f"received up to {received.position}, applied up to {received.applied}: {why}")
        connection.run("STOP SLAVE")
        positions = connection.rows(_POSITIONS)[0]
        together = _merged(positions)
        if together != gtid.parse(str(positions["applied"])):
            connection.rows("SET GLOBAL gtid_slave_pos=%s", (str(together),))
        pki = config.replication_pki
        connection.rows(
            "CHANGE MASTER TO MASTER_HOST=%s, MASTER_PORT=%s, MASTER_USER=%s, MASTER_PASSWORD='',"
            " MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1, MASTER_HEARTBEAT_PERIOD=0.5,"
            " MASTER_SSL=1, MASTER_SSL_VERIFY_SERVER_CERT=1, MASTER_SSL_CA=%s, MASTER_SSL_CERT=%s, MASTER_SSL_KEY=%s",
            (
                address,
                port,
                config.replication_user,
                pki.ca,
                pki.certificate,
                pki.key,
            ),
        )
        connection.run("START SLAVE")

    def _port_of(self, address: str) -> int:
        """The port where the server at ``address`` takes replicas."""
        own, clients = self._config.replication_port, self._config.database_port
        # Asked twice: a link that came back after the first question is no reason to use the other port.
        if self._answers(address, own) or not self._answers(address, clients) or self._answers(address, own):
            return own
        return clients

    def _answers(self, address: str, port: int) -> bool:
        """Whether somebody listens on a port of another host."""
        with contextlib.suppress(OSError), socket.create_connection((address, port), timeout=_PORT_SECONDS):
            return True
        return False

    def acknowledge(self, connection: Connection, *, enabled: bool, receive: bool = True) -> None:
        """Confirm to the primary what is received, or no longer; without ``receive`` nothing is received any more.

        It takes effect when receiving begins anew. So receiving stops first: where that fails the variable still says
        what is done.
        """
        replication = parse_replication(connection.rows("SHOW SLAVE STATUS"))
        receives = replication is not None and (replication.io_running or replication.io_connecting)
        if receives:
            connection.run("STOP SLAVE IO_THREAD")
        connection.run(f"SET GLOBAL rpl_semi_sync_slave_enabled={int(enabled)}")
        if receive and receives and replication is not None and replication.sql_running:
            # Otherwise the start would throw away what is not applied.
            connection.run("START SLAVE IO_THREAD")

    def start_applying(self, connection: Connection) -> None:
        """Apply what is received, after an error stopped that. Only while it receives is nothing thrown away."""
        connection.run("START SLAVE SQL_THREAD")

    def stop_receiving(self, connection: Connection, host: str) -> Ballot:
        """Stop the IO thread, see that it has stopped, and tell what ``host``, this server, holds (I3).

        :raises DatabaseError: it does not stop, or the server is no replica.
        """
        if not connection.value("SELECT @@read_only"):
            raise DatabaseError(f"{host} is writable")
        connection.run("STOP SLAVE IO_THREAD")
        received = self.received(connection)
        if not received.io_stopped:
            raise DatabaseError(f"the IO thread of {host} has not stopped")
        error = "" if received.sql_running else received.error
        if received.errant:
            error = f"{received.errant} was written on this host"
        if received.unapplied and not received.sql_running and not error:
            # After a restart: salvaged within a moment, and then it can say more.
            raise DatabaseError(f"the relay log of {host} is not applied yet")
        return Ballot(
            host=host,
            io_stopped=True,
            received=received.position,
            applied=received.applied,
            sql_running=received.sql_running,
            error=error,
        )

    def _wait_for_relay_log(self, connection: Connection, limit: float) -> bool:
        """Whether the relay log is applied within ``limit`` seconds, by its files: nothing else tells without GTIDs."""
        deadline = time.monotonic() + limit
        while self.received(connection).unapplied:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.05)
        return True

    def begin_at(self, connection: Connection, position: str) -> None:
        """Let a fresh copy begin its own binary log at ``position``, so that it can serve replicas from there."""
        connection.run("RESET MASTER")
        connection.rows("SET GLOBAL gtid_binlog_state=%s", (position,))
        connection.rows("SET GLOBAL gtid_slave_pos=%s", (position,))

    def end(self, thread_id: int) -> None:
        """Kill one session by its id; it may be gone already."""
        try:
            self._connection().run(f"KILL CONNECTION {int(thread_id)}")
        except DatabaseError:
            self.forget()

    def enable_events(self, connection: Connection) -> int:
        """Enable the events that replication had left disabled on this host; how many.

        An event that arrives by replication is ``SLAVESIDE_DISABLED``; after a promotion it must run here. The
        statement replicates and leaves the event disabled on the replicas again.
        """
        rows = connection.rows(
            "SELECT event_schema, event_name FROM information_schema.events WHERE status='SLAVESIDE_DISABLED'"
        )
        for row in rows:
            schema, name = (str(row[key]).replace("`", "``") for key in ("event_schema", "event_name"))
            connection.run(f"ALTER EVENT `{schema}`.`{name}` ENABLE")
        return len(rows)

    def events(self, connection: Connection, *, enabled: bool) -> None:
        """The event scheduler on or off; a server that has it disabled at start is left alone."""
        if str(connection.value("SELECT @@event_scheduler")) != "DISABLED":
            connection.run(f"SET GLOBAL event_scheduler={'ON' if enabled else 'OFF'}")

    def foreign_data(self) -> tuple[str, ...]:
        """Schemas and accounts that Debian's fresh install does not have; empty means that nothing can be lost here."""
        connection = self._connection()
        schemas = connection.rows(
            "SELECT schema_name AS name FROM information_schema.schemata"
            " WHERE schema_name NOT IN ('mysql', 'sys', 'performance_schema', 'information_schema',"
            " '#mysql50#lost+found', '#mysql50#.failover')"
        )
        accounts = connection.rows(
            "SELECT user AS name FROM mysql.user WHERE user NOT IN ('root', 'mysql', 'mariadb.sys', '')"
        )
        return (
            *(f"schema {row['name']}" for row in schemas),
            *(f"account {row['name']}" for row in accounts),
        )

    def _connection(self) -> Connection:
        if self._kept is None:
            self._kept = self.connect(2.0)
            self._listens = int(self._kept.value("SELECT @@extra_port") or 0)
        return self._kept


def read_database(connection: Connection, hosts: dict[str, str]) -> Database:
    """Ask one server for everything that :class:`Database` holds; ``hosts`` maps host names to addresses."""
    row = connection.rows(
        "SELECT VERSION() AS version, @@read_only AS read_only,"
        " @@gtid_binlog_pos AS binlog, @@gtid_slave_pos AS applied, @@server_id AS server_id,"
        " @@rpl_semi_sync_master_enabled AS waits, @@rpl_semi_sync_slave_enabled AS acknowledges"
    )[0]
    threads = connection.rows(
        "SELECT host, state FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'"
        f" OR state='{_NO_SPACE}'"
    )
    waiting = [thread for thread in threads if thread["state"] == _NO_SPACE]
    if any(not thread["host"] for thread in waiting):
        # A thread of replication: SHOW SLAVE STATUS would wait with it, and leave one more session behind each time.
        return Database(running=False, hung=True, disk_full=True, error="replication waits for space on the disk")
    semi_sync = {
        str(each["Variable_name"]).removeprefix("Rpl_semi_sync_master_"): str(each["Value"])
        for each in connection.rows("SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_%'")
    }
    dumps = [thread for thread in threads if thread["state"] != _NO_SPACE]
    attached, caught_up = parse_dumps(dumps, hosts)
    replication = parse_replication(connection.rows("SHOW SLAVE STATUS"))
    return Database(
        running=True,
        version=str(row["version"]).partition("-")[0],
        read_only=bool(row["read_only"]),
        gtid_binlog_pos=str(row["binlog"] or ""),
        gtid_slave_pos=str(row["applied"] or ""),
        replication=replication,
        semi_sync_primary=bool(row["waits"]),
        semi_sync_replica=bool(row["acknowledges"]),
        semi_sync_clients=int(semi_sync.get("clients", 0)),
        semi_sync_waits=int(semi_sync.get("wait_sessions", 0)),
        semi_sync_acks=int(semi_sync.get("get_ack", 0)),
        disk_full=bool(waiting),
        errant=errant(row) if replication is not None else "",
        attached=attached,
        caught_up=caught_up,
    )


def errant(row: dict[str, Any]) -> str:
    """The newest transaction that a replica wrote itself, beyond all that it has applied; empty when there is none.

    A former primary that replicates has its own transactions in ``gtid_slave_pos``: :meth:`MariaDB.attach` saw to that.
    """
    applied = gtid.parse(str(row["applied"] or "")).domains()
    for last in gtid.parse(str(row["binlog"] or "")).last:
        known = applied.get(last.domain)
        if last.server == int(row["server_id"]) and (known is None or last.sequence > known.sequence):
            return str(last)
    return ""


def parse_dumps(rows: list[dict[str, Any]], hosts: dict[str, str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The hosts behind the binlog dump threads, and those of them to which everything was sent."""
    names = {address: name for name, address in hosts.items()}
    attached, caught_up = set(), set()
    for row in rows:
        name = names.get(str(row["host"]).rsplit(":", 1)[0])
        if name is None:
            continue
        attached.add(name)
        if _CAUGHT_UP in str(row["state"]):
            caught_up.add(name)
    return tuple(sorted(attached)), tuple(sorted(caught_up))


def parse_replication(rows: list[dict[str, Any]]) -> Replication | None:
    """:class:`Replication` from ``SHOW SLAVE STATUS``; None where no primary is configured."""
    if not rows:
        return None
    row = rows[0]
    errors = [str(row[name]) for name in ("Last_IO_Error", "Last_SQL_Error") if row.get(name)]
    running = str(row["Slave_IO_Running"])
    fatal = str(row["Slave_SQL_Running"]) != "Yes" or running == "No"
    behind = row.get("Seconds_Behind_Master")
    return Replication(
        host=str(row["Master_Host"]),
        io_running=running == "Yes",
        io_connecting=running in {"Connecting", "Preparing"},
        sql_running=str(row["Slave_SQL_Running"]) == "Yes",
        uses_gtid=str(row.get("Using_Gtid", "")) == "Slave_Pos",
        gtid_io_pos=str(row.get("Gtid_IO_Pos") or ""),
        lag_seconds=int(behind) if behind is not None else None,
        error="; ".join(errors) if fatal else "",
        io_errno=int(row.get("Last_IO_Errno") or 0) if running == "No" else 0,
        sql_errno=int(row.get("Last_SQL_Errno") or 0) if str(row["Slave_SQL_Running"]) != "Yes" else 0,
        turned_away=running == "Connecting" and int(row.get("Last_IO_Errno") or 0) == _FULL,
    )


def _timed_out(error: BaseException) -> bool:
    """Whether an error of pymysql came from a time-out of the socket; it tells that by its cause only."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, TimeoutError):
            return True
        seen = seen.__cause__ or seen.__context__
    return False


def _merged(row: dict[str, Any]) -> gtid.Position:
    return gtid.merge(gtid.parse(str(row["binlog"] or "")), gtid.parse(str(row["applied"] or "")))


def _has(row: dict[str, Any], wanted: gtid.Position) -> bool:
    """Whether a server has applied or written ``wanted``.

    A write of its own that took the number of a transaction that it lacks is not taken for that transaction.
    """
    own = {last.domain for last in wanted.last if last.server == int(row["server_id"])}
    written = gtid.Position(tuple(last for last in gtid.parse(str(row["binlog"] or "")).last if last.domain in own))
    return not gtid.missing(gtid.merge(gtid.parse(str(row["applied"] or "")), written), wanted)


def _read_only_admins(connection: Connection) -> set[str]:
    """Accounts that may write although ``read_only`` is on (SUPER up to 10.11, READ ONLY ADMIN since)."""
    rows = connection.rows(
        "SELECT DISTINCT grantee FROM information_schema.user_privileges"
        " WHERE privilege_type IN ('SUPER', 'READ ONLY ADMIN', 'READ_ONLY ADMIN')"
    )
    return {str(row["grantee"]).rpartition("@")[0].strip("'") for row in rows}
