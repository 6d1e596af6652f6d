"""Asking agents over ssh: the command that is run, and what its answers mean."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from failoverctl import estate_query
from failoverctl.config import Flags, load
from failoverctl.estate import Estate, Host
from failoverctl.estate_query import Defaults, defaults_of, is_quick, parse_answer, ssh_command
from failoverctl.health import HostReport


def host(name: str = "www1", password: bool = False, **connection: Any) -> Host:
    return Host(name, (), name, "", {f"ansible_{key}": value for key, value in connection.items()}, password)


DEFAULTS = Defaults("-C -o ControlPersist=60s", ("-o", "BatchMode=yes"))


def test_a_host_with_nothing_special() -> None:
    assert ssh_command(host(), DEFAULTS, "true") == [
        *("ssh", "-C", "-o", "ControlPersist=60s", "-o", "BatchMode=yes", "www1", "true")
    ]


def test_a_host_with_everything() -> None:
    special = host(
        host="198.51.100.11",
        port=2222,
        user="admin",
        ssh_private_key_file="/k y",
        ssh_args="-o A=1",
        ssh_common_args="-o ProxyJump=x",
        ssh_extra_args="-v",
        ssh_executable="/opt/ssh",
    )
    assert ssh_command(special, DEFAULTS, "true") == [
        *("/opt/ssh", "-o", "A=1", "-o", "Port=2222", "-o", "IdentityFile=/k y", "-o", "User=admin"),
        *("-o", "ProxyJump=x", "-v", "-o", "BatchMode=yes", "198.51.100.11", "true"),
    ]


def test_what_ansible_is_told_about_ssh_counts_here_too(tmp_path: Path) -> None:
    assert "StrictHostKeyChecking=no" not in defaults_of(tmp_path, {}).options
    (tmp_path / "ansible.cfg").write_text(
        "[defaults]\nhost_key_checking = False\n[ssh_connection]\nssh_args = -o X=1\n"
    )
    found = defaults_of(tmp_path, {})
    assert "StrictHostKeyChecking=no" in found.options
    assert found.ssh_args == "-o X=1"


def test_a_control_path_that_is_too_long_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert any("ControlPath" in option for option in defaults_of(tmp_path, {}).options) or len(str(Path.home())) > 30
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / ("x" * 80)))
    assert not any("ControlPath" in option for option in defaults_of(tmp_path, {}).options)


@pytest.mark.parametrize(
    ("found", "quick"),
    [
        (host(), True),
        (host(connection="ssh", become_method="sudo"), True),
        (host(connection="ansible.builtin.ssh"), True),
        (host(connection="local"), False),
        (host(become_method="su"), False),
        (host(password=True), False),
    ],
)
def test_which_hosts_can_be_asked_so(found: Host, quick: bool) -> None:
    assert is_quick(found) is quick


def test_answers(fixtures: Path) -> None:
    status = json.loads((fixtures / "status.json").read_text())["www1"]
    reply = json.dumps({"ok": True, "estate": status})
    assert parse_answer("www1", 0, reply, "") == HostReport("www1", status=status)
    refused = "ssh: connect to host 198.51.100.11 port 22: Connection refused"
    assert parse_answer("www1", 255, "", refused) == HostReport(
        "www1", error="connect to host 198.51.100.11 port 22: Connection refused", reached=False
    )
    absent = "sh: 1: exec: /usr/sbin/failover-agent: not found"
    assert parse_answer("www1", 127, "", absent) == HostReport("www1", error="it is not installed")
    stopped = "failover-agent: /run/failover-agent/agent.sock: Connection refused; is failover-agent.service running?"
    assert parse_answer("www1", 1, "", stopped) == HostReport("www1", error=stopped)
    said_no = '{"ok": false, "code": "failed", "error": "etcd is gone"}'
    assert parse_answer("www1", 1, said_no, "").error == "etcd is gone"
    assert parse_answer("www1", 0, "[]", "").error == "it said nothing"


def estate(*hosts: Host) -> Estate:
    return Estate("shop", "", hosts, {"database": tuple(item.name for item in hosts)}, (), {}, ())


def fake_ssh(folder: Path, script: str) -> str:
    program = folder / "ssh"
    program.write_text(f"#!/bin/sh\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_hosts_are_asked_at_the_same_time_and_in_order(tmp_path: Path) -> None:
    program = fake_ssh(tmp_path, 'echo "{\\"ok\\": true, \\"estate\\": {\\"role\\": \\"replica\\"}}"')
    settings = load(Flags(), cwd=tmp_path, environ={})
    hosts = [host(f"www{number}", ssh_executable=program) for number in range(4)]
    answers = estate_query.ask(settings, estate(*hosts))
    assert [answer.host for answer in answers] == ["www0", "www1", "www2", "www3"]
    assert all(answer.status == {"role": "replica"} for answer in answers)
    assert estate_query.ask(settings, estate()) == ()


def test_a_role_that_moves_is_not_seen_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """www1 hands over after it was asked, www3 never does."""
    monkeypatch.setattr(estate_query, "MOVING_SECONDS", 0.0)
    settings = load(Flags(), cwd=tmp_path, environ={})

    def agent(name: str, *roles: str) -> Host:
        folder = tmp_path / name
        folder.mkdir()
        told = "\n".join(f"{nth}) role={role};;" for nth, role in enumerate(roles, start=1))
        script = f"""echo >> {folder}/asked
case $(wc -l < {folder}/asked) in
{told}
esac
echo '{{"ok": true, "estate": {{"role": "'$role'"}}}}'"""
        return host(name, ssh_executable=fake_ssh(folder, script))

    def roles(*hosts: Host) -> list[str]:
        return [str((report.status or {})["role"]) for report in estate_query.ask(settings, estate(*hosts))]

    assert roles(agent("www1", "primary", "replica"), agent("www2", "primary", "primary")) == ["replica", "primary"]
    assert roles(agent("www3", "primary", "primary"), agent("www4", "primary", "primary")) == ["primary", "primary"]
    assert roles(agent("www5", "primary", "never"), agent("www6", "replica", "never")) == ["primary", "replica"]


def test_a_host_that_hangs_or_an_ssh_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estate_query, "ANSWER_TIMEOUT_SECONDS", 0.2)
    settings = load(Flags(), cwd=tmp_path, environ={})
    hanging = host("www1", ssh_executable=fake_ssh(tmp_path, "sleep 2"))
    absent = host("www2", ssh_executable=str(tmp_path / "nope"))
    first, second = estate_query.ask(settings, estate(hanging, absent))
    assert (first.reached, first.error) == (False, "no answer within 0.2 s")
    assert second.error.startswith("ssh cannot be run")


def test_clocks(tmp_path: Path) -> None:
    program = fake_ssh(tmp_path, 'for last; do :; done; eval "$last"')
    settings = load(Flags(), cwd=tmp_path, environ={})
    lost = host("www2", ssh_executable=fake_ssh(tmp_path / "..", "echo 'ssh: no route' >&2; exit 255"))
    first, second = estate_query.clocks(settings, estate(host("www1", ssh_executable=program), lost))
    assert first.ahead_seconds is not None
    assert abs(first.ahead_seconds) < 1
    assert (second.ahead_seconds, second.error) == (None, "no route")


def test_a_host_that_is_off_is_asked_last_for_a_lock(tmp_path: Path) -> None:
    """ssh waits four seconds for it, and the operator with it."""
    log = tmp_path / "log"
    off = fake_ssh(tmp_path, f"echo asked >> {log}; exit 255")
    (tmp_path / "on").mkdir()
    on = fake_ssh(tmp_path / "on", 'echo "{\\"released\\": true}"')
    settings = load(Flags(), cwd=tmp_path, environ={})
    found = estate(host("www1", ssh_executable=off), host("www2", ssh_executable=on))
    assert estate_query.release_lock(settings, found, "a-run", silent=["www1"]) is True
    assert not log.exists()
    assert estate_query.release_lock(settings, estate(host("www1", ssh_executable=off)), "a-run", ["www1"]) is False
    assert log.exists()


def test_a_lock_is_given_back_by_the_first_agent_that_answers(tmp_path: Path) -> None:
    log = tmp_path / "log"
    program = fake_ssh(tmp_path, f'for last; do :; done; echo "$last" >> {log}; echo "{{\\"released\\": true}}"')
    settings = load(Flags(), cwd=tmp_path, environ={})
    broken = host("www1", ssh_executable="/nope")
    found = estate(broken, host("www2", ssh_executable=program), host("www3", ssh_executable=program))
    assert estate_query.release_lock(settings, found, "20261123T050000Z-setup-1a2b") is True
    assert log.read_text().count("lock_release run_id=20261123T050000Z-setup-1a2b") == 1
    assert estate_query.release_lock(settings, found, "x; rm -rf /") is False
    assert estate_query.release_lock(settings, estate(broken), "x") is False
