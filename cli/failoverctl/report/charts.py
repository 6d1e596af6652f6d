"""The pictures of a measured run: what clients saw, and who was in charge, on one time axis."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from markupsafe import Markup

from failoverctl.drill.history import DrillRun
from failoverctl.journal import Act, RunState
from failoverctl.probe.checker import History, Outage, check_availability, is_good, same_host
from failoverctl.probe.model import INSIDE_STREAM, Kind, Op, Sample
from failoverctl.report.model import nice_ticks
from failoverctl.report.svg import Drawing, number
from failoverctl.report.text import duration, milliseconds

WIDTH = 1000.0
_LEFT = 164.0
_RIGHT = 14.0
_PLOT = WIDTH - _LEFT - _RIGHT
_LATENCY_HEIGHT = 150.0
_LANE_HEIGHT = 12.0
_LANE_STEP = 16.0
_LANE_GAP = 9.0
MAX_MARKS = 4000
"""More operations than this in one picture are drawn as one mark per column of a pixel."""

_STATES = ("ok", "skip", "slow", "info", "fail")
"""Outcomes from the least to the most remarkable; a column shows the most remarkable one."""

_SAMPLE_REACH_SECONDS = 0.25
"""Two samples of a host further apart than this say nothing about the time between them."""


@dataclass(frozen=True)
class _Axis:
    """Maps seconds to pixels, and labels the seconds."""

    start: float
    end: float
    label: Callable[[float], str]
    origin: float = 0.0

    def x(self, seconds: float) -> float:
        share = (seconds - self.start) / (self.end - self.start)
        return _LEFT + _PLOT * min(1.0, max(0.0, share))

    def ticks(self) -> list[tuple[float, str]]:
        values = nice_ticks(self.start - self.origin, self.end - self.origin, 8)
        return [(self.x(value + self.origin), self.label(value)) for value in values]

    def sees(self, start: float, end: float) -> bool:
        return end >= self.start and start <= self.end


def overview(history: History, state: RunState) -> Markup | None:
    """Return the whole measurement, or None when nothing was recorded."""
    if not history.ops:
        return None
    end = max(max(op.intended for op in history.ops), history.meta.duration_seconds, 1.0)
    axis = _Axis(0.0, end, lambda value: f"{value:g} s")
    return _picture(history, state, axis, "What clients saw", with_phases=True)


def runs_over_time(runs: Sequence[DrillRun], limit: float | None) -> Markup | None:
    """Return how long writes paused in each run of a scenario, the latest last; None with fewer than two."""
    known = [(run, run.paused_seconds) for run in runs if run.paused_seconds is not None]
    if len(known) < 2:
        return None
    longest = max(seconds for _, seconds in known)
    # A limit that is far away would make all runs look the same.
    limit = limit if limit is not None and limit <= 3 * longest else None
    highest = max(longest, limit or 0.0) * 1.15 or 1.0
    told = ", ".join(f"{run.run_id}: {duration(seconds)}, {run.verdict}" for run, seconds in known)
    drawing = Drawing(WIDTH, "Writes paused, run by run", told)
    top, bottom = 10.0, 130.0
    drawing.height = bottom + 22

    def at(seconds: float) -> float:
        return bottom - (bottom - top) * seconds / highest

    for tick in nice_ticks(0.0, highest, 4):
        drawing.line(_LEFT, at(tick), WIDTH - _RIGHT, at(tick), "grid")
        drawing.text(_LEFT - 10, at(tick) + 4, f"{tick:g} s", "tick", "end")
    drawing.text(0, top + 10, "writes paused", "lane-title")
    if limit is not None:
        drawing.line(_LEFT, at(limit), WIDTH - _RIGHT, at(limit), "limit")
        drawing.text(WIDTH - _RIGHT, at(limit) - 5, f"objective {limit:g} s", "limit-text", "end")
    step = _PLOT / len(known)
    tones = {"pass": "ok", "fail": "fail"}
    for number_of, (run, seconds) in enumerate(known):
        left = _LEFT + step * number_of + step / 2 - min(11.0, step * 0.35)
        width = 2 * min(11.0, step * 0.35)
        tip = f"{run.at[:19].replace('T', ' ')}: {duration(seconds)}, {run.verdict}"
        drawing.rect(
            left, at(seconds), width, max(1.0, bottom - at(seconds)), f"f-{tones.get(run.verdict, 'slow')}", tip
        )
        if number_of == len(known) - 1:
            drawing.text(left + width / 2, bottom + 16, "this run", "tick", "middle")
    drawing.line(_LEFT, bottom, WIDTH - _RIGHT, bottom, "axis")
    return drawing.markup()


def close_up(history: History, state: RunState | None = None) -> tuple[Markup, Outage] | None:
    """Return the longest pause with what was before and after it; None when there was none.

    Pauses of writes come first, then those of HTTP.
    """
    if not history.ops:
        return None
    by_kind = _pauses(history)
    pauses = by_kind["write"] or by_kind["http"]
    if not pauses:
        return None
    pause = max(pauses, key=lambda item: item.paused_seconds)
    margin = max(0.35, 0.75 * pause.paused_seconds)
    start = max(0.0, pause.start - margin)
    axis = _Axis(start, _end(pause) + margin, _relative, origin=pause.start)
    return _picture(history, state or RunState(), axis, "The longest pause, close up", measure=pause), pause


def _relative(seconds: float) -> str:
    if seconds == 0:
        return "0"
    sign = "+" if seconds > 0 else "\N{MINUS SIGN}"
    size = abs(seconds)
    return f"{sign}{size * 1000:g} ms" if size < 1 else f"{sign}{size:g} s"


def _pauses(history: History) -> Mapping[Kind, Sequence[Outage]]:
    """Return what ``paused_seconds`` counts: the outages, or a stall that was longer than all of them."""
    streams: Mapping[Kind, int] = {"write": history.meta.writers, "http": 1}
    pauses: dict[Kind, Sequence[Outage]] = {}
    for kind, count in streams.items():
        seen = check_availability([op for op in history.ops if op.kind == kind], history.meta, count)
        outages = sum(outage.paused_seconds for outage in seen.outages)
        longer = seen.stall is not None and seen.stall.paused_seconds > outages
        pauses[kind] = (*seen.outages, seen.stall) if longer and seen.stall is not None else seen.outages
    return pauses


def _end(pause: Outage) -> float:
    return pause.start + pause.paused_seconds


def _picture(
    history: History,
    state: RunState,
    axis: _Axis,
    title: str,
    *,
    with_phases: bool = False,
    measure: Outage | None = None,
) -> Markup:
    ops = [op for op in history.ops if axis.start <= op.intended <= axis.end]
    pauses = _pauses(history)
    shaded = pauses["write"] or pauses["http"]
    drawing = Drawing(WIDTH, title, _describe(ops, pauses))
    rows = _rows(ops)
    lanes = [*_broken(history, state, axis), *_lanes(history, axis)]
    phases = _phases(history, state, axis) if with_phases else []

    top = 8.0
    y = top
    if measure is not None:
        y += 22
    if phases:
        y += 26
    raster_top = y
    row_height = 16.0 if len(rows) <= 4 else 11.0
    raster_bottom = y + len(rows) * (row_height + 4)
    latency_top = raster_bottom + 18
    latency_bottom = latency_top + _LATENCY_HEIGHT
    lanes_top = latency_bottom + 18
    lanes_bottom = lanes_top + sum(_LANE_GAP + _LANE_STEP * len(lane) for _, lane in lanes)
    axis_y = lanes_bottom if lanes else latency_bottom + 6
    drawing.height = axis_y + 26

    for x, label in axis.ticks():
        drawing.line(x, raster_top, x, axis_y, "grid")
        drawing.text(x, axis_y + 17, label, "tick", "middle")
    for pause in shaded:
        _shade(drawing, axis, pause, raster_top - 2, axis_y)
    if measure is not None:
        _measure(drawing, axis, measure, top + 14)
    _draw_phases(drawing, phases, top)
    for position, (label, kind, stream) in enumerate(rows):
        row_y = raster_top + position * (row_height + 4)
        if position == 0:
            drawing.text(0, row_y + row_height / 2 + 4, "outcome", "lane-title")
        drawing.text(_LEFT - 10, row_y + row_height / 2 + 4, label, "row", "end")
        own = pauses.get(kind, shaded)  # What writers on the hosts met is no pause of the service.
        if own != shaded:
            for pause in own:
                _shade(drawing, axis, pause, row_y - 2, row_y + row_height + 2)
        mine = [op for op in ops if (op.kind, op.stream) == (kind, stream)]
        _raster(drawing, axis, mine, row_y, row_height, history.meta.good_ms / 1000.0)
    _latency(drawing, axis, ops, history.meta.good_ms, history.meta.timeout_ms, latency_top, latency_bottom)
    y = lanes_top
    for name, lane in lanes:
        drawing.text(0, y + 10, name, "lane-title")
        for host, spans in lane:
            drawing.text(_LEFT - 10, y + 10, host, "row", "end")
            drawing.rect(_LEFT, y, _PLOT, _LANE_HEIGHT, "lane")
            for start, end, tone, tip in spans:
                left = axis.x(start)
                drawing.rect(left, y, axis.x(end) - left, _LANE_HEIGHT, tone, tip)
            y += _LANE_STEP
        y += _LANE_GAP
    drawing.line(_LEFT, axis_y, WIDTH - _RIGHT, axis_y, "axis")
    return drawing.markup()


def _describe(ops: Sequence[Op], pauses: Mapping[Kind, Sequence[Outage]]) -> str:
    bad = sum(1 for op in ops if op.outcome != "ok")
    told = [f"{len(ops)} operations, {bad} of them not acknowledged."]
    names: Mapping[Kind, str] = {"write": "writes", "http": "HTTP"}
    for kind, name in names.items():
        told += [f"Pause of {name}: {duration(pause.paused_seconds)}." for pause in pauses[kind]]
    return " ".join(told[:20])


def _rows(ops: Iterable[Op]) -> list[tuple[str, Kind, int]]:
    order: Mapping[Kind, int] = {"write": 0, "http": 1, "inside": 2}
    streams = sorted({(op.kind, op.stream) for op in ops}, key=lambda item: (order[item[0]], item[1]))
    writers = sum(1 for kind, _ in streams if kind == "write")
    rows: list[tuple[str, Kind, int]] = []
    for kind, stream in streams:
        label = "HTTP" if kind == "http" else "writes" if writers == 1 else f"writer {stream + 1}"
        if kind == "inside":
            label = f"on host {stream - INSIDE_STREAM + 1}"
        rows.append((label, kind, stream))
    return rows


def _shade(drawing: Drawing, axis: _Axis, pause: Outage, top: float, bottom: float) -> None:
    end = _end(pause)
    if axis.sees(pause.start, end):
        left = axis.x(pause.start)
        drawing.rect(left, top, max(2.0, axis.x(end) - left), bottom - top, "outage")


def _measure(drawing: Drawing, axis: _Axis, pause: Outage, y: float) -> None:
    left, right = axis.x(pause.start), axis.x(_end(pause))
    drawing.path(
        f"M{number(left)} {number(y - 5)}v10M{number(right)} {number(y - 5)}v10"
        f"M{number(left)} {number(y)}L{number(right)} {number(y)}",
        "measure",
    )
    text = duration(pause.paused_seconds) + ("" if pause.end is not None else " and not over")
    wide = right - left > 8.0 * len(text) + 40
    if wide:
        width = 8.0 * len(text) + 16
        drawing.rect((left + right) / 2 - width / 2, y - 8, width, 16, "paper")
        drawing.text((left + right) / 2, y + 5, text, "measure-text", "middle")
    else:
        drawing.text(right + 8, y + 5, text, "measure-text")


def _state(op: Op, good_seconds: float) -> str:
    if op.outcome == "ok":
        return "ok" if is_good(op, good_seconds) else "slow"
    return op.outcome


def _raster(drawing: Drawing, axis: _Axis, ops: Sequence[Op], y: float, height: float, good_seconds: float) -> None:
    columns: dict[int, str] = {}
    spacing = _PLOT / max(1, len(ops))
    if spacing >= 3:
        # Room for every operation: one mark each.
        marks: dict[str, list[str]] = defaultdict(list)
        for op in ops:
            marks[_state(op, good_seconds)].append(f"M{number(axis.x(op.intended))} {number(y)}v{number(height)}")
        size = "thick" if spacing >= 7 else "thin"
        for state in _STATES:
            drawing.path("".join(marks[state]), f"mark {size} s-{state}")
        return
    for op in ops:
        column = int(axis.x(op.intended))
        state = _state(op, good_seconds)
        before = columns.get(column)
        if before is None or _STATES.index(state) > _STATES.index(before):
            columns[column] = state
    reach = math.ceil(spacing) if ops else 1
    run: tuple[int, int, str] | None = None
    for column in sorted(columns):
        state = columns[column]
        if run is not None and run[2] == state and column <= run[1] + reach:
            run = (run[0], column + 1, state)
            continue
        if run is not None:
            drawing.rect(run[0], y, run[1] - run[0], height, f"f-{run[2]}")
        run = (column, column + 1, state)
    if run is not None:
        drawing.rect(run[0], y, run[1] - run[0], height, f"f-{run[2]}")


def _latency(
    drawing: Drawing,
    axis: _Axis,
    ops: Sequence[Op],
    good_ms: float,
    timeout_ms: float,
    top: float,
    bottom: float,
) -> None:
    values = [max(0.01, op.latency * 1000.0) for op in ops if op.outcome != "skip"]
    low = math.floor(math.log10(min([*values, 1.0])))
    high = math.log10(max([*values, timeout_ms]) * 1.15)

    def at(value: float) -> float:
        share = (math.log10(max(value, 0.01)) - low) / (high - low)
        return bottom - (bottom - top) * min(1.0, max(0.0, share))

    drawing.text(0, top + 10, "latency", "lane-title")
    for power in range(low, math.floor(high) + 1):
        y = at(10.0**power)
        drawing.line(_LEFT, y, WIDTH - _RIGHT, y, "grid")
        drawing.text(_LEFT - 10, y + 4, milliseconds(10.0**power).replace(".00", "").replace(".0", ""), "tick", "end")
    y = at(good_ms)
    drawing.line(_LEFT, y, WIDTH - _RIGHT, y, "limit")
    drawing.text(WIDTH - _RIGHT, y - 5, f"good: up to {good_ms:g} ms", "limit-text", "end")

    good_seconds = good_ms / 1000.0
    shown = [op for op in ops if op.outcome != "skip"]
    dots: dict[str, list[str]] = defaultdict(list)
    if len(shown) <= MAX_MARKS:
        for op in shown:
            state = _state(op, good_seconds)
            kind = f"dot-{op.kind}" if state == "ok" else f"dot-{state}"
            dots[kind].append(f"M{number(axis.x(op.intended))} {number(at(op.latency * 1000.0))}h0")
    else:
        columns: dict[tuple[str, int], list[float]] = {}
        for op in shown:
            state = _state(op, good_seconds)
            kind = f"dot-{op.kind}" if state == "ok" else f"dot-{state}"
            y = at(op.latency * 1000.0)
            bounds = columns.setdefault((kind, int(axis.x(op.intended))), [y, y])
            bounds[0], bounds[1] = min(bounds[0], y), max(bounds[1], y)
        for (kind, column), (upper, lower) in columns.items():
            dots[kind].append(f"M{column} {number(upper)}V{number(lower)}")
    size = "large" if len(shown) <= 300 else "small"
    for kind in ("dot-http", "dot-write", "dot-slow", "dot-info", "dot-fail"):
        drawing.path("".join(dots[kind]), f"dot {size} {kind}")


_Span = tuple[float, float, str, str]
_Lane = tuple[str, list[_Span]]


def _lanes(history: History, axis: _Axis) -> list[tuple[str, list[_Lane]]]:
    """Return the bands: (question, [(host, [(start, end, tone, tip)])])."""
    hosts = list(dict.fromkeys([*history.meta.sampled, *(s.host for s in history.samples)]))
    by_host: dict[str, list[Sample]] = {host: [] for host in hosts}
    for sample in sorted(history.samples, key=lambda item: item.at):
        by_host[sample.host].append(sample)
    # A host that never had a role to lose, such as a witness, has no band.
    hosts = [h for h in hosts if any(s.role in ("primary", "replica") or s.writable for s in by_host[h])]
    vips = sorted({vip for sample in history.samples for vip in sample.vips})
    groups: list[tuple[str, list[_Lane]]] = []
    if hosts:
        groups.append(("primary", [(h, _held(by_host[h], axis, _role_tone)) for h in hosts]))
        groups.append(("writable", [(h, _held(by_host[h], axis, _writable_tone)) for h in hosts]))
        for vip in vips:
            lane: list[_Lane] = [(h, _held(by_host[h], axis, _vip_tone(vip))) for h in hosts]
            groups.append((f"holds {vip}", lane))
    for kind, name in (("write", "took writes"), ("http", "served pages")):
        servers = _servers(history.ops, kind)
        if servers:
            known = [*hosts, *(s for s in servers if not any(same_host(s, h) for h in hosts))]
            served: list[_Lane] = []
            for host in known:
                mine = [s for s in servers if same_host(s, host)]
                spans = [span for server in mine for span in _served(servers[server], axis)]
                served.append((host, spans))
            groups.append((name, served))
    return groups


def _broken(history: History, state: RunState, axis: _Axis) -> list[tuple[str, list[_Lane]]]:
    """The bands of what a drill did: each fault from when it took effect until it was undone, each command."""
    zero = history.meta.monotonic_zero
    begun: dict[str, tuple[float, str]] = {}
    spans: dict[str, list[_Span]] = {}
    for act in state.acts:
        if act.event == "begun":
            begun[act.ident] = (act.clock - zero, act.title)
        elif act.ident in begun:
            start, title = begun.pop(act.ident)
            spans.setdefault(_lane_of(act), []).append((start, act.done - zero, "b-broken", title))
    # What was never undone, as far as is known, lasts to the end of the picture.
    for act in state.acts:
        if act.ident in begun:
            start, title = begun.pop(act.ident)
            spans.setdefault(_lane_of(act), []).append((start, axis.end, "b-broken", title))
    shown = [(label, [span for span in found if axis.sees(span[0], span[1])]) for label, found in spans.items()]
    lanes: list[_Lane] = [lane for lane in shown if lane[1]]
    return [("done to it", lanes)] if lanes else []


def _lane_of(act: Act) -> str:
    """All commands share one band; each fault has its own."""
    return "command" if act.ident.startswith("command-") else act.ident


def _role_tone(sample: Sample) -> tuple[str, str] | None:
    if sample.role is None:
        return ("b-silent", f"no answer: {sample.error}")
    if sample.role == "primary":
        return ("b-primary", f"primary, term {sample.term}")
    return None if sample.role == "replica" else ("b-other", sample.role)


def _writable_tone(sample: Sample) -> tuple[str, str] | None:
    return ("b-writable", "writable") if sample.writable else None


def _vip_tone(vip: str) -> Callable[[Sample], tuple[str, str] | None]:
    return lambda sample: ("b-vip", f"holds {vip}") if vip in sample.vips else None


def _held(samples: Sequence[Sample], axis: _Axis, tone: Callable[[Sample], tuple[str, str] | None]) -> list[_Span]:
    """Return the spans in which consecutive samples say the same.

    Where two samples differ the change came somewhere between them; that time is drawn faintly, as
    belonging to neither.
    """
    spans: list[_Span] = []
    previous: tuple[str, str] | None = None
    reached = -math.inf
    for sample in samples:
        said = tone(sample)
        joined = sample.at - reached <= _SAMPLE_REACH_SECONDS
        changed = previous or said
        if joined and said != previous and changed is not None:
            spans.append((reached, sample.at, f"{changed[0]} between", f"changed in this time: {changed[1]}"))
        if said is not None:
            if joined and said == previous and spans:
                spans[-1] = (spans[-1][0], sample.done, *said)
            else:
                spans.append((sample.at, sample.done, *said))
        previous, reached = said, sample.done
    return [span for span in spans if axis.sees(span[0], span[1])]


def _servers(ops: Iterable[Op], kind: str) -> dict[str, list[Op]]:
    servers: dict[str, list[Op]] = {}
    for op in sorted((op for op in ops if op.kind == kind and op.outcome == "ok"), key=lambda op: op.done):
        if op.server:
            servers.setdefault(op.server, []).append(op)
    return servers


def _served(ops: Sequence[Op], axis: _Axis) -> list[_Span]:
    """Return the spans in which a server acknowledged without a longer break."""
    spans: list[_Span] = []
    for op in ops:
        start, end = op.intended, op.done
        if not axis.sees(start, end):
            continue
        if spans and start - spans[-1][1] < _SAMPLE_REACH_SECONDS:
            spans[-1] = (spans[-1][0], max(end, spans[-1][1]), "b-served", "acknowledged")
        else:
            spans.append((start, end, "b-served", "acknowledged"))
    return spans


def _phases(history: History, state: RunState, axis: _Axis) -> list[tuple[float, float, str, str]]:
    """Return (left, right, phase, title) in pixels, with the journal put onto the probe's clock."""
    try:
        zero = datetime.fromisoformat(history.meta.started_at)
        begun = datetime.fromisoformat(state.started_at)
    except ValueError:
        return []
    offset = (begun - zero).total_seconds()
    found: list[tuple[float, float, str, str]] = []
    for phase in state.phases:
        start = phase.started + offset
        end = start + (phase.seconds or 0.0)
        if not axis.sees(start, end):
            continue
        left, right = axis.x(start), axis.x(end)
        if found and found[-1][2] == phase.phase:
            left, _, _, title = found.pop()[0], 0, 0, ""
            found.append((left, right, phase.phase, title))
        else:
            found.append((left, right, phase.phase, phase.title))
    return found


def _draw_phases(drawing: Drawing, phases: Sequence[tuple[float, float, str, str]], top: float) -> None:
    if phases:
        drawing.text(0, top + 13, "phase", "lane-title")
    for left, right, phase, title in phases:
        drawing.rect(left, top, right - left, 18, "phase", f"{phase}: {title}" if title else phase)
        if right - left > 7.0 * len(phase) + 6:
            drawing.text((left + right) / 2, top + 13, phase, "phase-text", "middle")


def legend(history: History) -> tuple[tuple[str, str], ...]:
    """Return (class, text) of the marks that the pictures use."""
    good_seconds = history.meta.good_ms / 1000.0
    seen = {_state(op, good_seconds) for op in history.ops}
    words: Mapping[str, Any] = {
        "ok": "acknowledged",
        "slow": f"acknowledged after more than {history.meta.good_ms:g} ms",
        "fail": "failed",
        "info": "outcome unknown",
        "skip": "not sent by the prober",
    }
    return tuple((f"k-{state}", str(words[state])) for state in ("ok", "slow", "fail", "info", "skip") if state in seen)
