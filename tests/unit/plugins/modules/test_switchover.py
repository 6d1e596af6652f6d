# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module switchover: what the agent's answer means for a playbook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.modules import switchover as module

from ..fake_agent import FakeAgent

Run = Callable[..., dict[str, Any]]
STEP = {"name": "fence", "title": "Stop writes on the old primary", "at": 180.0, "ms": 3.1, "outcome": "ok"}
REFUSALS = [
    {"code": "replica_lagging", "message": "www2 did not catch up within 2 s.", "observed": "", "limit": "", "fix": ""},
    {"code": "disk_short", "message": "The data disk of www2 is nearly full.", "observed": "", "limit": "", "fix": ""},
]


def outcome(result: str, **changes: Any) -> dict[str, Any]:
    """An answer of the agent."""
    return {
        "result": result,
        "from": "www1",
        "to": "www2",
        "term_before": 3,
        "term_after": 3,
        "critical_ms": None,
        "position": None,
        "steps": [STEP],
        "refusals": [],
        "error": "",
    } | changes


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path) as made:
        yield made


@pytest.fixture
def run(run_module: Run, agent: FakeAgent) -> Run:
    """Run it with an answer of the agent."""

    def call(answer: dict[str, Any], *, check: bool = False, **args: Any) -> dict[str, Any]:
        agent.say("switchover", {"ok": True, "switchover": answer})
        return run_module(module, {"run_id": "run-1", "socket": agent.path, **args}, check=check)

    return call


def test_switched(run: Run, agent: FakeAgent) -> None:
    result = run(outcome("switched", term_after=4, critical_ms=42.0, position="0-1-5"), to="www2")
    assert not result.get("failed")
    assert (result["changed"], result["result"]) == (True, "switched")
    assert (result["critical_ms"], result["term_after"]) == (42.0, 4)
    assert result["steps"] == [STEP]
    assert result["diff"] == {"before": "primary: www1\n", "after": "primary: www2\n"}
    assert agent.asked == [{"command": "switchover", "to": "www2", "run_id": "run-1", "check": False}]


def test_check_mode_asks_for_a_check(run: Run, agent: FakeAgent) -> None:
    result = run(outcome("possible"), check=True)
    assert (result["changed"], result["result"]) == (True, "possible")
    assert agent.asked[-1]["check"] is True
    assert agent.asked[-1]["to"] == ""


def test_refused_names_every_reason(run: Run) -> None:
    result = run(outcome("refused", refusals=REFUSALS))
    assert (result["failed"], result["changed"], result["failover_refused"]) == (True, False, True)
    assert [refusal["code"] for refusal in result["refusals"]] == ["replica_lagging", "disk_short"]
    assert "did not catch up within 2 s. The data disk" in result["msg"]


def test_undone_changed_nothing(run: Run) -> None:
    result = run(outcome("undone", error="www2 did not reach 0-1-5 within 3 s"))
    assert (result["failed"], result["changed"]) == (True, False)
    assert "www1 serves again: www2 did not reach 0-1-5" in result["msg"]
    assert "failover_refused" not in result


def test_failed_after_the_commit_changed_the_primary(run: Run) -> None:
    result = run(outcome("failed", term_after=4, error="keepalived did not release 198.51.100.10 within 1 s"))
    assert (result["failed"], result["changed"]) == (True, True)
    assert "www2 is primary, but not all went well: keepalived did not release" in result["msg"]


def test_an_unknown_outcome_is_not_called_a_success(run: Run) -> None:
    result = run(outcome("failed", error="etcd is silent and the lease has ended"))
    assert (result["failed"], result["changed"]) == (True, True)
    assert "Nobody knows yet whether www2 is primary" in result["msg"]


def test_without_an_answer_one_must_look_first(run_module: Run, tmp_path: Path) -> None:
    result = run_module(module, {"run_id": "run-1", "socket": str(tmp_path / "none.sock")})
    assert result["failed"]
    assert "failoverctl status" in result["msg"]
