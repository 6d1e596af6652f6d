"""Drills for people: which there are, what one will do, what came of one and of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from failoverctl.render.live import duration
from failoverctl.render.table import NOTHING, columns, short

if TYPE_CHECKING:
    from rich.text import Text

    from failoverctl.drill.history import DrillRun, Spread, Summary
    from failoverctl.drill.plan import Planned
    from failoverctl.drill.scenario import Scenario

_STYLES = {"pass": "green", "fail": "red", "unknown": "yellow", "refused": "yellow", "locked": "yellow"}


def listing(found: Sequence[tuple[Scenario, Summary, str]], *, colour: bool, width: int) -> str:
    """Return a line for each scenario: what it does, where it may run, what its runs brought.

    :param found: scenario, summary of its runs, and why it cannot be run here; empty when it can.
    """
    rows: list[list[str | Text]] = []
    for scenario, summary, why in found:
        last = summary.last
        rows.append(
            [
                scenario.ident,
                scenario.title,
                scenario.environment,
                tally(summary),
                _figures(summary.paused),
                "not here" if why else _verdict(last.verdict if last is not None else ""),
            ]
        )
    return columns(["SCENARIO", "WHAT", "UP TO", "RUNS", "PAUSED", "LAST"], rows, colour=colour, width=width)


def tally(summary: Summary) -> str:
    """Return how many runs there were and how many did not pass: ``3``, ``5: 1 fail, 2 unknown``."""
    if not summary.runs:
        return NOTHING
    bad = [f"{number} {word}" for number, word in ((summary.failed, "fail"), (summary.unknown, "unknown")) if number]
    return f"{summary.runs}" + (f": {', '.join(bad)}" if bad else "")


def show(
    scenario: Scenario,
    phases: Sequence[Planned],
    promised: Sequence[str],
    summary: Summary,
    refusals: Sequence[str],
    *,
    colour: bool,
    width: int,
) -> str:
    """Return what a drill will do, what must come of it, and what earlier runs say it will cost."""
    import textwrap

    def indented(text: str) -> list[str]:
        return textwrap.wrap(text, max(40, min(width, 110) - 2), initial_indent=" ", subsequent_indent=" ")

    rows: list[list[str | Text]] = [
        [item.phase, item.title, f"at most {duration(item.at_most_seconds)}" if item.at_most_seconds else ""]
        for item in phases
    ]
    lines = [f" {scenario.ident}: {scenario.title}", *indented(scenario.description)]
    lines.append(columns(["PHASE", "WHAT", "TAKES"], rows, colour=colour, width=width))
    lines.append(" Must come of it:")
    lines += [f"   {text}" for text in promised]
    lines += [
        f" May run on:    estates up to {scenario.environment}",
        f" Takes:         {spread(summary.duration)}; at most {duration(scenario.longest_seconds)}",
        f" Writes paused: {spread(summary.paused)}",
        f" HTTP outage:   {spread(summary.http)}",
        f" Whole again:   {spread(summary.whole)}",
        f" Lost so far:   {losses(summary)}",
    ]
    lines += [f" Refused here:  {text}" for text in refusals]
    return "\n".join(lines)


def spread(found: Spread | None, runs: str = "earlier run") -> str:
    """Return median, 95th percentile and worst of some runs, or what to say without one."""
    if found is None:
        return f"no {runs}"
    if found.n == 1:
        return f"{short(found.median)} in the one {runs}"
    middle = f"median {short(found.median)}, p95 {short(found.p95)}, worst {short(found.worst)}"
    return f"{middle} of {found.n} {runs}s"


def losses(summary: Summary) -> str:
    """Return what was lost in earlier runs, and what that allows to say of the next."""
    if not summary.measured_runs:
        return "no earlier run"
    runs = "run" if summary.measured_runs == 1 else "runs"
    if summary.lost:
        return f"{summary.lost} acknowledged writes, in {summary.losing_runs} of {summary.measured_runs} {runs}"
    bound = summary.loss_bound
    share = "" if bound is None or bound >= 1 else f": with 95 % confidence fewer than {bound:.1%} of runs lose any"
    return f"nothing in {summary.measured_runs} {runs}{share}"


def matrix(found: Sequence[tuple[Summary, Mapping[str, int]]], *, colour: bool, width: int) -> str:
    """Return the one table at the end of several drills.

    :param found: summaries of what was run, and how many runs ended otherwise than pass, fail or unknown.
    """
    rows: list[list[str | Text]] = []
    for summary, others in found:
        counted = {"pass": summary.passed, "fail": summary.failed, "unknown": summary.unknown, **others}
        worst = next(
            (word for word in ("fail", "failed", "unknown", "refused", "locked", "interrupted") if counted.get(word)),
            "pass",
        )
        rows.append(
            [
                summary.scenario,
                str(sum(counted.values())),
                _verdict(worst, ", ".join(f"{number} {word}" for word, number in counted.items() if number)),
                _figures(summary.paused),
                NOTHING if summary.paused is None else short(summary.paused.p95),
                _worst(summary.paused),
                _figures(summary.http),
                str(summary.lost) if summary.measured_runs else NOTHING,
                _figures(summary.whole),
            ]
        )
    head = ["SCENARIO", "N", "VERDICT", "PAUSED", "P95", "WORST", "HTTP", "LOST", "WHOLE"]
    return columns(head, rows, colour=colour, width=width)


def runs(found: Sequence[DrillRun], *, colour: bool, width: int) -> str:
    """Return a line for each run of one scenario, with its phases in seconds since the fault."""
    names = ("first_error", "detect", "fence", "promote", "vip", "first_write", "steady")
    short_names = {"first_error": "ERROR", "first_write": "WRITE"}
    rows: list[list[str | Text]] = [
        [
            run.run_id,
            _verdict(run.verdict),
            NOTHING if run.paused_seconds is None else short(run.paused_seconds),
            *(_offset((run.phases or {}).get(name)) for name in names),
            NOTHING if run.http_seconds is None else short(run.http_seconds),
            NOTHING if run.lost is None else str(run.lost),
            NOTHING if run.whole_seconds is None else short(run.whole_seconds),
        ]
        for run in found
    ]
    head = [
        "RUN",
        "VERDICT",
        "PAUSED",
        *(short_names.get(name, name.upper()) for name in names),
        "HTTP",
        "LOST",
        "WHOLE",
    ]
    return columns(head, rows, colour=colour, width=width)


def _offset(value: object) -> str:
    if not isinstance(value, int | float):
        return NOTHING
    return f"{value:+.2f} s" if value else "0"


def _figures(found: Spread | None) -> str:
    return NOTHING if found is None else short(found.median)


def _worst(found: Spread | None) -> str:
    return NOTHING if found is None else short(found.worst)


def _verdict(word: str, text: str = "") -> Text:
    from rich.text import Text

    return Text(text or word or NOTHING, style=_STYLES.get(word, "red" if word else ""))
