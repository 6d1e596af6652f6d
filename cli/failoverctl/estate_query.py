"""Asks the agents how they are, over ssh and in parallel, without Ansible.

Elsewhere the CLI knows only playbooks and the results of modules. This module is the exception, for
speed: starting ansible-playbook alone takes most of the two seconds in which an operator wants to
see the state, and `status --watch` asks again and again. It uses the connection variables of the
inventory as Ansible's ssh connection does (ansible-core 2.19, plugins/connection/ssh.py), and one
command, ``failover-agent ctl status``, which prints the object that the module
``hosting.failover.estate_info`` returns. Hosts that cannot be asked so (a password to log in with,
another connection than ssh) are asked by the playbook ``hosting.failover.status`` instead.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import time
from collections.abc import Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from failoverctl.config import Settings
from failoverctl.estate import Estate, Host
from failoverctl.health import HostReport
from failoverctl.paths import cache_directory
from failoverctl.runner import host_key_checking, user_setting

#: What is run on a data host. An account that is not root uses sudo without a password.
AGENT = '[ "$(id -u)" = 0 ] || sudo="sudo -n"; exec $sudo /usr/sbin/failover-agent ctl'

_RUN_ID_LETTERS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_")

CONNECT_TIMEOUT_SECONDS = 4
ANSWER_TIMEOUT_SECONDS = 8

#: A planned switchover takes the role from one host and gives it to another in less.
MOVING_SECONDS = 0.5

_SSH_ARGS = "-C -o ControlMaster=auto -o ControlPersist=60s"

#: What a shell and sudo answer for a command that is not there, in the C locale.
_ABSENT = ("No such file", "not found")


def ask(settings: Settings, estate: Estate) -> tuple[HostReport, ...]:
    """Return what each data host of the estate answers, in the order of the inventory.

    It takes as long as the slowest host, and :data:`ANSWER_TIMEOUT_SECONDS` at most for those asked
    over ssh. Nothing is raised for hosts that do not answer. Hosts do not answer at the very same
    moment, so that a role that moves just then may be seen twice: all are asked once more.
    """
    reports = _ask_all(settings, estate)
    if sum((report.status or {}).get("role") == "primary" for report in reports) > 1:
        time.sleep(MOVING_SECONDS)
        reports = _ask_all(settings, estate)
    return reports


def _ask_all(settings: Settings, estate: Estate) -> tuple[HostReport, ...]:
    hosts = estate.in_role("database")
    if not hosts:
        return ()
    if not all(is_quick(host) for host in hosts):
        from failoverctl.conduct import ask_by_playbook

        return ask_by_playbook(settings, estate)
    with ThreadPoolExecutor(max_workers=min(16, len(hosts))) as pool:
        defaults = defaults_of(settings.root, os.environ)
        return tuple(pool.map(lambda host: _ask_one(host, defaults), hosts))


@dataclass(frozen=True)
class Defaults:
    """What applies to all hosts: Ansible's ssh_args, and options that come after everything."""

    ssh_args: str
    options: tuple[str, ...]


def defaults_of(directory: Path, environ: Mapping[str, str]) -> Defaults:
    """Return what Ansible's configuration says about ssh, in a working directory.

    ssh takes the first value it is given of an option (ssh_config(5)), so what is said for a host
    wins over these.
    """
    said = user_setting("ANSIBLE_SSH_ARGS", "ssh_connection", "ssh_args", directory, environ)
    options = ["-o", "BatchMode=yes", "-o", f"ConnectTimeout={CONNECT_TIMEOUT_SECONDS}"]
    if not host_key_checking(directory, environ):
        options += ["-o", "StrictHostKeyChecking=no"]
    return Defaults(_SSH_ARGS if said is None else said, (*options, *_control_path()))


def is_quick(host: Host) -> bool:
    """Return whether a host can be asked by ssh alone."""
    variables = host.connection
    connection = str(variables.get("ansible_connection", "ssh"))
    method = str(variables.get("ansible_become_method", "sudo"))
    return (
        connection in ("ssh", "smart", "ansible.builtin.ssh")
        and not host.uses_password
        and method in ("sudo", "ansible.builtin.sudo")
    )


def ssh_command(host: Host, defaults: Defaults, remote: str) -> list[str]:
    """Return the command that runs a shell command on one host, as a list of arguments."""
    variables = host.connection

    def get(*names: str) -> str:
        return next((str(variables[name]) for name in names if variables.get(name)), "")

    command = [get("ansible_ssh_executable") or "ssh"]
    command += shlex.split(get("ansible_ssh_args") or defaults.ssh_args)
    port = get("ansible_port", "ansible_ssh_port")
    if port:
        command += ["-o", f"Port={port}"]
    key = get("ansible_private_key_file", "ansible_ssh_private_key_file")
    if key:
        command += ["-o", f"IdentityFile={Path(key).expanduser()}"]
    user = get("ansible_user", "ansible_ssh_user")
    if user:
        command += ["-o", f"User={user}"]
    for name in ("ansible_ssh_common_args", "ansible_ssh_extra_args"):
        command += shlex.split(get(name))
    address = get("ansible_host", "ansible_ssh_host") or host.name
    return [*command, *defaults.options, address, remote]


def parse_answer(host: str, return_code: int, stdout: str, stderr: str) -> HostReport:
    """Return the report of one finished ssh.

    255 is ssh's own exit status (ssh(1)); any other is that of the command on the host.
    """
    said = " ".join(stderr.split()) or "it said nothing"
    if return_code == 255:
        return HostReport(host, error=said.removeprefix("ssh: "), reached=False)
    try:
        reply = json.loads(stdout)
        if reply["ok"] is True and isinstance(reply["estate"], dict):
            return HostReport(host, status=reply["estate"])
        return HostReport(host, error=str(reply.get("error", reply)))
    except (ValueError, KeyError, TypeError):
        if any(sign in said for sign in _ABSENT):
            said = "it is not installed"
        return HostReport(host, error=said)


def release_lock(settings: Settings, estate: Estate, run_id: str, silent: Collection[str] = ()) -> bool:
    """Give the estate lock back that a run holds which has ended; return whether it held it.

    The agent gives back no lock of another run. It is asked here, and not by a playbook, because an
    operator who has just pressed Ctrl-C waits for it.

    :param silent: hosts that could not be reached just before; they are asked when no other agent answers.
    """
    if not run_id or set(run_id) - _RUN_ID_LETTERS:
        return False
    hosts = [host for host in estate.in_role("database") if is_quick(host)]
    defaults = defaults_of(settings.root, os.environ)
    for host in sorted(hosts, key=lambda host: host.name in silent):
        answer = _run(host, defaults, f"{AGENT} lock_release run_id={run_id}")
        if isinstance(answer, HostReport) or answer.returncode != 0:
            continue
        try:
            return json.loads(answer.stdout).get("released") is True
        except (ValueError, AttributeError):
            continue
    return False


def acknowledge(settings: Settings, estate: Estate, by: str) -> bool:
    """Say that somebody has looked: automatic failovers until now no longer count against the next.

    It is what `failoverctl resume-automation` does, and ends a pause too. Return whether an agent has noted it.
    """
    defaults = defaults_of(settings.root, os.environ)
    for host in estate.in_role("database"):
        answer = _run(host, defaults, f"{AGENT} resume {shlex.quote(f'by={by}')}")
        if isinstance(answer, HostReport):
            continue
        try:
            if json.loads(answer.stdout).get("ok") is True:
                return True
        except (ValueError, AttributeError):
            continue
    return False


@dataclass(frozen=True)
class LockAnswer:
    """Whether the estate lock was taken; ``held`` is who holds it instead, ``error`` why nobody could say."""

    acquired: bool
    held: Mapping[str, object] | None = None
    error: str = ""


def acquire_lock(
    settings: Settings, estate: Estate, run_id: str, owner: str, runbook: str, ttl_seconds: float
) -> LockAnswer:
    """Take the estate lock for a run, or take it for longer when that run holds it.

    The first data host that answers decides; the lock is in etcd, so all would say the same.
    """
    defaults = defaults_of(settings.root, os.environ)
    fields = {"run_id": run_id, "owner": owner, "runbook": runbook, "ttl_seconds": f"{ttl_seconds:.0f}"}
    words = " ".join(shlex.quote(f"{key}={value}") for key, value in fields.items())
    errors = []
    for host in estate.in_role("database"):
        answer = _run(host, defaults, f"{AGENT} lock_acquire {words}")
        if isinstance(answer, HostReport):
            errors.append(f"{host.name}: {answer.error}")
            continue
        try:
            reply = json.loads(answer.stdout)
            if reply.get("ok") is True:
                held = reply.get("lock")
                return LockAnswer(reply.get("acquired") is True, held if isinstance(held, dict) else None)
            errors.append(f"{host.name}: {reply.get('error', reply)}")
        except (ValueError, AttributeError):
            report = parse_answer(host.name, answer.returncode, answer.stdout, answer.stderr)
            errors.append(f"{host.name}: {report.error}")
    return LockAnswer(False, error="; ".join(errors) or "there is no data host that can be asked by ssh")


@dataclass(frozen=True)
class Clock:
    """What the clock of one host said: how far ahead of ours it is, give or take, in seconds."""

    host: str
    ahead_seconds: float | None
    uncertain_seconds: float = 0.0
    error: str = ""


def clocks(settings: Settings, estate: Estate) -> tuple[Clock, ...]:
    """Return the clock of each host that can be asked by ssh alone; an error where it did not answer."""
    hosts = [host for host in estate.hosts if is_quick(host)]
    if not hosts:
        return ()
    defaults = defaults_of(settings.root, os.environ)
    with ThreadPoolExecutor(max_workers=min(16, len(hosts))) as pool:
        return tuple(pool.map(lambda host: _clock(host, defaults), hosts))


def _clock(host: Host, defaults: Defaults) -> Clock:
    """Twice: the first question opens the connection, the second is quick enough to measure by."""
    _run(host, defaults, "true")
    before = time.time()
    answer = _run(host, defaults, "date +%s.%N")
    after = time.time()
    if isinstance(answer, HostReport):
        return Clock(host.name, None, error=answer.error)
    report = parse_answer(host.name, answer.returncode, answer.stdout, answer.stderr)
    if not report.reached:
        return Clock(host.name, None, error=report.error)
    try:
        said = float(answer.stdout)
    except ValueError:
        return Clock(host.name, None, error=report.error)
    half = (after - before) / 2
    return Clock(host.name, round(said - before - half, 3), round(half, 3))


def _ask_one(host: Host, defaults: Defaults) -> HostReport:
    answer = _run(host, defaults, f"{AGENT} status")
    if isinstance(answer, HostReport):
        return answer
    return parse_answer(host.name, answer.returncode, answer.stdout, answer.stderr)


def _run(host: Host, defaults: Defaults, remote: str) -> subprocess.CompletedProcess[str] | HostReport:
    """Run a command on a host; a report of why it could not be run, when it could not."""
    try:
        return subprocess.run(
            ssh_command(host, defaults, remote),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            env={**os.environ, "LC_ALL": "C"},
            timeout=ANSWER_TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        limit = f"no answer within {ANSWER_TIMEOUT_SECONDS} s"
        return HostReport(host.name, error=limit, reached=False)
    except OSError as error:
        return HostReport(host.name, error=f"ssh cannot be run: {error}", reached=False)


def _control_path() -> list[str]:
    """Connections are kept by ssh for the next question; its sockets are nobody else's."""
    folder = cache_directory() / "ssh"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError:
        return []
    path = str(folder / "%C")
    # A unix socket's path has 108 bytes (unix(7)); ssh appends 17 of its own, and %C has 40.
    return ["-o", f"ControlPath={path}"] if len(path) + 40 + 17 < 108 else []
