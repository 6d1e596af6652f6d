"""Runs of one part: timed commands, and moves under the load of the prober."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from failoverctl.conduct import SETTLE_TIMEOUT_SECONDS, STEADY_SECONDS
from failoverctl.lab.errors import LabError
from failoverctl.probe import Probe, ProbeError, ProbeFilesError, Target, analyse

from bench.beds import BenchError
from bench.machine import now
from bench.results import Move, seen

WRITERS = 8
RATE_HZ = 20.0
BASELINE_SECONDS = 3.0
"""How long clients are served before a move, as with `failoverctl switchover`."""

LOAD = {"writers": WRITERS, "writes a second and writer": int(RATE_HZ), "pages a second": int(RATE_HZ)}
"""The load of every move, for the results file."""


@dataclass(frozen=True)
class Plan:
    """One move to be measured: ``act`` makes it and returns when it has come about."""

    number: int
    source: str
    target: str
    act: Callable[[], None]


def move(plan: Plan, load: Target, folder: Path, *, module: str = "failoverctl.probe") -> Move:
    """Make one move under load and return what clients saw.

    The measurement goes as `failoverctl switchover` does it: a baseline, the move, a while of good
    service. A move that fails is a run with an error.
    """
    at, error, seconds = now(), None, 0.0
    try:
        with Probe(load, folder, module=module) as probe:
            if not probe.wait_steady(BASELINE_SECONDS, timeout_seconds=BASELINE_SECONDS + 15.0):
                raise BenchError("clients are not served well before the move")
            began = time.monotonic()
            try:
                plan.act()
            except (BenchError, LabError) as problem:
                error = str(problem)
            seconds = time.monotonic() - began
            probe.wait_steady(STEADY_SECONDS, timeout_seconds=SETTLE_TIMEOUT_SECONDS)
        found = analyse(folder).as_dict()
    except (BenchError, ProbeError, ProbeFilesError) as problem:
        return Move(plan.number, at, plan.source, plan.target, seconds, "unknown", error=str(problem))
    return observed(plan.number, at, plan.source, plan.target, seconds, found, error=error)


def observed(
    number: int,
    at: str,
    source: str,
    target: str,
    seconds: float,
    probe: Mapping[str, Any],
    *,
    error: str | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Move:
    """Return the run of a move from what the prober's checker said of it (`ProbeResult.as_dict`)."""
    late = (probe.get("prober") or {}).get("late_ms") or {}
    return Move(
        number=number,
        at=at,
        source=source,
        target=target,
        seconds=round(seconds, 3),
        verdict=str(probe.get("verdict", "unknown")),
        reasons=tuple(str(reason) for reason in probe.get("reasons") or ()),
        writes=seen(probe.get("writes")),
        http=seen(probe.get("http")),
        prober_late_ms=float(late.get("max", 0.0)),
        error=error,
        detail=detail or {},
    )


def told(move: Move) -> str:
    """Return one line about a move for the operator who waits."""
    text = f"{move.source} to {move.target}"
    if move.writes is not None:
        seen = move.writes
        text += f"  writes paused {seen.paused_seconds:.3f} s, lost {seen.lost}, hung {seen.hung}"
    if move.http is not None:
        text += f"  HTTP outage {move.http.paused_seconds:.3f} s"
    text += f"  ({move.verdict}, command {move.seconds:.1f} s, prober at most {move.prober_late_ms:.0f} ms late)"
    return text if move.error is None else f"{text}  FAILED: {move.error}"
