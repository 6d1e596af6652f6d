# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The action ``packages`` spares the connection when the facts of this run answer."""

from __future__ import annotations

import time
from types import SimpleNamespace
from typing import Any

import pytest
from ansible_collections.hosting.failover.plugins.action import packages


@pytest.mark.parametrize(
    ("names", "age", "asked"), [(["bash"], 0, False), (["bash", "etcd"], 0, True), (["bash"], 3600, True)]
)
def test_facts_answer_without_a_connection(
    monkeypatch: pytest.MonkeyPatch, names: list[str], age: float, asked: bool
) -> None:
    calls: list[dict[str, Any]] = []
    task = SimpleNamespace(args={"name": names}, async_val=0, check_mode=False, action="hosting.failover.packages")
    connection = SimpleNamespace(_shell=SimpleNamespace(tmpdir=None))
    action = packages.ActionModule(task, connection, None, None, None)
    monkeypatch.setattr(action, "_early_needs_tmp_path", lambda: False)

    def execute(**options: Any) -> dict[str, Any]:
        calls.append(options)
        return {"changed": True}

    monkeypatch.setattr(action, "_execute_module", execute)
    fact = {"gathered_at": time.time() - age, "names": ["bash"]}
    result = action.run(task_vars={"ansible_facts": {"failover_packages": fact}})
    assert (bool(calls), result["changed"]) == (asked, asked)
