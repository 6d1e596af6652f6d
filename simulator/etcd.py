# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""etcd in memory: what a quorum of it is to its clients, and what its members are when there is none.

:class:`Etcd` is the store: linearizable, transactions on ``mod_revision``, leases. :class:`Cluster` puts it on members
with a leader. Taken from etcd's documentation and source (v3.5): a new leader extends all leases by their full length
and an election time-out (``lessor.Promote``); without a leader nothing expires; expired leases are revoked in rounds of
half a second; a proposal whose answer is lost may be applied by the next leader, long after its sender has given up.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from failover_agent.etcd import Delete, EtcdError, Put, parse_stored
from failover_agent.model import Stored

from simulator.network import ETCD

if TYPE_CHECKING:
    from simulator.kernel import Call
    from simulator.world import World

ELECTION_SECONDS = 1.0
REVOKE_ROUND_SECONDS = 0.5
#: etcd itself gives a request up after 5 s and two election time-outs (its ``Config.ReqTimeout``).
LATE_SECONDS = 7.0


@dataclass(frozen=True)
class Entry:
    """One key of the store."""

    text: str
    revision: int
    lease: int = 0


class Etcd:
    """The store. ``leased`` hears of every new end of a lease, ``changed`` of every new revision."""

    def __init__(self) -> None:
        self.now = 0.0
        self.available = True
        self.revision = 1
        self.entries: dict[str, Entry] = {}
        self.leases: dict[int, tuple[float, float]] = {}
        self.leased: Callable[[int, float], None] | None = None
        self.changed: Callable[[], None] | None = None
        self._next_lease = 7587880000000000
        self._parsed = (0, Stored())

    def advance(self, now: float) -> None:
        """Let time pass: leases end, and their keys with them."""
        self.now = now
        for lease, (until, _ttl) in list(self.leases.items()):
            if until <= now:
                self.revoke(lease)

    def commit(self, expected: Mapping[str, int], changes: Sequence[Put | Delete]) -> bool:
        """One transaction; False when a key of ``expected`` has another ``mod_revision`` (0: absent).

        :raises EtcdError: a change names a lease that is gone.
        """
        for key, revision in expected.items():
            if (self.entries[key].revision if key in self.entries else 0) != revision:
                return False
        if any(isinstance(change, Put) and change.lease and change.lease not in self.leases for change in changes):
            raise EtcdError("etcdserver: requested lease not found")
        self.revision += 1
        for change in changes:
            if isinstance(change, Put):
                self.entries[change.key] = Entry(change.value, self.revision, change.lease)
            else:
                self.entries.pop(change.key, None)
        self._tell()
        return True

    def grant(self, ttl: float) -> int:
        """A new lease; its id."""
        self._next_lease += 1
        self._set_end(self._next_lease, self.now + ttl, ttl)
        return self._next_lease

    def renew(self, lease: int) -> bool:
        """Renew a lease; False when it is gone."""
        until, ttl = self.leases.get(lease, (0.0, 0.0))
        if until <= self.now:
            return False
        self._set_end(lease, self.now + ttl, ttl)
        return True

    def extend(self, seconds: float) -> None:
        """Give all leases their full length again, and some seconds more."""
        for lease, (_until, ttl) in self.leases.items():
            self._set_end(lease, self.now + ttl + seconds, ttl)

    def _set_end(self, lease: int, until: float, ttl: float) -> None:
        self.leases[lease] = (until, ttl)
        if self.leased is not None:
            self.leased(lease, until)

    def revoke(self, lease: int) -> None:
        """End a lease."""
        self.leases.pop(lease, None)
        gone = [key for key, entry in self.entries.items() if entry.lease == lease]
        if gone:
            self.revision += 1
            for key in gone:
                del self.entries[key]
            self._tell()

    def _tell(self) -> None:
        if self.changed is not None:
            self.changed()

    def stored(self) -> Stored:
        """Everything, typed."""
        if self._parsed[0] != self.revision:
            raw = {key: (entry.text, entry.revision, entry.lease) for key, entry in self.entries.items()}
            self._parsed = self.revision, parse_stored(raw)
        return self._parsed[1]


@dataclass
class Member:
    """One member: a process on a host."""

    name: str
    host: str
    up: bool = True
    frozen: bool = False


class Cluster:
    """Members on hosts, one of them the leader, and the requests that are on their way."""

    def __init__(self, world: World, members: Sequence[Member]) -> None:
        self._world = world
        self._kernel = world.kernel
        self.store = Etcd()
        self.store.now = self._kernel.now
        self.store.leased = self._leased
        self.members = {member.name: member for member in members}
        self.leader: str | None = members[0].name
        #: Members that can serve a request now.
        self.serving: set[str] = set(self.members)
        self._electing = False
        self._watches: dict[str, Callable[[], object]] = {}
        self._waiting: list[tuple[float, Member, Call]] = []
        self._held: list[tuple[Member, Call]] = []

    # ---- requests

    def ask(self, host: str, member: Member, call: Call) -> None:
        """Carry a request of ``host`` to a member; the call hears the answer, if there is one."""
        call.origin = host
        patience = call.timeout + LATE_SECONDS
        self._world.network.carry(host, member.host, ETCD, patience, self._arrive, member, call)

    def _arrive(self, member: Member, call: Call) -> None:
        if not member.up:
            if self._world.host_up(member.host):
                self._answer(member, call, None, ConnectionRefusedError("[Errno 111] Connection refused"))
        elif member.frozen:
            self._held.append((member, call))
        elif member.name in self.serving and self.store.available:
            self._kernel.after(0.0005 + 0.003 * self._kernel.random.random(), self._apply, member, call)
        elif call.deadline > self._kernel.now:
            self._waiting.append((self._kernel.now, member, call))

    def _apply(self, member: Member, call: Call) -> None:
        if member.name not in self.serving or not self.store.available:
            self._waiting.append((self._kernel.now, member, call))
            return
        self.store.now = self._kernel.now
        try:
            value = call.effect()
        except EtcdError as error:
            self._answer(member, call, None, error)
        else:
            self._answer(member, call, value, None)

    def _answer(self, member: Member, call: Call, value: Any, error: Exception | None) -> None:
        self._world.network.carry(member.host, call.origin, ETCD, call.timeout, call.finish, value, error)

    def at_once(self, member: Member, call: Call) -> None:
        """The same for callers for whom time stands still."""
        self.store.now = self._kernel.now
        open_ = self._world.network.both_ways(call.origin, member.host, ETCD)
        if open_ and member.name in self.serving and self.store.available:
            call.finish(call.effect(), None)

    # ---- leases

    def _leased(self, lease: int, until: float) -> None:
        jitter = REVOKE_ROUND_SECONDS * self._kernel.random.random()
        self._kernel.at(until + jitter, self._expire, lease)

    def _expire(self, lease: int) -> None:
        known = self.store.leases.get(lease)
        if known is not None and known[0] <= self._kernel.now and self.serving:
            self.store.now = self._kernel.now
            self.store.revoke(lease)

    # ---- who watches

    def watch(self, host: str, changed: Callable[[], object]) -> None:
        """Tell ``changed`` of every new revision, as far as news get to ``host``; a later watch replaces it."""
        self._watches[host] = changed

    def tell(self) -> None:
        """There is a new revision."""
        network, kernel = self._world.network, self._kernel
        for host, changed in self._watches.items():
            near = self.members.get(host)
            member = near if near is not None and near.name in self.serving else self._any_serving()
            if member is not None and network.both_ways(member.host, host, ETCD):
                kernel.after(0.001 + network.delay(member.host, host), changed)

    def _any_serving(self) -> Member | None:
        return next((member for member in self.members.values() if member.name in self.serving), None)

    # ---- who leads

    def move(self, name: str) -> None:
        """Another member leads, as somebody asked for it: leases begin anew."""
        if name in self.serving:
            self.leader = name
            self.update()
            self.store.extend(ELECTION_SECONDS)

    def _alive(self, member: Member) -> bool:
        return member.up and not member.frozen

    def _followers(self, member: Member) -> set[str]:
        """The members that a leader here would have, itself included."""
        both_ways = self._world.network.both_ways
        return {
            other.name
            for other in self.members.values()
            if self._alive(other) and (other is member or both_ways(member.host, other.host, ETCD))
        }

    def update(self) -> None:
        """Links, members or hosts have changed."""
        held, self._held = self._held, []
        for member, call in held:
            self._arrive(member, call)
        leader = self.members.get(self.leader or "")
        majority = len(self.members) // 2 + 1
        followers = self._followers(leader) if leader is not None and self._alive(leader) else set()
        if len(followers) >= majority:
            before, self.serving = self.serving, followers
            if not before:
                self._resume()
            return
        self.serving = set()
        if not self._electing:
            self._electing = True
            self._kernel.after(ELECTION_SECONDS * (1.0 + 1.2 * self._kernel.random.random()), self._elect)

    def _elect(self) -> None:
        self._electing = False
        if self.serving:
            return
        majority = len(self.members) // 2 + 1
        able = [
            member
            for member in self.members.values()
            if self._alive(member) and len(self._followers(member)) >= majority
        ]
        if not able:
            return  # The next change of the links begins another.
        leader = self._kernel.random.choice(able)
        self.leader = leader.name
        self.serving = self._followers(leader)
        self.store.now = self._kernel.now
        self.store.extend(ELECTION_SECONDS)
        self._resume()

    def _resume(self) -> None:
        """What waited for a leader goes on: readers that still wait get an answer, proposals may be applied late."""
        waiting, self._waiting = self._waiting, []
        for since, member, call in waiting:
            late = self._kernel.now > call.deadline
            if self._kernel.now - since <= LATE_SECONDS and (not late or (call.writes and self._luck())):
                self._kernel.after(0.001, self._apply if member.name in self.serving else self._drop, member, call)
        for lease, (until, _ttl) in list(self.store.leases.items()):
            if until <= self._kernel.now:
                self._leased(lease, self._kernel.now)

    def _drop(self, _member: Member, _call: Call) -> None:
        """The member that had it is not part of the majority."""

    def _luck(self) -> bool:
        return self._kernel.random.random() < 0.5
