"""One estate on real hosts for all end-to-end tests, driven by the installed command as a user drives it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import pytest
from failoverctl.lab import Lab

LAB = "ci"
RELEASE = os.environ.get("FAILOVERCTL_E2E_RELEASE", "trixie")
NETWORK = IPv4Network("198.18.0.128/26")
DATA_HOSTS = ("www1", "www2")


@dataclass
class Estate:
    """The lab and a folder with its inventory; the command runs there with runs of its own."""

    lab: Lab
    folder: Path

    @property
    def environment(self) -> dict[str, str]:
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        return {**os.environ, "PATH": path, "FAILOVERCTL_STATE_DIRECTORY": str(self.folder / "state"), "NO_COLOR": "1"}

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start ``failoverctl`` in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "failoverctl", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def run(
        self, *arguments: str, exit_code: int | None = 0, timeout: float = 600.0
    ) -> subprocess.CompletedProcess[str]:
        """Run ``failoverctl`` and insist on its exit status (None: any)."""
        process = self.start(*arguments)
        out, err = process.communicate(timeout=timeout)
        done = subprocess.CompletedProcess(process.args, process.returncode, out, err)
        if exit_code is not None:
            assert done.returncode == exit_code, f"{' '.join(arguments)}: exit {done.returncode}\n{out}\n{err}"
        return done

    def last_run(self) -> dict[str, Any]:
        """What ``runs show --last --json`` says."""
        return dict(json.loads(self.run("runs", "show", "--last", "--json").stdout))

    def agent(self, host: str) -> dict[str, Any] | None:
        """The status that the agent of a host gives, None when it gives none."""
        done = self.lab.exec(host, ["failover-agent", "ctl", "status"])
        try:
            return dict(json.loads(done.stdout)["estate"])
        except (KeyError, ValueError):
            return None

    def role(self, host: str) -> str:
        """The role that the agent of a host tells, empty when it tells nothing."""
        return str((self.agent(host) or {"role": ""})["role"])

    def told(self, host: str) -> dict[str, Any]:
        """The status of an agent that has to answer."""
        answer = self.agent(host)
        assert answer is not None, f"the agent of {host} does not answer"
        return answer

    def sql(self, host: str, statement: str) -> str:
        """Run a statement as root on a host and return what the client prints."""
        return self.lab.exec(host, ["mariadb", "-N", "-B", "-e", statement], check=True).stdout.strip()

    def main_pid(self, host: str, unit: str) -> str:
        """The main process of a unit, "0" when it has none."""
        return self.lab.exec(
            host, ["systemctl", "show", "--property=MainPID", "--value", unit], check=True
        ).stdout.strip()

    def settled(self) -> str | None:
        """The primary, if the estate is whole: one writable primary with the address, one replica it waits for."""
        answers = [self.agent(host) for host in DATA_HOSTS]
        known = [answer for answer in answers if answer is not None]
        primaries = [answer for answer in known if answer["role"] == "primary"]
        replicas = [answer for answer in known if answer["role"] == "replica"]
        if len(primaries) != 1 or len(replicas) != 1:
            return None
        primary, replica = primaries[0], replicas[0]
        whole = (
            primary["vips"]["site"]["held"]
            and not replica["vips"]["site"]["held"]
            and replica["database"]["io_running"]
            and replica["database"]["sql_running"]
            and primary["term"] == replica["term"]
            and primary["sync"]["mode"] == "strict"
            and primary["sync"]["members"] == [replica["host"]]
        )
        return str(primary["host"]) if whole else None

    def wait_settled(self, limit: float = 60.0) -> str:
        """Wait until the estate is whole and return its primary."""
        return str(wait_for(self.settled, limit, lambda: f"not settled: {[self.agent(host) for host in DATA_HOSTS]}"))


def other(host: str) -> str:
    """The other data host."""
    return DATA_HOSTS[1 - DATA_HOSTS.index(host)]


def wait_for(condition: Callable[[], Any], limit: float, say: Callable[[], str] = lambda: "it did not happen") -> Any:
    """The first true value of ``condition`` within ``limit`` seconds; the test fails with ``say()`` otherwise."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            pytest.fail(f"after {limit:g} s {say()}")
        time.sleep(0.2)


def one_primary(estate: Estate) -> str | None:
    """The primary, if exactly one agent says that it is."""
    primaries = [host for host in DATA_HOSTS if estate.role(host) == "primary"]
    return primaries[0] if len(primaries) == 1 else None


def lock_of_another(estate: Estate) -> None:
    """Take the lock as a run of another machine would that is at work."""
    request = ["owner=anna@elsewhere", "run_id=other-run", "runbook=setup", "ttl_seconds=300"]
    estate.lab.exec(estate.wait_settled(), ["failover-agent", "ctl", "lock_acquire", *request], check=True)


def kill_at(estate: Estate, title: str, *arguments: str) -> None:
    """Start a runbook and kill everything of it as soon as a task is about to be sent."""

    def journals() -> set[Path]:
        return set((estate.folder / "state/runs").glob("*/journal.jsonl"))

    before = journals()
    process = estate.start(*arguments)

    def begun() -> bool:
        texts = [path.read_text() for path in journals() - before]
        return process.poll() is not None or any(
            json.loads(line).get("kind") == "begun" and json.loads(line)["title"] == title
            for text in texts
            for line in text.splitlines()
            if line.endswith("}")
        )

    wait_for(begun, 120.0, lambda: f"{title} was never begun")
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


@contextlib.contextmanager
def bare_hosts(name: str, layout: str, network: IPv4Network, folder: Path) -> Iterator[Estate]:
    """The hosts of a layout with nothing on them, until the end of the block; ``folder`` gets their inventory."""
    lab = Lab.open(name)
    lab.down()
    try:
        lab.up(layout, release=RELEASE, network=network)
        (folder / "hosts.yml").write_text(lab.inventory(), encoding="utf-8")
        (folder / "failover.yml").write_text("inventory: hosts.yml\n", encoding="utf-8")
        yield Estate(lab, folder)
    finally:
        lab.down()


@pytest.fixture(scope="session")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """Four bare hosts and a folder with their inventory."""
    with bare_hosts(LAB, "small", NETWORK, tmp_path_factory.mktemp("estate")) as made:
        yield made


@pytest.fixture(scope="session")
def served(bare: Estate) -> Estate:
    """The hosts after ``failoverctl setup``."""
    bare.run("setup", "--yes", timeout=900.0)
    return bare


@pytest.fixture
def estate(served: Estate) -> Iterator[Estate]:
    """The estate, whole before the test and made whole after it."""
    served.wait_settled()
    yield served
    served.lab.heal()
    for status in served.lab.status().hosts:
        if not status.on:
            served.lab.power_on(status.name)
    served.run("lock", "release", "--yes", "--reason", "end of a test", exit_code=None)
    served.wait_settled()
