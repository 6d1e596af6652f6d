"""What a drill touches outside of its own process, and how that is reached. Tests stand in for all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast

from failoverctl.conduct import owner
from failoverctl.config import Settings
from failoverctl.drill import history
from failoverctl.drill.nested import Command, Done
from failoverctl.drill.scenario import CommandStep
from failoverctl.estate import Estate
from failoverctl.estate_query import LockAnswer
from failoverctl.health import HostReport
from failoverctl.probe import History, Progress, Target
from failoverctl.probe.model import Meta


class Injected(Protocol):
    """A fault that was made; ``began`` and ``done`` are CLOCK_MONOTONIC around it."""

    began: float
    done: float

    def revert(self) -> None:
        """Undo it; harmless when it is undone."""
        ...

    def fired(self) -> bool:
        """Whether its dead-man undid it before."""
        ...


class Fault(Protocol):
    """One fault of the catalogue, as the engine uses it."""

    @property
    def summary(self) -> str:
        """What it does, with {hosts} and the names of its options."""
        ...

    @property
    def options(self) -> Mapping[str, Any]:
        """Its options."""
        ...

    @property
    def lab_only(self) -> bool:
        """Whether only a lab can do it."""
        ...

    def inject(self, targets: Any, options: Mapping[str, Any]) -> Injected:
        """Arm the dead-man, then do it."""
        ...


class Targets(Protocol):
    """How a command reaches a host."""

    @property
    def lab(self) -> str:
        """The name of the lab whose hosts these are; empty on real hosts."""
        ...

    def run(self, host: str, argv: Sequence[str], *, timeout_seconds: float = 30.0) -> Any:
        """Run a command as root on a host."""
        ...

    def close(self) -> None:
        """Let go of all connections."""
        ...


class Recorder(Protocol):
    """Something that records from start to stop: the sampler on the hosts."""

    def start(self) -> None:
        """Begin."""
        ...

    def stop(self) -> None:
        """End, with everything written."""
        ...


class InsideWriters(Recorder, Protocol):
    """Writers on the hosts themselves."""

    def write(self, folder: Path, meta: Meta) -> None:
        """Put what they attempted into the folder of the probe."""
        ...


class Prober(Recorder, Protocol):
    """The prober's process."""

    @property
    def progress(self) -> Progress | None:
        """The latest counts."""
        ...


class Running(Protocol):
    """A command under way."""

    def poll(self) -> Done | None:
        """Return how it ended, None while it goes on."""
        ...

    def interrupt(self) -> None:
        """Ask it to end."""
        ...

    def kill(self) -> None:
        """Kill it."""
        ...


@dataclass(frozen=True, kw_only=True)
class Edges:
    """Everything outside of this process, so that tests can stand in for it."""

    faults: Mapping[str, Fault]
    in_lab: Callable[[], bool]
    targets: Callable[[], Targets]
    ask: Callable[[], Sequence[HostReport]]
    lock: Callable[[str, float], LockAnswer]
    unlock: Callable[[str], bool]
    acknowledge: Callable[[str], bool]
    probe: Callable[[Target, Path], Prober]
    load: Callable[[Path], History]
    sampler: Callable[[Targets, Path], Recorder]
    writers: Callable[[Targets, str, str], InsideWriters]
    command: Callable[[CommandStep, Sequence[str], str, Path], Running]
    killed: Callable[[Sequence[str], int, str, Path], Running]
    ahead: Callable[[], Mapping[str, tuple[float, float]]] = dict
    clock: Callable[[], float] = time.monotonic
    pause: Callable[[float], None] = time.sleep


def real_edges(settings: Settings, estate: Estate) -> Edges:
    """Return the edges of the real world."""
    from failoverctl import estate_query
    from failoverctl.drill.faults import CATALOGUE
    from failoverctl.drill.observe import Sampler, Writers
    from failoverctl.drill.targets import Targets as RealTargets
    from failoverctl.drill.targets import find_lab
    from failoverctl.probe import Probe, load

    def ahead() -> dict[str, tuple[float, float]]:
        answers = estate_query.clocks(settings, estate)
        return {
            item.host: (item.ahead_seconds, item.uncertain_seconds)
            for item in answers
            if item.ahead_seconds is not None
        }

    return Edges(
        faults=CATALOGUE,
        in_lab=lambda: find_lab(estate) is not None,
        targets=lambda: RealTargets.open(settings, estate),
        ask=lambda: estate_query.ask(settings, estate),
        lock=lambda run_id, seconds: estate_query.acquire_lock(
            settings, estate, run_id, owner(), history.RUNBOOK, seconds
        ),
        unlock=lambda run_id: estate_query.release_lock(settings, estate, run_id),
        acknowledge=lambda run_id: estate_query.acknowledge(settings, estate, run_id),
        probe=Probe,
        load=load,
        sampler=lambda targets, path: Sampler(cast(RealTargets, targets), estate, path),
        writers=lambda targets, run_id, password: Writers(
            cast(RealTargets, targets),
            estate,
            [host.name for host in estate.in_role("database")],
            run_id=run_id,
            password=password,
        ),
        command=lambda step, words, run_id, folder: Command(words, settings, run_id, folder, kill_at=step.kill_at),
        killed=lambda words, entry, run_id, folder: Command(words, settings, run_id, folder, kill_entry=entry),
        ahead=ahead,
    )
