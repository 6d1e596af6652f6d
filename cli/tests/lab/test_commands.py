from __future__ import annotations

import json
from ipaddress import IPv4Network
from pathlib import Path

import pytest
from click.testing import CliRunner
from failoverctl.commands.lab import lab
from failoverctl.lab import Cut, HostStatus, Lab, LabError, LabStatus

STATUS = LabStatus(
    name="dev",
    layout="pair",
    release="trixie",
    network="198.51.100.64/26",
    gateway="198.51.100.65",
    hosts=(
        HostStatus("www1", "198.51.100.75", on=True, frozen=False, ready=True),
        HostStatus("www2", "198.51.100.76", on=False, frozen=False, ready=False),
    ),
    cuts=(Cut("www1", "www2", True),),
)


def test_every_command_of_the_lab_is_there() -> None:
    assert sorted(lab.commands) == [
        "cut",
        "down",
        "exec",
        "freeze",
        "heal",
        "inventory",
        "power-off",
        "power-on",
        "shell",
        "status",
        "thaw",
        "up",
    ]
    for name in lab.commands:
        assert CliRunner().invoke(lab, [name, "--help"]).exit_code == 0


def test_status_for_people_and_for_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "status", lambda _: STATUS)
    shown = CliRunner().invoke(lab, ["--name", "dev", "status"]).stdout
    assert "www2  198.51.100.76    off" in shown
    assert "cut: www1 to www2" in shown
    data = json.loads(CliRunner().invoke(lab, ["--name", "dev", "status", "--json"]).stdout)
    assert data["schema"] == 1
    assert data["hosts"][0] == {
        "name": "www1",
        "address": "198.51.100.75",
        "on": True,
        "frozen": False,
        "ready": True,
    }
    assert data["cuts"] == [{"a": "www1", "b": "www2", "one_way": True}]


def test_talk_is_on_stderr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Lab, "power_off", lambda *_: None)
    done = CliRunner().invoke(lab, ["power-off", "www1"])
    assert done.stdout == ""
    assert done.stderr == "www1 is off\n"


def test_a_network_that_is_none_is_a_usage_error() -> None:
    done = CliRunner().invoke(lab, ["up", "--network", "198.51.100.1/26"])
    assert done.exit_code == 2
    assert "--network" in done.stderr


def test_options_reach_the_lab(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[object] = []

    def up(self: Lab, layout: str | None, *, release: str | None, network: IPv4Network | None) -> None:
        seen.extend([self.name, layout, release, network])

    monkeypatch.setattr(Lab, "up", up)
    monkeypatch.setattr(Lab, "status", lambda _: STATUS)
    argv = ["--name", "dev", "up", "--layout", "pair", "--release", "bookworm", "--network", "198.51.100.64/26"]
    assert CliRunner().invoke(lab, argv).exit_code == 0
    assert seen == ["dev", "pair", "bookworm", IPv4Network("198.51.100.64/26")]


def test_a_lab_that_is_not_there_names_the_remedy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    with pytest.raises(LabError) as caught:
        Lab.open("dev", root=tmp_path).status()
    assert caught.value.fix == "make it: failoverctl lab --name dev up"
    assert list(tmp_path.iterdir()) == []


def test_an_up_that_cannot_be_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("failoverctl.lab.requirements.find_missing", lambda: ())
    with pytest.raises(LabError):
        Lab.open("dev", root=tmp_path).up(release="sid")
    assert list((tmp_path / "labs").iterdir()) == []


def test_without_root_nothing_happens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    found = Lab.open("dev", root=tmp_path)
    for act in (found.up, found.down, found.status, found.heal):
        with pytest.raises(LabError) as caught:
            act()
        assert "sudo" in caught.value.fix
    assert list(tmp_path.iterdir()) == []
