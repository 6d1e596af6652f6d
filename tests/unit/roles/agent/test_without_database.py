# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Engine ``none``, with the real agents: the gate, and what follows it, is where the leader key is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from failover_agent import gates, returning
from failover_agent.agent import CommandError
from failover_agent.returning import Returning
from failover_agent.switchover import Switchover

from simulator.world import ETCD, Fault, World

from .test_switchover import on

STEPS = ["check", "prepare", "fence", "reset_sockets", "move_address", "end_sessions", "commit", "promote"]


def begin_switchover(world: World, host: str) -> None:
    """Let ``host`` begin to hand over; whoever freezes on the way does not keep the test."""
    process, agent = world.machines[host].process, world.agent(host)
    assert process is not None
    world.kernel.spawn(process, lambda: Switchover(agent, gates.Request("", "run-1"), check=False).run())


class TestWithoutDatabase:
    """Engine ``none``: the gate, and what follows it, is where the leader key is."""

    @pytest.fixture
    def web(self) -> Iterator[World]:
        """Two hosts that only share an address."""
        made = World(engine="none")
        made.bootstrap("www1")
        assert self.open_gates(made) == ["www1"]
        yield made
        made.close()

    def open_gates(self, world: World) -> list[str]:
        """Where the address may be."""
        return [machine.name for machine in world.machines.values() if machine.powered and machine.gate]

    def test_it_moves_when_the_host_is_gone(self, web: World) -> None:
        web.power_off("www1")
        web.run(8.0)
        assert self.open_gates(web) == ["www2"]
        assert web.machines["www2"].followers
        web.power_on("www1")
        web.run(5.0)
        assert self.open_gates(web) == ["www2"], "and stays"

    def test_it_leaves_a_host_that_loses_etcd_before_another_takes_it(self, web: World) -> None:
        web.cut("www1", ETCD)
        for _step in range(200):
            web.run(0.05)
            assert len(self.open_gates(web)) <= 1
        assert self.open_gates(web) == ["www2"]

    def test_a_frozen_agent_is_no_obstacle(self, web: World) -> None:
        web.freeze("www1")
        web.run(8.0)
        assert self.open_gates(web) == ["www2"]
        assert not web.machines["www1"].fenced, "there is no database to fence"

    def test_never_means_never(self, web: World) -> None:
        object.__setattr__(web.machines["www2"].config, "priorities", {"www2": 0})
        web.power_off("www1")
        web.run(12.0)
        assert self.open_gates(web) == []

    def test_a_planned_switchover_there_and_back(self, web: World) -> None:
        for old, new, term in (("www1", "www2", 3), ("www2", "www1", 4)):
            answer = web.switchover(old)
            assert (answer["result"], answer["to"], answer["term_after"]) == ("switched", new, term), answer
            assert answer["position"] is None
            assert [step["name"] for step in answer["steps"]] == STEPS
            web.run(2.0)
            assert self.open_gates(web) == [new]
            assert web.vip_holder == new
            assert [machine.name for machine in web.machines.values() if machine.followers] == [new]
            assert web.agent(new).status()["role"] == "primary"
            assert web.agent(old).status()["role"] == "replica"
            assert not web.machines[new].gate_prepared

    def test_a_switchover_is_refused(self, web: World) -> None:
        def codes(answer: dict[str, Any]) -> set[str]:
            assert answer["result"] == "refused", answer
            return {refusal["code"] for refusal in answer["refusals"]}

        assert web.switchover("www1", check=True)["result"] == "possible"
        assert codes(web.switchover("www1", to="www1")) == {"already_primary"}
        assert codes(web.switchover("www2", to="www2")) == {"not_leader"}
        web.machines["www2"].keepalived = False
        assert codes(web.switchover("www1")) == {"keepalived_down"}
        web.machines["www2"].keepalived = True
        web.power_off("www2")
        web.run(8.0)
        assert codes(web.switchover("www1", to="www2")) == {"candidate_unreachable"}
        assert self.open_gates(web) == ["www1"]

    def test_a_switchover_without_its_commit_is_undone(self, web: World) -> None:
        web.plan("www1", "etcd.commit", Fault.FAIL)
        answer = web.switchover("www1")
        assert answer["result"] == "undone", answer
        web.run(2.0)
        assert self.open_gates(web) == ["www1"]
        assert web.vip_holder == "www1"
        assert [machine.name for machine in web.machines.values() if machine.followers] == ["www1"]

    @pytest.mark.parametrize("host", ["www1", "www2"])
    def test_who_stands_still_in_a_switchover_leads_no_longer_than_his_lease(self, web: World, host: str) -> None:
        """The agent that was asked to lead, or the one that hands over, freezes right after the commit."""
        committed = on("www1", "etcd.commit", lambda: web.kernel.after(0.002, web.freeze, host))
        web.watchers.append(committed)
        begin_switchover(web, "www1")
        web.run(2.0)
        web.watchers.remove(committed)
        for _step in range(300):
            web.run(0.05)
            assert sum(machine.holds_vip for machine in web.machines.values()) <= 1
        (leads,) = self.open_gates(web)
        assert leads != host
        assert web.vip_holder == leads
        web.thaw(host)
        for _step in range(60):
            web.run(0.05)
            assert sum(machine.holds_vip for machine in web.machines.values()) <= 1
        assert self.open_gates(web) == [leads]

    def test_a_prepared_gate_shuts_with_the_lease(self, web: World) -> None:
        """A host that was prepared, and whose agent then stands still, is no place for the address for ever."""
        web.agent("www2").answer_peer("www1", "/prepare", {"run_id": "run-1"})
        web.freeze("www2")
        web.run(0.5)
        assert self.open_gates(web) == ["www1", "www2"]
        assert web.vip_holder == "www1"
        assert not web.machines["www2"].followers
        web.run(web.policy.lease_ttl)
        assert self.open_gates(web) == ["www1"]

    def test_a_prepared_host_that_hears_nothing_more_waits_no_longer_than_it_was_told(self, web: World) -> None:
        web.agent("www2").answer_peer("www1", "/prepare", {"run_id": "run-1"})
        web.run(5.0)
        assert web.agent("www2").status()["role"] == "replica", "prepared is not primary"
        web.run(7.0)
        assert self.open_gates(web) == ["www1"]
        assert web.machines["www1"].followers

    def test_a_pause_holds_it_and_a_person_does_not(self, web: World) -> None:
        web.agent("www2").pause("anna", "disks", 600.0)
        web.power_off("www1")
        web.run(20.0)
        assert self.open_gates(web) == []
        assert web.failover("www2", check=True)["result"] == "possible"
        answer = web.failover("www2")
        assert (answer["result"], answer["to"], answer["possible_loss"]) == ("promoted", "www2", None), answer
        web.run(2.0)
        assert self.open_gates(web) == ["www2"]
        web.power_on("www1")
        web.run(5.0)
        assert self.open_gates(web) == ["www2"]

    def test_a_living_primary_is_not_failed_over(self, web: World) -> None:
        answer = web.failover("www2")
        assert [refusal["code"] for refusal in answer["refusals"]] == ["primary_alive"]
        assert self.open_gates(web) == ["www1"]

    def test_a_third_failover_in_a_row_waits_for_a_person(self, web: World) -> None:
        for name in ("www1", "www2"):
            web.power_off(name)
            web.run(62.0)
            web.power_on(name)
            web.run(10.0)
        assert self.open_gates(web) == ["www1"]
        web.power_off("www1")
        web.run(8.0)
        assert self.open_gates(web) == ["www2"]
        web.power_on("www1")
        web.run(10.0)
        web.power_off("www2")
        web.run(62.0)
        assert self.open_gates(web) == []
        assert web.agent("www1").status()["automation"]["state"] == "held"
        web.agent("www1").resume("anna")
        web.run(2.0)
        assert self.open_gates(web) == ["www1"]

    def test_etcd_may_be_gone_for_a_while(self, web: World) -> None:
        """All data hosts answer each other, so the address stays where it is, also when etcd is back."""
        web.etcd.available = False
        web.run(30.0)
        assert self.open_gates(web) == ["www1"]
        web.etcd.available = True
        for _step in range(100):
            web.run(0.05)
            assert self.open_gates(web) == ["www1"]

    def test_there_is_nothing_to_rejoin_or_to_copy(self, web: World) -> None:
        answer = Returning(web.agent("www2"), returning.Request("run-1")).run()
        assert [refusal["code"] for refusal in answer["refusals"]] == ["no_database"]
        with pytest.raises(CommandError, match="nothing to copy"):
            web.agent("www2").seed(discard=True)
        assert web.agent("www1").adopt() == {"changed": False}
