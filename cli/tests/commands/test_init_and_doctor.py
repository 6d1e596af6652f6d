"""The first commands of a newcomer."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from failoverctl import doctor, estate_query
from failoverctl.errors import ExitCode
from failoverctl.estate_query import Clock

from .conftest import Operator, Playbooks


def test_init_without_anything_writes_examples(operator: Operator, playbooks: Playbooks) -> None:
    answer = operator.types("init", "new")
    assert answer.code == 0
    assert "new/inventory/hosts.yml" in answer.out
    assert "Hosts and addresses are examples" in answer.err
    assert "encrypt it with ansible-vault" in answer.err
    assert answer.err.splitlines()[-1] == "Next: failoverctl check"
    assert operator.types("check", "--config", "new").code == 0
    assert playbooks.names() == ["check"]


def test_init_with_hosts(operator: Operator) -> None:
    answer = operator.types(
        *("init", "new", "--host", "a=127.0.0.1", "--host", "b", "--witness", "c=127.0.0.3"),
        *("--vip", "127.0.0.9", "--estate", "shop", "--domain", "shop.example.org", "--user", "admin"),
    )
    assert answer.code == 0
    assert "examples" not in answer.err
    hosts = (operator.folder / "new/inventory/hosts.yml").read_text()
    assert "ansible_host: 127.0.0.1" in hosts
    assert (
        "  - 127.0.0.1/32  # this machine" in (operator.folder / "new/inventory/group_vars/all/estate.yml").read_text()
    )
    assert "There is no witness" in operator.types("init", "other", "--host", "a", "--host", "b").err


def test_init_overwrites_nothing(operator: Operator) -> None:
    answer = operator.types("init")
    assert answer.code == ExitCode.USAGE
    assert "failover.yml" in answer.err
    assert "inventory/hosts.yml" in answer.err


@pytest.mark.parametrize(
    "arguments", [["--host", "a=nope"], ["--host", "a b"], ["--vip", "300.1.1.1"], ["--witness", "=1"]]
)
def test_init_with_nonsense(operator: Operator, arguments: list[str]) -> None:
    assert operator.types("init", "new", *arguments).code == ExitCode.USAGE
    assert not (operator.folder / "new").exists()


def test_init_encrypts_at_once_when_it_can(operator: Operator, playbooks: Playbooks) -> None:
    (operator.folder / "pw").write_text("secret\n")
    answer = operator.types("init", "new", "--vault-id", "pw")
    assert answer.code == 0
    assert "clear text" not in answer.err
    vault = operator.folder / "new/inventory/group_vars/all/vault.yml"
    assert vault.read_text().startswith("$ANSIBLE_VAULT;")
    assert operator.types("check", "--config", "new", "--vault-id", "pw").code == 0
    refused = operator.types("check", "--config", "new")
    assert refused.code == ExitCode.USAGE
    assert "vault.yml: it is encrypted and no vault password is given" in refused.err
    assert playbooks.names() == ["check"]


@pytest.mark.parametrize(("folder", "name"), [("My Shop", "my-shop"), ("1st", "shop"), ("x" * 40, "x" * 31)])
def test_an_estate_is_named_after_its_folder(operator: Operator, folder: str, name: str) -> None:
    assert operator.types("init", folder).code == 0
    text = (operator.folder / folder / "inventory/group_vars/all/estate.yml").read_text()
    assert f"failover_estate: {name}\n" in text


@pytest.fixture
def clocks(monkeypatch: pytest.MonkeyPatch, agents: dict[str, Any]) -> list[Clock]:
    assert agents
    found = [Clock("www1", 0.01, 0.005), Clock("www2", -0.02, 0.005)]
    monkeypatch.setattr(estate_query, "clocks", lambda *_: tuple(found))
    return found


def test_a_machine_that_has_everything(operator: Operator, clocks: list[Clock]) -> None:
    answer = operator.types("doctor")
    assert answer.code == 0
    assert len(clocks) == 2
    for name in ("python", "ansible-core", "collection", "ssh", "inventory", "host www1"):
        assert f"ok    {name}" in answer.out
    document = operator.types("doctor", "--json").json()
    assert (document["schema"], document["exit_code"]) == (1, 0)
    assert {tuple(finding) for finding in document["findings"]} == {("name", "outcome", "detail", "fix")}


def test_a_host_that_does_not_answer_and_a_clock_that_is_off(operator: Operator, clocks: list[Clock]) -> None:
    clocks[:] = [Clock("www1", 2.0, 0.1), Clock("www2", None, error="timed out")]
    answer = operator.types("doctor")
    assert answer.code == ExitCode.UNREACHABLE
    assert "warn  host www1        answers; its clock is +2.000 s from ours" in answer.out
    assert "fail  host www2        timed out" in answer.out


def test_a_clock_of_this_machine_that_is_wrong(operator: Operator, clocks: list[Clock]) -> None:
    clocks[:] = [Clock("www1", 62.0, 0.1), Clock("www2", 61.9, 0.1)]
    answer = operator.types("doctor")
    assert answer.code == ExitCode.FAILED
    assert "fail  clock            this machine is 62.0 s behind all 2 hosts, which agree" in answer.out
    clocks[:] = [Clock("www1", 62.0, 0.1), Clock("www2", -61.9, 0.1)]
    assert "this machine is" not in operator.types("doctor").out


def test_what_the_agents_tell(operator: Operator, clocks: list[Clock], agents: dict[str, Any]) -> None:
    assert clocks
    assert "ok    agents           2 answer, of version 0.1.0" in operator.types("doctor").out
    agents["www1"]["divergent"] = [{"sql": "/d/a.sql", "transactions": 2, "at": "2026-11-23T05:00:00Z"}]
    agents["www2"]["automation"] = {"state": "held", "why": "3 failovers within an hour"}
    agents["www2"]["version"] = "9.9.9"
    answer = operator.types("doctor")
    assert answer.code == 0
    assert "warn  anti_flap        automation is held back: 3 failovers within an hour" in answer.out
    assert "warn  divergent_saved  www1 has saved 2 transactions that only it had, in /d/a.sql" in answer.out
    assert "warn  agent_versions   the agents are of different versions: www1 0.1.0, www2 9.9.9" in answer.out
    agents["www1"]["version"] = "9.9.9"
    assert "warn  agents           they are of version 9.9.9, failoverctl is " in operator.types("doctor").out


def test_a_configuration_that_cannot_be_read(operator: Operator) -> None:
    (operator.folder / "inventory/hosts.yml").write_text("all: [\n")
    answer = operator.types("doctor")
    assert answer.code == ExitCode.USAGE
    assert "fail  inventory" in answer.out
    (operator.folder / "failover.yml").write_text("nope: 1\n")
    answer = operator.types("doctor")
    assert answer.code == ExitCode.USAGE
    assert "fail  configuration" in answer.out


def test_nothing_is_there_yet(operator: Operator) -> None:
    (operator.folder / "failover.yml").unlink()
    (operator.folder / "inventory/hosts.yml").unlink()
    (operator.folder / "inventory").rmdir()
    answer = operator.types("doctor")
    assert answer.code == 0
    assert "warn  inventory        none yet" in answer.out


def test_what_is_missing(operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (operator.folder / "failover.yml").write_text("state_directory: state\n")
    (operator.folder / "inventory/hosts.yml").unlink()
    (operator.folder / "inventory").rmdir()
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(doctor, "collection_directory", lambda: None)
    monkeypatch.setattr(doctor, "OLDEST", {"ansible-core": (99, 0), "no-such-package": (1,)})
    document = operator.types("doctor", "--json").json()
    outcomes = {finding["name"]: finding["outcome"] for finding in document["findings"]}
    assert outcomes["ansible-core"] == outcomes["no-such-package"] == outcomes["ansible-playbook"] == "fail"
    assert outcomes["collection"] == outcomes["ssh"] == "fail"
    assert outcomes["PATH"] == "warn"
    assert document["exit_code"] == ExitCode.FAILED


def test_another_copy_of_the_collection(operator: Operator) -> None:
    copy = Path.home() / ".ansible/collections/ansible_collections/hosting/failover"
    copy.mkdir(parents=True)
    assert f"another copy wins over it: {copy}" in operator.types("doctor").out
