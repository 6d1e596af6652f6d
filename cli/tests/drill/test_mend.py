"""What a killed drill left is undone."""

from __future__ import annotations

import subprocess
import time
from typing import Any

import pytest
from failoverctl.drill import deadman, mend
from failoverctl.lab import LabError

from .conftest import FakeTargets


class FakeLab:
    """A lab with a host that is off and one that is frozen."""

    name = "demo-of-this-test"

    def __init__(self) -> None:
        self.did: list[str] = []

    def status(self) -> Any:
        def host(name: str, on: bool, frozen: bool) -> Any:
            return type("Host", (), {"name": name, "on": on, "frozen": frozen})

        return type(
            "Status", (), {"hosts": (host("www1", False, False), host("www2", True, True), host("vault", True, False))}
        )

    def power_on(self, host: str) -> None:
        self.did.append(f"on {host}")
        if host == "www1":
            raise LabError("it does not boot")

    def thaw(self, host: str) -> None:
        self.did.append(f"thaw {host}")

    def heal(self) -> None:
        self.did.append("heal")


def test_every_dead_man_acts_now(targets: FakeTargets) -> None:
    assert mend.mend(targets) == []
    for host in targets.hosts:
        assert mend.DEADMEN in targets.scripts(host)
        assert len(targets.scripts(host)) == 2


def test_a_host_that_does_not_answer_is_named(targets: FakeTargets) -> None:
    targets.fail = {"www2"}
    assert [line for line in mend.mend(targets) if "www2" in line]


def test_hosts_of_a_lab_are_switched_on_and_go_on(estate: Any) -> None:
    lab = FakeLab()
    found = mend.mend(FakeTargets(estate, lab))
    assert lab.did == ["on www1", "thaw www2", "heal"]
    assert found == ["www1: it does not boot"]


def test_what_waits_on_this_machine_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    real = subprocess.Popen

    def start(*arguments: Any, **options: Any) -> Any:
        started.append(real(*arguments, **options))
        return started[-1]

    monkeypatch.setattr(deadman.subprocess, "Popen", start)  # type: ignore[attr-defined]
    armed = deadman.arm_here(["--name", FakeLab.name, "power-on", "www1"], 600.0)
    other = deadman.arm_here(["--name", f"{FakeLab.name}-2", "power-on", "www1"], 600.0)
    try:
        mend._end_deadmen(FakeLab.name)
        deadline = time.monotonic() + 5
        while started[0].poll() is None and time.monotonic() < deadline:
            time.sleep(0.02)
        assert started[0].poll() == -9
        assert started[1].poll() is None
    finally:
        armed.disarm()
        other.disarm()
