# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The unplanned failover by command, when a person decides what automation may not: run on any data host.

check -> step down, or wait for the lease -> election -> ballots -> apply -> commit -> promote.

Where there is no database (engine ``none``) nothing can be lost, and the best host that answers is named at once.

It is an election like that of :mod:`failover_agent.elect`, with the same key and the same comparisons, so it excludes
every other. What differs: it may be for a named host, it may be run by one that is no candidate, and with
``accept_data_loss`` it goes on without the members that are silent, after saying what that can lose. Until the commit
everything is undone on trouble by giving the key back; after it the rules of the named host finish.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from failover_agent import elect, gates, gtid
from failover_agent.agent import Agent
from failover_agent.election import expected
from failover_agent.etcd import Delete, EtcdError, Put
from failover_agent.gates import Refusal
from failover_agent.host import HostError
from failover_agent.mariadb import DatabaseError
from failover_agent.model import Ballot, Leader, Stored, Sync, Term, history_json, to_json
from failover_agent.peer import PeerError
from failover_agent.switchover import Step

_log = logging.getLogger("failover-agent.failover")
_TROUBLE = (DatabaseError, EtcdError, HostError, PeerError)
_POLL_SECONDS = 0.1
#: How long (seconds) etcd may need, beyond the lease, to see that a host is gone: its own election is in it.
_ETCD_SECONDS = 10.0
#: How long (seconds) the chosen host may apply what it received, and become writable.
_APPLY_SECONDS = 300.0
_PROMOTE_SECONDS = 30.0


@dataclass(frozen=True)
class Request:
    """A failover as it was asked for. ``to`` is empty when the best candidate shall be taken."""

    run_id: str
    to: str = ""
    accept_data_loss: bool = False
    confirm_fenced: tuple[str, ...] = ()
    check: bool = False


class _RefusedError(Exception):
    """Nothing was changed, for these reasons."""

    def __init__(self, *refusals: Refusal) -> None:
        super().__init__("; ".join(refusal.message for refusal in refusals))
        self.refusals = refusals


class _FailedError(Exception):
    """It went wrong on the way; the text says what."""


class _OvertakenError(Exception):
    """Another election has begun: it decides, or it comes to nothing and this one can go on. The text says which."""


class Failover:
    """One failover by command."""

    def __init__(self, agent: Agent, request: Request) -> None:
        self.agent = agent
        self.request = request
        self.steps: list[Step] = []
        # Not the agent's own: its loop goes on with that one meanwhile, and a client is for one thread.
        self._store = agent.store.clone()
        self._began = time.monotonic()
        self._before: Term | None = None
        self._after: Term | None = None
        self._loss: dict[str, Any] | None = None
        self._position: str | None = None
        #: Whether the old primary said that it is silent, or a person did.
        self._let_go = False

    def run(self) -> dict[str, Any]:
        """Do it and tell what happened: ``result`` is promoted, possible, refused or failed; never raises for trouble
        of the world.
        """
        try:
            return self._run()
        except _RefusedError as refused:
            return self._result("refused", refusals=refused.refusals)
        except (_FailedError, *_TROUBLE) as error:
            return self._result("failed", error=str(error))
        finally:
            self._store.close()
            self.agent.wake.set()

    # ---- the story

    def _run(self) -> dict[str, Any]:
        with self._step("check", "Check what is known and what can be lost" if self._with_database else "Check"):
            stored, term = self._known()
            self._before = term
            self._check(stored, term)
        if self.request.check:
            return self._result("possible")
        self._free_the_key(term)
        policy = self.agent.config.policy
        deadline = time.monotonic() + policy.election_limit + policy.lease_ttl + _ETCD_SECONDS
        while True:
            stored = self._store.read()
            if stored.term is not None and stored.term.term > term.term:
                return self._outrun(stored.term)  # Automation was faster.
            try:
                _insist_on_free(stored, term)
                with self.agent.act:
                    self._after = self._elect(term)
                break
            except _OvertakenError as other:
                if time.monotonic() > deadline:
                    raise _FailedError(str(other)) from other
                time.sleep(_POLL_SECONDS)
        self._wait_until_writable(self._after)
        return self._result("promoted")

    def _known(self) -> tuple[Stored, Term]:
        try:
            stored = self._store.read()
        except EtcdError as error:
            raise _RefusedError(
                Refusal(
                    "quorum_lost",
                    "etcd gave no answer, so no new primary can be recorded.",
                    str(error),
                    "a majority of etcd members",
                    "Bring the etcd members back: `failoverctl status` names the ones that do not answer.",
                )
            ) from error
        if stored.term is None:
            raise _RefusedError(
                Refusal("not_bootstrapped", "The estate has no primary yet.", "no term", "", "Run setup.")
            )
        return stored, stored.term

    # ---- before: what is known, and what can be lost

    def _check(self, stored: Stored, term: Term) -> None:
        found = [*self._decision(stored, term)]
        seen = self._survey(term)
        candidates = self._candidates(seen, term)
        if self.request.to and not found and self.request.to not in candidates:
            found.append(self._unfit(self.request.to, seen.get(self.request.to)))
        elif not candidates and not found:
            found.append(
                Refusal(
                    "no_candidate",
                    "No data host can take over.",
                    "; ".join(f"{name}: {why}" for name, why in sorted(self._why_not(seen, term).items())),
                    "one running replica" if self._with_database else "one other host whose agent answers",
                    "Bring a data host back.",
                )
            )
        self._loss = self._possible_loss(stored, term, seen) if self._with_database else None
        if self._loss and not self.request.accept_data_loss and not found:
            code = "member_silent" if self._loss["silent"] else "not_member"
            found.append(
                Refusal(
                    code,
                    f"Acknowledged writes can be lost: {self._loss['why']}.",
                    f"sync set {self._loss['mode']}, last known {self._loss['last_known'] or 'nothing'}",
                    "every member of a strict sync set answers",
                    f"Bring {', '.join(self._loss['silent']) or term.primary} back; or accept the loss:"
                    " `failoverctl failover --accept-data-loss`.",
                )
            )
        if found:
            raise _RefusedError(*found)

    def _decision(self, stored: Stored, term: Term) -> Iterator[Refusal]:
        agent, to = self.agent, self.request.to
        if to and to not in agent.config.hosts:
            yield Refusal(
                "unknown_host",
                f"{to} is no database host of this estate.",
                to,
                ", ".join(agent.config.hosts),
                "Name one of the database hosts.",
            )
        elif to and agent.config.priority(to) <= 0:
            yield Refusal(
                "never_candidate",
                f"{to} is never to be primary.",
                "priority 0",
                "a priority above 0",
                f"Name another host, or change agent_priority of {to} and run setup.",
            )
        locked = gates.lock_refusal(stored.lock, self.request.run_id)
        if locked:
            yield locked
        if self._alive(stored, term):
            yield Refusal(
                "primary_alive",
                f"{term.primary} is primary, and its {'database' if self._with_database else 'agent'} answers.",
                f"{term.primary} leads in term {term.term}",
                "a primary that is gone",
                "Use a planned switchover: `failoverctl switchover`.",
            )

    def _alive(self, stored: Stored, term: Term) -> bool:
        """Whether the primary leads and works, by its own word now."""
        agent, leader = self.agent, stored.leader
        if leader is None or (leader.holder, leader.term) != (term.primary, term.term):
            return False
        if term.primary == agent.config.host:
            with agent.act, contextlib.suppress(DatabaseError):
                return not agent.position()["read_only"]
            return False
        try:
            with contextlib.closing(agent.connect(term.primary)) as peer:
                return not peer.call("/position", timeout=3.0)["read_only"]
        except PeerError:
            return False

    def _survey(self, term: Term) -> dict[str, dict[str, Any]]:
        """What every data host but the old primary says of itself; who is silent is not in it. Changes nothing."""
        agent, host = self.agent, self.agent.config.host
        others = tuple(name for name in agent.config.peers if name != term.primary)
        answers = agent.ask(others, "/position", {}, 3.0)
        seen = {name: answer for name, answer in answers.items() if not isinstance(answer, PeerError)}
        if host != term.primary:
            with contextlib.suppress(DatabaseError):
                seen[host] = agent.position()
        return seen

    def _why_not(self, seen: dict[str, dict[str, Any]], term: Term) -> dict[str, str]:
        reserve = self.agent.config.policy.disk_reserve_fraction
        found = {}
        for name in self.agent.config.hosts:
            said = seen.get(name)
            if name == term.primary:
                found[name] = "it is the primary that is gone"
            elif said is None:
                found[name] = "silent"
            elif self.agent.config.priority(name) <= 0:
                found[name] = "never a candidate"
            elif said["disk_free_fraction"] < reserve:
                found[name] = "its data disk is nearly full"
        return found

    def _candidates(self, seen: dict[str, dict[str, Any]], term: Term) -> tuple[str, ...]:
        barred = self._why_not(seen, term)
        return tuple(name for name in self.agent.config.hosts if name not in barred)

    def _unfit(self, to: str, said: dict[str, Any] | None) -> Refusal:
        policy = self.agent.config.policy
        if self._before is not None and to == self._before.primary:
            return Refusal("already_primary", f"{to} is the primary of this term.", to, "", "Name another host.")
        if said is None:
            return Refusal(
                "member_silent",
                f"{to} does not answer{', or its database is down' if self._with_database else ''}.",
                "no answer",
                "",
                f"Bring {to} back, or name another host.",
            )
        return Refusal(
            "disk_short",
            f"The data disk of {to} is nearly full.",
            f"{said['disk_free_fraction']:.1%} free",
            f"{policy.disk_reserve_fraction:.0%}",
            "Make room first.",
        )

    def _possible_loss(self, stored: Stored, term: Term, seen: dict[str, dict[str, Any]]) -> dict[str, Any] | None:
        """What can be lost, by the sync set and by who is silent; None when nothing can."""
        sync = stored.sync
        everything = gtid.union(map(_holds, seen.values()))
        told: dict[str, Any] = {"silent": [], "mode": sync.mode if sync else "unknown", "last_known": str(everything)}
        if sync is None or sync.term != term.term or sync.mode != "strict" or not sync.members:
            return told | {
                "why": f"{term.primary} may have acknowledged writes that no other host received, after {everything}"
            }
        silent = [name for name in sync.members if name not in seen]
        if silent:
            return told | {
                "silent": silent,
                "why": f"a write may have been acknowledged on the word of {', '.join(silent)} alone",
            }
        behind = self.request.to and gtid.missing(_holds(seen.get(self.request.to, {})), everything)
        if behind:
            return told | {"why": f"{self.request.to} lacks transactions that other members hold, up to {everything}"}
        return None

    # ---- the old primary lets go

    def _free_the_key(self, term: Term) -> None:
        """Wait until nobody leads: the old primary steps down if it can hear, else its lease ends, and with it whatever
        this host promised: with a promise the old primary goes on without a lease.
        """
        agent, ttl = self.agent, self.agent.config.policy.lease_ttl
        with self._step("release", "Take the role from the old primary"):
            stored = self._store.read()
            leads = stored.leader is not None and stored.leader.holder == term.primary
            self._let_go = term.primary in self.request.confirm_fenced
            if leads and term.primary == agent.config.host:
                with agent.act:
                    agent.step_down(stored, f"told by run {self.request.run_id}")
                self._let_go = True
            elif leads:
                with contextlib.suppress(PeerError), contextlib.closing(agent.connect(term.primary)) as peer:
                    peer.call("/step_down", {"run_id": self.request.run_id}, timeout=4.0)
                    self._let_go = True
            # An agent that was restarted does not remember its promises: none outlives a lease.
            while not self._let_go and agent.host.now() < max(agent.promised_until, agent.at_work_since + ttl):
                time.sleep(_POLL_SECONDS)
            deadline = time.monotonic() + ttl + _ETCD_SECONDS
            while True:
                with contextlib.suppress(EtcdError):
                    stored = self._store.read()
                    if stored.leader is None or (stored.term is not None and stored.term.term > term.term):
                        return
                if time.monotonic() > deadline:
                    raise _FailedError(f"the leader key is still held: {stored.leader}")
                time.sleep(_POLL_SECONDS)

    # ---- the election

    @property
    def _with_database(self) -> bool:
        return self.agent.config.engine != "none"

    def _name(self, term: Term) -> Term:
        """Without a database: name the best host that answers, in one step, so that nothing half-done is left."""
        with self._step("elect", "Choose who leads"):
            stored = self._store.read()
            _insist_on_free(stored, term)
            able = [name for name in self._candidates(self._survey(term), term) if name in stored.members]
            able.sort(key=lambda name: (name != self.request.to, -self.agent.config.priority(name), name))
            if not able or (self.request.to and able[0] != self.request.to):
                raise _FailedError(f"{self.request.to or 'no host'} can take over: silent, or without a lease in etcd")
        with self.agent.no_promise(free=self._let_go):
            return self._commit(stored, term.term + 1, Ballot(able[0], True, "", ""), ())

    def _elect(self, term: Term) -> Term:
        """Under ``act``, so that the rules of this host do not run the same election."""
        agent, following = self.agent, term.term + 1
        if not self._with_database:
            return self._name(term)
        with self._step("elect", "Let nobody else lead"):
            stored = self._store.read()
            _insist_on_free(stored, term)
            put = Put("leader", to_json(Leader(agent.config.host, following)), lease=agent.lease.id)
            with agent.no_promise(free=self._let_go):
                if not self._store.commit(expected(stored, "leader", "term", "sync"), [put]):
                    raise _OvertakenError("the estate changed in the moment when the leader key was taken")
            stored = self._store.read()
        try:
            best, ballots = self._decide(stored, term, following)
            return self._commit(stored, following, best, ballots)
        except Exception:
            with contextlib.suppress(EtcdError):
                self._store.commit(expected(stored, "leader", "term"), [Delete("leader")])
            raise

    def _decide(self, stored: Stored, term: Term, following: int) -> tuple[Ballot, tuple[Ballot, ...]]:
        agent, policy, sync = self.agent, self.agent.config.policy, stored.sync
        members = sync.members if sync is not None and sync.mode == "strict" else ()
        asked = tuple(name for name in agent.config.hosts if name != term.primary) if self._loss else members
        with self._step("ballots", "Stop replication everywhere and compare"):
            deadline = time.monotonic() + policy.election_limit
            while True:
                ballots, silent = agent.elector.ballots(following, asked)
                lost = tuple(name for name, _why in silent)
                if not lost or time.monotonic() > deadline:
                    break
                time.sleep(_POLL_SECONDS)
            if lost and not self.request.accept_data_loss:
                told = "; ".join(f"{name}: {why}" for name, why in silent)
                raise _FailedError(f"not all members have answered, so a write could be lost: {told}")
            best = self._choose(ballots)
            if best.error:
                # What it cannot apply is given up with this.
                best = dataclasses.replace(best, received=best.applied, error="")
        with self._step("apply", "Apply what was received"):
            deadline = time.monotonic() + _APPLY_SECONDS
            while gtid.missing(gtid.parse(best.applied), best.position):
                if time.monotonic() > deadline:
                    raise _FailedError(f"{best.host} has not applied {best.position} within {_APPLY_SECONDS:g} s")
                time.sleep(_POLL_SECONDS)
                again, silent = agent.elector.ballots(following, (best.host,))
                if not again:
                    raise _FailedError(f"{best.host}: {silent[0][1]}")
                best = again[0]
        return best, ballots

    def _choose(self, ballots: tuple[Ballot, ...]) -> Ballot:
        """Who goes on, if anybody may: the named host, or the best. With a loss, whoever loses least."""
        to, accepts = self.request.to, self.request.accept_data_loss
        everything = gtid.union(ballot.position for ballot in ballots)
        best = elect.choose(ballots, self.agent.config.policy)
        told = "; ".join(f"{each.host} at {each.applied}: {each.error or 'well'}" for each in ballots)
        if accepts and (self._loss or best is None):
            able = [each for each in ballots if each.priority > 0]
            able.sort(key=lambda each: (_behind(each, everything), bool(each.error), -each.priority))
            best = able[0] if able else None
            self._loss = self._loss or {"silent": [], "mode": "", "last_known": str(everything), "why": told}
        if to:
            named = next((ballot for ballot in ballots if ballot.host == to), None)
            if named is None:
                raise _FailedError(f"{to} cannot take over: it gave no ballot")
            if not self._loss and (named.error or gtid.missing(named.position, everything)):
                raise _FailedError(f"{to} cannot take over: {named.error or 'it lacks what others hold'}")
            best = named
        if best is None:
            raise _FailedError(
                f"no host that answered can be primary ({told}); `failoverctl failover --accept-data-loss` goes on with"
                " what one of them has applied"
            )
        return best

    def _commit(self, stored: Stored, following: int, best: Ballot, ballots: tuple[Ballot, ...]) -> Term:
        agent = self.agent
        member = stored.members.get(best.host)
        if member is None:
            raise _FailedError(f"{best.host} has no lease in etcd")
        lease = agent.lease.id if best.host == agent.config.host else member.lease
        equal = tuple(
            sorted(
                ballot.host
                for ballot in ballots
                if ballot.host != best.host
                and ballot.priority > 0
                and not ballot.error
                and ballot.position.domains() == best.position.domains()
            )
        )
        block = agent.config.policy.on_last_replica_loss == "block" and self._with_database
        self._position = str(best.position) or None
        term = Term(following, best.host, str(best.position), agent.utc(), "forced")
        changes: list[Put | Delete] = [
            Put("term", to_json(term)),
            Put("leader", to_json(Leader(best.host, following)), lease=lease),
            Put("sync", to_json(Sync(following, best.host, equal, "strict" if equal or block else "degraded"))),
            Put("history", history_json(stored.history, term)),
        ]
        with self._step("commit", "Commit the new term"):
            try:
                done = self._store.commit(expected(stored, "term", "leader", "sync"), changes)
            except EtcdError as error:
                _log.warning("the commit gave no answer, reading what became of it: %s", error)
                done = self._was_committed(stored, term)
            if not done and not self._with_database:
                raise _OvertakenError("another host was named in the same moment")
            if not done:
                raise _FailedError("the estate changed meanwhile, so the term was not committed")
        _log.warning("term %d names %s, by command", following, best.host)
        return term

    def _was_committed(self, stored: Stored, term: Term) -> bool:
        """Whether a commit without an answer took place, for good: giving the key back makes a late one fail, or where
        there is none to give back, writing the term as it is.
        """
        deadline = time.monotonic() + _ETCD_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(EtcdError):
                now = self._store.read()
                if now.term is not None and now.term.term >= term.term:
                    return now.term.primary == term.primary and now.term.at == term.at
                if now.revisions.get("leader") != stored.revisions.get("leader"):
                    return False
                again: Put | Delete = Delete("leader")
                if now.leader is None and now.term is not None:
                    again = Put("term", to_json(now.term))
                if self._store.commit(expected(now, "leader", "term"), [again]):
                    return False
            time.sleep(_POLL_SECONDS)
        raise _FailedError("etcd is silent: the outcome of the commit is not known")

    # ---- after

    def _outrun(self, term: Term) -> dict[str, Any]:
        """A term was committed while this run waited for the lease."""
        self._after = term
        if self.request.to and term.primary != self.request.to:
            raise _FailedError(f"{term.primary} was made primary in term {term.term} meanwhile")
        self._wait_until_writable(term)
        self._loss, self._position = None, term.gtid or None
        return self._result("promoted")

    def _wait_until_writable(self, term: Term) -> None:
        self.agent.wake.set()
        title = "Make the new primary writable" if self._with_database else "Let the new primary lead"
        with self._step("promote", title):
            deadline = time.monotonic() + _PROMOTE_SECONDS
            while time.monotonic() < deadline:
                with contextlib.suppress(EtcdError):
                    stored = self._store.read()
                    member = stored.members.get(term.primary)
                    if member is not None and member.role == "primary":
                        return
                    if stored.term is not None and stored.term.term > term.term + 1:
                        raise _FailedError(f"term {stored.term.term} names {stored.term.primary} by now")
                time.sleep(_POLL_SECONDS)
            what = "writable" if self._with_database else "primary"
            raise _FailedError(f"{term.primary} is not {what} after {_PROMOTE_SECONDS:g} s; its agent goes on trying")

    # ---- telling

    @contextlib.contextmanager
    def _step(self, name: str, title: str) -> Iterator[None]:
        started = time.monotonic()
        outcome = "failed"
        try:
            yield
            outcome = "ok"
        except _OvertakenError:
            outcome = ""
            raise
        finally:
            at, ms = ((started - self._began) * 1000, (time.monotonic() - started) * 1000)
            if outcome:
                self.steps.append(Step(name, title, round(at, 1), round(ms, 1), outcome))

    def _result(self, result: str, *, refusals: tuple[Refusal, ...] = (), error: str = "") -> dict[str, Any]:
        before, after = self._before, self._after
        return {
            "result": result,
            "engine": self.agent.config.engine,
            "from": before.primary if before else None,
            "to": (after.primary if after else self.request.to) or None,
            "term_before": before.term if before else None,
            "term_after": after.term if after else before.term if before else None,
            "position": self._position,
            "possible_loss": self._loss,
            "steps": [dataclasses.asdict(step) for step in self.steps],
            "refusals": [dataclasses.asdict(refusal) for refusal in refusals],
            "error": error,
        }


def _insist_on_free(stored: Stored, term: Term) -> None:
    """Go on only while ``term`` is the last one and nobody leads, nor runs an election."""
    leader = stored.leader
    if stored.term == term and leader is None:
        return
    told = f"the estate changed meanwhile: {stored.term}, {leader}"
    ahead = stored.term is not None and stored.term.term > term.term
    if ahead or (stored.term == term and leader is not None and leader.term > term.term):
        raise _OvertakenError(told)
    raise _FailedError(told)


def _behind(ballot: Ballot, everything: gtid.Position) -> int:
    """How many transactions a host would go on without: what it cannot apply is lost like what never came."""
    kept = gtid.parse(ballot.applied) if ballot.error else ballot.position
    return sum(gtid.missing(kept, everything).values())


def _holds(said: dict[str, Any]) -> gtid.Position:
    """Everything that a host says it holds."""
    return gtid.merge(gtid.parse(said.get("gtid_io_pos")), gtid.parse(said.get("applied")))
