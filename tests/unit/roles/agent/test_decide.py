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
    AcquireLeader,
    Action,
    Attach,
    CloseGate,
    Database,
    Fence,
    Hold,
    Leader,
    LiftFence,
    MakeReadOnly,
    OpenGate,
    Policy,
    Promote,
    RecordSync,
    Replication,
    StartDatabase,
    StopWaiting,
    Stored,
    Sync,
    Term,
    View,
    WaitForReplica,
)
from hypothesis import example, given, settings
from hypothesis import strategies as st

A = TypeVar("A", bound=Action)
POLICY = Policy()
HOSTS = {"www1": "198.51.100.11", "www2": "198.51.100.12", "www3": "198.51.100.13"}
ME = "www1"
NOW = 1000.0
#: Only the primary, while it leads, does these.
LEADING = (Promote, OpenGate, WaitForReplica, StopWaiting, RecordSync)
#: All that a host may do that is not named by the term.
LESS = {Hold, CloseGate, Fence, MakeReadOnly, LiftFence, Attach, StartDatabase}

hosts = st.sampled_from(sorted(HOSTS))
some_hosts = st.lists(st.sampled_from(("www2", "www3")), unique=True).map(sorted).map(tuple)
leases = st.integers(0, 2)
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
    error=st.sampled_from(("", "Got fatal error 1236")),
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
            | st.builds(Sync, st.integers(1, 3), hosts, some_hosts, st.sampled_from(("strict", "degraded")))
        ),
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
)
#: Views in which this host is named and leads: the small part of all views where most rules are.
leading = st.builds(
    lambda view, term, sync, lease: replace(
        view,
        lease=lease,
        lease_valid_until=NOW + 5.0,
        held_back_until=0.0,
        stored=Stored(term=term, leader=Leader(ME, term.term, lease), sync=replace(sync, term=term.term)),
    ),
    views,
    st.builds(Term, st.integers(1, 3), st.just(ME)),
    st.builds(Sync, st.just(1), st.just(ME), some_hosts, st.sampled_from(("strict", "degraded"))),
    st.integers(1, 2),
)
#: Views in which another host is named.
following = st.builds(
    lambda view, term: replace(view, held_back_until=0.0, stored=Stored(term=term)),
    views,
    st.builds(Term, st.integers(1, 3), st.sampled_from(("www2", "www3"))),
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
    if any(isinstance(action, LEADING) for action in actions):
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
    assert {type(action) for action in actions} <= LESS
    assert not any(action.keep_in_doubt for action in of(actions, StartDatabase))
    if any(isinstance(action, (LiftFence, Attach)) for action in actions):
        assert view.database.running
        assert view.database.read_only
        assert not view.database.semi_sync_primary


def i1_a_replica_that_could_be_written_is_demoted_at_once(view: View, actions: tuple[Action, ...]) -> None:
    if view.stored is None or view.stored.term is None or named(view) or view.now < view.held_back_until:
        return
    if view.gate_open:
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
        assert joined or left
        assert not (joined and left), "one thing at a time"
        assert record.mode == ("strict" if record.members else "degraded")
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


def what_was_in_doubt_is_kept_only_by_the_host_of_the_term(view: View, actions: tuple[Action, ...]) -> None:
    for start in of(actions, StartDatabase):
        assert start.keep_in_doubt is named(view)
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
    if named(view):
        assert held == actions, "the commit has taken place: nobody waits for a switchover that may have died"
    elif view.stored is not None and view.stored.term is not None:
        assert kinds(held) == ["Hold"]


def the_leader_key_is_taken_only_by_the_host_of_the_term_when_it_is_free(
    view: View, actions: tuple[Action, ...]
) -> None:
    if of(actions, AcquireLeader):
        assert view.stored is not None
        assert named(view)
        leader = view.stored.leader
        assert leader is None or (leader.holder == view.host and leader.lease != view.lease)
        assert not must_fence(view.now, view.lease_valid_until, POLICY, writable=True)


PROPERTIES = (
    pure_and_with_reasons,
    i1_only_the_leader_does_what_a_leader_does,
    i1_without_an_answer_of_etcd_nothing_changes,
    i1_whom_the_term_does_not_name_only_ever_becomes_less,
    i1_a_replica_that_could_be_written_is_demoted_at_once,
    i2_the_sync_set_grows_only_with_what_has_everything,
    i4_a_primary_stops_waiting_only_after_the_record_says_so,
    i4_a_strict_primary_is_promoted_waiting,
    what_was_in_doubt_is_kept_only_by_the_host_of_the_term,
    the_fence_is_lifted_before_and_the_gate_opens_after_the_promotion,
    a_planned_switchover_owns_the_host_it_prepared,
    the_leader_key_is_taken_only_by_the_host_of_the_term_when_it_is_free,
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
    yield "lease about to end", view(lease_valid_until=NOW + 1.5), ["CloseGate", "Hold"]
    yield "leader key gone", view(stored=FORGOTTEN), ["AcquireLeader"]
    yield "new lease", view(lease=9), ["AcquireLeader"]
    other_leads = Stored(Term(3, ME), Leader("www2", 3, 8), Sync(3, ME))
    yield "another leads", view(stored=other_leads), ["CloseGate", "Hold"]
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
    yield "degraded, caught up", view(stored=DEGRADED, database=replace(back, caught_up=("www2",))), ["WaitForReplica"]
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
    yield "acknowledges nothing", view(stored=OTHER, database=silent, gate_open=False), ["Attach"]
    stranger = Stored(Term(3, "www9"))
    yield "unknown primary", view(stored=stranger, database=REPLICA, gate_open=False), ["Hold"]


CASES = {name: (seen, wanted) for name, seen, wanted in _cases()}


@pytest.mark.parametrize("name", CASES)
def test_the_next_step(name: str) -> None:
    seen, wanted = CASES[name]
    assert kinds(decide(seen, POLICY)) == wanted


def test_with_three_hosts_one_lost_member_leaves_the_others_strict() -> None:
    stored = Stored(Term(3, ME), Leader(ME, 3, 7), Sync(3, ME, ("www2", "www3"), "strict"))
    seen = view(addresses=HOSTS, stored=stored, detached_since={"www3": NOW - 3.0})
    (record,) = of(decide(seen, POLICY), RecordSync)
    assert (record.members, record.mode) == (("www2",), "strict")


def test_a_replica_that_does_not_confirm_keeps_the_others_out() -> None:
    """MariaDB says how many confirm, not who: as long as one of two does not, nobody joins."""
    database = replace(PRIMARY, attached=("www2", "www3"), semi_sync_clients=1)
    seen = view(addresses=HOSTS, stored=DEGRADED, database=database, received={"www2": "0-1-5", "www3": "0-1-5"})
    assert of(decide(seen, POLICY), RecordSync) == []
    seen = replace(seen, database=replace(database, semi_sync_clients=2))
    (record,) = of(decide(seen, POLICY), RecordSync)
    assert record.members == ("www2", "www3")
