"""Ways to hosts: over ssh, through the lab, and what is said when there is none."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from pathlib import Path
from typing import Any

import pytest
from failoverctl.config import Flags
from failoverctl.config import load as load_settings
from failoverctl.drill import targets as module
from failoverctl.drill.targets import LabWay, SshPeer, SshWay, TargetError, Targets, find_lab, parse_peer, sweep
from failoverctl.estate import Estate, Host
from failoverctl.estate_query import Defaults
from failoverctl.lab import LabError

DEFAULTS = Defaults("-o ControlPath=/elsewhere -o ControlPersist=60s", ("-o", "BatchMode=yes"))


def host(name: str = "www1", **connection: Any) -> Host:
    return Host(name, (), name, "", {f"ansible_{key}": value for key, value in connection.items()}, False)


def test_our_options_stand_before_those_of_the_inventory(tmp_path: Path) -> None:
    command = SshWay(host(user="admin"), DEFAULTS, tmp_path).command(["systemctl", "stop", "a b"])
    assert command[0] == "ssh"
    paths = [word for word in command if word.startswith("ControlPath=")]
    assert paths == [f"ControlPath={tmp_path}/%C", "ControlPath=/elsewhere"]
    remote = command[-1]
    assert "exec systemctl stop 'a b'" in remote
    assert "sudo -n -- systemctl stop 'a b'" in remote
    assert command[-2] == "www1"


class FakeWay:
    """Runs on this machine what it is told, by sh."""

    def __init__(self, prefix: list[str] | None = None) -> None:
        self.prefix = prefix or []
        self.peer: SshPeer | None = None
        self.opened = self.closed = 0

    def command(self, argv: Any) -> list[str]:
        return [*self.prefix, *argv]

    def open(self) -> None:
        self.opened += 1

    def close(self) -> None:
        self.closed += 1


def test_running(estate: Estate) -> None:
    way = FakeWay()
    with Targets(estate, {"www1": way}) as targets:
        assert targets.hosts == ("www1",)
        done = targets.run("www1", ["sh", "-c", "cat; echo oops >&2; exit 3"], stdin="hello")
        assert (done.returncode, done.stdout, done.stderr) == (3, "hello", "oops\n")
        with pytest.raises(TargetError) as caught:
            targets.run("www1", ["sh", "-c", "echo oops >&2; exit 3"], check=True)
        assert "on www1 ended with 3: oops" in caught.value.what
        with pytest.raises(TargetError, match=r"within 0\.1 s"):
            targets.run("www1", ["sleep", "5"], timeout_seconds=0.1)
        with pytest.raises(TargetError) as caught:
            targets.run("www9", ["true"])
        assert caught.value.fix == "use one of: www1"
        assert targets.answers("www1")
        process = targets.start("www1", [sys.executable, "-c", "print(input())"])
        assert process.communicate("x\n")[0] == "x\n"
        assert not targets.is_off("www1")
    assert way.closed == 1


def test_ssh_that_cannot_connect(estate: Estate, tmp_path: Path) -> None:
    ssh = tmp_path / "ssh"
    ssh.write_text("#!/bin/sh\necho 'ssh: connect to host www1 port 22: No route to host' >&2\nexit 255\n")
    ssh.chmod(ssh.stat().st_mode | stat.S_IXUSR)
    way = SshWay(host(ssh_executable=str(ssh)), DEFAULTS, tmp_path)
    targets = Targets(estate, {"www1": way})
    with pytest.raises(TargetError, match="No route to host"):
        targets.run("www1", ["true"])
    assert not targets.answers("www1")
    targets.close()


class FakeLab:
    name = "demo"

    def __init__(self, addresses: dict[str, str]) -> None:
        self._addresses = addresses

    def exists(self) -> bool:
        return bool(self._addresses)

    def addresses(self) -> dict[str, str]:
        return self._addresses

    def command(self, host: str, argv: Any) -> list[str]:
        if host == "www2":
            raise LabError("www2 is off", fix="switch it on")
        return ["nsenter", *argv]


def test_a_lab_is_known_by_its_addresses(estate: Estate, monkeypatch: pytest.MonkeyPatch) -> None:
    lab = FakeLab({each.name: each.address for each in estate.hosts})
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("failoverctl.lab.Lab.open", lambda _: lab)
    found = find_lab(estate)
    assert found is not None
    settings = load_settings(Flags())
    targets = Targets.open(settings, estate)
    assert targets.lab == "demo"
    assert targets.hosts == ("www1", "www2", "witness", "vault")
    lab._addresses["www1"] = "203.0.113.1"
    assert find_lab(estate) is None, "another estate of that name"
    lab._addresses.clear()
    assert find_lab(estate) is None
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert find_lab(estate) is None


def test_a_host_of_a_lab_that_is_off_says_so() -> None:
    lab: Any = FakeLab({})
    assert LabWay(lab, "www1").command(["true"]) == ["nsenter", "true"]
    with pytest.raises(TargetError) as caught:
        LabWay(lab, "www2").command(["true"])
    assert (caught.value.what, caught.value.fix) == ("www2 is off", "switch it on")


def test_hosts_that_need_a_password_cannot_be_drilled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "find_lab", lambda _: None)
    strange = Host("www1", (), "www1", "", {}, True)
    settings = load_settings(Flags())
    with pytest.raises(TargetError) as caught:
        Targets.open(settings, Estate("x", "lan", (strange,), {}, (), {}, ()))
    assert "not www1" in caught.value.what


def test_words_reach_the_host_as_they_are(tmp_path: Path) -> None:
    argv = ["sh", "-c", "echo '$x' \"a b\" 'c;d'"]
    remote = SshWay(host(), DEFAULTS, tmp_path).command(argv)[-1]
    words = remote.partition("then exec ")[2].partition("; else")[0]
    assert shlex.split(words) == argv


@pytest.mark.parametrize(
    ("text", "peer"),
    [
        ("198.51.100.1 50412 198.51.100.11 2222\n", SshPeer("198.51.100.1", 2222)),
        ("fe80::1%eth0 50412 fe80::2%eth0 22", SshPeer("fe80::1", 22)),
        ("", None),
        ("somebody 1 somewhere 22", None),
        ("198.51.100.1 50412 198.51.100.11 ssh", None),
    ],
)
def test_our_end_of_a_connection(text: str, peer: SshPeer | None) -> None:
    assert parse_peer(text) == peer


def test_connections_of_drills_that_were_killed_are_ended(tmp_path: Path) -> None:
    gone, here, strange = (tmp_path / f"fo-drill-{name}-x" for name in (2**22 + 1, os.getpid(), "old"))
    for folder in (gone, here, strange):
        folder.mkdir()
    sweep(tmp_path)
    assert [folder.exists() for folder in (gone, here, strange)] == [False, True, True]


def test_a_script_that_failed_is_told_by_what_it_said(estate: Estate) -> None:
    with (
        Targets(estate, {"www1": FakeWay()}) as targets,
        pytest.raises(TargetError, match=r"^what was done on www1 ended with 1: there is no PHP"),
    ):
        targets.run("www1", ["sh", "-c", "echo there is no PHP >&2; exit 1"], check=True)
