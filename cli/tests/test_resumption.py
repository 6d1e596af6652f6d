"""What is left of a run that was cut short, judged by the world as it is."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any, ClassVar

import pytest
from failoverctl import resumption, world
from failoverctl.health import Health, HostReport, judge
from failoverctl.journal import Begun, RunState, Task, fold
from failoverctl.resumption import Before, Choice

from .test_health import ESTATE

ENTRY = {
    "www1": {"term": 3, "primary": "www1"},
    "www2": {"term": 3, "primary": "www1"},
}


@pytest.fixture
def agents(fixtures: Path) -> dict[str, Any]:
    """Two real agents: www2 is primary in term 3."""
    found: dict[str, Any] = json.loads((fixtures / "status.json").read_text())
    return copy.deepcopy(found)


def health(agents: dict[str, Any]) -> Health:
    return judge(ESTATE, [HostReport(name, status=agents[name]) for name in ("www1", "www2")])


def at_term(agents: dict[str, Any], term: int) -> dict[str, Any]:
    for status in agents.values():
        status["term"] = term
        status["sync"]["term"] = term
    return agents


def no_primary(agents: dict[str, Any]) -> dict[str, Any]:
    agents["www2"]["role"] = "fenced"
    return agents


def test_before_is_the_latest_term() -> None:
    facts: dict[str, dict[str, Any]] = {
        "www1": {"term": 2, "primary": "www1"},
        "www2": {"term": 3, "primary": "www2"},
        "www3": {"term": None},
    }
    assert resumption.before_of(facts) == Before("www2", 3)
    assert resumption.before_of({}) == Before("", None)


def test_setup_goes_on(agents: dict[str, Any]) -> None:
    choice = resumption.resume("setup", {}, {}, health(agents))
    assert (choice.kind, choice.runbook) == ("run", "setup")
    assert resumption.rollback("setup", {}, {}, health(agents)).kind == "nothing"


class TestSwitchover:
    """www1 was primary in term 3 and was to hand over to www2."""

    PARAMETERS: ClassVar[dict[str, str]] = {"switchover_to": "www2"}

    def test_after_the_commit_nothing_is_left(self, agents: dict[str, Any]) -> None:
        choice = resumption.resume("switchover", self.PARAMETERS, ENTRY, health(at_term(agents, 4)))
        assert choice.kind == "nothing"
        assert "www2 is primary in term 4; before the run it was www1 in term 3" in choice.why

    def test_before_the_commit_it_runs_again(self, agents: dict[str, Any]) -> None:
        entry = {"www1": {"term": 3, "primary": "www2"}}
        choice = resumption.resume("switchover", {"switchover_to": "www1"}, entry, health(agents))
        assert choice == Choice("run", choice.why, "switchover", {"switchover_to": "www1"})
        assert "www2 is still primary" in choice.why

    def test_without_facts_the_goal_decides(self, agents: dict[str, Any]) -> None:
        assert resumption.resume("switchover", self.PARAMETERS, {}, health(agents)).kind == "nothing"
        assert resumption.resume("switchover", {"switchover_to": "www1"}, {}, health(agents)).kind == "run"

    def test_without_a_primary_one_waits(self, agents: dict[str, Any]) -> None:
        now = health(no_primary(agents))
        assert resumption.resume("switchover", self.PARAMETERS, ENTRY, now).kind == "wait"
        assert resumption.rollback("switchover", self.PARAMETERS, ENTRY, now).kind == "wait"

    def test_rollback_before_the_commit_moves_nothing(self, agents: dict[str, Any]) -> None:
        entry = {"www1": {"term": 3, "primary": "www2"}}
        choice = resumption.rollback("switchover", {"switchover_to": "www1"}, entry, health(agents))
        assert (choice.kind, choice.why) == ("nothing", "nothing was moved: www2 is primary in term 3")

    def test_rollback_after_the_commit_switches_back(self, agents: dict[str, Any]) -> None:
        choice = resumption.rollback("switchover", self.PARAMETERS, ENTRY, health(at_term(agents, 4)))
        assert (choice.kind, choice.runbook, choice.parameters) == ("run", "switchover", {"switchover_to": "www1"})

    def test_rollback_to_a_host_that_is_not_ready_is_for_a_person(self, agents: dict[str, Any]) -> None:
        at_term(agents, 4)["www2"]["sync"].update(members=[], mode="degraded")
        choice = resumption.rollback("switchover", self.PARAMETERS, ENTRY, health(agents))
        assert (choice.kind, choice.command) == ("by_hand", "rejoin www1")


class TestFailover:
    """www1 was primary in term 3 and is gone."""

    def test_after_the_promotion_nothing_is_left(self, agents: dict[str, Any]) -> None:
        choice = resumption.resume("failover", {"failover_to": ""}, ENTRY, health(at_term(agents, 4)))
        assert choice.kind == "nothing"
        assert "the failover took place" in choice.why

    def test_a_primary_that_came_back_leaves_nothing_to_do(self, agents: dict[str, Any]) -> None:
        entry = {"www1": {"term": 3, "primary": "www2"}}
        choice = resumption.resume("failover", {}, entry, health(agents))
        assert choice.why == "www2 is primary and takes writes: there is nothing to fail over"

    def test_without_a_primary_it_runs_again(self, agents: dict[str, Any]) -> None:
        choice = resumption.resume("failover", {"failover_to": "www2"}, ENTRY, health(no_primary(agents)))
        assert (choice.kind, choice.parameters) == ("run", {"failover_to": "www2"})

    @pytest.mark.parametrize("key", ["failover_accept_data_loss", "failover_confirm_fenced"])
    def test_what_a_person_said_has_to_be_said_again(self, agents: dict[str, Any], key: str) -> None:
        choice = resumption.resume("failover", {key: ["www1"]}, ENTRY, health(no_primary(agents)))
        assert (choice.kind, choice.command) == ("by_hand", "failover --check")

    def test_rollback_switches_back(self, agents: dict[str, Any]) -> None:
        choice = resumption.rollback("failover", {}, ENTRY, health(at_term(agents, 4)))
        assert (choice.runbook, choice.parameters) == ("switchover", {"switchover_to": "www1"})


def test_rejoin(agents: dict[str, Any]) -> None:
    parameters = {"rejoin_host": "www1"}
    assert resumption.resume("rejoin", parameters, ENTRY, health(agents)).kind == "nothing"
    agents["www1"]["role"] = "unseeded"
    assert resumption.resume("rejoin", parameters, ENTRY, health(agents)).kind == "wait"
    agents["www1"].update(role="replica", database={**agents["www1"]["database"], "io_running": False})
    assert resumption.resume("rejoin", parameters, ENTRY, health(agents)).kind == "run"
    assert resumption.rollback("rejoin", parameters, ENTRY, health(agents)).kind == "nothing"


def test_pause_and_its_end(agents: dict[str, Any]) -> None:
    active = health(agents)
    assert resumption.resume("pause", {"pause_seconds": 60}, {}, active).kind == "run"
    assert resumption.rollback("pause", {}, {}, active).kind == "nothing"
    assert resumption.resume("resume_automation", {}, {}, active).kind == "nothing"
    assert resumption.rollback("resume_automation", {}, {}, active).kind == "by_hand"
    agents["www1"]["pause"] = {"by": "anna", "reason": "", "until": "2026-11-23T06:00:00.000Z"}
    paused = health(agents)
    assert resumption.resume("pause", {}, {}, paused).kind == "nothing"
    assert resumption.rollback("pause", {}, {}, paused).runbook == "resume_automation"
    assert resumption.resume("resume_automation", {}, {}, paused).kind == "run"
    assert resumption.rollback("resume_automation", {}, {}, paused).kind == "nothing"


def test_a_lock_and_what_only_reads(agents: dict[str, Any]) -> None:
    assert resumption.resume("lock", {}, {}, health(agents)).kind == "nothing"
    assert resumption.resume("status", {}, {}, health(agents)).kind == "nothing"
    assert resumption.rollback("status", {}, {}, health(agents)).kind == "nothing"
    agents["www1"]["lock"] = {"run_id": "x"}
    assert resumption.resume("lock", {}, {}, health(agents)).kind == "by_hand"


def test_the_last_entry_in_words() -> None:
    assert resumption.last_entry(RunState()) == "nothing was begun on any host"
    begun = Begun(play="Act: Hand over", title="Hand over", at="2026-11-23T05:00:00.000Z")
    told = "'Hand over' of 'Act: Hand over' was begun at 05:00:00Z"
    assert resumption.last_entry(fold([begun])) == f"{told}, and no entry says that it ended"
    done = Task(phase="Act", title="Hand over", host="www1", outcome="ok", seconds=1.0)
    assert resumption.last_entry(fold([begun, done])) == f"{told} and has ended on www1"


def test_facts_of_the_journal_are_those_of_the_world(agents: dict[str, Any]) -> None:
    entry = world.facts_of(health(agents).reports)
    assert resumption.before_of(entry) == Before("www2", 3)


def test_without_a_database_a_host_that_stands_by_can_take_over_again(agents: dict[str, Any]) -> None:
    at_term(agents, 4)
    for status in agents.values():
        status["database"] |= {"running": False, "io_running": None, "sql_running": None}
        status.update(engine="none", sync=None)
    choice = resumption.rollback("switchover", {}, ENTRY, health(agents))
    assert (choice.kind, choice.runbook, choice.parameters) == ("run", "switchover", {"switchover_to": "www1"})
    agents["www1"]["role"] = "starting"
    assert resumption.rollback("switchover", {}, ENTRY, health(agents)).kind == "by_hand"
