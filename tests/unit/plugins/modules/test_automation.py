# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module automation: paused and active, idempotent, with check mode."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.modules import automation as module

from ..fake_agent import FakeAgent, estate

Run = Callable[..., dict[str, Any]]
AT = "2026-11-23T05:00:00.000Z"
PAUSE = {"by": "anna@desk", "reason": "kernel", "at": AT, "until": "2026-11-23T06:00:00.000Z"}
ACTIVE = {"state": "active", "why": "", "failovers_last_hour": 0}
HELD = {"state": "held", "why": "3 failovers within an hour", "failovers_last_hour": 3}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path) as made:
        made.status(estate(at=AT, pause=None, automation=ACTIVE))
        made.say("pause", {"ok": True, "changed": True, "pause": PAUSE})
        made.say("resume", {"ok": True, "changed": False, "acknowledged": {"by": "anna@desk", "at": AT}})
        yield made


@pytest.fixture
def run(run_module: Run, agent: FakeAgent) -> Run:
    """Run it for anna."""

    def call(state: str, *, check: bool = False, **args: Any) -> dict[str, Any]:
        wanted = {"state": state, "by": "anna@desk", "socket": agent.path, **args}
        return run_module(module, wanted, check=check)

    return call


def test_pause(run: Run, agent: FakeAgent) -> None:
    result = run("paused", reason="kernel", seconds=3600)
    assert (result["changed"], result["pause"]) == (True, PAUSE)
    assert agent.asked[-1] == {"command": "pause", "by": "anna@desk", "reason": "kernel", "seconds": 3600.0}
    assert result["diff"] == {
        "before": "automation: active\n",
        "after": "automation: paused by anna@desk until 2026-11-23T06:00:00.000Z: kernel\n",
    }


@pytest.mark.parametrize(
    ("wanted", "changed"),
    [
        ({}, False),
        ({"seconds": 3630}, False),
        ({"seconds": 7200}, True),
        ({"seconds": 60}, True),
        ({"reason": "disk"}, True),
        ({"by": "bert@desk"}, True),
    ],
)
@pytest.mark.parametrize("check", [False, True])
def test_the_same_pause_changes_nothing(
    run: Run, agent: FakeAgent, wanted: dict[str, Any], changed: bool, check: bool
) -> None:
    agent.status(estate(at=AT, pause=PAUSE, automation={**ACTIVE, "state": "paused"}))
    result = run("paused", check=check, **{"reason": "kernel", "seconds": 3600, **wanted})
    assert result["changed"] is changed
    assert agent.commands() == (["pause"] if changed and not check else [])


@pytest.mark.parametrize("check", [False, True])
@pytest.mark.parametrize(
    ("pause", "automation", "changed"),
    [
        (None, ACTIVE, False),
        (PAUSE, ACTIVE, True),
        (None, HELD, True),
        (None, {**ACTIVE, "failovers_last_hour": 1}, True),
    ],
)
def test_resume(run: Run, agent: FakeAgent, pause: Any, automation: Any, changed: bool, check: bool) -> None:
    agent.status(estate(at=AT, pause=pause, automation=automation))
    result = run("active", check=check)
    assert result["changed"] is changed
    assert agent.commands() == (["resume"] if changed and not check else [])
    if changed and not check:
        assert result["acknowledged"] == {"by": "anna@desk", "at": AT}
        assert agent.asked[-1] == {"command": "resume", "by": "anna@desk"}


def test_an_agent_that_knows_no_automation_is_active(run: Run, agent: FakeAgent) -> None:
    agent.status(estate())
    assert run("active")["changed"] is False


def test_without_etcd_nothing_can_be_said(run: Run, agent: FakeAgent) -> None:
    agent.status(estate(etcd={"reachable": False, "endpoints": 3, "healthy": 1, "unhealthy": ["x"]}))
    result = run("paused")
    assert result["failed"]
    assert "etcd gives no answer" in result["msg"]


def test_a_pause_lasts(run: Run) -> None:
    assert "longer than 0 s" in run("paused", seconds=0)["msg"]


def test_without_an_agent(run_module: Run, tmp_path: Path) -> None:
    result = run_module(module, {"state": "active", "by": "anna", "socket": str(tmp_path / "none.sock")})
    assert result["failed"]
    assert "no agent listens" in result["msg"]
