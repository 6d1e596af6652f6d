# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module estate_info: what the agent knows."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.modules import estate_info as module

from ..fake_agent import FakeAgent, estate

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path) as made:
        yield made


@pytest.mark.parametrize("check", [True, False])
def test_the_status_as_it_is(run_module: Run, agent: FakeAgent, check: bool) -> None:
    agent.status(estate(role="fenced"))
    result = run_module(module, {"socket": agent.path}, check=check)
    assert (result["available"], result["estate"]["role"], result.get("changed", False)) == (True, "fenced", False)


def test_a_host_without_an_agent_is_no_error(run_module: Run, tmp_path: Path) -> None:
    result = run_module(module, {"socket": str(tmp_path / "none.sock")})
    assert (result["available"], result["estate"]) == (False, None)
    assert "no agent listens" in result["reason"]
    assert not result.get("failed")


def test_a_host_is_waited_for(run_module: Run, agent: FakeAgent) -> None:
    agent.say("status", b"", {"ok": True, "estate": estate(sync=None)}, {"ok": True, "estate": estate()})
    result = run_module(module, {"socket": agent.path, "wait_for": "settled", "timeout_seconds": 20})
    assert result["available"]
    assert len(agent.asked) == 3


def test_a_host_that_does_not_settle_is_an_error_with_the_reason(run_module: Run, agent: FakeAgent) -> None:
    agent.status(estate(sync=None))
    result = run_module(module, {"socket": agent.path, "wait_for": "settled", "timeout_seconds": 0.3})
    assert result["failed"]
    assert result["msg"] == "The host did not settle within 0.3 s: it is not in the sync set yet"
    assert result["estate"]["host"] == "www2"
