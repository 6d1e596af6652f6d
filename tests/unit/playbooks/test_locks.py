# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""A runbook that takes the lock of the estate gives it back, however it ends."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

PLAYBOOKS = Path(__file__).resolve().parents[3] / "playbooks"
LOCKING = [path for path in sorted(PLAYBOOKS.glob("*.yml")) if "take_lock" in path.read_text(encoding="utf-8")]
FREES = {"tasks/release_lock.yml", "tasks/give_up.yml", "give_up.yml"}


def included(tasks: Any) -> set[str]:
    """The files that tasks include."""
    return {str(task.get("ansible.builtin.include_tasks", "")) for task in tasks or ()}


def plays_after_the_lock(path: Path) -> list[dict[str, Any]]:
    plays = yaml.safe_load(path.read_text(encoding="utf-8"))
    lock = next(n for n, play in enumerate(plays) if "tasks/take_lock.yml" in included(play.get("tasks")))
    return list(plays[lock + 1 :])


def test_there_are_some() -> None:
    assert {path.stem for path in LOCKING} == {"failover", "rejoin", "setup", "switchover"}


@pytest.mark.parametrize("path", LOCKING, ids=lambda path: path.stem)
def test_every_play_after_the_lock_frees_it_when_it_fails(path: Path) -> None:
    for play in plays_after_the_lock(path):
        assert "roles" not in play, f"{play['name']}: a role of a play has no rescue"
        for task in play["tasks"]:
            if included([task]) & FREES or play["name"].startswith("Journal:"):
                continue
            freed = included(task.get("rescue")) | included(task.get("always"))
            assert freed & FREES, f"{play['name']}: {task['name']} keeps the lock when it fails"


@pytest.mark.parametrize("path", LOCKING, ids=lambda path: path.stem)
def test_a_good_end_frees_it(path: Path) -> None:
    last = plays_after_the_lock(path)[-1]
    files = included(last["tasks"])
    for task in last["tasks"]:
        files |= included(task.get("always"))
    assert "tasks/release_lock.yml" in files


def test_taking_it_frees_it_when_it_fails_half_way() -> None:
    tasks = yaml.safe_load((PLAYBOOKS / "tasks" / "take_lock.yml").read_text(encoding="utf-8"))
    (block,) = [task for task in tasks if "block" in task]
    assert "hosting.failover.estate_lock" in block["block"][0]
    assert included(block["rescue"]) == {"give_up.yml"}
