# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules: what this host has to do next, given everything it can see.

:func:`decide` is pure. It knows no clock, no socket and no database, so that the same function runs in the daemon, in
unit tests and in a simulator. The invariants it serves:

I1  Only the holder of the leader key with the current term is writable.
I2  ``sync`` is made smaller before the primary stops waiting for a replica, and larger only after the primary waits
    and the replica holds everything; a host outside ``sync.members`` is never promoted by itself.
I3  A term names a new primary only after *every* member of the sync set has confirmed that it receives nothing more,
    and after the one that is named has applied everything that any of them received (:mod:`failover_agent.elect`).
    Then no write can be acknowledged in the old term any more, and every one that was is in the new primary: no
    acknowledged write is lost, even if the old primary cannot be fenced.
I4  A primary never stops waiting for its replicas unless ``sync`` already says ``degraded``.

Facts about MariaDB that shape the rules, all measured (databases.md, section 0): with sessions waiting for an
acknowledgement, switching semi-sync off acknowledges them, a graceful stop or KILL commits them locally, and
``read_only=1`` blocks. Killing mariadbd is the only demotion that is right there. ``init_rpl_role`` decides what
becomes of such transactions at the next start: the host of the current term keeps them (it may have acknowledged them),
every other host discards them. START SLAVE throws away relay logs that hold acknowledged, unapplied transactions.
"""

from __future__ import annotations

from dataclasses import replace

from failover_agent import elect, gtid
from failover_agent.model import (
    AcquireLeader,
    Action,
    Attach,
    CloseGate,
    CommitTerm,
    Expel,
    Fence,
    Flashback,
    Hold,
    LiftFence,
    MakeReadOnly,
    OpenGate,
    Promote,
    Reclone,
    RecordSync,
    Salvage,
    SaveDivergent,
    StartAcknowledging,
    StartApplying,
    StartDatabase,
    StepDown,
    StopAcknowledging,
    StopWaiting,
    Stored,
    Sync,
    Term,
    View,
    WaitForReplica,
)
from failover_agent.policy import Policy


def must_fence(now: float, lease_valid_until: float, policy: Policy, *, writable: bool) -> bool:
    """Whether a writable database has to be fenced now (I1): the lease may end before a later fence would be done.

    ``now`` and ``lease_valid_until`` are seconds of CLOCK_BOOTTIME; the lease is counted from the time its last
    successful renewal was *sent*, which is never later than etcd's own count.
    """
    return writable and now >= fence_at(lease_valid_until, policy)


def fence_at(lease_valid_until: float, policy: Policy) -> float:
    """When (seconds of CLOCK_BOOTTIME) a writable database has to be fenced unless the lease is renewed before."""
    return lease_valid_until - policy.fence_margin


def decide(view: View, policy: Policy) -> tuple[Action, ...]:
    """The next actions of this host, in order. Applying them and deciding again leads to the estate's wanted state."""
    if view.stored is None:
        return (Hold("etcd gave no answer: without it no role is taken, and the lease guard fences in time"),)
    stored, term = view.stored, view.stored.term
    if term is None:
        return (
            *_closed(view, "no term yet"),
            Hold("the estate is not bootstrapped: no primary was named yet"),
        )
    if term.term < view.known_term:
        why = f"etcd says term {term.term}, but term {view.known_term} was seen: was an old copy of etcd restored?"
        return (*_closed(view, why), Hold(why, code="old_etcd"))
    if view.now < view.held_back_until and term.primary != view.host and _leads(stored, term.primary):
        # Without the leader key that it began with a switchover cannot commit any more, and holds nobody back.
        return (Hold("a planned switchover is at work on this host"),)
    if view.engine == "none":
        return _without_database(view, stored, term, policy)
    writable = view.database.running and (not view.database.read_only or view.database.semi_sync_primary)
    if elect.mine(view, stored, term) and not writable:
        step = elect.run(view, stored, term, policy)
        if isinstance(step, CommitTerm):
            # keepalived needs some adverts' time before it takes the address: that passes while the term is committed.
            return (step,) if view.gate_open else (OpenGate("about to be primary"), step)
        return (*_closed(view, "no primary while an election runs"), step)
    if term.primary == view.host:
        return _as_primary(view, stored, term, policy)
    return _as_replica(view, stored, term, policy)


def _closed(view: View, why: str) -> tuple[Action, ...]:
    return (CloseGate(why),) if view.gate_open else ()


def _leads(stored: Stored, host: str) -> bool:
    """Whether ``host`` holds the leader key of the current term."""
    leader, term = stored.leader, stored.term
    return leader is not None and term is not None and (leader.holder, leader.term) == (host, term.term)


# ------------------------------------------------------------------------------------------------ the primary


def _as_primary(view: View, stored: Stored, term: Term, policy: Policy) -> tuple[Action, ...]:
    """Term names this host: it holds all that was ever acknowledged, so coming back to this role loses nothing."""
    database, leader = view.database, stored.leader
    if not view.seeded:
        return (
            *_closed(view, "no database of this estate"),
            Hold("the data directory does not belong to this estate"),
        )
    if leader is not None and leader.holder != view.host:
        return _deposed(view, term, leader.holder)
    if must_fence(view.now, view.lease_valid_until, policy, writable=True):
        # Where the others have promised to wait, the lease guard left the database writable: the address stays, too.
        closed = () if database.running and not database.read_only else _closed(view, "no valid lease")
        return (*closed, Hold("no valid lease: the database stays as the lease guard left it"))
    heirs = _heirs(view, stored)
    if view.now < view.sit_out_until and heirs:
        again = (StepDown("it stepped down, and still holds the leader key"),) if leader is not None else ()
        why = f"it stepped down: {', '.join(heirs)} may take over, until this host leads again"
        return (*_closed(view, why), *again, Hold(why))
    if not database.running and stored.pause is not None:
        # A pause means that a person is at work here: nothing is started behind his back.
        return (
            *_closed(view, "the database is down"),
            Hold("the database is down, and automation is paused", "paused"),
        )
    # The key comes before the start of the database: whoever holds it knows that no election will end in between, and
    # that keeping transactions in doubt is right (rule 1).
    if leader is None or leader.lease != view.lease:
        return (AcquireLeader(f"term {term.term} is ours and nobody leads"),)
    sick = _sick(view, stored, policy)
    if sick and heirs:
        return (*_closed(view, sick), StepDown(sick))
    if not database.running:
        closed = _closed(view, "the database is down")
        if database.starting:
            return (*closed, Hold("mariadbd is starting"))
        return (
            *closed,
            StartDatabase(f"term {term.term} is ours: keep what was written", keep_in_doubt=True),
        )
    sync = stored.sync
    if sync is None or sync.term != term.term:
        return (Hold("the recorded sync set is of another term: refusing to judge by it"),)
    if database.read_only or database.replication is not None:
        steps: list[Action] = [LiftFence("leading, and the database is read-only")] if view.fenced else []
        steps.append(
            Promote(
                f"leading in term {term.term}",
                term=term.term,
                wait_for_replica=sync.mode == "strict",
            )
        )
        steps.append(OpenGate(f"primary in term {term.term}"))
        return tuple(steps)
    gate = () if view.gate_open and not view.gate_prepared else (OpenGate(f"primary in term {term.term}"),)
    return (*gate, *_membership(view, stored, sync, policy))


def _deposed(view: View, term: Term, holder: str) -> tuple[Action, ...]:
    """Another host holds the leader key, as an election runs: this database must not be written (I1), nor be started
    before it is known as what.
    """
    why = f"{holder} holds the leader key, although term {term.term} names us: an election runs"
    if view.database.running and not view.database.read_only:
        return (*_closed(view, why), Fence(why))
    return (*_closed(view, why), Hold(why))


def _heirs(view: View, stored: Stored) -> tuple[str, ...]:
    """The members that could take over at once, by themselves (I2). One whose history forked cannot, nor one where a
    statement fails.
    """
    sync, term = stored.sync, stored.term
    if sync is None or term is None or sync.term != term.term or sync.mode != "strict":
        return ()
    known = ((name, stored.members.get(name)) for name in sync.members)
    return tuple(
        name
        for name, member in known
        if member is not None
        and (member.role, member.disk_short, member.sql_running) == ("replica", False, True)
        and not member.forked
        and view.priority(name) > 0
    )


def _sick(view: View, stored: Stored, policy: Policy) -> str:
    """Why this primary should not be one (drills 4, 9, 14); empty when it should, or when automation must not judge."""
    if elect.held_back(stored, view.wall, view.began, policy):
        return ""
    silent = view.now - view.answered_at
    if not view.database.running and silent >= policy.restart_limit:
        return f"the database has not answered for {silent:.1f} s"
    if view.database.disk_full:
        return "the data disk is full: the database answers, and writes nothing"
    if view.disk_free_fraction < policy.disk_reserve_fraction:
        return f"the data disk is nearly full: {view.disk_free_fraction:.1%} free"
    return ""


# ------------------------------------------------------------------------------------------------ its sync set


def _membership(view: View, stored: Stored, sync: Sync, policy: Policy) -> tuple[Action, ...]:
    """Keep ``sync`` and semi-sync in step with the replicas that are really there (I2, I4)."""
    if sync.mode == "strict":
        return (
            _shrink(view, stored, sync, policy) or _hear_again(view, sync) or _grow_strict(view, stored, sync, policy)
        )
    return _grow_degraded(view, stored, sync, policy)


def _shrink(view: View, stored: Stored, sync: Sync, policy: Policy) -> tuple[Action, ...]:
    forked = tuple(name for name in sync.members if (member := stored.members.get(name)) and member.forked)
    gone = tuple(name for name in sync.members if name not in forked and _gone(view, name, policy))
    lost = (*forked, *gone)
    if not lost:
        return ()
    left = tuple(name for name in sync.members if name not in lost)
    whys = {f"{', '.join(gone)} gone for more than {policy.replica_loss:g} s": gone}
    whys |= {f"the history of {', '.join(forked)} forked": forked}
    why = "; ".join(each for each, names in whys.items() if names)
    block = policy.on_last_replica_loss == "block"
    if gone and not left and block:
        # Nothing is acknowledged without it, so it stays a member that may take over.
        return (Hold(f"{why}: writes wait for it, as nothing may be written to one host alone", "blocked"),)
    if left:
        # The set goes on without them, so their word must not count any more *before* it does: a write that only a
        # former member confirmed would be on no member (I3).
        loud = tuple(name for name in lost if name not in view.silenced)
        if loud:
            return tuple(Expel(why, host=name) for name in loud)
        # And what was acknowledged on their word alone must be on one that stays: an election asks nobody else.
        if not any(_has_everything(view, name) for name in left):
            return (Hold(f"{why}, and {', '.join(left)} has not received all that was written"),)
    return (RecordSync(why, members=left, mode="strict" if left or block else "degraded"),)


def _hear_again(view: View, sync: Sync) -> tuple[Action, ...]:
    """Members that were told to be silent, as the set was about to go on without them, and that stayed in it: under the
    next revision of the set they acknowledge again. Without that a set of which everybody came and went would wait for
    a word that nobody may give. It is the same set, so an election asks the same hosts (I3).
    """
    mute = tuple(
        name
        for name in sync.members
        if name in view.silenced and name not in view.shut_out and name in view.database.attached
    )
    why = f"{', '.join(mute)} stayed in the set, and may acknowledge again"
    return (RecordSync(why, members=sync.members, mode="strict"),) if mute else ()


def _grow_strict(view: View, stored: Stored, sync: Sync, policy: Policy) -> tuple[Action, ...]:
    if not view.database.semi_sync_primary:
        return (WaitForReplica("the sync set is strict"),)
    joined = tuple(name for name in _complete(view, stored, sync) if not _unsettled(view, name, policy))
    if not sync.members:
        loud = _loud(view, stored, joined)
        if loud:
            return loud
    why = f"{', '.join(joined)} has received everything"
    return (RecordSync(why, members=(*sync.members, *joined), mode="strict"),) if joined else ()


def _grow_degraded(view: View, stored: Stored, sync: Sync, policy: Policy) -> tuple[Action, ...]:
    database = view.database
    if not database.semi_sync_primary:
        close = tuple(
            name
            for name in database.caught_up
            if view.priority(name) > 0 and well(stored, name) and _has_everything(view, name)
        )
        if not close:
            return (Hold("degraded: no replica is connected and up to date", "degraded"),)
        unsettled = tuple(word for name in close if (word := _unsettled(view, name, policy)))
        close = tuple(name for name in close if not _unsettled(view, name, policy))
        if not close:
            return (Hold(f"degraded: {'; '.join(unsettled)}", "degraded"),)
        why = f"{', '.join(close)} is connected and has everything"
        if _many(view):
            # Here a replica confirms only when it is named. In mode degraded the names promise nothing yet.
            if not set(close) & set(sync.members):
                return (RecordSync(why, members=close, mode="degraded"),)
            known = (stored.members.get(name) for name in close if name in sync.members)
            if not any(member is not None and member.semi_sync_replica for member in known):
                return (Hold("degraded: waiting for a replica to acknowledge", "degraded"),)
        return (WaitForReplica(why),)
    if all(_gone(view, name, policy) for name in view.addresses if name != view.host and view.priority(name) > 0):
        return (StopWaiting("the replica left before it became a member; sync already says degraded"),)
    joined = _complete(view, stored, Sync(sync.term, sync.primary))
    if _many(view):
        joined = tuple(name for name in joined if name in sync.members)
        loud = _loud(view, stored, joined)
        if loud:
            return loud
    return (RecordSync(f"{', '.join(joined)} acknowledges", members=joined, mode="strict"),) if joined else ()


def _loud(view: View, stored: Stored, joined: tuple[str, ...]) -> tuple[Action, ...]:
    """Silence all others before a set without members gets its first ones: one that was frozen when the last set was
    given up goes on acknowledging when it thaws (I3). With two data hosts there is no other.
    """
    if not joined or not _many(view):
        return ()
    loud = (name for name in view.addresses if name not in joined and _may_be_loud(view, stored, name))
    return tuple(Expel("the set is about to promise something again", host=name) for name in loud)


def _may_be_loud(view: View, stored: Stored, name: str) -> bool:
    """Whether a host that is no member may acknowledge: its agent has not said that it does not, nor is it shut out."""
    if name == view.host or name in view.silenced:
        return False
    member = stored.members.get(name)
    return member is None or member.role != "replica" or member.semi_sync_replica


def well(stored: Stored, name: str) -> bool:
    """Whether a replica does not say of itself that it is stuck. A frozen one, or one whose disk is full, is connected
    and seems to have received everything, and one whose history forked is about to undo it; waiting for it would only
    hold the primary up, again and again.
    """
    member = stored.members.get(name)
    return member is None or (member.role == "replica" and not member.disk_short and not member.forked)


def _unsettled(view: View, name: str, policy: Policy) -> str:
    """Why a replica that comes and goes is not waited for yet: every going would hold the primary up again."""
    left = sum(view.now - at < policy.settle_memory for at in view.left_at.get(name, ()))
    if left < 2:
        return ""
    wanted = min(policy.settle_first * 2 ** (left - 2), policy.settle_most)
    well = view.now - view.steady_since.get(name, view.now)
    return f"{name} left {left} times, and has to be well for {wanted:g} s first" if well < wanted else ""


def _gone(view: View, name: str, policy: Policy) -> bool:
    since = view.detached_since.get(name)
    return since is not None and view.now - since >= policy.replica_loss


def _many(view: View) -> bool:
    """Whether there are replicas that are no members: with two data hosts the only other one may always confirm."""
    return len(view.addresses) > 2


def _complete(view: View, stored: Stored, sync: Sync) -> tuple[str, ...]:
    """Connected hosts outside ``sync`` that have received all that was written before semi-sync waited for them, and do
    not say that they are about to undo something.

    With two hosts the one that is connected must also be seen to acknowledge. With more, a host is recorded first, and
    acknowledges second: as a member it is asked in every election, so what it confirms counts. So nobody can be seen to
    acknowledge in a strict set without members, where all writes wait (policy ``block``).
    """
    database = view.database
    confirming = len(sync.members) if _many(view) else len(database.attached)
    fewest = 0 if _many(view) and sync.mode == "strict" else 1
    if database.semi_sync_clients < max(confirming, fewest):
        return ()
    return tuple(
        name
        for name in database.attached
        if name not in sync.members and view.priority(name) > 0 and _has_everything(view, name) and well(stored, name)
    )


def _has_everything(view: View, name: str) -> bool:
    """Whether a host was heard to have received all that was written here before it was asked. A dump thread that has
    sent everything proves nothing: where a link is cut, what it sent is still in this host's buffers.
    """
    written = gtid.parse(view.database.position)
    return name in view.received and not gtid.missing(gtid.parse(view.received[name]), written)


# ------------------------------------------------------------------------------------------------ everybody else


def _as_replica(view: View, stored: Stored, term: Term, policy: Policy) -> tuple[Action, ...]:
    """Term names another host: follow it, never be writable, and take over when it is gone."""
    database = view.database
    closed = _closed(view, f"{term.primary} is primary in term {term.term}")
    if not view.seeded:
        if view.ordered == "reclone" and _leads(stored, term.primary):
            return (*closed, Reclone("ordered by a person"))
        if view.half_seeded and stored.pause is None and _leads(stored, term.primary):
            return (*closed, Reclone("a copy was begun here and never made ready"))
        return (*closed, Hold("waits to be seeded from the primary"))
    if not database.running:
        if database.starting:
            return (*closed, Hold("mariadbd is starting"))
        if stored.pause is not None and not view.ordered:
            return (*closed, Hold("the database is down, and automation is paused", "paused"))
        if not elect.lacks(view, stored.sync, term):
            # A member of the set holds nothing that the primary does not have, and what recovery would discard here
            # may be acknowledged and soon nowhere else (I2).
            return (*closed, StartDatabase(f"member of the sync set of {term.primary}: keep all", keep_in_doubt=True))
        return (
            *closed,
            StartDatabase(f"replica of {term.primary}: discard what nobody acknowledged"),
        )
    if database.semi_sync_primary:
        return (
            *closed,
            Fence(f"{term.primary} is primary in term {term.term}, and sessions here may wait for an acknowledgement"),
        )
    if not database.read_only:
        return (*closed, MakeReadOnly(f"{term.primary} is primary in term {term.term}"))
    if view.fenced:
        return (*closed, LiftFence("the database is read-only"))
    # What a member received may be acknowledged and nowhere else. Elsewhere the primary still has it.
    precious = not elect.lacks(view, stored.sync, term) or not _leads(stored, term.primary)
    refused = database.replication is not None and database.replication.sql_errno
    if database.relay_pending and precious and not database.forked and not refused:
        return (*closed, Salvage("what was received before the database was restarted may be acknowledged"))
    elector = elect.of_another(view, stored, term)
    if elector:
        # Nothing may be received from anybody now (I3): what this host said it holds must stay true.
        return (*closed, Hold(f"{elector} runs an election"))
    if stored.leader is None:
        step = elect.begin(view, stored, term, policy)
        return (*closed, step) if not isinstance(step, Hold) else (*closed, *_follow(view, stored, term, policy), step)
    return (*closed, *_follow(view, stored, term, policy, keep_received=precious))


def _follow(
    view: View, stored: Stored, term: Term, policy: Policy, *, keep_received: bool = True
) -> tuple[Action, ...]:
    """Receive from the primary, apply, and acknowledge as far as this host may."""
    database, replication = view.database, view.database.replication
    address = view.addresses.get(term.primary)
    if address is None:
        return (Hold(f"{term.primary} is primary in term {term.term}, but no address is known for it"),)
    acknowledge = _may_acknowledge(view, stored, term)

    def attach(why: str) -> tuple[Action, ...]:
        return (Attach(why, primary=term.primary, keep_received=keep_received, acknowledge=acknowledge),)

    # Whoever was followed: what was received and cannot be applied on top of a fork has to be dealt with first.
    stuck = database.relay_pending and keep_received
    if replication is None or (replication.host != address and not stuck):
        return attach(f"follow {term.primary}, term {term.term}")
    if database.forked:
        error = replication.error or f"{database.errant} was written on this host"
        return _rejoin(view, stored, term, error, policy)
    if view.ordered == "reclone" and _leads(stored, term.primary):
        return (Reclone("ordered by a person"),)
    if replication.error:
        told = Hold(f"replication from {term.primary} stopped: {replication.error}", "replication")
        receives = replication.io_running or replication.io_connecting
        # While it receives, a start of the other thread throws nothing away (finding 6). In a pause somebody may look.
        due = stored.pause is None and view.now >= view.apply_again_at
        if receives and not replication.sql_running and due:
            return (StartApplying("what could not be applied is tried again: a full disk does not last"), told)
        return (told,)
    if not replication.sql_running or not (replication.io_running or replication.io_connecting):
        return attach(f"replication from {term.primary} does not run")
    if not replication.uses_gtid:
        return attach(f"replication from {term.primary} goes by files and not by GTID")
    if replication.turned_away:
        # Where writes wait for this host, clients hold what it needs until it comes by the port that is its own.
        return attach(f"{term.primary} has no connection left on the port for clients")
    if database.semi_sync_replica and not acknowledge:
        return (StopAcknowledging("no member of the sync set, so its word must not count"),)
    if acknowledge and not database.semi_sync_replica:
        return (StartAcknowledging(f"{term.primary} waits for acknowledgements that are switched off here"),)
    return ()


def _may_acknowledge(view: View, stored: Stored, term: Term) -> bool:
    """Whether this host's word may count (I3): only of a host that every election asks. With two data hosts there is
    one replica, and nobody is elected unless it is a member; a host that is never a candidate confirms nothing.
    """
    sync = stored.sync
    if view.priority(view.host) <= 0:
        return False
    if not _many(view):
        return True
    named = sync is not None and sync.term == term.term and view.host in sync.members
    return named and stored.revisions.get("sync", 0) > view.muted_at


def _rejoin(view: View, stored: Stored, term: Term, error: str, policy: Policy) -> tuple[Action, ...]:
    """The histories forked (rule 7): save what only this host has, then undo it, or fetch a new copy."""
    database = view.database
    why = f"the history of {term.primary} is no continuation of the own: {error}"
    if (not policy.auto_rejoin or stored.pause is not None) and not view.ordered:
        return (Hold(f"{why}; `failoverctl rejoin {view.host}` repairs it", "diverged"),)
    if not _leads(stored, term.primary):
        return (Hold(f"{why}; and no primary leads at the moment", "diverged"),)
    told = Hold(why, "errant_gtid" if database.errant else "diverged")
    if view.divergence == "":
        return (SaveDivergent(why), told)
    if not elect.lacks(view, stored.sync, term):
        # What follows throws away what was received. An election may still ask this host, so that has to wait until
        # the primary counts on it no more; it does so when nothing is acknowledged here for a while.
        replication = database.replication
        if replication is not None and replication.io_running and database.semi_sync_replica:
            return (StopAcknowledging(f"{why}; the primary must not count on this host meanwhile", receive=False), told)
        return (replace(told, why=f"{why}; the primary still counts on this host"),)
    known = stored.members.get(view.host)
    if known is None or not known.forked:
        # The primary takes a host back only if it read this host's key as it is now: then it knows.
        return (replace(told, why=f"{why}; the estate is not told yet"),)
    match view.divergence:
        case "saved" if view.ordered != "reclone":
            return (Flashback(why), told)
    return (Reclone(why), told)


# ------------------------------------------------------------------------------------------------ without a database


def _without_database(view: View, stored: Stored, term: Term, policy: Policy) -> tuple[Action, ...]:
    """Engine ``none``: nothing can be lost, so whoever may leads when the key is free. The gate follows the key (I1).

    The term's own primary leaves its gate as it is until it has the key again: the lease guard shuts that in time, and
    does not while the others have promised to wait.
    """
    leader = stored.leader
    if leader is not None and leader.holder != view.host:
        return _closed(view, f"{leader.holder} leads in term {term.term}")
    if must_fence(view.now, view.lease_valid_until, policy, writable=True):
        closed = _closed(view, "no valid lease") if term.primary != view.host else ()
        return (*closed, Hold("no valid lease: the lease guard shuts the gate in time"))
    if leader is not None and leader.lease == view.lease and _leads(stored, view.host):
        return () if view.gate_open and not view.gate_prepared else (OpenGate(f"leading in term {term.term}"),)
    heirs = tuple(name for name in _others(view, term) if name != view.host and name in stored.members)
    if view.now < view.sit_out_until and heirs:
        why = f"it stepped down: {', '.join(heirs)} may take over, until this host leads again"
        return (*_closed(view, why), Hold(why))
    if term.primary == view.host:
        return (AcquireLeader(f"term {term.term} is ours and nobody leads"),)
    closed = _closed(view, "nobody leads")
    wait = _wait_without_database(view, stored, term, policy)
    return (*closed, wait or AcquireLeader(f"nobody leads in term {term.term}"))


def _wait_without_database(view: View, stored: Stored, term: Term, policy: Policy) -> Hold | None:
    """Why this host does not take the free leader key of another one's term; None when it does."""
    held = elect.held_back(stored, view.wall, view.began, policy)
    if held:
        return held
    others = _others(view, term)
    if view.host not in others:
        return Hold(f"nobody leads, and this host is never a candidate (priority 0): waiting for {term.primary}")
    if view.now < view.promised_until:
        return Hold(f"nobody leads, and {term.primary} was promised to go on without etcd")
    since = view.now if view.leaderless_since is None else view.leaderless_since
    # Who is thought to lead gets the first chance, then the best of the others.
    wait = (others.index(view.host) + 1) * policy.election_step
    if view.now < since + wait:
        return Hold(f"nobody leads, and {wait:.1f} s are left to better candidates")
    if view.now < view.at_work_since + policy.lease_ttl:
        # An agent that was restarted does not remember its promises: none outlives a lease.
        return Hold("nobody leads, and this agent began less than a lease ago")
    return None


def _others(view: View, term: Term) -> tuple[str, ...]:
    """Who may follow the primary of the term: by priority, then by name."""
    able = (name for name in view.addresses if name != term.primary and view.priority(name) > 0)
    return tuple(sorted(able, key=lambda name: (-view.priority(name), name)))
