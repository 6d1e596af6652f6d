"""What a report says of a drill: what was expected, the phases, and the runs before it. Nothing here draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from failoverctl.drill.history import DrillRun, of_result
from failoverctl.report.model import Bar, Waterfall, nice_ticks
from failoverctl.report.text import count, duration

#: How each phase is called in the report.
WORDS: Mapping[str, str] = {
    "inject": "Broken",
    "first_error": "First error of a client",
    "detect": "Noticed",
    "fence": "Old primary out",
    "promote": "Primary again",
    "vip": "Address there",
    "first_write": "First write",
    "first_page": "First page",
    "steady": "Served steadily",
}


@dataclass(frozen=True)
class Expected:
    """One expectation; ``met`` is None when it is not known."""

    name: str
    expected: str
    observed: str
    met: bool | None


@dataclass(frozen=True)
class Earlier:
    """One run of the scenario, this one included. The figures are sentences, `-` where nothing was measured."""

    run_id: str
    started: str
    verdict: str
    tone: str
    paused: str
    rto: str
    http: str
    lost: str
    whole: str
    this: bool


@dataclass(frozen=True)
class Figure:
    """Median, 95th percentile and worst of something over all runs before this one."""

    name: str
    median: str
    p95: str
    worst: str
    n: int


@dataclass(frozen=True)
class DrillPart:
    """Everything the template shows of a drill."""

    scenario: str
    title: str
    description: str
    number: str
    phases: Waterfall | None
    bracket: str
    expectations: tuple[Expected, ...]
    faults: tuple[Mapping[str, Any], ...]
    figures: tuple[Figure, ...]
    losses: str
    runs: tuple[Earlier, ...]
    listed: tuple[DrillRun, ...]
    limit: float | None


def shape(result: Mapping[str, Any]) -> DrillPart | None:
    """Return what the report says of a drill; None for another run."""
    drill = result.get("drill")
    if not isinstance(drill, Mapping):
        return None
    timeline = _mapping(drill.get("timeline"))
    number, of = int(drill.get("number") or 1), int(drill.get("of") or 1)
    listed = (*(_run(item) for item in _mappings(drill.get("earlier_runs"))), of_result(result))
    return DrillPart(
        scenario=str(drill.get("scenario") or ""),
        title=str(drill.get("title") or ""),
        description=str(drill.get("description") or ""),
        number=f"run {number} of {of}" if of > 1 else "",
        phases=_waterfall(timeline),
        bracket=_bracket(timeline),
        expectations=tuple(
            Expected(str(item.get("name")), str(item.get("expected")), str(item.get("observed")), item.get("met"))
            for item in _mappings(drill.get("expectations"))
        ),
        faults=tuple(_mappings(drill.get("faults"))),
        figures=_figures(_mapping(drill.get("earlier"))),
        losses=_losses(_mapping(drill.get("earlier"))),
        runs=tuple(_earlier(run, run is listed[-1]) for run in reversed(listed)),
        listed=listed,
        limit=_limit(result),
    )


def _waterfall(timeline: Mapping[str, Any]) -> Waterfall | None:
    """Each phase as the time that led to it, from the one before."""
    moments = [item for item in _mappings(timeline.get("phases")) if isinstance(item.get("seconds"), int | float)]
    if len(moments) < 2:
        return None
    first, last = float(moments[0]["seconds"]), float(moments[-1]["seconds"])
    total = max(last - first, 0.001)
    paused = [
        float(item["seconds"]) for item in moments if item.get("phase") in ("first_error", "first_write", "first_page")
    ]
    band = (100 * (paused[0] - first) / total, 100 * (paused[-1] - paused[0]) / total) if len(paused) == 2 else None
    bars = []
    before = first
    for item in moments:
        seconds = float(item["seconds"])
        phase = str(item.get("phase"))
        details = [str(item[key]) for key in ("host", "source") if item.get(key) and str(item[key]) != "prober"]
        if item.get("host") and str(item.get("source", "")).startswith("sampled"):
            details = [f"{item['host']}, {str(item['source']).removeprefix('sampled: ')}"]
        elif phase == "inject":
            details = [str(item.get("source") or "")]
        bars.append(
            Bar(
                label=WORDS.get(phase, phase),
                value="0" if seconds == 0 else f"{seconds:+.2f} s",
                left=100 * (before - first) / total,
                width=100 * (seconds - before) / total,
                outcome="ok",
                detail=": ".join(details),
                critical=band is not None and paused[0] < seconds <= paused[1],
            )
        )
        before = seconds
    ticks = tuple((100 * (value - first) / total, f"{value:g} s") for value in nice_ticks(first, last, 6))
    kind = "pages" if timeline.get("kind") == "http" else "writes"
    label = f"{kind} paused: {duration(paused[1] - paused[0])}" if band is not None else ""
    return Waterfall(tuple(bars), ticks, band, label)


def _bracket(timeline: Mapping[str, Any]) -> str:
    least, most = timeline.get("outage_at_least_seconds"), timeline.get("outage_at_most_seconds")
    inject = timeline.get("rto_from_inject_seconds")
    if not isinstance(most, int | float) or not most:
        return "Nothing paused."
    text = f"The outage took at least {duration(float(least or 0.0))} and at most {duration(float(most))}"
    return text + (
        f"; from the fault to the first write {duration(float(inject))}." if isinstance(inject, int | float) else "."
    )


def _figures(earlier: Mapping[str, Any]) -> tuple[Figure, ...]:
    names = {
        "paused_seconds": "Writes paused",
        "rto_from_inject_seconds": "From the fault to the first write",
        "http_seconds": "HTTP outage",
        "whole_seconds": "Whole again after healing",
    }
    found = []
    for key, name in names.items():
        spread = earlier.get(key)
        if isinstance(spread, Mapping):
            middle, p95, worst = (duration(float(spread.get(part) or 0.0)) for part in ("median", "p95", "worst"))
            found.append(Figure(name, middle, p95, worst, int(spread.get("n") or 0)))
    return tuple(found)


def _losses(earlier: Mapping[str, Any]) -> str:
    measured = int(earlier.get("measured_runs") or 0)
    if not measured:
        return "This is the first run of this scenario on this estate."
    lost = int(earlier.get("lost") or 0)
    if lost:
        return f"{count(lost, 'acknowledged write')} lost in {count(measured, 'earlier run')}."
    bound = earlier.get("loss_bound")
    share = (
        f" With 95 % confidence fewer than {bound:.1%} of runs lose any (three over n)."
        if isinstance(bound, float) and bound < 1
        else ""
    )
    return f"No acknowledged write was lost in {count(measured, 'earlier run')}.{share}"


def _earlier(run: DrillRun, this: bool) -> Earlier:
    def said(seconds: float | None) -> str:
        return "-" if seconds is None else duration(seconds)

    tone = {"pass": "yes", "fail": "no", "unknown": "maybe"}.get(run.verdict, "maybe")
    return Earlier(
        run_id=run.run_id,
        started=run.at[:19].replace("T", " "),
        verdict=run.verdict,
        tone=tone,
        paused=said(run.paused_seconds),
        rto=said(run.rto_from_inject),
        http=said(run.http_seconds),
        lost="-" if run.lost is None else str(run.lost),
        whole=said(run.whole_seconds),
        this=this,
    )


def _run(data: Mapping[str, Any]) -> DrillRun:
    def number(key: str) -> float | None:
        value = data.get(key)
        return float(value) if isinstance(value, int | float) else None

    lost = data.get("lost")
    return DrillRun(
        run_id=str(data.get("run_id", "")),
        scenario="",
        estate="",
        at=str(data.get("at", "")),
        verdict=str(data.get("verdict", "")),
        paused_seconds=number("paused_seconds"),
        rto_from_inject=number("rto_from_inject_seconds"),
        http_seconds=number("http_seconds"),
        lost=lost if isinstance(lost, int) else None,
        whole_seconds=number("whole_seconds"),
    )


def _limit(result: Mapping[str, Any]) -> float | None:
    probe = _mapping(result.get("probe"))
    for item in _mappings(probe.get("objectives")):
        if str(item.get("name")) == "writes RTO":
            return float(item.get("limit") or 0.0)
    return None


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> Sequence[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
