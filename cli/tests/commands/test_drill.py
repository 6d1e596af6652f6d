"""`failoverctl drill`, with the engine faked at its door."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from failoverctl import estate_query, runs
from failoverctl.conduct import Outcome
from failoverctl.drill import edges, engine, scenario, targets
from failoverctl.drill.engine import EXIT_CODES, Order
from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.journal import RunState

from .conftest import Operator

POWER = """\
id: power
title: The primary loses its power
description: Cuts the power.
environment: lab
objectives: {rto_seconds: 8}
method: [{fault: power_off, host: primary}]
expect: {primary: moves, terms: 1}
cooldown_seconds: 0
"""
SWITCH = """\
title: There and back
environment: production
method: [{command: [switchover, --to, "{replica}"]}]
cooldown_seconds: 0
"""


class Drills:
    """What the drills of a test come to, in their order; and what was asked for."""

    def __init__(self) -> None:
        self.orders: list[Order] = []
        self.verdicts = ["pass"]
        self.paused = 4.2

    def play(self, order: Order, _edges: Any, view: Any, following: Callable[[str, RunState], list[str]]) -> Outcome:
        """Stand in for the engine: leave the folder that it would leave."""
        verdict = self.verdicts[min(len(self.orders), len(self.verdicts) - 1)]
        self.orders.append(order)
        folder = runs.create(order.settings.state_directory.value / "runs", "drill", {"estate": order.estate.name})
        (folder.path / "journal.jsonl").touch()
        assert view is not None
        reason = None if verdict == "pass" else f"it was {verdict}"
        result = {
            "schema": 1,
            "run_id": folder.run_id,
            "runbook": "drill",
            "estate": order.estate.name,
            "started_at": "2026-11-23T05:00:00.000Z",
            "verdict": verdict,
            "exit_code": int(EXIT_CODES[verdict]),
            "reason": reason,
            "refusals": [{"code": "not_steady", "message": "not whole"}] if verdict == "refused" else [],
            "problems": [],
            "lock": {"owner": "anna@box", "run_id": "r"} if verdict == "locked" else None,
            "probe": {"writes": {"paused_seconds": self.paused, "lost": 0, "acknowledged": 900}, "http": None},
            "drill": {
                "scenario": order.scenario.ident,
                "title": order.scenario.title,
                "number": order.number,
                "of": order.of,
                "whole_seconds": 12.0,
                "timeline": {"phases": [{"phase": "inject", "seconds": 0.0}, {"phase": "promote", "seconds": 3.9}]},
            },
            "next": list(following(verdict, RunState(run_id=folder.run_id))),
        }
        runs.write_json(folder.path / "result.json", result)
        return Outcome(folder, result)


@pytest.fixture
def drills(operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Drills:
    """Two scenarios, a lab, and an engine that does what the test says."""
    shipped = tmp_path_factory.mktemp("shipped")
    (shipped / "power.yml").write_text(POWER)
    (shipped / "switch.yml").write_text(SWITCH)
    monkeypatch.setattr(scenario, "SHIPPED", shipped)
    inventory = operator.folder / "inventory/hosts.yml"
    inventory.write_text(
        inventory.read_text().replace("failover_estate: cli", "failover_estate: cli\n    failover_environment: lab")
    )
    made = Drills()
    monkeypatch.setattr(engine, "play", made.play)
    monkeypatch.setattr(edges, "real_edges", lambda *_: object())
    return made


def test_the_list_says_what_may_be_run_and_what_it_brought(operator: Operator, drills: Drills) -> None:
    answer = operator.types("drill", "list")
    assert answer.code == 0
    assert [line.split()[0] for line in answer.out.splitlines()] == ["SCENARIO", "power", "switch"]
    drills.verdicts = ["pass", "fail"]
    operator.types("drill", "run", "power", "-y", "--repeat", "2")
    assert "2: 1 fail" in operator.types("drill", "list").out
    document = operator.types("drill", "list", "--json").json()
    assert document["estate"] == "cli"
    assert [item["scenario"] for item in document["scenarios"]] == ["power", "switch"]
    assert document["scenarios"][0]["summary"]["runs"] == 2
    assert document["scenarios"][0]["refused"] is None


@pytest.mark.usefixtures("drills")
def test_where_failover_environment_says_production_a_lab_scenario_is_not_run(operator: Operator) -> None:
    inventory = operator.folder / "inventory/hosts.yml"
    inventory.write_text(inventory.read_text().replace("failover_environment: lab", "failover_environment: production"))
    answer = operator.types("drill", "list")
    assert "not here" in answer.out
    assert "failover_environment is production" in answer.err
    assert "power may not be run on an estate in production" in operator.types("drill", "show", "power").out


@pytest.mark.usefixtures("drills")
def test_show_tells_what_it_will_do_and_what_must_come_of_it(operator: Operator) -> None:
    answer = operator.types("drill", "show", "power")
    assert answer.code == 0
    assert "Cut the power of the primary" in answer.out
    assert "clients are not served for 8 s at most" in answer.out
    assert "another host becomes primary" in answer.out
    assert "Writes paused: no earlier run" in answer.out
    document = operator.types("drill", "show", "power", "--json").json()
    assert document["phases"][3] == {"phase": "Act", "title": "Cut the power of the primary", "at_most_seconds": None}
    assert document["demands"][0].startswith("no acknowledged write is lost")
    unknown = operator.types("drill", "show", "powr")
    assert unknown.code == ExitCode.USAGE
    assert "did you mean 'power'?" in unknown.err


def test_one_run(operator: Operator, drills: Drills) -> None:
    answer = operator.types("drill", "run", "power", "-y")
    assert answer.code == 0
    assert answer.out.splitlines()[-1] == "verdict: pass"
    assert "phases: inject 0 · promote +3.90 s" in answer.out
    assert drills.orders[0].target is not None
    assert answer.err.splitlines()[-1] == "Next: failoverctl drill report power"
    assert "report.html" in answer.err


def test_it_shows_the_state_and_asks(operator: Operator, drills: Drills, agents: dict[str, Any]) -> None:
    assert agents
    answer = operator.types("drill", "run", "power", answer="n\n")
    assert answer.code == ExitCode.INTERRUPTED
    assert drills.orders == []
    assert " Estate cli · primary www2 " in answer.err
    assert "Writes pause: no earlier run." in answer.err
    nobody = operator.types("drill", "run", "power")
    assert nobody.code == ExitCode.USAGE
    assert "add --yes" in nobody.err
    assert operator.types("drill", "run", "power", answer="y\n").code == 0


@pytest.mark.parametrize(
    ("verdicts", "code"),
    [
        (["pass"], 0),
        (["fail"], 1),
        (["unknown"], 5),
        (["refused"], 3),
        (["locked"], 6),
        (["interrupted"], 130),
        (["pass", "pass"], 0),
        (["pass", "fail", "unknown"], 1),
        (["unknown", "pass"], 5),
        (["pass", "refused"], 5),
        (["pass", "interrupted"], 130),
        (["fail", "interrupted"], 1),
    ],
)
def test_the_exit_status_says_the_worst(operator: Operator, drills: Drills, verdicts: list[str], code: int) -> None:
    drills.verdicts = verdicts
    answer = operator.types("drill", "run", "power", "-y", "--repeat", str(len(verdicts)))
    assert answer.code == code
    assert len(drills.orders) == len(verdicts)


def test_all_and_one_table(operator: Operator, drills: Drills) -> None:
    drills.verdicts = ["pass", "refused", "pass", "pass"]
    answer = operator.types("drill", "run", "--all", "--repeat", "2", "--yes")
    assert [order.scenario.ident for order in drills.orders] == ["power", "power", "switch", "switch"]
    table = [line.split() for line in answer.out.splitlines()]
    assert table[0] == ["SCENARIO", "N", "VERDICT", "PAUSED", "P95", "WORST", "HTTP", "LOST", "WHOLE"]
    assert table[1][:5] == ["power", "2", "1", "pass,", "1"]
    assert "refused: it was refused" in answer.err
    assert answer.code == 5
    document = operator.types("drill", "run", "power", "switch", "-y", "--json").json()
    assert (document["schema"], document["exit_code"], len(document["runs"])) == (1, 0, 2)
    assert [item["scenario"] for item in document["summaries"]] == ["power", "switch"]


def test_an_interrupt_ends_the_rest(operator: Operator, drills: Drills) -> None:
    drills.verdicts = ["interrupted"]
    operator.types("drill", "run", "--all", "-y")
    assert len(drills.orders) == 1


@pytest.mark.usefixtures("drills")
def test_names_or_all(operator: Operator) -> None:
    for words in (["drill", "run", "-y"], ["drill", "run", "--all", "power", "-y"]):
        answer = operator.types(*words)
        assert answer.code == ExitCode.USAGE
        assert "name scenarios, or give --all" in answer.err


@pytest.mark.usefixtures("drills")
def test_own_scenarios_and_their_mistakes(operator: Operator) -> None:
    own = operator.folder / "inventory/drills"
    own.mkdir()
    (own / "mine.yml").write_text("title: Mine\nmethod: [{wait: 1}]\n")
    assert "mine" in operator.types("drill", "list").out
    (own / "mine.yml").write_text("titel: Mine\nmethod: [{fault: power_of}]\n")
    answer = operator.types("drill", "list")
    assert answer.code == ExitCode.USAGE
    assert "inventory/drills/mine.yml:1: unknown key 'titel' in a scenario" in answer.err
    assert "inventory/drills/mine.yml:2: unknown fault 'power_of'" in answer.err
    other = operator.folder / "elsewhere"
    other.mkdir()
    (other / "theirs.yml").write_text("title: Theirs\nmethod: [{wait: 1}]\n")
    file = operator.folder / "failover.yml"
    file.write_text(file.read_text() + "drills: elsewhere\n")
    assert "theirs" in operator.types("drill", "list").out
    file.write_text(file.read_text().replace("elsewhere", "nowhere"))
    missing = operator.types("drill", "list")
    assert missing.code == ExitCode.USAGE
    assert "the folder of scenarios does not exist" in missing.err


def test_the_report_of_all_and_of_one(operator: Operator, drills: Drills) -> None:
    assert "No drill yet." in operator.types("drill", "report").err
    operator.types("drill", "run", "power", "-y", "--repeat", "3")
    assert "3 pass" in operator.types("drill", "report").out
    answer = operator.types("drill", "report", "power")
    assert "Writes paused: median 4.2 s, p95 4.2 s, worst 4.2 s of 3 runs" in answer.out
    assert "nothing in 3 runs" in answer.out
    assert "+3.90 s" in answer.out
    document = operator.types("drill", "report", "--json").json()
    assert len(document["runs"]) == 3
    assert document["summaries"][0]["loss_bound"] == 1.0
    assert operator.types("drill", "report", "nothing").code == ExitCode.USAGE
    assert len(drills.orders) == 3


def test_runs_list_and_show_know_drills(operator: Operator, drills: Drills) -> None:
    operator.types("drill", "run", "power", "-y")
    assert "-drill-" in operator.types("runs", "list").out
    shown = operator.types("runs", "show", "--json").json()
    assert shown["drill"]["scenario"] == "power"
    assert operator.types("runs", "show").code == 0
    assert json.loads(
        (Path(drills.orders[0].settings.state_directory.value) / "runs" / shown["run_id"] / "result.json").read_text()
    )


class Hosts:
    """In the place of the ways to the hosts: what was run there."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.silent: set[str] = set()
        self.hosts = ("www1", "www2")
        self.laboratory = None

    def __enter__(self) -> Hosts:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing."""

    def run(self, host: str, argv: list[str], **_: Any) -> None:
        if host in self.silent:
            raise FailoverctlError(f"{host} does not answer")
        self.said.append((host, argv[-1]))


@pytest.fixture
def hosts(monkeypatch: pytest.MonkeyPatch, agents: dict[str, Any]) -> Hosts:
    """Hosts that do as they are told, and healthy agents."""
    assert agents
    made = Hosts()
    monkeypatch.setattr(targets.Targets, "open", lambda *_: made)
    monkeypatch.setattr(estate_query, "acknowledge", lambda *_: True)
    return made


def died(operator: Operator) -> runs.RunFolder:
    """A drill whose process is gone."""
    folder = runs.create(operator.folder / "state/runs", "drill", {"estate": "cli"})
    request = json.loads((folder.path / "request.json").read_text())
    (folder.path / "request.json").write_text(json.dumps({**request, "process": {"pid": 0, "boot_id": "gone"}}))
    return folder


@pytest.mark.usefixtures("drills")
def test_a_killed_drill_is_put_right(operator: Operator, hosts: Hosts) -> None:
    folder = died(operator)
    assert folder.verdict() == "died"
    shown = operator.types("status")
    assert "Next: failoverctl drill mend" in shown.out
    assert "failoverctl drill mend does it" in " ".join(shown.err.split())
    refused = operator.types("resume", "-y", folder.run_id)
    assert refused.code == ExitCode.USAGE
    assert f"failoverctl drill mend {folder.run_id}" in refused.err
    hosts.silent = {"www2"}
    assert operator.types("drill", "mend", "-y").code == ExitCode.FAILED
    hosts.silent = set()
    answer = operator.types("drill", "mend", "-y", folder.run_id)
    assert (answer.code, answer.out) == (0, "Nothing of a drill is left on the hosts.\n")
    assert {host for host, _ in hosts.said} == {"www1", "www2"}
    assert any("failover-drill-deadman-*.timer" in script for _, script in hosts.said)
    assert folder.closed()["how"] == "mended"
    assert "drill mend" not in operator.types("status").out


@pytest.mark.usefixtures("drills", "hosts")
def test_a_drill_that_is_at_work_is_not_mended(operator: Operator) -> None:
    folder = runs.create(operator.folder / "state/runs", "drill", {"estate": "cli"})
    answer = operator.types("drill", "mend", "-y", folder.run_id)
    assert answer.code == ExitCode.LOCKED
    assert "is at work" in answer.err


@pytest.mark.usefixtures("drills", "hosts")
def test_a_drill_that_was_interrupted_has_left_nothing(operator: Operator, drills: Drills) -> None:
    drills.verdicts = ["interrupted"]
    operator.types("drill", "run", "power", "-y")
    assert "drill mend" not in operator.types("status").out
