# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The rules over every view a host can have: the invariants hold, whatever it sees."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, TypeVar

import pytest
from failover_agent import gtid
from failover_agent.decide import decide, must_fence
from failover_agent.model import (
    AbandonElection,
    Acknowledged,
    AcquireLeader,
    Action,
    Attach,
    Ballot,
    BeginElection,
    CloseGate,
    CollectBallots,
    CommitTerm,
    Database,
    Election,
    Expel,
    Fence,
    Flashback,
    HandOver,
    Hold,
    Leader,
    LiftFence,
    MakeReadOnly,
    Member,
    OpenGate,
    Pause,
    Promote,
    Reclone,
    RecordSync,
    Replication,
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
    utc,
)
from failover_agent.policy import Policy
from hypothesis import example, given, settings
from hypothesis import strategies as st

A = TypeVar("A", bound=Action)
POLICY = Policy()
HOSTS = {"www1": "198.51.100.11", "www2": "198.51.100.12", "www3": "198.51.100.13"}
ME = "www1"
NOW = 1000.0
#: Only the primary, while it leads, does these.
LEADING = (Promote, OpenGate, WaitForReplica, StopWaiting, RecordSync, Expel)
#: What runs an election, and what only changes how this host follows.
ELECTING = {BeginElection, CollectBallots, HandOver, CommitTerm, AbandonElection}
FOLLOWING = {
    Attach,
    StartAcknowledging,
    StopAcknowledging,
    StartApplying,
    Salvage,
    SaveDivergent,
    Flashback,
    Reclone,
}
#: All that a host may do that is not named by the term.
LESS: set[type[Action]] = {Hold, CloseGate, Fence, MakeReadOnly, LiftFence, StartDatabase} | FOLLOWING | ELECTING
WALL = 1.79e9

hosts = st.sampled_from(sorted(HOSTS))
some_hosts = st.lists(st.sampled_from(("www2", "www3")), unique=True).map(sorted).map(tuple)
all_hosts = st.lists(hosts, unique=True).map(sorted).map(tuple)
leases = st.integers(0, 2)
roles = st.sampled_from(("replica", "replica", "starting", "fenced"))
histories = st.lists(
    st.builds(
        Term,
        st.integers(1, 3),
        hosts,
        at=st.sampled_from((30.0, 50.0, 70.0, 4000.0)).map(lambda age: utc(WALL - age)),
        reason=st.sampled_from(("failover", "return", "switchover")),
    ),
    max_size=4,
).map(tuple)
texts = st.sampled_from(("", "0-1-4", "0-1-5", "0-2-5", "0-2-6", "0-1-6"))
replications = st.builds(
    Replication,
    host=st.sampled_from((*HOSTS.values(), "192.0.2.9")),
    io_running=st.booleans(),
    io_connecting=st.booleans(),
    sql_running=st.booleans(),
    uses_gtid=st.booleans(),
    gtid_io_pos=texts,
    lag_seconds=st.none() | st.integers(0, 9),
    error=st.sampled_from(("", "", "Table is full")),
    io_errno=st.sampled_from((0, 0, 0, 1236)),
    turned_away=st.booleans(),
)


@st.composite
def databases(draw: st.DrawFn) -> Database:
    if not draw(st.integers(0, 5)):
        return Database(running=False, starting=draw(st.booleans()), error="(2002) cannot connect")
    attached = draw(some_hosts)
    return Database(
        running=True,
        version="11.8.6",
        read_only=draw(st.booleans()),
        gtid_binlog_pos=draw(texts),
        gtid_slave_pos=draw(texts),
        replication=draw(st.none() | replications),
        semi_sync_primary=draw(st.booleans()),
        semi_sync_replica=draw(st.booleans()),
        semi_sync_clients=draw(st.integers(0, 2)),
        relay_pending=draw(st.integers(0, 4)) == 0,
        attached=attached,
        caught_up=tuple(name for name in attached if draw(st.booleans())),
    )


@st.composite
def stores(draw: st.DrawFn) -> Stored:
    term = draw(st.none() | st.builds(Term, st.integers(1, 3), hosts, texts))
    primary = term.primary if term else ME
    number = term.term if term else 1
    members = draw(some_hosts)
    return Stored(
        term=term,
        # Mostly what a healthy estate has, sometimes anything.
        leader=draw(
            st.one_of(st.none(), st.builds(Leader, st.just(primary), st.just(number), leases))
            | st.builds(Leader, hosts, st.integers(1, 3), leases)
        ),
        sync=draw(
            st.just(Sync(number, primary, members, "strict" if members else "degraded"))
            | st.none()
            | st.builds(Sync, st.integers(1, 3), hosts, all_hosts, st.sampled_from(("strict", "degraded")))
        ),
        history=draw(histories),
        pause=draw(st.none() | st.none() | st.just(Pause("anna", "disks", "", ""))),
        acknowledged=draw(st.none() | st.builds(Acknowledged, st.just("anna"), st.just(utc(WALL - 40.0)))),
        members=draw(st.dictionaries(hosts, st.builds(Member, hosts, texts, texts, leases, roles))),
        revisions={"term": 5, "leader": draw(st.integers(6, 7)), "sync": 8},
    )


views = st.builds(
    View,
    now=st.just(NOW),
    host=st.just(ME),
    addresses=st.sampled_from((HOSTS, {"www1": "198.51.100.11"}, {"www1": "198.51.100.11", "www2": "198.51.100.12"})),
    stored=st.none() | stores(),
    lease=leases,
    lease_valid_until=st.sampled_from((0.0, NOW, NOW + 1.49, NOW + 1.5, NOW + 1.51, NOW + 5.0)),
    database=databases(),
    seeded=st.booleans(),
    fenced=st.booleans(),
    gate_open=st.booleans(),
    held_back_until=st.sampled_from((0.0, NOW, NOW + 5.0)),
    detached_since=st.dictionaries(st.sampled_from(("www2", "www3")), st.sampled_from((NOW - 9, NOW - 3, NOW - 2.9))),
    received=st.dictionaries(st.sampled_from(("www2", "www3")), texts),
    wall=st.just(WALL),
    at_work_since=st.sampled_from((0.0, 0.0, NOW - 4.9)),
    leaderless_since=st.sampled_from((None, NOW - 0.31, NOW - 9.0)),
    answered_at=st.sampled_from((NOW, NOW - 4.9, NOW - 5.0)),
    promised_until=st.sampled_from((0.0, 0.0, NOW + 1.0)),
    sit_out_until=st.sampled_from((0.0, 0.0, NOW + 9.0)),
    retry_at=st.sampled_from((0.0, 0.0, NOW + 1.0)),
    disk_free_fraction=st.sampled_from((0.5, 0.5, 0.01)),
    priorities=st.dictionaries(hosts, st.sampled_from((0, 50, 200))),
    known_term=st.sampled_from((0, 0, 2)),
    divergence=st.sampled_from(("", "saved", "flashed_back")),
    silenced=some_hosts,
    shut_out=some_hosts,
)
#: Views in which this host is named and leads: the small part of all views where most rules are.
leading = st.builds(
    lambda view, term, sync, lease: replace(
        view,
        lease=lease,
        lease_valid_until=NOW + 5.0,
        held_back_until=0.0,
        known_term=0,
        stored=replace(
            view.stored or Stored(), term=term, leader=Leader(ME, term.term, lease), sync=replace(sync, term=term.term)
        ),
    ),
    views,
    st.builds(Term, st.integers(1, 3), st.just(ME)),
    st.builds(Sync, st.just(1), st.just(ME), some_hosts, st.sampled_from(("strict", "degraded"))),
    st.integers(1, 2),
)
#: Views in which another host is named.
following = st.builds(
    lambda view, term: replace(view, held_back_until=0.0, stored=replace(view.stored or Stored(), term=term)),
    views,
    st.builds(Term, st.integers(1, 3), st.sampled_from(("www2", "www3"))),
)
ballots = st.builds(
    Ballot,
    host=st.just(""),
    io_stopped=st.just(True),
    received=texts,
    applied=texts,
    sql_running=st.booleans(),
    error=st.sampled_from(("", "", "Table is full")),
    priority=st.sampled_from((100, 100, 200, 0)),
    disk_free_fraction=st.sampled_from((0.5, 0.5, 0.01)),
)


@st.composite
def elections(draw: st.DrawFn) -> View:
    """Views in which this host runs an election, or could begin one: another host is named, and it is gone."""
    seen = draw(views)
    members = draw(st.sampled_from((("www1",), ("www1", "www3"), ("www1", "www3"), ("www3",))))
    term = Term(2, "www2")
    stored = Stored(
        term=term,
        leader=draw(
            st.sampled_from((None, Leader(ME, 3, 1), Leader(ME, 3, 1), Leader(ME, 3, 1), Leader("www3", 3, 5)))
        ),
        sync=Sync(draw(st.sampled_from((2, 2, 2, 1))), "www2", members, draw(st.sampled_from(("strict", "degraded")))),
        history=draw(st.just(()) | histories),
        pause=draw(st.sampled_from((None, None, None, Pause("anna", "disks", "", "")))),
        revisions={"term": 5, "leader": 7, "sync": 8},
    )
    told = [name for name in members if draw(st.integers(0, 5))]
    election = Election(
        revision=draw(st.sampled_from((7, 7, 7, 6))),
        began=draw(st.sampled_from((NOW - 1.0, NOW - 5.0))),
        ballots=tuple(replace(draw(ballots), host=name) for name in told),
        silent=tuple((name, "timed out") for name in members if name not in told),
    )
    return replace(
        seen,
        lease=1,
        lease_valid_until=draw(st.sampled_from((NOW + 5.0, NOW + 5.0, NOW + 1.5))),
        held_back_until=0.0,
        seeded=True,
        stored=stored,
        database=replace(seen.database, running=True, read_only=True, semi_sync_primary=False),
        election=draw(st.just(election) | st.none()),
    )


def of(actions: tuple[Action, ...], kind: type[A]) -> list[A]:
    """The actions of one kind."""
    return [action for action in actions if isinstance(action, kind)]


def kinds(actions: tuple[Action, ...]) -> list[str]:
    """What the actions are."""
    return [type(action).__name__ for action in actions]


def named(view: View) -> bool:
    """Whether the term names this host."""
    return view.stored is not None and view.stored.term is not None and view.stored.term.primary == view.host


def certain(view: View) -> bool:
    """Whether this host is a member of the strict sync set: it holds nothing that the primary does not."""
    if view.stored is None or view.stored.sync is None or view.stored.term is None:
        return False
    sync = view.stored.sync
    return (sync.mode, sync.term) == ("strict", view.stored.term.term) and view.host in sync.members


def runs_election(view: View) -> bool:
    """Whether this host holds the leader key with the next term."""
    stored = view.stored
    if stored is None or stored.term is None or stored.leader is None:
        return False
    leader = stored.leader
    return (leader.holder, leader.term, leader.lease) == (view.host, stored.term.term + 1, view.lease)


def leads(view: View) -> bool:
    """Whether the term names this host, the leader key hangs on its lease, and the lease lives long enough."""
    stored = view.stored
    if stored is None or stored.term is None or stored.leader is None:
        return False
    named = stored.term.primary == view.host == stored.leader.holder
    return named and stored.leader.lease == view.lease and view.now < view.lease_valid_until - POLICY.fence_margin


# ---- properties of every view; each says what must be true of the actions


def pure_and_with_reasons(view: View, actions: tuple[Action, ...]) -> None:
    assert decide(view, POLICY) == actions
    assert all(action.why for action in actions)


def i1_only_the_leader_does_what_a_leader_does(view: View, actions: tuple[Action, ...]) -> None:
    if of(actions, CommitTerm):
        assert set(kinds(actions)) <= {"OpenGate", "CommitTerm"}
    elif any(isinstance(action, LEADING) for action in actions):
        assert leads(view)
        assert view.seeded
        assert view.database.running
    for promotion in of(actions, Promote):
        assert view.stored is not None
        assert view.stored.term is not None
        assert promotion.term == view.stored.term.term


def i1_without_an_answer_of_etcd_nothing_changes(view: View, _actions: tuple[Action, ...]) -> None:
    assert kinds(decide(replace(view, stored=None), POLICY)) == ["Hold"]


def i1_whom_the_term_does_not_name_only_ever_becomes_less(view: View, actions: tuple[Action, ...]) -> None:
    if named(view):
        return
    assert {type(action) for action in actions} <= LESS | ({OpenGate} if of(actions, CommitTerm) else set())
    if not certain(view):
        assert not any(action.keep_in_doubt for action in of(actions, StartDatabase))
    if any(
        isinstance(action, (LiftFence, BeginElection, CollectBallots, CommitTerm, *FOLLOWING)) for action in actions
    ):
        assert view.database.running
        assert view.database.read_only
        assert not view.database.semi_sync_primary


def i1_a_replica_that_could_be_written_is_demoted_at_once(view: View, actions: tuple[Action, ...]) -> None:
    if view.stored is None or view.stored.term is None or named(view) or view.now < view.held_back_until:
        return
    if view.stored.term.term < view.known_term:
        return
    if view.gate_open and not of(actions, CommitTerm):
        assert kinds(actions)[0] == "CloseGate"
    if view.database.running and view.seeded and view.database.semi_sync_primary:
        assert of(actions, Fence), "sessions may wait for an acknowledgement: nothing but a kill is right"
        assert not of(actions, MakeReadOnly)
    elif view.database.running and view.seeded and not view.database.read_only:
        assert of(actions, MakeReadOnly)


def i2_the_sync_set_grows_only_with_what_has_everything(view: View, actions: tuple[Action, ...]) -> None:
    for record in of(actions, RecordSync):
        assert view.stored is not None
        sync = view.stored.sync
        assert sync is not None
        joined, left = set(record.members) - set(sync.members), set(sync.members) - set(record.members)
        if sync.mode == "degraded":
            joined, left = set(record.members), set()
        if not (joined or left):
            assert set(sync.members) & set(view.silenced) - set(view.shut_out), "nothing changes without a reason"
            assert sync.mode == record.mode == "strict"
            continue
        assert not (joined and left), "one thing at a time"
        if record.mode == "degraded" and record.members:
            assert len(view.addresses) > 2, "an invitation: with two hosts there is nobody to choose from"
            assert sync.mode == "degraded", "nothing was promised, and nothing is"
            assert not view.database.semi_sync_primary
            continue
        assert record.mode == ("strict" if record.members else "degraded")
        if left and record.members:
            assert left <= set(view.silenced), "their word must not count any more"
        if joined:
            assert view.database.semi_sync_primary, "whoever joins is waited for already"
        for name in joined:
            assert name in view.database.attached
            written = gtid.parse(view.database.position)
            assert gtid.missing(gtid.parse(view.received[name]), written) == {}
        for name in left:
            assert view.detached_since[name] <= view.now - POLICY.replica_loss


def i4_a_primary_stops_waiting_only_after_the_record_says_so(view: View, actions: tuple[Action, ...]) -> None:
    if of(actions, StopWaiting):
        assert view.stored is not None
        assert view.stored.term is not None
        sync = view.stored.sync
        assert sync is not None
        assert (sync.mode, sync.term) == ("degraded", view.stored.term.term)
        assert view.database.semi_sync_primary


def i4_a_strict_primary_is_promoted_waiting(view: View, actions: tuple[Action, ...]) -> None:
    for promotion in of(actions, Promote):
        assert view.stored is not None
        assert view.stored.sync is not None
        assert promotion.wait_for_replica is (view.stored.sync.mode == "strict")


def what_was_in_doubt_is_kept_only_where_it_is_part_of_the_history(view: View, actions: tuple[Action, ...]) -> None:
    for start in of(actions, StartDatabase):
        assert start.keep_in_doubt is (named(view) or certain(view))
        assert view.seeded
        assert not view.database.running
        assert not view.database.starting


def the_fence_is_lifted_before_and_the_gate_opens_after_the_promotion(view: View, actions: tuple[Action, ...]) -> None:
    order = ("LiftFence", "Promote", "OpenGate")
    names = [name for name in kinds(actions) if name in order]
    assert names == [name for name in order if name in names]
    assert not (view.fenced and "Promote" in names and "LiftFence" not in names)


def a_planned_switchover_owns_the_host_it_prepared(view: View, actions: tuple[Action, ...]) -> None:
    held = decide(replace(view, held_back_until=view.now + 0.1), POLICY)
    stored = view.stored
    if stored is None or stored.term is None or stored.term.term < view.known_term:
        return
    term, leader = stored.term, stored.leader
    if named(view):
        assert held == actions, "the commit has taken place: nobody waits for a switchover that may have died"
    elif leader is not None and (leader.holder, leader.term) == (term.primary, term.term):
        assert kinds(held) == ["Hold"]
    else:
        assert held == actions, "without the leader key that it began with it cannot commit any more"


def the_leader_key_is_taken_only_by_the_host_of_the_term_when_it_is_free(
    view: View, actions: tuple[Action, ...]
) -> None:
    if of(actions, AcquireLeader):
        assert view.stored is not None
        assert named(view)
        leader = view.stored.leader
        assert leader is None or (leader.holder == view.host and leader.lease != view.lease)
        assert not must_fence(view.now, view.lease_valid_until, POLICY, writable=True)


def i2_only_a_member_of_a_strict_set_begins_an_election(view: View, actions: tuple[Action, ...]) -> None:
    for begin in of(actions, BeginElection):
        assert view.stored is not None
        stored, sync = view.stored, view.stored.sync
        assert stored.term is not None
        assert sync is not None
        assert stored.leader is None
        assert stored.pause is None
        assert stored.term.primary != view.host
        assert (sync.mode, sync.term) == ("strict", stored.term.term)
        assert view.host in sync.members
        assert begin.term == stored.term.term + 1
        assert view.priority(view.host) > 0
        assert view.now >= max(view.promised_until, view.at_work_since + POLICY.lease_ttl)
        assert view.now < view.lease_valid_until - POLICY.fence_margin
        assert not view.database.relay_pending


def i3_a_term_is_committed_only_when_all_have_stopped_and_this_host_has_everything(
    view: View, actions: tuple[Action, ...]
) -> None:
    for commit in of(actions, CommitTerm):
        assert runs_election(view)
        assert view.stored is not None
        stored, sync, election = view.stored, view.stored.sync, view.election
        assert sync is not None
        assert election is not None
        assert stored.term is not None
        assert sync.mode == "strict"
        assert sync.term == stored.term.term
        assert view.host in sync.members
        assert commit.term == stored.term.term + 1
        assert election.revision == stored.revisions["leader"], "collected in this election"
        assert {ballot.host for ballot in election.ballots} == set(sync.members)
        assert all(ballot.io_stopped for ballot in election.ballots)
        applied = gtid.parse(view.database.position)
        for ballot in election.ballots:
            assert not gtid.missing(applied, ballot.position)
            assert not gtid.missing(gtid.parse(commit.gtid), ballot.position)
        equal = {ballot.host for ballot in election.ballots if str(ballot.position) == commit.gtid}
        assert set(commit.members) <= equal - {view.host}
        assert commit.mode == ("strict" if commit.members else "degraded")


def i3_nothing_is_received_while_another_host_runs_an_election(view: View, actions: tuple[Action, ...]) -> None:
    stored = view.stored
    if stored is None or stored.term is None or stored.leader is None:
        return
    if stored.leader.term > stored.term.term and stored.leader.holder != view.host:
        assert not any(isinstance(action, (Attach, StartAcknowledging, StopAcknowledging)) for action in actions)
        assert not of(actions, Promote)
        assert not any(start.keep_in_doubt for start in of(actions, StartDatabase)), "the outcome says as what"
        if named(view) and view.seeded and view.database.running and view.stored:
            assert view.database.read_only or of(actions, Fence) or stored.term.term < view.known_term


def what_was_received_is_salvaged_before_anything_throws_it_away(view: View, actions: tuple[Action, ...]) -> None:
    if not view.database.relay_pending or view.stored is None or view.stored.sync is None or not view.stored.term:
        return
    sync, term = view.stored.sync, view.stored.term
    if view.host in sync.members and (sync.mode, sync.term) == ("strict", term.term):
        assert not of(actions, Attach)
        assert not of(actions, CommitTerm)


def a_pause_stops_what_automation_would_do(view: View, actions: tuple[Action, ...]) -> None:
    if view.stored is not None and view.stored.pause is not None:
        forbidden = (BeginElection, CommitTerm, StartDatabase, Reclone, Flashback)
        assert not any(isinstance(action, forbidden) for action in actions)
        assert view.now < view.sit_out_until or not of(actions, StepDown)


def a_primary_steps_down_only_for_an_heir(view: View, actions: tuple[Action, ...]) -> None:
    if of(actions, StepDown):
        assert view.stored is not None
        sync = view.stored.sync
        assert sync is not None
        assert sync.mode == "strict"
        assert any(name in view.stored.members for name in sync.members)


PROPERTIES = (
    pure_and_with_reasons,
    i1_only_the_leader_does_what_a_leader_does,
    i1_without_an_answer_of_etcd_nothing_changes,
    i1_whom_the_term_does_not_name_only_ever_becomes_less,
    i1_a_replica_that_could_be_written_is_demoted_at_once,
    i2_the_sync_set_grows_only_with_what_has_everything,
    i4_a_primary_stops_waiting_only_after_the_record_says_so,
    i4_a_strict_primary_is_promoted_waiting,
    what_was_in_doubt_is_kept_only_where_it_is_part_of_the_history,
    the_fence_is_lifted_before_and_the_gate_opens_after_the_promotion,
    a_planned_switchover_owns_the_host_it_prepared,
    the_leader_key_is_taken_only_by_the_host_of_the_term_when_it_is_free,
    i2_only_a_member_of_a_strict_set_begins_an_election,
    i3_a_term_is_committed_only_when_all_have_stopped_and_this_host_has_everything,
    i3_nothing_is_received_while_another_host_runs_an_election,
    what_was_received_is_salvaged_before_anything_throws_it_away,
    a_pause_stops_what_automation_would_do,
    a_primary_steps_down_only_for_an_heir,
)


def check(view: View) -> None:
    """Everything that must be true of what the rules make of ``view``."""
    actions = decide(view, POLICY)
    for holds in PROPERTIES:
        holds(view, actions)


@given(views)
@settings(max_examples=300, deadline=None)
def test_the_invariants_hold_in_every_view(view: View) -> None:
    check(view)


@given(leading)
@settings(max_examples=300, deadline=None)
def test_the_invariants_hold_for_a_host_that_leads(view: View) -> None:
    check(view)


@given(following)
@settings(max_examples=200, deadline=None)
def test_the_invariants_hold_for_a_host_that_follows(view: View) -> None:
    check(view)


@given(elections())
@settings(max_examples=500, deadline=None)
def test_the_invariants_hold_in_an_election(view: View) -> None:
    check(view)


# ---- the boundary of the fence


@given(st.floats(0, 1e9), st.floats(0, 1e9), st.booleans())
@example(100.0, 101.5, True)
def test_the_fence_comes_when_it_could_soon_be_too_late(now: float, until: float, writable: bool) -> None:
    assert must_fence(now, until, POLICY, writable=writable) is (writable and now >= until - POLICY.fence_margin)


def test_the_boundary_itself_is_too_late() -> None:
    assert must_fence(98.5, 100.0, POLICY, writable=True)
    assert not must_fence(98.49, 100.0, POLICY, writable=True)
    assert not must_fence(200.0, 100.0, POLICY, writable=False)


# ---- the roads that a host takes, step by step


def view(**changes: Any) -> View:
    """A settled primary with one replica; what a test changes is what happened."""
    settled = View(
        now=NOW,
        host=ME,
        addresses={"www1": "198.51.100.11", "www2": "198.51.100.12"},
        stored=Stored(Term(3, ME), Leader(ME, 3, 7), Sync(3, ME, ("www2",), "strict")),
        lease=7,
        lease_valid_until=NOW + 5.0,
        database=PRIMARY,
        seeded=True,
        fenced=False,
        gate_open=True,
    )
    return replace(settled, **changes)


PRIMARY = Database(
    running=True,
    read_only=False,
    gtid_binlog_pos="0-1-5",
    semi_sync_primary=True,
    semi_sync_clients=1,
    attached=("www2",),
    caught_up=("www2",),
)
AGAIN = ["StartApplying", "Hold"]
REPLICATION = Replication("198.51.100.12", True, False, True, True, "0-2-5", 0)
REPLICA = Database(running=True, gtid_slave_pos="0-2-5", semi_sync_replica=True, replication=REPLICATION)
DOWN = Database(running=False)
OTHER = Stored(Term(3, "www2"), Leader("www2", 3, 8), Sync(3, "www2", ("www1",), "strict"))
DEGRADED = Stored(Term(3, ME), Leader(ME, 3, 7), Sync(3, ME))
FORGOTTEN = Stored(Term(3, ME), None, Sync(3, ME, ("www2",), "strict"))


def _cases() -> Iterator[tuple[str, View, list[str]]]:
    yield "settled primary", view(), []
    yield "settled replica", view(stored=OTHER, database=REPLICA, gate_open=False), []
    yield "etcd silent", view(stored=None), ["Hold"]
    yield "no term yet", view(stored=Stored()), ["CloseGate", "Hold"]
    yield "primary booting", view(database=DOWN, gate_open=False), ["StartDatabase"]
    yield "primary crashed", view(database=DOWN), ["CloseGate", "StartDatabase"]
    yield "primary starting", view(database=replace(DOWN, starting=True), gate_open=False), ["Hold"]
    yield "primary unseeded", view(database=DOWN, seeded=False), ["CloseGate", "Hold"]
    ending = view(lease_valid_until=NOW + 1.5)
    yield "lease about to end, or prolonged by the promises of the others", ending, ["Hold"]
    killed = replace(ending, database=replace(DOWN, error="killed"))
    yield "lease about to end, killed", killed, ["CloseGate", "Hold"]
    yield "leader key gone", view(stored=FORGOTTEN), ["AcquireLeader"]
    yield "new lease", view(lease=9), ["AcquireLeader"]
    other_leads = Stored(Term(3, ME), Leader("www2", 3, 8), Sync(3, ME))
    yield "another leads", view(stored=other_leads), ["CloseGate", "Fence"]
    yield "another leads, fenced", view(stored=other_leads, database=DOWN), ["CloseGate", "Hold"]
    old_sync = Stored(Term(3, ME), Leader(ME, 3, 7), Sync(2, ME, ("www2",), "strict"))
    yield "sync of another term", view(stored=old_sync), ["Hold"]
    yield "to be promoted", view(database=REPLICA, gate_open=False), ["Promote", "OpenGate"]
    yield "to be promoted, fenced", view(database=REPLICA, fenced=True), ["LiftFence", "Promote", "OpenGate"]
    yield "gate not open yet", view(gate_open=False), ["OpenGate"]
    yield "strict and not waiting", view(database=replace(PRIMARY, semi_sync_primary=False)), ["WaitForReplica"]
    alone = replace(PRIMARY, attached=(), caught_up=(), semi_sync_clients=0)
    yield "replica gone for a moment", view(database=alone, detached_since={"www2": NOW - 2.9}), []
    yield "replica gone", view(database=alone, detached_since={"www2": NOW - 3.0}), ["RecordSync"]
    yield "degraded, waiting", view(stored=DEGRADED, database=alone, detached_since={"www2": NOW - 9}), ["StopWaiting"]
    off = replace(alone, semi_sync_primary=False)
    yield "degraded, alone", view(stored=DEGRADED, database=off, detached_since={"www2": NOW - 9}), ["Hold"]
    back = replace(off, attached=("www2",))
    yield "degraded, catching up", view(stored=DEGRADED, database=back), ["Hold"]
    sent = view(stored=DEGRADED, database=replace(back, caught_up=("www2",)))
    yield "degraded, sent but not heard to have arrived", sent, ["Hold"]
    close = replace(sent, received={"www2": "0-1-5"}, steady_since={"www2": NOW - 9.0})
    yield "degraded, caught up", close, ["WaitForReplica"]
    yield "degraded, left once", replace(close, left_at={"www2": (NOW - 20.0,)}), ["WaitForReplica"]
    yield "degraded, left twice", replace(close, left_at={"www2": (NOW - 99.0, NOW - 20.0)}), ["Hold"]
    yield (
        "degraded, left twice, well",
        replace(close, left_at={"www2": (NOW - 99.0, NOW - 20.0)}, steady_since={"www2": NOW - 10.0}),
        ["WaitForReplica"],
    )
    yield (
        "degraded, left twice long ago",
        replace(close, left_at={"www2": (NOW - 700.0, NOW - 20.0)}),
        ["WaitForReplica"],
    )
    fourth = replace(close, left_at={"www2": (NOW - 90.0, NOW - 80.0, NOW - 70.0, NOW - 60.0)})
    yield "degraded, left four times", replace(fourth, steady_since={"www2": NOW - 39.0}), ["Hold"]
    yield "degraded, left four times, well", replace(fourth, steady_since={"www2": NOW - 40.0}), ["WaitForReplica"]
    well = replace(HEIR, semi_sync_replica=True)
    for what, member in {
        "stuck": replace(well, role="starting"),
        "full": replace(well, disk_short=True),
        "forked": replace(well, forked=True),
    }.items():
        told = replace(DEGRADED, members={"www2": member})
        yield f"degraded, caught up, {what}", replace(close, stored=told), ["Hold"]
    yield "degraded, not confirmed", view(stored=DEGRADED), []
    yield "degraded, behind", view(stored=DEGRADED, received={"www2": "0-1-4"}), []
    yield "degraded, confirmed", view(stored=DEGRADED, received={"www2": "0-1-5"}), ["RecordSync"]
    yield "demoted while waiting", view(stored=OTHER), ["CloseGate", "Fence"]
    demoted = replace(PRIMARY, semi_sync_primary=False)
    yield "demoted, not waiting", view(stored=OTHER, database=demoted), ["CloseGate", "MakeReadOnly"]
    yield "demoted, read-only", view(stored=OTHER, database=replace(demoted, read_only=True)), ["CloseGate", "Attach"]
    yield "replica down", view(stored=OTHER, database=DOWN, gate_open=False), ["StartDatabase"]
    yield "replica unseeded", view(stored=OTHER, database=DOWN, seeded=False, gate_open=False), ["Hold"]
    yield "replica fenced", view(stored=OTHER, database=REPLICA, fenced=True, gate_open=False), ["LiftFence"]
    third = replace(REPLICATION, host="198.51.100.13")
    follows_third = replace(REPLICA, replication=third)
    yield "replica of a third", view(stored=OTHER, database=follows_third, gate_open=False), ["Attach"]
    stopped = replace(REPLICATION, io_running=False, sql_running=False)
    yield "stopped", view(stored=OTHER, database=replace(REPLICA, replication=stopped), gate_open=False), ["Attach"]
    connecting = replace(REPLICATION, io_running=False, io_connecting=True)
    yield "connecting", view(stored=OTHER, database=replace(REPLICA, replication=connecting), gate_open=False), []
    broken = replace(REPLICATION, io_running=False, error="Got fatal error 1236")
    yield "broken", view(stored=OTHER, database=replace(REPLICA, replication=broken), gate_open=False), ["Hold"]
    silent = replace(REPLICA, semi_sync_replica=False)
    yield "acknowledges nothing", view(stored=OTHER, database=silent, gate_open=False), ["StartAcknowledging"]
    stranger = Stored(Term(3, "www9"), Leader("www9", 3, 8))
    yield "unknown primary", view(stored=stranger, database=REPLICA, gate_open=False), ["Hold"]


#: The primary, www2, is gone; www1 is the only member of its sync set.
GONE = Stored(Term(3, "www2"), None, OTHER.sync, revisions={"term": 5, "leader": 7, "sync": 6})
MINE = replace(GONE, leader=Leader(ME, 4, 7))
BALLOT = Ballot(ME, True, "0-2-5", "0-2-5")
ELECTED = Election(7, NOW, (BALLOT,))


def replica(**changes: Any) -> View:
    """A replica whose primary is gone."""
    return view(**{"stored": GONE, "database": REPLICA, "gate_open": False, **changes})


def _election_cases() -> Iterator[tuple[str, View, list[str]]]:
    yield "leader gone", replica(), ["BeginElection"]
    yield "leader gone, degraded", replica(stored=replace(GONE, sync=Sync(3, "www2"))), ["Hold"]
    other = replace(GONE, sync=Sync(3, "www2", ("www3",), "strict"))
    yield "leader gone, no member", replica(stored=other), ["Hold"]
    yield "leader gone, old set", replica(stored=replace(GONE, sync=Sync(2, "www2", (ME,), "strict"))), ["Hold"]
    yield "leader gone, never a candidate", replica(priorities={ME: 0}), ["StopAcknowledging", "Hold"]
    yield "leader gone, paused", replica(stored=replace(GONE, pause=Pause("anna", "", "", ""))), ["Hold"]
    yield "leader gone, lease too", replica(lease_valid_until=NOW + 1.5), ["Hold"]
    yield "leader gone, fresh agent", replica(at_work_since=NOW - 4.9), ["Hold"]
    yield "leader gone, promised", replica(promised_until=NOW + 0.1), ["Hold"]
    yield "leader gone, just given up", replica(retry_at=NOW + 0.1, abandoned="www3 is silent"), ["Hold"]
    yield "leader gone, disk full", replica(disk_free_fraction=0.01), ["Hold"]
    failed = replace(REPLICATION, sql_running=False, error="Table is full")
    yield "leader gone, cannot apply", replica(database=replace(REPLICA, replication=failed)), [*AGAIN, "Hold"]
    yield "leader gone, relay log full", replica(database=replace(REPLICA, relay_pending=True)), ["Salvage"]
    bad = replace(REPLICATION, sql_running=False, error="Duplicate entry", sql_errno=1062)
    stuck = replace(REPLICA, relay_pending=True, replication=bad)
    yield "leader gone, relay log refused", replica(database=stuck), [*AGAIN, "Hold"]
    refused = replica(stored=OTHER, database=stuck)
    yield "relay log refused", refused, AGAIN
    yield "relay log refused, tried a moment ago", replace(refused, apply_again_at=NOW + 1.0), ["Hold"]
    yield (
        "relay log refused, paused",
        replace(refused, stored=replace(OTHER, pause=Pause("anna", "", "", ""))),
        ["Hold"],
    )
    deaf = replace(stuck, replication=replace(bad, io_running=False))
    yield "relay log refused, and nothing is received", replace(refused, database=deaf), ["Hold"]
    by_files = replace(REPLICATION, uses_gtid=False)
    yield "by files", replica(stored=OTHER, database=replace(REPLICA, replication=by_files)), ["Attach"]
    yield "leader gone, database down", replica(database=DOWN), ["StartDatabase"]
    two = replace(GONE, sync=Sync(3, "www2", ("www0", ME), "strict"))
    first = replica(stored=two, addresses={**HOSTS, "www0": ""}, leaderless_since=NOW - 0.2)
    yield "leader gone, second place", first, ["Hold"]
    yield "leader gone, second place, waited", replace(first, leaderless_since=NOW - 0.3), ["BeginElection"]
    yield "leader gone, second name, first priority", replace(first, priorities={ME: 200}), ["BeginElection"]
    yield "elected, nobody asked", replica(stored=MINE), ["CollectBallots"]
    yield (
        "elected, ballots of an earlier one",
        replica(stored=MINE, election=replace(ELECTED, revision=6)),
        ["CollectBallots"],
    )
    yield "elected", replica(stored=MINE, election=ELECTED), ["OpenGate", "CommitTerm"]
    yield "elected, gate open", replica(stored=MINE, election=ELECTED, gate_open=True), ["CommitTerm"]
    silent = replace(ELECTED, ballots=(), silent=((ME, "(2013) lost"),))
    yield "elected, silent", replica(stored=MINE, election=silent), ["CollectBallots"]
    yield (
        "elected, silent for long",
        replica(stored=MINE, election=replace(silent, began=NOW - 5.0)),
        ["AbandonElection"],
    )
    more = replace(BALLOT, received="0-2-6")
    yield "elected, applying", replica(stored=MINE, election=replace(ELECTED, ballots=(more,))), ["Hold"]
    three = replace(BALLOT, host="www3")
    ahead = replace(ELECTED, ballots=(BALLOT, replace(three, received="0-2-6")))
    yield "elected, another has more", replica(stored=MINE, election=ahead), ["HandOver"]
    wanted = replace(ELECTED, ballots=(BALLOT, replace(three, priority=200)))
    yield "elected, another is wanted", replica(stored=MINE, election=wanted), ["HandOver"]
    full = replace(ELECTED, ballots=(BALLOT, replace(three, received="0-2-6", disk_free_fraction=0.01)))
    yield "elected, the best cannot", replica(stored=MINE, election=full), ["AbandonElection"]
    forked = replace(ELECTED, ballots=(BALLOT, replace(three, applied="0-3-5", received="")))
    yield "elected, two histories", replica(stored=MINE, election=forked), ["AbandonElection"]
    yield "elected, paused", replica(stored=replace(MINE, pause=Pause("anna", "", "", ""))), ["AbandonElection"]
    yield "elected, set made smaller", replica(stored=replace(MINE, sync=Sync(3, "www2"))), ["AbandonElection"]
    yield "elected, database down", replica(stored=MINE, database=DOWN), ["AbandonElection"]
    yield "elected on an older lease", replica(stored=replace(MINE, leader=Leader(ME, 4, 6))), []
    yield "elected, writable", replica(stored=MINE, database=PRIMARY), ["Fence"]
    another = replace(GONE, leader=Leader("www3", 4, 8))
    stopped = replace(REPLICA, replication=replace(REPLICATION, io_running=False))
    yield "another runs it", replica(stored=another, database=stopped), ["Hold"]
    yield "another runs it, database down", replica(stored=another, database=DOWN), ["StartDatabase"]
    old = replace(another, term=Term(3, ME), sync=Sync(3, ME, ("www3",), "strict"))
    yield "old primary, another runs it", replica(stored=old, database=DOWN), ["Hold"]
    yield "old primary, writable, another runs it", replica(stored=old, database=PRIMARY), ["Fence"]


PAUSE = Pause("anna", "", "", "")
HEIR = Member("www2", "198.51.100.12", "", 8, "replica", io_running=True, sql_running=True)
FORKED = {ME: replace(HEIR, host=ME, forked=True)}
WITH_HEIR = Stored(Term(3, ME), Leader(ME, 3, 7), Sync(3, ME, ("www2",), "strict"), members={"www2": HEIR})


def sick(**changes: Any) -> View:
    """A primary whose database has not answered for a while, and that has an heir."""
    return view(**{"stored": WITH_HEIR, "database": DOWN, "answered_at": NOW - 5.0, "gate_open": False, **changes})


def _step_down_cases() -> Iterator[tuple[str, View, list[str]]]:
    yield "down for long", sick(), ["StepDown"]
    yield "down for a moment", sick(answered_at=NOW - 4.9), ["StartDatabase"]
    yield "hangs", sick(database=replace(DOWN, starting=True)), ["StepDown"]
    yield "down, no heir", sick(stored=replace(WITH_HEIR, members={})), ["StartDatabase"]
    fenced = replace(WITH_HEIR, members={"www2": replace(HEIR, role="fenced")})
    yield "down, heir is none", sick(stored=fenced), ["StartDatabase"]
    short = replace(WITH_HEIR, members={"www2": replace(HEIR, disk_short=True)})
    yield "down, heir has no room", sick(stored=short), ["StartDatabase"]
    stuck = replace(WITH_HEIR, members={"www2": replace(HEIR, sql_running=False)})
    yield "down, heir applies nothing", sick(stored=stuck), ["StartDatabase"]
    forked = replace(WITH_HEIR, members={"www2": replace(HEIR, forked=True)})
    yield "down, somebody wrote on the heir", sick(stored=forked), ["StartDatabase"]
    yield "down, heir is never a candidate", sick(priorities={"www2": 0}), ["StartDatabase"]
    degraded = replace(WITH_HEIR, sync=Sync(3, ME))
    yield "down, degraded", sick(stored=degraded), ["StartDatabase"]
    yield "down, paused", sick(stored=replace(WITH_HEIR, pause=Pause("anna", "", "", ""))), ["Hold"]
    recent = (Term(3, ME, at=utc(WALL - 50.0), reason="failover"),)
    yield "down, after a failover", sick(stored=replace(WITH_HEIR, history=recent), wall=WALL), ["StartDatabase"]
    full = view(stored=WITH_HEIR, disk_free_fraction=0.01)
    yield "disk full", full, ["CloseGate", "StepDown"]
    yield "disk full, no heir", replace(full, stored=replace(WITH_HEIR, members={})), ["WaitForReplica"][:0]
    out = sick(sit_out_until=NOW + 9.0)
    yield "sits out", replace(out, stored=replace(WITH_HEIR, leader=None)), ["Hold"]
    yield "sits out, key not given back", out, ["StepDown", "Hold"]
    yield "sits out, no heir", replace(out, stored=replace(WITH_HEIR, leader=None, members={})), ["AcquireLeader"]
    yield "sat out", replace(out, stored=replace(WITH_HEIR, leader=None), sit_out_until=NOW), ["AcquireLeader"]


def _other_cases() -> Iterator[tuple[str, View, list[str]]]:
    yield "etcd from the past", view(known_term=4), ["CloseGate", "Hold"]
    alone = replace(PRIMARY, attached=(), caught_up=(), semi_sync_clients=0)
    forked = replace(REPLICATION, io_running=False, error="1236", io_errno=1236)
    fork = replica(stored=OTHER, database=replace(REPLICA, replication=forked))
    yield "forked", fork, ["SaveDivergent", "Hold"]
    written = replica(stored=OTHER, database=replace(REPLICA, errant="0-1-9"))
    yield "written by hand", written, ["SaveDivergent", "Hold"]
    muted = replace(written, divergence="saved", database=replace(written.database, semi_sync_replica=False))
    yield (
        "written by hand, saved",
        replace(muted, database=replace(muted.database, semi_sync_replica=True)),
        [
            "StopAcknowledging",
            "Hold",
        ],
    )
    yield "written by hand, saved, silent", muted, ["Hold"]
    yield (
        "written by hand, saved, not counted on",
        replace(muted, stored=replace(OTHER, sync=Sync(3, "www2", (), "degraded"), members=FORKED)),
        ["Flashback", "Hold"],
    )
    untold = replace(muted, stored=replace(OTHER, sync=Sync(3, "www2", (), "degraded")))
    yield "written by hand, saved, the estate not told", untold, ["Hold"]
    yield "forked, saved, counted on", replace(fork, divergence="saved"), ["Hold"]
    yield "forked, nothing to undo, counted on", replace(fork, divergence="flashed_back"), ["Hold"]
    loud = replace(fork, divergence="saved", database=replace(REPLICA, replication=replace(
        REPLICATION, sql_running=False, error="1950", sql_errno=1950), relay_pending=True))  # fmt: skip
    yield "forked, saved, acknowledging", loud, ["StopAcknowledging", "Hold"]
    left = replace(fork, stored=replace(OTHER, sync=Sync(3, "www2", (), "degraded"), members=FORKED))
    yield "forked, saved", replace(left, divergence="saved"), ["Flashback", "Hold"]
    yield "forked, nothing to undo", replace(left, divergence="flashed_back"), ["Reclone", "Hold"]
    yield "forked, paused", replace(fork, stored=replace(OTHER, pause=Pause("anna", "", "", ""))), ["Hold"]
    yield "forked, nobody leads", replace(fork, stored=replace(GONE, sync=Sync(3, "www2"))), ["Hold", "Hold"]
    half = replica(stored=OTHER, seeded=False, half_seeded=True)
    yield "unseeded", replace(half, half_seeded=False), ["Hold"]
    yield "half seeded", half, ["Reclone"]
    yield "half seeded, paused", replace(half, stored=replace(OTHER, pause=Pause("anna", "", "", ""))), ["Hold"]
    yield "half seeded, nobody leads", replace(half, stored=GONE), ["Hold"]
    many = Stored(Term(3, ME), Leader(ME, 3, 7), Sync(3, ME, ("www2", "www3"), "strict"))
    lost = view(addresses=HOSTS, stored=many, database=alone, detached_since={"www3": NOW - 3.0})
    yield "one of two lost", lost, ["Expel"]
    silent = replace(lost, silenced=("www3",))
    yield "one of two lost and silent", silent, ["Hold"]
    yield "one of two lost and silent, the other lacks something", replace(silent, received={"www2": "0-1-4"}), ["Hold"]
    yield "one of two lost and silent, the other has all", replace(silent, received={"www2": "0-1-5"}), ["RecordSync"]
    away = replace(REPLICATION, io_running=False, io_connecting=True, turned_away=True)
    yield "turned away", replica(stored=OTHER, database=replace(REPLICA, replication=away)), ["Attach"]
    back = view(addresses=HOSTS, stored=many, silenced=("www2",))
    yield "one was silenced, and stayed", back, ["RecordSync"]
    yield "one was silenced and is shut out", replace(back, shut_out=("www2",)), []
    yield "one was silenced and is not connected", replace(back, database=alone), []
    member = replica(stored=replace(OTHER, revisions={"sync": 8}), addresses=HOSTS)
    quiet = replace(REPLICA, semi_sync_replica=False)
    yield "member of three", member, []
    yield "member of three, silent", replace(member, database=quiet), ["StartAcknowledging"]
    yield "member of three, gave its word", replace(member, database=quiet, muted_at=8), []
    nobody = replace(member, stored=replace(OTHER, sync=Sync(3, "www2", ("www3",), "strict")))
    yield "no member of three", nobody, ["StopAcknowledging"]
    yield "no member of three, silent", replace(nobody, database=quiet), []
    free = replace(DEGRADED, leader=None)
    web = view(engine="none", database=DOWN, stored=DEGRADED)
    yield "no database, leads", web, []
    yield "no database, gate", replace(web, gate_open=False), ["OpenGate"]
    yield "primary, only prepared", view(gate_prepared=True), ["OpenGate"]
    yield "no database, leads, only prepared", replace(web, gate_prepared=True), ["OpenGate"]
    yield "no database, lost lease", replace(web, lease_valid_until=NOW), ["Hold"]
    astray = replace(web, stored=replace(free, term=Term(3, "www2")), lease_valid_until=NOW)
    yield "no database, lost lease of another's term", astray, ["CloseGate", "Hold"]
    yield "no database, free", replace(web, stored=free), ["AcquireLeader"]
    with_other = replace(free, members={"www2": HEIR})
    stepped = replace(web, stored=with_other, sit_out_until=NOW + 60.0)
    yield "no database, stepped down", stepped, ["CloseGate", "Hold"]
    yield "no database, stepped down, alone", replace(stepped, stored=free), ["AcquireLeader"]
    yield "no database, stepped down, the other never", replace(stepped, priorities={"www2": 0}), ["AcquireLeader"]
    never = replace(DEGRADED, leader=Leader(ME, 4, 7))
    yield "no database, a key of a term that never came", replace(web, stored=never), ["AcquireLeader"]
    follows = replace(web, stored=replace(free, term=Term(3, "www2")), gate_open=False)
    yield "no database, other gone", replace(follows, leaderless_since=NOW - 0.3), ["AcquireLeader"]
    yield "no database, other just gone", replace(follows, leaderless_since=NOW - 0.2), ["Hold"]
    yield "no database, other leads", replace(follows, stored=OTHER), []
    gone = replace(follows, leaderless_since=NOW - 0.3)
    yield "no database, promised", replace(gone, promised_until=NOW + 1.0), ["Hold"]
    yield "no database, began just now", replace(gone, at_work_since=NOW - 4.0), ["Hold"]
    yield "no database, never", replace(gone, priorities={ME: 0}), ["Hold"]
    paused = replace(gone, stored=replace(gone.stored or free, pause=PAUSE))
    yield "no database, paused", paused, ["Hold"]
    yield "no database, paused, ours", replace(web, stored=replace(free, pause=PAUSE)), ["AcquireLeader"]
    prepared = replace(web, stored=OTHER, held_back_until=NOW + 5.0)
    yield "no database, prepared for a switchover", prepared, ["Hold"]
    yield "no database, prepared and forgotten", replace(prepared, held_back_until=NOW), ["CloseGate"]


CASES = {
    name: (seen, wanted)
    for cases in (_cases, _election_cases, _step_down_cases, _other_cases)
    for name, seen, wanted in cases()
}


@pytest.mark.parametrize("name", CASES)
def test_the_next_step(name: str) -> None:
    seen, wanted = CASES[name]
    assert kinds(decide(seen, POLICY)) == wanted


def test_with_three_hosts_one_lost_member_leaves_the_others_strict() -> None:
    stored = Stored(Term(3, ME), Leader(ME, 3, 7), Sync(3, ME, ("www2", "www3"), "strict"))
    seen = view(
        addresses=HOSTS,
        stored=stored,
        detached_since={"www3": NOW - 3.0},
        silenced=("www3",),
        received={"www2": "0-1-5"},
    )
    (record,) = of(decide(seen, POLICY), RecordSync)
    assert (record.members, record.mode) == (("www2",), "strict")


def test_with_three_hosts_a_replica_is_named_first_and_acknowledges_second() -> None:
    """MariaDB takes the word of anybody, so nobody says a word before every election asks him."""
    close = replace(PRIMARY, attached=("www2",), caught_up=("www2",), semi_sync_primary=False, semi_sync_clients=0)
    seen = view(addresses=HOSTS, stored=DEGRADED, database=close, received={"www2": "0-1-5"})
    (invite,) = of(decide(seen, POLICY), RecordSync)
    assert (invite.members, invite.mode) == (("www2",), "degraded")
    invited = replace(DEGRADED, sync=Sync(3, ME, ("www2",)), members={"www2": HEIR})
    assert kinds(decide(replace(seen, stored=invited), POLICY)) == ["Hold"]
    ready = replace(invited, members={"www2": replace(HEIR, semi_sync_replica=True)})
    assert kinds(decide(replace(seen, stored=ready), POLICY)) == ["WaitForReplica"]
    waiting = replace(close, semi_sync_primary=True, semi_sync_clients=1)
    seen = replace(seen, stored=ready, database=waiting)
    (expel,) = of(decide(seen, POLICY), Expel)
    assert expel.host == "www3", "it may have been frozen while it was given up, and acknowledge when it thaws"
    quiet = {**ready.members, "www3": replace(HEIR, host="www3", semi_sync_replica=False)}
    (record,) = of(decide(replace(seen, stored=replace(ready, members=quiet)), POLICY), RecordSync)
    assert (record.members, record.mode) == (("www2",), "strict")
    (record,) = of(decide(replace(seen, silenced=("www3",)), POLICY), RecordSync)
    assert (record.members, record.mode) == (("www2",), "strict")


def test_a_member_whose_history_forked_leaves_at_once() -> None:
    """It waits for that, before it undoes anything, and its word is worth nothing for the writes that come."""
    told = {"www2": replace(HEIR, forked=True)}
    two = Stored(Term(3, ME), Leader(ME, 3, 7), Sync(3, ME, ("www2",), "strict"), members=told)
    (record,) = of(decide(view(stored=two), POLICY), RecordSync)
    assert (record.members, record.mode) == ((), "degraded")
    (record,) = of(decide(view(stored=two), replace(POLICY, on_last_replica_loss="block")), RecordSync)
    assert (record.members, record.mode) == ((), "strict")
    three = replace(two, sync=Sync(3, ME, ("www2", "www3"), "strict"), revisions={"sync": 4})
    seen = view(stored=three, addresses=HOSTS)
    (expel,) = of(decide(seen, POLICY), Expel)
    assert expel.host == "www2"
    silent = replace(seen, silenced=("www2",), received={"www3": "0-1-5"})
    (record,) = of(decide(silent, POLICY), RecordSync)
    assert (record.members, record.mode) == (("www3",), "strict")


def test_with_three_hosts_a_set_without_members_that_all_writes_wait_for_gets_some() -> None:
    """Policy ``block``, after an election that nobody else was equal in: as nobody is a member, nobody acknowledges."""
    block = replace(POLICY, on_last_replica_loss="block")
    waiting = replace(PRIMARY, attached=("www2",), caught_up=("www2",), semi_sync_clients=0)
    quiet = {name: replace(HEIR, host=name, semi_sync_replica=False) for name in ("www2", "www3")}
    nobody = Stored(Term(3, ME), Leader(ME, 3, 7), Sync(3, ME, (), "strict"), members=quiet)
    seen = view(addresses=HOSTS, stored=nobody, database=waiting, received={"www2": "0-1-4"})
    assert kinds(decide(seen, block)) == []
    seen = replace(seen, received={"www2": "0-1-5"})
    (record,) = of(decide(seen, block), RecordSync)
    assert (record.members, record.mode) == (("www2",), "strict")
    unheard = replace(nobody, members={"www2": quiet["www2"]})
    (expel,) = of(decide(replace(seen, stored=unheard), block), Expel)
    assert expel.host == "www3", "it may be frozen, and acknowledge when it thaws"


def test_with_policy_block_the_last_member_stays_one() -> None:
    alone = replace(PRIMARY, attached=(), caught_up=(), semi_sync_clients=0)
    block = replace(POLICY, on_last_replica_loss="block")
    (hold,) = decide(view(database=alone, detached_since={"www2": NOW - 9.0}), block)
    assert isinstance(hold, Hold)
    assert hold.code == "blocked"
    (commit,) = of(decide(replica(stored=MINE, election=ELECTED), block), CommitTerm)
    assert (commit.members, commit.mode) == ((), "strict")


def test_members_of_the_new_term_are_those_that_hold_the_same() -> None:
    told = (BALLOT, replace(BALLOT, host="www3"), replace(BALLOT, host="www4", received="", applied="0-2-4"))
    (commit,) = of(decide(replica(stored=MINE, election=replace(ELECTED, ballots=told)), POLICY), CommitTerm)
    assert (commit.term, commit.gtid, commit.members, commit.mode) == (4, "0-2-5", ("www3",), "strict")


@pytest.mark.parametrize(
    ("ages", "acknowledged", "held"),
    [
        ((), None, False),
        ((61.0,), None, False),
        ((59.0,), None, True),
        ((59.0,), 30.0, False),
        ((3000.0, 2000.0, 1000.0), None, True),
        ((3700.0, 2000.0, 1000.0), None, False),
        ((3000.0, 2000.0, 1000.0), 1500.0, False),
        ((-500.0,), None, True),
    ],
)
def test_failovers_do_not_follow_each_other_too_fast(ages: tuple[float, ...], acknowledged: float, held: bool) -> None:
    history = tuple(Term(number, ME, at=utc(WALL - age), reason="failover") for number, age in enumerate(ages))
    looked = Acknowledged("anna", utc(WALL - acknowledged)) if acknowledged is not None else None
    seen = replica(stored=replace(GONE, history=history, acknowledged=looked), wall=WALL)
    (action,) = decide(seen, POLICY)
    if held:
        assert isinstance(action, Hold)
        assert action.code == "anti_flap"
    else:
        assert isinstance(action, BeginElection)


@pytest.mark.parametrize(
    ("at", "began", "acknowledged", "held"),
    [
        (+7200.0, 30.0, None, True),
        (+7200.0, 90.0, None, False),
        (-7200.0, 30.0, None, True),
        (+7200.0, 30.0, 5, False),
        (+7200.0, 30.0, 4, True),
    ],
    ids=["ahead", "ahead, long ago", "behind", "somebody looked since", "somebody looked before"],
)
def test_wrong_clocks_of_other_hosts_neither_hold_nor_hurry(
    at: float, began: float, acknowledged: int | None, held: bool
) -> None:
    """Simulated: a failover two hours ahead, by the clock of the host that took over, held the next one for as long."""
    history = (Term(5, ME, at=utc(WALL + at), reason="failover"),)
    looked = Acknowledged("anna", utc(WALL - 9000.0), acknowledged) if acknowledged is not None else None
    stored = replace(GONE, history=history, acknowledged=looked)
    (action,) = decide(replica(stored=stored, wall=WALL, began={5: WALL - began}), POLICY)
    assert isinstance(action, Hold) is held


def test_what_may_be_lost_is_named() -> None:
    (hold,) = decide(replica(stored=replace(GONE, sync=Sync(3, "www2"))), POLICY)
    assert isinstance(hold, Hold)
    assert hold.code == "possible_loss"
    assert "www2 wrote without waiting for a replica" in hold.why
    silent = replace(ELECTED, ballots=(BALLOT,), silent=(("www3", "timed out"),), began=NOW - 5.0)
    (abandon,) = decide(replica(stored=MINE, election=silent), POLICY)
    assert "an acknowledged write may be on www3 alone" in abandon.why
