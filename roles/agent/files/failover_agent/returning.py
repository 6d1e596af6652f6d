# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The way back of this host by command: when automation is paused or not trusted with it, or a new copy is wanted.

Nothing is done here. A person's order lets the rules of :mod:`failover_agent.decide` do what they do by themselves
where they may: start the database, save and undo what only this host has, fetch a new copy, attach. This says
beforehand which of these it will be, and waits for it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import Any

from failover_agent import gates
from failover_agent.agent import Agent
from failover_agent.etcd import EtcdError
from failover_agent.gates import Refusal
from failover_agent.host import HostError
from failover_agent.mariadb import DatabaseError
from failover_agent.model import Stored, Term
from failover_agent.peer import PeerError
from failover_agent.switchover import Step

_TROUBLE = (DatabaseError, EtcdError, HostError, PeerError)
_POLL_SECONDS = 0.2
#: How long (seconds) it may take without a new copy: undoing transactions is the longest of it.
_REJOIN_SECONDS = 660.0
#: With one; and how long (seconds) until it has to have begun.
_COPY_SECONDS = 7200.0
_RESULTS = {"attach": "attached", "flashback": "flashed_back", "reclone": "recloned"}


@dataclass(frozen=True)
class Request:
    """A rejoin as it was asked for."""

    run_id: str
    reclone: bool = False
    check: bool = False


class Returning:
    """One rejoin of this host."""

    def __init__(self, agent: Agent, request: Request) -> None:
        self.agent = agent
        self.request = request
        self.steps: list[Step] = []
        self._began = time.monotonic()

    def run(self) -> dict[str, Any]:
        """Do it and tell what happened: ``result`` is already, attached, flashed_back, recloned, possible, refused or
        failed; never raises for trouble of the world.
        """
        try:
            return self._run()
        except _TROUBLE as error:
            return self._result("failed", error=str(error))
        finally:
            self.agent.ordered = ""

    def _run(self) -> dict[str, Any]:
        agent = self.agent
        if agent.config.engine == "none":
            why = "This estate has no database (engine none), so there is nothing to rejoin."
            fix = f"A host whose agent runs follows by itself; start that of {agent.config.host} if it does not."
            return self._result("refused", refusals=(Refusal("no_database", why, "engine none", "a database", fix),))
        stored, refused = self._known()
        if refused or stored is None or stored.term is None:
            return self._result("refused", refusals=refused)
        term = stored.term
        if self._follows(term) and not self.request.reclone:
            return self._result("already")
        divergent = self._divergent(stored, term)
        method = "reclone" if self.request.reclone else "flashback" if divergent else "attach"
        told = {"transactions": divergent, "sql": None, "raw": None} if divergent else None
        if self.request.check:
            return self._result("possible", method=method, divergent=told)
        kept, copies = tuple(agent.rejoin.saved()), agent.copies
        with self._timed():
            error = self._order(term, copies)
        if agent.copies > copies:
            method = "reclone"
        told = self._saved(kept) or told
        if error:
            return self._result("failed", method=method, divergent=told, error=error)
        return self._result(_RESULTS[method], method=method, divergent=told)

    # ---- what is known

    def _known(self) -> tuple[Stored | None, tuple[Refusal, ...]]:
        agent, host = self.agent, self.agent.config.host
        client = agent.store.clone()
        try:
            stored = client.read()
        except EtcdError as error:
            fix = "Bring the etcd members back: `failoverctl status` names the ones that do not answer."
            limit = "a majority of etcd members"
            return None, (Refusal("quorum_lost", "etcd gave no answer.", str(error), limit, fix),)
        finally:
            client.close()
        found = []
        locked = gates.lock_refusal(stored.lock, self.request.run_id)
        if locked:
            found.append(locked)
        term, leader = stored.term, stored.leader
        if term is not None and term.primary == host:
            fix = "Fail over to another host first, or wait until its agent makes it primary again."
            found.append(Refusal("already_primary", f"The term names {host} as primary.", f"term {term.term}", "", fix))
        elif term is None or leader is None or (leader.holder, leader.term) != (term.primary, term.term):
            fix = "Look at `failoverctl status`; `failoverctl failover --check` says whether a replica can take over."
            found.append(Refusal("no_primary", "No primary leads at the moment.", "nobody", "a primary", fix))
        if agent.seeding:
            found.append(
                Refusal("busy", f"{host} is busy {agent.seeding}.", agent.seeding, "", "Wait until it is done.")
            )
        elif not agent.directory.seeded and not self.request.reclone:
            fix = f"`failoverctl rejoin {host} --reclone` gives it a copy and puts what it has aside."
            found.append(Refusal("unseeded", f"{host} has no data of this estate.", "none", "a copy of it", fix))
        return stored, tuple(found)

    def _follows(self, term: Term) -> bool:
        """Whether the database replicates from the primary, asked now."""
        agent = self.agent
        if agent.seeding or not agent.directory.seeded:
            return False
        with agent.act:
            database = agent.database.observe()
        replication = database.replication
        if not database.running or replication is None:
            return False
        from_primary = replication.host == agent.config.hosts.get(term.primary)
        return from_primary and replication.io_running and replication.sql_running

    def _divergent(self, stored: Stored, term: Term) -> int:
        """How many transactions only this host has.

        :raises DatabaseError: the binary log does not say it.
        :raises PeerError: the primary does not answer.
        """
        agent = self.agent
        if not agent.directory.seeded:
            return 0
        with contextlib.closing(agent.connect(term.primary)) as peer:
            present = str(peer.call("/position", timeout=3.0)["gtid_binlog_pos"])
        with agent.act:
            return len(agent.rejoin.divergent(agent.rejoin.fork(stored.history, present)))

    def _saved(self, before: tuple[Any, ...]) -> dict[str, Any] | None:
        """What was saved meanwhile, or else what was saved last."""
        new = [each for each in self.agent.rejoin.saved() if each not in before]
        if not new:
            return None
        return {
            "transactions": sum(each.transactions for each in new),
            "sql": new[-1].sql,
            "raw": new[-1].raw,
        }

    # ---- the order

    def _order(self, term: Term, copies: int) -> str:
        """Let the rules go, and wait; why it did not come to its end, empty when it did."""
        agent = self.agent
        limit = _COPY_SECONDS if self.request.reclone else _REJOIN_SECONDS
        deadline = time.monotonic() + limit
        agent.copy_error = ""
        agent.ordered = "reclone" if self.request.reclone else "rejoin"
        while time.monotonic() < deadline:
            agent.wake.set()
            copied = not self.request.reclone or agent.copies > copies
            if copied and self._follows(term):
                return ""
            if agent.copy_error:
                return f"no new copy: {agent.copy_error}"
            time.sleep(_POLL_SECONDS)
        return f"it does not follow {term.primary} after {limit:g} s; its agent goes on trying"

    @contextlib.contextmanager
    def _timed(self) -> Any:
        started = time.monotonic()
        outcome = "failed"
        try:
            yield
            outcome = "ok"
        finally:
            at, ms = ((started - self._began) * 1000, (time.monotonic() - started) * 1000)
            self.steps.append(Step("rejoin", "Follow the primary again", round(at, 1), round(ms, 1), outcome))

    def _result(
        self,
        result: str,
        *,
        method: str | None = None,
        divergent: dict[str, Any] | None = None,
        refusals: tuple[Refusal, ...] = (),
        error: str = "",
    ) -> dict[str, Any]:
        return {
            "result": result,
            "method": method,
            "divergent": divergent,
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "refusals": [dataclasses.asdict(refusal) for refusal in refusals],
            "error": error,
        }
