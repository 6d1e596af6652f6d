# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The action ``certificates``, with this machine as host and controller."""

from __future__ import annotations

import getpass
import grp
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ME = {"owner": getpass.getuser(), "group": grp.getgrgid(os.getgid()).gr_name}
Play = Callable[..., dict[str, dict[str, Any]]]


@pytest.fixture
def task(tmp_path: Path) -> dict[str, Any]:
    """The task for two purposes."""
    places = [
        {**ME, "name": name, "directory": f"{tmp_path}/{{{{ inventory_hostname }}}}/{name}"}
        for name in ("etcd", "agent")
    ]
    return {
        "hosting.failover.certificates": {
            "ca_directory": f"{tmp_path}/ca",
            "organization": "lab",
            "common_name": "{{ inventory_hostname }}",
            "dns_names": ["{{ inventory_hostname }}", "localhost"],
            "addresses": ["{{ address }}", "127.0.0.1"],
            "lifetime_days": 730,
            "ca_lifetime_days": 3650,
            "certificates": places,
        }
    }


@pytest.mark.skipif(os.geteuid() != 0, reason="the directories of certificates belong to root")
def test_the_life_of_certificates(tmp_path: Path, play: Play, here: dict[str, Any], task: dict[str, Any]) -> None:
    predicted = play(task, here, "--check", "--diff")
    assert predicted["a"]["issued"] == {"etcd": ["there is none"], "agent": ["there is none"]}
    assert not (tmp_path / "ca").exists()
    assert not (tmp_path / "a").exists()

    first = play(task, here, "--diff")
    assert sorted(first["a"]["changed_files"]) == sorted(predicted["a"]["changed_files"])
    assert "BEGIN PRIVATE KEY" not in str(first)
    key = tmp_path / "a/etcd/etcd.key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert [path.name for path in (tmp_path / "ca").glob("*.key")] == ["ca.key"]

    second = play(task, here)
    assert [second[name]["changed"] for name in ("a", "b")] == [False, False]
    assert second["a"]["expires_at"] == first["a"]["expires_at"]

    key.chmod(0o644)
    third = play(task, here)
    assert (third["a"]["changed_files"], third["a"]["issued"]) == ([str(key)], {})

    before = key.read_bytes()
    here["all"]["hosts"]["a"]["address"] = "198.51.100.9"
    fourth = play(task, here)
    assert fourth["a"]["issued"]["etcd"] == ["its names differ in 198.51.100.1, 198.51.100.9"]
    assert key.read_bytes() != before

    (tmp_path / "ca").rename(tmp_path / "lost")
    fifth = play(task, here)
    assert "authority that is not in" in fifth["a"]["msg"]
    assert not (tmp_path / "ca").exists()

    task["hosting.failover.certificates"]["replace_ca"] = True
    sixth = play(task, here)
    assert list(sixth["b"]["issued"]) == ["etcd", "agent"]
