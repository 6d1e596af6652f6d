# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole estate in memory: etcd, machines, MariaDB servers and clients, and on every machine the real agent.

Nothing of the agent is replaced but its edges: :class:`Store` stands for the way to etcd, :class:`SimConnection` for a
connection to mariadbd, :class:`SimHost` for systemd, nftables and keepalived, :class:`SimPeer` for HTTPS to another
agent. So the rules, the lease, the promotion and the planned switchover that run here are those of production, each
thread of the agent as a task of :mod:`simulator.kernel`.

Faults are planned with :meth:`World.plan` and strike at the operation they name: before it, instead of it, after it, or
with the answer lost on the way. Or they befall links, machines and processes, at any time.

:class:`simulator.invariants.Invariants` looks after every event in which something changed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeVar

from failover_agent import failover, gates, returning, switchover
from failover_agent.agent import Agent
from failover_agent.config import Config, Pki, Vip
from failover_agent.daemon import _failsafe, _move_etcd, _Waker
from failover_agent.etcd import Client, Delete, EtcdError, Put
from failover_agent.gtid import Gtid
from failover_agent.guard import WRITABLE, Guard
from failover_agent.host import Host, HostError
from failover_agent.lease import Lease
from failover_agent.mariadb import Connection, DatabaseError, MariaDB, Received
from failover_agent.model import Acknowledged, Leader, Stored, Sync, Term, history_json, to_json, utc
from failover_agent.note import LeaseNote, read_note
from failover_agent.peer import Peer, PeerError
from failover_agent.policy import Engine, Policy
from failover_agent.seed import DataDirectory, SeedError

from simulator import etcd as sim_etcd
from simulator.clients import Clients
from simulator.invariants import BrokenInvariantError, Invariants
from simulator.kernel import EPOCH_SECONDS, Call, CrashError, Event, Kernel, Lock, Process, Waiters
from simulator.mariadb import Rows, Server
from simulator.network import ALL, PEER, Network

__all__ = ["EPOCH", "ETCD", "VIP", "BrokenInvariantError", "CrashError", "Fault", "Machine", "SimPeer", "World"]

T = TypeVar("T")

GUARD_SECONDS = 0.1
AGENT_RESTART_SECONDS = 1.0
PEER_TIMEOUT_SECONDS = 5.0
#: What wall clocks show when the simulated time is zero.
EPOCH = EPOCH_SECONDS
VIP = "198.51.100.10"
#: The host of etcd's only member, where a world was not told of others.
ETCD = "etcd"
_NO_PKI = Pki("", "", "")


class Fault(Enum):
    """What can befall one operation of an agent."""

    CRASH_BEFORE = "the agent dies before it"
    CRASH_AFTER = "the agent dies after it"
    FAIL = "it fails and changes nothing"
    NO_ANSWER = "it takes place, but the answer is lost"
    LATE = "it fails, and takes place two to six seconds later"
    STALL = "the whole agent stands still for eight seconds before it"


LATE_SECONDS = 6.0
STALL_SECONDS = 8.0


# ------------------------------------------------------------------------------------------------ the agent's edges


class SimConnection(Connection):
    """A connection of the agent to the server of its machine."""

    def __init__(self, world: World, machine: Machine, timeout: float) -> None:
        self._world = world
        self._machine = machine
        self._timeout = timeout
        server = machine.server
        if not server.running:
            raise DatabaseError('cannot connect: (2002, "Can\'t connect to local server through socket")')
        if server.frozen:
            world.kernel.sleep(timeout)
            if server.frozen or not server.running:
                raise DatabaseError("cannot connect: timed out", timed_out=True)
        self.thread_id = server.open_session()

    def rows(self, statement: str, arguments: Sequence[Any] = ()) -> Rows:
        """Run a statement."""
        return self._world.operation(
            self._machine, f"sql {statement}", lambda: self._run(statement, arguments), DatabaseError
        )

    def _run(self, statement: str, arguments: Sequence[Any]) -> Rows:
        self._world.kernel.sleep(0.0003 * self._world.kernel.random.random())
        return self._machine.server.execute(self.thread_id, statement, arguments, self._timeout)

    def close(self) -> None:
        """Close it."""
        self._machine.server.sessions.pop(self.thread_id, None)


class SimDatabase(MariaDB):
    """The real adapter over a server of the world."""

    def __init__(self, world: World, machine: Machine) -> None:
        super().__init__(machine.config)
        self._world = world
        self._machine = machine

    def _by_socket(self, timeout: float) -> Connection:
        """A connection; a server that is down refuses at once, one whose clients took all connections too.

        An administrator holds the one that is kept for administrators.
        """
        server = self._machine.server
        if server.running and not server.frozen and server.full:
            raise DatabaseError("cannot connect: (1040, 'Too many connections')", full=True)
        return SimConnection(self._world, self._machine, timeout)

    def _by_port(self, timeout: float) -> Connection:
        return SimConnection(self._world, self._machine, timeout)

    def _answers(self, address: str, port: int) -> bool:
        del port
        here, there = self._machine.server, self._world.server_at(address)
        if there is not None and there.running and here._path_open(there) and there._path_open(here):
            return True
        self._world.kernel.sleep(0.5)
        return False

    def received(self, connection: Connection) -> Received:
        """As the real one, which reads the files of the relay log after a restart."""
        said, relay = super().received(connection), self._machine.server.relay
        return dataclasses.replace(said, position=str(relay[-1]), unapplied=True) if relay else said


class Store(Client):
    """The etcd client of one agent: the real one, with its choice of endpoints, over the network of the world."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        members = list(world.cluster.members.values())
        self._members = dict(zip(machine.config.etcd_endpoints, members, strict=True))
        # A host asks its own member first.
        self._endpoints = sorted(self._members, key=lambda endpoint: self._members[endpoint].host != machine.name)
        self._prefix = machine.config.prefix
        self._timeout = 1.0

    def read(self) -> Stored:
        """Everything in one reading."""
        stored: Stored = self._ask("read", lambda: self._anywhere("/v3/kv/range", {})["stored"])
        return stored

    def commit(self, expected: Mapping[str, int], changes: list[Put | Delete]) -> bool:
        """One transaction."""
        body = {"expected": expected, "changes": changes}
        return self._ask("commit", lambda: bool(self._first("/v3/kv/txn", body)["succeeded"]))

    def grant(self, ttl_seconds: float) -> int:
        """A new lease."""
        return self._ask("grant", lambda: super(Store, self).grant(ttl_seconds))

    def renew(self, lease: int) -> bool:
        """Renew a lease."""
        return self._ask("renew", lambda: super(Store, self).renew(lease))

    def revoke(self, lease: int) -> None:
        """End a lease."""
        return self._ask("revoke", lambda: super(Store, self).revoke(lease))

    def healthy(self) -> dict[str, bool]:
        """Which endpoints answer."""
        return {endpoint: self._answers(endpoint) for endpoint in self._members}

    def clone(self) -> Client:
        """Another client."""
        return Store(self._world, self._machine)

    def close(self) -> None:
        """Nothing to close."""

    def _ask(self, name: str, effect: Callable[[], T]) -> T:
        return self._world.operation(self._machine, f"etcd.{name}", effect, EtcdError)

    def _post(self, endpoint: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        world = self._world
        store = world.etcd
        member = self._members[endpoint]

        def effect() -> dict[str, Any]:
            match path:
                case "/v3/kv/range":
                    return {"stored": store.stored()}
                case "/v3/kv/txn":
                    return {"succeeded": store.commit(body["expected"], body["changes"])}
                case "/v3/lease/grant":
                    return {"ID": str(store.grant(float(body["TTL"])))}
                case "/v3/lease/keepalive":
                    lease = int(body["ID"])
                    return {"result": {"TTL": str(round(store.leases[lease][1]))} if store.renew(lease) else {}}
                case "/v3/maintenance/status":
                    return {"header": {"member_id": member.name}, "leader": world.cluster.leader}
                case "/v3/cluster/member/list":
                    known = ((each.name, url) for url, each in self._members.items())
                    return {"members": [{"ID": name, "name": name, "clientURLs": [url]} for name, url in known]}
                case "/v3/maintenance/transfer-leadership":
                    world.cluster.move(body["targetID"])
                    return {}
                case "/v3/lease/revoke":
                    store.revoke(int(body["ID"]))
                    return {}
            raise NotImplementedError(path)

        call = Call(world.kernel, self._timeout, effect, writes=path in {"/v3/kv/txn", "/v3/lease/grant"})
        if world.kernel.foreign:
            call.origin = self._machine.name
            world.cluster.at_once(member, call)
        else:
            world.cluster.ask(self._machine.name, member, call)
        answer: dict[str, Any] = call.wait()
        return answer


class SimLease(Lease):
    """The lease with its note in the memory of the machine instead of a file on tmpfs."""

    def __init__(self, client: Client, policy: Policy, machine: Machine, now: Callable[[], float]) -> None:
        self._machine = machine
        super().__init__(client, policy, Path("lease"), now)

    def _note(self) -> None:
        self._machine.lease_note = self._noted()

    def _load(self) -> LeaseNote:
        return self._machine.lease_note


class SimDirectory(DataDirectory):
    """A data directory that was seeded long ago; only a new copy changes that."""

    def __init__(self, world: World, machine: Machine) -> None:
        super().__init__(machine.config)
        self._world = world
        self._machine = machine
        self.has_data = True

    @property
    def seeded(self) -> bool:
        """Whether the directory belongs to this estate."""
        return self.has_data

    @property
    def half_seeded(self) -> bool:
        """Copies are put in place in one step here."""
        return False

    def copy_bytes(self) -> int:
        """All data is the same size here."""
        return 1 << 20

    def aside(self) -> list[Path]:
        """Nothing is kept."""
        return []

    def replace(
        self, fetch: Callable[[], Iterator[bytes]], origin: str, *, size: int = 0, worthless: bool = False
    ) -> str:
        """Fetch a copy of another server, which takes some seconds, and put it in place."""
        del fetch, size, worthless
        world, source = self._world, self._world.machines[origin]
        life = source.server.sessions
        world.kernel.sleep(0.5 + 4.0 * world.random.random())
        if not world.network.open(origin, self._machine.name, PEER) or source.process is None:
            raise SeedError(f"no copy was made: {origin} /stream/seed: the stream broke; the data is untouched")
        if source.server.sessions is not life or not source.server.running or source.server.stuck:
            raise SeedError("no copy was made: mariadb-backup failed; the data is untouched")
        return world.operation(self._machine, "copy", lambda: self._machine.server.copy_of(source.server), SeedError)

    def adopt(self, origin: str) -> None:
        """It does now."""
        del origin
        self.has_data = True

    def keep_binlog_tail(self) -> Path | None:
        """Nothing is kept."""
        return None


class Note:
    """A small file of the agent: as much of :class:`pathlib.Path` as is used."""

    def __init__(self, files: dict[str, str], name: str) -> None:
        self._files, self._name = files, name

    def touch(self) -> None:
        """Make it."""
        self._files.setdefault(self._name, "")

    def exists(self) -> bool:
        """Whether it is there."""
        return self._name in self._files

    def unlink(self, *, missing_ok: bool = False) -> None:
        """Remove it."""
        del missing_ok
        self._files.pop(self._name, None)

    def read_text(self, encoding: str) -> str:
        """What is in it."""
        del encoding
        if self._name not in self._files:
            raise FileNotFoundError(self._name)
        return self._files[self._name]

    def write_text(self, text: str, encoding: str) -> None:
        """Replace what is in it."""
        del encoding
        self._files[self._name] = text

    def with_suffix(self, suffix: str) -> Note:
        """Another one beside it."""
        return Note(self._files, self._name + suffix)

    def rename(self, target: Note) -> None:
        """Put it in the place of another one."""
        target._files[target._name] = self._files.pop(self._name)


class WritableNote(Note):
    """The file that says that clients may be able to write: guards sleep while it is not there."""

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.runtime, WRITABLE)
        self._appeared = machine.appeared

    def touch(self) -> None:
        """Make it."""
        super().touch()
        self._appeared.notify()


class LeaseFile:
    """The file with the lease, to be read only."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def read_text(self, encoding: str) -> str:
        """What is in it."""
        del encoding
        return " ".join(map(str, self._machine.lease_note))


class SimRejoin:
    """Logs of the server of one machine."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine

    def relay_pending(self) -> bool:
        """Whether the relay log holds transactions that are not applied."""
        return bool(self._machine.server.relay)

    def salvage(self, connection: Connection) -> str:
        """Apply them."""
        del connection
        return self._world.operation(self._machine, "salvage", self._salvage, DatabaseError)

    def _salvage(self) -> str:
        self._world.kernel.sleep(0.05 + 0.2 * self._world.random.random())
        server = self._machine.server
        if not server.running or server.stuck:
            raise DatabaseError("salvage: the server has gone away")
        return server.salvage()

    def fork(self, history: Sequence[Term], present: str) -> str:
        """The last transaction that the primary has, too."""
        del present
        mine = self._machine.server.binlog
        theirs = self._world.machines[history[-1].primary].server.binlog
        common = [entry for entry, other in zip(mine, theirs, strict=False) if entry == other]
        return str(common[-1]) if common else ""

    def divergent(self, fork: str) -> tuple[Any, ...]:
        """The transactions beyond the fork."""
        binlog = self._machine.server.binlog
        kept = next((number for number, entry in enumerate(binlog, 1) if str(entry) == fork), 0)
        return tuple(binlog[kept:])

    def save_divergent(self, fork: str) -> tuple[str, int] | None:
        """How many transactions lie beyond the fork."""
        binlog = self._machine.server.binlog
        kept = next((number for number, entry in enumerate(binlog, 1) if str(entry) == fork), 0)
        return (fork, kept) if len(binlog) > kept else None

    def saved(self) -> tuple[Any, ...]:
        """Nothing is kept here."""
        return ()

    def flashback(self, connection: Connection, saved: tuple[str, int]) -> None:
        """Undo what lies beyond the fork."""
        del connection
        server = self._machine.server
        self._world.operation(self._machine, "flashback", lambda: server.forget_after(*saved), DatabaseError)


class SimHost(Host):
    """systemd, nftables, keepalived and the clock of one machine."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self._config = machine.config

    def now(self) -> float:
        """CLOCK_BOOTTIME of this machine; every machine counts from another zero."""
        return self._world.kernel.now + self._machine.clock_offset

    def wall(self) -> float:
        """Seconds since 1970."""
        return EPOCH_SECONDS + self._world.kernel.now + self._machine.wall_offset

    def database_state(self) -> str:
        """ActiveState of mariadb.service."""
        server = self._machine.server
        return "active" if server.running else "activating" if server.starts_at is not None else "failed"

    def start_database(self, *, keep_in_doubt: bool) -> None:
        """systemctl start --no-block."""
        self._world.invariants.starting(self._machine, keeps=keep_in_doubt)
        self._do("start_database", lambda: self._machine.server.start(keep_in_doubt=keep_in_doubt))

    def withdraw_permit(self) -> None:
        """Nothing else starts a database here."""

    def stop_database(self) -> None:
        """systemctl stop."""
        self._do("stop_database", self._machine.server.stop)

    @property
    def fenced(self) -> bool:
        """Whether the database port is shut."""
        return self._machine.fenced

    def fence(self) -> None:
        """Shut the port, kill mariadbd."""

        def effect() -> None:
            self._machine.fenced = True
            self._machine.server.kill()

        self._do("fence", effect)

    def lift_fence(self) -> None:
        """Open the port."""

        def effect() -> None:
            self._machine.fenced = False
            self._world.topology_changed()

        self._do("lift_fence", effect)

    @property
    def shut_out(self) -> frozenset[str]:
        """The addresses that may not replicate from here."""
        return self._machine.shut_out

    def set_shut_out(self, addresses: frozenset[str]) -> None:
        """The firewall lets nothing through from them."""

        def effect() -> None:
            self._machine.shut_out = addresses
            self._world.topology_changed()

        self._do("set_shut_out", effect)

    @property
    def gate_open(self) -> bool:
        """Whether the addresses may come."""
        return self._machine.gate

    @property
    def gate_prepared(self) -> bool:
        """Whether the gate was opened for a planned switchover to come."""
        return self._machine.gate_prepared

    def open_gate(self, *, prepared: bool = False) -> None:
        """Let the addresses come."""

        def effect() -> None:
            self._machine.gate_prepared = prepared
            self._machine.gate_since = self._world.kernel.now
            self._world.set_gate(self._machine, is_open=True)
            self._machine.appeared.notify()

        self._do("open_gate", effect)

    def close_gate(self) -> None:
        """Send the addresses away."""

        def effect() -> None:
            self._world.set_gate(self._machine, is_open=False)
            self._machine.gate_prepared = False

        self._do("close_gate", effect)

    def start_followers(self) -> None:
        """systemctl start failover-primary.target."""
        self._do("start_followers", lambda: setattr(self._machine, "followers", True))

    def stop_followers(self) -> None:
        """systemctl stop failover-primary.target."""
        self._do("stop_followers", lambda: setattr(self._machine, "followers", False))

    def unit_active(self, unit: str) -> bool:
        """Whether a unit runs."""
        return unit != "keepalived.service" or self._machine.keepalived

    def addresses(self) -> set[str]:
        """The addresses of this machine."""
        return {self._machine.address, *({VIP} if self._machine.holds_vip else ())}

    def kill_sockets(self, address: str) -> None:
        """ss -K. What is sent from an address that is gone reaches nobody."""

        def reset() -> None:
            if address in self.addresses():
                self._machine.reset_addresses.append(address)

        self._do("kill_sockets", reset)

    @contextlib.contextmanager
    def refusing(self, addresses: Iterable[str]) -> Iterator[None]:
        """Nobody connects here while an address moves."""
        del addresses
        yield

    @contextlib.contextmanager
    def no_connections(self, address: str) -> Iterator[None]:
        """A dead host lets nobody wait here."""
        del address
        yield

    def reset_silent(self, limit: float) -> frozenset[str]:
        """ss -K of what waits for somebody who cannot hear."""
        silent = self._machine.server.silent(limit)

        def reset() -> None:
            for dump in silent:
                self._machine.server.dump_ended(dump)

        if silent:
            self._do("reset_silent", reset)
        return frozenset(dump.replica.address for dump in silent)

    def disk_free_fraction(self) -> float:
        """Free share of the data disk."""
        return self._machine.disk_free_fraction

    def _do(self, name: str, effect: Callable[[], None]) -> None:
        def run() -> None:
            self._world.kernel.sleep(0.004 + 0.03 * self._world.kernel.random.random())
            self._world.kernel.switch_point()
            effect()

        self._world.operation(self._machine, f"host.{name}", run, HostError)


class GuardHost(SimHost):
    """The machine as the guard has it: a process of its own, with no faults planned for it."""

    def _do(self, name: str, effect: Callable[[], None]) -> None:
        del name
        effect()


class SimPeer(Peer):
    """HTTPS to the agent of another machine; what is said goes through JSON."""

    def __init__(self, world: World, machine: Machine, target: str) -> None:
        self.host = target
        self._timeout = PEER_TIMEOUT_SECONDS
        self._world = world
        self._machine = machine

    def call(self, path: str, body: dict[str, Any] | None = None, *, timeout: float | None = None) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        seconds = self._timeout if timeout is None else timeout
        return self._world.operation(self._machine, f"peer {path}", lambda: self._call(path, body, seconds), PeerError)

    def _call(self, path: str, body: dict[str, Any] | None, seconds: float) -> dict[str, Any]:
        world, here = self._world, self._machine.name
        text = None if body is None else json.dumps(body)
        target = world.machines[self.host]
        call = Call(world.kernel, seconds, lambda: None)

        def handle() -> None:
            answer: dict[str, Any] | None = None
            error: Exception | None = None
            agent = target.agent
            if agent is None:
                return
            try:
                reply = agent.answer_peer(here, path, None if text is None else json.loads(text))
                answer = json.loads(json.dumps(reply))
            except (PeerError, KeyError, TypeError, ValueError) as trouble:
                error = PeerError(f"{self.host} {path}: {trouble}")
            if not world.kernel.foreign:
                world.network.carry(self.host, here, PEER, seconds, call.finish, answer, error)
            else:
                call.finish(answer, error)

        def arrive() -> None:
            if not world.host_up(self.host):
                return
            if target.process is None:
                refused = PeerError(f"{self.host} {path}: [Errno 111] Connection refused")
                world.network.carry(self.host, here, PEER, seconds, call.finish, None, refused)
            else:
                world.kernel.spawn(target.process, handle)

        if world.kernel.foreign:
            handle()
        else:
            world.network.carry(here, self.host, PEER, seconds + LATE_SECONDS, arrive)
        try:
            answer: dict[str, Any] = call.wait()
        except TimeoutError:
            raise PeerError(f"{self.host} {path}: timed out") from None
        return answer

    def stream(self, path: str) -> Iterator[bytes]:
        """Seeding is no part of this world."""
        raise PeerError(f"{self.host} {path}: no streams in this world")

    def close(self) -> None:
        """Nothing to close."""


# ------------------------------------------------------------------------------------------------ machines, world


@dataclass
class Machine:
    """One data host. What is in memory is gone after a reboot, the rest of it stays."""

    name: str
    address: str
    config: Config
    server: Server
    clock_offset: float
    directory: DataDirectory = field(init=False)
    #: The second guard, and who waits for the file that it looks for.
    guard: Guard = field(init=False)
    guard_process: Process | None = None
    #: Since when it has been at work without a pause.
    guard_since: float = 0.0
    appeared: Waiters = field(init=False)
    has_files: bool = False
    powered: bool = True
    #: When its gate was opened last, perhaps by an agent that had stood still and knew nothing better.
    gate_since: float = 0.0
    #: Since when the whole host has been at work.
    awake_since: float = 0.0
    #: The whole host stands still.
    frozen: bool = False
    process: Process | None = None
    agent: Agent | None = None
    fenced: bool = False
    gate: bool = False
    gate_prepared: bool = False
    followers: bool = False
    keepalived: bool = True
    holds_vip: bool = False
    disk_full: bool = False
    disk_free_fraction: float = 0.5
    #: Since when an agent has been at work here without a pause.
    at_work_since: float = 0.0
    wall_offset: float = 0.0
    shut_out: frozenset[str] = frozenset()
    #: Files: the lease, others on tmpfs, and those that outlive a reboot.
    lease_note: LeaseNote = field(default_factory=LeaseNote)
    runtime: dict[str, str] = field(default_factory=dict)
    state: dict[str, str] = field(default_factory=dict)
    reset_addresses: list[str] = field(default_factory=list)

    @property
    def lease_until(self) -> float:
        """Up to when its agent has promised to be writable at most, as the second guard reads it."""
        note = read_note(Path(self.config.runtime_directory) / "lease") if self.has_files else self.lease_note
        return note.until

    @property
    def lease_valid_until(self) -> float:
        """Up to when its lease certainly lives, as the second guard reads it."""
        note = read_note(Path(self.config.runtime_directory) / "lease") if self.has_files else self.lease_note
        return note.valid_until

    @property
    def alive(self) -> bool:
        """Whether an agent is at work here."""
        return self.process is not None and not self.process.frozen

    @property
    def acting(self) -> bool:
        """Whether its agent is busy with something that changes a role."""
        return isinstance(self.agent, Agent) and isinstance(self.agent.act, Lock) and self.agent.act.locked()


@dataclass
class PlannedFault:
    """A fault and where it strikes: the ``skip``-th next operation of ``host`` whose name begins with ``operation``."""

    host: str
    operation: str
    fault: Fault
    skip: int = 0


class World:
    """Everything. ``close`` it after use.

    ``operations`` is the trace of what agents did, newest last; ``watchers`` hear of each one before it takes place.
    ``members`` names etcd's members and their hosts; without, there is one that never fails on a host of its own.
    ``in_memory`` replaces the files of the agent, too.
    """

    def __init__(
        self,
        names: Sequence[str] = ("www1", "www2"),
        *,
        seed: int = 0,
        policy: Policy | None = None,
        members: Sequence[str] = (ETCD,),
        in_memory: bool = False,
        tcp_gives_up_seconds: float = 0.05,
        engine: Engine = "mariadb",
    ) -> None:
        self.engine: Engine = engine
        self.kernel = Kernel(seed)
        self.kernel.trouble = self._agent_broke
        self.random = self.kernel.random
        self.policy = policy or Policy()
        self.in_memory = in_memory
        #: After so long a dump thread whose replica is silent ends (tcp_retries2).
        self.tcp_gives_up_seconds = tcp_gives_up_seconds
        #: Whether agents hear at once of what changes in etcd. Without, they see it at their next look.
        self.watches = False
        #: Whether what a replica confirmed survives the loss of its power (sync_relay_log=1).
        self.relay_is_synced = True
        #: Whether a killed replica that starts as SLAVE truncates the newest transaction that it had applied.
        self.applied_is_in_doubt = False
        self.network = Network(self.kernel, self.topology_changed)
        self.machines: dict[str, Machine] = {}
        self.cluster = sim_etcd.Cluster(self, [sim_etcd.Member(name, name) for name in members])
        self.etcd = self.cluster.store
        self.etcd.changed = self._decided
        self.faults: list[PlannedFault] = []
        self.operations: list[tuple[str, str]] = []
        self.watchers: list[Callable[[str, str], None]] = []
        self.clients: Clients | None = None
        #: Whether no host hears the advertisements of another one.
        self.vrrp_blocked = False
        self.limbo = Process(self.kernel, "limbo")
        self._at_address: dict[str, Server] = {}
        self._folder: Path | None = None
        if not in_memory:
            self._folder = Path(tempfile.mkdtemp(prefix="failover-world-", dir=_memory()))
        hosts = {name: f"198.51.100.{11 + number}" for number, name in enumerate(names)}
        for number, (name, address) in enumerate(hosts.items(), start=1):
            config = self._config(name, hosts)
            server = Server(self, name, address, number)
            machine = Machine(name, address, config, server, clock_offset=1e6 * number)
            machine.directory = SimDirectory(self, machine)
            machine.has_files = not in_memory
            machine.appeared = Waiters(self.kernel)
            machine.guard = Guard(config, GuardHost(self, machine))
            if in_memory:
                vars(machine.guard).update(_writable=WritableNote(machine), _lease=LeaseFile(machine))
            server.machine = machine
            self._at_address[address] = server
            self.machines[name] = machine
        self.invariants = Invariants(self)
        self.kernel.check = self.invariants.check

    def _config(self, name: str, hosts: dict[str, str]) -> Config:
        folder = (self._folder or Path("/nowhere")) / name
        if self._folder is not None:
            for part in ("run", "state", "data"):
                (folder / part).mkdir(parents=True)
            (folder / "data" / "ibdata1").touch()
        return Config(
            estate="sim",
            host=name,
            hosts=hosts,
            etcd_endpoints=tuple(f"https://{hosts.get(member, member)}:2379" for member in self.cluster.members),
            pki=_NO_PKI,
            replication_pki=_NO_PKI,
            vips=(Vip("site", VIP, "primary"), Vip("web", "198.51.100.9", "web")),
            runtime_directory=str(folder / "run"),
            state_directory=str(folder / "state"),
            database_directory=str(folder / "data"),
            policy=self.policy,
            engine=self.engine,
        )

    def close(self) -> None:
        """End all agents and remove the folder of the world."""
        self.kernel.check = None
        for machine in self.machines.values():
            for process in (machine.process, machine.guard_process):
                if process is not None:
                    process.kill()
        self.limbo.kill()
        self.kernel.run(0.0)
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)

    # ---- the estate

    @property
    def now(self) -> float:
        """Seconds."""
        return self.kernel.now

    @now.setter
    def now(self, now: float) -> None:
        self.kernel.now = now

    @property
    def cuts(self) -> set[tuple[str, str, str]]:
        """The links that are down."""
        return self.network.blocked

    @property
    def acknowledged(self) -> list[Gtid]:
        """What clients were told is safe."""
        return self.invariants.acknowledged

    @property
    def vip_holder(self) -> str | None:
        """Who has the address."""
        return next((machine.name for machine in self.machines.values() if machine.holds_vip), None)

    def bootstrap(self, primary: str, settle_seconds: float = 12.0) -> None:
        """Start all agents on seeded, equal data, name the first primary, and wait until all is well."""
        for machine in self.machines.values():
            machine.server.start(keep_in_doubt=False)
            self.start_guard(machine)
            self.start_agent(machine.name)
        self.agent(primary).bootstrap(primary)
        for machine in self.machines.values():
            self.agent(machine.name).directory.adopt("test")
        self.run(settle_seconds)

    def begin_settled(self, primary: str, term: int = 3) -> None:
        """Begin in the middle of a quiet day: the agents were restarted a moment ago, all else is in order."""
        now, ttl = self.kernel.now, self.policy.lease_ttl
        first = self.machines[primary]
        others = tuple(sorted(name for name in self.machines if name != primary))
        self.etcd.now = now
        for machine in self.machines.values():
            lease = self.etcd.grant(ttl)
            until = now + machine.clock_offset + ttl
            machine.lease_note = LeaseNote(lease, until, *((until, lease) if machine is first else ()))
            machine.server.running = self.engine != "none"
            if machine is first:
                machine.server.read_only, machine.server.semi_sync_primary = False, self.engine != "none"
                machine.gate = machine.followers = machine.holds_vip = True
                machine.runtime[WRITABLE] = ""
                leader = Put("leader", to_json(Leader(holder=primary, term=term)), lease=lease)
        reign = Term(term=term, primary=primary, at="2025-12-31T00:00:00.000Z", reason="switchover")
        sync = Sync(term=term, primary=primary, members=others, mode="strict")
        keys = [
            Put("term", to_json(reign)),
            Put("history", history_json((), reign)),
            Put("sync", to_json(sync if self.engine != "none" else Sync(term=term, primary=primary))),
            leader,
        ]
        self.etcd.commit({}, keys)
        for name in others if self.engine != "none" else ():
            server = self.machines[name].server
            server.source = first.address
            server.execute(server.open_session(), "START SLAVE", ())
        for machine in self.machines.values():
            self.start_guard(machine)
            self.kernel.after(self.random.random(), self.start_agent, machine.name)

    def agent(self, host: str) -> Agent:
        """The agent of ``host``, which must be at work."""
        agent = self.machines[host].agent
        assert agent is not None
        return agent

    def start_agent(self, host: str) -> None:
        """systemd starts the agent."""
        machine = self.machines[host]
        if machine.process is not None or not machine.powered:
            return
        with self.kernel.installed():
            self._start_agent(machine)

    def _start_agent(self, machine: Machine) -> None:
        store = Store(self, machine)
        simulated = SimHost(self, machine)
        lease: Lease
        if self.in_memory:
            lease = SimLease(store.clone(), self.policy, machine, simulated.now)
        else:
            lease = Lease(store.clone(), self.policy, Path(machine.config.runtime_directory) / "lease", simulated.now)

        # Nothing waits while it holds this lock, so the real one does, and is faster.
        lease._lock = threading.Lock()

        def connect(target: str) -> Peer:
            return SimPeer(self, machine, target)

        rejoin = SimRejoin(self, machine)
        agent = Agent(machine.config, store, SimDatabase(self, machine), simulated, lease, connect, rejoin)
        if self.in_memory:
            agent.directory = machine.directory
            notes: dict[str, Any] = {
                "_events_marker": Note(machine.runtime, "events-were-on"),
                "_writable_marker": WritableNote(machine),
                "_muted": Note(machine.state, "muted"),
            }
            vars(agent).update(notes, _may_be_writable=notes["_writable_marker"].exists())
        process = Process(self.kernel, machine.name)
        process.wall_offset = machine.wall_offset
        process.frozen = machine.frozen
        machine.agent, machine.process = agent, process
        machine.at_work_since = self.kernel.now
        stop = Event(self.kernel)
        waker = _Waker(stop, agent)  # type: ignore[arg-type]
        self.kernel.spawn(process, lease.keep, stop, waker.renewed)
        self.kernel.spawn(process, self._guard, machine, agent)
        self.kernel.spawn(process, _failsafe, agent, stop)
        self.kernel.spawn(process, _move_etcd, agent, store.clone(), stop)
        self.kernel.spawn(process, self._loop, agent)
        if self.watches:
            self.cluster.watch(machine.name, agent.wake.set)

    def _guard(self, machine: Machine, agent: Agent) -> None:
        """The guard's thread. A round changes nothing on a host that is not writable, nor before the lease comes to its
        end, so those are left out.
        """
        while True:
            if self.in_memory:
                machine.appeared.wait_for(lambda: agent.may_be_writable)
            # The daemon logs what fails; the next round tries again.
            with contextlib.suppress(HostError):
                agent.guard()
            due_in = agent.fence_at() - agent.host.now()
            self.kernel.sleep(due_in if 0.0 < due_in < math.inf else GUARD_SECONDS)

    def start_guard(self, machine: Machine) -> None:
        """systemd starts the second guard."""
        if machine.powered and (machine.guard_process is None or machine.guard_process.dead):
            machine.guard_process = Process(self.kernel, f"guard of {machine.name}")
            machine.guard_process.frozen = machine.frozen
            machine.guard_since = self.kernel.now
            self.kernel.spawn(machine.guard_process, self._second_guard, machine)

    def _second_guard(self, machine: Machine) -> None:
        while True:
            pause = machine.guard.look()
            if self.in_memory:
                machine.appeared.wait_for(lambda: WRITABLE in machine.runtime or machine.gate_prepared)
            self.kernel.sleep(pause)

    def _loop(self, agent: Agent) -> None:
        """The main thread of the daemon."""
        self.kernel.sleep(0.1)
        while True:
            agent.wake.clear()
            with contextlib.suppress(HostError, DatabaseError, EtcdError):
                agent.tick()
            agent.wake.wait(agent.pace())

    def _agent_broke(self, process: Process, error: Exception) -> None:
        """A thread of an agent ended with an error that nobody expected. In production systemd starts it again."""
        if process is self.limbo:
            return
        raise BrokenInvariantError(f"the agent of {process.name} broke: {type(error).__name__}: {error}") from error

    def servers(self) -> list[Server]:
        """All servers."""
        return [machine.server for machine in self.machines.values()]

    def server_at(self, address: str | None) -> Server | None:
        """The server of an address."""
        return self._at_address.get(address or "")

    def host_up(self, host: str) -> bool:
        """Whether a host runs."""
        machine = self.machines.get(host)
        return machine is None or (machine.powered and not machine.frozen)

    def _decided(self) -> None:
        """etcd has a new revision."""
        self.kernel.touch()
        self.cluster.tell()

    def topology_changed(self) -> None:
        """Links, fences, processes or machines have changed: whoever is connected looks again."""
        self.kernel.touch()
        self.cluster.update()
        for machine in self.machines.values():
            machine.server.links_changed()

    def switchover(self, host: str, to: str = "", run_id: str = "run-1", *, check: bool = False) -> dict[str, Any]:
        """``failoverctl switchover`` on ``host``; the agent's answer.

        :raises CrashError: the agent died on the way.
        """
        agent = self.agent(host)
        process = self.machines[host].process
        assert process is not None
        answers: list[dict[str, Any]] = []

        def command() -> None:
            answers.append(switchover.Switchover(agent, gates.Request(to, run_id), check=check).run())

        task = self.kernel.spawn(process, command)
        self.kernel.wait_outside(600.0, lambda: task.dead)
        if not answers:
            raise CrashError
        return answers[0]

    def failover(
        self, host: str, to: str = "", *, accept_data_loss: bool = False, check: bool = False
    ) -> dict[str, Any]:
        """``failoverctl failover`` on ``host``; the agent's answer.

        :raises CrashError: the agent died on the way.
        """
        agent = self.agent(host)
        process = self.machines[host].process
        assert process is not None
        answers: list[dict[str, Any]] = []
        asked = failover.Request("run-2", to, accept_data_loss, (), check)
        task = self.kernel.spawn(process, lambda: answers.append(failover.Failover(agent, asked).run()))
        self.kernel.wait_outside(600.0, lambda: task.dead)
        if not answers:
            raise CrashError
        return answers[0]

    def rejoin(self, host: str, *, reclone: bool = False, check: bool = False) -> dict[str, Any]:
        """``failoverctl rejoin`` on ``host``; the agent's answer.

        :raises CrashError: the agent died on the way.
        """
        agent = self.agent(host)
        process = self.machines[host].process
        assert process is not None
        answers: list[dict[str, Any]] = []
        asked = returning.Request("run-3", reclone, check)
        task = self.kernel.spawn(process, lambda: answers.append(returning.Returning(agent, asked).run()))
        self.kernel.wait_outside(8000.0, lambda: task.dead)
        if not answers:
            raise CrashError
        return answers[0]

    def write(self, host: str) -> Gtid | None:
        """A client tries to write on ``host``; None when it is turned away."""
        machine = self.machines[host]
        if machine.fenced or not machine.server.writable or machine.server.stuck:
            return None
        entry = machine.server.write()
        self.invariants.check()
        return entry

    # ---- what goes wrong

    def plan(self, host: str, operation: str, fault: Fault, skip: int = 0) -> None:
        """Let ``fault`` strike once, at an operation of ``host`` whose name begins with ``operation``."""
        self.faults.append(PlannedFault(host, operation, fault, skip))

    def cut(self, one: str, other: str) -> None:
        """No packets between two hosts, or a host and ``etcd``."""
        self.network.block(one, other, ALL)
        self.network.block(other, one, ALL)

    def mend(self, one: str, other: str) -> None:
        """Undo one :meth:`cut`."""
        self.network.unblock(one, other, ALL)
        self.network.unblock(other, one, ALL)

    def heal(self) -> None:
        """All links are whole again."""
        self.network.heal()

    def agent_died(self, machine: Machine) -> None:
        """The process of the agent ends; systemd starts it again."""
        process, machine.process, machine.agent = machine.process, None, None
        if process is not None:
            process.kill()
            self.kernel.touch()
            if machine.powered:
                self.kernel.after(AGENT_RESTART_SECONDS, self._restart_agent, machine)

    def _restart_agent(self, machine: Machine) -> None:
        if machine.frozen:
            self.kernel.after(AGENT_RESTART_SECONDS, self._restart_agent, machine)
        else:
            self.start_agent(machine.name)

    def power_off(self, host: str) -> None:
        """The power of a machine goes."""
        machine = self.machines[host]
        machine.powered = machine.frozen = False
        self.agent_died(machine)
        if machine.guard_process is not None:
            machine.guard_process.kill()
        machine.server.power_lost()
        machine.fenced = machine.gate = machine.gate_prepared = machine.followers = machine.holds_vip = False
        machine.lease_note = LeaseNote()
        machine.shut_out = frozenset()
        machine.runtime.clear()
        for member in self._members_on(host):
            member.up, member.frozen = False, False
        if self._folder is not None:
            for path in Path(machine.config.runtime_directory).iterdir():
                path.unlink()
        self.topology_changed()
        self._move_address()

    def power_on(self, host: str) -> None:
        """The machine boots; the database is not started by anybody but the agent."""
        machine = self.machines[host]
        if not machine.powered:
            machine.powered = True
            for member in self._members_on(host):
                member.up = True
            self.topology_changed()
            self.start_guard(machine)
            self.kernel.after(AGENT_RESTART_SECONDS, self._restart_agent, machine)

    def _members_on(self, host: str) -> list[sim_etcd.Member]:
        return [member for member in self.cluster.members.values() if member.host == host]

    def freeze(self, host: str) -> None:
        """SIGSTOP to the agent."""
        process = self.machines[host].process
        if process is not None:
            process.freeze()

    def thaw(self, host: str) -> None:
        """SIGCONT to the agent."""
        machine = self.machines[host]
        if machine.process is not None and machine.process.frozen and not machine.frozen:
            machine.at_work_since = self.kernel.now
            machine.process.thaw()

    def thaw_guard(self, host: str) -> None:
        """SIGCONT to the second guard."""
        machine = self.machines[host]
        if machine.guard_process is not None and not machine.frozen:
            machine.guard_since = self.kernel.now
            machine.guard_process.thaw()

    def freeze_host(self, host: str) -> None:
        """A whole host stands still: agent, database, etcd. Its clocks go on."""
        machine = self.machines[host]
        if machine.powered and not machine.frozen:
            machine.frozen = True
            self.freeze(host)
            if machine.guard_process is not None:
                machine.guard_process.freeze()
            machine.server.freeze()
            for member in self._members_on(host):
                member.frozen = True
            self.topology_changed()

    def thaw_host(self, host: str) -> None:
        """It goes on."""
        machine = self.machines[host]
        if machine.frozen:
            machine.frozen = False
            machine.awake_since = self.kernel.now
            self.thaw(host)
            if machine.guard_process is not None:
                machine.guard_since = self.kernel.now
                machine.guard_process.thaw()
            machine.server.thaw()
            for member in self._members_on(host):
                member.frozen = False
            self.topology_changed()
            self._move_address()

    def in_limbo(self, body: Callable[[], object]) -> None:
        """Something takes place of which nobody hears any more."""
        self.kernel.spawn(self.limbo, body)

    # ---- the address

    def set_gate(self, machine: Machine, *, is_open: bool) -> None:
        """keepalived hears of its file, and a moment later the address moves."""
        if machine.gate != is_open:
            machine.gate = is_open
            self._move_address()

    def _move_address(self) -> None:
        self.kernel.after(0.02 + 0.03 * self.random.random(), self.move_address)

    def move_address(self) -> None:
        """keepalived: break before make, and no host takes an address that it hears another one hold."""
        for machine in self.machines.values():
            if machine.holds_vip and not self._may_hold(machine):
                machine.holds_vip = False
        holders = [machine for machine in self.machines.values() if machine.holds_vip]
        if not self.vrrp_blocked:
            for machine in holders[1:]:  # They hear each other again.
                machine.holds_vip = False
        for machine in self.machines.values():
            if not machine.holds_vip and self._may_hold(machine) and not machine.frozen:
                holder = self.vip_holder
                if holder is None or self.vrrp_blocked or self.machines[holder].frozen:
                    machine.holds_vip = True
                    if holder is not None and self.machines[holder].frozen:
                        self.machines[holder].holds_vip = False
        self.kernel.touch()

    def _may_hold(self, machine: Machine) -> bool:
        return machine.powered and machine.gate and machine.keepalived

    # ---- time

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.pass_time(seconds)

    def come_to_rest(self, limit_seconds: float = 120.0) -> str:
        """End every fault and let time pass until all is well; what is not, after ``limit_seconds``."""
        self.calm_down()
        until = self.now + limit_seconds
        while self.unsettled() and self.now < until:
            self.run(2.0)
        return self.unsettled()

    def pass_time(self, seconds: float) -> None:
        """Let time pass for everybody who is not waiting."""
        self.kernel.sleep(seconds)

    # ---- operations

    def operation(self, machine: Machine, name: str, effect: Callable[[], T], error: type[Exception]) -> T:
        """One operation of the agent of ``machine``, with the fault that was planned for it, if any."""
        kernel = self.kernel
        kernel.switch_point()
        self.operations.append((machine.name, name))
        for watch in list(self.watchers):
            watch(machine.name, name)
        fault = self._fault(machine.name, name) if self.faults else None
        if fault is None:
            result = effect()
            kernel.switch_point()
            return result
        if fault is Fault.STALL:
            self.freeze(machine.name)
            kernel.after(STALL_SECONDS, self.thaw, machine.name)
            kernel.sleep(0.001)
        if fault is Fault.CRASH_BEFORE:
            self.agent_died(machine)
        kernel.switch_point()
        if fault is Fault.LATE and not name.startswith("host."):
            kernel.after(LATE_SECONDS * (0.35 + 0.65 * self.random.random()), self.in_limbo, effect)
        if fault in {Fault.FAIL, Fault.LATE}:
            raise error(f"{name}: injected")
        result = effect()
        if fault is Fault.CRASH_AFTER:
            self.agent_died(machine)
        kernel.switch_point()
        if fault is Fault.NO_ANSWER:
            raise error(f"{name}: the answer was lost")
        return result

    def _fault(self, host: str, name: str) -> Fault | None:
        for planned in self.faults:
            if planned.host == host and name.startswith(planned.operation):
                if planned.skip == 0:
                    self.faults.remove(planned)
                    return planned.fault
                planned.skip -= 1
                return None
        return None

    # ---- what servers tell

    def acknowledge(self, server: Server, entry: Gtid) -> None:
        """A server says that a transaction is safe; it counts if its client hears it."""
        if self.clients is None or self.clients.acknowledged(server, entry):
            self.invariants.acknowledge(server, entry)

    def unanswered(self, entry: Gtid) -> None:
        """A client will never hear what became of its transaction."""
        if self.clients is not None:
            self.clients.unanswered(entry)

    def became_writable(self, server: Server) -> None:
        """Somebody set ``read_only=0``."""
        self.invariants.became_writable(server)

    def stopped_waiting(self, server: Server) -> None:
        """Somebody switched semi-sync of the primary off."""
        self.invariants.stopped_waiting(server)

    def lost_something(self) -> None:
        """Logs have become shorter somewhere."""
        self.invariants.suspect()

    # ---- the end

    def calm_down(self) -> None:
        """End every fault, and let a person look, so that the agents can put the estate in order."""
        term = self.etcd.stored().term
        looked = Acknowledged("anna", utc(EPOCH_SECONDS + self.now), term.term if term else 0)
        self.etcd.commit({}, [Delete("pause"), Put("acknowledged", to_json(looked))])
        self.faults.clear()
        self.heal()
        self.vrrp_blocked = False
        self.move_address()
        self.etcd.available = True
        for member in self.cluster.members.values():
            if self.host_up(member.host):
                member.up, member.frozen = True, False
        for machine in self.machines.values():
            self.power_on(machine.name)
            self.thaw_host(machine.name)
            self.thaw(machine.name)
            machine.server.thaw()
            machine.server.apply_paused = False
            machine.disk_full, machine.disk_free_fraction = False, 0.5
            machine.server.space_freed()
            machine.keepalived = True
        self.topology_changed()
        self._move_address()

    def unsettled(self, *, lenient: bool = False) -> str:
        """What is not as it should be in a healthy estate; empty when all is well.

        ``lenient`` allows what is under way while clients write.
        """
        stored = self.etcd.stored()
        term, sync, leader = stored.term, stored.sync, stored.leader
        if term is None or leader is None or sync is None:
            return f"no decision: {stored}"
        others = tuple(sorted(name for name in self.machines if name != term.primary))
        primary = self.machines[term.primary].server
        checks = {
            "leader": (leader.holder, leader.term) == (term.primary, term.term),
            "gates": [m.name for m in self.machines.values() if m.gate] == [term.primary],
            "prepared": not any(m.gate_prepared for m in self.machines.values()),
            "followers": [m.name for m in self.machines.values() if m.followers] == [term.primary],
            "address": self.vip_holder == term.primary,
        }
        if self.engine == "none":
            wrong = [name for name, good in checks.items() if not good]
            return f"{', '.join(wrong)} wrong in {dataclasses.astuple(term)}" if wrong else ""
        checks |= {
            "writable": [m.name for m in self.machines.values() if m.server.writable] == [term.primary],
            "fences": not any(m.fenced or m.shut_out for m in self.machines.values()),
            "sync": (sync.mode, sync.members, sync.term) == ("strict", others, term.term),
            "semi-sync": [m.name for m in self.machines.values() if m.server.semi_sync_primary] == [term.primary],
            "replicas": tuple(sorted(s.name for s in primary.attached())) == others,
            "equal": all(
                _is_beginning(server.binlog, primary.binlog)
                if lenient
                else server.binlog == primary.binlog and not server.relay
                for server in self.servers()
            ),
            "no write waits": lenient or not primary.waiting,
        }
        wrong = [name for name, good in checks.items() if not good]
        return f"{', '.join(wrong)} wrong in {dataclasses.astuple(term)} with {sync}" if wrong else ""


def _is_beginning(log: list[Gtid], whole: list[Gtid]) -> bool:
    """Whether one log is the beginning of another one, or nearly so: some transactions may be on their way."""
    behind = len(whole) - len(log)
    return 0 <= behind < 20 and (not log or whole[len(log) - 1] is log[-1])


def _memory() -> str | None:
    """A folder on tmpfs, where there is one: the lease file is written thousands of times."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
