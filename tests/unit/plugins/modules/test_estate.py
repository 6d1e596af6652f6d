# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module estate: the first term, once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.modules import estate as module

from ..fake_agent import FakeAgent, estate

Run = Callable[..., dict[str, Any]]
NEW = estate(term=None, primary=None, role="unseeded", sync=None)
FIRST = estate(host="www1", term=1, primary="www1", role="primary")
SILENT = estate(term=None, primary=None, etcd={"reachable": False, "unhealthy": ["https://198.51.100.11:2379"]})


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path) as made:
        made.say("bootstrap", {"ok": True, "changed": True, "primary": "www1", "term": 1})
        made.say("adopt", {"ok": True, "changed": True})
        yield made


@pytest.fixture
def run(run_module: Run, agent: FakeAgent) -> Run:
    """Run it on www1, which shall be the first primary."""

    def call(*, check: bool = False, **args: Any) -> dict[str, Any]:
        wanted = {"primary": "www1", "host": "www1", "timeout_seconds": 5, "socket": agent.path, **args}
        return run_module(module, wanted, check=check)

    return call


def test_the_first_term_is_written_and_the_data_adopted(run: Run, agent: FakeAgent) -> None:
    agent.status(NEW, estate(host="www1", term=1, primary="www1", role="starting"), FIRST)
    result = run()
    assert (result["changed"], result["term"], result["primary"]) == (True, 1, "www1")
    assert result["diff"] == {"before": "term: None\n", "after": "term: 1\nprimary: www1\n"}
    assert agent.commands() == ["bootstrap", "adopt"]


def test_a_second_run_changes_nothing(run: Run, agent: FakeAgent) -> None:
    agent.status(FIRST)
    agent.say("bootstrap", {"ok": True, "changed": False, "primary": "www1", "term": 1})
    agent.say("adopt", {"ok": True, "changed": False})
    result = run()
    assert (result["changed"], result["diff"]) == (False, {})


def test_on_another_host_nothing_is_adopted(run: Run, agent: FakeAgent) -> None:
    agent.status(NEW, estate(term=1, role="unseeded"))
    assert run(host="www2")["changed"]
    assert agent.commands() == ["bootstrap"]


def test_an_estate_whose_primary_moved_keeps_it(run: Run, agent: FakeAgent) -> None:
    agent.status(estate(term=7, primary="www2"))
    agent.say("bootstrap", {"ok": True, "changed": False, "primary": "www2", "term": 7})
    result = run()
    assert (result["changed"], result["primary"], result["term"]) == (False, "www2", 7)
    assert agent.commands() == ["bootstrap"]


def test_the_agent_may_not_know_the_term_yet_when_it_shall_adopt(run: Run, agent: FakeAgent) -> None:
    agent.status(NEW, FIRST)
    agent.say("adopt", {"ok": False, "code": "not_primary", "error": "x"}, {"ok": True, "changed": True})
    assert run()["changed"]
    assert agent.commands() == ["bootstrap", "adopt", "adopt"]


def test_a_database_that_never_becomes_writable_fails_with_the_reason(run: Run, agent: FakeAgent) -> None:
    problem = {"code": "hold", "message": "mariadbd is starting"}
    agent.status(NEW, estate(host="www1", primary="www1", term=1, role="starting", problems=[problem]))
    result = run(timeout_seconds=0.3)
    assert result["failed"]
    assert "the primary is still starting: mariadbd is starting" in result["msg"]


def test_without_etcd_it_fails_and_says_so(run: Run, agent: FakeAgent) -> None:
    agent.status(SILENT)
    result = run(timeout_seconds=0.3)
    assert result["failed"]
    assert "https://198.51.100.11:2379" in result["msg"]


class TestCheck:
    """Check mode tells the truth and asks for the status only."""

    @pytest.mark.parametrize(
        ("status", "changed"),
        [
            (NEW, True),
            (FIRST, False),
            (estate(term=1, primary="www1", role="unseeded"), True),
            (estate(term=1, primary="www2", role="unseeded"), False),
            (SILENT, False),
        ],
    )
    def test_what_would_change(self, run: Run, agent: FakeAgent, status: dict[str, Any], changed: bool) -> None:
        agent.status(status)
        assert run(check=True)["changed"] is changed
        assert agent.commands() == []

    def test_on_a_pristine_host(self, run: Run, tmp_path: Path) -> None:
        result = run(check=True, socket=str(tmp_path / "none.sock"))
        assert (result["changed"], result["term"], result["primary"]) == (True, None, "www1")

    def test_outside_check_mode_a_missing_agent_is_an_error(self, run: Run, tmp_path: Path) -> None:
        result = run(socket=str(tmp_path / "none.sock"), timeout_seconds=0.1)
        assert "failover-agent.service" in result["msg"]
