"""What people see, as pictures in text."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from failoverctl import runbooks, runs
from failoverctl.errors import FailoverctlError
from failoverctl.estate import Estate, Host, Vip
from failoverctl.health import HostReport, judge
from failoverctl.journal import Note, Record, RunState, Task, TaskStarted, apply, fold, read_journal
from failoverctl.render import json as documents
from failoverctl.render import table
from failoverctl.render.live import LiveView, duration, frame
from failoverctl.render.plain import PlainView, lines
from failoverctl.render.terminal import colour_wanted, is_live, to_text, width_of
from failoverctl.runbooks import Danger, Phase, Plan, Runbook
from failoverctl.runs import Figures, History

Golden = Callable[[str, str], None]

NOW = datetime(2026, 11, 23, 5, 50, 1, tzinfo=UTC)


@pytest.fixture
def records(fixtures: Path) -> list[Record]:
    """The journal of a real switchover in the lab."""
    return list(read_journal(fixtures / "run/journal.jsonl"))


def picture(state: RunState, seconds: float, width: int = 110) -> str:
    return to_text(frame(state, seconds), colour=False, width=width)


def test_the_block_at_the_end(records: list[Record], golden: Golden) -> None:
    state = fold(records)
    golden("live-finished", picture(state, state.seconds))


def test_the_block_on_the_way(records: list[Record], golden: Golden) -> None:
    cut = next(
        number
        for number, record in enumerate(records)
        if isinstance(record, TaskStarted) and "Hand the primary" in record.title
    )
    golden("live-running", picture(fold(records[: cut + 1]), 31.4))


def test_the_block_of_a_run_that_failed(records: list[Record], golden: Golden) -> None:
    state = fold(records[:30])
    task = Task(phase="Preflight", title="Ask", host="www2", outcome="failed", seconds=1.0, message="no\nreally")
    state = apply(apply(state, task), Note(text="interrupted: the current task is let finish"))
    golden("live-failed", picture(state, 12.0, 80))


def test_one_line_a_phase(records: list[Record], golden: Golden) -> None:
    state, text = RunState(), []
    for record in records:
        state = apply(state, record)
        text += lines(record, state)
    golden("plain", "\n".join(text))


def test_tasks_are_shown_on_demand(records: list[Record]) -> None:
    shown: list[str] = []
    view, state = PlainView(shown.append, verbosity=1), RunState()
    for record in records:
        before, state = state, apply(state, record)
        view.show(before, record, state)
    view.tick(state, 1.0)
    view.close(state)
    tasks = [record for record in records if isinstance(record, Task)]
    assert sum("Hand the primary role over" in line for line in shown) == sum(
        task.title == "Hand the primary role over" for task in tasks
    )
    assert len(shown) > len(tasks)


def test_the_live_view_draws_and_gives_the_terminal_back(records: list[Record]) -> None:
    stream = io.StringIO()
    view, state = LiveView(stream, colour=False, width=100, verbosity=1), RunState()
    for record in records:
        before, state = state, apply(state, record)
        view.show(before, record, state)
    view.close(state)
    text = stream.getvalue()
    assert "\x1b[?25l" in text
    assert text.rstrip("\n").endswith("\x1b[?25h")
    assert "\x1b[31m" not in text
    assert "Hand over" in text


def test_replay_and_live_view_end_with_the_same_picture(records: list[Record]) -> None:
    step_by_step = RunState()
    for record in records:
        step_by_step = apply(step_by_step, record)
    assert picture(step_by_step, 1.0) == picture(fold(records), 1.0)


def estate(site: str = "") -> Estate:
    hosts = tuple(Host(name, (), name, site, {}, False) for name in ("www1", "www2", "witness", "vault"))
    groups = {
        "web": ("www1", "www2"),
        "database": ("www1", "www2"),
        "witness": ("witness",),
        "backup": ("vault",),
    }
    return Estate("cli", "lan", hosts, groups, (Vip("site", "198.51.100.74", "primary"),), {}, ())


def test_the_estate(fixtures: Path, golden: Golden) -> None:
    answers = json.loads((fixtures / "status.json").read_text())
    health = judge(estate(), [HostReport(name, status=answers[name]) for name in ("www1", "www2")])
    text = table.estate(estate(), health, NOW, ["failoverctl switchover --to www1"], colour=False, width=100)
    golden("estate-healthy", text)


def test_an_estate_without_a_database(fixtures: Path) -> None:
    answers = json.loads((fixtures / "status.json").read_text())
    for status in answers.values():
        status.update(engine="none", sync=None)
    static = replace(estate(), engine="none")
    health = judge(static, [HostReport(name, status=answers[name]) for name in ("www1", "www2")])
    text = table.estate(static, health, NOW, [], colour=False, width=100)
    lines = [line.split() for line in text.splitlines()]
    assert lines[1] == ["HOST", "ROLE", "VIP", "TERM"]
    assert lines[2] == ["www1", "standby", "-", str(answers["www1"]["term"])]
    assert lines[3] == ["www2", "primary", "site", str(answers["www2"]["term"])]


def test_an_estate_in_trouble(fixtures: Path, golden: Golden) -> None:
    answers = json.loads((fixtures / "status.json").read_text())
    primary = judge(estate(), [HostReport(name, status=answers[name]) for name in answers]).primary
    status = answers[primary]
    status["lock"] = {
        "owner": "anna@desk",
        "run_id": "20261123T054904Z-setup-60cc",
        "runbook": "setup",
        "acquired_at": "2026-11-23T05:49:01.000Z",
    }
    other = next(name for name in ("www1", "www2") if name != primary)
    found = [HostReport(primary, status=status), HostReport(other, error="no route to host", reached=False)]
    text = table.estate(estate("fra"), judge(estate("fra"), found), NOW, [], colour=False, width=100)
    golden("estate-degraded", text)


def test_an_estate_that_a_person_works_on(fixtures: Path, golden: Golden) -> None:
    answers = json.loads((fixtures / "status.json").read_text())
    answers["www1"].update(
        pause={"by": "anna@desk", "reason": "kernel update", "until": "2026-11-23T06:20:00.000Z"},
        divergent=[{"sql": "/var/lib/failover-agent/divergent/a.sql", "transactions": 2}],
    )
    health = judge(estate(), [HostReport(name, status=answers[name]) for name in ("www1", "www2")])
    text = table.estate(estate(), health, NOW, ["failoverctl resume-automation"], colour=False, width=100)
    golden("estate-paused", text)


@pytest.mark.parametrize("status", [{}, {"role": "fenced", "database": None, "vips": [], "sync": []}])
def test_an_odd_answer_is_shown_as_far_as_it_goes(status: dict[str, Any]) -> None:
    found = [HostReport("www1", status=status), HostReport("www2", error="x")]
    text = table.estate(estate(), judge(estate(), found), NOW, [], colour=False, width=100)
    assert "www1" in text
    assert "no agent" in text


def test_a_plan(golden: Golden) -> None:
    runbook = Runbook("switchover", "make another data host the primary", Danger.INTERRUPTS, {})
    phases = (Phase("Lock", "One runbook at a time", "failover_database"), Phase("Act", "Hand over", "www1, www2"))
    past = History(Figures(4, 21.5, 30.0), Figures(3, 0.187, 1.2), Figures(1, 0.05, 0.05), 0, 2331)
    found = Plan(runbook, {"switchover_to": "www2"}, phases, past)
    golden("plan", table.plan(found, colour=False, width=100))
    assert found.as_dict()["predicted"]["writes_outage_seconds"] == {"median": 0.187, "worst": 1.2, "runs": 3}


def test_a_plan_without_history() -> None:
    found = Plan(runbooks.CATALOGUE["setup"], {}, (), History(None, None, None, None, None))
    text = table.plan(found, colour=False, width=100)
    assert text.count("no earlier run") == 1
    assert text.count("no earlier measured run") == 3
    assert found.as_dict()["predicted"]["duration_seconds"] is None


def run_row(**changes: Any) -> dict[str, Any]:
    return {
        "run_id": "20261123T054904Z-switchover-60cc",
        "estate": "shop",
        "started": "05:49, 1 min ago",
        "verdict": "pass",
        "seconds": 56.1,
        "paused_seconds": 0.234,
        **changes,
    }


def test_runs(golden: Golden) -> None:
    rows = [run_row(), run_row(verdict="died", seconds=None, paused_seconds=None)]
    golden("runs", table.runs(rows, colour=False, width=100))
    both = [*rows, run_row(estate="blog")]
    golden("runs-of-two-estates", table.runs(both, colour=False, width=100))
    narrow = table.runs(rows, colour=False, width=60)
    assert "20261123T054904Z-switchover-60cc" in narrow


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.04, "0.0 s"), (9.94, "9.9 s"), (10.2, "10 s"), (59.4, "59 s"), (60, "1 min 00 s"), (185.4, "3 min 05 s")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_locks_with_and_without_a_time() -> None:
    assert table.lock_line({}, NOW) == "a runbook of somebody since ? (run ?)"
    lock = {"owner": "a", "runbook": "setup", "run_id": "r", "acquired_at": "2026-11-23T05:49:01.000Z"}
    assert table.lock_line(lock, NOW) == "setup of a since 05:49:01Z, 1 min 00 s ago (run r)"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("environ", "refused", "wanted"),
    [
        ({}, False, True),
        ({"NO_COLOR": "1"}, False, False),
        ({"NO_COLOR": ""}, False, True),
        ({"TERM": "dumb"}, False, False),
        ({"CLICOLOR": "0"}, False, False),
        ({}, True, False),
        ({"CLICOLOR_FORCE": "1", "NO_COLOR": "1"}, False, False),
    ],
)
def test_colour_of_a_terminal(environ: dict[str, str], refused: bool, wanted: bool) -> None:
    assert colour_wanted(Terminal(), environ, refused=refused) is wanted


def test_colour_of_a_pipe() -> None:
    assert colour_wanted(io.StringIO(), {}) is False
    assert colour_wanted(io.StringIO(), {"CLICOLOR_FORCE": "1"}) is True
    assert colour_wanted(io.StringIO(), {"CLICOLOR_FORCE": "0"}) is False
    assert width_of(io.StringIO()) == 160


def test_what_can_be_drawn_on() -> None:
    assert is_live(Terminal(), {"TERM": "xterm"})
    assert not is_live(Terminal(), {"TERM": "dumb"})
    assert not is_live(Terminal(), {})
    assert not is_live(io.StringIO(), {"TERM": "xterm"})


def test_colour_is_never_the_only_signal(records: list[Record]) -> None:
    state = fold(records)
    coloured = to_text(frame(state, 1.0), colour=True, width=110)
    assert "\x1b[" in coloured
    plain = picture(state, 1.0)
    assert "\x1b[" not in plain
    assert "✓" in plain
    assert "ok on 2 hosts" in plain


def test_documents() -> None:
    assert json.loads(documents.document({"schema": 1, "ä": datetime(2026, 1, 1)})) == {
        "schema": 1,
        "ä": "2026-01-01 00:00:00",
    }


def test_phases_come_from_the_playbooks_themselves() -> None:
    found = runbooks.phases(runbooks.CATALOGUE["switchover"])
    assert [phase.phase for phase in found][:3] == ["Preflight", "Lock", "Preflight"]
    assert all("{{" not in phase.hosts for phase in found)
    for runbook in runbooks.CATALOGUE.values():
        assert runbooks.phases(runbook)
        assert runbook.playbook == f"hosting.failover.{runbook.name}"


def test_imported_playbooks_are_part_of_the_plan(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "playbooks"
    folder.mkdir()
    (folder / "setup.yml").write_text(
        "- import_playbook: hosting.failover.check\n- ansible.builtin.import_playbook: more.yml\n"
    )
    (folder / "check.yml").write_text("- {name: 'Preflight: a', hosts: all}\n")
    (folder / "more.yml").write_text("- {name: 'Act: b', hosts: all}\n- {hosts: all}\n")
    monkeypatch.setattr(runbooks, "collection_directory", lambda: tmp_path)
    found = runbooks.phases(runbooks.CATALOGUE["setup"])
    assert [(phase.phase, phase.title) for phase in found] == [("Preflight", "a"), ("Act", "b")]
    (folder / "more.yml").write_text("[")
    with pytest.raises(FailoverctlError, match="cannot be read"):
        runbooks.phases(runbooks.CATALOGUE["setup"])
    monkeypatch.setattr(runbooks, "collection_directory", lambda: None)
    with pytest.raises(FailoverctlError, match="was not found"):
        runbooks.phases(runbooks.CATALOGUE["setup"])


def test_paused_is_preferred_to_outage() -> None:
    assert runs.paused_seconds({"paused_seconds": 0.2, "outage_seconds": 0.1}) == 0.2
    assert runs.paused_seconds({"outage_seconds": 0.1}) == 0.1
    assert runs.paused_seconds({}) is None
