"""The scenarios that come with failoverctl: all can be read, and every one that was promised is there."""

from __future__ import annotations

import pytest
from failoverctl.drill import scenario as scenarios
from failoverctl.drill.faults import CATALOGUE
from failoverctl.drill.scenario import (
    CommandStep,
    FaultStep,
    HealStep,
    Scenario,
    WaitForStep,
    flatten,
    vocabulary,
)
from failoverctl.drill.world import SELECTORS

SHIPPED = scenarios.load([], vocabulary())

#: What was promised, and the files that keep it.
PROMISED = {
    "planned switchover there and back": ["switchover_there_and_back"],
    "every refusal": ["switchover_refused", "switchover_refused_disk_short", "switchover_refused_not_in_sync"],
    "primary process killed": ["primary_process_killed"],
    "power loss": ["primary_power_loss"],
    "power loss under 16 writers": ["primary_power_loss_16_writers"],
    "isolated but alive, writers on both sides": ["primary_isolated", "primary_isolated_completely"],
    "asymmetric partitions, both ways": ["primary_cannot_send", "primary_cannot_hear", "replication_link_cut"],
    "VRRP-only partition": ["vrrp_only_cut"],
    "etcd majority lost and back": ["etcd_majority_lost"],
    "one etcd member lost": ["etcd_member_lost"],
    "agent, database, host frozen and thawed": ["agent_frozen", "database_frozen", "host_frozen"],
    "replica lost then primary lost": ["replica_power_loss", "replica_lost_then_primary_lost"],
    "replica crash with unapplied relay log": ["unapplied_relay_log"],
    "total outage with random start order": ["total_outage"],
    "errant write": ["errant_write"],
    "disk full": ["primary_disk_full", "replica_disk_full"],
    "flapping link": ["flapping_link"],
    "slow network": ["slow_network"],
    "keepalived killed": ["keepalived_killed"],
    "flapping check": ["flapping_check"],
    "web server killed or answering 500": ["web_server_killed", "web_server_answers_errors"],
    "controller killed at each step": ["controller_killed"],
    "both hosts rebooting together": ["hosts_reboot_together"],
}


def test_everything_that_was_promised_is_there() -> None:
    assert {name for names in PROMISED.values() for name in names} <= set(SHIPPED)


@pytest.fixture(params=SHIPPED.values(), ids=list(SHIPPED))
def shipped(request: pytest.FixtureRequest) -> Scenario:
    found = request.param
    assert isinstance(found, Scenario)
    return found


def test_it_says_what_happens_and_why(shipped: Scenario) -> None:
    assert shipped.ident == shipped.path.stem
    assert shipped.title
    assert not shipped.title.endswith(".")
    assert len(shipped.description) > 60
    assert shipped.description.endswith(".")
    assert shipped.risks


def test_its_hosts_are_selectors_and_its_faults_are_known(shipped: Scenario) -> None:
    for step in flatten((*shipped.method, *shipped.rollbacks)):
        if isinstance(step, FaultStep):
            chosen = [*step.hosts, *(name for key in step.selecting for name in _listed(step.options[key]))]
            assert set(chosen) <= set(SELECTORS), "no estate has the hosts of another"
            assert CATALOGUE[step.fault].problems(step.options) == []


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]


def test_what_only_a_lab_can_do_says_so(shipped: Scenario) -> None:
    needs_lab = any(CATALOGUE[step.fault].lab_only for step in shipped.faults)
    assert (shipped.environment == "lab") == needs_lab


def test_production_is_for_what_breaks_nothing(shipped: Scenario) -> None:
    if shipped.environment == "production":
        assert shipped.faults == ()


def test_it_ends(shipped: Scenario) -> None:
    assert shipped.longest_seconds < 3600
    for step in flatten(shipped.method):
        if isinstance(step, WaitForStep):
            assert step.limit_seconds <= 120


def test_its_commands_ask_nobody(shipped: Scenario) -> None:
    for step in flatten(shipped.method):
        if isinstance(step, CommandStep):
            assert "--yes" in step.words


def test_what_is_healed_was_made(shipped: Scenario) -> None:
    made = {step.ident for step in shipped.faults}
    healed = {step.what for step in flatten(shipped.method) if isinstance(step, HealStep)}
    assert healed <= made | {"all"}


def test_faults_of_one_scenario_have_names_of_their_own(shipped: Scenario) -> None:
    idents = [step.ident for step in shipped.faults]
    assert len(set(idents)) == len(idents)
