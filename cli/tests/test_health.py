"""Judging an estate from what its agents say."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
from failoverctl.errors import ExitCode
from failoverctl.estate import Estate, Host, Vip
from failoverctl.health import HostReport, Trouble, as_dict, judge, remedy, suggestions

ESTATE = Estate(
    name="cli",
    profile="lan",
    hosts=tuple(Host(name, (), name, "", {}, False) for name in ("www1", "www2", "witness")),
    groups={"web": ("www1", "www2"), "database": ("www1", "www2"), "witness": ("witness",)},
    vips=(Vip("site", "198.51.100.74", "primary"),),
    objectives={},
    domains=(),
)


@pytest.fixture
def answers(fixtures: Path) -> dict[str, Any]:
    """What two real agents said: www2 is primary, www1 its replica."""
    found: dict[str, Any] = json.loads((fixtures / "status.json").read_text())
    return copy.deepcopy(found)


def reports(answers: dict[str, Any]) -> list[HostReport]:
    return [HostReport(name, status=answers[name]) for name in ("www1", "www2")]


def codes(found: list[HostReport]) -> set[str]:
    return {trouble.code for trouble in judge(ESTATE, found).troubles}


def test_two_healthy_agents(answers: dict[str, Any]) -> None:
    health = judge(ESTATE, reports(answers))
    assert (health.verdict, health.primary, health.troubles) == ("healthy", "www2", ())
    assert health.exit_code is ExitCode.OK
    assert health.term == answers["www2"]["term"]
    assert suggestions(ESTATE, health) == ["switchover --to www1"]


def test_nobody_answers() -> None:
    silent = [HostReport(name, error="timed out", reached=False) for name in ("www1", "www2")]
    health = judge(ESTATE, silent)
    assert (health.verdict, health.exit_code) == ("unreachable", ExitCode.UNREACHABLE)
    assert suggestions(ESTATE, health) == ["doctor"]


def test_one_host_does_not_answer(answers: dict[str, Any]) -> None:
    found = [HostReport("www1", error="timed out", reached=False), HostReport("www2", status=answers["www2"])]
    health = judge(ESTATE, found)
    assert (health.verdict, health.exit_code) == ("degraded", ExitCode.DEGRADED)
    assert [trouble.code for trouble in health.troubles] == ["host_unreachable"]


def test_before_setup() -> None:
    health = judge(ESTATE, [HostReport(name, error="it is not installed") for name in ("www1", "www2")])
    assert health.verdict == "degraded"
    assert suggestions(ESTATE, health) == ["setup"]


@pytest.mark.parametrize(
    ("host", "change", "code"),
    [
        ("www2", {"role": "fenced"}, "no_primary"),
        ("www1", {"role": "primary"}, "two_primaries"),
        ("www1", {"role": "starting"}, "not_replica"),
        ("www2", {"database": {"read_only": True}}, "read_only"),
        ("www1", {"database": {"io_running": False, "error": "1045"}}, "replication_stopped"),
        ("www1", {"database": {"sql_running": None}}, "replication_stopped"),
        ("www2", {"sync": {"mode": "degraded"}}, "sync_degraded"),
        ("www2", {"sync": {"members": []}}, "not_in_sync_set"),
        ("www2", {"vips": {"site": {"held": False}}}, "vip_astray"),
        ("www1", {"vips": {"site": {"held": True}}}, "vip_twice"),
        ("www1", {"etcd": {"reachable": False}}, "etcd_unreachable"),
        ("www1", {"etcd": {"healthy": 2, "unhealthy": ["witness"]}}, "etcd_member"),
        ("www1", {"problems": [{"code": "disk_short", "message": "1 MB left"}]}, "disk_short"),
        ("www1", {"estate": "another"}, "other_estate"),
        ("www1", {"database": {"replicates_from": "203.0.113.9"}}, "foreign_primary"),
        ("www1", {"primary": "www9"}, "foreign_term"),
        ("www1", {"version": "0.0.9"}, "agent_versions"),
        ("www1", {"schema": 2}, "agent_format"),
        ("www2", {"members": {"www3": {"version": "0.0.9"}}}, "agent_versions"),
        ("www1", {"pause": {"by": "anna", "reason": "", "until": "2026-11-23T06:00:00Z"}}, "paused"),
        ("www1", {"automation": {"state": "held", "why": "3 failovers"}}, "anti_flap"),
    ],
)
def test_each_trouble_degrades(answers: dict[str, Any], host: str, change: dict[str, Any], code: str) -> None:
    for key, value in change.items():
        if isinstance(value, dict) and key != "vips":
            value = {**answers[host].get(key, {}), **value}
        answers[host][key] = value
    found = reports(answers)
    assert code in codes(found)
    assert judge(ESTATE, found).exit_code is ExitCode.DEGRADED


def test_of_two_primaries_the_one_with_the_higher_term_counts(answers: dict[str, Any]) -> None:
    answers["www1"].update(role="primary", term=answers["www2"]["term"] + 1)
    assert judge(ESTATE, reports(answers)).primary == "www1"


def test_an_agent_of_another_version_does_not_break_the_judge() -> None:
    odd = [HostReport("www1", status={"role": "primary"}), HostReport("www2", status={"problems": [1, None]})]
    assert judge(ESTATE, odd).verdict == "degraded"


def test_a_lock_is_no_trouble_but_comes_first(answers: dict[str, Any]) -> None:
    answers["www1"]["lock"] = {"owner": "anna", "run_id": "x"}
    health = judge(ESTATE, reports(answers))
    assert health.verdict == "healthy"
    assert suggestions(ESTATE, health) == ["lock status"]


def test_the_document_has_the_same_keys_whatever_is_the_case(answers: dict[str, Any]) -> None:
    well = as_dict(ESTATE, judge(ESTATE, reports(answers)), "now", ["a"])
    ill = as_dict(ESTATE, judge(ESTATE, [HostReport("www1", error="x", reached=False)]), "now", [])
    assert well.keys() == ill.keys()
    assert {tuple(host) for host in well["hosts"]} == {tuple(host) for host in ill["hosts"]}
    assert well["schema"] == 1
    assert [host["asked"] for host in well["hosts"]] == [True, True, False]


def test_a_pause_is_told_once_and_makes_the_estate_degraded(answers: dict[str, Any]) -> None:
    pause = {"by": "anna@desk", "reason": "kernel", "at": "x", "until": "2026-11-23T06:00:00.123Z"}
    for host in ("www1", "www2"):
        answers[host].update(pause=pause, automation={"state": "paused", "why": "kernel"})
        answers[host]["problems"] = [{"code": "paused", "message": "automation is paused"}]
    health = judge(ESTATE, reports(answers))
    assert [(item.code, item.message) for item in health.troubles] == [
        ("paused", "automation is paused by anna@desk until 2026-11-23T06:00:00Z: kernel")
    ]
    assert (health.verdict, health.automation.state, health.automation.pause) == ("degraded", "paused", pause)
    assert suggestions(ESTATE, health) == ["resume-automation"]
    document = as_dict(ESTATE, health, "now", [])
    assert document["automation"] == {"state": "paused", "why": "kernel", "pause": pause}
    assert document["problems"][0]["fix"] == "failoverctl resume-automation, when the work is done."


def test_saved_rows_are_worth_a_remark_and_degrade_nothing(answers: dict[str, Any]) -> None:
    answers["www1"]["divergent"] = [{"sql": "/d/a.sql", "raw": "/d/a.bin", "transactions": 2, "at": "x"}]
    health = judge(ESTATE, reports(answers))
    assert (health.verdict, health.troubles) == ("healthy", ())
    assert [item.message for item in health.remarks] == ["www1 has saved 2 transactions that only it had, in /d/a.sql"]
    assert as_dict(ESTATE, health, "now", [])["remarks"][0]["code"] == "divergent_saved"


def test_without_an_agent_automation_is_not_known() -> None:
    health = judge(ESTATE, [HostReport("www1", error="off", reached=False)])
    assert health.automation.as_dict() == {"state": "unknown", "why": None, "pause": None}


def test_no_primary_suggests_to_ask_for_a_failover(answers: dict[str, Any]) -> None:
    answers["www2"]["role"] = "fenced"
    assert suggestions(ESTATE, judge(ESTATE, reports(answers))) == ["failover --check"]


def test_what_to_do_names_the_host() -> None:
    assert remedy(Trouble("not_replica", "www1", "x")).startswith("failoverctl rejoin www1")
    assert remedy(Trouble("unheard_of", "", "x")) == ""


class TestWithoutDatabase:
    """Engine ``none``: roles, addresses and the quorum are judged, and no replication."""

    @pytest.fixture
    def static(self, answers: dict[str, Any]) -> dict[str, Any]:
        """The same two agents, without a database."""
        for status in answers.values():
            database = {"engine": "none", "running": False, "read_only": True, "io_running": None, "sql_running": None}
            status.update(engine="none", sync=None, database={**status["database"], **database})
        return answers

    def test_healthy(self, static: dict[str, Any]) -> None:
        health = judge(ESTATE, reports(static))
        assert (health.verdict, health.primary, health.troubles) == ("healthy", "www2", ())

    def test_what_is_wrong_is_told(self, static: dict[str, Any]) -> None:
        static["www2"]["role"] = "replica"
        (trouble,) = (item for item in judge(ESTATE, reports(static)).troubles if item.code == "no_primary")
        assert trouble.message == "no host is primary; what follows the primary is nowhere"
        static["www2"]["role"] = static["www1"]["role"] = "primary"
        assert "two_primaries" in codes(reports(static))
        static["www1"]["role"] = "starting"
        assert "not_replica" in codes(reports(static))
        static["www2"]["vips"]["site"]["held"] = False
        assert "vip_astray" in codes(reports(static))
