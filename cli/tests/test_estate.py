"""Reading an inventory for real, with vaults, and keeping what was read."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from failoverctl import estate as estates
from failoverctl import inspection, sources
from failoverctl.config import Flags, Settings, load
from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.estate import Vip
from failoverctl.paths import cache_directory
from failoverctl.problems import ConfigurationError

HOSTS = """\
all:
  vars:
    failover_estate: shop
    failover_profile: lan
    net: 198.51.100
    failover_vips:
      - {name: site, address: 198.51.100.10, vrid: 51, follows: primary}
    failover_objectives: {rto_seconds: 30, rpo_seconds: 0}
    web_sites:
      - {domain: shop.example.org, database: {name: shop, user: shop, password: hunter2}}
    ansible_password: hunter3
    mariadb_probe_password: "{{ secret | default('hunter4') }}"
  children:
    failover_web: {hosts: {www1: {}, www2: {}}}
    data:
      hosts:
        www1: {ansible_host: "{{ net }}.11", failover_site: a}
        www2: {ansible_host: "{{ net }}.12", failover_address: 198.51.100.77, ansible_port: 2222}
      vars: {failover_group_database: data}
    failover_witness: {hosts: {witness: {}}}
"""


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "hosts.yml").write_text(HOSTS)
    return tmp_path


def settings(project: Path, *vault_ids: str) -> Settings:
    return load(Flags(inventory=("hosts.yml",), vault_ids=vault_ids), cwd=project, environ={})


def encrypt(path: Path, password_file: Path) -> None:
    password_file.write_text(password_file.name)
    program = str(Path(sys.executable).parent / "ansible-vault")
    subprocess.run([program, "encrypt", "--vault-id", str(password_file), str(path)], check=True, capture_output=True)


def test_an_estate_as_ansible_sees_it(project: Path) -> None:
    found = estates.load(settings(project))
    assert (found.name, found.profile) == ("shop", "lan")
    assert [host.name for host in found.hosts] == ["www1", "www2", "witness"]
    assert [host.address for host in found.hosts] == ["198.51.100.11", "198.51.100.77", "witness"]
    assert found.hosts[0].site == "a"
    assert found.hosts[1].connection == {"ansible_host": "198.51.100.12", "ansible_port": 2222}
    assert found.hosts[0].uses_password
    assert [host.name for host in found.in_role("database")] == ["www1", "www2"]
    assert found.groups["witness"] == ("witness",)
    assert found.groups["dns"] == ()
    assert found.vips == (Vip("site", "198.51.100.10", "primary"),)
    assert found.domains == ("shop.example.org",)
    assert found.objectives == {"rto_seconds": 30, "rpo_seconds": 0}


def test_the_cache_holds_no_secret_and_is_used(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = estates.load(settings(project), cached=True)
    files = list(cache_directory().glob("estate-*.json"))
    assert len(files) == 1
    assert files[0].stat().st_mode & 0o777 == 0o600
    assert "hunter" not in files[0].read_text()

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the inventory was read again")

    monkeypatch.setattr(estates, "export", refuse)
    assert estates.load(settings(project), cached=True) == first
    with pytest.raises(AssertionError):
        estates.load(settings(project))


@pytest.mark.parametrize("change", ["hosts.yml", "group_vars/all.yml", "host_vars/www1/x.yml", "ansible.cfg"])
def test_a_changed_file_makes_the_cache_stale(project: Path, change: str) -> None:
    estates.load(settings(project), cached=True)
    path = project / change
    path.parent.mkdir(parents=True, exist_ok=True)
    if change == "hosts.yml":
        path.write_text(HOSTS.replace("shop", "mart"))
    elif change == "ansible.cfg":
        path.write_text("[defaults]\n")
        (project / "hosts.yml").touch()
    else:
        path.write_text("failover_site: b\n")
    found = estates.load(settings(project), cached=True)
    if change == "hosts.yml":
        assert found.name == "mart"
    elif change != "ansible.cfg":
        assert found.hosts[0].site in ("a", "b")
        assert found.hosts[1].site == ("b" if change.startswith("group") else "")


def test_an_old_cache_is_not_believed(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    estates.load(settings(project), cached=True)
    cache = next(cache_directory().glob("estate-*.json"))
    document = json.loads(cache.read_text())
    document["estate"]["name"] = "stale"
    cache.write_text(json.dumps(document))
    assert estates.load(settings(project), cached=True).name == "stale"
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + estates.CACHE_SECONDS)
    assert estates.load(settings(project), cached=True).name == "shop"
    cache.write_text("torn")
    assert estates.load(settings(project), cached=True).name == "shop"


def test_a_program_as_inventory_is_asked_every_time(tmp_path: Path) -> None:
    program = tmp_path / "hosts"
    program.write_text('#!/bin/sh\necho \'{"failover_web": {"hosts": ["a"]}, "_meta": {"hostvars": {}}}\'\n')
    program.chmod(0o755)
    found = load(Flags(inventory=("hosts",)), cwd=tmp_path, environ={})
    assert [host.name for host in estates.load(found, cached=True).hosts] == ["a"]
    assert not list(cache_directory().glob("estate-*.json"))


def test_one_variable_decrypted(project: Path) -> None:
    assert estates.variable(settings(project), "mariadb_probe_password", "www1") == "hunter4"
    assert estates.variable(settings(project), "mariadb_probe_password", "nobody") is None
    assert estates.variable(settings(project), "nothing", "www1") is None


def test_vault(project: Path) -> None:
    vault = project / "group_vars/all/vault.yml"
    vault.parent.mkdir(parents=True)
    vault.write_text("secret: hunter5\n")
    encrypt(vault, project / "right")
    (project / "wrong").write_text("wrong")
    assert estates.variable(settings(project, "right"), "mariadb_probe_password", "www1") == "hunter5"
    for vault_ids, message in (
        (("wrong",), "the vault password does not decrypt it (tried"),
        ((), "it is encrypted and no vault password is given"),
    ):
        with pytest.raises(ConfigurationError) as caught:
            inspection.inspect(settings(project, *vault_ids))
        (problem,) = caught.value.problems
        assert problem.code == "vault_password"
        assert message in problem.message
        assert problem.location is not None
        assert problem.location.path == vault
        assert caught.value.exit_code is ExitCode.USAGE


def test_a_variable_encrypted_alone(project: Path) -> None:
    secret = project / "secret"
    secret.write_text("x")
    encrypt(secret, project / "right")
    (project / "wrong").write_text("wrong")
    lines = "".join(f"\n      {line}" for line in secret.read_text().splitlines())
    text = HOSTS.replace("net: 198", f"secret: !vault |{lines}\n    net: 198")
    (project / "hosts.yml").write_text(text)
    with pytest.raises(ConfigurationError) as caught:
        inspection.inspect(settings(project, "wrong"))
    (problem,) = caught.value.problems
    assert (problem.code, problem.variable) == ("vault_password", "secret")
    assert problem.location is not None
    assert problem.location.line == 5


def test_everything_unreadable_is_told_at_once(project: Path) -> None:
    vault = project / "group_vars/all/vault.yml"
    vault.parent.mkdir(parents=True)
    vault.write_text("secret: x\n")
    encrypt(vault, project / "right")
    (project / "group_vars/all/bad.yml").write_text("a: [\n")
    (project / "hosts.yml").write_text(HOSTS.replace("failover_witness: {hosts", "failover_witness: {host"))
    with pytest.raises(ConfigurationError) as caught:
        inspection.inspect(settings(project))
    assert [problem.code for problem in caught.value.problems] == ["not_yaml", "vault_password", "unknown_key"]


def test_what_is_odd_but_readable_is_kept_for_later(project: Path) -> None:
    (project / "hosts.yml").write_text(HOSTS + "    failover_backup: {hots: {vault: {}}}\n")
    found = inspection.inspect(settings(project))
    assert [problem.code for problem in found.problems] == ["unknown_key"]


def test_problems_of_the_collection_get_a_place(project: Path) -> None:
    found = inspection.inspect(settings(project))
    located = found.locate({"code": "x", "message": "y", "variable": "failover_site", "host": "www1"})
    assert (located["file"], located["line"]) == (str(project / "hosts.yml"), 17)
    assert inspection.problem_of(located).location is not None
    nowhere = found.locate({"code": "x", "message": "y"})
    assert nowhere.keys() == located.keys()
    assert nowhere["file"] is None
    assert inspection.problem_of(nowhere).location is None


def test_an_inventory_without_hosts(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text("all:\n")
    with pytest.raises(ConfigurationError, match="the inventory has no hosts"):
        inspection.inspect(settings(tmp_path))


def test_a_vault_password_file_that_is_no_password(project: Path) -> None:
    (project / "empty").write_text("")
    vault = project / "group_vars/all.yml"
    vault.parent.mkdir()
    vault.write_text("a: 1\n")
    encrypt(vault, project / "right")
    with pytest.raises(ConfigurationError):
        estates.load(settings(project, "empty"))


def test_an_inventory_that_hangs(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estates, "EXPORT_TIMEOUT_SECONDS", 0.01)
    with pytest.raises(FailoverctlError, match="took more than") as caught:
        estates.load(settings(project))
    assert caught.value.exit_code is ExitCode.TIMED_OUT


def test_ansible_that_cannot_start(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "ansible.cfg").write_text("[defaults]\nforks = many\n")
    monkeypatch.setattr(os, "environ", {**os.environ, "ANSIBLE_CONFIG": str(project / "ansible.cfg")})
    with pytest.raises(FailoverctlError, match="Ansible could not read the inventory"):
        estates.load(settings(project))


def test_no_place_is_known_without_an_index(project: Path) -> None:
    document = {
        "hosts": {},
        "errors": [{"kind": "ansible", "message": "boom", "file": "", "host": "", "variable": ""}],
    }
    (problem,) = estates.export_problems(document, settings(project), sources.Index())
    assert (problem.code, problem.location) == ("inventory", None)
