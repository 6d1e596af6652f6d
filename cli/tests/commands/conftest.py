"""A project, an operator's terminal, and fakes at the edge: ansible-playbook, agents, prober."""

from __future__ import annotations

import copy
import json
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from failoverctl import conduct, estate, estate_query, runner, sources
from failoverctl.commands import root
from failoverctl.config import Settings
from failoverctl.health import HostReport
from failoverctl.runner import Ended, Event, Request

INVENTORY = """\
all:
  vars:
    failover_estate: cli
    failover_vips:
      - {name: site, address: 198.51.100.74, vrid: 51, follows: primary}
    mariadb_probe_password: hunter2
    web_sites: [{domain: shop.example.org}]
  hosts:
    www1: {ansible_host: 198.51.100.11}
    www2: {ansible_host: 198.51.100.12}
    witness: {ansible_host: 198.51.100.13}
  children:
    failover_web: {hosts: {www1: {}, www2: {}}}
    failover_database: {hosts: {www1: {}, www2: {}}}
    failover_witness: {hosts: {witness: {}}}
"""


@dataclass
class Answer:
    """What came of one command line."""

    code: int
    out: str
    err: str

    def json(self) -> dict[str, Any]:
        """The document on stdout."""
        found: dict[str, Any] = json.loads(self.out)
        return found


class Stream(TextIOWrapper):
    """A stream that is a terminal when the test says so."""

    def __init__(self, text: str = "", *, terminal: bool = False) -> None:
        self._bytes = BytesIO(text.encode())
        super().__init__(self._bytes, encoding="utf-8", write_through=True)
        self._terminal = terminal

    def isatty(self) -> bool:
        return self._terminal

    def text(self) -> str:
        return self._bytes.getvalue().decode()


@dataclass
class Operator:
    """Types command lines in the project's folder."""

    folder: Path
    monkeypatch: pytest.MonkeyPatch

    def types(self, *arguments: str, answer: str | None = None) -> Answer:
        """Run a command line.

        :param answer: what is typed at the prompt; None is no terminal at all.
        """
        stdin, out, err = Stream(answer or "", terminal=answer is not None), Stream(), Stream()
        with self.monkeypatch.context() as patched:
            patched.chdir(self.folder)
            patched.setattr(sys, "stdin", stdin)
            patched.setattr(sys, "stdout", out)
            patched.setattr(sys, "stderr", err)
            try:
                code = root.run(list(arguments))
            except SystemExit as ended:  # Completion ends so.
                code = int(ended.code or 0)
        return Answer(int(code), out.text(), err.text())


@dataclass
class Playbooks:
    """Stands for ansible-playbook: which playbooks were asked for, and what they do."""

    fixtures: Path
    requests: list[Request] = field(default_factory=list)
    events: dict[str, tuple[list[Event], int]] = field(default_factory=dict)
    during: Callable[[], None] = lambda: None

    def does(self, playbook: str, captured: str, return_code: int) -> None:
        """Let a playbook do what was captured under a name, and end with a status."""
        lines = (self.fixtures / "events" / f"{captured}.jsonl").read_text().splitlines()
        parsed = (runner.parse_event(json.loads(line)) for line in lines)
        self.events[playbook] = ([event for event in parsed if event is not None], return_code)

    def names(self) -> list[str]:
        """The playbooks that were run, without the collection."""
        return [request.playbook.removeprefix("hosting.failover.") for request in self.requests]


class FakeRun:
    """In the place of `failoverctl.runner.Run`."""

    playbooks: Playbooks

    def __init__(self, request: Request) -> None:
        self._request = request
        self.stopped = self.killed = False
        self.playbooks.requests.append(request)

    def __iter__(self) -> Iterator[Event]:
        name = self._request.playbook.removeprefix("hosting.failover.")
        events, return_code = self.playbooks.events.get(name, ([], 0))
        yield from events[:1]
        self.playbooks.during()
        yield runner.Tick()
        if self.stopped:
            yield Ended(99, stopped=True, killed=self.killed)
            return
        yield from events[1:]
        yield Ended(return_code, stopped=False, killed=False)

    def stop(self) -> None:
        self.stopped = True

    def kill(self) -> None:
        self.stopped = self.killed = True


@pytest.fixture
def operator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Operator:
    """An operator in a project with an inventory."""
    (tmp_path / "inventory").mkdir()
    (tmp_path / "inventory/hosts.yml").write_text(INVENTORY)
    (tmp_path / "failover.yml").write_text("inventory: inventory/hosts.yml\nstate_directory: state\n")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    return Operator(tmp_path, monkeypatch)


_exports: dict[str, dict[str, Any]] = {}


@pytest.fixture(autouse=True)
def _each_inventory_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ansible takes half a second to read one, and most tests have the same."""
    read = estate.export

    def export(settings: Settings, variables: Sequence[str], vaults: Iterable[Path] = ()) -> dict[str, Any]:
        files = [path for path in sources.watched(settings.inventory_paths) if path.is_file()]
        parts = [*variables, *settings.vault_ids.value, *(path.read_text() for path in files)]
        key = "\0".join([*parts, *map(str, vaults)])
        if key not in _exports:
            _exports[key] = read(settings, variables, vaults)
        return copy.deepcopy(_exports[key])

    monkeypatch.setattr(estate, "export", export)


@pytest.fixture
def playbooks(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> Playbooks:
    """Every playbook succeeds and does nothing, unless the test says otherwise."""
    found = Playbooks(fixtures)
    FakeRun.playbooks = found
    monkeypatch.setattr(conduct, "Run", FakeRun)
    return found


@pytest.fixture
def agents(fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What the agents say; change it to change the estate."""
    answers: dict[str, Any] = json.loads((fixtures / "status.json").read_text())

    def ask(*_: object) -> tuple[HostReport, ...]:
        return tuple(
            HostReport(name, status=status)
            if isinstance(status, dict)
            else HostReport(name, error="off", reached=False)
            for name, status in answers.items()
        )

    def release(_settings: object, _estate: object, run_id: str, _silent: object = ()) -> bool:
        return bool(run_id)

    monkeypatch.setattr(estate_query, "ask", ask)
    monkeypatch.setattr(estate_query, "release_lock", release)
    return answers


class FakeResult:
    """In the place of a probe's result."""

    verdict = "pass"
    reasons: Sequence[str] = ()

    def as_dict(self) -> dict[str, Any]:
        writes = {
            "attempted": 120,
            "acknowledged": 118,
            "failed": 2,
            "unknown": 0,
            "lost": 0,
            "recovered": 0,
            "unexpected": 0,
            "paused_seconds": 0.187,
            "outage_seconds": 0.15,
            "outages": [],
        }
        return {"verdict": self.verdict, "reasons": list(self.reasons), "writes": writes, "http": None}


@dataclass
class Prober:
    """Stands for the prober: whether it ran, what it was asked, and what it found."""

    targets: list[Any] = field(default_factory=list)
    stopped: int = 0
    final_reads: int = 0
    hung_allowed: bool | None = None
    broken_at: float | None = None
    result: FakeResult = field(default_factory=FakeResult)
    error: Exception | None = None


@pytest.fixture
def prober(monkeypatch: pytest.MonkeyPatch) -> Prober:
    """A prober that measures nothing and finds what the test says."""
    from failoverctl import probe

    found = Prober()

    class FakeProbe:
        def __init__(self, target: Any, folder: Path) -> None:
            assert folder.is_dir()
            found.targets.append(target)

        def start(self) -> None:
            if found.error is not None:
                raise found.error

        def wait_steady(self, _seconds: float, *, timeout_seconds: float) -> bool:
            assert timeout_seconds > 0
            return True

        def stop(self, *, final_read: bool = True) -> None:
            found.stopped += 1
            found.final_reads += final_read

    monkeypatch.setattr(probe, "Probe", FakeProbe)

    def analyse(_folder: Path, objectives: probe.Objectives, *, broken_at: float | None) -> FakeResult:
        found.hung_allowed, found.broken_at = objectives.hung_allowed, broken_at
        return found.result

    monkeypatch.setattr(probe, "analyse", analyse)
    from failoverctl import report

    monkeypatch.setattr(report, "write_report", lambda folder: folder / "report.html")
    return found
