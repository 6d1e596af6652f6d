# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Talking to the agent of the host."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.module_utils import _agent
from ansible_collections.hosting.failover.plugins.module_utils._agent import AgentError

from ..fake_agent import FakeAgent, estate


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path) as made:
        yield made


def test_a_question_and_its_answer(agent: FakeAgent) -> None:
    agent.say("bootstrap", {"ok": True, "changed": True, "term": 1})
    assert _agent.call(agent.path, {"command": "bootstrap", "primary": "www1"}) == {"changed": True, "term": 1}
    assert agent.asked == [{"command": "bootstrap", "primary": "www1"}]


def test_a_refusal_keeps_its_code(agent: FakeAgent) -> None:
    agent.say("adopt", {"ok": False, "code": "not_primary", "error": "www2 is not the primary"})
    with pytest.raises(AgentError, match="www2 is not the primary") as caught:
        _agent.call(agent.path, {"command": "adopt"})
    assert caught.value.code == "not_primary"


def test_without_an_agent_the_code_is_absent(tmp_path: Path) -> None:
    with pytest.raises(AgentError, match=r"is failover-agent\.service running\?") as caught:
        _agent.status(str(tmp_path / "none.sock"))
    assert caught.value.code == "absent"


def test_a_socket_that_nobody_serves_is_absent_too(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(path)
        dead.listen()
    with pytest.raises(AgentError) as caught:
        _agent.status(path)
    assert caught.value.code == "absent"


@pytest.mark.parametrize("reply", [b"", b"nonsense\n", b"5\n", b"null\n", b'"text"\n'])
def test_what_is_no_answer_is_silence(agent: FakeAgent, reply: bytes) -> None:
    agent.say("status", reply)
    with pytest.raises(AgentError) as caught:
        _agent.status(agent.path)
    assert caught.value.code == "silent"


def test_a_silent_agent_is_given_up_in_time(tmp_path: Path) -> None:
    path = str(tmp_path / "agent.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with pytest.raises(AgentError, match=r"no answer in 0\.2 s") as caught:
            _agent.call(path, {"command": "status"}, 0.2)
    assert caught.value.code == "silent"


class TestWaitForAgent:
    """An agent that is starting."""

    def test_it_is_waited_for(self, agent: FakeAgent) -> None:
        agent.say("status", b"", {"ok": False, "code": "failed"}, {"ok": True, "estate": estate()})
        assert _agent.wait_for_agent(agent.path, 20.0)["host"] == "www2"
        assert len(agent.asked) == 3

    def test_not_for_ever(self, tmp_path: Path) -> None:
        with pytest.raises(AgentError):
            _agent.wait_for_agent(str(tmp_path / "none.sock"), 0.1)


def database(**changes: Any) -> dict[str, Any]:
    return {"io_running": True, "sql_running": True, "error": ""} | changes


LEADER = {"holder": "www1", "term": 3}
HOLD = [{"code": "hold", "message": "waits to be seeded"}]


@pytest.mark.parametrize(
    ("status", "problem"),
    [
        (estate(), ""),
        (estate(role="primary", database=database(io_running=None)), ""),
        (estate(role="unseeded", problems=HOLD), "it is unseeded: waits to be seeded"),
        (estate(role="stopped", database=database(error="(2002)")), "it is stopped: (2002)"),
        (estate(role="fenced"), "it is fenced: no reason given"),
        (estate(database=database(io_running=False)), "replication does not run: connecting"),
        (estate(database=database(sql_running=False, error="1062")), "replication does not run: 1062"),
        (estate(sync={"members": ["www3"]}), "it is not in the sync set yet"),
        (estate(sync=None), "it is not in the sync set yet"),
        ({**estate(sync=None, database=database(io_running=None)), "engine": "none", "leader": LEADER}, ""),
        ({**estate(sync=None), "engine": "none", "leader": None}, "nobody leads: no reason given"),
        ({**estate(role="primary", sync=None), "engine": "none", "leader": LEADER}, ""),
    ],
)
def test_when_a_host_is_settled(status: dict[str, Any], problem: str) -> None:
    assert _agent.serving_problem(status) == problem
