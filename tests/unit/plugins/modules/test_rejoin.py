# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module rejoin: what the agent's answer means for a playbook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.modules import rejoin as module

from ..fake_agent import FakeAgent

Run = Callable[..., dict[str, Any]]
DIVERGENT = {"transactions": 2, "sql": "/var/lib/failover-agent/divergent/a.sql", "raw": "/a.bin"}


def outcome(result: str, **changes: Any) -> dict[str, Any]:
    """An answer of the agent."""
    return {
        "result": result,
        "method": "attach",
        "divergent": None,
        "steps": [],
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
        agent.say("rejoin", {"ok": True, "rejoin": answer})
        return run_module(module, {"run_id": "run-1", "socket": agent.path, **args}, check=check)

    return call


@pytest.mark.parametrize("how", ["attached", "flashed_back", "recloned"])
def test_rejoined(run: Run, agent: FakeAgent, how: str) -> None:
    result = run(outcome(how, divergent=DIVERGENT))
    assert not result.get("failed")
    assert (result["changed"], result["result"], result["divergent"]) == (True, how, DIVERGENT)
    assert "by: attach" in result["diff"]["after"]
    assert agent.asked == [{"command": "rejoin", "run_id": "run-1", "reclone": False, "check": False}]


def test_a_host_that_follows_is_left_alone(run: Run) -> None:
    result = run(outcome("already"))
    assert (result["changed"], result.get("failed")) == (False, None)
    assert "diff" not in result


def test_check_mode_asks_for_a_check(run: Run, agent: FakeAgent) -> None:
    result = run(outcome("possible", method="reclone"), check=True, reclone=True)
    assert (result["changed"], result["method"]) == (True, "reclone")
    assert (agent.asked[-1]["check"], agent.asked[-1]["reclone"]) == (True, True)


def test_refused(run: Run) -> None:
    result = run(outcome("refused", refusals=[{"code": "already_primary", "message": "www1 is the primary."}]))
    assert (result["failed"], result["changed"], result["failover_refused"]) == (True, False, True)
    assert result["msg"] == "Rejoin refused: www1 is the primary."


def test_failed_says_where_rows_are_saved(run: Run) -> None:
    result = run(outcome("failed", error="the stream broke", divergent=DIVERGENT))
    assert (result["failed"], result["changed"]) == (True, True)
    assert (
        "2 transactions are on this host only. It is saved in /var/lib/failover-agent/divergent/a.sql."
        in (result["msg"])
    )


def test_without_an_answer_one_must_look_first(run_module: Run, tmp_path: Path) -> None:
    result = run_module(module, {"run_id": "run-1", "socket": str(tmp_path / "none.sock")})
    assert result["failed"]
    assert "failoverctl status" in result["msg"]
