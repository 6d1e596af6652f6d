# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""etcd in memory: what a quorum of it is to its clients."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from failover_agent.etcd import Delete, EtcdError, Put, parse_stored
from failover_agent.model import Stored


@dataclass(frozen=True)
class Entry:
    """One key of the store."""

    text: str
    revision: int
    lease: int = 0


class Etcd:
    """What a quorum of etcd is to its clients: linearizable, with transactions on ``mod_revision`` and with leases."""

    def __init__(self) -> None:
        self.now = 0.0
        self.available = True
        self.revision = 1
        self.entries: dict[str, Entry] = {}
        self.leases: dict[int, tuple[float, float]] = {}
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
        return True

    def grant(self, ttl: float) -> int:
        """A new lease; its id."""
        self._next_lease += 1
        self.leases[self._next_lease] = (self.now + ttl, ttl)
        return self._next_lease

    def renew(self, lease: int) -> bool:
        """Renew a lease; False when it is gone."""
        if lease not in self.leases:
            return False
        ttl = self.leases[lease][1]
        self.leases[lease] = (self.now + ttl, ttl)
        return True

    def revoke(self, lease: int) -> None:
        """End a lease."""
        self.leases.pop(lease, None)
        gone = [key for key, entry in self.entries.items() if entry.lease == lease]
        if gone:
            self.revision += 1
        for key in gone:
            del self.entries[key]

    def stored(self) -> Stored:
        """Everything, typed."""
        if self._parsed[0] != self.revision:
            raw = {key: (entry.text, entry.revision, entry.lease) for key, entry in self.entries.items()}
            self._parsed = self.revision, parse_stored(raw)
        return self._parsed[1]
