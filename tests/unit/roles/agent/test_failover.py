# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The failover by command: what it refuses, what it says can be lost, and what a fault on the way leaves behind."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from failover_agent.failover import Failover
from failover_agent.model import Term

from simulator.world import ETCD, CrashError, Fault, SimRejoin, World


@pytest.fixture
def three() -> Iterator[World]:
    """An estate of three data hosts; www1 is primary."""
    made = World(("www1", "www2", "www3"))
    made.bootstrap("www1")
    assert made.unsettled() == ""
    yield made
    made.close()


def codes(answer: dict[str, Any]) -> list[str]:
    """Why it was refused."""
    assert answer["result"] == "refused"
    return [refusal["code"] for refusal in answer["refusals"]]


def primary(world: World) -> str:
    """The host that the term names."""
    term = world.etcd.stored().term
    assert term is not None
    return term.primary


def degrade(world: World) -> None:
    """www1 writes alone, and then it is gone."""
    world.cut("www1", "www2")
    world.run(5.0)
    world.write("www1")
    world.power_off("www1")
    world.acknowledged.clear()  # From here on a person decides what may be lost.


class TestRefusals:
    """Nothing is changed."""

    def test_a_primary_that_works(self, world: World) -> None:
        assert codes(world.failover("www2")) == ["primary_alive"]
        assert codes(world.failover("www1")) == ["primary_alive"]
        assert world.unsettled() == ""

    def test_a_host_that_is_none(self, world: World) -> None:
        world.power_off("www1")
        assert codes(world.failover("www2", "www9")) == ["unknown_host"]

    def test_a_host_that_never_is(self, world: World) -> None:
        world.power_off("www1")
        object.__setattr__(world.machines["www2"].config, "priorities", {"www2": 0})
        assert codes(world.failover("www2", "www2")) == ["never_candidate"]

    def test_the_lock_of_another_run(self, world: World) -> None:
        world.agent("www2").lock_acquire("ben@desk", "run-9", "setup", 60.0)
        world.power_off("www1")
        assert codes(world.failover("www2")) == ["locked"]

    def test_no_quorum(self, world: World) -> None:
        world.power_off("www1")
        world.cut("www2", ETCD)
        assert codes(world.failover("www2")) == ["quorum_lost"]

    def test_a_full_disk(self, world: World) -> None:
        world.power_off("www1")
        world.machines["www2"].disk_free_fraction = 0.01
        assert codes(world.failover("www2", "www2")) == ["disk_short"]

    def test_what_can_be_lost_is_said(self, world: World) -> None:
        degrade(world)
        answer = world.failover("www2")
        assert codes(answer) == ["not_member"]
        assert answer["possible_loss"]["mode"] == "degraded"
        assert "www1 may have acknowledged writes" in answer["possible_loss"]["why"]
        assert primary(world) == "www1"

    def test_a_silent_member_is_named(self, three: World) -> None:
        three.power_off("www1")
        three.power_off("www3")
        answer = three.failover("www2")
        assert codes(answer) == ["member_silent"]
        assert answer["possible_loss"]["silent"] == ["www3"]

    def test_a_check_changes_nothing(self, world: World) -> None:
        world.agent("www2").pause("anna", "a look", 600.0)
        world.power_off("www1")
        world.run(0.5)
        answer = world.failover("www2", check=True)
        assert (answer["result"], answer["possible_loss"]) == ("possible", None)
        assert world.machines["www2"].server.io_started
        assert primary(world) == "www1"


class TestPromoted:
    """Another host is primary."""

    def test_after_a_power_loss_also_while_automation_is_paused(self, world: World) -> None:
        world.agent("www2").pause("anna", "a look", 600.0)
        entry = world.write("www1")
        world.run(0.2)
        world.power_off("www1")
        answer = world.failover("www2")
        assert (answer["result"], answer["to"], answer["term_after"]) == ("promoted", "www2", 3)
        assert answer["possible_loss"] is None
        assert [step["name"] for step in answer["steps"]] == [
            "check",
            "release",
            "elect",
            "ballots",
            "apply",
            "commit",
            "promote",
        ]
        assert world.machines["www2"].server.writable
        assert entry in world.machines["www2"].server.binlog
        assert world.etcd.stored().history[-1].reason == "forced"
        assert world.come_to_rest() == ""

    def test_a_primary_whose_database_is_broken_is_told_to_step_down(self, world: World) -> None:
        world.agent("www2").pause("anna", "a look", 600.0)
        world.machines["www1"].server.broken = True
        world.machines["www1"].server.kill()
        world.run(1.0)
        began = world.now
        assert world.failover("www2")["result"] == "promoted"
        assert world.now - began < 3.0, "nobody waited for the lease"
        world.machines["www1"].server.broken = False
        assert world.come_to_rest() == ""

    def test_an_accepted_loss(self, world: World) -> None:
        degrade(world)
        answer = world.failover("www2", accept_data_loss=True)
        assert answer["result"] == "promoted"
        assert answer["possible_loss"]["mode"] == "degraded"
        assert primary(world) == "www2"
        assert world.come_to_rest() == "", "what only www1 had was put aside"

    def test_what_a_start_may_discard_is_saved_where_a_loss_was_accepted(
        self, world: World, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The last transaction of a dead primary is in doubt, and a replica discards it; clients were told of it."""
        saved: list[str] = []
        monkeypatch.setattr(SimRejoin, "save_divergent", lambda _self, fork: saved.append(fork))
        degrade(world)
        assert world.failover("www2", accept_data_loss=True)["result"] == "promoted"
        world.heal()
        world.power_on("www1")
        began = len(world.operations)
        world.run(3.0)
        assert ("www1", "host.start_database") in world.operations[began:]
        assert saved

    def test_a_loss_accepted_with_a_silent_member(self, three: World) -> None:
        three.power_off("www1")
        three.power_off("www3")
        answer = three.failover("www2", accept_data_loss=True)
        assert (answer["result"], answer["possible_loss"]["silent"]) == ("promoted", ["www3"])
        assert three.come_to_rest() == ""

    def test_a_last_host_on_which_somebody_wrote_goes_on_when_a_person_says_so(self, world: World) -> None:
        """Automation does not: what it received and cannot apply may be acknowledged. A person must not be stuck."""
        world.write("www1")
        world.run(1.0)
        world.machines["www2"].server.write_by_hand()
        world.write("www1")
        world.run(0.2)
        world.power_off("www1")
        world.run(20.0)
        assert primary(world) == "www1"
        asked = world.failover("www2")
        assert asked["result"] == "failed"
        assert "was written on this host" in asked["error"]
        assert "--accept-data-loss" in asked["error"]
        assert primary(world) == "www1"
        world.acknowledged.clear()
        answer = world.failover("www2", accept_data_loss=True)
        assert answer["result"] == "promoted"
        assert "was written on this host" in answer["possible_loss"]["why"]
        assert primary(world) == "www2"

    def test_one_of_three_on_which_somebody_wrote_holds_up_nobody(self, three: World) -> None:
        three.machines["www2"].server.write_by_hand()
        three.power_off("www1")
        three.run(30.0)
        assert primary(three) == "www3"
        assert three.come_to_rest() == ""

    def test_the_named_host(self, three: World) -> None:
        three.agent("www2").pause("anna", "a look", 600.0)
        three.power_off("www1")
        answer = three.failover("www2", "www3")
        assert (answer["result"], answer["to"]) == ("promoted", "www3")
        assert three.come_to_rest() == ""

    def test_automation_may_be_faster(self, world: World) -> None:
        world.power_off("www1")
        answer = world.failover("www2")
        assert (answer["result"], answer["to"]) == ("promoted", "www2")
        assert world.etcd.stored().history[-1].reason in {"failover", "forced"}

    @pytest.mark.parametrize("held", [True, False])
    @pytest.mark.parametrize("host", ["www2", "www3"])
    def test_automation_may_begin_in_the_same_moment(
        self, three: World, monkeypatch: pytest.MonkeyPatch, host: str, held: bool
    ) -> None:
        """Seen in the lab: etcd was back, and the agent that was asked had begun an election of its own.

        ``held``: this run holds ``act`` already, so that another host begins.
        """
        name = "_elect" if held else "_free_the_key"
        plain = getattr(Failover, name)
        began: list[str] = []

        def late(asked: Failover, term: Term) -> object:
            answer = None if held else plain(asked, term)
            if not began:
                three.agent(host).resume("anna")
            until = three.kernel.now + 5.0
            while not began and three.kernel.now < until:
                three.kernel.sleep(0.001)
                leader = three.etcd.stored().leader
                if leader is not None and leader.term > term.term:
                    began.append(leader.holder)
            return plain(asked, term) if held else answer

        monkeypatch.setattr(Failover, name, late)
        three.agent(host).pause("anna", "a look", 600.0)
        three.write("www1")
        three.run(0.2)
        three.power_off("www1")
        answer = three.failover(host)
        assert began
        assert (answer["result"], answer["error"]) == ("promoted", "")
        assert answer["to"] == primary(three)
        assert "failed" not in [step["outcome"] for step in answer["steps"]]
        assert three.come_to_rest() == ""


@pytest.mark.parametrize("fault", list(Fault))
@pytest.mark.parametrize("skip", range(3))
@pytest.mark.parametrize("operation", ["etcd.commit", "etcd.read", "sql STOP SLAVE", "peer"])
def test_a_fault_on_the_way_leaves_an_estate_that_comes_to_rest(
    world: World, operation: str, skip: int, fault: Fault
) -> None:
    world.agent("www2").pause("anna", "a look", 600.0)
    world.write("www1")
    world.run(0.2)
    world.power_off("www1")
    world.run(8.0)
    world.plan("www2", operation, fault, skip)
    try:
        answer = world.failover("www2")
        assert answer["result"] in {"promoted", "failed", "refused"}
        if answer["result"] == "promoted":
            assert primary(world) == "www2"
    except CrashError:
        pass
    assert world.come_to_rest() == ""
