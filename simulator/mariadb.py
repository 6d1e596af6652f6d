# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""mariadbd in memory: as much of it as the agent's statements touch.

What it does is what was measured on 11.8: a semi-sync primary holds a commit until any connected semi-sync replica has
received it; switching semi-sync off acknowledges what waits; ``read_only=1`` blocks behind it; a kill leaves it in the
binary log, together with a commit that InnoDB has not flushed yet, and ``init_rpl_role`` decides at the next start
whether it stays; starting a replication thread while none runs throws away relay logs that are not applied yet; whether
a replica acknowledges is decided when its IO thread connects. A dump thread lives until TCP gives its replica up.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, ParamSpec

from failover_agent import gtid
from failover_agent.gtid import Gtid
from failover_agent.mariadb import DatabaseError

from simulator.kernel import Waiters
from simulator.network import DATABASE, RETRANSMIT_SECONDS

if TYPE_CHECKING:
    from simulator.world import Machine, World

P = ParamSpec("P")

START_SECONDS = 1.0
#: For so long after a commit InnoDB may know it only as prepared, so that recovery asks the binary log.
FLUSH_SECONDS = 1.0
#: MASTER_CONNECT_RETRY and slave_net_timeout of the estate's settings.
CONNECT_RETRY_SECONDS = 1.0
#: So many clients take all connections (``max_connections``) that are not kept for replicas and the agent.
MAX_CONNECTIONS = 8
NET_TIMEOUT_SECONDS = 4.0
#: What is received but not applied is lost with the power if it is younger than this (``sync_relay_log`` is not 1).
RELAY_FLUSH_SECONDS = 5.0
#: Number and text of what stopped the SQL thread.
_NO_ERROR = (0, "")
_RUNNING_SLAVE = "(1198, 'This operation cannot be performed as you have a running slave')"
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
    words = " ".join(statement.split())
    for pattern, name in _HANDLERS:
        match = pattern.match(words)
        if match:
            return name, match.groups()
    raise NotImplementedError(f"the world does not know this statement: {words}")


class Stream:
    """One replication connection. Its ends close by themselves: the replica's IO thread, the source's dump thread."""

    def __init__(self, source: Server, replica: Server, sent: int, *, semi_sync: bool) -> None:
        self.source = source
        self.replica = replica
        self.semi_sync = semi_sync
        self.sent = sent
        self.busy = False
        self.receiving = self.dumping = True
        self.broken_since: float | None = None
        #: Since when the source hears nothing of the replica's host.
        self.unheard_since: float | None = None
        #: The highest sequence number that the replica confirmed while the source's process stood still.
        self.acknowledged = 0


class Server:
    """One mariadbd with its binary log, relay log and replication, all in GTID domain 0."""

    machine: Machine
    REPLICATION_PORT = 3307

    def __init__(self, world: World, name: str, address: str, server_id: int) -> None:
        self.world = world
        self.kernel = world.kernel
        self.name = name
        self.address = address
        self.server_id = server_id
        # Durable.
        #: What its data is made of; the first ``purged`` transactions are in no binary log any more.
        self.binlog: list[Gtid] = []
        self.purged = 0
        self.relay: list[Gtid] = []
        self.slave_pos = ""
        self.in_doubt: list[Gtid] = []
        self.newest: tuple[Gtid | None, float] = (None, 0.0)
        self.source: str | None = None
        self.source_port = self.REPLICATION_PORT
        # Gone with the process.
        self.running = False
        self.frozen = False
        self.starts_at: float | None = None
        self.keeps_in_doubt = False
        self.dumps: dict[str, Stream] = {}
        self.stream: Stream | None = None
        self._starts = 0
        self._life = 0
        self._quiet = Waiters(world.kernel)
        self._moved = Waiters(world.kernel)
        self._thawed = Waiters(world.kernel)
        self._apply_paused = False
        self._sequence = ("", 0)
        self._reset()
        # What a test may set.
        self.settings = {"log_bin": 1, "log_slave_updates": 1, "gtid_strict_mode": 1}
        #: It does not come up any more.
        self.broken = False
        self.statements_running: list[str] = []
        self.oldest_transaction_seconds = 0.0
        self.privileged_users: set[str] = set()

    def _reset(self) -> None:
        self._starts += 1
        self._life += 1
        self.frozen = False
        self.read_only = True
        self.semi_sync_primary = False
        self.semi_sync_replica = True
        self.waiting: list[Gtid] = []
        #: Confirmations of replicas so far.
        self.confirmed = 0
        #: Clients whose commit waits for space on the disk.
        self.stalled = 0
        self._wants_space = False
        self.locking = 0
        self.sessions: dict[int, str] = {}
        self._next_session = 10
        self.event_scheduler = "ON"
        self._io_started = False
        self._io: Gtid | None = None
        self.io_error = ""
        self._turned_away = False
        self._sql_running = False
        self.sql_error = _NO_ERROR
        self._applying = False
        self._received_at = 0.0
        self._position_text = ("", "")

    # ---- its life

    def start(self, *, keep_in_doubt: bool) -> None:
        """systemctl start: it answers after a while."""
        if not self.running and self.starts_at is None:
            self.starts_at = self.kernel.now + START_SECONDS
            self.keeps_in_doubt = keep_in_doubt
            self.kernel.at(self.starts_at, self._come_up, self._life)

    def _come_up(self, life: int) -> None:
        if self.starts_at is not None and life == self._life:
            if self.machine.frozen:
                self.kernel.after(START_SECONDS, self._come_up, life)
                return
            if self.broken:
                self.starts_at = None
            else:
                self._recover()

    def _recover(self) -> None:
        """Crash recovery, as ``init_rpl_role`` says: as replica it truncates what was never acknowledged for sure.

        A transaction that came from the relay log is then back in front of it.
        """
        self.starts_at = None
        self._reset()
        self.running = True
        if not self.keeps_in_doubt and self.in_doubt:
            doubted = {id(entry) for entry in self.in_doubt}
            gone = [entry for entry in self.binlog if id(entry) in doubted]
            self.binlog = [entry for entry in self.binlog if id(entry) not in doubted]
            applied = [entry for entry in gone if self._was_applied(entry)]
            if applied:
                self.relay = applied + self.relay
                self.slave_pos = str(self.binlog[-1]) if self.binlog else ""
            self.world.lost_something()
        self.in_doubt = []
        self.world.topology_changed()
        self.kernel.touch()

    def _was_applied(self, entry: Gtid) -> bool:
        return bool(self.slave_pos) and gtid.parse(self.slave_pos).last[0].sequence >= entry.sequence

    def kill(self) -> None:
        """SIGKILL, or the power goes."""
        if self.running:
            newest, at = self.newest
            fresh = newest is not None and newest not in self.waiting and self.kernel.now - at < FLUSH_SECONDS
            self.in_doubt = ([newest] if newest is not None and fresh else []) + self.waiting
        self._end()

    def stop(self) -> None:
        """A regular stop. What waits for an acknowledgement is committed without one, and nobody is told."""
        self._end()

    def _end(self) -> None:
        was_running = self.running
        self.running = False
        self.starts_at = None
        waiting = self.waiting
        stream, dumps = self.stream, list(self.dumps.values())
        self._reset()
        for entry in waiting:
            self.world.unanswered(entry)
        if was_running:
            self._close_ends(stream, dumps)
            self._quiet.notify()
            self._moved.notify()
            self._thawed.notify()
            self.world.topology_changed()
        self.kernel.touch()

    def _close_ends(self, stream: Stream | None, dumps: list[Stream]) -> None:
        """The other side of each connection hears of it, if packets get there."""
        self.stream, self.dumps = None, {}
        if stream is not None:
            stream.receiving = False
            self._tell_source(stream, 0.5)
        for dump in dumps:
            dump.dumping = False
            if self._path_open(dump.replica):
                self.kernel.after(0.002, dump.replica.disconnected, dump)

    def power_lost(self) -> None:
        """The power goes: connections end without a word, and a part of the relay log that was not flushed is gone."""
        stream, dumps = self.stream, list(self.dumps.values())
        self.stream, self.dumps = None, {}
        young = self.running and self.kernel.now - self._received_at < RELAY_FLUSH_SECONDS
        if self.relay and young and not self.world.relay_is_synced:
            del self.relay[self.kernel.random.randrange(len(self.relay) + 1) :]
            self.world.lost_something()
        self.kill()
        if stream is not None:
            stream.receiving = False
            self._tell_source(stream, 0.5)
        for dump in dumps:
            dump.dumping = False
        self.world.topology_changed()

    def freeze(self) -> None:
        """SIGSTOP to mariadbd, or the whole host stands still."""
        if self.running:
            self.frozen = True
            self.kernel.touch()
            self.world.topology_changed()

    def thaw(self) -> None:
        """SIGCONT."""
        if self.frozen:
            self.frozen = False
            self._thawed.notify()
            self.kernel.touch()
            for dump in list(self.dumps.values()):
                if dump.acknowledged:
                    self._confirm(dump.acknowledged)
                    dump.acknowledged = 0
            self.world.topology_changed()
            self._apply_soon()

    # ---- clients

    @property
    def writable(self) -> bool:
        """Whether an ordinary client could write."""
        return self.running and not self.read_only

    @property
    def stuck(self) -> bool:
        """Whether nothing can be written to the disk or done at all."""
        return self.frozen or self.machine.disk_full

    @property
    def full(self) -> bool:
        """Whether clients have taken all connections that are for them. Who waits for a replica keeps its own."""
        return len(self.waiting) + self.stalled >= MAX_CONNECTIONS

    def write(self, tell: Callable[[Gtid], None] | None = None) -> Gtid:
        """An ordinary client commits one transaction; it is acknowledged now, later or never.

        ``tell`` hears of the transaction before anybody else.
        """
        assert self.writable
        sequence = self.binlog[-1].sequence if self.binlog else 0
        if self.slave_pos:
            if self._sequence[0] != self.slave_pos:
                self._sequence = self.slave_pos, gtid.parse(self.slave_pos).last[0].sequence
            sequence = max(sequence, self._sequence[1])
        entry = Gtid(domain=0, sequence=sequence + 1, server=self.server_id)
        self.binlog.append(entry)
        self.newest = entry, self.kernel.now
        if tell is not None:
            tell(entry)
        if self.semi_sync_primary:
            self.waiting.append(entry)
        else:
            self.world.acknowledge(self, entry)
        self._send()
        return entry

    def write_by_hand(self) -> None:
        """root, whom ``read_only`` does not stop, commits one transaction on a replica."""
        if self.running and self.read_only and not self.stuck:
            known = [entry.sequence for entry in self.binlog[-1:]]
            if self.slave_pos:
                known.append(gtid.parse(self.slave_pos).last[0].sequence)
            entry = Gtid(domain=0, sequence=max(known, default=0) + 1, server=self.server_id)
            self.binlog.append(entry)
            # What came before it is on the disk: transactions of the engine are committed in order.
            self.newest = entry, self.kernel.now
            self.kernel.touch()
            self._send()

    def _confirm(self, sequence: int) -> None:
        """A semi-sync replica has received everything up to ``sequence``."""
        self.confirmed += 1
        while self.waiting and self.waiting[0].sequence <= sequence:
            self.world.acknowledge(self, self.waiting.pop(0))
        if not self.waiting:
            self._quiet.notify()

    # ---- replication: what others see

    @property
    def holds(self) -> set[Gtid]:
        """Everything that is in this server's logs."""
        return {*self.binlog, *self.relay}

    def has(self, entry: Gtid, *, applied: bool = False) -> bool:
        """Whether this very transaction is in the logs; ``applied``: in the binary log."""
        return _in(self.binlog, entry) or (not applied and _in(self.relay, entry))

    def attached(self) -> list[Server]:
        """The replicas that have a dump thread here."""
        return [stream.replica for stream in self.dumps.values()]

    @property
    def io_connected(self) -> bool:
        """Whether the IO thread runs and is connected."""
        return self.stream is not None

    @property
    def io_position(self) -> str:
        """``Gtid_IO_Pos``."""
        return str(self._io) if self._io is not None else ""

    @property
    def io_started(self) -> bool:
        """Whether the IO thread was started."""
        return self._io_started

    @io_started.setter
    def io_started(self, started: bool) -> None:
        if started:
            self._start_io()
        else:
            self._stop_io()

    @property
    def sql_running(self) -> bool:
        """Whether the SQL thread runs."""
        return self._sql_running

    @sql_running.setter
    def sql_running(self, running: bool) -> None:
        self._sql_running = running
        self._apply_soon()

    @property
    def apply_paused(self) -> bool:
        """Whether the SQL thread gets nowhere: a lock, a huge transaction, a slow disk."""
        return self._apply_paused

    @apply_paused.setter
    def apply_paused(self, paused: bool) -> None:
        self._apply_paused = paused
        self._apply_soon()

    # ---- replication: the connection

    def _path_open(self, other: Server) -> bool:
        """Whether packets of this server get to another."""
        here, there = self.machine, other.machine
        shut = here.fenced or there.fenced or (there.shut_out and here.address in there.shut_out)
        return not shut and self.world.network.open(self.name, other.name, DATABASE)

    def _start_io(self) -> None:
        self._stop_io()
        self._io_started, self.io_error, self._turned_away = True, "", False
        self._life += 1
        self._connect(self._life)

    def _stop_io(self) -> None:
        """STOP SLAVE IO_THREAD: it also ends its dump thread at the source, if it gets there in time."""
        self._io_started = False
        stream, self.stream = self.stream, None
        if stream is not None:
            stream.receiving = False
            self._tell_source(stream, 0.01)
        self.kernel.touch()

    def _connect(self, life: int) -> None:
        if life != self._life or not self._io_started or self.stream is not None or self.io_error or not self.running:
            return
        source = self.world.server_at(self.source)
        if source is not None and self._can_talk(source) and self._let_in(source):
            delay = self.world.network.delay(self.name, source.name)
            self.kernel.after(0.003 + 3 * delay, self._establish, life, source)
        else:
            self.kernel.after(CONNECT_RETRY_SECONDS * (0.9 + 0.2 * self.kernel.random.random()), self._connect, life)

    def _can_talk(self, source: Server) -> bool:
        return (
            source.running
            and not source.frozen
            and not self.stuck
            and self._path_open(source)
            and source._path_open(self)
        )

    def _let_in(self, source: Server) -> bool:
        """Whether the source has a connection left for a replica (1040)."""
        self._turned_away = self.source_port != self.REPLICATION_PORT and source.full
        return not self._turned_away

    def _establish(self, life: int, source: Server) -> None:
        if life != self._life or not self._io_started or self.stream is not None or not self.running:
            return
        if not self._can_talk(source) or not self._let_in(source):
            self._connect(life)
            return
        sent = 0
        if self._io is not None:
            place = _place(source.binlog, self._io)
            if place is None or place + 1 < source.purged:
                self.io_error = (
                    "Got fatal error 1236 from master when reading data from binary log: 'Error: connecting slave"
                    f" requested to start from GTID {self._io}, which is not in the master's binlog'"
                )
                return
            sent = place + 1
        before = source.dumps.get(self.name)
        if before is not None:
            before.dumping = False
        stream = Stream(source, self, sent, semi_sync=self.semi_sync_replica)
        self.stream = source.dumps[self.name] = stream
        self.kernel.touch()
        if stream.semi_sync and self._io is not None:
            source._confirm(self._io.sequence)
        source._pump(stream)

    def disconnected(self, stream: Stream) -> None:
        """The IO thread hears, or concludes, that the connection is gone; it tries again."""
        if self.stream is stream:
            self.stream = None
            stream.receiving = False
            self.kernel.touch()
            self._tell_source(stream, 0.5)
            self._connect(self._life)

    def _tell_source(self, stream: Stream, seconds: float) -> None:
        """The dump thread ends when it hears that nobody receives any more, or when TCP gives the replica up."""
        source = stream.source
        if source.dumps.get(self.name) is not stream:
            return
        heard = self.machine.powered and not self.machine.frozen and self._path_open(source) and not source.frozen
        wait = seconds * (0.2 + 0.8 * self.kernel.random.random()) if heard else self.world.tcp_gives_up_seconds
        self.kernel.after(wait, source.dump_ended, stream)

    def dump_ended(self, stream: Stream) -> None:
        """A dump thread ends."""
        if self.dumps.get(stream.replica.name) is stream:
            stream.dumping = False
            del self.dumps[stream.replica.name]
            self.kernel.touch()
            if stream.receiving and self._path_open(stream.replica):
                stream.replica.disconnected(stream)

    def advance(self) -> None:
        """Notice at once what has changed."""
        self.links_changed()

    def links_changed(self) -> None:
        """Links, fences or processes have changed."""
        stream = self.stream
        if stream is not None:
            source = stream.source
            broken = source.frozen or not source.machine.powered or not source._path_open(self) or not stream.dumping
            if not broken:
                stream.broken_since = None
            elif stream.broken_since is None:
                stream.broken_since = self.kernel.now
                wait = NET_TIMEOUT_SECONDS + 0.5 * self.kernel.random.random()
                self.kernel.after(wait, self._give_up, stream, self.kernel.now)
        for dump in list(self.dumps.values()):
            replica = dump.replica
            there, back = self._path_open(replica), replica._path_open(self)
            if there and back and replica.machine.powered and not replica.machine.frozen and replica.stream is dump:
                dump.unheard_since = None
            elif dump.unheard_since is None:
                dump.unheard_since = self.kernel.now
            if self.frozen or replica.stream is not dump or not there or not back:
                if self.world.tcp_gives_up_seconds < 1.0 and not there:
                    self.kernel.after(self.world.tcp_gives_up_seconds, self._lost_sight, dump)
                if replica.stream is not dump and there and replica.machine.powered:
                    self.kernel.after(0.5, self.dump_ended, dump)
            else:
                self._pump(dump)

    def silent(self, limit: float) -> list[Stream]:
        """The connections of replicas whose host has confirmed nothing for ``limit`` seconds."""
        now = self.kernel.now
        return [
            dump for dump in self.dumps.values() if dump.unheard_since is not None and now - dump.unheard_since > limit
        ]

    def _lost_sight(self, dump: Stream) -> None:
        if not self._path_open(dump.replica) or not dump.replica._path_open(self):
            self.dump_ended(dump)

    def _give_up(self, stream: Stream, since: float) -> None:
        if stream.broken_since == since and self.stream is stream:
            if self.frozen or self.machine.frozen:
                self.kernel.after(1.0, self._give_up, stream, since)
            else:
                self.disconnected(stream)

    # ---- replication: the events

    def _send(self) -> None:
        for stream in self.dumps.values():
            if not stream.busy:
                self._pump(stream)

    def _pump(self, stream: Stream) -> None:
        if not stream.busy and stream.sent < len(self.binlog):
            stream.busy = True
            self.kernel.after(self.world.network.delay(self.name, stream.replica.name), self._deliver, stream)

    def _deliver(self, stream: Stream) -> None:
        stream.busy = False
        replica = stream.replica
        if not stream.receiving or not stream.dumping or self.frozen or replica.frozen:
            return  # The thaw pumps again.
        if replica.machine.disk_full or not self._path_open(replica):
            replica._wants_space = replica.machine.disk_full
            stream.busy = True
            self.kernel.after(RETRANSMIT_SECONDS, self._deliver, stream)
            return
        fresh = self.binlog[stream.sent :]
        if not fresh:
            return
        stream.sent += len(fresh)
        replica._wants_space = False
        replica.relay += fresh
        replica._io = fresh[-1]
        replica._received_at = self.kernel.now
        if stream.semi_sync:
            self.world.network.carry(
                replica.name, self.name, DATABASE, 30.0, self._hear_confirmation, stream, fresh[-1].sequence
            )
        replica._apply_soon()

    def _hear_confirmation(self, stream: Stream, sequence: int) -> None:
        if not self.running or not stream.dumping or not stream.replica._path_open(self):
            return
        if self.frozen:
            stream.acknowledged = sequence
        else:
            self._confirm(sequence)

    def _apply_soon(self) -> None:
        if self.relay and self._sql_running and not self._applying and not self._apply_paused:
            self._applying = True
            self.kernel.after(0.0003 + 0.002 * self.kernel.random.random(), self._apply, self._starts)

    def _apply(self, starts: int) -> None:
        if starts != self._starts:
            return
        self._applying = False
        if not self._sql_running or self._apply_paused or not self.relay or self.frozen:
            return
        if self.machine.disk_full:
            if self.kernel.random.random() < 0.5:  # It waits for room, or gives up: InnoDB asks for several pages.
                self.sql_error = (1114, "The table 'writes' is full")
                self._sql_running = False
            else:
                self.kernel.after(1.0, self._apply_soon)
            return
        if self.binlog and self.relay[0].sequence <= self.binlog[-1].sequence:
            self.sql_error = (
                1950,
                f"An attempt was made to binlog GTID {self.relay[0]} which would create an out-of-order sequence number"
                f" with existing GTID {self.binlog[-1]}, and gtid strict mode is enabled",
            )
            self._sql_running = False
            return
        self.binlog += self.relay
        # A replica, too, may know its newest transaction as prepared only.
        self.newest = (self.relay[-1] if self.world.applied_is_in_doubt else None), self.kernel.now
        self.slave_pos = str(self.relay[-1])
        self.relay = []
        self._moved.notify()
        if self.dumps:
            self._send()

    # ---- what is done with its files

    def salvage(self) -> str:
        """Apply the relay log of a server whose replication does not run; the position then reached."""
        fresh = [entry for entry in self.relay if not _in(self.binlog, entry)]
        if fresh and self.binlog and fresh[0].sequence <= self.binlog[-1].sequence:
            raise DatabaseError(f"salvage: {fresh[0]} is out of order with {self.binlog[-1]}")
        self.binlog += fresh
        if fresh:
            self.slave_pos = str(fresh[-1])
        self.relay, self.newest = [], (None, 0.0)
        self._moved.notify()
        return self.slave_pos

    def forget_after(self, position: str, count: int) -> None:
        """Flashback: keep the first ``count`` transactions, stand at ``position``, follow nobody."""
        self.binlog, self.slave_pos = self.binlog[:count], position
        self.purged = max(0, count - 1)
        self.world.lost_something()
        self._stop_slave(0, None)
        self._reset_slave(0)

    def copy_of(self, source: Server) -> str:
        """A new copy of another server; the position of the copy. Nothing of it is in a binary log of this server."""
        self.binlog, self.relay, self.in_doubt = list(source.binlog), [], []
        self.slave_pos, self.source, self._io = "", None, None
        self.newest, self.purged = (None, 0.0), len(self.binlog)
        self.world.lost_something()
        return str(source.binlog[-1]) if source.binlog else ""

    # ---- statements

    def execute(self, session: int, statement: str, arguments: Sequence[Any], timeout: float = 60.0) -> Rows:
        """Carry out a statement of ``session``.

        :raises DatabaseError: the server is away, hangs, the session was killed, or the statement failed.
        """
        if self.frozen:
            life = self.sessions
            answers = self._thawed.wait_for(lambda: not self.frozen, timeout)
            if not answers:
                self._do_late(life, statement, arguments)
                text = f"{statement}: (2013, 'Lost connection to server during query (timed out)')"
                raise DatabaseError(text, timed_out=True)
        if not self.running or session not in self.sessions:
            raise DatabaseError(f"{statement}: (2013, 'Lost connection to server during query')")
        name, groups = _handler(statement)
        rows: Rows = getattr(self, name)(session, *groups, *arguments)
        return rows

    def _do_late(self, life: dict[int, str], statement: str, arguments: Sequence[Any]) -> None:
        """A statement in the socket's buffer is carried out after the thaw, though nobody reads the answer."""
        if not statement.startswith(("SET", "STOP", "START", "CHANGE", "RESET")):
            return

        def late() -> None:
            self._thawed.wait_for(lambda: not self.frozen)
            if self.sessions is life and self.running:
                session = self.open_session()
                name, groups = _handler(statement)
                getattr(self, name)(session, *groups, *arguments)

        self.world.in_limbo(late)

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

    @_statement(r"SELECT @@gtid_binlog_pos AS binlog, @@gtid_slave_pos AS applied, @@server_id AS server_id$")
    def _positions(self, _session: int) -> Rows:
        binlog = str(self.binlog[-1]) if len(self.binlog) > self.purged else ""
        return [{"binlog": binlog, "applied": self.slave_pos, "server_id": self.server_id}]

    @_statement(r"SELECT @@gtid_binlog_pos$")
    def _binlog_pos(self, _session: int) -> Rows:
        return [{"@@gtid_binlog_pos": self._positions(0)[0]["binlog"]}]

    @_statement(r"SHOW GLOBAL STATUS LIKE 'Rpl_semi_sync_master_")
    def _clients(self, _session: int) -> Rows:
        count = sum(stream.semi_sync for stream in self.dumps.values()) if self.semi_sync_primary else 0
        values = {"clients": count, "wait_sessions": len(self.waiting), "get_ack": self.confirmed}
        return [
            {"Variable_name": f"Rpl_semi_sync_master_{name}", "Value": str(value)} for name, value in values.items()
        ]

    @_statement(r"SELECT host, state FROM information_schema.processlist WHERE command LIKE 'Binlog Dump%'")
    def _dumps(self, _session: int) -> Rows:
        # Sent is what the own kernel has taken, also where nothing gets through and where nobody reads.
        state = "Master has sent all binlog to slave; waiting for more updates"
        dumps = [{"host": f"{stream.replica.address}:40000", "state": state} for stream in self.dumps.values()]
        return dumps + self._out_of_space()

    def _out_of_space(self) -> Rows:
        """The threads that wait for somebody to free space: those of replication have no host."""
        if not self.machine.disk_full:
            return []
        state = "Waiting for someone to free space"
        stuck = [{"host": "", "state": state}] if self._wants_space else []
        return stuck + ([{"host": "203.0.113.5:40000", "state": state}] if self.stalled else [])

    @_statement(r"SHOW SLAVE STATUS")
    def _slave_status(self, _session: int) -> Rows:
        if self.source is None:
            return []
        io_running = "Yes" if self.stream else "Connecting" if self._io_started and not self.io_error else "No"
        return [
            {
                "Master_Host": self.source,
                "Master_Port": self.source_port,
                "Slave_IO_Running": io_running,
                "Slave_SQL_Running": "Yes" if self._sql_running else "No",
                "Using_Gtid": "Slave_Pos",
                "Gtid_IO_Pos": self.io_position,
                "Seconds_Behind_Master": (9 if self.relay else 0) if self._sql_running and self.stream else None,
                "Last_IO_Errno": 1236 if self.io_error else 1040 if self._turned_away else 0,
                "Last_IO_Error": self.io_error,
                "Last_SQL_Errno": self.sql_error[0],
                "Last_SQL_Error": self.sql_error[1],
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
        if value == "1" and self.waiting:
            sessions = self.sessions
            self.locking += 1
            try:
                quiet = self._quiet.wait_for(
                    lambda: not self.waiting or self.sessions is not sessions or session not in self.sessions,
                    self.world.policy.switchover_limit,
                )
            finally:
                if self.sessions is sessions:
                    self.locking -= 1
            if self.sessions is not sessions or session not in self.sessions:
                raise DatabaseError("SET GLOBAL read_only=1: (2013, 'Lost connection to server during query')")
            if not quiet:
                raise DatabaseError("SET GLOBAL read_only=1: (1205, 'Lock wait timeout exceeded')")
        self.read_only = value == "1"
        self.kernel.touch()
        if not self.read_only:
            self.world.became_writable(self)
        return []

    @_statement(r"SELECT MASTER_GTID_WAIT\(%s, %s\)")
    def _gtid_wait(self, session: int, position: str, limit: float) -> Rows:
        wanted = gtid.parse(position)
        sessions = self.sessions

        def reached() -> bool:
            gone = self.sessions is not sessions or session not in self.sessions
            return gone or not gtid.missing(gtid.parse(self.slave_pos), wanted)

        done = self._moved.wait_for(reached, limit)
        if self.sessions is not sessions or session not in self.sessions:
            raise DatabaseError("SELECT MASTER_GTID_WAIT: (2013, 'Lost connection to server during query')")
        return [{"MASTER_GTID_WAIT": 0 if done else -1}]

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

    def space_freed(self) -> None:
        """There is room on the disk again; who waits for it looks once a minute."""
        self.stalled, self._wants_space = 0, False
        self._moved.notify()
        self._apply_soon()

    @_statement(r"STOP SLAVE(?: (IO|SQL)_THREAD)?$")
    def _stop_slave(self, _session: int, which: str | None) -> Rows:
        if self._wants_space and self.machine.disk_full:
            sessions = self.sessions
            self._moved.wait_for(lambda: not self._wants_space or self.sessions is not sessions, 10.0)
            if self._wants_space or self.sessions is not sessions:
                text = "STOP SLAVE: (2013, 'Lost connection to server during query (timed out)')"
                raise DatabaseError(text, timed_out=True)
        if which != "SQL":
            self._stop_io()
        if which != "IO":
            self._sql_running = False
        return []

    @_statement(r"RESET SLAVE ALL")
    def _reset_slave(self, _session: int) -> Rows:
        if self._io_started or self._sql_running:
            raise DatabaseError(f"RESET SLAVE ALL: {_RUNNING_SLAVE}")
        self._discard_relay()
        self.source, self._io, self.io_error, self.sql_error = None, None, "", _NO_ERROR
        return []

    @_statement(r"CHANGE MASTER TO MASTER_HOST=%s")
    def _change_master(self, _session: int, address: str, port: int, *_others: object) -> Rows:
        if self._io_started or self._sql_running:
            raise DatabaseError(f"CHANGE MASTER TO: {_RUNNING_SLAVE}")
        self._discard_relay()
        self.source, self._io, self.io_error, self.sql_error = address, None, "", _NO_ERROR
        self.source_port = port
        return []

    @_statement(r"START SLAVE(?: (IO|SQL)_THREAD)?$")
    def _start_slave(self, _session: int, which: str | None) -> Rows:
        if not self._io_started and not self._sql_running:
            self._discard_relay()
            self._io = gtid.parse(self.slave_pos).last[0] if self.slave_pos else None
        if which != "IO":
            self.sql_error = _NO_ERROR
            self._sql_running = True
        if which != "SQL" and (self.io_error or not self._io_started):
            self._start_io()
        self._apply_soon()
        return []

    def _discard_relay(self) -> None:
        """With GTID, the first thread to start throws the relay logs away."""
        if self.relay:
            self.relay = []
            self.world.lost_something()

    @_statement(r"SET GLOBAL rpl_semi_sync_master_enabled=(\d)(?:, GLOBAL rpl_semi_sync_slave_enabled=(\d))?$")
    def _semi_sync(self, _session: int, primary: str, replica: str | None) -> Rows:
        if replica is not None:
            self.semi_sync_replica = replica == "1"
        self.semi_sync_primary = primary == "1"
        self.kernel.touch()
        if not self.semi_sync_primary:
            self.world.stopped_waiting(self)
            waiting, self.waiting = self.waiting, []
            for entry in waiting:
                self.world.acknowledge(self, entry)
            self._quiet.notify()
        return []

    @_statement(r"SET GLOBAL rpl_semi_sync_slave_enabled=(\d)$")
    def _semi_sync_replica(self, _session: int, replica: str) -> Rows:
        self.semi_sync_replica = replica == "1"
        return []

    @_statement(r"SET GLOBAL gtid_slave_pos=%s")
    def _set_slave_pos(self, _session: int, position: str) -> Rows:
        self.slave_pos = position
        self.newest = (None, 0.0)  # This commit took every earlier one to the disk.
        self._moved.notify()
        return []

    @_statement(r"RESET MASTER")
    def _reset_master(self, _session: int) -> Rows:
        self.purged = len(self.binlog)
        return []

    @_statement(r"SET GLOBAL gtid_binlog_state=%s")
    def _set_binlog_state(self, _session: int, position: str) -> Rows:
        if position != (str(self.binlog[-1]) if self.binlog else ""):
            raise DatabaseError(f"SET GLOBAL gtid_binlog_state: the data stands elsewhere than at {position}")
        self.purged = max(0, len(self.binlog) - 1)
        return []

    @_statement(r"SELECT @@extra_port")
    def _read_replication_port(self, _session: int) -> Rows:
        return [{"@@extra_port": self.REPLICATION_PORT}]

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


def _place(log: list[Gtid], entry: Gtid) -> int | None:
    """Where a log has this GTID. Sequence numbers have no gaps, so it is not searched for."""
    if log:
        place = entry.sequence - log[0].sequence
        if 0 <= place < len(log) and log[place].sequence == entry.sequence:
            return place if log[place].server == entry.server else None
        if log[-1].sequence - log[0].sequence + 1 != len(log):
            return next((place for place, known in enumerate(log) if known == entry), None)
    return None


def _in(log: list[Gtid], entry: Gtid) -> bool:
    """Whether this very transaction is in a log. Another one may carry the same GTID."""
    place = _place(log, entry)
    return place is not None and log[place] is entry
