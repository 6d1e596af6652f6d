"""Moves under the load of the prober."""

from __future__ import annotations

import shutil
import time
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from failoverctl.conduct import SETTLE_TIMEOUT_SECONDS, STEADY_SECONDS
from failoverctl.lab.errors import LabError
from failoverctl.probe import Probe, ProbeError, ProbeFilesError, Target, load
from failoverctl.probe.checker import Availability, History, NodeCheck, Objectives, check, check_availability
from failoverctl.probe.model import Kind

from bench import beds
from bench.beds import Bed, BenchError
from bench.machine import now
from bench.results import Move, Seen

WRITERS = 8
RATE_HZ = 20.0
BASELINE_SECONDS = 3.0
"""How long clients are served before a move, as with `failoverctl switchover`."""

TAKEOVER_SECONDS, WHOLE_SECONDS = 120.0, 180.0
"""How long others may take to take over from a host without power, and it, to follow when it has some again."""

LOAD = {"writers": WRITERS, "writes a second and writer": int(RATE_HZ), "pages a second": int(RATE_HZ)}
"""The load of every move, for the results file."""

OWN_PROBER = "failoverctl.probe"
"""The prober of the product, with its client of MariaDB."""


@dataclass(frozen=True)
class Plan:
    """One move to be measured.

    ``act`` makes it, returns when it has come about, and says what is worth keeping of it; it
    raises BenchError or LabError when it fails.
    """

    number: int
    source: str
    target: str
    act: Callable[[], Mapping[str, Any]]


@dataclass(frozen=True)
class _Acted:
    """How the act went: when it began by CLOCK_MONOTONIC, and how long it took, in seconds."""

    began: float
    seconds: float
    detail: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None


SUDDEN = Objectives(hung_allowed=True)
"""What is asked of a move that nobody planned: a host that is off resets no connection."""


def move(
    plan: Plan, target: Target, folder: Path, *, module: str = OWN_PROBER, objectives: Objectives | None = None
) -> Move:
    """Make one move under load and return what clients saw from its beginning on.

    The measurement goes as `failoverctl switchover` does it: a baseline, the move, a while of good
    service. A move that fails is a run with an error. The recording of a run that did not pass stays
    in ``folder``.
    """
    at = now()
    recording = folder / f"probe-{target.run_id}"
    try:
        with Probe(target, recording, module=module) as probe:
            if not probe.wait_steady(BASELINE_SECONDS, timeout_seconds=BASELINE_SECONDS + 15.0):
                raise BenchError("clients are not served well before the move")
            acted = _act(plan)
            # Also where nobody has noticed anything yet: what comes late belongs to the move.
            time.sleep(STEADY_SECONDS)
            probe.wait_steady(STEADY_SECONDS, timeout_seconds=SETTLE_TIMEOUT_SECONDS)
        history = load(recording)
    except (BenchError, ProbeError, ProbeFilesError) as problem:
        return Move(plan.number, at, plan.source, plan.target, 0.0, "unknown", error=str(problem))
    found = check(history, objectives, broken_at=acted.began)
    if found.verdict == "pass" and acted.error is None:
        shutil.rmtree(recording)
    late = found.prober.late_ms
    return Move(
        number=plan.number,
        at=at,
        source=plan.source,
        target=plan.target,
        seconds=round(acted.seconds, 3),
        verdict=found.verdict,
        reasons=found.reasons,
        writes=seen(history, "write", acted.began, found.on_primary if any(n.read for n in found.nodes) else None),
        http=seen(history, "http", acted.began),
        prober_late_ms=0.0 if late is None else round(late.max, 1),
        error=acted.error,
        detail=acted.detail,
    )


def lose_power(bed: Bed, host: str, primary: str, whole: Callable[[], bool]) -> Mapping[str, Any]:
    """Take a host's power away until another one has taken over, and wait until it follows; return how long it took.

    :param primary: what the other host answers with success once it is primary.
    :raises BenchError: one of the conditions did not come about in time. The host has its power again all the same.
    """
    began = time.monotonic()
    bed.lab.power_off(host)
    try:
        beds.until(lambda: answers(primary), TAKEOVER_SECONDS, f"{host} is off, and nobody took over")
    finally:
        bed.lab.power_on(host)
    back = time.monotonic()
    # Seldom: to look takes CPU from the hosts that are measured.
    beds.until(whole, WHOLE_SECONDS, f"{host} is up and does not follow", every=2.0)
    return {"power_off_seconds": round(back - began, 1), "whole_seconds": round(time.monotonic() - back, 1)}


def answers(url: str) -> bool:
    """Return whether a URL is answered with success within a second."""
    try:
        with urllib.request.urlopen(url, timeout=1.0):
            return True
    except OSError:
        return False


def seen(history: History, kind: Kind, began: float, rows: NodeCheck | None = None) -> Seen | None:
    """Return what clients saw of one kind of operation, None when there was none.

    Only operations due after ``began`` count, in seconds of CLOCK_MONOTONIC: a prober that connects
    its first clients on a busy machine measures an outage of its own. ``rows`` are counted over the
    whole run.
    """
    meta = history.meta
    streams = meta.writers if kind == "write" else int(meta.http)
    if not streams:
        return None
    start = began - meta.monotonic_zero
    ops = [op for op in history.ops if op.kind == kind and op.intended >= start]
    found: Availability = check_availability(ops, meta, streams)
    return Seen(
        paused_seconds=round(found.paused_seconds, 4),
        outage_seconds=round(found.outage_seconds, 4),
        attempted=found.attempted,
        acknowledged=found.acknowledged,
        failed=found.failed,
        unknown=found.unknown,
        hung=found.hung,
        lost=None if rows is None else len(rows.lost),
        recovered=None if rows is None else len(rows.recovered),
        unexpected=None if rows is None else len(rows.unexpected),
        duplicates=None if rows is None else rows.duplicates,
    )


def told(move: Move) -> str:
    """Return one line about a move for the operator who waits."""
    text = f"{move.source} to {move.target}"
    if move.writes is not None:
        writes = move.writes
        text += f"  writes paused {writes.paused_seconds:.3f} s, lost {writes.lost}, hung {writes.hung}"
    if move.http is not None:
        text += f"  HTTP outage {move.http.paused_seconds:.3f} s"
    text += f"  ({move.verdict}, command {move.seconds:.1f} s, prober at most {move.prober_late_ms:.0f} ms late)"
    return text if move.error is None else f"{text}  FAILED: {move.error}"


def _act(plan: Plan) -> _Acted:
    began = time.monotonic()
    try:
        detail = plan.act()
    except (BenchError, LabError) as problem:
        return _Acted(began, time.monotonic() - began, error=str(problem))
    return _Acted(began, time.monotonic() - began, detail)
