"""Labs to measure in: fresh hosts, their inventory, and the commands that work on them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Any

import yaml
from failoverctl.lab import Lab

LAYOUT = "small"
DATA_HOSTS = ("www1", "www2")
OWN = ("bench", IPv4Network("198.18.0.0/26"))
"""Name and network of the lab that failoverctl sets up; the range is RFC 2544's, for benchmarks."""
PEERS = ("peers", IPv4Network("198.18.0.64/26"))
"""Name and network of the lab that gets the peers, and nothing of ours."""

Say = Callable[[str], None]


class BenchError(Exception):
    """Something could not be measured; the text says what was observed."""


@dataclass(frozen=True)
class Done:
    """How a command ended: its output and its cost, of which CPU counts it and its children."""

    status: int
    output: str
    errors: str
    seconds: float
    cpu_seconds: float


@dataclass(frozen=True)
class Bed:
    """A lab that is up, with a folder of its own for inventory, runs and probes."""

    lab: Lab
    folder: Path
    addresses: Mapping[str, str]
    vip: str
    variables: Mapping[str, Any]

    @property
    def inventory(self) -> Path:
        """The inventory that the lab wrote."""
        return self.folder / "inventory.yml"

    def failoverctl(self, *arguments: str) -> Done:
        """Run the product's command on this estate, as a user would."""
        environment = {
            "FAILOVERCTL_INVENTORY": str(self.inventory),
            "FAILOVERCTL_STATE_DIRECTORY": str(self.folder / "state"),
            "NO_COLOR": "1",
        }
        return run([program("failoverctl"), *arguments], self.folder, environment)

    def playbook(self, playbook: Path, **variables: str) -> Done:
        """Run a playbook on this lab. Raises BenchError when it fails; its log is in the folder."""
        words = [program("ansible-playbook"), "--inventory", str(self.inventory), str(playbook)]
        for name, value in variables.items():
            words += ["--extra-vars", f"{name}={value}"]
        done = run(words, self.folder, {"ANSIBLE_NOCOLOR": "1", "ANSIBLE_RETRY_FILES_ENABLED": "0"})
        with (self.folder / f"{playbook.stem}.log").open("a", encoding="utf-8") as log:
            log.write(done.output + done.errors)
        if done.status != 0:
            raise BenchError(f"playbook {playbook.name} failed: {last_line(done.errors or done.output)}")
        return done

    def shell(self, host: str, *argv: str) -> str:
        """Run a command as root on a host; return what it printed. Raises LabError when it fails."""
        return self.lab.exec(host, argv, check=True).stdout


def other(host: str) -> str:
    """Return the data host that is not ``host``."""
    return next(name for name in DATA_HOSTS if name != host)


def program(name: str) -> str:
    """Return the path of a program of this virtual environment. Raises BenchError without it."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        raise BenchError(f"{path} is missing: install the checkout with `scripts/bootstrap`")
    return str(path)


def run(words: list[str], folder: Path, environment: Mapping[str, str]) -> Done:
    """Run a command to its end and return what it printed and cost."""
    began = time.monotonic()
    with subprocess.Popen(
        words,
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=(folder / "stderr").open("w+", encoding="utf-8"),
        text=True,
    ) as process:
        output = process.stdout.read() if process.stdout else ""
        # Not process.wait(): only wait4 tells the cost of this one child.
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    return Done(
        status=process.returncode,
        output=output,
        errors=(folder / "stderr").read_text(encoding="utf-8"),
        seconds=time.monotonic() - began,
        cpu_seconds=usage.ru_utime + usage.ru_stime,
    )


def last_line(text: str) -> str:
    """Return the last line of a text that says something."""
    return next((line.strip() for line in reversed(text.splitlines()) if line.strip()), "it said nothing")


def down(which: tuple[str, IPv4Network]) -> None:
    """Take a lab down; harmless when there is none."""
    Lab.open(which[0]).down()


def up(which: tuple[str, IPv4Network], folder: Path, say: Say, *, layout: str = LAYOUT, estate: str = "") -> Bed:
    """Bring a lab up, or take the one that is up, and return it with its inventory written.

    ``folder`` holds everything of one life of the lab: a lab that is new gets it empty. With ``estate`` the estate is
    called so: when that is not the lab's own name, failoverctl does not know that its hosts are a lab's.
    """
    name, network = which
    lab = Lab.open(name, say=say)
    if not lab.exists():
        shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, exist_ok=True)
    lab.up(layout, network=network)
    text = lab.inventory()
    if estate:
        text = text.replace(f"failover_estate: {name}\n", f"failover_estate: {estate}\n")
    (folder / "inventory.yml").write_text(text, encoding="utf-8")
    inventory = yaml.safe_load(text)["all"]
    return Bed(
        lab=lab,
        folder=folder,
        addresses={host: values["ansible_host"] for host, values in inventory["hosts"].items()},
        vip=inventory["vars"]["failover_vips"][0]["address"],
        variables=inventory["vars"],
    )


@contextmanager
def fresh(which: tuple[str, IPv4Network], folder: Path, say: Say, *, keep: bool) -> Iterator[Bed]:
    """A lab made anew, taken down in the end unless ``keep``."""
    down(which)
    try:
        yield up(which, folder, say)
    finally:
        if not keep:
            down(which)


def until(condition: Callable[[], bool], limit_seconds: float, what: str, *, every: float = 0.5) -> None:
    """Wait until a condition holds. Raises BenchError naming it when it does not within the limit."""
    end = time.monotonic() + limit_seconds
    while not condition():
        if time.monotonic() >= end:
            raise BenchError(f"{what}: not within {limit_seconds:.0f} s")
        time.sleep(every)
