# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The planned switchover: its order, its undo, and every way in which it can fail."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from failover_agent.gates import HostFacts
from failover_agent.gtid import Gtid
from failover_agent.model import Database, Lock, Replication, to_json
from failover_agent.peer import PeerError
from failover_agent.switchover import facts_from

from simulator.etcd import Entry
from simulator.world import ETCD, VIP, CrashError, Fault, World

Answer = dict[str, Any]
#: What changes something; a refusal and a check do none of it.
CHANGES = ("sql SET", "sql STOP", "sql START", "sql CHANGE", "sql RESET", "sql KILL", "host.", "etcd.commit")
#: The statements of the critical part, in short.
STORY = {
    "peer /prepare": "prepare",
    "sql SET GLOBAL read_only=1": "fence",
    "peer /catch_up": "catch_up",
    "etcd.commit": "commit",
    "sql SET GLOBAL read_only=0": "writable",
    "peer /cancel": "cancel",
}


@contextlib.contextmanager
def estate(seed: int = 0, hosts: tuple[str, ...] = ("www1", "www2")) -> Iterator[World]:
    """An estate in order whose primary is www1."""
    made = World(hosts, seed=seed)
    made.bootstrap("www1")
    made.operations.clear()
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def fresh(world: World) -> World:
    """The shared fixture with an empty trace."""
    world.operations.clear()
    return world


def term_of(world: World) -> tuple[int, str]:
    """Term and primary as etcd has them."""
    term = world.etcd.stored().term
    assert term is not None
    return term.term, term.primary


def trace(world: World, host: str = "www1") -> list[str]:
    """The landmarks of the story as ``host`` went through them."""
    return [
        word
        for name, operation in world.operations
        for text, word in STORY.items()
        if name == host and operation.startswith(text)
    ]


def outcomes(answer: Answer) -> dict[str, str]:
    """How each step ended."""
    return {step["name"]: step["outcome"] for step in answer["steps"]}


def on(host: str, operation: str, act: Callable[[], object], *, after: int = 0) -> Callable[[str, str], None]:
    """A watcher that acts when ``host`` begins the operation for the first time (or later, by ``after``)."""
    left = [after]

    def watch(name: str, what: str) -> None:
        if name == host and what.startswith(operation) and left[0] >= 0:
            left[0] -= 1
            if left[0] < 0:
                act()

    return watch


class TestSuccess:
    """All goes well."""

    def test_the_answer_tells_everything(self, fresh: World) -> None:
        entry = fresh.write("www1")
        fresh.run(0.2)
        answer = fresh.switchover("www1")
        assert (answer["result"], answer["from"], answer["to"], answer["error"]) == ("switched", "www1", "www2", "")
        assert (answer["term_before"], answer["term_after"]) == (2, 3)
        assert answer["position"] == str(entry)
        assert answer["refusals"] == []
        assert 0 <= answer["critical_ms"] < 500

    def test_the_steps_come_in_this_order(self, fresh: World) -> None:
        answer = fresh.switchover("www1")
        assert set(outcomes(answer).values()) == {"ok"}
        before = ["check", "prepare", "fence", "drain", "position", "catch_up", "commit"]
        assert [step["name"] for step in answer["steps"]][:7] == before
        assert {step["name"] for step in answer["steps"]} == {
            *before,
            "promote",
            "attach",
            "reset_sockets",
            "move_address",
            "end_sessions",
        }
        assert all(step["title"] and step["ms"] >= 0 for step in answer["steps"])

    def test_nobody_writes_between_the_fence_and_the_promotion(self, fresh: World) -> None:
        fresh.switchover("www1")
        assert trace(fresh, "www1")[:4] == ["prepare", "fence", "catch_up", "commit"]
        assert "writable" not in trace(fresh, "www1")
        assert "writable" in trace(fresh, "www2")

    def test_the_estate_is_in_order_at_once_and_stays_so(self, fresh: World) -> None:
        fresh.switchover("www1")
        assert fresh.machines["www2"].server.writable
        fresh.run(3.0)
        assert fresh.unsettled() == ""

    def test_there_and_back_again(self, fresh: World) -> None:
        for round_trip in range(3):
            here = "www1" if round_trip % 2 == 0 else "www2"
            fresh.write(here)
            fresh.run(0.2)
            assert fresh.switchover(here)["result"] == "switched"
            fresh.run(3.0)
            assert fresh.unsettled() == ""
        assert term_of(fresh) == (5, "www2")

    def test_the_sync_set_is_strict_from_the_first_write_on(self, fresh: World) -> None:
        fresh.switchover("www1")
        sync = fresh.etcd.stored().sync
        assert sync is not None
        assert (sync.mode, sync.members) == ("strict", ("www1",))
        assert fresh.machines["www2"].server.semi_sync_primary

    def test_the_address_and_what_follows_it_move(self, fresh: World) -> None:
        assert fresh.vip_holder == "www1"
        fresh.switchover("www1")
        fresh.run(1.5)
        assert fresh.vip_holder == "www2"
        assert fresh.machines["www1"].reset_addresses == [VIP], "clients must not wait on the old address"
        assert [machine.followers for machine in fresh.machines.values()] == [False, True]

    def test_scheduled_events_are_paused_and_come_back(self, fresh: World) -> None:
        server = fresh.machines["www1"].server
        seen = []
        fresh.watchers.append(on("www1", "etcd.commit", lambda: seen.append(server.event_scheduler)))
        fresh.switchover("www1")
        assert seen == ["OFF"]
        assert [each.event_scheduler for each in fresh.servers()] == ["ON", "ON"]

    def test_sessions_that_read_only_does_not_stop_end_before_the_position_is_read(self, fresh: World) -> None:
        server = fresh.machines["www1"].server
        server.privileged_users = {"admin"}
        admin, guest = server.open_session("admin"), server.open_session("guestbook")
        left: list[set[int]] = []
        fresh.watchers.append(on("www1", "etcd.commit", lambda: left.append(set(server.sessions))))
        fresh.switchover("www1")
        assert admin not in left[0]
        assert guest in left[0]
        assert guest not in server.sessions, "the others are sent away after the commit"

    def test_a_named_host_is_taken(self) -> None:
        with estate(hosts=("www1", "www2", "www3")) as world:
            answer = world.switchover("www1", "www3")
            assert (answer["result"], answer["to"]) == ("switched", "www3")
            world.run(5.0)
            assert world.unsettled() == ""

    def test_the_lock_of_the_own_run_is_no_obstacle(self, fresh: World) -> None:
        agent = fresh.agent("www2")
        assert agent.lock_acquire("anna@desk", "run-1", "switchover", 900.0)["acquired"]
        assert fresh.switchover("www1", run_id="run-1")["result"] == "switched"
        lock = fresh.etcd.stored().lock
        assert lock is not None
        assert lock.run_id == "run-1"


class TestRefused:
    """Refusals and checks change nothing at all."""

    @staticmethod
    def codes(answer: Answer) -> list[str]:
        """Why."""
        assert answer["result"] == "refused"
        return [refusal["code"] for refusal in answer["refusals"]]

    @staticmethod
    def untouched(world: World) -> bool:
        """Whether nobody changed anything since the trace was emptied, and writes go on."""
        changed = [each for each in world.operations if each[1].startswith(CHANGES) or each[1] == "peer /prepare"]
        agents = [machine.agent for machine in world.machines.values()]
        prepared = [agent.prepared_for for agent in agents if agent]
        return not changed and not any(prepared) and term_of(world) == (2, "www1")

    def test_a_check_says_possible_and_leaves_no_trace(self, fresh: World) -> None:
        answer = fresh.switchover("www1", check=True)
        assert (answer["result"], answer["from"], answer["to"]) == ("possible", "www1", "www2")
        assert (answer["term_before"], answer["term_after"]) == (2, 2)
        assert self.untouched(fresh)
        assert fresh.write("www1") is not None

    def test_a_check_finds_the_same_reasons(self, fresh: World) -> None:
        fresh.machines["www2"].disk_free_fraction = 0.01
        assert self.codes(fresh.switchover("www1", check=True)) == ["disk_short"]
        assert self.untouched(fresh)

    @pytest.mark.parametrize(
        ("spoil", "code"),
        [
            (lambda world: world.machines["www2"].server.kill(), "candidate_down"),
            (lambda world: world.freeze("www2"), "candidate_unreachable"),
            (lambda world: world.cut("www1", "www2"), "candidate_unreachable"),
            (lambda world: setattr(world.machines["www2"], "keepalived", False), "keepalived_down"),
            (lambda world: setattr(world.machines["www1"], "disk_free_fraction", 0.0), "disk_short"),
            (lambda world: setattr(world.servers()[0], "statements_running", ["ALTER TABLE t"]), "ddl_running"),
            (lambda world: setattr(world.servers()[0], "statements_running", ["BACKUP STAGE END"]), "backup_running"),
            (lambda world: setattr(world.servers()[0], "oldest_transaction_seconds", 60.0), "long_transaction"),
            (lambda world: world.machines["www2"].server.settings.update(log_bin=0), "settings"),
            (lambda world: setattr(world.machines["www2"].server, "sql_running", False), "replication_broken"),
            (lambda world: world.agent("www2").answer_peer("www1", "/prepare", {"run_id": "run-8"}), "candidate_busy"),
        ],
    )
    def test_each_trouble_is_found_where_it_is(self, fresh: World, spoil: Callable[[World], object], code: str) -> None:
        spoil(fresh)
        fresh.operations.clear()
        found = self.codes(fresh.switchover("www1"))
        assert code in found
        assert fresh.machines["www1"].server.writable
        assert term_of(fresh) == (2, "www1")
        assert not [each for each in fresh.operations if each[0] == "www1" and each[1].startswith(CHANGES)]

    def test_a_replica_that_cannot_catch_up_is_lagging(self, fresh: World) -> None:
        fresh.machines["www2"].server.apply_paused = True
        fresh.write("www1")
        fresh.run(0.2)
        assert self.codes(fresh.switchover("www1")) == ["replica_lagging"]

    def test_somebody_wrote_on_the_replica(self, fresh: World) -> None:
        fresh.machines["www2"].server.binlog.append(Gtid(domain=0, sequence=1, server=2))
        assert "errant_gtid" in self.codes(fresh.switchover("www1"))

    def test_lost_quorum(self, fresh: World) -> None:
        fresh.cut("www1", ETCD)
        answer = fresh.switchover("www1")
        assert self.codes(answer) == ["quorum_lost"]
        assert (answer["term_before"], answer["to"]) == (None, None)

    def test_another_run_holds_the_lock(self, fresh: World) -> None:
        lock = Lock("anna@desk", "run-9", "setup", "2026-11-23T05:00:00.000Z")
        fresh.etcd.entries["lock"] = Entry(to_json(lock), fresh.etcd.revision)
        fresh.etcd.revision += 1
        assert self.codes(fresh.switchover("www1")) == ["locked"]
        assert self.untouched(fresh)

    def test_the_primary_itself_and_a_stranger(self, fresh: World) -> None:
        assert self.codes(fresh.switchover("www1", "www1")) == ["already_primary"]
        assert self.codes(fresh.switchover("www1", "www9")) == ["unknown_host"]
        assert self.untouched(fresh)

    def test_on_a_replica_it_is_refused(self, fresh: World) -> None:
        assert "not_leader" in self.codes(fresh.switchover("www2", "www1"))
        assert self.codes(fresh.switchover("www2", "www2")) == ["not_leader"]
        assert self.untouched(fresh)

    def test_the_only_host_has_nobody_to_hand_over_to(self) -> None:
        with estate(hosts=("www1",)) as world:
            assert self.codes(world.switchover("www1")) == ["no_candidate"]

    def test_a_primary_whose_database_is_down(self, fresh: World) -> None:
        fresh.machines["www1"].server.kill()
        assert "primary_not_writable" in self.codes(fresh.switchover("www1"))

    def test_a_degraded_estate(self, fresh: World) -> None:
        fresh.power_off("www2")
        fresh.run(8.0)
        assert self.codes(fresh.switchover("www1")) == ["candidate_unreachable"]
        fresh.power_on("www2")
        for _number in range(20):
            fresh.plan("www1", "peer /position", Fault.FAIL)
        fresh.run(8.0)
        assert self.codes(fresh.switchover("www1")) == ["not_in_sync_set"]


class TestUndone:
    """Trouble before the commit: the old primary serves again, the candidate expects nothing any more."""

    @staticmethod
    def undone(world: World, answer: Answer) -> str:
        """The reason; everything must be as before."""
        assert answer["result"] == "undone"
        assert (answer["term_before"], answer["term_after"]) == (2, 2)
        assert world.machines["www1"].server.writable
        assert not world.machines["www2"].server.writable
        assert term_of(world) == (2, "www1")
        world.run(2.5)
        assert world.unsettled() == ""
        assert world.agent("www2").prepared_for == ""
        assert [server.event_scheduler for server in world.servers()] == ["ON", "ON"]
        assert world.write("www1") is not None
        return str(answer["error"])

    @pytest.mark.parametrize("fault", [Fault.FAIL, Fault.NO_ANSWER])
    @pytest.mark.parametrize(
        ("host", "operation", "step"),
        [
            ("www1", "peer /prepare", "prepare"),
            ("www2", "host.open_gate", "prepare"),
            ("www1", "sql SELECT @@event_scheduler", "prepare"),
            ("www1", "sql SET GLOBAL event_scheduler=OFF", "prepare"),
            ("www1", "sql SET SESSION lock_wait_timeout", "fence"),
            ("www1", "sql SET GLOBAL read_only=1", "fence"),
            ("www1", "sql SELECT id, user FROM", "drain"),
            ("www1", "sql SELECT DISTINCT grantee", "drain"),
            ("www1", "peer /catch_up", "catch_up"),
            ("www1", "peer /approach", "prepare"),
            ("www2", "sql SELECT @@gtid_binlog_pos AS binlog", "prepare"),
        ],
    )
    def test_a_failure_at_every_step_is_undone(
        self, fresh: World, host: str, operation: str, step: str, fault: Fault
    ) -> None:
        # The gates ask some of the same things: only what comes after /prepare counts.
        fresh.watchers.append(on("www1", "peer /prepare", lambda: fresh.plan(host, operation, fault)))
        answer = fresh.switchover("www1")
        assert outcomes(answer)["undo"] == "ok"
        assert outcomes(answer)[step] == "failed"
        assert "commit" not in outcomes(answer)
        assert self.undone(fresh, answer)
        assert "cancel" in trace(fresh, "www1")

    def test_a_candidate_that_falls_behind_in_the_last_moment(self, fresh: World) -> None:
        server = fresh.machines["www2"].server

        def stall() -> None:
            server.apply_paused = True
            fresh.write("www1")

        fresh.watchers.append(on("www1", "sql SET SESSION lock_wait_timeout", stall))
        fresh.watchers.append(on("www1", "peer /cancel", lambda: setattr(server, "apply_paused", False)))
        assert "did not reach 0-1-1 within 3 s" in self.undone(fresh, fresh.switchover("www1"))

    def test_a_candidate_that_falls_behind_before_the_fence_costs_no_write(self, fresh: World) -> None:
        server = fresh.machines["www2"].server

        def stall() -> None:
            server.apply_paused = True
            fresh.write("www1")

        fresh.watchers.append(on("www1", "peer /prepare", stall))
        fresh.watchers.append(on("www1", "peer /cancel", lambda: setattr(server, "apply_paused", False)))
        answer = fresh.switchover("www1")
        assert "fence" not in outcomes(answer)
        assert "did not reach 0-1-1 within 2 s" in self.undone(fresh, answer)

    def test_writes_that_nobody_acknowledges_block_the_fence(self, fresh: World) -> None:
        """The replica leaves after the check: read_only=1 would wait for ever behind the waiting commit."""

        def leave() -> None:
            fresh.machines["www2"].server.io_started = False
            fresh.machines["www2"].server.advance()
            fresh.write("www1")

        fresh.watchers.append(on("www1", "sql SET SESSION lock_wait_timeout", leave))
        answer = fresh.switchover("www1")
        assert answer["result"] == "undone"
        assert outcomes(answer)["fence"] == "failed"
        assert fresh.come_to_rest() == ""
        assert term_of(fresh) == (2, "www1")

    def test_the_estate_changes_meanwhile(self, fresh: World) -> None:
        """The sync set shrinks between the check and the commit: the candidate may lack something now."""

        def change() -> None:
            entry = fresh.etcd.entries["sync"]
            fresh.etcd.revision += 1
            fresh.etcd.entries["sync"] = Entry(entry.text, fresh.etcd.revision)

        fresh.watchers.append(on("www1", "peer /catch_up", change))
        assert self.undone(fresh, fresh.switchover("www1")) == "the estate changed meanwhile"

    def test_the_candidate_loses_its_lease(self, fresh: World) -> None:
        lease = fresh.agent("www2").lease.id
        fresh.watchers.append(on("www1", "etcd.commit", lambda: fresh.etcd.revoke(lease)))
        assert "requested lease not found" in self.undone(fresh, fresh.switchover("www1"))

    def test_the_undo_that_fails_is_finished_by_the_rules(self, fresh: World) -> None:
        fresh.plan("www1", "peer /catch_up", Fault.FAIL)
        fresh.plan("www1", "sql SET GLOBAL read_only=0", Fault.FAIL)
        answer = fresh.switchover("www1")
        assert answer["result"] == "undone"
        assert "the undo failed, the agent goes on trying" in answer["error"]
        assert not fresh.machines["www1"].server.writable
        fresh.run(1.2)
        assert fresh.machines["www1"].server.writable

    def test_a_database_that_goes_away_right_after_the_check(
        self, fresh: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        kills = iter([fresh.machines["www1"].server.kill])

        def kill() -> float:
            for strike in kills:
                strike()
            return 0.5

        monkeypatch.setattr(fresh.agent("www1").host, "disk_free_fraction", kill)
        answer = fresh.switchover("www1")
        assert answer["result"] == "undone"
        assert "cannot connect" in answer["error"]
        assert not trace(fresh)
        assert fresh.come_to_rest() == ""

    def test_after_a_pause_nothing_is_undone_under_another_lease(self, fresh: World) -> None:
        """The agent stood still between fence and commit until its lease was gone: somebody else may lead by now."""
        fresh.plan("www1", "etcd.commit", Fault.STALL)
        answer = fresh.switchover("www1")
        assert answer["result"] == "undone"
        assert "the lease was lost" in answer["error"]
        assert "writable" not in trace(fresh, "www1")
        assert fresh.come_to_rest() == ""


class TestAmbiguousCommit:
    """The answer of the commit is lost."""

    def test_it_took_place(self, fresh: World) -> None:
        fresh.plan("www1", "etcd.commit", Fault.NO_ANSWER)
        answer = fresh.switchover("www1")
        assert (answer["result"], answer["term_after"]) == ("switched", 3)
        assert "writable" not in trace(fresh, "www1")

    def test_it_did_not(self, fresh: World) -> None:
        fresh.plan("www1", "etcd.commit", Fault.FAIL)
        answer = fresh.switchover("www1")
        assert (answer["result"], answer["term_after"]) == ("undone", 2)
        assert answer["error"] == "etcd.commit: injected"
        assert outcomes(answer)["undo"] == "ok"
        assert fresh.machines["www1"].server.writable

    def test_it_is_still_on_its_way(self, fresh: World) -> None:
        """etcd gets it after this host has read that it did not take place: it must not take place any more."""
        fresh.plan("www1", "etcd.commit", Fault.LATE)
        answer = fresh.switchover("www1")
        assert answer["result"] == "undone"
        assert fresh.machines["www1"].server.writable
        fresh.run(8.0)
        assert term_of(fresh) == (2, "www1")
        assert fresh.unsettled() == ""

    def test_the_reading_fails_for_a_while(self, fresh: World) -> None:
        fresh.plan("www1", "etcd.commit", Fault.NO_ANSWER)

        def fail() -> None:
            for _number in range(3):
                fresh.plan("www1", "etcd.read", Fault.FAIL)

        fresh.watchers.append(on("www1", "etcd.commit", fail))
        assert fresh.switchover("www1")["result"] == "switched"

    @pytest.mark.parametrize(("fault", "reason"), [(Fault.NO_ANSWER, "switchover"), (Fault.FAIL, "failover")])
    def test_etcd_is_silent_until_the_lease_ends(self, fresh: World, fault: Fault, reason: str) -> None:
        """Nobody knows: the old primary stays fenced and is killed by its guard, and the rules decide later."""
        fresh.plan("www1", "etcd.commit", fault)
        began = []

        def fall_silent() -> None:
            fresh.watchers.append(on("www1", "etcd.read", lambda: fresh.cut("www1", ETCD)))
            began.append(fresh.now)

        fresh.watchers.append(on("www1", "etcd.commit", fall_silent))
        answer = fresh.switchover("www1")
        assert answer["result"] == "failed"
        assert "the outcome of the commit is not known" in answer["error"]
        assert "undo" not in outcomes(answer)
        assert "writable" not in trace(fresh, "www1")
        assert not fresh.machines["www1"].server.running
        assert fresh.now - began[0] < fresh.policy.lease_ttl + 3.0
        assert fresh.come_to_rest() == ""
        assert term_of(fresh)[1] == "www2"
        assert reason in [term.reason for term in fresh.etcd.stored().history]


class TestAfterTheCommit:
    """Past the commit there is only forward."""

    @pytest.mark.parametrize(
        ("host", "operation", "step"),
        [
            ("www1", "peer /promote", "promote"),
            ("www2", "etcd.read", "promote"),
            ("www2", "sql STOP SLAVE", "promote"),
            ("www2", "sql SET GLOBAL read_only=0", "promote"),
            ("www1", "sql STOP SLAVE", "attach"),
            ("www1", "sql CHANGE MASTER", "attach"),
            ("www1", "sql START SLAVE", "attach"),
            ("www1", "host.close_gate", "move_address"),
            ("www1", "host.kill_sockets", "reset_sockets"),
        ],
    )
    @pytest.mark.parametrize("fault", [Fault.FAIL, Fault.NO_ANSWER])
    def test_a_failure_is_told_and_never_undone(
        self, fresh: World, host: str, operation: str, step: str, fault: Fault
    ) -> None:
        fresh.watchers.append(on("www1", "etcd.commit", lambda: fresh.plan(host, operation, fault)))
        answer = fresh.switchover("www1")
        assert answer["result"] == "failed"
        assert "injected" in answer["error"] or "lost" in answer["error"]
        assert outcomes(answer)[step] == "failed"
        assert (answer["term_before"], answer["term_after"]) == (2, 3)
        assert "undo" not in outcomes(answer)
        assert "writable" not in trace(fresh, "www1")
        assert term_of(fresh) == (3, "www2")
        fresh.run(2.5)
        assert fresh.machines["www2"].server.writable, "the rules finish what the switchover began"
        assert fresh.come_to_rest() == ""

    def test_a_keepalived_that_clings_to_the_address_is_told(self, fresh: World) -> None:
        fresh.watchers.append(on("www1", "etcd.commit", lambda: setattr(fresh, "_move_address", lambda: None)))
        answer = fresh.switchover("www1")
        assert answer["result"] == "failed"
        assert "keepalived did not release 198.51.100.10 within 1 s" in answer["error"]
        assert fresh.machines["www2"].server.writable

    def test_the_outcome_is_known_without_etcd_too(self, fresh: World) -> None:
        fresh.watchers.append(on("www1", "sql SELECT id, user", lambda: fresh.cut("www1", ETCD), after=1))
        answer = fresh.switchover("www1")
        assert (answer["result"], answer["term_after"], answer["to"]) == ("switched", 3, "www2")


class TestDeath:
    """The agent of the old primary dies in the middle."""

    def test_at_any_operation_the_estate_ends_with_one_primary(self) -> None:
        with estate() as world:
            world.switchover("www1")
            mine = [operation for host, operation in world.operations if host == "www1"]
        commit = mine.index("etcd.commit")
        for number in range(len(mine)):
            for fault in (Fault.CRASH_BEFORE, Fault.CRASH_AFTER):
                with estate() as world:
                    world.plan("www1", "", fault, skip=number)
                    with contextlib.suppress(CrashError):
                        world.switchover("www1")
                    world.run(3.0)
                    assert sum(server.writable for server in world.servers()) == 1, "within three seconds"
                    assert world.come_to_rest() == ""
                    done = number > commit or (number == commit and fault is Fault.CRASH_AFTER)
                    assert term_of(world)[1] == ("www2" if done else "www1")

    def test_the_candidates_agent_dies_when_it_should_promote(self, fresh: World) -> None:
        fresh.plan("www2", "sql SET GLOBAL read_only=0", Fault.CRASH_BEFORE)
        assert fresh.switchover("www1")["result"] == "failed"
        assert fresh.come_to_rest() == ""
        assert term_of(fresh)[1] == "www2"


class TestFacts:
    """What one agent tells another about its side."""

    FACTS = HostFacts(
        host="www2",
        database=Database(
            running=True,
            attached=("www1",),
            caught_up=("www1",),
            replication=Replication("198.51.100.11", True, False, True, True, "0-1-5", 0),
        ),
        settings=(("log_bin", "1"),),
    )

    def test_it_survives_the_way(self, world: World) -> None:
        told = world.agent("www2").facts("", "run-1")
        assert told.host == "www2"
        for facts in (told, self.FACTS, HostFacts("www3")):
            assert facts_from(json.loads(json.dumps(dataclasses.asdict(facts)))) == facts

    @pytest.mark.parametrize("raw", [{}, {"database": None}, {"database": {"running": True}}, {"weather": "good"}])
    def test_what_is_not_understood_is_an_error(self, raw: dict[str, Any]) -> None:
        with pytest.raises(PeerError, match="not understood"):
            facts_from(raw)
