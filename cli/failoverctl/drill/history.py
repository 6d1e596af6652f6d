"""What earlier runs of a scenario measured, and what they allow to say. Pure, apart from reading run folders."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from failoverctl import runs

RUNBOOK = "drill"

#: Verdicts of drills that came to an end.
VERDICTS = ("pass", "fail", "unknown")


@dataclass(frozen=True)
class DrillRun:
    """One finished drill. Seconds; None is not measured. ``phases`` are seconds since the fault."""

    run_id: str
    scenario: str
    estate: str
    at: str
    verdict: str
    reason: str = ""
    paused_seconds: float | None = None
    rto_from_inject: float | None = None
    http_seconds: float | None = None
    lost: int | None = None
    acknowledged: int | None = None
    whole_seconds: float | None = None
    phases: Mapping[str, float] | None = None
    seconds: float | None = None

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in result.json and ``drill report --json``."""
        return {
            "run_id": self.run_id,
            "at": self.at,
            "verdict": self.verdict,
            "reason": self.reason or None,
            "paused_seconds": self.paused_seconds,
            "rto_from_inject_seconds": self.rto_from_inject,
            "http_seconds": self.http_seconds,
            "lost": self.lost,
            "acknowledged": self.acknowledged,
            "whole_seconds": self.whole_seconds,
            "phases": dict(self.phases or {}),
            "seconds": self.seconds,
        }


@dataclass(frozen=True)
class Spread:
    """Median, 95th percentile (nearest rank), worst and number of some values."""

    median: float
    p95: float
    worst: float
    n: int

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in JSON."""
        return {"median": self.median, "p95": self.p95, "worst": self.worst, "n": self.n}


@dataclass(frozen=True)
class Summary:
    """All runs of one scenario together.

    ``loss_bound`` is the share of runs that may lose something, with a confidence of 95 of 100, after
    n runs that lost nothing: three over n (the rule of three; Hanley and Lippman-Hand, JAMA 1983).
    """

    scenario: str
    runs: int
    passed: int
    failed: int
    unknown: int
    paused: Spread | None
    rto_from_inject: Spread | None
    http: Spread | None
    whole: Spread | None
    duration: Spread | None
    lost: int
    losing_runs: int
    measured_runs: int
    last: DrillRun | None

    @property
    def loss_bound(self) -> float | None:
        """Upper bound of the share of losing runs; None when one lost something, or none was measured."""
        if self.losing_runs or not self.measured_runs:
            return None
        return min(1.0, 3.0 / self.measured_runs)

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in JSON; keys do not depend on what happened."""
        bound = self.loss_bound
        return {
            "scenario": self.scenario,
            "runs": self.runs,
            "pass": self.passed,
            "fail": self.failed,
            "unknown": self.unknown,
            "paused_seconds": _spread(self.paused),
            "rto_from_inject_seconds": _spread(self.rto_from_inject),
            "http_seconds": _spread(self.http),
            "whole_seconds": _spread(self.whole),
            "seconds": _spread(self.duration),
            "lost": self.lost,
            "losing_runs": self.losing_runs,
            "measured_runs": self.measured_runs,
            "loss_bound": None if bound is None else round(bound, 4),
            "last": None if self.last is None else self.last.as_dict(),
        }


def _spread(spread: Spread | None) -> dict[str, Any] | None:
    return None if spread is None else spread.as_dict()


def drill_of(folder: runs.RunFolder) -> DrillRun | None:
    """Return the drill of a run folder; None for another run, and for one without a verdict."""
    result = folder.result()
    drill = result.get("drill")
    if folder.runbook != RUNBOOK or not isinstance(drill, Mapping) or result.get("verdict") not in VERDICTS:
        return None
    return of_result(result)


def of_result(result: Mapping[str, Any]) -> DrillRun:
    """Return the drill that result.json tells of."""
    drill = _mapping(result.get("drill"))
    timeline = _mapping(drill.get("timeline"))
    probe = _mapping(result.get("probe"))
    writes, http = _mapping(probe.get("writes")), _mapping(probe.get("http"))
    return DrillRun(
        run_id=str(result.get("run_id", "")),
        scenario=str(drill.get("scenario", "")),
        estate=str(result.get("estate") or ""),
        at=str(result.get("started_at", "")),
        verdict=str(result.get("verdict", "")),
        reason=str(result.get("reason") or ""),
        paused_seconds=runs.paused_seconds(writes) if writes else None,
        rto_from_inject=_number(timeline.get("rto_from_inject_seconds")),
        http_seconds=runs.paused_seconds(http) if http else None,
        lost=writes.get("lost") if isinstance(writes.get("lost"), int) else None,
        acknowledged=writes.get("acknowledged") if isinstance(writes.get("acknowledged"), int) else None,
        whole_seconds=_number(drill.get("whole_seconds")),
        phases={
            str(item.get("phase")): float(item["seconds"])
            for item in timeline.get("phases") or ()
            if isinstance(item, Mapping) and isinstance(item.get("seconds"), int | float)
        },
        seconds=_number(result.get("seconds")),
    )


def read(directory: Path, *, estate: str = "", scenario: str = "", before: str = "") -> list[DrillRun]:
    """Return the finished drills of the runs directory, the oldest first.

    :param before: leave out this run and those after it.
    """
    found = []
    for folder in runs.list_runs(directory):
        if before and folder.run_id == before:
            break
        run = drill_of(folder)
        if run is not None and estate in ("", run.estate) and scenario in ("", run.scenario):
            found.append(run)
    return found


def summarise(scenario: str, found: Iterable[DrillRun]) -> Summary:
    """Return what the runs of a scenario say together."""
    listed = [run for run in found if run.scenario == scenario]
    measured = [run for run in listed if run.lost is not None]
    return Summary(
        scenario=scenario,
        runs=len(listed),
        passed=sum(run.verdict == "pass" for run in listed),
        failed=sum(run.verdict == "fail" for run in listed),
        unknown=sum(run.verdict == "unknown" for run in listed),
        paused=spread(run.paused_seconds for run in listed),
        rto_from_inject=spread(run.rto_from_inject for run in listed),
        http=spread(run.http_seconds for run in listed),
        whole=spread(run.whole_seconds for run in listed),
        duration=spread(run.seconds for run in listed),
        lost=sum(run.lost or 0 for run in measured),
        losing_runs=sum(bool(run.lost) for run in measured),
        measured_runs=len(measured),
        last=listed[-1] if listed else None,
    )


def summaries(found: Sequence[DrillRun]) -> list[Summary]:
    """Return one summary for each scenario that was run, in the order of their names."""
    return [summarise(name, found) for name in sorted({run.scenario for run in found})]


def spread(values: Iterable[float | None]) -> Spread | None:
    """Return median, 95th percentile, worst and number of the values that are known; None without any."""
    numbers = sorted(value for value in values if value is not None)
    if not numbers:
        return None
    rank = max(0, math.ceil(0.95 * len(numbers)) - 1)
    return Spread(round(median(numbers), 4), round(numbers[rank], 4), round(numbers[-1], 4), len(numbers))


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _number(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
