# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""This host's lease in etcd: kept alive by one thread, its end known without asking anybody."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from failover_agent.etcd import Client, EtcdError
from failover_agent.note import LeaseNote, read_note
from failover_agent.policy import Policy

_log = logging.getLogger("failover-agent.lease")
#: A try to renew counts as unanswered after so long (seconds).
_PATIENCE_SECONDS = 0.3


class Lease:
    """The lease id and the time (CLOCK_BOOTTIME seconds) up to which it certainly lives.

    The time is counted from when the renewal was *sent*, so this host never believes longer than etcd does. Both are
    kept in a file on tmpfs: a restarted agent goes on with the same lease and the same deadline, a rebooted host does
    not find it.

    ``leads_until`` is the time up to which this host may be writable: the end of the lease *on which it led last*. A
    new lease is worth nothing until the leader key hangs on it (I1), so only :meth:`lead` makes it count.
    """

    def __init__(self, client: Client, policy: Policy, path: Path, now: Callable[[], float]) -> None:
        self._client = client
        self._policy = policy
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        note = self._load()
        self._id, self._valid_until, self._led = note.lease, note.valid_until, note.led
        self._leads_until = min(note.until, note.valid_until)
        # What the others promised holds for the agent's next life, too.
        self._failsafe_until = note.until if note.until > note.valid_until else 0.0
        self._tried_at = self._answered_at = 0.0

    @property
    def id(self) -> int:
        """etcd's id of the lease, 0 when there is none."""
        with self._lock:
            return self._id

    @property
    def valid_until(self) -> float:
        """CLOCK_BOOTTIME seconds up to which the lease certainly lives; in the past when it is lost."""
        with self._lock:
            return self._valid_until

    @property
    def leads_until(self) -> float:
        """CLOCK_BOOTTIME seconds up to which this host may be writable."""
        with self._lock:
            return max(self._leads_until, self._failsafe_until)

    @property
    def failsafe_until(self) -> float:
        """Up to when all other data hosts have promised to begin no election; 0.0 when they have not."""
        with self._lock:
            return self._failsafe_until

    @property
    def overdue(self) -> bool:
        """Whether a renewal should have been answered by now."""
        return self._now() > self.overdue_at

    @property
    def overdue_at(self) -> float:
        """CLOCK_BOOTTIME seconds after which a renewal should have been answered."""
        with self._lock:
            since = self._valid_until - self._policy.lease_ttl
        return since + self._policy.renew_interval + _PATIENCE_SECONDS

    @property
    def unanswered(self) -> bool:
        """Whether etcd has not answered this host since the last try to renew."""
        with self._lock:
            return self._answered_at < self._tried_at <= self._now() - _PATIENCE_SECONDS

    def lead(self, lease: int) -> None:
        """The leader key of the current term was seen to hang on ``lease``."""
        with self._lock:
            if lease != self._id:
                return
            self._led = lease
            changed = self._leads_until != self._valid_until
            self._leads_until = self._valid_until
        if changed:
            self._note()

    def extend(self, until: float) -> None:
        """All other data hosts have promised: the deadline is ``until`` although etcd is silent.

        A deadline that has passed stays passed: by then somebody else may lead.
        """
        with self._lock:
            now = self._now()
            if now >= max(self._leads_until, self._failsafe_until) - self._policy.fence_margin:
                return
            self._failsafe_until = until
        self._note()

    def renew(self) -> bool:
        """Renew once, or take a new lease when the old one is gone. Whether that worked."""
        with self._renewing:
            return self._renew()

    def _renew(self) -> bool:
        sent = self._now()
        with self._lock:
            self._tried_at = sent
        try:
            lease = self.id
            if lease and not self._client.renew(lease):
                _log.warning("lease %x is gone; taking a new one", lease)
                lease = 0
            if not lease:
                sent = self._now()
                lease = self._client.grant(self._policy.lease_ttl)
        except EtcdError as error:
            _log.warning("the lease was not renewed: %s", error)
            return False
        with self._lock:
            self._answered_at = self._now()
            self._id, self._valid_until = lease, sent + self._policy.lease_ttl
            if lease == self._led:
                self._leads_until = self._valid_until
            # A renewal that was answered late may end before the promise of the others; both hold.
            if lease == self._led and self._valid_until >= self._failsafe_until:
                self._failsafe_until = 0.0
        self._note()
        return True

    def _note(self) -> None:
        """Write by rename: an agent that dies half-way must not leave half a lease."""
        with self._lock:
            text = " ".join(map(str, self._noted())) + "\n"
            fresh = self._path.with_suffix(".new")
            try:
                fresh.write_text(text, encoding="utf-8")
                fresh.rename(self._path)
            except OSError as error:
                # The lease itself is fine. A restarted agent finds an earlier end and is the more careful.
                _log.error("%s was not written: %s", self._path, error)

    def keep(self, stop: threading.Event, renewed: Callable[[bool], None]) -> None:
        """Renew until ``stop``; ``renewed`` hears the outcome of every try. The body of the lease thread."""
        while True:
            good = self.renew()
            renewed(good)
            if stop.wait(self._pause(good=good)):
                return

    def _pause(self, *, good: bool) -> float:
        """Seconds until the next renewal: a renewal counts from when it was sent, so a slow answer makes it shorter."""
        interval = self._policy.renew_interval
        due = self.valid_until - self._policy.lease_ttl + interval - self._now() if good else 0.0
        return min(max(due, interval / 3), interval)

    def _noted(self) -> LeaseNote:
        return LeaseNote(self._id, self._valid_until, max(self._leads_until, self._failsafe_until), self._led)

    def _load(self) -> LeaseNote:
        return read_note(self._path)
