"""Figures as a table of the terminal and as the page of the documentation. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from bench.figures import (
    MOVERS,
    PLANNED,
    SWITCHOVER,
    UNPLANNED,
    Figure,
    Goal,
    Summary,
    Tally,
    amount,
    figures,
    is_disturbed,
    seconds,
    tally,
)
from bench.machine import memory_mib
from bench.results import Move, Part, Results, Seen

_GOALS = ("what", "goal", "median", "worst", "n", "reached", "found", "peers: median / worst")
_MOVED = (
    "n",
    "writes paused",
    "worst",
    "lost",
    "HTTP outage",
    "worst",
    "hung",
    "failed",
    "unknown",
    "of",
)
_WRITTEN = ("writes paused", "all well after", "acknowledged", "lost", "recovered", "hung", "failed", "unknown")
_FETCHED = ("HTTP outage", "all well after", "pages failed")


def terminal(results: Results) -> str:
    """Return all figures as text for a terminal."""
    rows = [(figure.goal.short, _brief(figure.goal), *row[2:]) for figure, row in _goal_rows(results)]
    blocks = [aligned(_GOALS, rows)]
    for title, which in (("planned move", PLANNED), ("power loss", UNPLANNED)):
        if movers := _mover_rows(results, which):
            blocks.append(aligned((title, *_MOVED), movers))
    blocks += ["\n".join(notes(results))] if notes(results) else []
    return "\n\n".join(blocks) + "\n"


def notes(results: Results) -> list[str]:
    """Return what a reader of the figures has to know: failed runs, a busy machine."""
    lines = []
    for part in results.parts.values():
        name = MOVERS.get(part.name, part.name).replace("`", "")
        errors = [move.error for move in part.moves] + [timing.error for timing in part.timings]
        failed = [error for error in errors if error is not None]
        if failed:
            lines.append(f"{name}: {len(failed)} of {len(part.moves) or len(part.timings)} runs failed: {failed[0]}")
        disturbed = [move for move in part.moves if is_disturbed(move)]
        if disturbed:
            latest = max(move.prober_late_ms for move in disturbed)
            lines.append(
                f"{name}: in {len(disturbed)} of {len(part.moves)} runs the machine kept the prober waiting, by up "
                f"to {latest:.0f} ms; pauses may have come out too long"
            )
    return lines


def page(results: Results) -> str:
    """Return docs/reference/benchmarks.md."""
    parts = [
        _HEAD,
        markdown(_GOALS, [row for _, row in _goal_rows(results)]),
        "## Planned moves side by side",
        _MOVES_TEXT,
        markdown(("planned move", *_MOVED), _mover_rows(results, PLANNED)),
        "## Power losses side by side",
        _POWER_TEXT,
        markdown(("power loss", *_MOVED), _mover_rows(results, UNPLANNED)),
    ]
    told = notes(results)
    if told:
        parts.append("\n".join(f"- {line}" for line in told))
    parts += ["## Machine and versions", _facts(results)]
    parts += ["## Every run", *_every_run(results)]
    return "\n\n".join(part for part in parts if part) + "\n"


def _goal_rows(results: Results) -> list[tuple[Figure, Sequence[str]]]:
    return [(figure, _goal_row(figure)) for figure in figures(results)]


def _goal_row(figure: Figure) -> Sequence[str]:
    goal, measured = figure.goal, figure.measured
    n = "" if measured is None else str(figure.runs)
    if measured is not None and measured.n < figure.runs:
        n = f"{measured.n} of {figure.runs}"
    reached = {True: "yes", False: "no", None: "not measured"}[figure.reached]
    return (goal.what, _limits(goal), *_pair(measured, goal.unit), n, reached, figure.found, figure.peer)


def _limits(goal: Goal) -> str:
    text = f"<= {goal.limit:g} {goal.unit}"
    if goal.worst != goal.limit:
        text = f"median <= {goal.limit:g} {goal.unit}, worst <= {goal.worst:g} {goal.unit}"
    return f"{text}, {goal.also}" if goal.also else text


def _brief(goal: Goal) -> str:
    limits = f"{goal.limit:g}" if goal.worst == goal.limit else f"{goal.limit:g} / {goal.worst:g}"
    return f"<= {limits} {goal.unit}"


def _pair(summary: Summary | None, unit: str = "s") -> tuple[str, str]:
    if summary is None:
        return "", ""
    return amount(summary.median, unit), amount(summary.worst, unit)


def _mover_rows(results: Results, which: Iterable[str]) -> list[Sequence[str]]:
    return [_mover_row(tally(results.parts[name])) for name in which if name in results.parts]


def _mover_row(total: Tally) -> Sequence[str]:
    n = str(total.runs) if not total.errors else f"{total.runs - total.errors} of {total.runs}"
    lost = "" if total.writes is None else "?" if total.lost is None else str(total.lost)
    counts = (str(total.hung), str(total.failed), str(total.unknown), str(total.attempted))
    writes = _pair(total.writes) if total.writes is not None else ("-", "-")
    http = _pair(total.http) if total.http is not None else ("-", "-")
    return (total.title, n, *writes, lost or "-", *http, *counts)


def aligned(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table for a terminal, without the columns that are empty."""
    listed = [tuple(cell.replace("`", "") for cell in row) for row in (head, *rows)]
    # An empty column says nothing.
    kept = [number for number in range(len(head)) if any(row[number] for row in listed[1:])]
    widths = {number: max(len(row[number]) for row in listed) for number in kept}
    lines = ["  ".join(row[number].ljust(widths[number]) for number in kept).rstrip() for row in listed]
    rule = "  ".join("-" * widths[number] for number in kept)
    return "\n".join([lines[0], rule, *lines[1:]])


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [_cells(head), _cells("---" for _ in head)]
    return "\n".join([*lines, *(_cells(row) for row in rows)])


def _cells(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _facts(results: Results) -> str:
    machine = results.machine
    lines = [
        f"- Machine: {machine['cpus']} CPUs ({machine['cpu_model']}), {memory_mib(machine)} MiB of memory, "
        f"{machine['os']}, Linux {machine['kernel']}, Python {machine['python']}. "
        "The hosts run on it too, and so does the prober.",
    ]
    seen: dict[str, str] = {}
    for part in results.parts.values():
        for program, version in part.versions.items():
            seen.setdefault(program, version)
    lines.append("- Versions: " + ", ".join(f"{program} {seen[program]}" for program in sorted(seen)) + ".")
    commits = sorted({part.commit for part in results.parts.values()})
    lines.append(f"- Commit: {', '.join(commits)}.")
    return "\n".join(lines)


def _every_run(results: Results) -> list[str]:
    blocks = []
    for part in results.parts.values():
        blocks.append(f"### {MOVERS.get(part.name, part.name)}")
        blocks.append(_about(part))
        if part.moves:
            blocks.append(markdown(*_move_table(part)))
        if part.timings:
            blocks.append(markdown(*_timing_table(part)))
    return blocks


def _about(part: Part) -> str:
    settings = "; ".join(f"{key} {_value(value)}" for key, value in part.settings.items())
    before, after = part.load
    text = f"Begun {part.started_at}, load average {before:.1f} before and {after:.1f} after."
    return f"{text} Settings: {settings}." if settings else text


def _value(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _move_table(part: Part) -> tuple[Sequence[str], list[Sequence[str]]]:
    written = any(move.writes is not None for move in part.moves)
    fetched = any(move.http is not None for move in part.moves)
    critical = part.name == SWITCHOVER
    head = ["n", "move"]
    head += (
        ["writes paused", "all well after", "acknowledged", "lost", "recovered", "hung", "failed", "unknown"]
        if written
        else []
    )
    head += ["HTTP outage", "all well after", "pages failed"] if fetched else []
    head += ["read-only to writable"] if critical else []
    head += ["command", "prober late", "verdict"]
    rows = []
    for move in part.moves:
        row = [str(move.number), f"{move.source} to {move.target}"]
        row += _written(move.writes) if written else []
        row += _fetched(move.http) if fetched else []
        row += [_milliseconds(move.detail.get("critical_ms"))] if critical else []
        row += [f"{move.seconds:.1f} s", f"{move.prober_late_ms:.0f} ms", move.error or _verdict(move)]
        rows.append(row)
    return head, list(rows)


def _verdict(move: Move) -> str:
    return move.verdict if not move.reasons else f"{move.verdict}: {'; '.join(move.reasons)}"


def _written(seen: Seen | None) -> list[str]:
    if seen is None:
        return [""] * len(_WRITTEN)
    rows = ("?" if number is None else str(number) for number in (seen.lost, seen.recovered))
    counts = (str(number) for number in (seen.hung, seen.failed, seen.unknown))
    return [*_both(seen), str(seen.acknowledged), *rows, *counts]


def _fetched(seen: Seen | None) -> list[str]:
    return [""] * len(_FETCHED) if seen is None else [*_both(seen), str(seen.failed)]


def _both(seen: Seen) -> list[str]:
    return [seconds(seen.paused_seconds), seconds(seen.outage_seconds)]


def _milliseconds(value: object) -> str:
    return f"{value:.0f} ms" if isinstance(value, int | float) else ""


def _timing_table(part: Part) -> tuple[Sequence[str], list[Sequence[str]]]:
    changed = any(timing.changed is not None for timing in part.timings)
    head = ["n", "wall", "CPU", *(["changed"] if changed else []), "error"]
    rows: list[Sequence[str]] = []
    for timing in part.timings:
        row = [str(timing.number), seconds(timing.seconds), seconds(timing.cpu_seconds)]
        row += ["?" if timing.changed is None else str(timing.changed)] if changed else []
        rows.append([*row, timing.error or ""])
    return head, rows


_HEAD = """\
# Benchmarks

Written by `python -m bench publish` from [benchmarks.json](benchmarks.json), which has every single run. `make bench`
measures all of it again, on any Debian machine that can run the [lab](../tutorial.md): real Debian hosts with their
own init and addresses, on one machine.

A pause is what clients saw: the prober sends at a constant rate whatever the hosts do, 20 writes a second by each of 8
writers and 20 page requests a second. A pause begins where the first operation was due that failed or took longer than
250 ms, and ends with the first acknowledgement after it; the lists of runs say, too, when all operations were served
well again. Nothing acknowledged may be missing afterwards: every row is read back from every database. All figures
contain the prober's own error, about 20 ms."""

_MOVES_TEXT = """\
All by the same prober, with the same rates and limits, one after the other on the same machine; each peer on fresh
hosts of its own. Counts are of writes, or of pages where nothing is written. For Patroni the client names all hosts
and asks for the writable one, as libpq does; for everything else clients go through the virtual IP. `by hand` and
`keepalived` serve a static page, failoverctl one that reads from the database.

By a falling weight keepalived moves an address without anybody noticing: both hosts answer for a moment. That suits
what both hosts serve alike. An address that follows a primary must not be on two hosts, and with weights it is, in
every partition: see [the design record](../design/0006-keepalived.md)."""

_POWER_TEXT = """\
The host of the primary loses its power under the same load, and gets it back when another one has taken over. A run
ends when that host follows again by itself; then every row is read back. Patroni has its own defaults, a time to live
of 30 s among them, and synchronous mode; the estate has the settings that `setup` gives it. Other drills are on
[their page](drills.md)."""
