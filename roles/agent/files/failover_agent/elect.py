# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules of an election: who may begin one, what must be known before a term names a new primary, when to give up.

Pure, like :mod:`failover_agent.decide`, which asks here. An election is the leader key with the number of the *next*
term: while somebody holds it nobody else can lead, and the term still names the old primary. The steps and what each is
for (databases.md 5.3, rule 5):

1. The leader key is gone: the old primary's lease has ended, or it stepped down.
2. A member of the strict sync set takes the key (I2: whoever is no member may lack acknowledged writes).
3. *Every* member stops receiving and says so (I3). MariaDB waits for one acknowledgement of any member, so a write that
   was acknowledged is on at least one of them, and all have to be asked. From then on the old primary can acknowledge
   nothing, whatever its clock or its agent does.
4. Who holds everything that any of them holds goes on; the others hold still.
5. What it has received is applied, then the term is committed, by comparison of all three keys. Nothing that happened
   in between (another elector, the old primary back, a set that was made smaller) survives that comparison.
"""

from __future__ import annotations

from collections.abc import Mapping

from failover_agent import gtid
from failover_agent.model import (
    AbandonElection,
    Action,
    Ballot,
    BeginElection,
    CollectBallots,
    CommitTerm,
    Election,
    HandOver,
    Hold,
    Salvage,
    Stored,
    Sync,
    Term,
    View,
    seconds_of,
)
from failover_agent.policy import Policy

_HOUR = 3600.0


# ------------------------------------------------------------------------------------------------ who holds one


def mine(view: View, stored: Stored, term: Term) -> bool:
    """Whether this host holds an election, on the lease that it has now."""
    leader = stored.leader
    return (
        leader is not None and (leader.holder, leader.lease) == (view.host, view.lease) and leader.term == term.term + 1
    )


def of_another(view: View, stored: Stored, term: Term) -> str:
    """The host that runs an election at the moment, or nothing."""
    leader = stored.leader
    return leader.holder if leader is not None and leader.holder != view.host and leader.term > term.term else ""


# ------------------------------------------------------------------------------------------------ may it act at all


def automatic_failovers(stored: Stored, wall: float, began: Mapping[int, float]) -> tuple[float, ...]:
    """When (seconds since 1970, by the own clock ``wall``, oldest first) there were automatic failovers that count:
    within an hour, and since a person last looked.

    ``began`` says it of terms that this host saw begin; what the others say of their time is by other hosts' clocks.
    """
    looked = stored.acknowledged
    times = []
    for term in stored.history:
        at = began.get(term.term, min(seconds_of(term.at), wall))
        if looked is not None and (term.term <= looked.term if looked.term else at < seconds_of(looked.at)):
            continue
        if term.reason == "failover" and wall - at < _HOUR:
            times.append(at)
    return tuple(sorted(times))


def held_back(stored: Stored, wall: float, began: Mapping[int, float], policy: Policy) -> Hold | None:
    """Why automation does nothing at the moment: a pause, or too many failovers in a short time (rule 8)."""
    if stored.pause is not None:
        pause = stored.pause
        return Hold(f"automation is paused by {pause.by} until {pause.until}: {pause.reason}", code="paused")
    recent = automatic_failovers(stored, wall, began)
    if len(recent) >= policy.failovers_per_hour:
        return Hold(
            f"{len(recent)} automatic failovers within an hour: somebody has to look, and to say so"
            " (`failoverctl resume-automation`)",
            code="anti_flap",
        )
    if recent and wall - recent[-1] < policy.failover_interval:
        return Hold(
            f"the last automatic failover was {wall - recent[-1]:.0f} s ago, and {policy.failover_interval:g} s must be"
            " between two",
            code="anti_flap",
        )
    return None


def lacks(view: View, sync: Sync | None, term: Term) -> str:
    """Why this host may lack acknowledged writes (I2); empty when it certainly holds them with the other members."""
    if sync is None or sync.term != term.term:
        return "the recorded sync set is of another term"
    if sync.mode != "strict":
        return f"{term.primary} wrote without waiting for a replica (sync set degraded)"
    if view.host not in sync.members:
        return f"it is no member of the sync set ({', '.join(sync.members) or 'empty'})"
    return ""


# ------------------------------------------------------------------------------------------------ begin


def begin(view: View, stored: Stored, term: Term, policy: Policy) -> Action:
    """What a running replica does about a free leader key: begin an election, or say why not."""
    sync = stored.sync
    lacking = lacks(view, sync, term)
    if lacking:
        return Hold(
            f"nobody leads, and this host may lack acknowledged writes: {lacking}. It waits for {term.primary}, or for"
            " `failoverctl failover`, which says what can be lost",
            code="possible_loss",
        )
    assert sync is not None
    held = held_back(stored, view.wall, view.began, policy)
    if held:
        return held
    since = view.now if view.leaderless_since is None else view.leaderless_since
    wait = _place(view, sync) * policy.election_step
    replication = view.database.replication
    error = replication.error if replication is not None and not replication.sql_running else ""
    reasons = {
        f"nobody leads, and this host is never a candidate (priority 0): waiting for {term.primary}": (
            view.priority(view.host) <= 0
        ),
        "nobody leads, and the own lease is not valid": view.now >= view.lease_valid_until - policy.fence_margin,
        f"nobody leads, and what was received cannot be applied: {error}": bool(error) or view.database.relay_pending,
        f"nobody leads, and {view.database.errant} was written on this host": bool(view.database.errant),
        f"nobody leads, and the data disk is nearly full: {view.disk_free_fraction:.1%} free": (
            view.disk_free_fraction < policy.disk_reserve_fraction
        ),
        # An agent that was restarted does not remember its promises: none outlives a lease.
        "nobody leads, and this agent began less than a lease ago": view.now < view.at_work_since + policy.lease_ttl,
        f"nobody leads, and {term.primary} was promised to go on without etcd": view.now < view.promised_until,
        f"nobody leads, and the last election came to nothing: {view.abandoned}": view.now < view.retry_at,
        f"nobody leads, and {wait:.1f} s are left to better candidates": view.now < since + wait,
    }
    for why, applies in reasons.items():
        if applies:
            return Hold(why, code="possible_loss" if view.now < view.retry_at and view.abandoned in why else "hold")
    return BeginElection(f"nobody leads in term {term.term}, and members hold all it acknowledged", term=term.term + 1)


def _place(view: View, sync: Sync) -> int:
    """How many candidates come before this host: by priority, then by name."""
    able = sorted((-view.priority(name), name) for name in sync.members if view.priority(name) > 0)
    return next((place for place, (_priority, name) in enumerate(able) if name == view.host), 0)


# ------------------------------------------------------------------------------------------------ run one


def run(view: View, stored: Stored, term: Term, policy: Policy) -> Action:
    """The next step of the election that this host holds (I3)."""
    sync = stored.sync
    following = term.term + 1
    give_up = _reason_to_give_up(view, stored, term, policy)
    if give_up:
        return AbandonElection(give_up, term=following)
    assert sync is not None
    if view.database.relay_pending:
        return Salvage("elected, perhaps: first apply what was received before the database was restarted")
    election = view.election
    if election is None or election.revision != stored.revisions.get("leader"):
        return CollectBallots(f"ask {', '.join(sync.members)} for what they hold", term=following)
    if election.silent:
        told = "; ".join(f"{name}: {why}" for name, why in election.silent)
        if view.now - election.began >= policy.election_limit:
            return AbandonElection(
                f"an acknowledged write may be on {', '.join(name for name, _why in election.silent)} alone ({told})",
                term=following,
            )
        return CollectBallots(f"ask again, as not all members have answered ({told})", term=following)
    best = choose(election.ballots, policy)
    if best is None:
        told = "; ".join(f"{each.host} at {each.position}, {each.error or 'well'}" for each in election.ballots)
        return AbandonElection(f"no member that holds everything can be primary ({told})", term=following)
    if best.host != view.host:
        return HandOver(f"{best.host} is the better candidate, at {best.position}", term=following, to=best.host)
    behind = gtid.missing(gtid.parse(view.database.position), best.position)
    if behind:
        return Hold(f"elected; {sum(behind.values())} received transactions are not applied yet")
    return _commit(view, following, best, election, policy)


def _reason_to_give_up(view: View, stored: Stored, term: Term, policy: Policy) -> str:
    lacking = lacks(view, stored.sync, term)
    if lacking:
        return lacking
    if stored.pause is not None:
        return "automation was paused"
    if not view.seeded or not view.database.running:
        return "the own database does not answer"
    if view.priority(view.host) <= 0:
        return "this host is never a candidate"
    if view.database.replication is not None and view.database.replication.diverged:
        return f"the own replication is broken: {view.database.replication.error}"
    if view.database.errant:
        return f"{view.database.errant} was written on this host"
    if view.database.replication is not None and view.database.replication.sql_errno:
        return f"what was received cannot be applied: {view.database.replication.error}"
    if view.now >= view.lease_valid_until - policy.fence_margin:
        return "the own lease is not renewed in time"
    return ""


def choose(ballots: tuple[Ballot, ...], policy: Policy) -> Ballot | None:
    """The best candidate: it holds everything that any member holds. Then by priority, then by name.

    None when nobody can, or when two members hold different transactions in the same place.
    """
    everything = gtid.union(ballot.position for ballot in ballots)
    able = [
        ballot
        for ballot in ballots
        if ballot.priority > 0
        and ballot.disk_free_fraction >= policy.disk_reserve_fraction
        and not ballot.error
        and not gtid.missing(ballot.position, everything)
        and not any(gtid.errant(other.position, ballot.position) for other in ballots)
    ]
    return min(able, key=lambda ballot: (-ballot.priority, ballot.host), default=None)


def _commit(view: View, following: int, best: Ballot, election: Election, policy: Policy) -> CommitTerm:
    """Members of the new term are those that hold the same: with them the promise is unbroken from the first write."""
    equal = tuple(
        sorted(
            ballot.host
            for ballot in election.ballots
            if ballot.host != view.host
            and ballot.priority > 0
            and not ballot.error
            and ballot.position.domains() == best.position.domains()
        )
    )
    return CommitTerm(
        f"all members have stopped receiving, and {view.host} holds and has applied everything",
        term=following,
        gtid=str(best.position),
        members=equal,
        mode="strict" if equal or policy.on_last_replica_loss == "block" else "degraded",
    )
