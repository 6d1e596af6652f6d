# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One host's agent: looks, decides, acts, and answers. Threads and sockets are the daemon's business."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from failover_agent import __version__, decide, gates
from failover_agent.config import Config
from failover_agent.etcd import Client, Delete, EtcdError, Put
from failover_agent.host import Host, HostError
from failover_agent.lease import Lease
from failover_agent.mariadb import Connection, DatabaseError, MariaDB, read_database
from failover_agent.model import (
    AcquireLeader,
    Action,
    Attach,
    CloseGate,
    Database,
    Fence,
    Hold,
    Leader,
    LiftFence,
    Lock,
    MakeReadOnly,
    Member,
    OpenGate,
    Promote,
    RecordSync,
    Role,
    StartDatabase,
    StopWaiting,
    Stored,
    Sync,
    Term,
    View,
    WaitForReplica,
    to_json,
)
from failover_agent.peer import Peer, PeerError
from failover_agent.seed import DataDirectory, SeedError, stream_backup

_log = logging.getLogger("failover-agent")
#: A candidate that was prepared for a switchover waits this many seconds for the next word of the old primary.
PREPARED_SECONDS = 10.0
_LOCK_ATTEMPTS = 5


class CommandError(Exception):
    """A command cannot be carried out; ``code`` is a stable word, the text says why and what to do."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Agent:
    """The agent without its threads. ``act`` serialises everything that changes a role."""

    def __init__(
        self,
        config: Config,
        store: Client,
        database: MariaDB,
        host: Host,
        lease: Lease,
        connect: Callable[[str], Peer],
    ) -> None:
        self.config = config
        self.store = store
        self.database = database
        self.host = host
        self.lease = lease
        self.connect = connect
        self.directory = DataDirectory(config)
        self.act = threading.RLock()
        self.wake = threading.Event()
        self.may_be_writable = True
        self.prepared_for = ""
        self.prepared_until = 0.0
        self.seeding = ""
        self._seen = Database(running=False)
        self._stored: Stored | None = None
        self._role: Role = "starting"
        self._problems: tuple[tuple[str, str], ...] = ()
        self._detached_since: dict[str, float] = {}
        self._last_words: tuple[str, ...] = ()
        self._published: tuple[int, str] = (0, "")
        self._followers_run: bool | None = None
        self._events_term = 0
        self._events_marker = Path(config.runtime_directory) / "events-were-on"

    # ------------------------------------------------------------------------------------------------ the loop

    def tick(self) -> None:
        """Look at the world once and do what the rules say."""
        with self.act:
            view = self.look()
            actions = decide.decide(view, self.config.policy)
            self._say(actions)
            problems = [("hold", action.why) for action in actions if isinstance(action, Hold)]
            for action in actions:
                try:
                    self._apply(action, view)
                except (DatabaseError, EtcdError, HostError, PeerError) as error:
                    _log.error("%s: %s", type(action).__name__, error)
                    problems.append((type(action).__name__, str(error)))
                    break
            self._problems = tuple(problems)
            if any(not isinstance(action, (Hold, StartDatabase)) for action in actions) and not problems:
                self.wake.set()
            if actions and not all(isinstance(action, Hold) for action in actions):
                self._seen = self.database.observe()
            self._publish(view)
            self._align_followers()
            self._align_events()

    def look(self) -> View:
        """Read everything the rules want to know."""
        now = self.host.now()
        try:
            stored: Stored | None = self.store.read()
        except EtcdError as error:
            _log.warning("etcd: %s", error)
            stored = None
        self._stored = stored
        database = self._observe()
        self._seen = database
        self.may_be_writable = (
            not database.read_only if database.running else self.may_be_writable and database.starting
        )
        self._note_attached(database, now)
        return View(
            now=now,
            host=self.config.host,
            addresses=self.config.hosts,
            stored=stored,
            lease=self.lease.id,
            lease_valid_until=self.lease.valid_until,
            database=database,
            seeded=self.directory.seeded and not self.seeding,
            fenced=self.host.fenced,
            gate_open=self.host.gate_open,
            held_back_until=self.prepared_until,
            detached_since=dict(self._detached_since),
            received=self._received(stored, database),
        )

    def guard(self) -> None:
        """Fence when the lease is about to end. Called ten times a second by a thread that waits for nothing else."""
        if not decide.must_fence(
            self.host.now(),
            self.lease.valid_until,
            self.config.policy,
            writable=self.may_be_writable,
        ):
            return
        _log.critical(
            "the lease ends in %.1f s and was not renewed: fencing",
            self.lease.valid_until - self.host.now(),
        )
        self._fence()

    def _observe(self) -> Database:
        if self.seeding:
            return Database(running=False, starting=True, error=self.seeding)
        database = self.database.observe()
        if database.running:
            return database
        try:
            state = self.host.database_state()
        except HostError as error:
            state = str(error)
        return dataclasses.replace(database, starting=state not in {"inactive", "failed"})

    def _note_attached(self, database: Database, now: float) -> None:
        # A replica that is connected but acknowledges nothing is as good as gone: nobody may wait for it for ever.
        silent = database.semi_sync_primary and database.semi_sync_clients == 0
        attached = () if silent else database.attached
        for name in self.config.peers:
            if not database.running or database.read_only or name in attached:
                self._detached_since.pop(name, None)
            else:
                self._detached_since.setdefault(name, now)

    def _received(self, stored: Stored | None, database: Database) -> dict[str, str]:
        """What the connected replicas have received; asked only while one could become a member."""
        sync = stored.sync if stored else None
        if sync is None or sync.primary != self.config.host or not database.semi_sync_primary:
            return {}
        received = {}
        for name in database.attached:
            if name not in sync.members:
                with contextlib.suppress(PeerError), contextlib.closing(self.connect(name)) as peer:
                    received[name] = str(peer.call("/position")["gtid_io_pos"])
        return received

    def _say(self, actions: tuple[Action, ...]) -> None:
        words = tuple(f"{type(action).__name__}: {action.why}" for action in actions)
        if words != self._last_words:
            for word in words:
                _log.info("%s", word)
            self._last_words = words

    # ------------------------------------------------------------------------------------------------ actions

    def _apply(self, action: Action, view: View) -> None:
        match action:
            case Hold():
                return
            case StartDatabase():
                if not action.keep_in_doubt:
                    kept = self.directory.keep_binlog_tail()
                    if kept:
                        _log.info("kept the newest binary log as %s", kept)
                self.host.start_database(keep_in_doubt=action.keep_in_doubt)
            case Fence():
                self._fence()
            case LiftFence():
                self.host.lift_fence()
            case MakeReadOnly():
                with self._connection(self.config.policy.switchover_limit) as connection:
                    self.database.make_read_only(connection, self.config.policy.switchover_limit)
            case AcquireLeader():
                self._acquire(view)
            case Promote():
                self.promote(action.term, wait_for_replica=action.wait_for_replica)
            case Attach():
                self.attach(action.primary)
            case WaitForReplica():
                self.database.wait_for_replicas(enabled=True)
            case StopWaiting():
                self._confirm_sync(view)
                self.database.wait_for_replicas(enabled=False)
            case RecordSync():
                self._record(action, view)
            case OpenGate():
                self.host.open_gate()
            case CloseGate():
                self.host.close_gate()
            case _:
                raise NotImplementedError(type(action).__name__)

    def _fence(self) -> None:
        """Close the gate and the port, kill the database. Runs without ``act``: a stuck statement must not stop it.

        What did not work is tried again by the guard's next round.
        """
        try:
            self.host.fence()
            self.may_be_writable = False
        finally:
            self.host.close_gate()
        self.host.stop_followers()

    def _align_events(self) -> None:
        """Once a term, let the events run here that replication had left disabled on this host."""
        term = self._stored.term.term if self._stored and self._stored.term else 0
        if self._role != "primary" or self._events_term == term:
            return
        try:
            with self._connection(5.0) as connection:
                count = self.database.enable_events(connection)
        except DatabaseError as error:
            _log.warning("events: %s", error)
            return
        self._events_term = term
        if count:
            _log.info("enabled %d events that now run here", count)

    def _align_followers(self) -> None:
        """Let the units that run on the primary only run where the primary is; after an error, try again."""
        wanted = self._role == "primary" and self.host.gate_open
        if wanted == self._followers_run:
            return
        try:
            if wanted:
                self.host.start_followers()
            else:
                self.host.stop_followers()
        except HostError as error:
            _log.error("what follows the primary: %s", error)
            return
        self._followers_run = wanted

    def _acquire(self, view: View) -> None:
        stored = view.stored
        assert stored is not None
        assert stored.term is not None
        following = stored.term.term + 1
        sync = stored.sync or Sync(term=following, primary=view.host)
        changes: list[Put | Delete] = [
            Put("term", to_json(Term(term=following, primary=view.host, at=utc()))),
            Put("leader", to_json(Leader(holder=view.host, term=following)), lease=view.lease),
            Put("sync", to_json(dataclasses.replace(sync, term=following))),
        ]
        if not self.store.commit(expected(stored, "term", "leader", "sync"), changes):
            raise EtcdError("the leader key was not taken: the estate changed meanwhile")
        _log.info("leading in term %d", following)

    def promote(self, term: int, *, wait_for_replica: bool) -> None:
        """Become writable in ``term``.

        :raises DatabaseError: the position recorded with the term was not reached; nothing is changed then.
        :raises EtcdError: the lease would not outlive the promotion.
        """
        policy = self.config.policy
        stored = self._stored
        recorded = stored.term.gtid if stored and stored.term and stored.term.term == term else ""
        with self._connection(policy.switchover_limit + 2.0) as connection:
            if decide.must_fence(self.host.now(), self.lease.valid_until, policy, writable=True):
                raise EtcdError("the lease is about to end: not becoming writable")
            self.may_be_writable = True
            self.database.promote(
                connection,
                recorded,
                wait_for_replica=wait_for_replica,
                limit=policy.switchover_limit,
            )
        self.restore_events()

    def attach(self, primary: str) -> None:
        """Replicate from the host ``primary``."""
        with self._connection(10.0) as connection:
            self.database.attach(connection, self.config.hosts[primary])
        self.restore_events()

    def pause_events(self) -> None:
        """Stop the event scheduler until :meth:`restore_events`, also across a crash of the agent."""
        with self._connection(2.0) as connection:
            if str(connection.value("SELECT @@event_scheduler")) == "ON":
                self._events_marker.touch()
                self.database.events(connection, enabled=False)

    def restore_events(self) -> None:
        """Start the event scheduler again if :meth:`pause_events` stopped it."""
        if self._events_marker.exists():
            with self._connection(2.0) as connection:
                self.database.events(connection, enabled=True)
            self._events_marker.unlink(missing_ok=True)

    def _record(self, action: RecordSync, view: View) -> None:
        stored = view.stored
        assert stored is not None
        assert stored.term is not None
        sync = Sync(
            term=stored.term.term,
            primary=view.host,
            members=tuple(sorted(action.members)),
            mode=action.mode,
        )
        if not self.store.commit(expected(stored, "sync", "term"), [Put("sync", to_json(sync))]):
            raise EtcdError("the sync set was not recorded: the estate changed meanwhile")
        _log.warning("sync set: %s, members %s", sync.mode, ", ".join(sync.members) or "none")

    def _confirm_sync(self, view: View) -> None:
        """Write ``sync`` once more as it is: a larger set whose writing gave no answer can then no longer arrive."""
        stored = view.stored
        assert stored is not None
        assert stored.sync is not None
        if not self.store.commit(expected(stored, "sync", "term"), [Put("sync", to_json(stored.sync))]):
            raise EtcdError("the sync set was not confirmed: the estate changed meanwhile")

    @contextlib.contextmanager
    def _connection(self, timeout: float) -> Iterator[Connection]:
        connection = self.database.connect(timeout)
        try:
            yield connection
        finally:
            connection.close()

    # ------------------------------------------------------------------------------------------------ what others see

    def _publish(self, view: View) -> None:
        """Tell the estate about this host, when something changed or the key is gone."""
        self._role = self._role_now()
        if view.stored is None or not self.lease.id:
            return
        replication = self._seen.replication
        member = Member(
            host=self.config.host,
            address=self.config.address,
            version=__version__,
            lease=self.lease.id,
            role=self._role,
            io_running=bool(replication and replication.io_running),
            sql_running=bool(replication and replication.sql_running),
            replicates_from=self._name_of(replication.host) if replication else None,
            semi_sync_replica=self._seen.semi_sync_replica,
        )
        text = to_json(member)
        if self._published == (self.lease.id, text) and self.config.host in view.stored.members:
            return
        try:
            self.store.commit({}, [Put(f"members/{self.config.host}", text, lease=self.lease.id)])
        except EtcdError as error:
            _log.warning("not published: %s", error)
            return
        self._published = (self.lease.id, text)

    def _role_now(self) -> Role:
        if not self.directory.seeded or self.seeding:
            return "unseeded"
        if not self._seen.running:
            return "starting" if self._seen.starting else "fenced" if self.host.fenced else "stopped"
        if self.host.fenced:
            return "fenced"
        return "replica" if self._seen.read_only else "primary"

    def _name_of(self, address: str) -> str:
        return next((name for name, known in self.config.hosts.items() if known == address), address)

    def role(self) -> dict[str, Any]:
        """The short answer for load balancers and probes; it asks nobody, so it never blocks."""
        term = self._stored.term.term if self._stored and self._stored.term else None
        try:
            vips = self.host.held()
        except HostError:
            vips = {}
        return {
            "schema": 1,
            "host": self.config.host,
            "role": self._role,
            "term": term,
            "writable": self._role == "primary" and self.may_be_writable,
            "vips": vips,
            "at": utc(),
        }

    def lag_seconds(self) -> int | None:
        """How far this replica is behind, in seconds; None when unknown or not a replica."""
        replication = self._seen.replication
        return replication.lag_seconds if replication and replication.sql_running else None

    def status(self) -> dict[str, Any]:
        """Everything about this host and what it knows of the estate; fields as in ``docs/reference/agent.md``."""
        now = self.host.now()
        stored, health = self._ask_etcd()
        database = self._seen
        replication = database.replication
        vips = self.host.held()
        return {
            "schema": 1,
            "estate": self.config.estate,
            "host": self.config.host,
            "version": __version__,
            "role": self._role,
            "term": stored.term.term if stored and stored.term else None,
            "primary": stored.term.primary if stored and stored.term else None,
            "leader": {"holder": stored.leader.holder, "term": stored.leader.term}
            if stored and stored.leader
            else None,
            "sync": dataclasses.asdict(stored.sync) if stored and stored.sync else None,
            "lease": {
                "held": self.lease.valid_until > now,
                "remaining_seconds": round(max(0.0, self.lease.valid_until - now), 1),
            },
            "etcd": {
                "reachable": stored is not None,
                "endpoints": len(health),
                "healthy": sum(health.values()),
                "unhealthy": sorted(endpoint for endpoint, good in health.items() if not good),
            },
            "database": {
                "engine": "mariadb",
                "running": database.running,
                "version": database.version,
                "read_only": database.read_only,
                "gtid_binlog_pos": database.gtid_binlog_pos,
                "gtid_slave_pos": database.gtid_slave_pos,
                "io_running": replication.io_running if replication else None,
                "sql_running": replication.sql_running if replication else None,
                "replicates_from": self._name_of(replication.host) if replication else None,
                "lag_seconds": replication.lag_seconds if replication else None,
                "semi_sync_clients": database.semi_sync_clients,
                "error": database.error or (replication.error if replication else ""),
            },
            "vips": {
                vip.name: {
                    "address": vip.address,
                    "follows": vip.follows,
                    "held": vips.get(vip.name, False),
                }
                for vip in self.config.vips
            },
            "members": {
                name: {"role": member.role, "version": member.version} for name, member in stored.members.items()
            }
            if stored
            else {},
            "lock": dataclasses.asdict(stored.lock) if stored and stored.lock else None,
            "problems": [{"code": code, "message": message} for code, message in self._problems],
            "at": utc(),
        }

    def _ask_etcd(self) -> tuple[Stored | None, dict[str, bool]]:
        """The estate's keys as they are now, and which endpoints answer."""
        client = self.store.clone()
        try:
            health = client.healthy()
            return client.read() if any(health.values()) else None, health
        except EtcdError as error:
            _log.warning("etcd: %s", error)
            return None, health
        finally:
            client.close()

    # ------------------------------------------------------------------------------------------------ peers

    def answer_peer(self, caller: str, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        """The replies of :class:`failover_agent.peer.PeerHandler`."""
        request = body or {}
        try:
            match path:
                case "/position":
                    return self._position()
                case "/facts":
                    return dataclasses.asdict(self.facts(str(request["position"]), str(request["run_id"])))
                case "/prepare":
                    return self._prepare(caller, str(request["run_id"]))
                case "/cancel":
                    return self._cancel(str(request["run_id"]))
                case "/approach" | "/catch_up":
                    return self._catch_up(str(request["run_id"]), str(request["position"]), float(request["limit"]))
                case "/promote":
                    return self._promoted(caller, str(request["run_id"]), int(request["term"]))
        except (DatabaseError, EtcdError, HostError) as error:
            raise PeerError(str(error)) from error
        raise PeerError(f"{path} is no call of this agent ({__version__})")

    def stream_to_peer(self, caller: str, path: str) -> Iterator[bytes]:
        """A copy of the running database for a host that has to be seeded."""
        if path != "/stream/seed":
            raise PeerError(f"{path} is no stream of this agent ({__version__})")
        if not self._seen.running or self._role != "primary":
            raise PeerError(f"{self.config.host} is {self._role}, not primary: no copy is made from it")
        _log.info("seeding %s", caller)
        try:
            yield from stream_backup(self.config)
        except SeedError as error:
            _log.error("seeding %s: %s", caller, error)
            raise

    def _position(self) -> dict[str, Any]:
        with self._connection(1.0) as connection:
            replication = connection.rows("SHOW SLAVE STATUS")
            return {
                "gtid_io_pos": str(replication[0].get("Gtid_IO_Pos") or "") if replication else "",
                "gtid_binlog_pos": str(connection.value("SELECT @@gtid_binlog_pos") or ""),
            }

    def _prepare(self, caller: str, run_id: str) -> dict[str, Any]:
        """Expect to be promoted within seconds: keepalived leaves FAULT now, and takes the address when the old
        primary lets go of it. Without a promotion the rules close the gate again.
        """
        with self.act:
            self.prepared_for = run_id
            self.prepared_until = self.host.now() + PREPARED_SECONDS
            self.host.open_gate()
        _log.info("prepared by %s for switchover %s", caller, run_id)
        return {}

    def facts(self, position: str, run_id: str) -> gates.HostFacts:
        """This host as one side of switchover ``run_id``; waits up to ``lag_limit`` seconds for ``position``."""
        policy = self.config.policy
        follows = any(vip.follows == "primary" for vip in self.config.vips)
        prepared = self.prepared_for if self.prepared_for != run_id and self.host.now() < self.prepared_until else ""
        facts = gates.HostFacts(
            host=self.config.host,
            disk_free_fraction=self.host.disk_free_fraction(),
            keepalived_running=not follows or self.host.unit_active("keepalived.service"),
            busy=self.seeding or (f"prepared for switchover {prepared}" if prepared else ""),
        )
        try:
            with self._connection(policy.lag_limit + 1.0) as connection:
                caught_up = self.database.wait_for(connection, position, policy.lag_limit)
                return dataclasses.replace(
                    facts,
                    caught_up=caught_up,
                    database=read_database(connection, self.config.hosts),
                    settings=self.database.settings(connection),
                )
        except DatabaseError as error:
            return dataclasses.replace(facts, database=Database(running=False, error=str(error)))

    def _cancel(self, run_id: str) -> dict[str, Any]:
        with self.act:
            if self.prepared_for == run_id:
                self.prepared_for, self.prepared_until = "", 0.0
                self.wake.set()
        return {}

    def _catch_up(self, run_id: str, position: str, limit: float) -> dict[str, Any]:
        if self.prepared_for != run_id:
            raise PeerError(f"not prepared for {run_id}")
        self.prepared_until = self.host.now() + PREPARED_SECONDS
        with self._connection(limit + 1.0) as connection:
            return {"caught_up": self.database.wait_for(connection, position, limit)}

    def _promoted(self, caller: str, run_id: str, term: int) -> dict[str, Any]:
        if self.prepared_for != run_id:
            raise PeerError(f"not prepared for {run_id}")
        started = time.monotonic()
        with self.act:
            stored = self.store.read()
            self._stored = stored
            leader = stored.leader
            if leader is None or (leader.holder, leader.term, leader.lease) != (
                self.config.host,
                term,
                self.lease.id,
            ):
                raise PeerError(f"term {term} does not name {self.config.host}: {leader}")
            sync = stored.sync
            self.promote(
                term,
                wait_for_replica=sync is not None and sync.term == term and sync.mode == "strict",
            )
            self._role = "primary"
            _log.warning("primary in term %d, handed over by %s", term, caller)
            self.prepared_for, self.prepared_until = "", 0.0
        self.wake.set()
        return {"promoted": True, "ms": round((time.monotonic() - started) * 1000, 1)}

    # ------------------------------------------------------------------------------------------------ commands

    def bootstrap(self, primary: str) -> dict[str, Any]:
        """Name the first primary of a new estate. Changes nothing when one was named before."""
        if primary not in self.config.hosts:
            raise CommandError(
                "unknown_host",
                f"{primary} is no database host of this estate: {', '.join(self.config.hosts)}",
            )
        client = self.store.clone()
        try:
            stored = client.read()
            if stored.term is not None:
                return {"changed": False, "primary": stored.term.primary, "term": stored.term.term}
            changes: list[Put | Delete] = [
                Put("term", to_json(Term(term=1, primary=primary, at=utc()))),
                Put("sync", to_json(Sync(term=1, primary=primary))),
            ]
            changed = client.commit({"term": 0, "leader": 0, "sync": 0}, changes)
            stored = client.read()
        except EtcdError as error:
            raise CommandError("quorum_lost", f"etcd gave no answer: {error}") from error
        finally:
            client.close()
        self.wake.set()
        assert stored.term is not None
        return {"changed": changed, "primary": stored.term.primary, "term": stored.term.term}

    def adopt(self) -> dict[str, Any]:
        """Declare the local data directory to be the estate's: only on the host that the first term names."""
        stored = self._stored
        if self.directory.seeded:
            return {"changed": False}
        if stored is None or stored.term is None or stored.term.primary != self.config.host:
            raise CommandError(
                "not_primary",
                f"{self.config.host} is not the primary of the estate; a replica is seeded, not adopted",
            )
        with self.act:
            if self.host.database_state() == "active":
                # It was started by somebody else, without the settings of the estate: the agent starts it again.
                _log.warning("adopting a running database: restarting it once")
                self.database.forget()
                self.host.stop_database()
            self.directory.adopt("adopted")
        self.wake.set()
        return {"changed": True}

    def seed(self, *, discard: bool) -> dict[str, Any]:
        """Give this replica its first copy from the primary.

        ``discard`` allows to put data aside that is no fresh install's.
        """
        if self.directory.seeded and not discard:
            return {"changed": False}
        with self.act:
            stored = self._stored
            if self.seeding:
                raise CommandError("busy", f"{self.config.host} is busy {self.seeding}")
            if stored is None or stored.term is None or stored.leader is None:
                raise CommandError("no_primary", "no primary leads at the moment, so there is nothing to copy from")
            if stored.term.primary == self.config.host:
                raise CommandError(
                    "already_primary",
                    f"{self.config.host} is the primary; it is what the others are seeded from",
                )
            source = stored.term.primary
            discard = discard or self.directory.half_seeded
            if self.host.database_state() == "active":
                foreign = () if discard else self.database.foreign_data()
                if foreign:
                    raise CommandError(
                        "foreign_data",
                        f"{self.config.host} holds data of its own: {', '.join(foreign[:5])}",
                    )
            elif not discard and not self._fresh():
                raise CommandError(
                    "foreign_data",
                    f"MariaDB does not run on {self.config.host}, so its data cannot be judged",
                )
            self.seeding = f"seeding from {source}"
        try:
            self.database.forget()
            self.host.stop_database()
            position = self.directory.replace(lambda: self.connect(source).stream("/stream/seed"), source)
            self.host.start_database(keep_in_doubt=False)
            self._wait_answering(60.0)
            with self._connection(10.0) as connection:
                self.database.begin_at(connection, position)
            self.directory.adopt(source)
        except (SeedError, PeerError, HostError, DatabaseError) as error:
            raise CommandError("seed_failed", str(error)) from error
        finally:
            self.seeding = ""
        self.wake.set()
        return {"changed": True, "from": source, "position": position}

    def _fresh(self) -> bool:
        """Whether the stopped database was never more than Debian's fresh install: no schema folder beside its own."""
        own = {"mysql", "performance_schema", "sys"}
        folders = {path.name for path in Path(self.config.database_directory).iterdir() if path.is_dir()}
        return not {name for name in folders if not name.startswith(("#", "."))} - own

    def _wait_answering(self, limit: float) -> None:
        deadline = time.monotonic() + limit
        while True:
            try:
                self.database.connect(1.0).close()
            except DatabaseError as error:
                if time.monotonic() > deadline:
                    raise DatabaseError(f"mariadbd did not answer within {limit:g} s: {error}") from error
                time.sleep(0.2)
            else:
                return

    def lock_acquire(self, owner: str, run_id: str, runbook: str, ttl_seconds: float) -> dict[str, Any]:
        """Take the estate lock for ``ttl_seconds``; the holder refreshes it by taking it again."""
        client = self.store.clone()
        try:
            # Another host may take it meanwhile for the very same run, or give it back.
            for _attempt in range(_LOCK_ATTEMPTS):
                stored = client.read()
                if stored.lock is not None and stored.lock.run_id != run_id:
                    return {"acquired": False, "lock": dataclasses.asdict(stored.lock)}
                acquired_at = stored.lock.acquired_at if stored.lock else utc()
                lock = Lock(owner=owner, run_id=run_id, runbook=runbook, acquired_at=acquired_at)
                put = Put("lock", to_json(lock), lease=client.grant(ttl_seconds))
                if client.commit(expected(stored, "lock"), [put]):
                    return {"acquired": True, "lock": dataclasses.asdict(lock)}
        except EtcdError as error:
            raise CommandError("quorum_lost", f"the estate lock needs etcd: {error}") from error
        finally:
            client.close()
        raise CommandError("busy", "the estate lock changes hands too fast; try again")

    def lock_release(self, run_id: str, *, force: bool) -> dict[str, Any]:
        """Give the estate lock back; ``force`` takes it from another run."""
        client = self.store.clone()
        try:
            stored = client.read()
            if stored.lock is None:
                return {"released": False, "lock": None}
            if stored.lock.run_id != run_id and not force:
                return {"released": False, "lock": dataclasses.asdict(stored.lock)}
            released = client.commit(expected(stored, "lock"), [Delete("lock")])
        except EtcdError as error:
            raise CommandError("quorum_lost", f"the estate lock needs etcd: {error}") from error
        finally:
            client.close()
        return {"released": released, "lock": dataclasses.asdict(stored.lock)}


def expected(stored: Stored, *keys: str) -> dict[str, int]:
    """The revisions under which ``keys`` were read, as :meth:`failover_agent.etcd.Client.commit` wants them."""
    return {key: stored.revisions.get(key, 0) for key in keys}


def utc() -> str:
    """Now as UTC ISO 8601 with milliseconds."""
    now = time.time()
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
