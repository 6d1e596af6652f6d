"""Looks at this machine: whether it has what runbooks need, and whether it reaches the hosts."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.paths import collection_directory, runs_directory
from failoverctl.runner import ansible_config, user_setting, utf8_locale
from failoverctl.version import version

#: The oldest releases that everything was tried with.
OLDEST = {"ansible-core": (2, 19), "ansible-runner": (2, 4, 1)}
OLDEST_PYTHON = (3, 11)

#: Clocks further apart than this make journals hard to compare. Leases do not depend on them.
CLOCK_LIMIT_SECONDS = 0.5


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: ``outcome`` is ok, warn or fail."""

    name: str
    outcome: str
    detail: str
    fix: str = ""
    exit_code: ExitCode = ExitCode.FAILED


def examine(load_settings: Callable[[], Any]) -> Iterator[Finding]:
    """Yield what is found, one after the other.

    :param load_settings: returns the settings in force, or raises FailoverctlError.
    """
    yield _python()
    yield Finding("failoverctl", "ok", f"{version()}, {Path(__file__).parent}")
    yield from map(_package, OLDEST)
    yield _playbook_command()
    yield _path()
    yield _collection()
    yield from _shadows()
    yield _locale()
    yield _ssh()
    yield from _configuration(load_settings)


def exit_code(findings: list[Finding]) -> ExitCode:
    """Return the exit status: of the first failure, 0 when nothing failed."""
    return next((item.exit_code for item in findings if item.outcome == "fail"), ExitCode.OK)


def as_dict(findings: list[Finding]) -> dict[str, Any]:
    """Return the document that `failoverctl doctor --json` prints."""
    rows = [{**asdict(item), "exit_code": None} for item in findings]
    for row in rows:
        del row["exit_code"]
    return {"schema": 1, "exit_code": int(exit_code(findings)), "findings": rows}


def _python() -> Finding:
    found = platform.python_version()
    good = sys.version_info[:2] >= OLDEST_PYTHON
    oldest = ".".join(map(str, OLDEST_PYTHON))
    detail = f"{found}, {sys.executable}"
    return Finding("python", "ok" if good else "fail", detail, "" if good else f"use Python {oldest} or later.")


def _package(name: str) -> Finding:
    wanted = OLDEST[name]
    oldest = ".".join(map(str, wanted))
    fix = f"install {name} {oldest} or later into {sys.prefix}."
    try:
        found = installed_version(name)
    except PackageNotFoundError:
        return Finding(name, "fail", "not installed", fix)
    numbers = tuple(int(part) for part in found.split(".")[: len(wanted)] if part.isdigit())
    return Finding(name, "ok", found) if numbers >= wanted else Finding(name, "fail", found, fix)


def _playbook_command() -> Finding:
    path = Path(sys.executable).parent / "ansible-playbook"
    if path.exists():
        return Finding("ansible-playbook", "ok", str(path))
    found = shutil.which("ansible-playbook")
    fix = f"install ansible-core into {sys.prefix}; another one may not see the collection."
    return Finding("ansible-playbook", "fail", f"not beside {sys.executable}; on PATH: {found}", fix)


def _path() -> Finding:
    found = shutil.which("failoverctl")
    if found is None:
        fix = f"add {Path(sys.executable).parent} to PATH."
        return Finding("PATH", "warn", "failoverctl is not on PATH", fix)
    if Path(found).parent.resolve() != Path(sys.executable).parent.resolve():
        return Finding("PATH", "warn", f"failoverctl on PATH is another one: {found}", "remove one of them.")
    return Finding("PATH", "ok", found)


def _collection() -> Finding:
    found = collection_directory()
    if found is None:
        return Finding("collection", "fail", "hosting.failover is not importable", "install failoverctl again.")
    return Finding("collection", "ok", f"hosting.failover, {found}")


def _shadows() -> Iterator[Finding]:
    """Ansible prefers a collection in its own folders to the one that came with failoverctl."""
    said = user_setting("ANSIBLE_COLLECTIONS_PATH", "defaults", "collections_path", Path.cwd(), os.environ)
    paths = said or f"{Path.home()}/.ansible/collections:/usr/share/ansible/collections"
    own = collection_directory()
    for folder in paths.split(os.pathsep):
        found = Path(folder).expanduser() / "ansible_collections/hosting/failover"
        if found.is_dir() and own is not None and found.resolve() != own.resolve():
            fix = "remove it, or keep it at the version of failoverctl."
            yield Finding("collection", "warn", f"another copy wins over it: {found}", fix)


def _locale() -> Finding:
    added = utf8_locale(os.environ)
    if added:
        return Finding("locale", "ok", "not UTF-8; failoverctl gives Ansible C.UTF-8")
    return Finding("locale", "ok", "UTF-8")


def _ssh() -> Finding:
    path = shutil.which("ssh")
    if path is None:
        return Finding("ssh", "fail", "not found", "install openssh-client.")
    said = subprocess.run([path, "-V"], capture_output=True, text=True, check=False).stderr.strip()
    return Finding("ssh", "ok", said)


def _configuration(load_settings: Callable[[], Any]) -> Iterator[Finding]:
    from failoverctl.inspection import inspect

    try:
        settings = load_settings()
    except FailoverctlError as error:
        yield Finding("configuration", "fail", error.what, error.fix, error.exit_code)
        return
    file = settings.file or "no failover.yml here or above"
    yield Finding("configuration", "ok", str(file))
    config = ansible_config(settings.root, os.environ)
    yield Finding("ansible.cfg", "ok", str(config) if config else "none; Ansible's defaults")
    yield _state(settings)
    vaults = ", ".join(settings.vault_ids.value) or "no password given"
    yield Finding("vault", "ok", f"{vaults} ({settings.vault_ids.source})")
    inventory = f"{', '.join(settings.inventory.value)} ({settings.inventory.source})"
    if settings.inventory.source == "default" and not Path(settings.inventory.value[0]).exists():
        yield Finding("inventory", "warn", "none yet", "failoverctl init writes one.")
        return
    try:
        estate = inspect(settings).estate
    except FailoverctlError as error:
        yield Finding("inventory", "fail", error.what, error.fix or "failoverctl check", error.exit_code)
        return
    hosts = f"{len(estate.hosts)} hosts of estate {estate.name or '(no failover_estate)'}"
    yield Finding("inventory", "ok", f"{inventory}: {hosts}")
    yield from _hosts(settings, estate)


def _state(settings: Any) -> Finding:
    state = settings.state_directory
    folder = runs_directory(state.value)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if os.access(there, os.W_OK):
        return Finding("state directory", "ok", f"{state.value} ({state.source})")
    fix = "make it writable, or choose another with --state-directory."
    return Finding("state directory", "fail", f"{there} is not writable", fix, ExitCode.USAGE)


def _hosts(settings: Any, estate: Any) -> Iterator[Finding]:
    from failoverctl.estate_query import clocks

    found = clocks(settings, estate)
    yield from _own_clock([clock for clock in found if clock.ahead_seconds is not None])
    for clock in found:
        name = f"host {clock.host}"
        if clock.ahead_seconds is None:
            fix = "try `ssh` to it by hand; check ansible_host, ansible_user, key and firewall."
            yield Finding(name, "fail", clock.error, fix, ExitCode.UNREACHABLE)
            continue
        detail = f"answers; its clock is {clock.ahead_seconds:+.3f} s from ours, ±{clock.uncertain_seconds:.3f}"
        apart = _apart(clock)
        fix = f"keep clocks within {CLOCK_LIMIT_SECONDS:g} s, here and there: run chrony." if apart else ""
        yield Finding(name, "warn" if apart else "ok", detail, fix)
    yield from _agents(settings, estate)


def _apart(clock: Any) -> bool:
    return bool(abs(clock.ahead_seconds) - clock.uncertain_seconds > CLOCK_LIMIT_SECONDS)


def _own_clock(clocks: list[Any]) -> Iterator[Finding]:
    """Yield that this machine's clock is wrong, when several hosts agree with each other and not with it."""
    if len(clocks) < 2 or not all(map(_apart, clocks)):
        return
    ahead = [clock.ahead_seconds for clock in clocks]
    if max(ahead) - min(ahead) > CLOCK_LIMIT_SECONDS + 2 * max(clock.uncertain_seconds for clock in clocks):
        return
    word = "behind" if ahead[0] > 0 else "ahead of"
    detail = f"this machine is {abs(sum(ahead) / len(ahead)):.1f} s {word} all {len(clocks)} hosts, which agree"
    fix = "set the clock of this machine: it dates journals, and certificates that setup makes."
    yield Finding("clock", "fail", detail, fix)


def _agents(settings: Any, estate: Any) -> Iterator[Finding]:
    """Yield what the agents tell: every trouble that `status` shows, with what to do about it."""
    from failoverctl.estate_query import ask
    from failoverctl.health import judge, remedy

    health = judge(estate, ask(settings, estate))
    told = {
        report.host: str(report.status.get("version") or "?") for report in health.reports if report.status is not None
    }
    strange = {host: number for host, number in told.items() if number != version()}
    if strange and len(set(told.values())) == 1:
        number = next(iter(strange.values()))
        fix = "failoverctl setup brings the agents to the version of this failoverctl."
        yield Finding("agents", "warn", f"they are of version {number}, failoverctl is {version()}", fix)
    elif told and not health.troubles:
        yield Finding("agents", "ok", f"{len(told)} answer, of version {next(iter(told.values()))}")
    for trouble in (*health.troubles, *health.remarks):
        if trouble.code == "host_unreachable":
            continue  # ssh has told so above.
        yield Finding(trouble.code, "warn", trouble.message, remedy(trouble))
