# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The module ``packages``, with programs that stand for dpkg and apt."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from ansible.module_utils.basic import AnsibleModule
from ansible_collections.hosting.failover.plugins.modules import packages

Run = Callable[..., dict[str, Any]]
DPKG = 'echo "bash installed"; cat "$TEST/installed" 2>/dev/null; exit 0'
APT = """echo "$*" >> "$TEST/calls"
[ -x "$TEST/policy-rc.d" ] && sh "$TEST/policy-rc.d"; echo "policy $?" >> "$TEST/policy"
case "$*" in *install*)
  for name; do :; done
  [ "$name" = broken ] && exit 100
  echo "$name installed" >> "$TEST/installed";;
esac
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, programs: Callable[[str, str], None]) -> Path:
    """A host with bash, current package lists, and programs that keep notes in the returned folder."""
    programs("dpkg-query", DPKG)
    programs("apt-get", APT)
    (tmp_path / "lists").mkdir()
    (tmp_path / "lists" / "main_Packages").touch()
    monkeypatch.setattr(packages, "LISTS", tmp_path / "lists")
    monkeypatch.setattr(packages, "POLICY", tmp_path / "policy-rc.d")
    return tmp_path


def test_apt_is_not_called_when_all_is_there(host: Path, run_module: Run) -> None:
    assert run_module(packages, {"name": ["bash"]})["installed"] == []
    assert not (host / "calls").exists()


def test_only_what_is_missing_is_installed(host: Path, run_module: Run) -> None:
    result = run_module(packages, {"name": ["bash", "etcd"]})
    assert (result["changed"], result["installed"]) == (True, ["etcd"])
    (call,) = (host / "calls").read_text().splitlines()
    assert call.endswith("install -- etcd")
    assert "--no-install-recommends" in call
    assert (host / "policy").read_text() == "policy 1\n"


def test_check_mode_installs_nothing(host: Path, run_module: Run) -> None:
    result = run_module(packages, {"name": ["etcd"]}, check=True)
    assert (result["changed"], result["diff"]["after"]) == (True, "etcd\n")
    assert not (host / "calls").exists()


def test_old_lists_are_fetched(host: Path, run_module: Run) -> None:
    (host / "lists" / "main_Packages").unlink()
    run_module(packages, {"name": ["etcd"]})
    assert [" update" in call for call in (host / "calls").read_text().splitlines()] == [True, False]


def test_a_failure_is_tried_again_with_fresh_lists_and_shown(host: Path, run_module: Run) -> None:
    result = run_module(packages, {"name": ["broken"]})
    assert "install -- broken exited with 100" in result["msg"]
    assert [" update" in call for call in (host / "calls").read_text().splitlines()] == [False, True, False]


def test_services_are_held_back_for_the_installation_only(host: Path, run_module: Run) -> None:
    run_module(packages, {"name": ["etcd"], "start_services": False})
    assert (host / "policy").read_text() == "policy 101\n"
    assert not (host / "policy-rc.d").exists()


def test_a_policy_of_somebody_else_stays(host: Path, run_module: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    warnings: list[str] = []
    # In a process that has loaded Ansible's controller part, warnings are displayed instead of returned.
    monkeypatch.setattr(AnsibleModule, "warn", lambda _module, text: warnings.append(text))
    (host / "policy-rc.d").write_text("#!/bin/sh\nexit 0\n")
    run_module(packages, {"name": ["etcd"], "start_services": False})
    assert "not ours" in str(warnings)
    assert (host / "policy-rc.d").read_text() == "#!/bin/sh\nexit 0\n"
