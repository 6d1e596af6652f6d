# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""This host's lease in etcd: kept alive by one thread, its end known without asking anybody."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from pathlib import Path

from failover_agent.etcd import Client, EtcdError
from failover_agent.model import Policy

_log = logging.getLogger("failover-agent.lease")


class Lease:
    """The lease id and the time (CLOCK_BOOTTIME seconds) up to which it certainly lives.

    The time is counted from when the renewal was *sent*, so this host never believes longer than etcd does. Both are
    kept in a file on tmpfs: a restarted agent goes on with the same lease and the same deadline, a rebooted host does
    not find it.
    """

    def __init__(self, client: Client, policy: Policy, path: Path, now: Callable[[], float]) -> None:
        self._client = client
        self._policy = policy
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        self._renewing = threading.Lock()
        self._id, self._valid_until = self._load()

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

    def renew(self) -> bool:
        """Renew once, or take a new lease when the old one is gone. Whether that worked."""
        with self._renewing:
            return self._renew()

    def _renew(self) -> bool:
        sent = self._now()
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
            self._id, self._valid_until = lease, sent + self._policy.lease_ttl
            text = f"{self._id} {self._valid_until}\n"
        self._note(text)
        return True

    def _note(self, text: str) -> None:
        """Write by rename: an agent that dies half-way must not leave half a lease."""
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
            if stop.wait(self._policy.renew_interval if good else self._policy.renew_interval / 3):
                return

    def _load(self) -> tuple[int, float]:
        try:
            lease, valid_until = self._path.read_text(encoding="utf-8").split()
            return int(lease), float(valid_until)
        except (OSError, ValueError):
            return 0, 0.0
