# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The knobs of the rules, as an estate's configuration sets them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Engine = Literal["mariadb", "none"]
LastReplicaLoss = Literal["degrade", "block"]
#: The priority of a host that nobody gave one.
DEFAULT_PRIORITY = 100


@dataclass(frozen=True)
class Policy:
    """Every knob, in seconds where nothing else is said.

    ``fence_margin`` is the time a fence needs at most. ``election_step`` is what the second-best candidate waits longer
    than the best; an election whose members do not all answer is given up after ``election_limit``. A primary whose
    database does not answer for ``restart_limit`` steps down, and does not lead again for ``sit_out``. A replica that
    left the sync set twice within ``settle_memory`` has to be well for ``settle_first`` before it is waited for again,
    and for twice as long after each further time, up to ``settle_most``; it is forgiven when a person has looked.
    """

    lease_ttl: float = 5.0
    renew_interval: float = 1.25
    tick_interval: float = 1.0
    fence_margin: float = 1.5
    replica_loss: float = 3.0
    settle_first: float = 10.0
    settle_most: float = 300.0
    settle_memory: float = 600.0
    switchover_limit: float = 3.0
    transaction_limit: float = 5.0
    lag_limit: float = 2.0
    disk_free_fraction: float = 0.05
    disk_reserve_fraction: float = 0.02
    election_step: float = 0.3
    election_limit: float = 5.0
    restart_limit: float = 5.0
    sit_out: float = 60.0
    failovers_per_hour: int = 3
    failover_interval: float = 60.0
    on_last_replica_loss: LastReplicaLoss = "degrade"
    failsafe: bool = True
    auto_rejoin: bool = True
