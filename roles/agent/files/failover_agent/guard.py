# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A second, tiny process that fences when the agent cannot: it is stopped, frozen, or dies again and again.

The agent guards its lease itself, ten times a second. This process only reads what the agent left behind, the file that
says that clients may be able to write here and the file with the deadline of the lease, and acts when the deadline
passes and the agent has not. It asks nobody, takes no role, and shares nothing with the agent but the code of a fence.

Where the host has a watchdog (``/dev/watchdog``; Linux kernel documentation, "The Linux Watchdog driver API") and the
configuration names it, it is fed as long as all is well, and no longer when the fence does not work: the host resets.
"""

from __future__ import annotations

import logging
import os
import threading
from pathlib import Path

from failover_agent.config import Config
from failover_agent.host import Host, HostError
from failover_agent.lease import read_note

_log = logging.getLogger("failover-guard")
#: The file that says that clients may be able to write here.
WRITABLE = "may-be-writable"
#: The file that says that a watchdog is armed.
ARMED = "watchdog-armed"
#: How long (seconds) after the agent should have fenced this process does, and how often it looks.
GRACE_SECONDS = 0.3
INTERVAL_SECONDS = 0.2


class Guard:
    """The guard of one host."""

    def __init__(self, config: Config, host: Host) -> None:
        self._host = host
        self._margin = config.policy.fence_margin
        runtime = Path(config.runtime_directory)
        self._writable = runtime / WRITABLE
        self._lease = runtime / "lease"

    def look(self) -> bool:
        """Fence if it is time. Whether all is well: nothing had to be done, or it worked."""
        if not self._writable.exists():
            return True
        _lease, _valid_until, until = read_note(self._lease)
        left = until - self._host.now()
        if left > self._margin - GRACE_SECONDS:
            return True
        _log.critical("the lease ends in %.1f s, and the agent does nothing: fencing", left)
        try:
            self._host.fence()
            self._host.close_gate()
            self._host.stop_followers()
        except HostError as error:
            _log.critical("fencing failed: %s", error)
            return left > 0
        self._writable.unlink(missing_ok=True)
        return True


class Watchdog:
    """The kernel's watchdog: it resets the host when nobody feeds it."""

    def __init__(self, device: str, armed: Path) -> None:
        self._armed = armed
        self._file: int | None = None
        armed.unlink(missing_ok=True)
        if not device:
            return
        try:
            self._file = os.open(device, os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            _log.warning("no watchdog: %s", error)
            return
        armed.touch()

    def feed(self) -> None:
        """All is well."""
        if self._file is not None:
            os.write(self._file, b"\0")

    def close(self) -> None:
        """A regular end: disarm it."""
        if self._file is not None:
            os.write(self._file, b"V")
            os.close(self._file)
            self._file = None
        self._armed.unlink(missing_ok=True)


def run(config: Config, stop: threading.Event) -> None:
    """Guard until ``stop``."""
    guard = Guard(config, Host(config))
    watchdog = Watchdog(config.watchdog_device, Path(config.runtime_directory) / ARMED)
    while not stop.wait(INTERVAL_SECONDS):
        if guard.look():
            watchdog.feed()
    watchdog.close()
