# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module database_replica: the first copy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.modules import database_replica as module

from ..fake_agent import FakeAgent, estate

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path) as made:
        made.status(estate(role="unseeded"))
        made.say("seed", {"ok": True, "changed": True, "from": "www1", "position": "0-1-5"})
        yield made


def test_a_host_without_data_is_seeded(run_module: Run, agent: FakeAgent) -> None:
    result = run_module(module, {"socket": agent.path})
    assert (result["changed"], result["source"]) == (True, "www1")
    assert agent.asked[-1] == {"command": "seed", "discard": False}


def test_discarding_is_said_to_the_agent(run_module: Run, agent: FakeAgent) -> None:
    run_module(module, {"socket": agent.path, "discard": True})
    assert agent.asked[-1] == {"command": "seed", "discard": True}


@pytest.mark.parametrize("role", ["primary", "replica", "starting", "stopped", "fenced"])
def test_a_host_that_is_seeded_is_left_alone_whatever_is_said(run_module: Run, agent: FakeAgent, role: str) -> None:
    agent.status(estate(role=role))
    assert run_module(module, {"socket": agent.path, "discard": True})["changed"] is False
    assert agent.commands() == []


def test_check_mode_seeds_nothing(run_module: Run, agent: FakeAgent, tmp_path: Path) -> None:
    assert run_module(module, {"socket": agent.path}, check=True)["changed"] is True
    assert agent.commands() == []
    assert run_module(module, {"socket": str(tmp_path / "none.sock")}, check=True)["changed"] is True


def test_data_of_its_own_is_an_error_with_the_remedy(run_module: Run, agent: FakeAgent) -> None:
    agent.say("seed", {"ok": False, "code": "foreign_data", "error": "www2 holds data of its own: schema shop"})
    result = run_module(module, {"socket": agent.path})
    assert (result["failed"], result["code"]) == (True, "foreign_data")
    assert "schema shop" in result["msg"]
    assert "agent_discard_data_on" in result["msg"]


def test_another_error_has_no_such_remedy(run_module: Run, agent: FakeAgent) -> None:
    agent.say("seed", {"ok": False, "code": "seed_failed", "error": "no copy was made"})
    result = run_module(module, {"socket": agent.path})
    assert (result["failed"], result["code"]) == (True, "seed_failed")
    assert "agent_discard_data_on" not in result["msg"]
