# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What must hold after every event (I1 to I4 of :mod:`failover_agent.decide`), judged from outside of the agents.

What clients were told is compared with what is in the logs, transaction by transaction. Nothing here believes what an
agent says of itself, except the end of its lease, which is a promise.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from failover_agent.gtid import Gtid
from failover_agent.model import Leader, Stored, Sync, Term

if TYPE_CHECKING:
    from simulator.mariadb import Server
    from simulator.world import Machine, World

#: For so long a guard may need.
GUARD_ROUNDS_SECONDS = 0.3
SECOND_GUARD_ROUNDS_SECONDS = 0.3 + 3 * 0.2


class BrokenInvariantError(AssertionError):
    """The world is in a state that must never be."""


#: For so long an agent may act on what it has read, as it stood still meanwhile.
STALE_SECONDS = 12.0


class Invariants:
    """Looks at a world. ``acknowledged`` is what clients were told is safe, oldest first."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.acknowledged: list[Gtid] = []
        self._suspected = False
        self._broken = ""
        self._seen: tuple[Term | None, Sync | None] = (None, None)
        #: Until when (``kernel.now``) a host was the primary or a member of a strict set; for ever where it still is.
        self._counted: dict[str, float] = {}

    def _break(self, what: str) -> None:
        """Something was found in the middle of an agent's work, which must not be able to catch it."""
        self._broken = self._broken or what
        self._world.kernel.touch()

    def suspect(self) -> None:
        """Logs have become shorter: look at everything again."""
        self._suspected = True
        self._world.kernel.touch()

    def check(self) -> None:
        """What must hold at every moment.

        :raises BrokenInvariantError: it does not.
        """
        world = self._world
        if self._broken:
            raise BrokenInvariantError(self._broken)
        stored = world.etcd.stored()
        self._check_deadlines()
        if world.engine == "none":
            self._check_gates(stored)
        writable = [machine for machine in world.machines.values() if machine.server.writable]
        if writable:
            self._check_writable(writable, stored)
        if self._suspected or stored.term is not self._seen[0] or stored.sync is not self._seen[1]:
            self._suspected = False
            self._note_counted(*self._seen)
            self._seen = stored.term, stored.sync
            self._check_rows(stored)
        # Hosts that do not hear each other's advertisements may both take it while it moves.
        if not world.vrrp_blocked and sum(machine.holds_vip for machine in world.machines.values()) > 1:
            holders = [machine.name for machine in world.machines.values() if machine.holds_vip]
            raise BrokenInvariantError(f"the address is on {' and '.join(holders)}")

    def _note_counted(self, term: Term | None, sync: Sync | None) -> None:
        strict = sync is not None and term is not None and (sync.term, sync.mode) == (term.term, "strict")
        for name in self._world.machines:
            if (term is not None and term.primary == name) or (strict and sync is not None and name in sync.members):
                self._counted[name] = self._world.kernel.now

    def starting(self, machine: Machine, *, keeps: bool) -> None:
        """A server is started, and ``keeps`` transactions in doubt or discards them. Keeping those that no client was
        told of and nobody else has makes a fork.
        """
        self._note_counted(self._seen[0], self._seen[1])
        away = self._world.kernel.now - self._counted.get(machine.name, 0.0)
        if keeps and machine.server.in_doubt and away > STALE_SECONDS:
            self._break(f"{machine.name} keeps what is in doubt, and counts for nothing since {away:.0f} s")

    def _check_deadlines(self) -> None:
        """I1. No agent thinks that its lease lives longer than it does in etcd."""
        for machine in self._world.machines.values():
            if machine.agent is None:
                continue
            lease = machine.agent.lease
            thought = lease.valid_until - machine.clock_offset
            known = self._world.etcd.leases.get(lease.id)
            if known is not None and thought > (until := known[0]) + 1e-3:
                raise BrokenInvariantError(f"{machine.name} counts on its lease for {thought - until:.3f} s too long")

    # ---- one leader, where there is no database

    def _check_gates(self, stored: Stored) -> None:
        """I1 for what follows the primary: an open gate is a role, with the lease and the key that a role needs. One
        that is only prepared for a planned switchover is none, and ends with the lease of its host.
        """
        opened = [machine for machine in self._world.machines.values() if machine.gate and not machine.gate_prepared]
        leased = [machine for machine in opened if _leased(machine) and machine.alive]
        if len(leased) > 1:
            raise BrokenInvariantError(f"two gates are open under valid leases: {_names(leased)}")
        now = self._world.kernel.now
        for machine in opened:
            if now - machine.gate_since >= SECOND_GUARD_ROUNDS_SECONDS:
                self._check_lease(machine)
                self._check_key(machine, stored.leader)
        for machine in self._world.machines.values():
            guard = machine.guard_process
            watched = guard is not None and not guard.dead and not guard.frozen and not machine.frozen
            late = machine.config.policy.fence_margin - SECOND_GUARD_ROUNDS_SECONDS
            rested = now - max(machine.awake_since, machine.gate_since) >= SECOND_GUARD_ROUNDS_SECONDS
            if not (machine.gate and machine.gate_prepared and watched and rested):
                continue
            if machine.lease_valid_until - now - machine.clock_offset < late:
                raise BrokenInvariantError(f"{machine.name} is prepared, and its lease is about to end")

    # ---- one writer

    def _check_writable(self, writable: list[Machine], stored: Stored) -> None:
        """I1. A host without a lease may stay writable for a while if its agent stands still; nobody may notice."""
        able = [machine for machine in writable if _could_acknowledge(machine)]
        if len(able) > 1:
            raise BrokenInvariantError(f"two hosts could acknowledge writes: {_names(able)}")
        leased = [machine for machine in writable if _leased(machine)]
        if len(leased) > 1:
            raise BrokenInvariantError(f"two hosts are writable under valid leases: {_names(leased)}")
        term = stored.term
        for machine in writable:
            if term is None or term.primary != machine.name:
                if machine in able and not machine.server.semi_sync_primary:
                    raise BrokenInvariantError(f"{machine.name} writes alone, but the term is {term}")
                if machine in leased and machine.alive:
                    raise BrokenInvariantError(
                        f"{machine.name} is writable under a valid lease, but the term is {term}"
                    )
            self._check_lease(machine)
            self._check_key(machine, stored.leader)

    def _check_key(self, machine: Machine, leader: Leader | None) -> None:
        """Where the leader key is gone nobody writes any more: whoever had it has fenced before, except by promise."""
        if machine.frozen or machine.server.frozen or machine.fenced:
            return
        agent, now = machine.agent, self._world.kernel.now
        if now - machine.awake_since < SECOND_GUARD_ROUNDS_SECONDS or (leader and leader.holder == machine.name):
            return
        if self._unguarded(machine):
            return
        # A promise outlives the agent that was given it: the second guard reads of it in the note about the lease.
        promised = machine.lease_until if machine.lease_until > machine.lease_valid_until else 0.0
        if now + machine.clock_offset < (promised if agent is None else agent.lease.failsafe_until):
            return
        raise BrokenInvariantError(f"{machine.name} is writable, and the leader key is {leader}")

    def _unguarded(self, machine: Machine) -> bool:
        """Whether both guards are dead or stand still: then only that nobody acknowledges anything there is left."""
        now, process = self._world.kernel.now, machine.guard_process
        if machine.agent is not None and machine.alive and now - machine.at_work_since >= GUARD_ROUNDS_SECONDS:
            return False
        if process is None or process.dead or process.frozen:
            return True
        return now - machine.guard_since < SECOND_GUARD_ROUNDS_SECONDS

    def _check_lease(self, machine: Machine) -> None:
        """The guard in the agent has three of its rounds to end what has no lease; where the agent is dead or frozen,
        the second guard has.
        """
        now = self._world.kernel.now
        agent = machine.agent
        if machine.frozen or machine.server.frozen or now - machine.awake_since < SECOND_GUARD_ROUNDS_SECONDS:
            return
        if agent is None or not machine.alive or now - machine.at_work_since < GUARD_ROUNDS_SECONDS:
            left = machine.lease_until - now - machine.clock_offset
            if self._unguarded(machine):
                return
            if left < machine.config.policy.fence_margin - SECOND_GUARD_ROUNDS_SECONDS:
                raise BrokenInvariantError(f"{machine.name} is writable without an agent, and without a lease")
            return
        late = machine.config.policy.fence_margin - GUARD_ROUNDS_SECONDS
        if agent.host.now() > agent.lease.leads_until - late:
            raise BrokenInvariantError(f"{machine.name} is writable, and its lease is about to end")

    def became_writable(self, server: Server) -> None:
        """Everything that was acknowledged must be visible to clients there, and it waits if others count on it."""
        stored = self._world.etcd.stored()
        term, sync = stored.term, stored.sync
        if term is None or term.primary != server.name:
            return  # Judged by what it could acknowledge.
        hidden = [entry for entry in self.acknowledged if not server.has(entry, applied=True)]
        if hidden:
            self._break(f"{server.name} became writable without {_some(hidden)}")
        if sync is not None and sync.mode == "strict" and sync.members and not server.semi_sync_primary:
            self._break(f"{server.name} became writable without waiting for {sync.members}")

    def stopped_waiting(self, server: Server) -> None:
        """I4: semi-sync was switched off; on a primary that writes only after ``sync`` says so."""
        stored = self._world.etcd.stored()
        term, sync = stored.term, stored.sync
        if term is None or term.primary != server.name or not server.writable or sync is None:
            return
        if sync.mode == "strict":
            self._break(f"{server.name} stopped waiting, but the sync set is {sync}")

    # ---- no acknowledged write is lost

    def acknowledge(self, server: Server, entry: Gtid) -> None:
        """A client was told that its transaction is safe. Nobody may lie to it (I2, I4)."""
        self.acknowledged.append(entry)
        stored = self._world.etcd.stored()
        if not self._promise_kept(stored.sync, (entry,)):
            self._break(f"{server.name} acknowledged {entry}, which no member of {stored.sync} has")
        term = stored.term
        if term is not None and not self._world.machines[term.primary].server.has(entry):
            self._break(f"{server.name} acknowledged {entry}, which {term.primary} of {term} lacks")

    def _check_rows(self, stored: Stored) -> None:
        term = stored.term
        if term is not None:
            server = self._world.machines[term.primary].server
            lost = [entry for entry in self.acknowledged if not server.has(entry)]
            if lost:
                raise BrokenInvariantError(f"{term.primary} lacks acknowledged writes in {term}: {_some(lost)}")
        if stored.sync is not None and not self._promise_kept(stored.sync, self.acknowledged):
            raise BrokenInvariantError(f"acknowledged writes are held by no member of {stored.sync}")

    def _promise_kept(self, sync: Sync | None, entries: tuple[Gtid, ...] | list[Gtid]) -> bool:
        """Whether the promise of ``sync`` holds: while it is strict, its members together have ``entries``. Without
        members it promises nothing, as nobody is elected.
        """
        if sync is not None and (sync.mode == "degraded" or not sync.members):
            return True
        servers = [self._world.machines[name].server for name in (sync.members if sync else ())]
        return all(any(server.has(entry) for server in servers) for entry in entries)


def _could_acknowledge(machine: Machine) -> bool:
    """Whether a client that writes there could be told that its write is safe."""
    server = machine.server
    if server.frozen or machine.frozen or machine.fenced:
        return False
    streams = server.dumps.values()
    return not server.semi_sync_primary or any(each.semi_sync and each.receiving for each in streams)


def _leased(machine: Machine) -> bool:
    """Whether its agent believes that it holds its lease."""
    agent = machine.agent
    return agent is not None and agent.host.now() < agent.lease.leads_until


def _names(machines: list[Machine]) -> str:
    return " and ".join(machine.name for machine in machines)


def _some(entries: list[Gtid]) -> str:
    return ", ".join(map(str, entries[:5])) + (", ..." if len(entries) > 5 else "")
