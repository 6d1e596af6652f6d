# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What carries an election out: the key, the ballots, the new term. The rules are :mod:`failover_agent.elect`.

Every write of etcd is a comparison with what the rules saw, so whatever happened since makes it fail. A write without
an answer is never taken for *no*: the next round reads what etcd says, and goes on from there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from failover_agent.decide import must_fence
from failover_agent.etcd import Delete, EtcdError, Put
from failover_agent.mariadb import DatabaseError
from failover_agent.model import (
    AbandonElection,
    Ballot,
    BeginElection,
    CollectBallots,
    CommitTerm,
    Election,
    HandOver,
    Leader,
    Stored,
    Sync,
    Term,
    View,
    history_json,
    to_json,
)
from failover_agent.peer import PeerError

if TYPE_CHECKING:
    from failover_agent.agent import Agent

_log = logging.getLogger("failover-agent.election")
#: A member that has not answered after so long (seconds) is asked again, or is silent.
BALLOT_SECONDS = 3.0
#: What a member waits for its own loop before it answers, in seconds.
_TURN_SECONDS = 1.5


def in_threads(jobs: Sequence[Callable[[], None]]) -> None:
    """Run all jobs at once, each in its own thread, and wait for them. They keep what they find, and never raise."""
    threads = [threading.Thread(target=job, daemon=True) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def in_background(job: Callable[[], None]) -> None:
    """Run a job that takes long, in a thread of its own."""
    threading.Thread(target=job, daemon=True).start()


class Elector:
    """The elections of one agent. All but :meth:`stop_receiving` run in its loop, under ``act``."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.election: Election | None = None
        self.retry_at = 0.0
        self.abandoned = ""

    # ---- what the rules ask for

    def begin(self, action: BeginElection, view: View) -> None:
        """Take the free leader key with the next number.

        :raises EtcdError: it was not free any more, or this host has promised meanwhile not to.
        """
        agent, stored = self.agent, _known(view)
        change = Put("leader", to_json(Leader(agent.config.host, action.term)), lease=view.lease)
        with agent.no_promise():
            if not agent.store.commit(expected(stored, "leader", "term", "sync"), [change]):
                raise EtcdError("no election: the estate changed meanwhile")
        self.abandoned = ""
        _log.warning("election of term %d", action.term)

    def collect(self, action: CollectBallots, view: View) -> None:
        """Ask all members for their ballots, side by side, this host too."""
        agent, stored = self.agent, _known(view)
        assert stored.sync is not None
        revision = stored.revisions["leader"]
        members = stored.sync.members
        ballots, silent = self.ballots(action.term, members)
        before = self.election
        began = before.began if before is not None and before.revision == revision else view.now
        self.election = Election(revision, began, ballots, silent)
        for ballot in ballots:
            _log.info("ballot of %s: received %s, applied %s", ballot.host, ballot.received, ballot.applied)
        for name, why in silent:
            _log.warning("no ballot of %s: %s", name, why)
        agent.wake.set()

    def ballots(self, term: int, hosts: Sequence[str]) -> tuple[tuple[Ballot, ...], tuple[tuple[str, str], ...]]:
        """What ``hosts`` hold, each after it stopped receiving; and who did not say so, with the reason."""
        agent = self.agent
        found: dict[str, Ballot] = {}
        silent: dict[str, str] = {}

        def own() -> None:
            try:
                found[agent.config.host] = self.ballot()
            except (DatabaseError, PeerError) as error:
                silent[agent.config.host] = str(error)

        others = tuple(name for name in hosts if name in agent.config.peers)
        for name in set(hosts) - set(others) - {agent.config.host}:
            silent[name] = "no data host of this estate"
        also = (own,) if agent.config.host in hosts else ()
        for name, answer in agent.ask(others, "/stop_receiving", {"term": term}, BALLOT_SECONDS, also).items():
            try:
                if isinstance(answer, PeerError):
                    raise answer
                found[name] = ballot_from(answer)
            except PeerError as error:
                silent[name] = str(error)
        return tuple(found[name] for name in sorted(found)), tuple(sorted(silent.items()))

    def hand_over(self, action: HandOver, view: View) -> None:
        """Give the election to another member: the leader key, on its lease."""
        stored = _known(view)
        member = stored.members.get(action.to)
        if member is None:
            raise EtcdError(f"{action.to} has no lease in etcd")
        change = Put("leader", to_json(Leader(action.to, action.term)), lease=member.lease)
        if not self.agent.store.commit(expected(stored, "leader", "term", "sync"), [change]):
            raise EtcdError("the election was not handed over: the estate changed meanwhile")
        _log.warning("the election of term %d goes to %s", action.term, action.to)

    def commit(self, action: CommitTerm, view: View) -> None:
        """Write the term that names this host; the point of no return.

        The comparison is with the revisions under which the ballots were collected: with another elector, the old
        primary back, or another sync set in between, it fails (I3).
        """
        agent, stored, election = self.agent, _known(view), self.election
        assert election is not None
        host = agent.config.host
        if must_fence(agent.host.now(), agent.lease.valid_until, agent.config.policy, writable=True):
            raise EtcdError("the lease is about to end: no new term")
        term = Term(action.term, host, action.gtid, agent.utc(), "failover")
        sync = Sync(action.term, host, action.members, action.mode)
        changes: list[Put | Delete] = [
            Put("term", to_json(term)),
            Put("sync", to_json(sync)),
            Put("history", history_json(stored.history, term)),
        ]
        comparison = expected(stored, "term", "sync") | {"leader": election.revision}
        if not agent.store.commit(comparison, changes):
            raise EtcdError("the term was not committed: the estate changed meanwhile")
        self.election = None
        _log.warning("elected in term %d at %s; members %s", action.term, action.gtid, ", ".join(action.members))

    def abandon(self, action: AbandonElection, view: View) -> None:
        """Give the key back. Nothing is tried again before a lease could have passed: meanwhile the old primary may
        come back, or another member may try.
        """
        agent, stored = self.agent, _known(view)
        self.election = None
        self.abandoned = action.why
        self.retry_at = agent.host.now() + agent.config.policy.lease_ttl
        _log.error("the election of term %d came to nothing: %s", action.term, action.why)
        if not agent.store.commit(expected(stored, "leader", "term"), [Delete("leader")]):
            raise EtcdError("the election was not given up: the estate changed meanwhile")

    # ---- what other hosts ask for

    def stop_receiving(self, caller: str, term: int) -> Ballot:
        """Stop receiving, for the election of ``term`` that ``caller`` holds, and say what this host holds (I3).

        Between this and the end of that election the rules let nothing be received again: they run under ``act``, as
        this does, and read etcd first.

        :raises PeerError: the caller holds no such election, or this host is busy.
        :raises DatabaseError: the IO thread has not stopped.
        """
        agent = self.agent
        with agent.turn(_TURN_SECONDS):
            stored = agent.store.read()
            leader = stored.leader
            if leader is None or stored.term is None or (leader.holder, leader.term) != (caller, term):
                raise PeerError(f"{caller} holds no election of term {term}: {leader}")
            if stored.term.term >= term:
                raise PeerError(f"term {term} is decided")
            ballot = self.ballot()
            agent.wake.set()
            return ballot

    def ballot(self) -> Ballot:
        """Stop receiving, and say what this host holds.

        :raises PeerError: it cannot say yet.
        """
        agent = self.agent
        if not agent.directory.seeded or agent.seeding:
            raise PeerError(agent.seeding or f"{agent.config.host} has no data of this estate")
        # An IO thread that tries to reach a dead host takes 1 to 3 s to stop, and a second more to end its session
        # there (rpl_semi_sync_slave_kill_conn_timeout). Without its sockets it takes 0.1 s (measured on 11.8).
        with (
            agent.host.no_connections(agent.replicates_from()),
            contextlib.closing(agent.database.connect(BALLOT_SECONDS)) as connection,
        ):
            ballot = agent.database.stop_receiving(connection, agent.config.host)
        return dataclasses.replace(
            ballot,
            priority=agent.config.priority(agent.config.host),
            disk_free_fraction=agent.host.disk_free_fraction(),
        )


def _known(view: View) -> Stored:
    assert view.stored is not None
    return view.stored


def expected(stored: Stored, *keys: str) -> dict[str, int]:
    """The revisions under which ``keys`` were read, as :meth:`failover_agent.etcd.Client.commit` wants them."""
    return {key: stored.revisions.get(key, 0) for key in keys}


def ballot_from(raw: dict[str, Any]) -> Ballot:
    """A ballot from the JSON of another agent.

    :raises PeerError: it is none, or its IO thread has not stopped.
    """
    try:
        ballot = Ballot(**raw)
        _positions = ballot.position
    except (TypeError, ValueError, AttributeError) as error:
        raise PeerError(f"the ballot of another agent is not understood: {error}") from error
    if ballot.io_stopped is not True:
        raise PeerError(f"{ballot.host} still receives")
    return ballot
