# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""One agent: how it looks, acts, guards its lease, answers its peers and carries out commands."""

from __future__ import annotations

import itertools
import logging
import os
import threading
import time
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from failover_agent import agent as agent_module
from failover_agent.agent import CommandError
from failover_agent.etcd import EtcdError, Put
from failover_agent.host import HostError
from failover_agent.peer import PeerError
from failover_agent.policy import Policy
from failover_agent.seed import SeedError

from simulator.etcd import Entry
from simulator.kernel import SimTime
from simulator.world import ETCD, CrashError, Fault, SimPeer, World

from .test_seed import MARIADB_BACKUP, MBSTREAM
from .test_switchover import on


def commits(world: World, host: str) -> int:
    """How often ``host`` wrote to etcd."""
    return world.operations.count((host, "etcd.commit"))


def refused(code: str, call: Callable[[], object]) -> str:
    """The text of a refusal with this code."""
    with pytest.raises(CommandError) as caught:
        call()
    assert caught.value.code == code
    return str(caught.value)


class TestLoop:
    """Looking, deciding, acting."""

    def test_a_settled_estate_is_left_alone(self, world: World) -> None:
        world.operations.clear()
        world.run(10.0)
        reads = ("sql SELECT", "sql SHOW", "etcd.read", "etcd.renew")
        assert [each for each in world.operations if not each[1].startswith(reads)] == []

    def test_what_cannot_be_applied_is_tried_again_less_and_less_often(self, world: World) -> None:
        machine = world.machines["www2"]
        machine.server.sql_running, machine.server.sql_error = False, (1114, "The table 'writes' is full")
        for _number in range(5):
            world.plan("www2", "sql START SLAVE SQL_THREAD", Fault.FAIL)
        world.operations.clear()
        tried: list[float] = []
        began = world.kernel.now
        while len(tried) < 6:
            world.run(0.5)
            tried += [world.kernel.now - began] * (
                world.operations.count(("www2", "sql START SLAVE SQL_THREAD")) - len(tried)
            )
        pauses = [later - earlier for earlier, later in itertools.pairwise(tried)]
        assert pauses == pytest.approx([10.0, 20.0, 30.0, 30.0, 30.0], abs=1.6)
        world.run(2.0)
        assert machine.server.sql_running
        assert world.agent("www2").status()["problems"] == []

    def test_a_failed_act_ends_the_round_and_is_told(self, world: World) -> None:
        world.machines["www2"].server.io_started = world.machines["www2"].server.sql_running = False
        for _number in range(3):
            world.plan("www2", "sql CHANGE MASTER", Fault.FAIL)
        world.run(1.2)
        problems = world.agent("www2").status()["problems"]
        assert [problem["code"] for problem in problems] == ["Attach"]
        assert "injected" in problems[0]["message"]
        world.run(4.0)
        assert world.unsettled() == ""

    def test_what_holds_a_host_is_told(self, world: World) -> None:
        world.cut("www1", ETCD)
        world.run(2.0)
        (problem,) = world.agent("www1").status()["problems"]
        assert problem["code"] == "hold"
        assert "etcd gave no answer" in problem["message"]

    def test_the_log_repeats_nothing(self, world: World, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO, "failover-agent")
        world.agent("www2").pause("anna", "a look at the log", 600.0)
        world.machines["www2"].server.io_started = False
        world.machines["www2"].server.io_error = "Got fatal error 1236"
        world.run(6.0)
        assert sum("Got fatal error 1236" in message for message in caplog.messages) == 1

    def test_members_are_published_on_change_only(self, world: World) -> None:
        before = commits(world, "www2")
        world.run(5.0)
        assert commits(world, "www2") == before
        world.machines["www2"].server.sql_running = False
        world.machines["www2"].server.sql_error = (1062, "Duplicate entry")
        world.plan("www2", "sql START SLAVE SQL_THREAD", Fault.FAIL)
        world.run(1.5)
        assert not world.etcd.stored().members["www2"].sql_running

    def test_a_member_whose_key_was_lost_is_published_again(self, world: World) -> None:
        world.etcd.revision += 1
        del world.etcd.entries["members/www2"]
        world.run(1.5)
        assert "www2" in world.etcd.stored().members

    def test_a_member_whose_earlier_word_was_late_says_it_again(self, world: World) -> None:
        entry = world.etcd.entries["members/www2"]
        late = entry.text.replace('"forked":false', '"forked":true')
        assert late != entry.text
        world.etcd.commit({}, [Put("members/www2", late, lease=entry.lease)])
        world.run(1.5)
        assert not world.etcd.stored().members["www2"].forked

    def test_a_restarted_agent_goes_on_where_it_was(self, world: World) -> None:
        lease = world.agent("www1").lease.id
        world.agent_died(world.machines["www1"])
        world.run(2.5)
        assert world.agent("www1").lease.id == lease
        term = world.etcd.stored().term
        assert term is not None
        assert term.term == 2, "no new term for a restart"
        assert world.unsettled() == ""


class TestFollowers:
    """Units that run on the primary only."""

    def followers(self, world: World) -> list[str]:
        """Where they run."""
        return [machine.name for machine in world.machines.values() if machine.followers]

    def test_they_run_on_the_primary_also_after_a_switchover(self, world: World) -> None:
        assert self.followers(world) == ["www1"]
        world.switchover("www1")
        world.run(1.5)
        assert self.followers(world) == ["www2"]

    def test_a_start_that_failed_is_tried_again(self, world: World) -> None:
        world.plan("www2", "host.start_followers", Fault.FAIL)
        world.switchover("www1")
        world.run(2.5)
        assert self.followers(world) == ["www2"]

    def test_a_restarted_agent_looks_after_them(self, world: World) -> None:
        world.agent_died(world.machines["www1"])
        world.machines["www1"].followers = False
        world.run(2.5)
        assert self.followers(world) == ["www1"]

    def test_a_fence_stops_them(self, world: World) -> None:
        world.cut("www1", ETCD)
        world.run(4.0)
        assert self.followers(world) == []


class TestGuard:
    """The lease is about to end."""

    def test_it_fences_in_time_and_only_then(self, world: World) -> None:
        world.cut("www1", ETCD)
        until = world.agent("www1").lease.valid_until
        while not world.machines["www1"].fenced:
            world.run(0.05)
            assert world.agent("www1").host.now() < until
        assert world.agent("www1").host.now() >= until - world.policy.fence_margin
        assert not world.machines["www1"].server.running
        world.run(0.05)  # The gate is closed next, which takes a moment as well.
        assert not world.machines["www1"].gate

    def test_a_replica_has_nothing_to_fence(self, world: World) -> None:
        world.cut("www2", ETCD)
        world.run(10.0)
        assert not world.machines["www2"].fenced
        assert world.machines["www2"].server.running

    def test_a_fence_that_failed_is_tried_in_the_next_round(self, world: World) -> None:
        for _number in range(2):
            world.plan("www1", "host.fence", Fault.FAIL)
        world.cut("www1", ETCD)
        world.run(5.2)
        assert world.machines["www1"].fenced

    def test_it_waits_for_nobody(self, world: World) -> None:
        """An act may be stuck in a statement for ever."""
        agent = world.agent("www1")
        world.cut("www1", ETCD)
        world.now = world.now + 20.0
        with agent.act:
            thread = threading.Thread(target=agent.guard)
            thread.start()
            thread.join(20.0)
            assert not thread.is_alive()
        assert world.machines["www1"].fenced

    def test_waiting_writes_are_neither_acknowledged_nor_lost_track_of(self) -> None:
        """Cut off with clients waiting: nothing is acknowledged, and what was in doubt is kept as the term is ours."""
        world = World(policy=Policy(failovers_per_hour=0))
        world.bootstrap("www1")
        world.cut("www1", "www2")
        world.cut("www1", ETCD)
        entry = world.write("www1")
        world.run(8.0)
        assert entry not in world.acknowledged
        assert world.machines["www1"].fenced
        assert world.come_to_rest() == ""
        assert all(entry in server.binlog for server in world.servers())
        world.close()

    def test_a_demoted_primary_discards_what_nobody_acknowledged(self, world: World) -> None:
        """The same, but another host was elected meanwhile."""
        world.cut("www1", "www2")
        world.cut("www1", ETCD)
        entry = world.write("www1")
        world.run(8.0)
        term = world.etcd.stored().term
        assert term is not None
        assert (term.primary, term.reason) == ("www2", "failover")
        assert world.come_to_rest() == ""
        assert not any(entry in server.binlog for server in world.servers())


class TestReplicasThatComeAndGo:
    """Each going holds writes up, so that a replica has to be well for longer each time."""

    def test_are_forgiven_when_a_person_has_looked(self, world: World) -> None:
        def mode() -> str:
            sync = world.etcd.stored().sync
            return sync.mode if sync else ""

        for wait in (5.0, 12.0, 22.0, 5.0):
            assert mode() == "strict"
            world.cut("www1", "www2")
            world.run(5.0)
            assert mode() == "degraded"
            world.heal()
            world.run(wait)
        assert mode() == "degraded"
        world.agent("www1").resume("anna")
        world.run(5.0)
        assert mode() == "strict"


class TestSilentConnections:
    """To look for them costs the kernel a walk through all of its table."""

    def test_are_looked_for_at_every_look_unless_all_replicas_are_well(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        looks: list[float] = []
        host = world.agent("www1").host
        reset = host.reset_silent

        def look(limit: float) -> frozenset[str]:
            looks.append(world.now)
            return reset(limit)

        monkeypatch.setattr(host, "reset_silent", look)
        world.run(20.0)
        assert len(looks) in (4, 5)
        world.cut("www1", "www2")
        world.write("www1")
        world.run(10.0)
        assert len(looks) >= 10


class TestPromotion:
    """Becoming writable."""

    def test_not_with_a_lease_that_is_about_to_end(self, world: World) -> None:
        agent = world.agent("www1")
        world.machines["www1"].server.read_only = True
        world.cut("www1", ETCD)
        world.now = world.now + 4.6
        with pytest.raises(EtcdError, match="not becoming writable"):
            agent.promote(2, wait_for_replica=True)
        assert not world.machines["www1"].server.writable

    def test_the_guard_watches_from_the_first_moment(self, world: World) -> None:
        agent = world.agent("www1")
        agent.may_be_writable = False
        seen = []
        world.watchers.append(on("www1", "sql SET GLOBAL read_only=0", lambda: seen.append(agent.may_be_writable)))
        agent.promote(2, wait_for_replica=True)
        assert seen == [True]

    def test_a_promotion_needs_the_recorded_position(self, world: World) -> None:
        """The term names a position that this host does not have: it does not become writable without it."""
        server = world.machines["www1"].server
        entry, revision = world.etcd.entries["term"], world.etcd.revision + 1
        world.etcd.revision = revision
        world.etcd.entries["term"] = Entry(entry.text.replace('"gtid":""', '"gtid":"0-2-99"'), revision)
        server.read_only = True
        world.run(6.0)
        assert not server.writable
        (problem,) = world.agent("www1").status()["problems"]
        assert "0-2-99 was not applied within 3 s" in problem["message"]


class TestSyncSet:
    """Who is waited for."""

    def test_a_lost_replica_leaves_first_the_record_then_the_waiting(self, world: World) -> None:
        world.power_off("www2")
        world.write("www1")
        story: list[str] = []
        world.watchers.append(on("www1", "etcd.commit", lambda: story.append("record")))
        world.watchers.append(on("www1", "sql SET GLOBAL rpl_semi_sync", lambda: story.append("stop waiting")))
        world.run(8.0)
        assert story == ["record", "stop waiting"]
        sync = world.etcd.stored().sync
        assert sync is not None
        assert (sync.mode, sync.members) == ("degraded", ())
        assert world.machines["www1"].server.waiting == []

    def test_a_returned_replica_is_waited_for_before_it_is_recorded(self, world: World) -> None:
        world.power_off("www2")
        world.run(8.0)
        story: list[str] = []
        world.watchers.append(on("www1", "sql SET GLOBAL rpl_semi_sync", lambda: story.append("wait")))
        world.watchers.append(on("www1", "etcd.commit", lambda: story.append("record")))
        world.power_on("www2")
        world.run(12.0)
        assert story == ["wait", "record"]
        assert world.unsettled() == ""

    def test_a_record_that_arrives_late_cannot_undo_a_later_one(self) -> None:
        """The set was to grow; the answer was lost, the replica left, the primary stopped waiting and wrote alone.

        The growth, still on its way, must not arrive then: the replica lacks acknowledged writes.
        """
        world = World(policy=Policy(replica_loss=0.5))
        world.bootstrap("www1")
        world.power_off("www2")
        world.run(6.0)

        def lose_answer() -> None:
            world.plan("www1", "etcd.commit", Fault.LATE)
            world.watchers.append(on("www1", "etcd.commit", lambda: world.cut("www1", "www2")))

        world.watchers.append(on("www1", "peer /position", lose_answer))
        world.power_on("www2")
        while not world.cuts:
            world.run(0.05)
        for _number in range(80):
            world.run(0.1)
            world.write("www1")
        sync = world.etcd.stored().sync
        assert sync is not None
        assert sync.mode == "degraded"
        assert world.acknowledged, "the primary wrote alone"
        assert world.come_to_rest() == ""
        world.close()

    def test_a_replica_whose_database_hangs_is_not_asked_before_writes_go_on(self, world: World) -> None:
        """Its agent cannot answer before its time is up, and the writes would wait for that, too."""
        server = world.machines["www1"].server
        world.machines["www2"].server.freeze()
        recorded = 0.0
        while server.semi_sync_primary:
            world.run(0.05)
            world.write("www1")
            sync = world.etcd.stored().sync
            assert sync is not None
            if sync.mode == "degraded":
                recorded = recorded or world.kernel.now
        assert world.kernel.now - recorded < 0.3


class TestEvents:
    """The event scheduler is paused for the switchover."""

    def test_it_comes_back_after_a_crash_in_between(self, world: World) -> None:
        server = world.machines["www1"].server
        world.plan("www1", "peer /catch_up", Fault.CRASH_BEFORE)
        with pytest.raises(CrashError):
            world.switchover("www1")
        assert server.event_scheduler == "OFF"
        world.run(4.0)
        assert server.event_scheduler == "ON"

    def test_one_that_was_off_stays_off(self, world: World) -> None:
        server = world.machines["www1"].server
        server.event_scheduler = "OFF"
        world.agent("www1").pause_events()
        world.agent("www1").restore_events()
        assert server.event_scheduler == "OFF"


class TestPeers:
    """What other agents may ask."""

    def test_position(self, world: World) -> None:
        world.write("www1")
        world.run(0.5)
        answer = {
            "gtid_io_pos": "0-1-1",
            "gtid_binlog_pos": "0-1-1",
            "applied": "0-1-1",
            "read_only": True,
            "disk_free_fraction": 0.5,
        }
        assert world.agent("www2").answer_peer("www1", "/position", None) == answer
        assert world.agent("www1").answer_peer("www2", "/position", None)["gtid_io_pos"] == ""

    def test_a_call_of_another_version(self, world: World) -> None:
        with pytest.raises(PeerError, match="/dance is no call of this agent"):
            world.agent("www2").answer_peer("www1", "/dance", {})

    @pytest.mark.parametrize("path", ["/catch_up", "/promote"])
    def test_nothing_without_preparation(self, world: World, path: str) -> None:
        body = {"run_id": "run-1", "position": "", "limit": 1.0, "term": 3}
        with pytest.raises(PeerError, match="not prepared for run-1"):
            world.agent("www2").answer_peer("www1", path, body)

    def test_no_promotion_without_the_leader_key(self, world: World) -> None:
        agent = world.agent("www2")
        agent.answer_peer("www1", "/prepare", {"run_id": "run-1"})
        with pytest.raises(PeerError, match="term 3 does not name www2"):
            agent.answer_peer("www1", "/promote", {"run_id": "run-1", "term": 3})
        assert not world.machines["www2"].server.writable

    def test_no_promotion_under_a_leader_key_that_hangs_on_another_lease(self, world: World) -> None:
        """The key was handed to a lease that this host has lost meanwhile: it will vanish, and is not ours."""
        agent = world.agent("www2")
        agent.answer_peer("www1", "/prepare", {"run_id": "run-1"})
        lost = world.etcd.grant(6.0)
        world.machines["www1"].server.read_only = True
        revision = world.etcd.revision = world.etcd.revision + 1
        world.etcd.entries["term"] = Entry('{"at":"","gtid":"","primary":"www2","term":3}', revision)
        world.etcd.entries["leader"] = Entry('{"holder":"www2","term":3}', revision, lost)
        with pytest.raises(PeerError, match="term 3 does not name www2"):
            agent.answer_peer("www1", "/promote", {"run_id": "run-1", "term": 3})
        assert not world.machines["www2"].server.writable

    def test_a_preparation_ends_by_itself(self, world: World) -> None:
        agent = world.agent("www2")
        agent.answer_peer("www1", "/prepare", {"run_id": "run-1"})
        assert world.machines["www2"].gate
        world.run(5.0)
        assert agent.facts("", "run-2").busy == "prepared for switchover run-1"
        assert agent.facts("", "run-1").busy == ""
        world.run(7.0)
        assert not world.machines["www2"].gate
        assert agent.facts("", "run-2").busy == ""

    def test_only_the_run_that_prepared_can_cancel(self, world: World) -> None:
        agent = world.agent("www2")
        agent.answer_peer("www1", "/prepare", {"run_id": "run-1"})
        agent.answer_peer("www1", "/cancel", {"run_id": "run-2"})
        assert agent.prepared_for == "run-1"
        agent.answer_peer("www1", "/cancel", {"run_id": "run-1"})
        world.run(0.3)
        assert not world.machines["www2"].gate

    def test_trouble_of_the_database_is_an_answer(self, world: World) -> None:
        world.machines["www2"].server.kill()
        with pytest.raises(PeerError, match="cannot connect"):
            world.agent("www2").answer_peer("www1", "/position", None)
        facts = world.agent("www2").facts("0-1-1", "run-1")
        assert (facts.database.running, facts.reachable) == (False, True)

    def test_only_the_primary_is_copied(self, world: World) -> None:
        with pytest.raises(PeerError, match="www2 is replica, not primary"):
            next(world.agent("www2").stream_to_peer("www1", "/stream/seed"))
        with pytest.raises(PeerError, match="no stream of this agent"):
            next(world.agent("www1").stream_to_peer("www2", "/stream/films"))


class TestBootstrap:
    """The first term."""

    @pytest.fixture
    def bare(self) -> Iterator[World]:
        """An estate without a term."""
        made = World()
        for name in made.machines:
            made.start_agent(name)
        yield made
        made.close()

    def test_once_in_the_life_of_an_estate(self, bare: World) -> None:
        assert bare.agent("www2").bootstrap("www1") == {"changed": True, "primary": "www1", "term": 1}
        assert bare.agent("www1").bootstrap("www2") == {"changed": False, "primary": "www1", "term": 1}
        sync = bare.etcd.stored().sync
        assert sync is not None
        assert (sync.term, sync.primary, sync.mode) == (1, "www1", "degraded")

    def test_two_at_once(self, bare: World) -> None:
        """Both read that there is none; etcd takes one."""
        bare.watchers.append(on("www2", "etcd.commit", lambda: bare.agent("www1").bootstrap("www1")))
        assert bare.agent("www2").bootstrap("www2") == {"changed": False, "primary": "www1", "term": 1}

    def test_a_stranger(self, bare: World) -> None:
        text = refused("unknown_host", lambda: bare.agent("www1").bootstrap("www9"))
        assert text == "www9 is no database host of this estate: www1, www2"

    def test_without_etcd(self, bare: World) -> None:
        bare.etcd.available = False
        refused("quorum_lost", lambda: bare.agent("www1").bootstrap("www1"))

    def test_before_it_nobody_does_anything(self, bare: World) -> None:
        bare.run(5.0)
        assert not any(server.running for server in bare.servers())
        (problem,) = bare.agent("www1").status()["problems"]
        assert "not bootstrapped" in problem["message"]

    def test_only_the_named_host_may_adopt_its_data(self, bare: World) -> None:
        refused("not_primary", bare.agent("www1").adopt)
        bare.agent("www1").bootstrap("www1")
        bare.run(1.5)
        refused("not_primary", bare.agent("www2").adopt)
        assert bare.agent("www1").adopt() == {"changed": True}
        assert bare.agent("www1").adopt() == {"changed": False}
        bare.run(5.0)
        assert bare.machines["www1"].server.writable

    def test_a_database_that_runs_already_is_started_again_by_the_agent(self, bare: World) -> None:
        bare.machines["www1"].server.start(keep_in_doubt=False)
        bare.agent("www1").bootstrap("www1")
        bare.run(2.5)
        assert bare.agent("www1").adopt() == {"changed": True}
        assert ("www1", "host.stop_database") in bare.operations
        bare.run(5.0)
        assert ("www1", "host.start_database") in bare.operations
        assert bare.machines["www1"].server.writable


class TestLock:
    """One runbook at a time."""

    def take(self, world: World, host: str, run_id: str) -> dict[str, Any]:
        """What the agent answers."""
        return world.agent(host).lock_acquire("anna@desk", run_id, "setup", 30.0)

    def test_it_is_taken_once_and_seen_by_all(self, world: World) -> None:
        assert self.take(world, "www1", "run-1")["acquired"]
        answer = self.take(world, "www2", "run-2")
        assert (answer["acquired"], answer["lock"]["run_id"], answer["lock"]["owner"]) == (False, "run-1", "anna@desk")
        assert world.agent("www2").status()["lock"]["runbook"] == "setup"

    def test_the_same_run_refreshes_it_on_any_host(self, world: World) -> None:
        first = self.take(world, "www1", "run-1")["lock"]
        world.run(20.0)
        second = self.take(world, "www2", "run-1")
        assert (second["acquired"], second["lock"]) == (True, first), "the time it was taken stays"
        world.run(20.0)
        assert world.etcd.stored().lock is not None

    def test_it_ends_by_itself(self, world: World) -> None:
        self.take(world, "www1", "run-1")
        world.run(31.0)
        assert world.etcd.stored().lock is None
        assert self.take(world, "www1", "run-2")["acquired"]

    def test_the_same_run_on_another_host_comes_first(self, world: World) -> None:
        world.watchers.append(on("www1", "etcd.commit", lambda: self.take(world, "www2", "run-1")))
        assert self.take(world, "www1", "run-1")["acquired"]

    def test_another_run_comes_first(self, world: World) -> None:
        world.watchers.append(on("www1", "etcd.commit", lambda: self.take(world, "www2", "run-2")))
        answer = self.take(world, "www1", "run-1")
        assert (answer["acquired"], answer["lock"]["run_id"]) == (False, "run-2")

    def test_another_run_comes_first_and_goes_again(self, world: World) -> None:
        def flicker() -> None:
            self.take(world, "www2", "run-2")
            world.agent("www2").lock_release("run-2", force=False)
            self.take(world, "www2", "run-3")
            world.agent("www2").lock_release("run-3", force=False)

        world.watchers.append(on("www1", "etcd.commit", flicker))
        assert self.take(world, "www1", "run-1")["acquired"]

    def test_only_its_run_gives_it_back_or_force(self, world: World) -> None:
        self.take(world, "www1", "run-1")
        agent = world.agent("www2")
        assert agent.lock_release("run-2", force=False)["released"] is False
        assert world.etcd.stored().lock is not None
        assert agent.lock_release("run-2", force=True)["released"] is True
        assert agent.lock_release("run-1", force=False) == {"released": False, "lock": None}

    def test_without_etcd(self, world: World) -> None:
        world.etcd.available = False
        refused("quorum_lost", lambda: self.take(world, "www1", "run-1"))
        refused("quorum_lost", lambda: world.agent("www1").lock_release("run-1", force=True))


@pytest.mark.skipif(os.geteuid() != 0, reason="the copy gets the owner of the old directory")
class TestSeed:
    """The first copy of a replica."""

    @pytest.fixture
    def estate(self, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> World:
        """www2 has never been seeded; its stopped database is Debian's fresh install."""
        programs, source = tmp_path / "bin", tmp_path / "primary"
        programs.mkdir()
        source.mkdir()
        for name, text in (("mbstream", MBSTREAM), ("mariadb-backup", MARIADB_BACKUP)):
            (programs / name).write_text(text, encoding="utf-8")
            (programs / name).chmod(0o755)
        monkeypatch.setenv("PATH", str(programs), prepend=os.pathsep)
        monkeypatch.setenv("CALLS", str(tmp_path / "calls"))
        monkeypatch.setenv("COPY_FROM", str(source))
        (source / "ibdata1").write_text("copy", encoding="utf-8")
        (source / "mariadb_backup_binlog_info").write_text("failover-bin.000001\t361\t0-1-2\n", encoding="utf-8")

        def stream(peer: SimPeer, path: str) -> Iterator[bytes]:
            yield from world.agent(peer.host).stream_to_peer("www2", path)
            world.machines["www2"].server.copy_of(world.machines[peer.host].server)

        monkeypatch.setattr(SimPeer, "stream", stream)
        clock = types.SimpleNamespace(**{name: getattr(time, name) for name in ("time", "strftime", "gmtime")})
        simulated = SimTime(world.kernel)
        clock.sleep, clock.monotonic = simulated.sleep, simulated.monotonic
        monkeypatch.setattr(agent_module, "time", clock)
        for _number in range(2):
            world.write("www1")
        world.run(1.0)
        machine = world.machines["www2"]
        machine.server.kill()
        machine.server.binlog, machine.server.slave_pos, machine.server.source = [], "", None
        world.acknowledged.clear()  # Losing this copy breaks a promise, but not the agent's.
        (Path(machine.config.state_directory) / "database.json").unlink()
        world.run(5.0)
        assert world.agent("www2").status()["role"] == "unseeded"
        return world

    def test_a_copy_is_made_and_the_replica_joins(self, estate: World) -> None:
        answer = estate.agent("www2").seed(discard=False)
        assert answer == {"changed": True, "from": "www1", "position": "0-1-2"}
        server = estate.machines["www2"].server
        assert (server.slave_pos, [str(entry) for entry in server.binlog]) == ("0-1-2", ["0-1-1", "0-1-2"])
        estate.write("www1")
        estate.run(8.0)
        sync = estate.etcd.stored().sync
        assert sync is not None
        assert sync.members == ("www2",)
        assert estate.agent("www2").seed(discard=False) == {"changed": False}

    def test_a_host_with_data_of_its_own_is_refused(self, estate: World) -> None:
        (Path(estate.machines["www2"].config.database_directory) / "shop").mkdir()
        refused("foreign_data", lambda: estate.agent("www2").seed(discard=False))
        assert estate.agent("www2").seeding == ""
        assert estate.agent("www2").seed(discard=True)["changed"]

    def test_the_primary_is_never_seeded(self, estate: World) -> None:
        (Path(estate.machines["www1"].config.state_directory) / "database.json").unlink()
        refused("already_primary", lambda: estate.agent("www1").seed(discard=True))

    def test_without_a_leader_there_is_nothing_to_copy(self, estate: World) -> None:
        estate.power_off("www1")
        estate.run(7.0)
        refused("no_primary", lambda: estate.agent("www2").seed(discard=False))

    def test_a_stream_that_breaks_is_told_and_can_be_tried_again(
        self, estate: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ENDS_WITH", "1")
        text = refused("seed_failed", lambda: estate.agent("www2").seed(discard=False))
        assert "mariadb-backup ended with 1" in text
        assert "is untouched" in text
        assert estate.agent("www2").seeding == ""
        monkeypatch.delenv("ENDS_WITH")
        assert estate.agent("www2").seed(discard=False)["changed"]

    def test_a_copy_that_was_never_made_ready_is_not_used_and_made_again(self, estate: World) -> None:
        """The server does not know its position yet: replicating now would begin anywhere."""
        estate.plan("www2", "sql RESET MASTER", Fault.FAIL)
        refused("seed_failed", lambda: estate.agent("www2").seed(discard=False))
        assert estate.agent("www2").status()["role"] == "unseeded"
        assert estate.machines["www2"].server.source is None
        estate.run(5.0)
        assert estate.agent("www2").status()["role"] == "replica", "nobody has to ask again"
        assert estate.machines["www2"].server.slave_pos == "0-1-2"
        assert estate.agent("www2").seed(discard=False) == {"changed": False}

    def test_while_automation_is_paused_it_is_made_again_by_command(self, estate: World) -> None:
        estate.plan("www2", "sql RESET MASTER", Fault.FAIL)
        refused("seed_failed", lambda: estate.agent("www2").seed(discard=False))
        estate.agent("www1").pause("anna", "at work", 60.0)
        estate.run(5.0)
        assert estate.agent("www2").status()["role"] == "unseeded"
        assert estate.agent("www2").seed(discard=False)["changed"]
        assert estate.machines["www2"].server.slave_pos == "0-1-2"

    def test_a_copy_that_keeps_failing_lets_the_agent_do_its_other_work(
        self, estate: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Rules that ask for a copy again and again took the lock from all who needed it, the copy among them."""
        estate.plan("www2", "sql RESET MASTER", Fault.FAIL)
        refused("seed_failed", lambda: estate.agent("www2").seed(discard=False))
        monkeypatch.setenv("ENDS_WITH", "1")
        before = estate.kernel.steps
        estate.run(20.0)
        assert estate.kernel.steps - before < 20 * 500
        assert "mariadb-backup ended with 1" in estate.agent("www2").copy_error
        monkeypatch.delenv("ENDS_WITH")
        estate.run(60.0)
        assert estate.agent("www2").status()["role"] == "replica"

    def test_a_new_install_on_a_disk_of_its_own_is_fresh(self, estate: World) -> None:
        (Path(estate.machines["www2"].config.database_directory) / "lost+found").mkdir()
        assert estate.agent("www2").seed(discard=False)["changed"]

    def test_the_primary_says_how_large_a_copy_is(self, estate: World) -> None:
        data = Path(estate.machines["www1"].config.database_directory)
        before = estate.agent("www1").answer_peer("www2", "/size", None)["bytes"]
        (data / ".failover").mkdir()
        for name in ("failover-bin.000001", "failover-relay.000012", "ibtmp1", ".failover/old"):
            (data / name).write_bytes(b"x" * 100_000)
        (data / "shop").mkdir()
        assert estate.agent("www1").answer_peer("www2", "/size", None)["bytes"] - before < 20_000
        (data / "shop" / "orders.ibd").write_bytes(b"x" * 100_000)
        assert estate.agent("www1").answer_peer("www2", "/size", None)["bytes"] - before >= 100_000

    def test_one_at_a_time(self, estate: World) -> None:
        answers = []
        estate.watchers.append(
            on(
                "www2",
                "host.stop_database",
                lambda: answers.append(refused("busy", lambda: estate.agent("www2").seed(discard=False))),
            )
        )
        assert estate.agent("www2").seed(discard=False)["changed"]
        assert answers == ["www2 is busy seeding from www1"]

    def test_meanwhile_it_is_no_candidate(self, estate: World) -> None:
        seen = []
        estate.watchers.append(
            on("www2", "host.stop_database", lambda: seen.append(estate.agent("www2").facts("", "run-1").busy))
        )
        estate.agent("www2").seed(discard=False)
        assert seen == ["seeding from www1"]

    def test_a_copy_that_fails_on_the_way_is_an_error_for_the_reader(
        self, estate: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("ENDS_WITH", "1")
        with pytest.raises(SeedError):
            list(estate.agent("www1").stream_to_peer("www2", "/stream/seed"))


def test_role_is_answered_when_nothing_else_is(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> dict[str, bool]:
        raise HostError("ip: timed out")

    monkeypatch.setattr(world.agent("www1").host, "held", fail)
    role = world.agent("www1").role()
    assert (role["role"], role["vips"]) == ("primary", {})
