# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The guard: it fences what a dead or frozen agent left writable, in time, and nothing else."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from failover_agent import guard as guard_module
from failover_agent.guard import ARMED, GRACE_SECONDS, IDLE_SECONDS, WRITABLE, Guard
from failover_agent.policy import Policy

from simulator.world import World

POLICY = Policy()


class TestInTheWorld:
    """With real agents."""

    def test_a_frozen_agent(self, world: World) -> None:
        machine = world.machines["www1"]
        world.freeze("www1")
        world.run(POLICY.lease_ttl - POLICY.fence_margin + GRACE_SECONDS + 0.3)
        assert machine.fenced
        assert not machine.gate
        assert not machine.followers
        assert world.come_to_rest() == ""

    def test_a_restarted_agent_is_left_alone(self, world: World) -> None:
        world.agent_died(world.machines["www1"])
        world.run(8.0)
        assert world.unsettled() == ""

    def test_a_replica_is_never_fenced(self, world: World) -> None:
        world.freeze("www2")
        world.run(20.0)
        assert world.machines["www2"].server.running
        world.thaw("www2")
        assert world.come_to_rest() == ""

    def test_a_prepared_gate_of_a_frozen_agent_shuts_and_its_database_goes_on(self, world: World) -> None:
        world.agent("www2").answer_peer("www1", "/prepare", {"run_id": "run-1"})
        assert world.machines["www2"].gate
        world.freeze("www2")
        world.run(POLICY.lease_ttl)
        assert not world.machines["www2"].gate
        assert world.machines["www2"].server.running
        assert not world.machines["www2"].fenced
        world.thaw("www2")
        assert world.come_to_rest() == ""

    def test_it_says_when_it_has_to_look_again(self, world: World) -> None:
        machines = world.machines
        assert machines["www2"].guard.look() == IDLE_SECONDS
        due = machines["www1"].lease_until - POLICY.fence_margin + GRACE_SECONDS
        assert machines["www1"].guard.look() == pytest.approx(due - world.agent("www1").host.now())

    def test_a_host_that_was_never_primary_has_no_mark(self, world: World) -> None:
        marks = [(Path(each.config.runtime_directory) / WRITABLE).exists() for each in world.machines.values()]
        assert marks == [True, False]


def test_the_process_looks_and_says_whether_a_watchdog_is_armed(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    config = world.machines["www1"].config
    stop, looks = threading.Event(), list[bool]()

    def look(_guard: Guard) -> float:
        looks.append((Path(config.runtime_directory) / ARMED).exists())
        stop.set()
        return 3600.0

    monkeypatch.setattr(guard_module, "Host", lambda _config: world.agent("www1").host)
    monkeypatch.setattr(guard_module.Guard, "look", look)
    object.__setattr__(config, "watchdog_device", "")
    guard_module.run(config, stop)
    assert looks == [False]
