# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A second, tiny process that fences when the agent cannot: it is stopped, frozen, or dies again and again.

The agent guards its lease itself. This process only reads what the agent left behind, the file that says that clients
may be able to write here and the file with the deadline of the lease, and acts when the deadline passes and the agent
has not. It asks nobody, takes no role, and shares nothing with the agent but the code of a fence.
Of a host that was only prepared for a planned switchover it shuts the gate when its own lease ends.

Where the host has a watchdog, this process keeps it quiet (:mod:`failover_agent.watchdog`), so that a host that stands
still as a whole, or whose fence does not work, is reset before the lease ends.
"""

from __future__ import annotations

import logging
import threading
from pathlib import Path

from failover_agent.config import Config
from failover_agent.host import Host, HostError
from failover_agent.note import read_note
from failover_agent.watchdog import Watchdog, timeout

_log = logging.getLogger("failover-guard")
#: The file that says that clients may be able to write here.
WRITABLE = "may-be-writable"
#: The file that says that a watchdog is armed.
ARMED = "watchdog-armed"
#: How long (seconds) after the agent should have fenced this process does.
GRACE_SECONDS = 0.3
#: How often (seconds) it looks while it has to: a fence did not work, or a watchdog is to be kept quiet.
INTERVAL_SECONDS = 0.2
#: How often (seconds) it looks at least, as a host may become writable, or be suspended while its lease goes on. Even
#: for an agent that is frozen as it makes its host writable it fences within the margin.
IDLE_SECONDS = 0.5


class Guard:
    """The guard of one host."""

    def __init__(self, config: Config, host: Host) -> None:
        self._host = host
        self._database = config.engine != "none"
        self._margin = config.policy.fence_margin
        runtime = Path(config.runtime_directory)
        self._writable = runtime / WRITABLE
        self._lease = runtime / "lease"

    def look(self) -> float:
        """Fence if it is time; what did not work is tried again at the next look. Seconds until that is due."""
        writable = self._writable.exists()
        if not writable and not self._host.gate_prepared:
            return IDLE_SECONDS
        note = read_note(self._lease)
        left = (note.until if writable else note.valid_until) - self._host.now()
        due_in = left - (self._margin - GRACE_SECONDS)
        if due_in > 0.0:
            return due_in
        _log.critical("the lease ends in %.1f s, and the agent does nothing: fencing", left)
        try:
            if self._database and writable:
                self._host.fence()
            self._host.close_gate()
            self._host.stop_followers()
        except HostError as error:
            _log.critical("fencing failed: %s", error)
            return INTERVAL_SECONDS
        self._writable.unlink(missing_ok=True)
        return INTERVAL_SECONDS


def run(config: Config, stop: threading.Event) -> None:
    """Guard until ``stop``."""
    policy, host = config.policy, Host(config)
    runtime = Path(config.runtime_directory)
    guard, armed = Guard(config, host), runtime / ARMED
    device = Path(config.watchdog_device) if config.watchdog_device else Path("/nonexistent")
    watchdog = Watchdog(timeout(policy.lease_ttl, policy.fence_margin), device)
    watchdog.arm()
    armed.unlink(missing_ok=True)
    if watchdog.armed:
        armed.touch()
    while not stop.wait(min(guard.look(), INTERVAL_SECONDS if watchdog.armed else IDLE_SECONDS)):
        watchdog.keep(read_note(runtime / "lease").until, writable=(runtime / WRITABLE).exists())
    armed.unlink(missing_ok=True)
    watchdog.disarm()
