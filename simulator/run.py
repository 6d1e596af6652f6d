# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One schedule from its beginning to the verdict."""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from failover_agent.policy import Policy
from failoverctl.probe.checker import check_rows

from simulator import faults
from simulator.clients import Clients
from simulator.invariants import BrokenInvariantError
from simulator.schedule import Event, Schedule
from simulator.world import World

#: When the faults are over, the estate has so long to become whole again (simulated seconds).
REST_SECONDS = 60.0
#: After a single fault clients wait no longer than this: a lease, an election of etcd in the worst case, and ours.
PAUSE_LIMIT_SECONDS = 15.0
#: What still travels when the last fault ends has arrived after this.
ECHO_SECONDS = 9.0
TCP_GIVES_UP_SECONDS = 100.0
#: A replica that comes and goes is waited for again while the estate comes to rest.
SETTLES_SOON = Policy(settle_first=2.0, settle_most=10.0, settle_memory=60.0)
#: Simulated time begins here.
START = 1000.0
#: Operations that change nothing.
_LOOKING = ("etcd.read", "etcd.renew", "sql SELECT", "sql SHOW")


@dataclass(frozen=True)
class Outcome:
    """How a schedule ended. ``violation`` is empty when all was well; ``trace`` identifies the run."""

    violation: str
    seconds: float
    acknowledged: int
    trace: str
    steps: int = 0
    longest_pause: float = 0.0


def run(schedule: Schedule, log: Callable[[str], None] | None = None, policy: Policy = SETTLES_SOON) -> Outcome:
    """Play a schedule. ``log`` hears what agents do and say, line by line."""
    world = World(
        schedule.hosts,
        seed=schedule.seed,
        members=schedule.etcd_hosts,
        in_memory=True,
        tcp_gives_up_seconds=TCP_GIVES_UP_SECONDS,
        policy=replace(policy, on_last_replica_loss=schedule.on_last_replica_loss),
        engine=schedule.engine,
    )
    world.watches = True
    world.applied_is_in_doubt = True
    try:
        with world.kernel.installed(), _logged(world, log):
            violation = _play(world, schedule, log)
            return _outcome(world, violation)
    finally:
        world.close()


class _Handler(logging.Handler):
    """Passes what agents log on, with the simulated time and the host."""

    def __init__(self, world: World, log: Callable[[str], None]) -> None:
        super().__init__(logging.INFO)
        self._world, self._log = world, log

    def emit(self, record: logging.LogRecord) -> None:
        process = self._world.kernel.process
        host = process.name if process else ""
        self._log(f"{self._world.now - START:8.3f} {host:5} {record.getMessage()}")


@contextlib.contextmanager
def _logged(world: World, log: Callable[[str], None] | None) -> Iterator[None]:
    if log is None:
        yield
        return
    handler = _Handler(world, log)
    logger = logging.getLogger("failover-agent")
    level, propagates = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False

    def watch(host: str, operation: str) -> None:
        if not operation.startswith(_LOOKING):
            log(f"{world.now - START:8.3f} {host:5} . {operation[:100]}")

    world.watchers.append(watch)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagates


def _play(world: World, schedule: Schedule, log: Callable[[str], None] | None) -> str:
    def begin(event: Event) -> None:
        if log is not None:
            log(f"{world.now - START:8.3f} ##### {event}")
        faults.apply(world, event)

    began = world.now
    try:
        world.begin_settled(schedule.primary)
        clients = Clients(world) if schedule.engine != "none" else None
        if clients is not None:
            clients.start()
        for event in schedule.events:
            world.kernel.at(began + event.at, begin, event)
        world.run(schedule.seconds + 1.0)
        unsettled = _come_to_rest(world)
        if clients is not None:
            clients.stop()
        world.run(1.0)
        if unsettled:
            return f"not whole {REST_SECONDS:g} s after the last fault: {unsettled}"
        if clients is None:
            return world.unsettled()
        limited = schedule.single and schedule.on_last_replica_loss == "degrade"  # Else writes wait for the replica.
        if limited and clients.longest_pause > PAUSE_LIMIT_SECONDS:
            return f"writes paused for {clients.longest_pause:.1f} s after a single fault"
        return _judge(world, clients)
    except BrokenInvariantError as error:
        return str(error)


def _come_to_rest(world: World) -> str:
    world.calm_down()
    until = world.now + REST_SECONDS
    world.run(ECHO_SECONDS)
    while (wrong := world.unsettled(lenient=True)) and world.now < until:
        world.run(1.0)
    return wrong


def _judge(world: World, clients: Clients) -> str:
    """What the prober's checker says of what every host holds in the end."""
    world.run(1.0)
    ops = clients.ops()
    for server in world.servers():
        found = check_rows(ops, clients.rows(server))
        for what, keys in (("lost", found.lost), ("unexpected", found.unexpected)):
            if keys:
                return f"{len(keys)} writes are {what} on {server.name}: {sorted(keys)[:5]}"
        if found.duplicates:
            return f"{found.duplicates} writes are twice on {server.name}"
    return world.unsettled()


def _outcome(world: World, violation: str) -> Outcome:
    digest = hashlib.blake2b(digest_size=8)
    digest.update(repr((world.operations, world.kernel.steps, world.now, violation)).encode())
    clients = world.clients
    return Outcome(
        violation,
        seconds=world.now - START,
        acknowledged=len(world.acknowledged),
        trace=digest.hexdigest(),
        steps=world.kernel.steps,
        longest_pause=clients.longest_pause if clients else 0.0,
    )
