# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module failover: what the agent's answer means for a playbook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.modules import failover as module

from ..fake_agent import FakeAgent, estate

Run = Callable[..., dict[str, Any]]
STEP = {"name": "stop_receiving", "title": "Stop receiving", "at": 180.0, "ms": 3.1, "outcome": "ok"}
LOSS = {
    "why": "www3 is a member of the sync set and does not answer.",
    "silent": ["www3"],
    "mode": "strict",
    "last_known": "0-1-4711",
}
SILENT = [{"code": "member_silent", "message": "www3 does not answer.", "observed": "", "limit": "", "fix": ""}]


def outcome(result: str, **changes: Any) -> dict[str, Any]:
    """An answer of the agent."""
    return {
        "result": result,
        "from": "www1",
        "to": "www2",
        "term_before": 3,
        "term_after": 3,
        "position": None,
        "possible_loss": None,
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
        agent.say("failover", {"ok": True, "failover": answer})
        return run_module(module, {"run_id": "run-1", "socket": agent.path, **args}, check=check)

    return call


def test_promoted(run: Run, agent: FakeAgent) -> None:
    result = run(outcome("promoted", term_after=4, position="0-1-5"))
    assert not result.get("failed")
    assert (result["changed"], result["result"], result["term_after"]) == (True, "promoted", 4)
    assert result["diff"] == {"before": "primary: www1\n", "after": "primary: www2\n"}
    assert agent.asked == [
        {
            "command": "failover",
            "run_id": "run-1",
            "to": "",
            "accept_data_loss": False,
            "confirm_fenced": [],
            "check": False,
        }
    ]


def test_what_a_person_decides_reaches_the_agent(run: Run, agent: FakeAgent) -> None:
    result = run(
        outcome("possible", possible_loss=LOSS), check=True, to="www2", accept_data_loss=True, confirm_fenced=["www1"]
    )
    assert (result["changed"], result["possible_loss"]) == (True, LOSS)
    asked = agent.asked[-1]
    assert (asked["to"], asked["accept_data_loss"], asked["confirm_fenced"], asked["check"]) == (
        "www2",
        True,
        ["www1"],
        True,
    )


def test_refused_says_what_may_be_lost(run: Run) -> None:
    result = run(outcome("refused", refusals=SILENT, possible_loss=LOSS))
    assert (result["failed"], result["changed"], result["failover_refused"]) == (True, False, True)
    assert result["possible_loss"] == LOSS
    assert result["msg"] == (
        "Failover refused: www3 does not answer. What may be lost: www3 is a member of the sync set and does not"
        " answer. The last position known is 0-1-4711."
    )


ALIVE = [{"code": "primary_alive", "message": "www2 is primary."}]


@pytest.mark.parametrize(
    ("args", "term", "good"),
    [
        ({"since_term": 3}, 4, True),
        ({"since_term": 3, "to": "www2"}, 4, True),
        ({"since_term": 3, "to": "www3"}, 4, False),
        ({"since_term": 3}, 3, False),
        ({}, 4, False),
    ],
)
def test_automation_that_was_faster(run: Run, agent: FakeAgent, args: dict[str, Any], term: int, good: bool) -> None:
    agent.status(estate(term=term, primary="www2"))
    result = run(outcome("refused", refusals=ALIVE, possible_loss=LOSS), **args)
    assert bool(result.get("failed")) is not good
    if good:
        assert (result["result"], result["changed"], result["to"]) == ("already", False, "www2")
        assert (result["term_after"], result["possible_loss"]) == (4, None)


def test_refused_without_loss_names_none(run: Run) -> None:
    refusal = {"code": "primary_alive", "message": "www1 is alive."}
    result = run(outcome("refused", refusals=[refusal]))
    assert result["msg"] == "Failover refused: www1 is alive."


@pytest.mark.parametrize(
    ("term_after", "words"), [(3, "Nobody was promoted, as far as is known: etcd"), (4, "www2 is primary in term 4")]
)
def test_failed_says_what_is_known(run: Run, term_after: int, words: str) -> None:
    result = run(outcome("failed", term_after=term_after, error="etcd is silent"))
    assert (result["failed"], result["changed"]) == (True, True)
    assert words in result["msg"]
    assert "failover_refused" not in result


def test_without_an_answer_one_must_look_first(run_module: Run, tmp_path: Path) -> None:
    result = run_module(module, {"run_id": "run-1", "socket": str(tmp_path / "none.sock")})
    assert result["failed"]
    assert "failoverctl status" in result["msg"]
