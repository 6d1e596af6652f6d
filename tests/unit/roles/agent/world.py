# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A whole estate in memory: etcd, machines, MariaDB servers and clients, and on every machine the real agent.

Nothing of the agent is replaced but its edges: :class:`Store` stands for the etcd client, :class:`SimConnection` for a
connection to mariadbd, :class:`SimHost` for systemd, nftables and keepalived, :class:`SimPeer` for HTTPS to another
agent. So the rules, the lease, the promotion and the planned switchover that run here are those of production.

There is one thread and one clock. :meth:`World.run` lets time pass in steps of at most 50 ms; in each step whatever is
due happens, in an order that follows from the seed of the world. An operation that waits (a time-out, a GTID wait, a
sleep) lets time pass for everybody else. Faults are planned with :meth:`World.plan` and strike at the operation they
name: before it, instead of it, after it, or with the answer lost on the way.

:meth:`World.check` runs after every operation and raises :class:`BrokenInvariantError`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import random
import shutil
import tempfile
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, ParamSpec, TypeVar
from unittest import mock

from failover_agent import failover, gates, switchover
from failover_agent.agent import Agent
from failover_agent.config import Config, Pki, Vip
from failover_agent.etcd import Client, Delete, EtcdError, Put
from failover_agent.gtid import Gtid
from failover_agent.guard import GRACE_SECONDS, INTERVAL_SECONDS, Guard
from failover_agent.host import Host, HostError
from failover_agent.lease import Lease, read_note
from failover_agent.mariadb import Connection, DatabaseError, MariaDB, Received
from failover_agent.model import Acknowledged, Engine, Policy, Stored, Sync, Term, to_json, utc
from failover_agent.peer import Peer, PeerError

from .sim_etcd import Etcd
from .sim_mariadb import Rows, Server

T = TypeVar("T")
P = ParamSpec("P")

STEP_SECONDS = 0.05
GUARD_SECONDS = 0.1
FAILSAFE_SECONDS = 0.25
AGENT_RESTART_SECONDS = 1.0
VIP = "198.51.100.10"
ETCD = "etcd"
#: The world begins in 2026.
EPOCH = 1.79e9
#: Calls of other agents that wait for the loop of the one that is called.
BEHIND_ACT = {"/prepare", "/cancel", "/promote", "/stop_receiving", "/acknowledge", "/step_down"}
_NO_PKI = Pki("", "", "")


class BrokenInvariantError(AssertionError):
    """The world is in a state that must never be."""


class CrashError(BaseException):
    """The agent process ends here and now. No ``Exception``: nothing in the agent may catch it."""


class Fault(Enum):
    """What can befall one operation of an agent."""

    CRASH_BEFORE = "the agent dies before it"
    CRASH_AFTER = "the agent dies after it"
    FAIL = "it fails and changes nothing"
    NO_ANSWER = "it takes place, but the answer is lost"
    LATE = "it fails, and takes place six seconds later"
    STALL = "the whole agent stands still for eight seconds before it"


#: etcd itself gives a request up after 5 s and two election time-outs (its ``Config.ReqTimeout``).
LATE_SECONDS = 6.0
STALL_SECONDS = 8.0


# ------------------------------------------------------------------------------------------------ the agent's edges


class SimConnection(Connection):
    """A connection of the agent to the server of its machine."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        if not machine.server.running:
            raise DatabaseError('cannot connect: (2002, "Can\'t connect to local server through socket")')
        self.thread_id = machine.server.open_session()

    def rows(self, statement: str, arguments: Sequence[Any] = ()) -> Rows:
        """Run a statement."""
        server = self._machine.server
        return self._world.operation(
            self._machine,
            f"sql {statement}",
            lambda: server.execute(self.thread_id, statement, arguments),
            DatabaseError,
        )

    def close(self) -> None:
        """Close it."""
        self._machine.server.sessions.pop(self.thread_id, None)


class SimDatabase(MariaDB):
    """The real adapter over a server of the world."""

    def __init__(self, world: World, machine: Machine) -> None:
        super().__init__(machine.config)
        self._world = world
        self._machine = machine

    def connect(self, timeout: float) -> Connection:
        """A connection; a server that is down refuses at once."""
        del timeout
        return SimConnection(self._world, self._machine)

    def received(self, connection: Connection) -> Received:
        """As the real one, which reads the files of the relay log after a restart."""
        said, relay = super().received(connection), self._machine.server.relay
        return dataclasses.replace(said, position=str(relay[-1]), unapplied=True) if relay else said


class Store(Client):
    """The etcd client of one agent."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine

    def read(self) -> Stored:
        """Everything in one reading."""
        return self._ask("read", self._world.etcd.stored)

    def commit(self, expected: Mapping[str, int], changes: list[Put | Delete]) -> bool:
        """One transaction."""
        return self._ask("commit", lambda: self._world.etcd.commit(expected, changes))

    def grant(self, ttl_seconds: float) -> int:
        """A new lease."""
        return self._ask("grant", lambda: self._world.etcd.grant(ttl_seconds))

    def renew(self, lease: int) -> bool:
        """Renew a lease."""
        return self._ask("renew", lambda: self._world.etcd.renew(lease))

    def healthy(self) -> dict[str, bool]:
        """Which endpoints answer."""
        up = self._world.etcd.available and self._world.reachable(self._machine.name, ETCD)
        return {"https://etcd:2379": up}

    def clone(self) -> Client:
        """Another client."""
        return Store(self._world, self._machine)

    def close(self) -> None:
        """Nothing to close."""

    def _ask(self, name: str, effect: Callable[[], T]) -> T:
        world, machine = self._world, self._machine

        def reach() -> T:
            if not (world.etcd.available and world.reachable(machine.name, ETCD)):
                world.pass_time(1.0)
                raise EtcdError("https://etcd:2379: timed out")
            return effect()

        return world.operation(machine, f"etcd.{name}", reach, EtcdError)


class SimHost(Host):
    """systemd, nftables, keepalived and the clock of one machine."""

    def __init__(self, world: World, machine: Machine) -> None:
        self._world = world
        self._machine = machine
        self._config = machine.config

    def now(self) -> float:
        """CLOCK_BOOTTIME of this machine; every machine counts from another zero."""
        return self._world.now + self._machine.clock_offset

    def wall(self) -> float:
        """Seconds since 1970."""
        return EPOCH + self._world.now

    def database_state(self) -> str:
        """ActiveState of mariadb.service."""
        server = self._machine.server
        return "active" if server.running else "activating" if server.starts_at is not None else "failed"

    def start_database(self, *, keep_in_doubt: bool) -> None:
        """systemctl start --no-block."""
        self._do("start_database", lambda: self._machine.server.start(keep_in_doubt=keep_in_doubt))

    def withdraw_permit(self) -> None:
        """Nothing else starts a database here."""

    def stop_database(self) -> None:
        """systemctl stop."""
        self._do("stop_database", self._machine.server.kill)

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
        self._do("lift_fence", lambda: setattr(self._machine, "fenced", False))

    @property
    def shut_out(self) -> frozenset[str]:
        """The addresses that may not replicate from here."""
        return self._machine.shut_out

    def set_shut_out(self, addresses: frozenset[str]) -> None:
        """The firewall lets nothing through from them."""
        self._do("set_shut_out", lambda: setattr(self._machine, "shut_out", addresses))

    @property
    def gate_open(self) -> bool:
        """Whether the addresses may come."""
        return self._machine.gate

    def open_gate(self) -> None:
        """Let the addresses come."""
        self._do("open_gate", lambda: setattr(self._machine, "gate", True))

    def close_gate(self) -> None:
        """Send the addresses away."""
        self._do("close_gate", lambda: setattr(self._machine, "gate", False))

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
        return {self._machine.address, *({VIP} if self._world.vip_holder == self._machine.name else ())}

    def kill_sockets(self, address: str) -> None:
        """ss -K."""
        self._do("kill_sockets", lambda: self._machine.reset_addresses.append(address))

    @contextlib.contextmanager
    def no_connections(self, address: str) -> Iterator[None]:
        """A dead host lets nobody wait here."""
        del address
        yield

    def disk_free_fraction(self) -> float:
        """Free share of the data disk."""
        return self._machine.disk_free_fraction

    def _do(self, name: str, effect: Callable[[], None]) -> None:
        self._world.operation(self._machine, f"host.{name}", effect, HostError)


class GuardHost(SimHost):
    """The machine as the guard has it: a process of its own, with no faults planned for it."""

    def _do(self, name: str, effect: Callable[[], None]) -> None:
        del name
        effect()


class SimPeer(Peer):
    """HTTPS to the agent of another machine; what is said goes through JSON."""

    def __init__(self, world: World, machine: Machine, target: str) -> None:
        self.host = target
        self._world = world
        self._machine = machine

    def call(self, path: str, body: dict[str, Any] | None = None, *, timeout: float | None = None) -> dict[str, Any]:
        """Ask, and wait for the answer."""
        del timeout
        return self._world.operation(self._machine, f"peer {path}", lambda: self._call(path, body), PeerError)

    def _call(self, path: str, body: dict[str, Any] | None) -> dict[str, Any]:
        world, target = self._world, self._world.machines[self.host]
        if not world.reachable(self._machine.name, self.host) or target.agent is None or target.frozen:
            world.pass_time(1.0)
            raise PeerError(f"{self.host} {path}: timed out")
        if target.acting and path in BEHIND_ACT:
            raise PeerError(f"{self.host} {path}: timed out behind another act")
        try:
            request = None if body is None else json.loads(json.dumps(body))
            reply: dict[str, Any] = target.agent.answer_peer(self._machine.name, path, request)
        except CrashError:
            world.agent_died(target)
            raise PeerError(f"{self.host} {path}: Remote end closed connection without response") from None
        if not world.reachable(self._machine.name, self.host):
            raise PeerError(f"{self.host} {path}: timed out")
        answer: dict[str, Any] = json.loads(json.dumps(reply))
        return answer

    def stream(self, path: str) -> Iterator[bytes]:
        """Seeding is no part of this world."""
        raise PeerError(f"{self.host} {path}: no streams in this world")

    def close(self) -> None:
        """Nothing to close."""


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
        return self._world.operation(self._machine, "salvage", self._machine.server.salvage, DatabaseError)

    def fork(self, history: Sequence[Term], present: str) -> str:
        """The last transaction that the primary has, too."""
        del present
        mine = self._machine.server.binlog
        theirs = self._world.machines[history[-1].primary].server.binlog
        common = [entry for entry, other in zip(mine, theirs, strict=False) if entry == other]
        return str(common[-1]) if common else ""

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


class Turn:
    """``Agent.act`` of one machine. There is one thread, so it only tells the world that the agent is busy."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._depth = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Take it."""
        del blocking, timeout
        self._depth += 1
        self._machine.acting = True
        return True

    def release(self) -> None:
        """Give it back."""
        self._depth -= 1
        self._machine.acting = self._depth > 0

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_trouble: object) -> None:
        self.release()


class Shuffled(Executor):
    """Runs what was submitted when the first result is wanted, in an order that the world chooses."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._jobs: list[Callable[[], None]] = []

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Keep it for later."""
        future = _Lazy[T](self)

        def job() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except Exception as error:
                future.set_exception(error)

        self._jobs.append(job)
        return future

    def work(self) -> None:
        """Do everything that was submitted."""
        jobs, self._jobs = self._jobs, []
        self._world.random.shuffle(jobs)
        for job in jobs:
            job()


class _Lazy(Future[T]):
    def __init__(self, executor: Shuffled) -> None:
        super().__init__()
        self._executor = executor

    def result(self, timeout: float | None = None) -> T:
        self._executor.work()
        return super().result(timeout)


@dataclass(frozen=True)
class SimTime:
    """What the switchover uses of the module ``time``."""

    world: World

    def monotonic(self) -> float:
        """Seconds."""
        return self.world.now

    def sleep(self, seconds: float) -> None:
        """Let everybody else go on."""
        self.world.pass_time(seconds)


# ------------------------------------------------------------------------------------------------ machines, world


@dataclass
class Machine:
    """One data host. ``fenced``, ``gate`` and the folder's ``run`` are gone after a reboot, the rest of it stays."""

    name: str
    address: str
    config: Config
    server: Server
    clock_offset: float
    powered: bool = True
    agent: Agent | None = None
    frozen: bool = False
    fenced: bool = False
    shut_out: frozenset[str] = frozenset()
    gate: bool = False
    followers: bool = False
    keepalived: bool = True
    disk_free_fraction: float = 0.5
    #: Since when an agent has been at work here without a pause.
    at_work_since: float = 0.0
    acting: bool = False
    renewing: bool = False
    asking: bool = False
    next_tick: float = 0.0
    next_renewal: float = 0.0
    next_guard: float = 0.0
    next_failsafe: float = 0.0
    watch: Guard | None = None
    next_watch: float = 0.0
    agent_starts_at: float | None = None
    reset_addresses: list[str] = field(default_factory=list)

    @property
    def alive(self) -> bool:
        """Whether an agent is at work here."""
        return self.agent is not None and not self.frozen


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
    """

    def __init__(
        self,
        names: Sequence[str] = ("www1", "www2"),
        *,
        seed: int = 0,
        policy: Policy | None = None,
        engine: Engine = "mariadb",
    ) -> None:
        self.engine: Engine = engine
        self.random = random.Random(seed)
        self.policy = policy or Policy()
        self.now = 1000.0
        self.etcd = Etcd()
        self.etcd.advance(self.now)
        self.cuts: set[frozenset[str]] = set()
        self.faults: list[PlannedFault] = []
        self.operations: list[tuple[str, str]] = []
        self.watchers: list[Callable[[str, str], None]] = []
        self.acknowledged: list[Gtid] = []
        self.delivered: dict[str, set[Gtid]] = {}
        self.vip_holder: str | None = None
        self.machines: dict[str, Machine] = {}
        self._late: list[tuple[float, Callable[[], object]]] = []
        self._folder = Path(tempfile.mkdtemp(prefix="failover-world-", dir=_memory()))
        hosts = {name: f"198.51.100.{11 + number}" for number, name in enumerate(names)}
        for number, (name, address) in enumerate(hosts.items(), start=1):
            config = self._config(name, hosts)
            server = Server(self, name, address, number)
            machine = Machine(name, address, config, server, clock_offset=1e6 * number)
            machine.watch = Guard(config, GuardHost(self, machine))
            self.machines[name] = machine

    def _config(self, name: str, hosts: dict[str, str]) -> Config:
        folder = self._folder / name
        for part in ("run", "state", "data"):
            (folder / part).mkdir(parents=True)
        (folder / "data" / "ibdata1").touch()
        return Config(
            estate="sim",
            host=name,
            hosts=hosts,
            etcd_endpoints=("https://etcd:2379",),
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
        """Remove the folder of the world."""
        shutil.rmtree(self._folder, ignore_errors=True)

    # ---- the estate

    def bootstrap(self, primary: str, settle_seconds: float = 12.0) -> None:
        """Start all agents on seeded, equal data, name the first primary, and wait until all is well."""
        for machine in self.machines.values():
            self.start_agent(machine.name)
        self.agent(primary).bootstrap(primary)
        for machine in self.machines.values():
            self.agent(machine.name).directory.adopt("test")
        self.run(settle_seconds)

    def agent(self, host: str) -> Agent:
        """The agent of ``host``, which must be at work."""
        agent = self.machines[host].agent
        assert agent is not None
        return agent

    def start_agent(self, host: str) -> None:
        """systemd starts the agent."""
        machine = self.machines[host]
        store = Store(self, machine)
        simulated = SimHost(self, machine)
        lease = Lease(store.clone(), self.policy, Path(machine.config.runtime_directory) / "lease", simulated.now)

        def connect(target: str) -> Peer:
            return SimPeer(self, machine, target)

        machine.agent = Agent(
            machine.config,
            store,
            SimDatabase(self, machine),
            simulated,
            lease,
            connect,
            SimRejoin(self, machine),
            self.together,
            lambda job: job(),
        )
        machine.agent.act = Turn(machine)
        machine.agent_starts_at = None
        machine.frozen = machine.acting = machine.renewing = machine.asking = False
        machine.at_work_since = self.now
        # The lease thread starts a moment before the guard and the loop.
        machine.next_renewal, machine.next_guard, machine.next_tick = self.now, self.now + GUARD_SECONDS, self.now + 0.1

    def together(self, jobs: Sequence[Callable[[], None]]) -> None:
        """Several jobs of one agent at once: one after the other, in any order."""
        for job in self.random.sample(jobs, len(jobs)):
            job()

    def servers(self) -> list[Server]:
        """All servers."""
        return [machine.server for machine in self.machines.values()]

    def reachable(self, one: str, other: str) -> bool:
        """Whether packets flow between two hosts, or between a host and etcd."""
        return one == other or frozenset((one, other)) not in self.cuts

    def switchover(self, host: str, to: str = "", run_id: str = "run-1", *, check: bool = False) -> dict[str, Any]:
        """``failoverctl switchover`` on ``host``; the agent's answer.

        :raises CrashError: the agent died on the way.
        """
        machine = self.machines[host]
        agent = self.agent(host)
        try:
            with mock.patch.multiple(
                switchover, time=SimTime(self), ThreadPoolExecutor=lambda _workers: Shuffled(self)
            ):
                return switchover.Switchover(agent, gates.Request(to, run_id), check=check).run()
        except CrashError:
            self.agent_died(machine)
            raise

    def failover(
        self, host: str, to: str = "", *, accept_data_loss: bool = False, check: bool = False
    ) -> dict[str, Any]:
        """``failoverctl failover`` on ``host``; the agent's answer.

        :raises CrashError: the agent died on the way.
        """
        machine = self.machines[host]
        asked = failover.Request("run-2", to, accept_data_loss, (), check)
        try:
            with mock.patch.object(failover, "time", SimTime(self)):
                return failover.Failover(self.agent(host), asked).run()
        except CrashError:
            self.agent_died(machine)
            raise

    def write(self, host: str) -> Gtid | None:
        """A client tries to write on ``host``; None when it is turned away."""
        machine = self.machines[host]
        if machine.fenced or not machine.server.writable:
            return None
        entry = machine.server.write()
        self.check()
        return entry

    # ---- what goes wrong

    def plan(self, host: str, operation: str, fault: Fault, skip: int = 0) -> None:
        """Let ``fault`` strike once, at an operation of ``host`` whose name begins with ``operation``."""
        self.faults.append(PlannedFault(host, operation, fault, skip))

    def cut(self, one: str, other: str) -> None:
        """No packets between two hosts, or a host and ``etcd``."""
        self.cuts.add(frozenset((one, other)))

    def heal(self) -> None:
        """All links are whole again."""
        self.cuts.clear()

    def agent_died(self, machine: Machine) -> None:
        """The process of the agent ended; systemd starts it again."""
        machine.agent = None
        if machine.powered:
            machine.agent_starts_at = self.now + AGENT_RESTART_SECONDS

    def power_off(self, host: str) -> None:
        """The power of a machine goes."""
        machine = self.machines[host]
        machine.powered = False
        machine.server.kill()
        machine.agent, machine.agent_starts_at = None, None
        machine.fenced = machine.gate = machine.followers = machine.frozen = False
        machine.shut_out = frozenset()
        for path in Path(machine.config.runtime_directory).iterdir():
            path.unlink()

    def power_on(self, host: str) -> None:
        """The machine boots; the database is not started by anybody but the agent."""
        machine = self.machines[host]
        if not machine.powered:
            machine.powered = True
            machine.agent_starts_at = self.now + AGENT_RESTART_SECONDS

    def freeze(self, host: str) -> None:
        """SIGSTOP to the agent."""
        self.machines[host].frozen = True

    def thaw(self, host: str) -> None:
        """SIGCONT to the agent."""
        machine = self.machines[host]
        if machine.frozen:
            machine.frozen = False
            machine.at_work_since = self.now

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
        end = self.now + seconds
        while self.now < end:
            self.now = min(end, self.now + STEP_SECONDS)
            self._step()

    def _step(self) -> None:
        self.etcd.advance(self.now)
        due = [effect for at, effect in self._late if at <= self.now]
        self._late = [(at, effect) for at, effect in self._late if at > self.now]
        for effect in due:
            try:
                effect()
            except (EtcdError, DatabaseError, HostError, PeerError):
                continue  # It came too late.
        machines = list(self.machines.values())
        self.random.shuffle(machines)
        for machine in machines:
            machine.server.advance()
        self._move_address()
        for machine in machines:
            self._let_agent_work(machine)
        self.check()

    def _move_address(self) -> None:
        """keepalived: break before make, and no host takes an address that another one holds."""
        holder = self.machines.get(self.vip_holder or "")
        if holder is not None and not (holder.powered and holder.gate and holder.keepalived):
            self.vip_holder = None
        elif holder is None:
            ready = [m.name for m in self.machines.values() if m.powered and m.gate and m.keepalived]
            self.vip_holder = ready[0] if ready else None

    def _let_agent_work(self, machine: Machine) -> None:
        if machine.powered and machine.watch is not None and self.now >= machine.next_watch:
            machine.next_watch = self.now + INTERVAL_SECONDS
            machine.watch.look()
        if machine.agent_starts_at is not None and self.now >= machine.agent_starts_at:
            self.start_agent(machine.name)
        if not machine.alive:
            return
        try:
            self._threads(machine)
        except CrashError:
            self.agent_died(machine)
        except (HostError, DatabaseError, EtcdError):
            return  # The daemon logs it and goes on.

    def _threads(self, machine: Machine) -> None:
        agent = machine.agent
        assert agent is not None
        if not machine.renewing and self.now >= machine.next_renewal:
            machine.renewing = True
            try:
                good = agent.lease.renew()
            finally:
                machine.renewing = False
            machine.next_renewal = self.now + self.policy.renew_interval / (1 if good else 3)
        if machine.agent is agent and machine.alive and self.now >= machine.next_guard:
            machine.next_guard = self.now + GUARD_SECONDS
            agent.guard()
        if machine.agent is agent and machine.alive and not machine.asking and self.now >= machine.next_failsafe:
            machine.next_failsafe = self.now + FAILSAFE_SECONDS
            machine.asking = True
            try:
                agent.failsafe()
            finally:
                machine.asking = False
        if machine.agent is not agent or not machine.alive or machine.acting:
            return
        if self.now >= machine.next_tick or agent.wake.is_set():
            agent.wake.clear()
            agent.tick()
            machine.next_tick = self.now + agent.pace()

    # ---- operations and what must hold after each

    def operation(self, machine: Machine, name: str, effect: Callable[[], T], error: type[Exception]) -> T:
        """One operation of the agent of ``machine``, with the fault that was planned for it, if any."""
        agent = machine.agent
        if agent is None:
            raise CrashError
        self.operations.append((machine.name, name))
        for watch in list(self.watchers):
            watch(machine.name, name)
        fault = self._fault(machine.name, name)
        if fault is Fault.STALL:
            machine.frozen = True
            self.pass_time(STALL_SECONDS)
            self.thaw(machine.name)
        if fault is Fault.CRASH_BEFORE or machine.agent is not agent:
            raise CrashError
        if fault is Fault.LATE and not name.startswith("host."):
            self._late.append((self.now + LATE_SECONDS, effect))
        if fault in {Fault.FAIL, Fault.LATE}:
            raise error(f"{name}: injected")
        result = effect()
        self.check()
        if fault is Fault.CRASH_AFTER or machine.agent is not agent:
            raise CrashError
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

    def acknowledge(self, server: Server, entry: Gtid) -> None:
        """A client was told that its transaction is safe. Nobody may lie to it (I2, I4)."""
        self.acknowledged.append(entry)
        sync = self.etcd.stored().sync
        if not self._held_by_members(sync, {entry}):
            raise BrokenInvariantError(f"{server.name} acknowledged {entry}, which no member of {sync} has")

    def _held_by_members(self, sync: Sync | None, entries: Collection[Gtid]) -> bool:
        """Whether the promise of ``sync`` holds: while it is strict, its members together have ``entries``. Without
        members it promises nothing, as nobody is elected.
        """
        if sync is not None and (sync.mode == "degraded" or not sync.members):
            return True
        holders = set(sync.members) if sync else set()
        return set().union(*(self.delivered.get(name, set()) for name in holders)).issuperset(entries)

    def check(self) -> None:
        """What must hold at every moment.

        :raises BrokenInvariantError: it does not.
        """
        writable = [machine for machine in self.machines.values() if machine.server.writable]
        if len(writable) > 1:
            raise BrokenInvariantError(f"two hosts are writable: {[machine.name for machine in writable]}")
        stored = self.etcd.stored()
        term, sync = stored.term, stored.sync
        for machine in writable:
            if term is None or term.primary != machine.name:
                raise BrokenInvariantError(f"{machine.name} is writable, but the term is {term}")
            self._check_lease(machine)
        if term is not None and not self.machines[term.primary].server.holds.issuperset(self.acknowledged):
            raise BrokenInvariantError(f"{term.primary} lacks acknowledged writes in {term}")
        if sync is not None and not self._held_by_members(sync, self.acknowledged):
            raise BrokenInvariantError(f"acknowledged writes are held by no member of {sync}")

    def _check_lease(self, machine: Machine) -> None:
        """The guard in the agent has three of its rounds to end what has no lease; where the agent is dead or frozen,
        the other guard has.
        """
        agent = machine.agent
        if agent is None or not machine.alive or self.now - machine.at_work_since < 3 * GUARD_SECONDS:
            _id, _valid, until = read_note(Path(machine.config.runtime_directory) / "lease")
            late = machine.config.policy.fence_margin - GRACE_SECONDS - 3 * INTERVAL_SECONDS
            if machine.watch is not None and self.now + machine.clock_offset > until - late:
                raise BrokenInvariantError(
                    f"{machine.name} is writable without an agent, and its lease is about to end"
                )
            return
        late = machine.config.policy.fence_margin - 3 * GUARD_SECONDS
        if agent.host.now() > agent.lease.leads_until - late:
            raise BrokenInvariantError(f"{machine.name} is writable, and its lease is about to end")

    # ---- the end

    def calm_down(self) -> None:
        """End every fault, and let a person look, so that the agents can put the estate in order."""
        looked = Acknowledged("anna", utc(EPOCH + self.now))
        self.etcd.commit({}, [Delete("pause"), Put("acknowledged", to_json(looked))])
        self.faults.clear()
        self.heal()
        self.etcd.available = True
        for machine in self.machines.values():
            self.power_on(machine.name)
            self.thaw(machine.name)
            machine.server.apply_paused = False
            machine.disk_free_fraction = 0.5

    def unsettled(self) -> str:
        """What is not as it should be in a healthy estate; empty when all is well."""
        stored = self.etcd.stored()
        term, sync, leader = stored.term, stored.sync, stored.leader
        if term is None or leader is None or sync is None:
            return f"no decision: {stored}"
        others = tuple(sorted(name for name in self.machines if name != term.primary))
        checks = {
            "leader": (leader.holder, leader.term) == (term.primary, term.term),
            "writable": [m.name for m in self.machines.values() if m.server.writable] == [term.primary],
            "fences": not any(m.fenced or m.shut_out for m in self.machines.values()),
            "gates": [m.name for m in self.machines.values() if m.gate] == [term.primary],
            "followers": [m.name for m in self.machines.values() if m.followers] == [term.primary],
            "address": self.vip_holder == term.primary,
            "sync": (sync.mode, sync.members, sync.term) == ("strict", others, term.term),
            "semi-sync": [m.name for m in self.machines.values() if m.server.semi_sync_primary] == [term.primary],
            "replicas": sorted(s.name for s in self.machines[term.primary].server.attached()) == list(others),
            "equal": len({tuple(sorted(server.binlog)) for server in self.servers()}) == 1,
            "no write waits": not self.machines[term.primary].server.waiting,
        }
        wrong = [name for name, good in checks.items() if not good]
        return f"{', '.join(wrong)} wrong in {dataclasses.astuple(term)} with {sync}" if wrong else ""


def _memory() -> str | None:
    """A folder on tmpfs, where there is one: the lease file is written thousands of times."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None
