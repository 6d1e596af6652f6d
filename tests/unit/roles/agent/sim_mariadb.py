# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""mariadbd in memory: as much of it as the agent's statements touch.

What it does is what was measured on 11.8: a semi-sync primary holds a commit until a replica has received it; switching
semi-sync off acknowledges what waits; ``read_only=1`` blocks behind it; a kill leaves it in the binary log, together
with a commit that InnoDB has not flushed yet, and ``init_rpl_role`` decides at the next start whether it stays; ``START
SLAVE`` throws away relay logs that are not applied yet.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

from failover_agent import gtid
from failover_agent.gtid import Gtid
from failover_agent.mariadb import DatabaseError

if TYPE_CHECKING:
    from .world import World

P = ParamSpec("P")

START_SECONDS = 1.0
#: For so long after a commit InnoDB may know it only as prepared, so that recovery asks the binary log.
FLUSH_SECONDS = 1.0
#: A statement that waits looks again after so long.
_POLL_SECONDS = 0.05
_HANDLERS: list[tuple[re.Pattern[str], str]] = []
Rows = list[dict[str, Any]]


def _statement(pattern: str) -> Callable[[Callable[P, Rows]], Callable[P, Rows]]:
    """Mark a method of :class:`Server` as the one that carries out the statements that match."""

    def register(method: Callable[P, Rows]) -> Callable[P, Rows]:
        _HANDLERS.append((re.compile(pattern, re.IGNORECASE), method.__name__))
        return method

    return register


@functools.cache
def _handler(statement: str) -> tuple[str, tuple[str, ...]]:
    for pattern, name in _HANDLERS:
        match = pattern.match(statement)
        if match:
            return name, match.groups()
    raise NotImplementedError(f"the world does not know this statement: {statement}")


class Server:
    """One mariadbd with its binary log, relay log and replication, all in GTID domain 0."""

    def __init__(self, world: World, name: str, address: str, server_id: int) -> None:
        self.world = world
        self.name = name
        self.address = address
        self.server_id = server_id
        # Durable.
        self.binlog: list[Gtid] = []
        self.relay: list[Gtid] = []
        self.slave_pos = ""
        self.in_doubt: list[Gtid] = []
        self.newest: tuple[Gtid | None, float] = (None, 0.0)
        self.source: str | None = None
        # Gone with the process.
        self.running = False
        self.starts_at: float | None = None
        self.keeps_in_doubt = False
        self._reset()
        # What a test may set.
        self.settings = {"log_bin": 1, "log_slave_updates": 1, "gtid_strict_mode": 1}
        self.apply_paused = False
        self.broken = False
        self.statements_running: list[str] = []
        self.oldest_transaction_seconds = 0.0
        self.privileged_users: set[str] = set()

    def _reset(self) -> None:
        self.read_only = True
        self.semi_sync_primary = False
        self.semi_sync_replica = True
        #: What the setting was when it connected: that is what counts for this connection.
        self.confirms = False
        self.waiting: list[Gtid] = []
        self.sessions: dict[int, str] = {}
        self._next_session = 10
        self.event_scheduler = "ON"
        self.io_started = False
        self.io_connected = False
        self.io_position = ""
        self.io_error = ""
        self.sql_running = False

    # ---- its life

    def start(self, *, keep_in_doubt: bool) -> None:
        """systemctl start: it answers after a while."""
        if not self.running and self.starts_at is None:
            self.starts_at = self.world.now + START_SECONDS
            self.keeps_in_doubt = keep_in_doubt

    def advance(self) -> None:
        """Come up, receive, apply."""
        if self.starts_at is not None and self.world.now >= self.starts_at:
            if self.broken:
                self.starts_at = None
            else:
                self._recover()
        if self.running:
            self._receive()
            self._apply()

    def _recover(self) -> None:
        """Crash recovery, as ``init_rpl_role`` says: as replica it truncates what was never acknowledged for sure."""
        self.starts_at = None
        self._reset()
        self.running = True
        if not self.keeps_in_doubt:
            self.binlog = [entry for entry in self.binlog if entry not in self.in_doubt]
        self.in_doubt = []

    def kill(self) -> None:
        """SIGKILL, or the power goes."""
        if self.running:
            newest, at = self.newest
            fresh = newest is not None and newest not in self.waiting and self.world.now - at < FLUSH_SECONDS
            self.in_doubt = ([newest] if newest is not None and fresh else []) + self.waiting
        self.running = False
        self.starts_at = None
        self._reset()

    # ---- clients

    @property
    def writable(self) -> bool:
        """Whether an ordinary client could write."""
        return self.running and not self.read_only

    def write(self) -> Gtid:
        """An ordinary client commits one transaction; it is acknowledged now, later or never."""
        assert self.writable
        sequence = max((entry.sequence for entry in self.binlog), default=0)
        if self.slave_pos:
            sequence = max(sequence, gtid.parse(self.slave_pos).last[0].sequence)
        entry = Gtid(domain=0, sequence=sequence + 1, server=self.server_id)
        self.binlog.append(entry)
        if self.semi_sync_primary:
            self.waiting.append(entry)
        else:
            self.world.acknowledge(self, entry)
        self.newest = entry, self.world.now
        self.world.delivered.setdefault(self.name, set()).add(entry)
        return entry

    def received(self, entries: Sequence[Gtid]) -> None:
        """A semi-sync replica confirms ``entries``."""
        for entry in [entry for entry in self.waiting if entry in entries]:
            self.waiting.remove(entry)
            self.world.acknowledge(self, entry)

    # ---- replication

    @property
    def holds(self) -> set[Gtid]:
        """Everything that is in this server's logs."""
        return {*self.binlog, *self.relay}

    def attached(self) -> list[Server]:
        """The replicas that are connected."""
        return [other for other in self.world.servers() if other.io_connected and other.source == self.address]

    def _reaches(self, other: Server) -> bool:
        here, there = self.world.machines[self.name], self.world.machines[other.name]
        shut = here.fenced or there.fenced or self.address in there.shut_out
        return other.running and not shut and self.world.reachable(self.name, other.name)

    def _receive(self) -> None:
        source = next((server for server in self.world.servers() if server.address == self.source), None)
        if not self.io_started or self.io_error or source is None or not self._reaches(source):
            self.io_connected = False
            return
        position = gtid.parse(self.io_position)
        start = 0
        if position:
            if position.last[0] not in source.binlog:
                self.io_connected = False
                self.io_error = (
                    "Got fatal error 1236 from master when reading data from binary log: 'Error: connecting slave"
                    f" requested to start from GTID {position}, which is not in the master's binlog'"
                )
                return
            start = source.binlog.index(position.last[0]) + 1
        if not self.io_connected:
            self.io_connected, self.confirms = True, self.semi_sync_replica
        fresh = source.binlog[start:]
        if fresh:
            self.relay += fresh
            self.world.delivered.setdefault(self.name, set()).update(fresh)
            self.io_position = str(fresh[-1])
            if self.confirms:
                source.received(fresh)

    def _apply(self) -> None:
        if self.sql_running and not self.apply_paused and self.relay:
            self.binlog += self.relay
            self.newest = (None, 0.0)
            self.slave_pos = str(self.relay[-1])
            self.relay = []

    # ---- statements

    def execute(self, session: int, statement: str, arguments: Sequence[Any]) -> Rows:
        """Carry out a statement of ``session``.

        :raises DatabaseError: the server is away, the session was killed, or the statement failed.
        """
        if not self.running or session not in self.sessions:
            raise DatabaseError(f"{statement}: (2013, 'Lost connection to server during query')")
        name, groups = _handler(" ".join(statement.split()))
        rows: Rows = getattr(self, name)(session, *groups, *arguments)
        return rows

    def open_session(self, user: str = "root") -> int:
        """A new session of ``user``; its id."""
        self._next_session += 1
        self.sessions[self._next_session] = user
        return self._next_session

    @_statement(r"SELECT CONNECTION_ID\(\)")
    def _connection_id(self, session: int) -> Rows:
        return [{"CONNECTION_ID()": session}]

    @_statement(r"SELECT VERSION\(\) AS version, @@read_only AS read_only")
    def _read(self, _session: int) -> Rows:
        row = {
            "version": "11.8.6-MariaDB-0+deb13u1 from Debian-log",
            "read_only": int(self.read_only),
            "waits": int(self.semi_sync_primary),
            "acknowledges": int(self.semi_sync_replica),
        }
        return [row | self._positions(0)[0]]

    @_statement(r"SELECT @@gtid_binlog_pos AS binlog, @@gtid_slave_pos AS applied$")
    def _positions(self, _session: int) -> Rows:
        return [{"binlog": str(self.binlog[-1]) if self.binlog else "", "applied": self.slave_pos}]

    @_statement(r"SELECT @@gtid_binlog_pos$")
    def _binlog_pos(self, _session: int) -> Rows:
        return [{"@@gtid_binlog_pos": self._positions(0)[0]["binlog"]}]

    @_statement(r"SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_%'")
    def _clients(self, _session: int) -> Rows:
        count = sum(replica.confirms for replica in self.attached()) if self.semi_sync_primary else 0
        return [{"Variable_name": "Rpl_semi_sync_master_clients", "Value": str(count)}]

    @_statement(r"SELECT host, state FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
    def _dumps(self, _session: int) -> Rows:
        done = str(self.binlog[-1]) if self.binlog else ""
        return [
            {
                "host": f"{replica.address}:40000",
                "state": "Master has sent all binlog to slave; waiting for more updates"
                if replica.io_position == done
                else "Sending binlog event to slave",
            }
            for replica in self.attached()
        ]

    @_statement(r"SHOW SLAVE STATUS")
    def _slave_status(self, _session: int) -> Rows:
        if self.source is None:
            return []
        io_running = "Yes" if self.io_connected else "Connecting" if self.io_started and not self.io_error else "No"
        return [
            {
                "Master_Host": self.source,
                "Slave_IO_Running": io_running,
                "Slave_SQL_Running": "Yes" if self.sql_running else "No",
                "Using_Gtid": "Slave_Pos",
                "Gtid_IO_Pos": self.io_position,
                "Seconds_Behind_Master": (9 if self.relay else 0) if self.sql_running and self.io_connected else None,
                "Last_IO_Errno": 1236 if self.io_error else 0,
                "Last_IO_Error": self.io_error,
                "Last_SQL_Errno": 0,
                "Last_SQL_Error": "",
            }
        ]

    @_statement(r"SELECT COALESCE\(MAX\(TIMESTAMPDIFF")
    def _oldest_transaction(self, _session: int) -> Rows:
        return [{"oldest": self.oldest_transaction_seconds}]

    @_statement(r"SELECT info FROM information_schema.processlist")
    def _running_statements(self, _session: int) -> Rows:
        return [{"info": text} for text in self.statements_running]

    @_statement(r"SELECT @@log_bin AS log_bin")
    def _settings(self, _session: int) -> Rows:
        return [dict(self.settings)]

    @_statement(r"SET SESSION lock_wait_timeout=(\d+)")
    def _lock_wait_timeout(self, _session: int, _seconds: str) -> Rows:
        return []

    @_statement(r"SET GLOBAL read_only=(\d)")
    def _set_read_only(self, session: int, value: str) -> Rows:
        deadline = self.world.now + self.world.policy.switchover_limit
        while value == "1" and self.waiting:
            if self.world.now >= deadline:
                raise DatabaseError("SET GLOBAL read_only=1: (1205, 'Lock wait timeout exceeded')")
            self.world.pass_time(_POLL_SECONDS)
            if not self.running or session not in self.sessions:
                raise DatabaseError("SET GLOBAL read_only=1: (2013, 'Lost connection to server during query')")
        self.read_only = value == "1"
        return []

    @_statement(r"SELECT MASTER_GTID_WAIT\(%s, %s\)")
    def _gtid_wait(self, session: int, position: str, limit: float) -> Rows:
        deadline = self.world.now + limit
        while True:
            if not self.running or session not in self.sessions:
                raise DatabaseError("SELECT MASTER_GTID_WAIT: (2013, 'Lost connection to server during query')")
            if not gtid.missing(gtid.parse(self.slave_pos), gtid.parse(position)):
                return [{"MASTER_GTID_WAIT": 0}]
            if self.world.now >= deadline:
                return [{"MASTER_GTID_WAIT": -1}]
            self.world.pass_time(_POLL_SECONDS)

    @_statement(r"SELECT id, user FROM information_schema.processlist")
    def _sessions(self, _session: int) -> Rows:
        return [{"id": number, "user": user} for number, user in self.sessions.items()]

    @_statement(r"SELECT DISTINCT grantee FROM information_schema.user_privileges")
    def _privileged(self, _session: int) -> Rows:
        return [{"grantee": f"'{user}'@'%'"} for user in sorted(self.privileged_users | {"root"})]

    @_statement(r"KILL CONNECTION (\d+)")
    def _kill(self, _session: int, number: str) -> Rows:
        if self.sessions.pop(int(number), None) is None:
            raise DatabaseError(f"KILL CONNECTION {number}: (1094, 'Unknown thread id: {number}')")
        return []

    @_statement(r"SELECT @@read_only$")
    def _is_read_only(self, _session: int) -> Rows:
        return [{"@@read_only": int(self.read_only)}]

    @_statement(r"STOP SLAVE IO_THREAD$")
    def _stop_receiving(self, _session: int) -> Rows:
        self.io_started = self.io_connected = False
        return []

    @_statement(r"START SLAVE IO_THREAD$")
    def _start_receiving(self, _session: int) -> Rows:
        if not self.sql_running:
            return self._start_slave(0)
        self.io_started, self.io_error = True, ""
        return []

    @_statement(r"SET GLOBAL rpl_semi_sync_slave_enabled=(\d)$")
    def _acknowledge(self, _session: int, value: str) -> Rows:
        self.semi_sync_replica = value == "1"
        return []

    @_statement(r"STOP SLAVE$")
    def _stop_slave(self, _session: int) -> Rows:
        self.io_started = self.io_connected = self.sql_running = False
        return []

    def forget_after(self, position: str, count: int) -> None:
        """Flashback: keep the first ``count`` transactions, stand at ``position``, follow nobody."""
        self.binlog, self.slave_pos = self.binlog[:count], position
        self._stop_slave(0)
        self._reset_slave(0)

    @_statement(r"RESET SLAVE ALL$")
    def _reset_slave(self, _session: int) -> Rows:
        self.source, self.relay, self.io_position, self.io_error = None, [], "", ""
        return []

    @_statement(r"CHANGE MASTER TO MASTER_HOST=%s")
    def _change_master(self, _session: int, address: str, *_others: object) -> Rows:
        self.source, self.relay, self.io_error = address, [], ""
        return []

    @_statement(r"START SLAVE$")
    def _start_slave(self, _session: int) -> Rows:
        if not (self.io_started or self.sql_running):
            self.relay, self.io_position = [], self.slave_pos
        self.io_error = ""
        self.io_started = self.sql_running = True
        return []

    def salvage(self) -> str:
        """Apply the relay log of a server whose replication does not run; the position then reached."""
        self.binlog += self.relay
        if self.relay:
            self.slave_pos = str(self.relay[-1])
        self.relay, self.newest = [], (None, 0.0)
        return self.slave_pos

    @_statement(r"SET GLOBAL rpl_semi_sync_master_enabled=(\d)(?:, GLOBAL rpl_semi_sync_slave_enabled=(\d))?")
    def _semi_sync(self, _session: int, primary: str, replica: str | None) -> Rows:
        self.semi_sync_primary = primary == "1"
        if replica is not None:
            self.semi_sync_replica = replica == "1"
        if not self.semi_sync_primary:
            for entry in self.waiting:
                self.world.acknowledge(self, entry)
            self.waiting = []
        return []

    @_statement(r"SET GLOBAL gtid_slave_pos=%s")
    def _set_slave_pos(self, _session: int, position: str) -> Rows:
        self.slave_pos = position
        self.newest = (None, 0.0)  # This commit took every earlier one to the disk.
        return []

    @_statement(r"RESET MASTER")
    def _reset_master(self, _session: int) -> Rows:
        self.binlog = []
        return []

    @_statement(r"SET GLOBAL gtid_binlog_state=%s")
    def _set_binlog_state(self, _session: int, position: str) -> Rows:
        self.binlog = list(gtid.parse(position).last)
        return []

    @_statement(r"SELECT @@event_scheduler")
    def _read_event_scheduler(self, _session: int) -> Rows:
        return [{"@@event_scheduler": self.event_scheduler}]

    @_statement(r"SET GLOBAL event_scheduler=(ON|OFF)")
    def _set_event_scheduler(self, _session: int, value: str) -> Rows:
        self.event_scheduler = value
        return []

    @_statement(r"SELECT event_schema, event_name FROM information_schema.events")
    def _events(self, _session: int) -> Rows:
        return []

    @_statement(r"SELECT (?:schema_name|user) AS name")
    def _foreign(self, _session: int) -> Rows:
        return []
