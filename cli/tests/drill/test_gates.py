"""Where a scenario may be run."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path

from failoverctl.drill.gates import Refusal, fitted, needs_measurement, refusals
from failoverctl.drill.scenario import Approval, FaultStep, Load, Promises, Scenario, WaitForStep, WaitStep
from failoverctl.drill.world import Condition
from failoverctl.estate import Estate

from .story import ESTATE, FAULTS

TODAY = date(2026, 11, 23)
SCENARIO = Scenario("s", "S", "", (FaultStep("stop_unit", "stop", ("primary",)),), Path("s.yml"))


def asked(scenario: Scenario, estate: Estate, *, lab: bool = True, confirmed: str = "") -> list[str]:
    """The codes of all refusals."""
    found = refusals(scenario, estate, FAULTS, lab=lab, confirmed=confirmed, today=TODAY)
    assert all(item.message and item.as_dict()["code"] for item in found)
    return [item.code for item in found]


def test_a_lab_takes_everything() -> None:
    assert asked(SCENARIO, ESTATE) == []
    assert asked(replace(SCENARIO, environment="lab"), ESTATE) == []


def test_what_only_a_lab_can_do_is_refused_elsewhere() -> None:
    power = replace(SCENARIO, method=(FaultStep("power_off", "off", ("primary",)),))
    assert asked(power, ESTATE) == []
    assert asked(power, ESTATE, lab=False) == ["lab_only"]
    found = refusals(power, ESTATE, FAULTS, lab=False, confirmed="", today=TODAY)
    assert "power_off" in found[0].message


def test_a_scenario_is_not_run_where_it_must_not() -> None:
    production = replace(ESTATE, environment="production")
    assert asked(SCENARIO, production) == ["environment"]
    assert asked(replace(SCENARIO, environment="lab"), replace(ESTATE, environment="staging")) == ["environment"]
    assert asked(replace(SCENARIO, environment="production"), replace(ESTATE, environment="odd")) == ["environment"]


def test_production_wants_an_approval_and_its_name() -> None:
    production = replace(ESTATE, environment="production")
    bold = replace(SCENARIO, environment="production")
    assert asked(bold, production) == ["not_approved", "not_confirmed"]
    approved = replace(bold, approval=Approval("Anna", date(2026, 11, 23)))
    assert asked(approved, production, confirmed="shop") == []
    assert asked(approved, production, confirmed="shopp") == ["not_confirmed"]
    late = replace(bold, approval=Approval("Anna", date(2026, 11, 22)))
    assert asked(late, production, confirmed="shop") == ["approval_expired"]
    assert asked(late, replace(ESTATE, environment="staging")) == []


def test_an_estate_without_data_hosts_has_nothing_to_fail_over() -> None:
    assert asked(SCENARIO, replace(ESTATE, groups={})) == ["no_data_host"]


def test_what_an_estate_has_not_is_said() -> None:
    static = replace(ESTATE, engine="none", php=False)
    assert asked(SCENARIO, static) == []
    assert asked(replace(SCENARIO, requires=("database",)), static) == ["no_database"]
    assert asked(replace(SCENARIO, requires=("php",)), static) == ["no_php"]
    assert asked(replace(SCENARIO, requires=("database", "php")), ESTATE) == []


def test_without_a_database_only_requests_are_measured() -> None:
    asks = replace(SCENARIO, promises=Promises(8.0, False, 1.0, 60.0), load=Load(direct=True, http=False))
    assert fitted(asks, ESTATE) is asks
    found = fitted(asks, replace(ESTATE, engine="none"))
    assert found.promises == Promises(8.0, False, None, 60.0)
    assert (found.load.direct, found.load.http) == (False, True)


def test_one_refusal_is_told_once() -> None:
    twice = replace(
        SCENARIO, method=(FaultStep("power_off", "a", ("primary",)), FaultStep("power_off", "b", ("replica",)))
    )
    assert asked(twice, ESTATE, lab=False) == ["lab_only"]
    assert Refusal("a", "b").as_dict()["observed"] is None


def test_waiting_for_clients_needs_the_prober() -> None:
    assert needs_measurement(replace(SCENARIO, method=(WaitForStep(Condition("clients_served"), 1.0),)))
    assert not needs_measurement(replace(SCENARIO, method=(WaitStep(1.0),)))
