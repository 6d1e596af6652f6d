"""From runs to figures: medians, worst cases, and whether a goal was reached. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from bench.results import Move, Part, Results

HELP = "help"
STATUS = "status"
SETUP = "setup"
SETUP_AGAIN = "setup-again"
SWITCHOVER = "switchover"
POWER = "power"
REST = "rest"
PATRONI = "patroni"
PATRONI_POWER = "patroni-power"
HANDMADE = "handmade"
KEEPALIVED_STOP = "keepalived-stop"
KEEPALIVED_WEIGHT = "keepalived-weight"
TUNED_STOP = "keepalived-tuned-stop"
TUNED_WEIGHT = "keepalived-tuned-weight"

PLANNED: dict[str, str] = {
    SWITCHOVER: "failoverctl switchover",
    PATRONI: "Patroni switchover",
    HANDMADE: "MariaDB by hand",
    KEEPALIVED_STOP: "keepalived, stopped",
    KEEPALIVED_WEIGHT: "keepalived, a weight falls",
    TUNED_STOP: "keepalived tuned, stopped",
    TUNED_WEIGHT: "keepalived tuned, a weight falls",
}
"""The parts that are planned moves, in the order in which they are shown, and what moves."""

UNPLANNED: dict[str, str] = {
    POWER: "failoverctl, power off",
    PATRONI_POWER: "Patroni, power off",
}
"""The parts in which the primary's host loses its power, and who goes on by itself."""

MOVERS: dict[str, str] = {**PLANNED, **UNPLANNED}
"""All parts with moves."""


@dataclass(frozen=True)
class Summary:
    """Median, worst and number of some values."""

    median: float
    worst: float
    n: int


@dataclass(frozen=True)
class Goal:
    """What was promised: limits of the median and of the worst run, and what else in words."""

    what: str
    short: str
    limit: float
    worst: float
    unit: str
    also: str = ""


@dataclass(frozen=True)
class Figure:
    """A goal against what was measured; ``reached`` is None when nothing was.

    ``found`` says in words what else was promised and found; ``peer`` what others need for it.
    """

    goal: Goal
    measured: Summary | None
    runs: int
    reached: bool | None
    found: str = ""
    peer: str = ""


@dataclass(frozen=True)
class Tally:
    """One mover: pauses of writes and pages, and operations by their fate, over all runs."""

    title: str
    runs: int
    errors: int
    disturbed: int
    writes: Summary | None
    http: Summary | None
    attempted: int
    lost: int | None
    unexpected: int | None
    hung: int
    failed: int
    unknown: int


def summarise(values: Iterable[float]) -> Summary | None:
    """Return median and worst of values, None without any."""
    listed = list(values)
    if not listed:
        return None
    return Summary(statistics.median(listed), max(listed), len(listed))


def tally(part: Part) -> Tally:
    """Return what all moves of a part come to.

    The counts are those of writes, or of pages where nothing was written. ``lost`` is None when
    the rows of any run could not be read: nothing is known then.
    """
    writes = [move.writes for move in part.moves if move.writes is not None]
    http = [move.http for move in part.moves if move.http is not None]
    counted = writes or http
    return Tally(
        title=MOVERS.get(part.name, part.name),
        runs=len(part.moves),
        errors=sum(1 for move in part.moves if move.error is not None),
        disturbed=sum(1 for move in part.moves if is_disturbed(move)),
        writes=summarise(seen.paused_seconds for seen in writes),
        http=summarise(seen.paused_seconds for seen in http),
        attempted=sum(seen.attempted for seen in counted),
        lost=_sum(seen.lost for seen in writes),
        unexpected=_sum(seen.unexpected for seen in writes),
        hung=sum(seen.hung for seen in counted),
        failed=sum(seen.failed for seen in counted),
        unknown=sum(seen.unknown for seen in counted),
    )


LATE_MS = 100.0
"""A prober whose latest operation left later than this shared its CPU with something."""


def is_disturbed(move: Move) -> bool:
    """Return whether the prober was kept from sending in time, so that its figures are too high."""
    return move.prober_late_ms > LATE_MS


def figures(results: Results) -> tuple[Figure, ...]:
    """Return every goal with what was measured for it."""
    return (
        _writes(results),
        _http(results),
        _power(results),
        _timed(results, SETUP, Goal("fresh setup of the small layout, packages cached", "fresh setup", 360, 360, "s")),
        _timed(results, SETUP_AGAIN, Goal("second setup, nothing changed", "second setup", 75, 75, "s", "changed 0")),
        *_rest(results),
        _timed(results, STATUS, Goal("`failoverctl status`", "failoverctl status", 2, 2, "s")),
        _timed(results, HELP, Goal("`failoverctl --help`", "failoverctl --help", 0.15, 0.15, "s CPU")),
    )


def _writes(results: Results) -> Figure:
    goal = Goal(
        "writes paused in a planned switchover, 8 writers",
        "writes paused, switchover",
        0.25,
        0.5,
        "s",
        "lost 0, hung 0",
    )
    part = results.parts.get(SWITCHOVER)
    if part is None:
        return Figure(goal, None, 0, None)
    total = tally(part)
    kept = _keeps(goal, total.writes, len(part.moves)) and total.lost == 0 and total.hung == 0
    found = f"lost {_count(total.lost)}, hung {total.hung}"
    return Figure(goal, total.writes, len(part.moves), kept, found, _peers(results, (PATRONI, HANDMADE), "writes"))


def _http(results: Results) -> Figure:
    goal = Goal("HTTP outage through the VIP in the same runs", "HTTP outage, same runs", 0.3, 1.0, "s")
    part = results.parts.get(SWITCHOVER)
    if part is None:
        return Figure(goal, None, 0, None)
    measured = tally(part).http
    peers = _peers(results, (KEEPALIVED_STOP, HANDMADE), "http")
    return Figure(goal, measured, len(part.moves), _keeps(goal, measured, len(part.moves)), "", peers)


def _power(results: Results) -> Figure:
    goal = Goal("primary powered off: writes paused, 8 writers", "writes paused, power off", 6.0, 8.0, "s", "lost 0")
    part = results.parts.get(POWER)
    if part is None:
        return Figure(goal, None, 0, None)
    total = tally(part)
    kept = _keeps(goal, total.writes, len(part.moves)) and total.lost == 0
    peers = _peers(results, (PATRONI_POWER,), "writes")
    return Figure(goal, total.writes, len(part.moves), kept, f"lost {_count(total.lost)}", peers)


def _timed(results: Results, name: str, goal: Goal) -> Figure:
    part = results.parts.get(name)
    if part is None:
        return Figure(goal, None, 0, None)
    good = [timing for timing in part.timings if timing.error is None]
    cpu = goal.unit.endswith("CPU")
    measured = summarise(timing.cpu_seconds if cpu else timing.seconds for timing in good)
    kept = _keeps(goal, measured, len(part.timings))
    found = ""
    if goal.also:
        changed = [timing.changed for timing in good]
        kept = kept and all(number == 0 for number in changed)
        found = "changed " + ", ".join("?" if number is None else str(number) for number in changed)
    return Figure(goal, measured, len(part.timings), kept, found, _provisioning(results) if name == SETUP else "")


def _rest(results: Results) -> tuple[Figure, ...]:
    """The agent while nothing happens, on every data host."""
    memory = Goal("the agent at rest: resident memory", "agent's memory, at rest", 40, 40, "MiB")
    guard = Goal("the agent at rest: what its guard adds to that", "guard's memory, at rest", 10, 10, "MiB")
    cpu = Goal("the agent at rest: share of one CPU, with its guard", "agent's CPU, at rest", 1, 1, "%")
    part = results.parts.get(REST)
    if part is None:
        return Figure(memory, None, 0, None), Figure(guard, None, 0, None), Figure(cpu, None, 0, None)
    good, runs = [timing for timing in part.timings if timing.error is None], len(part.timings)
    found = (
        (memory, summarise(timing.detail["memory_bytes"] / 2**20 for timing in good)),
        (guard, summarise(timing.detail["guard_bytes"] / 2**20 for timing in good)),
        (cpu, summarise(100.0 * timing.cpu_seconds / timing.seconds for timing in good)),
    )
    return tuple(Figure(goal, measured, runs, _keeps(goal, measured, runs)) for goal, measured in found)


def _keeps(goal: Goal, measured: Summary | None, runs: int) -> bool:
    """Return whether all runs gave a figure, and the figures keep the goal."""
    if measured is None or measured.n < runs:
        return False
    return measured.median <= goal.limit and measured.worst <= goal.worst


_SHORT = {PATRONI: "Patroni", PATRONI_POWER: "Patroni", HANDMADE: "by hand", KEEPALIVED_STOP: "keepalived"}


def _peers(results: Results, names: Sequence[str], kind: str) -> str:
    texts = []
    for name in names:
        part = results.parts.get(name)
        total = None if part is None else tally(part)
        summary = None if total is None else total.writes if kind == "writes" else total.http
        if summary is not None:
            texts.append(f"{_SHORT[name]} {seconds(summary.median)} / {seconds(summary.worst)}, n={summary.n}")
    return "; ".join(texts)


def _provisioning(results: Results) -> str:
    """Return how long plain playbooks took to provision a peer, where that was timed."""
    texts = []
    for name in (PATRONI, HANDMADE):
        part = results.parts.get(name)
        taken = summarise(timing.seconds for timing in part.timings if timing.error is None) if part else None
        if taken is not None:
            texts.append(f"{_SHORT[name]} {seconds(taken.median)}")
    return f"plain playbooks: {', '.join(texts)}" if texts else ""


def amount(value: float, unit: str) -> str:
    """Return a value with its unit; the unit ``s`` may have a word behind it."""
    return seconds(value) + unit.removeprefix("s") if unit[:1] == "s" else f"{value:.2f} {unit}"


def seconds(value: float) -> str:
    """Return seconds as text: three digits that count, as ``0.187 s``, ``2.31 s`` or ``187 s``."""
    return f"{value:.3f} s" if value < 1 else f"{value:.2f} s" if value < 100 else f"{value:.0f} s"


def _sum(values: Iterable[int | None]) -> int | None:
    total = None
    for value in values:
        if value is None:
            return None
        total = (total or 0) + value
    return total


def _count(value: int | None) -> str:
    return "?" if value is None else str(value)
