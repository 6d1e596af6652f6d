# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Run tasks with the real ansible-playbook, with hosts that are this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

TOP = Path(__file__).resolve().parents[4]
LOCAL = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
Play = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def play(tmp_path: Path) -> Play:
    """Return a function that runs one task and returns each host's result.

    ``inventory`` is the inventory as YAML has it. The task sees ``templates/`` and ``files/`` in ``tmp_path``.
    """

    def run(task: Mapping[str, Any], inventory: Mapping[str, Any], *options: str) -> dict[str, dict[str, Any]]:
        (tmp_path / "inventory.yml").write_text(yaml.safe_dump(dict(inventory)))
        note = {
            "name": "Note the result",
            "ansible.builtin.copy": {
                "content": "{{ result | to_json }}",
                "dest": f"{tmp_path}/results/{{{{ inventory_hostname }}}}",
                "mode": "0644",
            },
            "check_mode": False,
            "diff": False,
            "vars": LOCAL,
        }
        tasks = [{"name": "Run the task", **task, "register": "result", "ignore_errors": True}, note]
        (tmp_path / "play.yml").write_text(yaml.safe_dump([{"hosts": "all", "gather_facts": False, "tasks": tasks}]))
        (tmp_path / "results").mkdir(exist_ok=True)
        environment = {key: value for key, value in os.environ.items() if not key.startswith("ANSIBLE_")} | {
            "ANSIBLE_COLLECTIONS_PATH": str(TOP / ".collections"),
            "ANSIBLE_HOME": str(tmp_path / "ansible"),
            "ANSIBLE_NOCOLOR": "1",
        }
        program = str(Path(sys.executable).with_name("ansible-playbook"))
        done = subprocess.run(
            [program, "-i", "inventory.yml", "play.yml", *options],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return {path.name: json.loads(path.read_text()) for path in (tmp_path / "results").iterdir()}

    return run


@pytest.fixture
def here() -> dict[str, Any]:
    """An inventory of two hosts that are this machine."""
    return {
        "all": {
            "vars": LOCAL,
            "hosts": {"a": {"address": "198.51.100.1"}, "b": {"address": "198.51.100.2"}},
        }
    }
