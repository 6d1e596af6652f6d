# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Clients that write, and what became of each write: acknowledged, refused or unknown, as the prober counts.

Most writers follow the address of the estate, as an application does; some stay on the host that they know, whoever
else may be primary: an old primary that still acknowledges something is found that way.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from failover_agent.gtid import Gtid
from failoverctl.probe.model import NodeRead, Op, Outcome, Row

if TYPE_CHECKING:
    from simulator.mariadb import Server
    from simulator.world import World

WRITERS = 8
#: So many of them never follow the address.
STUBBORN = 2
THINK_SECONDS = 1.6
TIMEOUT_SECONDS = 5.0


@dataclass(slots=True)
class Write:
    """One attempt of one writer."""

    stream: int
    seq: int
    sent: float
    host: str
    done: float = 0.0
    outcome: Outcome | None = None

    def as_op(self) -> Op:
        """The form that the prober's checker reads; what never ended is unknown."""
        outcome: Outcome = self.outcome or "info"
        return Op("write", self.stream, self.seq, self.sent, self.sent, self.done or self.sent, outcome, self.host)


class Clients:
    """The writers of an estate. ``last_acknowledged`` is the time of the newest good answer."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._kernel = world.kernel
        self._random = world.random.random
        self.writes: list[Write] = []
        self.last_acknowledged = world.kernel.now
        self.longest_pause = 0.0
        self._keys: dict[int, tuple[int, int]] = {}
        self._pending: dict[int, Write] = {}
        self._entries: list[Gtid] = []
        self._sequence = [0] * WRITERS
        self._stopped = False
        world.clients = self

    def start(self) -> None:
        """Let all begin."""
        for stream in range(WRITERS):
            self._kernel.after(THINK_SECONDS * self._random(), self._attempt, stream)

    def stop(self) -> None:
        """Nobody writes any more."""
        self._stopped = True

    def _target(self, stream: int) -> str | None:
        if stream < STUBBORN:
            names = list(self._world.machines)
            return names[int(self._random() * len(names))]
        return self._world.vip_holder

    def _attempt(self, stream: int) -> None:
        if self._stopped:
            return
        self._sequence[stream] += 1
        host = self._target(stream)
        write = Write(stream, self._sequence[stream], self._kernel.now, host or "")
        self.writes.append(write)
        machine = self._world.machines.get(host or "")
        if machine is None or not machine.powered or not machine.server.running:
            self._end(write, "fail")
        elif machine.frozen or machine.fenced or machine.server.stuck or machine.server.locking:
            if machine.disk_full and not machine.server.read_only:
                machine.server.stalled += 1
            self._kernel.after(TIMEOUT_SECONDS, self._time_out, write)
        elif machine.server.read_only or machine.server.full:
            self._end(write, "fail")
        else:
            machine.server.write(lambda entry: self._sent(entry, write))
            if write.outcome is None:
                self._kernel.after(TIMEOUT_SECONDS, self._time_out, write)

    def _sent(self, entry: Gtid, write: Write) -> None:
        self._entries.append(entry)
        self._keys[id(entry)] = (write.stream, write.seq)
        self._pending[id(entry)] = write

    def _time_out(self, write: Write) -> None:
        if write.outcome is None:
            self._end(write, "info")

    def _end(self, write: Write, outcome: Outcome) -> None:
        now = self._kernel.now
        write.done, write.outcome = now, outcome
        if outcome == "ok":
            self.longest_pause = max(self.longest_pause, now - self.last_acknowledged)
            self.last_acknowledged = now
        if not self._stopped:
            pause = 0.3 if outcome == "fail" else THINK_SECONDS
            self._kernel.after(pause * (0.1 + 1.8 * self._random()), self._attempt, write.stream)

    def acknowledged(self, server: Server, entry: Gtid) -> bool:
        """A server answered; whether its client heard it."""
        write = self._pending.pop(id(entry), None)
        if write is None:
            return True
        if write.outcome is not None:
            return False
        machine = server.machine
        if machine.fenced or machine.frozen or not machine.powered:
            return False
        self._end(write, "ok")
        return True

    def unanswered(self, entry: Gtid) -> None:
        """The server died with the transaction."""
        write = self._pending.pop(id(entry), None)
        if write is not None and write.outcome is None:
            self._end(write, "info")

    def ops(self) -> list[Op]:
        """All attempts, for the checker."""
        return [write.as_op() for write in self.writes]

    def rows(self, server: Server) -> NodeRead:
        """What a final reading finds on a server."""
        keys = self._keys
        found = [keys[id(entry)] for entry in server.binlog if id(entry) in keys]
        return NodeRead(server.name, rows=tuple(Row(stream, seq, server.name) for stream, seq in found))
