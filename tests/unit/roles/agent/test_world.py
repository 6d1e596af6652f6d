# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The real agents in a world where everything goes wrong in any order: never two primaries, nothing acknowledged lost.

:mod:`simulator.invariants` looks after every event. Whatever has happened, an estate left in peace comes to rest with
one primary, all replicas attached, and a strict sync set.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from failover_agent.agent import CommandError
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from simulator.world import ETCD, CrashError, Fault, World

OPERATIONS = (
    "etcd.read",
    "etcd.commit",
    "etcd.renew",
    "etcd.grant",
    "sql SET GLOBAL read_only=1",
    "sql SET GLOBAL read_only=0",
    "sql SET GLOBAL rpl_semi_sync_master_enabled",
    "sql STOP SLAVE",
    "sql START SLAVE",
    "sql SELECT VERSION",
    "host.fence",
    "host.open_gate",
    "host.close_gate",
    "host.start_followers",
    "host.start_database",
    "peer /facts",
    "peer /prepare",
    "peer /catch_up",
    "peer /promote",
    "peer /position",
    "sql",
    "etcd",
    "peer",
    "host",
)
HOSTS = ("www1", "www2", "www3")
hosts = st.sampled_from(HOSTS)
places = st.sampled_from((*HOSTS, ETCD))


class Estate(RuleBasedStateMachine):
    """Two or three data hosts and whatever may happen to them."""

    def __init__(self) -> None:
        super().__init__()
        logging.disable(logging.CRITICAL)
        self.world: World | None = None

    @initialize(seed=st.integers(0, 2**16), count=st.sampled_from((2, 3)))
    def begin(self, seed: int, count: int) -> None:
        self.world = World(HOSTS[:count], seed=seed)
        self.world.bootstrap("www1")
        assert self.world.unsettled() == ""

    def _world(self) -> World:
        assert self.world is not None
        return self.world

    def _has(self, *names: str) -> bool:
        return all(name == ETCD or name in self._world().machines for name in names)

    @rule(host=hosts, count=st.integers(1, 3))
    def write(self, host: str, count: int) -> None:
        if self._has(host):
            for _number in range(count):
                self._world().write(host)

    @rule(seconds=st.sampled_from((0.05, 0.3, 1.0, 2.0, 4.0, 7.0)))
    def wait(self, seconds: float) -> None:
        self._world().run(seconds)

    @rule(one=places, other=places)
    def cut(self, one: str, other: str) -> None:
        if one != other and self._has(one, other):
            self._world().cut(one, other)

    @precondition(lambda self: self.world is not None and self.world.cuts)
    @rule()
    def heal(self) -> None:
        self._world().heal()

    @rule(available=st.booleans())
    def quorum(self, available: bool) -> None:
        self._world().etcd.available = available

    @rule(host=hosts)
    def lose_power(self, host: str) -> None:
        if self._has(host):
            self._world().power_off(host)

    @precondition(lambda self: self.world is not None and not all(m.powered for m in self.world.machines.values()))
    @rule()
    def get_power(self) -> None:
        for host in HOSTS:
            if self._has(host):
                self._world().power_on(host)

    @rule(host=hosts)
    def kill_agent(self, host: str) -> None:
        if self._has(host):
            self._world().agent_died(self._world().machines[host])

    @rule(host=hosts)
    def kill_database(self, host: str) -> None:
        if self._has(host):
            self._world().machines[host].server.kill()

    @rule(host=hosts, frozen=st.booleans())
    def freeze(self, host: str, frozen: bool) -> None:
        if self._has(host):
            if frozen:
                self._world().freeze(host)
            else:
                self._world().thaw(host)

    @rule(host=hosts, paused=st.booleans())
    def lag(self, host: str, paused: bool) -> None:
        if self._has(host):
            self._world().machines[host].server.apply_paused = paused

    @rule(
        host=hosts,
        operation=st.sampled_from(OPERATIONS),
        fault=st.sampled_from(list(Fault)),
        skip=st.integers(0, 6),
    )
    def plan(self, host: str, operation: str, fault: Fault, skip: int) -> None:
        if self._has(host):
            self._world().plan(host, operation, fault, skip)

    @rule(to=st.sampled_from(("", *HOSTS)))
    def switch_over(self, to: str) -> None:
        world = self._world()
        term = world.etcd.stored().term
        assert term is not None
        if world.machines[term.primary].alive:
            with contextlib.suppress(CrashError):
                answer = world.switchover(term.primary, to)
                assert answer["result"] in {"switched", "already", "refused", "undone", "failed"}
                self._judge(answer, "switchover")

    @rule(host=hosts, to=st.sampled_from(("", *HOSTS)))
    def fail_over(self, host: str, to: str) -> None:
        world = self._world()
        if self._has(host) and world.machines[host].alive and not world.machines[host].acting:
            with contextlib.suppress(CrashError):
                answer = world.failover(host, to)
                assert answer["result"] in {"promoted", "refused", "failed"}
                self._judge(answer, "forced")

    @rule(host=hosts, seconds=st.sampled_from((1.0, 8.0, 60.0)))
    def pause(self, host: str, seconds: float) -> None:
        world = self._world()
        if self._has(host) and world.machines[host].alive:
            with contextlib.suppress(CommandError, CrashError):
                world.agent(host).pause("anna", "a test", seconds)

    @rule(host=hosts)
    def resume(self, host: str) -> None:
        world = self._world()
        if self._has(host) and world.machines[host].alive:
            with contextlib.suppress(CommandError, CrashError):
                world.agent(host).resume("anna")

    @rule(host=hosts, short=st.booleans())
    def fill_disk(self, host: str, short: bool) -> None:
        if self._has(host):
            self._world().machines[host].disk_free_fraction = 0.01 if short else 0.5

    def _judge(self, answer: dict[str, Any], reason: str) -> None:
        stored = self._world().etcd.stored()
        assert stored.term is not None
        before = answer["term_before"]
        mine = [term for term in stored.history if before is not None and term.reason == reason and term.term > before]
        if answer["result"] in {"refused", "already", "undone"}:
            assert not mine, "it says that it has changed nothing"
        if answer["result"] in {"switched", "promoted"}:
            assert stored.term.term >= answer["term_after"]

    @rule()
    def come_to_rest(self) -> None:
        assert self._world().come_to_rest() == ""

    def teardown(self) -> None:
        try:
            if self.world is not None:
                self.come_to_rest()
        finally:
            if self.world is not None:
                self.world.close()
            logging.disable(logging.NOTSET)


TestEstate = Estate.TestCase
TestEstate.settings = settings(
    max_examples=100,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)


@pytest.fixture
def promised(monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    """etcd is lost, www2 has promised www1 to wait, and an agent that dies stays dead."""
    monkeypatch.setattr("simulator.world.AGENT_RESTART_SECONDS", 60.0)
    world = World(("www1", "www2"), seed=0)
    try:
        world.bootstrap("www1")
        world.etcd.available = False
        world.run(6.0)
        yield world
    finally:
        world.close()


def test_an_agent_that_dies_under_a_promise_leaves_its_host_writable_until_the_promise_ends(promised: World) -> None:
    machine = promised.machines["www1"]
    assert machine.lease_until > machine.lease_valid_until
    ends_in = machine.lease_until - promised.kernel.now - machine.clock_offset
    promised.agent_died(machine)
    promised.run(ends_in - machine.config.policy.fence_margin - 0.5)
    assert machine.server.writable
    promised.run(2.0)
    assert not machine.server.writable or machine.fenced


def test_a_failover_by_command_outlives_what_this_host_promised(promised: World) -> None:
    primary, heir = promised.machines["www1"], promised.agent("www2")
    left = heir.promised_until - heir.host.now()
    assert left > 1.0
    promised.agent_died(primary)
    promised.etcd.available = True
    began = promised.kernel.now
    assert promised.failover("www2")["result"] == "promoted"
    assert began + left <= promised.kernel.now <= began + left + 5.0
    assert not primary.server.writable or primary.fenced
