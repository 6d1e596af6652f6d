# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules: what this host has to do next, given everything it can see.

:func:`decide` is pure. It knows no clock, no socket and no database, so that the same function runs in the daemon, in
unit tests and in a simulator. The invariants it serves:

I1  Only the holder of the leader key with the current term is writable.
I2  ``sync`` is made smaller before the primary stops waiting for a replica, and larger only after the primary waits
    and the replica holds everything; a host outside ``sync.members`` is never promoted by itself.
I3  (promotion by election: not part of this version; nobody promotes itself)
I4  A primary never stops waiting for its replicas unless ``sync`` already says ``degraded``.

Facts about MariaDB that shape the rules, all measured: with sessions waiting for an acknowledgement, switching
semi-sync off acknowledges them, a graceful stop or KILL commits them locally, and ``read_only=1`` blocks. Killing
mariadbd is the only demotion that is right there. ``init_rpl_role`` decides what becomes of such transactions at the
next start: the host of the current term keeps them (it may have acknowledged them), every other host discards them.
"""

from __future__ import annotations

from failover_agent import gtid
from failover_agent.model import (
    AcquireLeader,
    Action,
    Attach,
    CloseGate,
    Fence,
    Hold,
    LiftFence,
    MakeReadOnly,
    OpenGate,
    Policy,
    Promote,
    RecordSync,
    StartDatabase,
    StopWaiting,
    Stored,
    Sync,
    Term,
    View,
    WaitForReplica,
)


def must_fence(now: float, lease_valid_until: float, policy: Policy, *, writable: bool) -> bool:
    """Whether a writable database has to be fenced now (I1): the lease may end before a later fence would be done.

    ``now`` and ``lease_valid_until`` are seconds of CLOCK_BOOTTIME; the lease is counted from the time its last
    successful renewal was *sent*, which is never later than etcd's own count.
    """
    return writable and now >= lease_valid_until - policy.fence_margin


def decide(view: View, policy: Policy) -> tuple[Action, ...]:
    """The next actions of this host, in order. Applying them and deciding again leads to the estate's wanted state."""
    if view.stored is None:
        return (Hold("etcd gave no answer: without it no role is taken, and the lease guard fences in time"),)
    term = view.stored.term
    if term is None:
        return (
            *_closed(view, "no term yet"),
            Hold("the estate is not bootstrapped: no primary was named yet"),
        )
    if view.now < view.held_back_until and term.primary != view.host:
        return (Hold("a planned switchover is at work on this host"),)
    if term.primary == view.host:
        return _as_primary(view, view.stored, term, policy)
    return _as_replica(view, term)


def _closed(view: View, why: str) -> tuple[Action, ...]:
    return (CloseGate(why),) if view.gate_open else ()


# ------------------------------------------------------------------------------------------------ the primary


def _as_primary(view: View, stored: Stored, term: Term, policy: Policy) -> tuple[Action, ...]:
    """Term names this host. Nobody else may promote itself, so coming back to this role loses nothing."""
    database = view.database
    if not view.seeded:
        return (
            *_closed(view, "no database of this estate"),
            Hold("the data directory does not belong to this estate"),
        )
    if not database.running:
        closed = _closed(view, "the database is down")
        if database.starting:
            return (*closed, Hold("mariadbd is starting"))
        return (
            *closed,
            StartDatabase(f"term {term.term} is ours: keep what was written", keep_in_doubt=True),
        )
    if must_fence(view.now, view.lease_valid_until, policy, writable=True):
        return (
            *_closed(view, "no valid lease"),
            Hold("no valid lease: the database stays as the lease guard left it"),
        )
    leader = stored.leader
    if leader is None or (leader.holder == view.host and leader.lease != view.lease):
        return (AcquireLeader(f"term {term.term} is ours and nobody leads"),)
    if leader.holder != view.host:
        return (
            *_closed(view, "another host leads"),
            Hold(f"{leader.holder} leads although term {term.term} names us"),
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
    gate = () if view.gate_open else (OpenGate(f"primary in term {term.term}"),)
    return (*gate, *_membership(view, sync, policy))


def _membership(view: View, sync: Sync, policy: Policy) -> tuple[Action, ...]:
    """Keep ``sync`` and semi-sync in step with the replicas that are really there (I2, I4)."""
    database = view.database
    if sync.mode == "strict":
        lost = tuple(name for name in sync.members if _gone(view, name, policy))
        if lost:
            left = tuple(name for name in sync.members if name not in lost)
            why = f"{', '.join(lost)} gone for more than {policy.replica_loss:g} s"
            return (RecordSync(why, members=left, mode="strict" if left else "degraded"),)
        if not database.semi_sync_primary:
            return (WaitForReplica("the sync set is strict"),)
        joined = _acknowledging(view, sync)
        return (
            (
                RecordSync(
                    f"{', '.join(joined)} acknowledges",
                    members=(*sync.members, *joined),
                    mode="strict",
                ),
            )
            if joined
            else ()
        )
    if not database.semi_sync_primary:
        if database.caught_up:
            return (WaitForReplica(f"{', '.join(database.caught_up)} is connected and has everything"),)
        return (Hold("degraded: no replica is connected and up to date"),)
    if all(_gone(view, name, policy) for name in view.addresses if name != view.host):
        return (StopWaiting("the replica left before it became a member; sync already says degraded"),)
    joined = _acknowledging(view, sync)
    return (RecordSync(f"{', '.join(joined)} acknowledges", members=joined, mode="strict"),) if joined else ()


def _gone(view: View, name: str, policy: Policy) -> bool:
    since = view.detached_since.get(name)
    return since is not None and view.now - since >= policy.replica_loss


def _acknowledging(view: View, sync: Sync) -> tuple[str, ...]:
    """Connected hosts outside the sync set that have received all that was written before semi-sync waited for them."""
    database = view.database
    if database.semi_sync_clients < len(database.attached):
        return ()
    written = gtid.parse(database.position)
    return tuple(
        name
        for name in database.attached
        if name not in sync.members
        and name in view.received
        and not gtid.missing(gtid.parse(view.received[name]), written)
    )


# ------------------------------------------------------------------------------------------------ everybody else


def _as_replica(view: View, term: Term) -> tuple[Action, ...]:
    """Term names another host: follow it, and never be writable."""
    database = view.database
    closed = _closed(view, f"{term.primary} is primary in term {term.term}")
    if not view.seeded:
        return (*closed, Hold("waits to be seeded from the primary"))
    if not database.running:
        if database.starting:
            return (*closed, Hold("mariadbd is starting"))
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
    address = view.addresses.get(term.primary)
    if address is None:
        return (
            *closed,
            Hold(f"{term.primary} is primary in term {term.term}, but no address is known for it"),
        )
    replication = database.replication
    if replication is None or replication.host != address:
        return (*closed, Attach(f"follow {term.primary}, term {term.term}", primary=term.primary))
    if replication.error:
        return (*closed, Hold(f"replication from {term.primary} stopped: {replication.error}"))
    if not database.semi_sync_replica:
        return (
            *closed,
            Attach(f"{term.primary} waits for acknowledgements that are switched off here", primary=term.primary),
        )
    if not replication.sql_running or not (replication.io_running or replication.io_connecting):
        return (
            *closed,
            Attach(f"replication from {term.primary} does not run", primary=term.primary),
        )
    return closed
