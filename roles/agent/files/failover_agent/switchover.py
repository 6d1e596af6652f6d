# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The planned switchover, run by the agent of the old primary in one process with every connection already open.

fence -> drain -> prove equal -> commit the new term -> promote | attach | move the address -> verify.

Where there is no database (engine ``none``) the fence stops what follows the primary and lets the address go. Nothing
has to be proved, so the commit follows at once.

Everything slow happens before the fence. Up to the commit each step can be undone and is; after it there is only
forward, and should this process die, the rules of :mod:`failover_agent.decide` finish from what etcd says: before the
commit the old primary makes itself writable again, after it the new one does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, NoReturn

from failover_agent import gates
from failover_agent.agent import Agent
from failover_agent.decide import must_fence
from failover_agent.election import expected
from failover_agent.etcd import EtcdError, Put
from failover_agent.host import HostError
from failover_agent.mariadb import Connection, DatabaseError
from failover_agent.model import Database, Leader, Replication, Stored, Sync, Term, history_json, to_json
from failover_agent.peer import Peer, PeerError

_log = logging.getLogger("failover-agent.switchover")
_TROUBLE = (DatabaseError, EtcdError, HostError, PeerError)
#: keepalived reads its file by inotify; this is how long it may take to leave FAULT before the old side lets go.
_GATE_SETTLE_SECONDS = 0.15
#: A candidate that needs no longer than this to catch up is close enough to fence.
_CLOSE_SECONDS = 0.05


class UndoneError(Exception):
    """The switchover was given up before the commit; the old primary serves again."""


class UnknownOutcomeError(Exception):
    """Nobody knows whether the commit took place, so nothing is undone: the rules go on from what etcd will say."""


@dataclasses.dataclass
class Step:
    """One step as it happened: start in ms since the switchover began, length in ms."""

    name: str
    title: str
    at: float
    ms: float
    outcome: str


class Switchover:
    """One planned switchover from this host."""

    def __init__(self, agent: Agent, request: gates.Request, *, check: bool) -> None:
        self.agent = agent
        self.request = request
        self.check = check
        self.steps: list[Step] = []
        self._began = time.monotonic()
        self._target = ""
        self._lease = 0
        self._peer: Peer | None = None

    def run(self) -> dict[str, Any]:
        """Do it and tell what happened: ``result`` is switched, possible, refused, undone or failed; never raises for
        trouble of the world.
        """
        with self.agent.act:
            try:
                return self._run()
            finally:
                if self._peer is not None:
                    self._peer.close()
                self.agent.wake.set()

    # ---- the story

    def _run(self) -> dict[str, Any]:
        agent, config = self.agent, self.agent.config
        try:
            stored: Stored | None = agent.store.read()
        except EtcdError as error:
            _log.warning("etcd: %s", error)
            stored = None
        hosts = tuple(config.hosts)
        if stored is not None:
            self._target = self.request.to or gates.choose(stored, hosts, config.host, config.priorities)
        try:
            with self._step("check", "Check that it is safe"):
                found = self._refusals(stored, hosts)
            if found:
                return self._result("refused", stored, refusals=found)
            assert stored is not None
            assert stored.term is not None
            assert stored.leader is not None
            if self.check:
                return self._result("possible", stored)
            self._lease = stored.leader.lease
            if not self._with_database:
                return self._without_database(stored, stored.term)
            return self._critical(stored, stored.term)
        except UnknownOutcomeError as error:
            return self._result("failed", stored, error=str(error))
        except (UndoneError, *_TROUBLE) as error:
            return self._result("undone", stored, error=str(error))

    def _refusals(self, stored: Stored | None, hosts: tuple[str, ...]) -> tuple[gates.Refusal, ...]:
        agent = self.agent
        config = agent.config
        old = gates.HostFacts(host=config.host)
        new = gates.HostFacts(host=self._target, reachable=False, error="unknown host")
        activity = gates.Activity()
        if stored is not None and not self._with_database:
            if self._target in config.peers:
                new = self._candidate(stored, "")
        elif stored is not None:
            database = agent.database.observe()
            if database.running:
                with contextlib.closing(agent.database.connect(5.0)) as connection:
                    activity = agent.database.activity(connection)
            if self._target in config.peers:
                new = self._candidate(stored, database.position)
            # Read again: what the candidate has by now must not look errant beside an older reading of this side.
            old = gates.HostFacts(
                host=config.host,
                database=agent.database.observe(),
                disk_free_fraction=agent.host.disk_free_fraction(),
            )
        remaining = agent.lease.valid_until - agent.host.now()
        request = dataclasses.replace(self.request, to=self._target)
        return gates.refusals(
            request, config.host, hosts, stored, remaining, old, new, activity, config.policy, config.engine
        )

    def _candidate(self, stored: Stored, position: str) -> gates.HostFacts:
        if self._target not in stored.members:
            return gates.HostFacts(host=self._target, reachable=False, error="it has no lease in etcd")
        self._peer = self.agent.connect(self._target)
        body = {"run_id": self.request.run_id, "position": position}
        try:
            return facts_from(self._peer.call("/facts", body, timeout=self.agent.config.policy.lag_limit + 3.0))
        except PeerError as error:
            return gates.HostFacts(host=self._target, reachable=False, error=str(error))

    def _critical(self, stored: Stored, term: Term) -> dict[str, Any]:
        agent, policy = self.agent, self.agent.config.policy
        assert self._peer is not None
        following = term.term + 1
        with contextlib.ExitStack() as stack:
            connection = stack.enter_context(contextlib.closing(agent.database.connect(policy.switchover_limit + 1.0)))
            spare = stack.enter_context(contextlib.closing(agent.database.connect(policy.switchover_limit + 1.0)))
            pool = stack.enter_context(ThreadPoolExecutor(3))
            list(pool.map(lambda _: time.sleep(0.01), range(3)))  # The threads exist before they are needed.
            try:
                with self._step("prepare", "Prepare the new primary"):
                    self._peer.call("/prepare", {"run_id": self.request.run_id})
                    agent.pause_events()
                    time.sleep(_GATE_SETTLE_SECONDS)
                    self._approach(policy.lag_limit)
                    agent.lease.renew()
                position = self._fence_and_prove(connection, spare, policy.switchover_limit)
                committed = self._commit(stored, following, position)
            except _TROUBLE as error:
                self._undo(connection.thread_id, error)
            if not committed:
                self._undo(connection.thread_id, EtcdError("the estate changed meanwhile"))
            agent.may_be_writable = False
            promoted = pool.submit(self._promote, following)
            attached = pool.submit(self._attach, connection)
            moved = pool.submit(self._move, spare, connection.thread_id)
            trouble = [
                str(error)
                for error in (
                    self._outcome(promoted),
                    self._outcome(moved),
                    self._outcome(attached),
                )
                if error
            ]
        return self._after(term, following, position, trouble)

    def _without_database(self, stored: Stored, term: Term) -> dict[str, Any]:
        """The same where there is only what follows the primary: nothing to drain, to prove or to attach."""
        agent, following = self.agent, term.term + 1
        assert self._peer is not None
        try:
            with self._step("prepare", "Prepare the new primary"):
                self._peer.call("/prepare", {"run_id": self.request.run_id})
                time.sleep(_GATE_SETTLE_SECONDS)
                agent.lease.renew()
            with self._step("fence", "Stop what runs on the old primary only"):
                agent.stop_followers()
            self._move()
            committed = self._commit(stored, following, "")
        except _TROUBLE as error:
            self._undo(None, error)
        if not committed:
            self._undo(None, EtcdError("the estate changed meanwhile"))
        trouble = []
        try:
            self._promote(following)
        except _TROUBLE as error:
            _log.error("after the commit: %s", error)
            trouble.append(str(error))
        return self._after(term, following, None, trouble)

    def _after(self, term: Term, following: int, position: str | None, trouble: list[str]) -> dict[str, Any]:
        """What to tell of a switchover that was committed."""
        fence, promote = (next(step for step in self.steps if step.name == name) for name in ("fence", "promote"))
        critical_ms = round(promote.at + promote.ms - fence.at, 1)
        result = self._result("failed" if trouble else "switched", self._reread(), error="; ".join(trouble))
        result.update(critical_ms=critical_ms, term_before=term.term, term_after=following, position=position)
        return result

    @property
    def _with_database(self) -> bool:
        return self.agent.config.engine != "none"

    def _fence_and_prove(self, connection: Connection, spare: Connection, limit: float) -> str:
        """Nobody writes here any more, and the candidate has everything: the position both stand at."""
        agent = self.agent
        assert self._peer is not None
        with self._step("fence", "Stop writes on the old primary"):
            agent.database.make_read_only(connection, limit)
        with self._step("drain", "End sessions that read_only does not stop"):
            agent.database.kill_clients(connection, keep=(spare.thread_id,), privileged_only=True)
        with self._step("position", "Read the final position"):
            position = agent.database.position(connection)
        with self._step("catch_up", "Prove that the new primary has everything"):
            self._wait_for_candidate("/catch_up", position, limit)
        return position

    def _wait_for_candidate(self, path: str, position: str, limit: float) -> None:
        """Wait until the candidate has applied ``position``.

        :raises DatabaseError: it has not within ``limit`` seconds.
        """
        assert self._peer is not None
        body = {"run_id": self.request.run_id, "position": position, "limit": limit}
        if not self._peer.call(path, body, timeout=limit + 1.0)["caught_up"]:
            raise DatabaseError(f"{self._target} did not reach {position} within {limit:g} s")

    def _approach(self, limit: float) -> None:
        """Before the fence: wait until the candidate follows closely, as the fence lasts as long as what it lacks.

        :raises DatabaseError: it does not within ``limit`` seconds.
        """
        deadline = time.monotonic() + limit
        while True:
            position = self.agent.database.observe().position
            asked = time.monotonic()
            self._wait_for_candidate("/approach", position, limit)
            behind = time.monotonic() - asked
            if behind <= _CLOSE_SECONDS:
                return
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"{self._target} follows {behind * 1000:.0f} ms behind, and writes would wait for it"
                )

    def _commit(self, stored: Stored, following: int, position: str) -> bool:
        """Write the new term: the point of no return. False when the estate changed since it was read."""
        agent = self.agent
        config = agent.config
        member = stored.members[self._target]
        sync = stored.sync or Sync(term=0, primary=config.host)
        if self._with_database:
            members = tuple(sorted({*sync.members, config.host} - {self._target}))
            sync = Sync(term=following, primary=self._target, members=members, mode="strict")
        else:
            sync = Sync(term=following, primary=self._target)
        term = Term(following, self._target, position, agent.utc(), "switchover")
        changes = [
            Put("term", to_json(term)),
            Put("history", history_json(stored.history, term)),
            Put("leader", to_json(Leader(holder=self._target, term=following)), lease=member.lease),
            Put("sync", to_json(sync)),
        ]
        with self._step("commit", "Commit the new term"):
            try:
                return agent.store.commit(expected(stored, "term", "leader", "sync", "lock"), list(changes))
            except EtcdError as error:
                _log.warning("the commit gave no answer, reading what became of it: %s", error)
                if self._was_committed(following):
                    return True
                raise

    def _was_committed(self, following: int) -> bool:
        """Whether a commit without an answer took place, for good.

        What was not done when this host read may still be on its way. So the term is written once more as it is: that
        gives it another revision, and a commit that arrives later fails its comparison.

        :raises UnknownOutcomeError: etcd was silent until the lease ended. Unknown must not be taken for no: this host
            stays fenced until its lease guard kills the database, and the rules decide when etcd is back.
        """
        agent = self.agent
        while agent.lease.valid_until > agent.host.now():
            with contextlib.suppress(EtcdError):
                now = agent.store.read()
                if now.term is None or now.term.term >= following:
                    return now.term is not None and (now.term.term, now.term.primary) == (following, self._target)
                if agent.store.commit(expected(now, "term"), [Put("term", to_json(now.term))]):
                    return False
            time.sleep(0.1)
        raise UnknownOutcomeError("etcd is silent and the lease has ended: the outcome of the commit is not known")

    # ---- after the commit, side by side

    def _promote(self, following: int) -> None:
        assert self._peer is not None
        title = "Make the new primary writable" if self._with_database else "Let the new primary lead"
        with self._step("promote", title):
            self._peer.call("/promote", {"run_id": self.request.run_id, "term": following}, timeout=10.0)

    def _attach(self, connection: Connection) -> None:
        with self._step("attach", "Replicate from the new primary"):
            self.agent.database.attach(connection, self.agent.config.hosts[self._target])
        self.agent.restore_events()

    def _move(self, connection: Connection | None = None, attaching: int = 0) -> None:
        """Let the address go. The other side has left FAULT already, so keepalived there takes it at once.

        What came over it is ended first. Nothing can be sent from an address that is gone, no reset either: whoever
        waits for an answer just then would wait until he gives up by himself. And he who came again meanwhile, too.
        ``connection`` is one to the database, if there is one; ``attaching`` the session there that must live on.
        """
        host, config = self.agent.host, self.agent.config
        addresses = [vip.address for vip in config.vips if vip.follows == "primary"]
        trouble: HostError | None = None
        with host.refusing(addresses):
            try:
                with self._step("reset_sockets", "End the sessions that came over the address"):
                    for address in addresses:
                        host.kill_sockets(address)
            except HostError as error:
                trouble = error
            with self._step("move_address", "Hand the address over"):
                held = host.addresses()
                host.close_gate()
                deadline = time.monotonic() + 1.0
                left = {address for address in addresses if address in held}
                while left and time.monotonic() < deadline:
                    time.sleep(0.004)
                    left &= host.addresses()
        with self._step("end_sessions", "End the sessions that are left"):
            for address in addresses:
                host.kill_sockets(address)
            if connection is not None:
                self.agent.database.kill_clients(connection, keep=(attaching,))
        host.stop_followers()
        if left:
            raise HostError(f"keepalived did not release {', '.join(sorted(left))} within 1 s")
        if trouble:
            raise trouble

    # ---- undo

    def _undo(self, fencing: int | None, error: Exception) -> NoReturn:
        """Serve again, as before; ``fencing`` is the session that may still wait for its fence, if there is a database.

        Only under the lease that this host led with when it began: after a pause somebody else may lead.

        :raises UndoneError: always; with the reason.
        """
        agent = self.agent
        _log.error("giving up before the commit: %s", error)
        reason = str(error)
        try:
            with self._step("undo", "Let the old primary serve as before"):
                now, until = agent.host.now(), agent.lease.valid_until
                if agent.lease.id != self._lease or must_fence(now, until, agent.config.policy, writable=True):
                    raise EtcdError("the lease was lost")
                self._serve_again(fencing)
        except (DatabaseError, EtcdError, HostError) as trouble:
            reason = f"{reason}; and the undo failed, the agent goes on trying: {trouble}"
        with (
            contextlib.suppress(PeerError),
            contextlib.closing(agent.connect(self._target)) as peer,
        ):
            peer.call("/cancel", {"run_id": self.request.run_id})
        raise UndoneError(reason) from error

    def _serve_again(self, fencing: int | None) -> None:
        agent = self.agent
        if fencing is None:
            agent.open_gate()
            return
        agent.database.forget()
        agent.database.end(fencing)
        with contextlib.closing(agent.database.connect(5.0)) as connection:
            agent.database.make_writable(connection)
        agent.restore_events()

    # ---- telling

    @contextlib.contextmanager
    def _step(self, name: str, title: str) -> Iterator[None]:
        started = time.monotonic()
        outcome = "failed"
        try:
            yield
            outcome = "ok"
        finally:
            ended = time.monotonic()
            self.steps.append(
                Step(
                    name,
                    title,
                    round((started - self._began) * 1000, 1),
                    round((ended - started) * 1000, 1),
                    outcome,
                )
            )

    @staticmethod
    def _outcome(future: Future[None]) -> Exception | None:
        try:
            future.result()
        except _TROUBLE as error:
            _log.error("after the commit: %s", error)
            return error
        return None

    def _reread(self) -> Stored | None:
        try:
            return self.agent.store.read()
        except EtcdError:
            return None

    def _result(
        self,
        result: str,
        stored: Stored | None,
        *,
        refusals: tuple[gates.Refusal, ...] = (),
        error: str = "",
    ) -> dict[str, Any]:
        term = stored.term.term if stored and stored.term else None
        return {
            "result": result,
            "from": self.agent.config.host,
            "to": self._target or None,
            "term_before": term,
            "term_after": term,
            "critical_ms": None,
            "position": None,
            "steps": [dataclasses.asdict(step) for step in sorted(self.steps, key=lambda step: step.at)],
            "refusals": [dataclasses.asdict(refusal) for refusal in refusals],
            "error": error,
        }


def facts_from(raw: dict[str, Any]) -> gates.HostFacts:
    """:class:`failover_agent.gates.HostFacts` from the JSON of another agent.

    :raises PeerError: it is not one (an agent of another version).
    """
    try:
        database = dict(raw["database"])
        replication = database.pop("replication")
        for name in ("attached", "caught_up"):
            database[name] = tuple(database[name])
        facts = dict(raw)
        facts["database"] = Database(**database, replication=Replication(**replication) if replication else None)
        facts["settings"] = tuple((str(key), str(value)) for key, value in raw["settings"])
        return gates.HostFacts(**facts)
    except (KeyError, TypeError, ValueError) as error:
        raise PeerError(f"the answer of another agent is not understood: {error}") from error
