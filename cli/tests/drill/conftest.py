"""Hosts that only write down what they are told to do."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import pytest
from failoverctl.drill.targets import TargetError, Targets
from failoverctl.estate import Estate, Host, Vip

ADDRESSES = {"www1": "198.51.100.11", "www2": "198.51.100.12", "witness": "198.51.100.13", "vault": "198.51.100.14"}


class FakeTargets(Targets):
    """Notes (host, argv, stdin) of everything; ``fail`` names hosts that answer with an error."""

    def __init__(self, estate: Estate, lab: Any = None) -> None:
        super().__init__(estate, {}, lab)
        self.said: list[tuple[str, list[str], str | None]] = []
        self.fail: set[str] = set()
        self.off: set[str] = set()
        self.answer = ""
        self.status = 0

    @property
    def hosts(self) -> tuple[str, ...]:
        return tuple(host.name for host in self.estate.hosts)

    def is_off(self, host: str) -> bool:
        return host in self.off

    def run(
        self,
        host: str,
        argv: Sequence[str],
        *,
        stdin: str | None = None,
        timeout_seconds: float = 30.0,  # noqa: ARG002
        check: bool = False,  # noqa: ARG002
    ) -> subprocess.CompletedProcess[str]:
        self.said.append((host, list(argv), stdin))
        if host in self.fail | self.off:
            raise TargetError(f"{host} does not answer")
        return subprocess.CompletedProcess(argv, self.status, self.answer, "")

    def scripts(self, host: str) -> list[str]:
        """What was run on a host by sh -c, in its order."""
        return [argv[2] for name, argv, _ in self.said if name == host and argv[:2] == ["sh", "-c"]]


@pytest.fixture
def estate() -> Estate:
    """The hosts of the lab's layout ``small``."""
    return Estate(
        name="demo",
        profile="lan",
        hosts=tuple(Host(name, (), address, "", {}, False) for name, address in ADDRESSES.items()),
        groups={"web": ("www1", "www2"), "database": ("www1", "www2"), "witness": ("witness",), "backup": ("vault",)},
        vips=(Vip("site", "198.51.100.10", "primary"),),
        objectives={},
        domains=("guestbook.example.org",),
    )


@pytest.fixture
def targets(estate: Estate) -> FakeTargets:
    """All hosts of the estate."""
    return FakeTargets(estate)
