# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Automatic failover, with the real agents: what goes wrong at every step of an election loses nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from failover_agent.election import ballot_from
from failover_agent.model import Ballot, Term, to_json, utc
from failover_agent.peer import PeerError
from failover_agent.policy import Policy

from simulator.etcd import Entry
from simulator.world import EPOCH, ETCD, Fault, World

from .test_switchover import on

POLICY = Policy()


@pytest.fixture
def three() -> Iterator[World]:
    """An estate of three data hosts; www1 is primary."""
    made = World(("www1", "www2", "www3"))
    made.bootstrap("www1")
    assert made.unsettled() == ""
    yield made
    made.close()


def term_of(world: World) -> Term:
    """The current term."""
    term = world.etcd.stored().term
    assert term is not None
    return term


def until_failover(world: World, limit: float = 20.0) -> float:
    """Let time pass until another host than www1 is writable; how long that took."""
    began = world.now
    while not any(m.server.writable for m in world.machines.values() if m.name != "www1"):
        world.run(0.05)
        assert world.now - began < limit, f"nobody took over: {world.etcd.stored()}"
    return world.now - began


class TestPowerLoss:
    """The primary is gone."""

    def test_the_replica_takes_over_within_a_lease_and_half_a_second(self, world: World) -> None:
        for _number in range(3):
            world.write("www1")
        world.run(0.1)
        world.power_off("www1")
        assert until_failover(world) <= POLICY.lease_ttl + 0.5
        term = term_of(world)
        assert (term.primary, term.reason, term.gtid) == ("www2", "failover", "0-1-3")
        world.run(1.0)
        assert world.machines["www2"].gate
        assert world.write("www2") in world.acknowledged

    def test_the_old_primary_comes_back_as_a_replica(self, world: World) -> None:
        world.power_off("www1")
        until_failover(world)
        world.write("www2")
        world.power_on("www1")
        world.run(12.0)
        assert world.unsettled() == ""
        assert term_of(world).primary == "www2"

    def test_what_nobody_acknowledged_is_gone_and_what_was_received_is_there(self, world: World) -> None:
        received = world.write("www1")
        world.run(0.1)
        world.cut("www1", "www2")
        lost = world.write("www1")
        world.power_off("www1")
        until_failover(world)
        world.power_on("www1")
        assert world.come_to_rest() == ""
        logs = [server.binlog for server in world.servers()]
        assert all(received in log and lost not in log for log in logs)

    def test_received_and_unapplied_writes_are_applied_first(self, world: World) -> None:
        server = world.machines["www2"].server
        server.apply_paused = True
        entry = world.write("www1")
        world.run(0.2)
        assert entry in world.acknowledged
        world.power_off("www1")
        world.run(8.0)
        assert term_of(world).primary == "www1", "nothing is committed before it is applied"
        server.apply_paused = False
        until_failover(world)
        assert entry in server.binlog

    def test_a_replica_that_crashed_with_unapplied_writes_salvages_them(self, world: World) -> None:
        """Both hosts lose their power; only the replica comes back. START SLAVE would throw the write away."""
        server = world.machines["www2"].server
        server.apply_paused = True
        entry = world.write("www1")
        world.run(0.2)
        world.power_off("www1")
        world.power_off("www2")
        server.apply_paused = False
        world.power_on("www2")
        until_failover(world, 30.0)
        assert entry in server.binlog

    def test_a_degraded_replica_does_not_take_over_and_says_what_is_at_stake(self, world: World) -> None:
        world.cut("www1", "www2")
        world.run(5.0)
        assert world.write("www1") in world.acknowledged
        world.power_off("www1")
        world.run(15.0)
        assert term_of(world).primary == "www1"
        problems = {problem["code"]: problem["message"] for problem in world.agent("www2").status()["problems"]}
        assert "www1 wrote without waiting for a replica" in problems["possible_loss"]
        world.power_on("www1")
        assert world.come_to_rest() == ""

    def test_with_policy_block_the_replica_may_take_over_and_waits(self) -> None:
        world = World(policy=Policy(on_last_replica_loss="block"))
        world.bootstrap("www1")
        world.cut("www1", "www2")
        entry = world.write("www1")
        world.run(5.0)
        assert entry not in world.acknowledged
        world.power_off("www1")
        until_failover(world)
        mine = world.write("www2")
        world.run(5.0)
        assert mine not in world.acknowledged, "alone it acknowledges nothing"
        assert world.come_to_rest() == ""
        assert mine in world.acknowledged
        world.close()


class TestStepDown:
    """The primary lives, and its database does not."""

    def test_a_crash_is_answered_by_a_restart(self, world: World) -> None:
        world.machines["www1"].server.kill()
        world.run(4.0)
        assert world.unsettled() == ""
        assert term_of(world).primary == "www1"

    def test_a_database_that_does_not_come_back_is_given_up_without_waiting_for_the_lease(self, world: World) -> None:
        world.machines["www1"].server.broken = True
        world.machines["www1"].server.kill()
        assert until_failover(world) <= POLICY.restart_limit + 2.0
        assert term_of(world).reason == "failover"
        world.machines["www1"].server.broken = False
        assert world.come_to_rest() == ""

    def test_without_an_heir_it_goes_on_trying(self, world: World) -> None:
        world.power_off("www2")
        world.run(5.0)
        world.machines["www1"].server.broken = True
        world.machines["www1"].server.kill()
        world.run(20.0)
        assert world.etcd.stored().leader is not None
        world.machines["www1"].server.broken = False
        assert world.come_to_rest() == ""

    def test_a_full_disk(self, world: World) -> None:
        world.machines["www1"].disk_free_fraction = 0.01
        assert until_failover(world) < 3.0
        world.run(3.0)
        assert not world.machines["www1"].server.writable
        assert world.come_to_rest() == ""

    @pytest.mark.parametrize("fault", [Fault.FAIL, Fault.NO_ANSWER, Fault.CRASH_BEFORE, Fault.CRASH_AFTER])
    def test_the_key_is_given_back_in_the_end(self, world: World, fault: Fault) -> None:
        world.machines["www1"].disk_free_fraction = 0.01
        world.plan("www1", "etcd.commit", fault)
        until_failover(world, 20.0)
        assert world.come_to_rest() == ""


class TestEveryStep:
    """A fault at every step of the election."""

    @pytest.mark.parametrize("fault", list(Fault))
    @pytest.mark.parametrize("skip", range(4))
    @pytest.mark.parametrize("operation", ["etcd.commit", "etcd.read", "sql STOP SLAVE", "sql", "sql SET GLOBAL"])
    def test_two_hosts(self, world: World, operation: str, skip: int, fault: Fault) -> None:
        world.write("www1")
        world.run(0.2)
        world.power_off("www1")
        world.run(4.4)
        world.plan("www2", operation, fault, skip)
        world.run(15.0)
        world.write("www2")
        assert world.come_to_rest() == ""

    @pytest.mark.parametrize("fault", list(Fault))
    @pytest.mark.parametrize("operation", ["etcd.commit", "peer /stop_receiving", "sql STOP SLAVE IO_THREAD"])
    @pytest.mark.parametrize("host", ["www2", "www3"])
    def test_three_hosts(self, three: World, host: str, operation: str, fault: Fault) -> None:
        three.write("www1")
        three.run(0.2)
        three.power_off("www1")
        three.run(4.4)
        three.plan(host, operation, fault)
        three.run(20.0)
        assert three.come_to_rest() == ""
        assert term_of(three).primary in {"www2", "www3"}

    @pytest.mark.parametrize("steps", range(0, 40, 3))
    def test_the_old_primary_comes_back_at_every_moment(self, world: World, steps: int) -> None:
        world.write("www1")
        world.run(0.1)
        world.power_off("www1")
        world.run(3.0)
        world.run(steps * 0.05)
        world.machines["www1"].powered = True
        world.start_agent("www1")
        world.run(12.0)
        assert world.come_to_rest() == ""

    @pytest.mark.parametrize("steps", range(0, 30, 3))
    def test_a_frozen_primary_thaws_at_every_moment(self, world: World, steps: int) -> None:
        world.write("www1")
        world.freeze("www1")
        world.run(4.0 + steps * 0.05)
        world.write("www1")
        world.thaw("www1")
        world.run(10.0)
        assert world.come_to_rest() == ""


class TestThreeHosts:
    """More than one member."""

    def test_the_one_with_more_is_elected(self, three: World) -> None:
        three.cut("www1", "www2")
        entry = three.write("www1")
        three.run(0.3)
        assert entry in three.acknowledged, "www3 has it, and www2 is still a member"
        three.power_off("www1")
        three.heal()
        until_failover(three)
        assert term_of(three).primary == "www3", "www2 comes first by name, but lacks a write"

    def test_priority_decides_between_equals(self, three: World) -> None:
        for machine in three.machines.values():
            object.__setattr__(machine.config, "priorities", {"www3": 200})
        three.power_off("www1")
        until_failover(three)
        assert term_of(three).primary == "www3"

    def test_a_silent_member_stops_the_election(self, three: World) -> None:
        """It may hold the only copy of an acknowledged write."""
        three.power_off("www1")
        three.power_off("www3")
        three.run(15.0)
        assert term_of(three).primary == "www1"
        (problem,) = [each for each in three.agent("www2").status()["problems"] if each["code"] == "possible_loss"]
        assert "www3 alone" in problem["message"]
        three.power_on("www3")
        until_failover(three, 30.0)

    def test_a_lost_member_is_shut_out_before_the_set_goes_on(self, three: World) -> None:
        three.cut("www1", "www3")
        seen: list[Any] = []

        def record() -> None:
            sync = three.etcd.stored().sync
            seen.append((sync.members if sync else (), three.machines["www1"].shut_out))

        three.watchers.append(on("www1", "etcd.commit", record))
        three.run(8.0)
        sync = three.etcd.stored().sync
        assert sync is not None
        assert sync.members == ("www2",)
        assert (("www2", "www3"), frozenset({"198.51.100.13"})) in seen
        three.heal()
        assert three.come_to_rest() == ""


class TestCandidates:
    """What a member must be to take over."""

    def test_never_means_never(self, world: World) -> None:
        object.__setattr__(world.machines["www2"].config, "priorities", {"www2": 0})
        object.__setattr__(world.machines["www1"].config, "priorities", {"www2": 0})
        world.run(5.0)
        world.power_off("www1")
        world.run(15.0)
        assert term_of(world).primary == "www1"

    def test_a_restarted_agent_waits_for_a_lease(self, world: World) -> None:
        """It may have promised, before it was restarted, to begin no election."""
        world.power_off("www1")
        world.run(3.0)
        world.agent_died(world.machines["www2"])
        began = world.now
        until_failover(world)
        assert world.now - began >= POLICY.lease_ttl

    def test_a_pause_holds_it_and_ends_by_itself(self, world: World) -> None:
        world.agent("www2").pause("anna", "disks are changed", 15.0)
        world.power_off("www1")
        world.run(12.0)
        assert term_of(world).primary == "www1"
        assert world.agent("www2").status()["automation"]["state"] == "paused"
        until_failover(world)

    def test_resume_ends_it_at_once(self, world: World) -> None:
        world.agent("www2").pause("anna", "disks are changed", 600.0)
        world.power_off("www1")
        world.run(12.0)
        assert world.agent("www2").resume("anna")["changed"]
        assert until_failover(world) < 1.0

    def test_too_many_failovers_wait_for_a_person(self, world: World) -> None:
        history = [Term(2, "www1", at=utc(EPOCH + world.now - 100.0 * n), reason="failover") for n in range(1, 4)]
        text = "[" + ",".join(to_json(term) for term in history) + "]"
        world.etcd.revision += 1
        world.etcd.entries["history"] = Entry(text, world.etcd.revision)
        world.power_off("www1")
        world.run(12.0)
        assert term_of(world).primary == "www1"
        assert world.agent("www2").status()["automation"]["state"] == "held"
        world.agent("www2").resume("anna")
        until_failover(world)


class TestFailsafe:
    """etcd is gone for everybody; the hosts see each other."""

    def lose_etcd(self, world: World) -> None:
        """No host reaches etcd, whose leases live on as nobody can let them end."""
        for name in world.machines:
            world.cut(name, ETCD)

    def test_the_primary_goes_on(self, world: World) -> None:
        self.lose_etcd(world)
        for _number in range(10):
            world.run(2.0)
            assert world.write("www1") in world.acknowledged or world.machines["www1"].server.writable
        assert world.agent("www1").lease.failsafe_until > 0.0

    def test_not_without_the_other_host(self, world: World) -> None:
        self.lose_etcd(world)
        world.cut("www1", "www2")
        world.run(6.0)
        assert not world.machines["www1"].server.writable

    def test_not_when_it_is_switched_off(self) -> None:
        world = World(policy=Policy(failsafe=False))
        world.bootstrap("www1")
        self.lose_etcd(world)
        world.run(6.0)
        assert not world.machines["www1"].server.writable
        world.close()

    def test_not_when_the_other_host_reaches_etcd(self, world: World) -> None:
        world.cut("www1", ETCD)
        world.run(5.0)
        assert not world.machines["www1"].server.writable
        until_failover(world)

    def test_a_promise_is_kept(self, world: World) -> None:
        """etcd comes back for the replica alone, with the leader key gone."""
        self.lose_etcd(world)
        world.run(8.0)
        assert world.machines["www1"].server.writable
        promised = world.agent("www2").promised_until
        world.mend("www2", ETCD)
        while term_of(world).primary == "www1" and world.now < 1060.0:
            world.run(0.05)
        assert world.agent("www2").host.now() >= promised
        assert not world.machines["www1"].server.writable

    def test_no_promise_for_another_term(self, world: World) -> None:
        self.lose_etcd(world)
        world.run(3.0)
        answer = world.agent("www2").answer_peer("www1", "/failsafe", {"term": 7, "primary": "www1"})
        assert answer["promised"] is False


class TestBallots:
    """What members say."""

    def test_only_the_holder_of_the_election_may_ask(self, world: World) -> None:
        with pytest.raises(PeerError, match="www1 holds no election of term 3"):
            world.agent("www2").answer_peer("www1", "/stop_receiving", {"term": 3})
        assert world.machines["www2"].server.io_connected

    def test_a_ballot_that_still_receives_is_none(self) -> None:
        good = {"host": "www2", "io_stopped": True, "received": "0-1-5", "applied": "0-1-5"}
        assert ballot_from(good) == Ballot("www2", True, "0-1-5", "0-1-5")
        for bad in ({**good, "io_stopped": False}, {**good, "received": "soon"}, {**good, "colour": 1}, {}):
            with pytest.raises(PeerError):
                ballot_from(bad)

    def test_an_etcd_from_the_past_makes_nobody_act(self, world: World) -> None:
        """Its data was put back from a copy: the other host knows better."""
        world.machines["www1"].server.kill()
        world.agent("www2").learn(replace(world.etcd.stored(), term=Term(9, "www2")))
        world.power_off("www1")
        world.power_on("www1")
        world.run(8.0)
        assert not any(machine.server.writable for machine in world.machines.values())
        assert "old_etcd" in [each["code"] for each in world.agent("www2").status()["problems"]]
