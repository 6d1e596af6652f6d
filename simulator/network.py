# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Packets between hosts, as programs see them through TCP: late, in order, or not at all.

A lost packet is sent again, so loss is delay; a cut is delay until it is healed or the sender's patience ends. What was
sent before a cut may still arrive after it, long after its sender has given up.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from simulator.kernel import Kernel

#: All services of a host.
ALL = "*"
ETCD, PEER, DATABASE, VRRP = "etcd", "peer", "database", "vrrp"
SERVICES = (ETCD, PEER, DATABASE, VRRP)
#: The first retransmission of Linux; it doubles (RFC 6298).
RETRANSMIT_SECONDS = 0.2
_BASE_SECONDS = 0.0002
_JITTER_SECONDS = 0.0012


class Network:
    """Who reaches whom, one way at a time. ``changed`` is called after every change of the links."""

    def __init__(self, kernel: Kernel, changed: Callable[[], None]) -> None:
        self._kernel = kernel
        self._changed = changed
        self._random = kernel.random.random
        #: (from, to, service) that drop everything.
        self.blocked: set[tuple[str, str, str]] = set()
        #: Seconds of delay and share of lost packets by host; they hold for all links of the host.
        self.slow: dict[str, tuple[float, float]] = {}

    def block(self, source: str, target: str, service: str = ALL) -> None:
        """Drop what goes from one host to another."""
        self.blocked.add((source, target, service))
        self._changed()

    def unblock(self, source: str, target: str, service: str = ALL) -> None:
        """Undo one :meth:`block`."""
        self.blocked.discard((source, target, service))
        self._changed()

    def heal(self) -> None:
        """All links are whole again."""
        if self.blocked or self.slow:
            self.blocked.clear()
            self.slow.clear()
            self._changed()

    def open(self, source: str, target: str, service: str) -> bool:
        """Whether packets get through in this direction."""
        blocked = self.blocked
        return (
            not blocked
            or source == target
            or ((source, target, ALL) not in blocked and (source, target, service) not in blocked)
        )

    def both_ways(self, one: str, other: str, service: str) -> bool:
        """Whether packets get through in both directions."""
        return not self.blocked or (self.open(one, other, service) and self.open(other, one, service))

    def delay(self, source: str, target: str) -> float:
        """Seconds that one message takes."""
        seconds = _BASE_SECONDS + _JITTER_SECONDS * self._random()
        if self.slow and source != target:
            for host in (source, target):
                if host in self.slow:
                    extra, loss = self.slow[host]
                    seconds += extra * (0.8 + 0.4 * self._random())
                    again = RETRANSMIT_SECONDS
                    while self._random() < loss and again < 10.0:
                        seconds += again
                        again *= 2
        return seconds

    def carry(
        self, source: str, target: str, service: str, patience: float, arrive: Callable[..., object], *arguments: Any
    ) -> None:
        """Send one message; ``arrive`` is called when it gets there. After ``patience`` seconds it is given up."""
        if not self.blocked or self.open(source, target, service):
            self._kernel.after(self.delay(source, target), arrive, *arguments)
        else:
            self._again(RETRANSMIT_SECONDS, self._kernel.now + patience, source, target, service, arrive, arguments)

    def _again(
        self,
        wait: float,
        deadline: float,
        source: str,
        target: str,
        service: str,
        arrive: Callable[..., object],
        arguments: tuple[Any, ...],
    ) -> None:
        def retry() -> None:
            if self.open(source, target, service):
                arrive(*arguments)
            else:
                self._again(min(2 * wait, 3.0), deadline, source, target, service, arrive, arguments)

        if self._kernel.now + wait <= deadline:
            self._kernel.after(wait, retry)
