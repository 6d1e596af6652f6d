# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""When a planned switchover is refused: every reason alone, all of them together, and none too many."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from failover_agent import gates
from failover_agent.gates import Activity, HostFacts, Refusal, Request
from failover_agent.model import Database, Leader, Lock, Member, Replication, Stored, Sync, Term
from failover_agent.policy import Engine, Policy

HOSTS = ("www1", "www2")
POLICY = Policy()
REQUEST = Request(to="www2", run_id="run-1")
QUIET = Activity()
NEVER = Member("www2", "198.51.100.12", "", 8, "replica", priority=0)
LOCK = Lock(owner="anna@desk", run_id="run-9", runbook="setup", acquired_at="2026-11-23T05:00:00.000Z")
REPLICATION = Replication(
    host="198.51.100.11",
    io_running=True,
    io_connecting=False,
    sql_running=True,
    uses_gtid=True,
    gtid_io_pos="0-1-7",
    lag_seconds=0,
)


@dataclass(frozen=True)
class Question:
    """Everything :func:`gates.refusals` is asked with; the defaults are an estate in which all is well."""

    request: Request = REQUEST
    stored: Stored | None = field(
        default_factory=lambda: Stored(
            term=Term(3, "www1"),
            leader=Leader("www1", 3, lease=77),
            sync=Sync(3, "www1", ("www2",), "strict"),
        )
    )
    lease_remaining: float = 5.0
    old: HostFacts = field(
        default_factory=lambda: HostFacts(
            host="www1", database=Database(running=True, read_only=False, gtid_binlog_pos="0-1-7")
        )
    )
    new: HostFacts = field(
        default_factory=lambda: HostFacts(
            host="www2",
            database=Database(running=True, gtid_slave_pos="0-1-7", replication=REPLICATION),
            settings=(("log_bin", "1"), ("log_slave_updates", "1"), ("gtid_strict_mode", "1")),
        )
    )
    activity: Activity = QUIET
    engine: Engine = "mariadb"

    def refusals(self) -> tuple[Refusal, ...]:
        """What the gates answer."""
        return gates.refusals(
            self.request,
            "www1",
            HOSTS,
            self.stored,
            self.lease_remaining,
            self.old,
            self.new,
            self.activity,
            POLICY,
            self.engine,
        )

    def codes(self) -> list[str]:
        """The codes of the refusals."""
        return [refusal.code for refusal in self.refusals()]

    def new_database(self, **changes: Any) -> Question:
        """The candidate's database is otherwise."""
        return replace(self, new=replace(self.new, database=replace(self.new.database, **changes)))

    def stored_but(self, **changes: Any) -> Question:
        """Something else is recorded."""
        assert self.stored is not None
        return replace(self, stored=replace(self.stored, **changes))


GOOD = Question()
ALONE: dict[str, Callable[[], Question]] = {
    "quorum_lost": lambda: replace(GOOD, stored=None),
    "unknown_host": lambda: replace(GOOD, request=Request("www9", "run-1"), new=HostFacts("www9", reachable=False)),
    "already_primary": lambda: replace(GOOD, request=Request("www1", "run-1"), new=HostFacts("www1")),
    "no_candidate": lambda: replace(GOOD, request=Request("", "run-1"), new=HostFacts("", reachable=False)),
    "not_leader": lambda: GOOD.stored_but(leader=None),
    "lease_short": lambda: replace(GOOD, lease_remaining=2.9),
    "locked": lambda: GOOD.stored_but(lock=LOCK),
    "candidate_unreachable": lambda: replace(GOOD, new=HostFacts("www2", reachable=False, error="timed out")),
    "candidate_busy": lambda: replace(GOOD, new=replace(GOOD.new, busy="prepared for switchover run-8")),
    "candidate_down": lambda: GOOD.new_database(running=False),
    "replication_broken": lambda: GOOD.new_database(replication=replace(REPLICATION, sql_running=False, error="1062")),
    "no_gtid": lambda: GOOD.new_database(replication=replace(REPLICATION, uses_gtid=False)),
    "errant_gtid": lambda: GOOD.new_database(gtid_binlog_pos="0-2-8"),
    "replica_lagging": lambda: replace(GOOD, new=replace(GOOD.new, caught_up=False)),
    "settings": lambda: replace(GOOD, new=replace(GOOD.new, settings=(("log_bin", "0"),))),
    "not_in_sync_set": lambda: GOOD.stored_but(sync=Sync(3, "www1", (), "degraded")),
    "never_candidate": lambda: GOOD.stored_but(members={"www2": NEVER}),
    "keepalived_down": lambda: replace(GOOD, new=replace(GOOD.new, keepalived_running=False)),
    "disk_short": lambda: replace(GOOD, old=replace(GOOD.old, disk_free_fraction=0.049)),
    "primary_not_writable": lambda: replace(
        GOOD, old=replace(GOOD.old, database=replace(GOOD.old.database, read_only=True))
    ),
    "long_transaction": lambda: replace(GOOD, activity=Activity(oldest_transaction_seconds=5.1)),
    "ddl_running": lambda: replace(GOOD, activity=Activity(schema_changes=("ALTER TABLE t ADD x INT",))),
    "backup_running": lambda: replace(GOOD, activity=Activity(backups=("BACKUP STAGE START",))),
}


def test_an_estate_in_order_is_not_refused() -> None:
    assert GOOD.refusals() == ()


@pytest.mark.parametrize("code", ALONE)
def test_every_reason_alone_is_refused_with_exactly_that_reason(code: str) -> None:
    found = ALONE[code]().refusals()
    assert [refusal.code for refusal in found] == [code]
    assert found[0].message.endswith(".")
    assert found[0].observed, "a refusal says what was seen"
    assert found[0].fix.endswith("."), "a refusal says what to do"


def test_the_list_of_codes_is_complete_and_stable() -> None:
    """Codes are an interface: scripts and pages know them."""
    tree = ast.parse(inspect.getsource(gates))
    written = {
        node.args[0].value
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == "Refusal"
        and isinstance(node.args[0], ast.Constant)
    }
    assert written == set(ALONE)


def test_all_that_can_be_wrong_at_once_is_said_at_once() -> None:
    everything = replace(
        GOOD.stored_but(leader=Leader("www2", 2), lock=LOCK, sync=Sync(3, "www1", ("www3",), "strict")),
        lease_remaining=0.0,
        old=HostFacts("www1", database=Database(running=True, gtid_binlog_pos="0-1-7"), disk_free_fraction=0.01),
        new=HostFacts(
            "www2",
            database=Database(running=True, gtid_binlog_pos="0-2-7", replication=replace(REPLICATION, uses_gtid=False)),
            settings=(("gtid_strict_mode", "0"),),
            disk_free_fraction=0.01,
            keepalived_running=False,
            caught_up=False,
            busy="seeding from www1",
        ),
        activity=Activity(9.0, ("ALTER TABLE a", "DROP TABLE b"), ("BACKUP STAGE START",)),
    )
    assert sorted(everything.codes()) == [
        "backup_running",
        "candidate_busy",
        "ddl_running",
        "ddl_running",
        "disk_short",
        "disk_short",
        "errant_gtid",
        "keepalived_down",
        "lease_short",
        "locked",
        "long_transaction",
        "no_gtid",
        "not_in_sync_set",
        "not_leader",
        "primary_not_writable",
        "settings",
    ]


@pytest.mark.parametrize(
    ("question", "codes"),
    [
        (GOOD.stored_but(leader=Leader("www2", 3)), ["not_leader"]),
        (GOOD.stored_but(leader=Leader("www1", 2)), ["not_leader"]),
        (GOOD.stored_but(term=None), ["not_leader"]),
        (
            replace(GOOD, request=Request("www1", "run-1"), new=HostFacts("www1")).stored_but(leader=None),
            ["not_leader"],
        ),
        (GOOD.stored_but(lock=replace(LOCK, run_id="run-1")), []),
        (GOOD.stored_but(sync=None), ["not_in_sync_set"]),
        (GOOD.stored_but(sync=Sync(3, "www1", ("www3",), "strict")), ["not_in_sync_set"]),
        (GOOD.new_database(replication=None), ["replication_broken"]),
        (GOOD.new_database(replication=replace(REPLICATION, io_running=False)), ["replication_broken"]),
        (replace(GOOD, old=HostFacts("www1")), ["primary_not_writable"]),
        (replace(GOOD, new=replace(GOOD.new, disk_free_fraction=0.0)), ["disk_short"]),
        (replace(GOOD, lease_remaining=3.25), []),
        (replace(GOOD, old=replace(GOOD.old, disk_free_fraction=0.05)), []),
        (replace(GOOD, activity=Activity(oldest_transaction_seconds=5.0)), []),
    ],
)
def test_limits_and_variants(question: Question, codes: list[str]) -> None:
    assert question.codes() == codes


def test_a_candidate_that_is_behind_is_lagging_and_not_errant() -> None:
    behind = GOOD.new_database(gtid_slave_pos="0-1-5")
    assert behind.codes() == []
    assert replace(behind, new=replace(behind.new, caught_up=False)).codes() == ["replica_lagging"]


def test_an_errant_candidate_is_not_called_lagging_too() -> None:
    """It can never catch up, so the advice to wait would be wrong."""
    errant = GOOD.new_database(gtid_binlog_pos="0-2-8")
    assert replace(errant, new=replace(errant.new, caught_up=False)).codes() == ["errant_gtid"]


def test_nobody_asks_a_candidate_that_does_not_answer() -> None:
    silent = replace(GOOD, new=HostFacts("www2", reachable=False, error="timed out", disk_free_fraction=0.0))
    assert silent.codes() == ["candidate_unreachable"]
    assert "timed out" in silent.refusals()[0].message


#: What is asked without a database, too.
WITHOUT_DATABASE = {
    *("quorum_lost", "unknown_host", "already_primary", "no_candidate", "not_leader", "lease_short", "locked"),
    *("candidate_unreachable", "candidate_busy", "never_candidate", "keepalived_down"),
}


@pytest.mark.parametrize("code", ALONE)
def test_without_a_database_what_only_concerns_one_is_not_asked(code: str) -> None:
    question = replace(ALONE[code](), engine="none")
    assert question.codes() == ([code] if code in WITHOUT_DATABASE else [])


class TestChoose:
    """The host of a switchover without ``--to``."""

    def test_a_member_of_the_sync_set_comes_first(self) -> None:
        stored = Stored(sync=Sync(1, "www1", ("www3",), "strict"))
        assert gates.choose(stored, ("www1", "www2", "www3"), "www1", {}) == "www3"

    def test_without_members_it_is_the_first_other_host(self) -> None:
        assert gates.choose(Stored(), ("www1", "www2", "www3"), "www1", {}) == "www2"
        assert gates.choose(Stored(), ("www1", "www2"), "www2", {}) == "www1"

    def test_of_those_that_are_there_the_one_that_is_wanted_most(self) -> None:
        hosts = ("www1", "www2", "www3", "www4")
        there = {name: replace(NEVER, host=name) for name in ("www1", "www3", "www4")}
        assert gates.choose(Stored(members=there), hosts, "www1", {}) == "www3"
        assert gates.choose(Stored(members=there), hosts, "www1", {"www3": 50}) == "www4"

    def test_never_oneself(self) -> None:
        stored = Stored(sync=Sync(1, "www2", ("www1",), "strict"))
        assert gates.choose(stored, ("www1",), "www1", {}) == ""


class TestLock:
    """The estate lock."""

    def test_no_lock_and_the_own_lock_refuse_nothing(self) -> None:
        assert gates.lock_refusal(None, "run-1") is None
        assert gates.lock_refusal(LOCK, "run-9") is None

    def test_the_lock_of_another_run_says_who_holds_it_since_when(self) -> None:
        refusal = gates.lock_refusal(LOCK, "run-1")
        assert refusal is not None
        assert refusal.message == "setup run run-9 of anna@desk holds the estate lock since 2026-11-23T05:00:00.000Z."
