"""Scenario files: what is read, and that everything that is wrong is told at once, with its place."""

from __future__ import annotations

from pathlib import Path

import pytest
from failoverctl.drill import scenario as scenarios
from failoverctl.drill.scenario import (
    CommandStep,
    FaultStep,
    HealStep,
    KillEachStep,
    RepeatStep,
    Scenario,
    Vocabulary,
    WaitForStep,
    WaitStep,
    load,
    read,
)
from failoverctl.problems import ConfigurationError, Problem
from hypothesis import given
from hypothesis import strategies as st

from .story import WORDS

WHOLE = """\
id: both_ways
title: There and back
description: >-
  Two lines
  of text.
risks: [host failure]
environment: lab
approval: {by: Anna, until: 2027-01-31}
objectives: {rto_seconds: 8, http_after_write_seconds: 1, whole_seconds: 60}
load: {writers: 16, rate_hz: 10, http: false, direct: true, baseline_seconds: 3}
steady_state: [healthy, {role: {host: primary, is: primary}}]
method:
  - {fault: stop_unit, host: primary, unit: mariadb, seconds: 5, id: stop}
  - wait: 2
  - {wait_for: new_primary, limit_seconds: 20}
  - {command: [switchover, --to, "{old_primary}"], expect_exit: [0, 3], expect_codes: [locked]}
  - {command: [switchover], kill_at: Act}
  - {heal: stop}
  - repeat: 3
    do:
      - {fault: cut, from: [www1, www2], to: all_data, id: flap}
      - heal: all
expect:
  primary: moves
  terms: [0, 1]
  writes: any
  problems: [sync_degraded]
  holds: [one_primary, {clients_served: 2.5}]
abort_when: [{writes_paused_seconds: 60}]
rollbacks: [{command: [failover]}]
observe_seconds: 20
settle_seconds: 30
cooldown_seconds: 1
repeat: 20
"""


def parse(text: str, folder: Path) -> tuple[Scenario | None, list[Problem]]:
    """Return what is read from a text, and what is wrong with it."""
    path = folder / "both_ways.yml"
    path.write_text(text)
    problems: list[Problem] = []
    return read(path, WORDS, problems), problems


def told(text: str, folder: Path) -> list[str]:
    """Return ``line: message (fix)`` of everything that is wrong with a text."""
    _, problems = parse(text, folder)
    return [
        f"{item.location.line if item.location else 0}: {item.message}" + (f" ({item.fix})" if item.fix else "")
        for item in problems
    ]


def test_everything_a_scenario_can_say(tmp_path: Path) -> None:
    found, problems = parse(WHOLE, tmp_path)
    assert problems == []
    assert found is not None
    assert (found.ident, found.description, found.environment) == ("both_ways", "Two lines of text.", "lab")
    assert found.approval is not None
    assert str(found.approval.until) == "2027-01-31"
    assert (found.load.writers, found.load.http, found.load.direct) == (16, False, True)
    assert (found.promises.rto_seconds, found.promises.rto_of_estate) == (8.0, False)
    stop, wait, wait_for, command, killed, heal, repeat = found.method
    assert stop == FaultStep("stop_unit", "stop", ("primary",), 5.0, {"unit": "mariadb"})
    assert wait == WaitStep(2.0)
    assert isinstance(wait_for, WaitForStep)
    assert (wait_for.condition.word, wait_for.limit_seconds) == ("new_primary", 20.0)
    assert isinstance(command, CommandStep)
    assert (command.expect_exit, command.expect_codes) == ((0, 3), ("locked",))
    assert isinstance(killed, CommandStep)
    assert killed.kill_at == "Act"
    assert heal == HealStep("stop")
    assert isinstance(repeat, RepeatStep)
    assert repeat.steps[0] == FaultStep(
        "cut", "flap", (), None, {"from": ["www1", "www2"], "to": "all_data"}, frozenset({"from", "to"})
    )
    assert [step.fault for step in found.faults] == ["stop_unit", "cut"]
    assert found.expect.terms == (0, 1)
    assert found.expect.holds[1].value == 2.5
    assert (found.repeat, found.observe_seconds) == (20, 20.0)


def test_a_command_that_is_killed_everywhere(tmp_path: Path) -> None:
    step = """
  - kill_each: [switchover, --yes]
    every: 2
    before: [{fault: stop_unit, host: primary, unit: x}]
    then: [[failover, --yes]]
    after: [{heal: stop-unit}]
    limit_seconds: 600
"""
    found, problems = parse(f"title: T\nmethod:{step}", tmp_path)
    assert problems == []
    assert found is not None
    assert found.method == (
        KillEachStep(
            ("switchover", "--yes"),
            (("failover", "--yes"),),
            (FaultStep("stop_unit", "stop-unit", ("primary",), None, {"unit": "x"}),),
            (HealStep("stop-unit"),),
            2,
            600.0,
        ),
    )
    assert [fault.fault for fault in found.faults] == ["stop_unit"], "the gates see it"
    assert found.longest_seconds > 600
    assert told("title: T\nmethod:\n  - kill_each: [switchovr]\n", tmp_path) == [
        "3: a drill cannot run `failoverctl switchovr` (did you mean 'switchover'?)",
        "3: kill_each needs `then`, a list of commands: [[resume, --yes]]",
    ]


def test_what_is_not_said_has_a_default(tmp_path: Path) -> None:
    found, problems = parse("title: Least\nmethod: [{wait: 1}]\n", tmp_path)
    assert problems == []
    assert found is not None
    assert found.ident == "both_ways"
    assert found.environment == "staging"
    assert found.promises.rto_of_estate
    assert not found.expect.clients_may_hang
    assert [condition.word for condition in found.steady_state] == ["healthy", "vip_on_primary"]
    sudden, _ = parse("title: T\nmethod: [{fault: power_off, host: primary}]\n", tmp_path)
    assert sudden is not None
    assert sudden.expect.clients_may_hang


def test_everything_that_is_wrong_is_told_at_once_with_its_line(tmp_path: Path) -> None:
    text = """\
titel: Wrong
environment: prod
load: {writers: none, speed: 3}
method:
  - {fault: power_of, host: primary}
  - {fault: stop_unit, host: primry}
  - {fault: power_off}
  - {wait: -1}
  - {wait_for: healty}
  - {command: [switchovr, "{primry}"]}
  - {heal: nothing}
  - {sleep: 3}
  - {repeat: 2}
expect: {primary: moved, terms: [2, 1]}
approval: {by: Anna, until: soon}
"""
    lines = told(text, tmp_path)
    for expected in (
        "1: unknown key 'titel' in a scenario (did you mean 'title'?)",
        "2: environment must be one of lab, staging, production, found 'prod'",
        "3: unknown key 'speed' in load",
        "3: writers must be a number from 1 to 1000, found 'none'",
        "5: unknown fault 'power_of' (did you mean 'power_off'?)",
        "6: unknown host 'primry' (did you mean 'primary'?)",
        "6: fault stop_unit: unit: missing",
        "7: fault power_off needs `host`",
        "8: wait must be a number from 0 to 3600, found '-1'",
        "9: unknown condition 'healty' (did you mean 'healthy'?)",
        "10: a drill cannot run `failoverctl switchovr` (did you mean 'switchover'?)",
        "10: unknown host {primry} (did you mean 'primary'?)",
        "11: no fault of id 'nothing' before",
        "12: a step has exactly one of command, fault, heal, kill_each, repeat, wait, wait_for",
        "13: repeat needs `do`, a list of steps",
        "14: primary must be one of moves, stays, any, found 'moved'",
        "14: expect.terms must be a number, or the least and the most: [0, 1]",
        "15: approval.until must be a date such as 2027-01-31, found 'soon'",
    ):
        assert any(line.startswith(expected) for line in lines), (expected, lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "1: the file is empty"),
        ("- a\n", "1: a scenario must be keys and values, found a list"),
        ("title: [\n", "2: this is not YAML"),
        ("title: a\ntitle: b\nmethod: [{wait: 1}]\n", "2: key 'title' is given twice"),
        ("title: a\nmethod: []\n", "2: method must have at least one step"),
        ("title: a\nmethod: [{wait_for: {clients_served: soon}}]\n", "2: clients_served must be a number of seconds"),
        ("title: a\nmethod: [{wait_for: {role: primary}}]\n", "2: condition role must be keys and values"),
        ("title: a\nmethod: [{wait_for: problem}]\n", "2: condition problem needs a value"),
        ("title: a\nmethod: [{wait_for: {healthy: yes}}]\n", "2: condition healthy takes no value"),
        ("id: A B\ntitle: a\nmethod: [{wait: 1}]\n", "1: id 'A B' must be lower-case letters"),
        ("title: a\nmethod: [{fault: cut, from: primary, id: Über}]\n", "2: id 'Über' must be at most 24"),
    ],
)
def test_each_mistake_has_its_place(tmp_path: Path, text: str, expected: str) -> None:
    found, problems = parse(text, tmp_path)
    assert found is None
    assert any(line.startswith(expected) for line in told(text, tmp_path)), problems


@given(st.text(max_size=200))
def test_no_text_is_too_odd(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.mktemp("odd")
    path = folder / "odd.yml"
    path.write_text(text, encoding="utf-8", errors="replace")
    problems: list[Problem] = []
    found = read(path, Vocabulary({}), problems)
    assert (found is None) == bool(problems)


def test_own_scenarios_come_beside_the_shipped_ones_or_in_their_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    for folder in (shipped, own):
        folder.mkdir()
    (shipped / "a.yml").write_text("title: A\nmethod: [{wait: 1}]\n")
    (shipped / "b.yml").write_text("title: B\nmethod: [{wait: 1}]\n")
    (own / "b.yaml").write_text("title: Mine\nmethod: [{wait: 1}]\n")
    monkeypatch.setattr(scenarios, "SHIPPED", shipped)
    found = load([own, tmp_path / "nowhere"], WORDS)
    assert [(name, item.title, item.shipped) for name, item in found.items()] == [
        ("a", "A", True),
        ("b", "Mine", False),
    ]
    (own / "c.yml").write_text("titel: C\n")
    (own / "d.yml").write_text("title: D\n")
    with pytest.raises(ConfigurationError) as error:
        load([own], WORDS)
    assert len(error.value.problems) == 4
