# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The action ``config_files``: what it renders and ships."""

from __future__ import annotations

import getpass
import grp
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
Play = Callable[..., dict[str, dict[str, Any]]]


def test_templates_files_and_trees(tmp_path: Path, play: Play, here: dict[str, Any]) -> None:
    (tmp_path / "templates/etc").mkdir(parents=True)
    (tmp_path / "templates/etc/a.j2").write_text(
        "{{ ansible_managed | comment }}\n"
        "{% if true %}\n{{ address }} {{ word }} {% include 'etc/b.j2' %}\n{% endif %}\n"
    )
    (tmp_path / "templates/etc/b.j2").write_text("of {{ inventory_hostname }}")
    (tmp_path / "files/tree/sub/__pycache__").mkdir(parents=True)
    (tmp_path / "files/tree/sub/__pycache__/x.pyc").touch()
    (tmp_path / "files/tree/sub/raw").write_bytes(b"\xff{{ not a template }}")
    out = "{{ out }}/{{ inventory_hostname }}"
    task = {
        "hosting.failover.config_files": {
            "directories": [{**ME, "path": out}],
            "trees": [{**ME, "src": "tree", "dest": f"{out}/tree"}],
            "files": [
                {**ME, "src": "etc/a.j2", "dest": f"{out}/a", "variables": {"word": "greets"}},
                {**ME, "file": "tree/sub/raw", "dest": f"{out}/raw", "secret": True},
            ],
        },
        "vars": {"out": str(tmp_path / "out")},
    }
    first = play(task, here)
    assert (tmp_path / "out/a/a").read_text().splitlines()[1:] == [
        "# Managed by Ansible, collection hosting.failover. Local changes are overwritten.",
        "#",
        "198.51.100.1 greets of a",
    ]
    assert (tmp_path / "out/b/a").read_text().splitlines()[3] == "198.51.100.2 greets of b"
    assert (tmp_path / "out/a/tree/sub/raw").read_bytes() == b"\xff{{ not a template }}"
    assert not (tmp_path / "out/a/tree/sub/__pycache__").exists()
    assert len(first["a"]["changed_files"]) == 3
    (tmp_path / "out/a/tree/stale").touch()
    second = play(task, here)
    assert second["a"]["changed_files"] == [f"{tmp_path}/out/a/tree/stale"]
    assert second["b"]["changed"] is False


def test_a_missing_template_is_named(play: Play, here: dict[str, Any]) -> None:
    task = {"hosting.failover.config_files": {"files": [{"src": "none.j2", "dest": "/nowhere"}]}}
    assert "none.j2" in play(task, here)["a"]["msg"]


def test_a_file_without_content_is_an_error(play: Play, here: dict[str, Any]) -> None:
    task = {"hosting.failover.config_files": {"files": [{"dest": "/nowhere"}]}}
    assert "/nowhere: give one of src, file and content" in play(task, here)["a"]["msg"]
