"""What the wheel holds, and that it works where nothing else of this project is."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml

from .conftest import COLLECTION, TOP, Place, files_below, playbooks

pytestmark = pytest.mark.packaging


def test_the_wheel_holds_all_of_the_command_and_the_collection_and_nothing_else(wheel: Path) -> None:
    wanted = {f"failoverctl/{name}" for name in files_below(TOP / "cli" / "failoverctl")}
    home = "ansible_collections/hosting/failover"
    wanted |= {f"{home}/{part}/{name}" for part in COLLECTION for name in files_below(TOP / part)}
    wanted.add(f"{home}/galaxy.yml")
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    assert names == wanted


def test_the_wheel_has_the_version_of_the_collection(wheel: Path, with_wheel: Place) -> None:
    version = yaml.safe_load((TOP / "galaxy.yml").read_text(encoding="utf-8"))["version"]
    assert wheel.name.startswith(f"failoverctl-{version}-")
    assert with_wheel.check("failoverctl", "--version").split() == ["failoverctl", version]


def test_the_command_works_anywhere(with_wheel: Place) -> None:
    assert "switchover" in with_wheel.check("failoverctl", "--help")
    assert "power-off" in with_wheel.check("failoverctl", "lab", "--help")


@pytest.mark.parametrize("playbook", playbooks())
def test_a_plain_ansible_finds_the_playbooks(with_wheel: Place, estate: Path, playbook: str) -> None:
    with_wheel.check("ansible-playbook", playbook, "--syntax-check", "-i", str(estate / "inventory"))


def test_a_plain_ansible_finds_modules_and_roles(with_wheel: Place) -> None:
    assert "hosting.failover" in with_wheel.check("ansible-galaxy", "collection", "list")
    assert "switchover" in with_wheel.check("ansible-doc", "hosting.failover.switchover")
    assert "agent_first_primary" in with_wheel.check("ansible-doc", "-t", "role", "hosting.failover.agent")


def test_the_checkout_is_installed_live() -> None:
    code = (
        "import json, failoverctl; from failoverctl.paths import collection_directory;"
        "print(json.dumps([failoverctl.__file__, str((collection_directory() / 'roles').resolve())]))"
    )
    found = json.loads(subprocess.run([sys.executable, "-c", code], cwd="/", check=True, capture_output=True).stdout)
    assert found == [str(TOP / "cli" / "failoverctl" / "__init__.py"), str(TOP / "roles")]
