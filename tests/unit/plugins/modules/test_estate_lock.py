# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Module estate_lock: one runbook at a time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.modules import estate_lock as module

from ..fake_agent import FakeAgent, estate

Run = Callable[..., dict[str, Any]]
MINE = {"owner": "anna@desk", "run_id": "run-1", "runbook": "setup", "acquired_at": "2026-11-23T05:00:00.123Z"}
OTHERS = MINE | {"owner": "bert@desk", "run_id": "run-9"}
SILENT = {"reachable": False, "unhealthy": ["https://198.51.100.11:2379", "https://198.51.100.12:2379"]}


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[FakeAgent]:
    with FakeAgent(tmp_path) as made:
        made.status(estate())
        made.say("lock_acquire", {"ok": True, "acquired": True, "lock": MINE})
        made.say("lock_release", {"ok": True, "released": True, "lock": MINE})
        yield made


@pytest.fixture
def run(run_module: Run, agent: FakeAgent) -> Run:
    """Run it for run-1."""

    def call(*, check: bool = False, **args: Any) -> dict[str, Any]:
        wanted = {"run_id": "run-1", "owner": "anna@desk", "runbook": "setup", "socket": agent.path, **args}
        return run_module(module, wanted, check=check)

    return call


class TestPresent:
    """Taking it."""

    def test_a_free_lock_is_taken(self, run: Run, agent: FakeAgent) -> None:
        result = run(ttl_seconds=60)
        assert (result["changed"], result["lock"]) == (True, MINE)
        assert agent.asked[-1] == {
            "command": "lock_acquire",
            "run_id": "run-1",
            "owner": "anna@desk",
            "runbook": "setup",
            "ttl_seconds": 60.0,
        }

    def test_the_own_lock_is_refreshed_and_nothing_changes(self, run: Run, agent: FakeAgent) -> None:
        agent.status(estate(lock=MINE))
        assert run()["changed"] is False
        assert agent.commands() == ["lock_acquire"]

    @pytest.mark.parametrize("check", [True, False])
    def test_the_lock_of_another_run_is_an_error_for_machines_and_people(
        self, run: Run, agent: FakeAgent, check: bool
    ) -> None:
        agent.status(estate(lock=OTHERS))
        result = run(check=check)
        assert (result["failed"], result["failover_locked"], result["lock"]["run_id"]) == (True, True, "run-9")
        assert result["lock"]["age_seconds"] >= 0
        assert "setup run run-9 of bert@desk holds the estate lock since 2026-11-23T05:00:00.123Z" in result["msg"]
        assert agent.commands() == []

    def test_another_run_that_comes_first_is_the_same_error(self, run: Run, agent: FakeAgent) -> None:
        agent.say("lock_acquire", {"ok": True, "acquired": False, "lock": OTHERS})
        result = run()
        assert (result["failover_locked"], result["lock"]["owner"]) == (True, "bert@desk")

    def test_a_lock_that_changes_hands_too_fast(self, run: Run, agent: FakeAgent) -> None:
        agent.say("lock_acquire", {"ok": False, "code": "busy", "error": "the estate lock changes hands too fast"})
        result = run()
        assert result["failed"]
        assert "changes hands too fast" in result["msg"]

    def test_check_mode_takes_nothing(self, run: Run, agent: FakeAgent) -> None:
        assert run(check=True)["changed"] is True
        assert agent.commands() == []


class TestAbsent:
    """Giving it back."""

    @pytest.mark.parametrize(
        ("lock", "force", "changed"),
        [(None, False, False), (MINE, False, True), (OTHERS, False, False), (OTHERS, True, True), (None, True, False)],
    )
    @pytest.mark.parametrize("check", [True, False])
    def test_only_ones_own_or_by_force(
        self, run: Run, agent: FakeAgent, lock: dict[str, str] | None, force: bool, changed: bool, check: bool
    ) -> None:
        agent.status(estate(lock=lock))
        result = run(state="absent", force=force, check=check)
        assert (result["changed"], result["lock"]) == (changed, lock)
        assert agent.commands() == (["lock_release"] if changed and not check else [])


class TestWithout:
    """No agent, no etcd."""

    @pytest.mark.parametrize("state", ["present", "absent"])
    def test_without_an_agent_there_is_nothing_to_lock(self, run: Run, tmp_path: Path, state: str) -> None:
        result = run(state=state, socket=str(tmp_path / "never" / "none.sock"))
        assert (result["changed"], result["lock"]) == (False, None)

    def test_an_agent_that_is_started_again_gives_the_lock_back(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with contextlib.ExitStack() as stack:

            def start(_seconds: float) -> None:
                made = stack.enter_context(FakeAgent(tmp_path / "later"))
                made.status(estate(lock=MINE))
                made.say("lock_release", {"ok": True, "released": True, "lock": MINE})

            (tmp_path / "later").mkdir()
            monkeypatch.setattr(time, "sleep", start)
            result = run(state="absent", socket=str(tmp_path / "later" / "agent.sock"))
        assert (result["changed"], result["lock"]) == (True, MINE)

    def test_an_agent_that_does_not_come_back_is_told(
        self, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warnings: list[str] = []
        monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warnings.append(text))
        monkeypatch.setattr(module, "START_SECONDS", 0.0)
        result = run(state="absent", socket=str(tmp_path / "none.sock"))
        assert (result["changed"], result["lock"]) == (False, None)
        assert "stays until its time is over" in warnings[0]

    def test_without_etcd_a_run_is_refused(self, run: Run, agent: FakeAgent) -> None:
        agent.status(estate(etcd=SILENT))
        result = run()
        assert (result["failed"], result["failover_refused"]) == (True, True)
        (refusal,) = result["refusals"]
        assert refusal["code"] == "quorum_lost"
        assert "https://198.51.100.12:2379" in refusal["observed"]

    @pytest.mark.parametrize("args", [{"quorum_required": False}, {"state": "absent"}])
    def test_a_run_that_repairs_it_goes_on_with_a_warning(
        self, run: Run, agent: FakeAgent, args: dict[str, Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        warnings: list[str] = []
        monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warnings.append(text))
        agent.status(estate(etcd=SILENT))
        result = run(**args)
        assert not result.get("failed")
        assert result["changed"] is False
        assert "goes on without the estate lock" in warnings[0]


def test_the_age_of_a_lock() -> None:
    now = datetime(2026, 11, 23, 5, 1, 40, tzinfo=UTC)
    assert module.with_age(MINE, now)["age_seconds"] == 100
    assert module.with_age(MINE, datetime(2026, 11, 23, 4, 0, tzinfo=UTC))["age_seconds"] == 0, "clocks differ"
