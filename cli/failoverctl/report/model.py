"""What a run's folder says, read once and shaped for the report. Nothing here draws."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from failoverctl.drill.samples import read_samples
from failoverctl.journal import PhaseState, RunState, fold, read_journal
from failoverctl.probe.checker import History
from failoverctl.probe.files import ProbeFilesError, load
from failoverctl.report.text import (
    GOOD_VERDICTS,
    UNDECIDED_VERDICTS,
    VERDICT_WORDS,
    count,
    duration,
    http_sentence,
    milliseconds,
    writes_sentence,
)


@dataclass(frozen=True)
class Run:
    """A run's files. ``history`` is None for a run that was not measured or cannot be read."""

    folder: str
    result: Mapping[str, Any] = field(default_factory=dict)
    state: RunState = field(default_factory=RunState)
    history: History | None = None
    history_problem: str | None = None


def read_run(folder: Path) -> Run:
    """Return what the folder of a run holds; an absent or torn file reads as empty."""
    journal = folder / "journal.jsonl"
    history = None
    problem = None
    if (folder / "probe").is_dir():
        try:
            history = load(folder / "probe")
            # What hosts said of themselves where they are is truer than what could be heard of them from here.
            inside = read_samples(folder / "samples.jsonl", history.meta.monotonic_zero)
            history = replace(history, samples=inside) if inside else history
        except ProbeFilesError as error:
            # The place of the run does not belong into a report that is handed on.
            problem = str(error).replace(f"{folder}/", "")
    return Run(
        folder=folder.name,
        result=_document(folder / "result.json"),
        state=fold(read_journal(journal)) if journal.is_file() else RunState(),
        history=history,
        history_problem=problem,
    )


def _document(path: Path) -> Mapping[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return data if isinstance(data, dict) else {}


@dataclass(frozen=True)
class Tile:
    """One figure at the top: a value with its unit, what it is, and a remark."""

    label: str
    value: str
    unit: str = ""
    remark: str = ""
    tone: str = ""


@dataclass(frozen=True)
class Objective:
    """A promise and what was measured. ``share`` is measured by limit, at most 1, for a bar."""

    name: str
    limit: str
    measured: str
    share: float
    met: bool | None


@dataclass(frozen=True)
class Bar:
    """One bar of a waterfall. ``left`` and ``width`` are percent of the whole length.

    What was done ``before`` the axis begins has no bar, only its length in words.
    """

    label: str
    value: str
    left: float
    width: float
    outcome: str
    group: str = ""
    detail: str = ""
    critical: bool = False
    before: bool = False


@dataclass(frozen=True)
class Waterfall:
    """Bars on one axis; ``band`` is the (left, width) of what is stressed, in percent."""

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    band: tuple[float, float] | None = None
    band_label: str = ""


@dataclass(frozen=True)
class Page:
    """Everything the template shows, apart from the charts."""

    title: str
    hosts: frozenset[str]
    runbook: str
    estate: str
    run_id: str
    started: str
    seconds: str
    verdict: str
    verdict_word: str
    tone: str
    headline: str
    sentences: tuple[str, ...]
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    tiles: tuple[Tile, ...]
    objectives: tuple[Objective, ...]
    phases: Waterfall | None
    steps: Waterfall | None
    switchover: Mapping[str, Any] | None
    failures: tuple[Mapping[str, Any], ...]
    refusals: tuple[Mapping[str, Any], ...]
    problems: tuple[Mapping[str, Any], ...]
    lock: Mapping[str, Any] | None
    writes: Mapping[str, Any] | None
    http: Mapping[str, Any] | None
    nodes: tuple[Mapping[str, Any], ...]
    primary: str | None
    self_check: tuple[tuple[str, str, bool | None], ...]
    facts: tuple[tuple[str, str], ...]
    following: tuple[str, ...]


def shape(run: Run) -> Page:
    """Return the page of a run."""
    result, state = run.result, run.state
    verdict = str(result.get("verdict") or state.verdict)
    runbook = str(result.get("runbook") or state.runbook or "run")
    estate = str(result.get("estate") or state.request.get("estate") or "")
    probe = _mapping(result.get("probe"))
    writes, http = _mapping(probe.get("writes")) or None, _mapping(probe.get("http")) or None
    answers = [result.get(name) or state.answers.get(name) for name in ("failover", "rejoin")]
    # A failover and a rejoin are told by steps as a switchover is.
    switchover = _mapping(result.get("switchover") or state.switchover or answers[0] or answers[1]) or None
    refusals = tuple(_mappings(result.get("refusals") or state.refusals or (switchover or {}).get("refusals")))
    problems = tuple(_mappings(result.get("problems") or state.problems))
    lock = _mapping(result.get("lock") or state.lock) or None
    seconds = float(result.get("seconds") or state.seconds)
    sentences = [writes_sentence(writes)] if writes else []
    sentences += [http_sentence(http)] if http else []
    headline = _headline(verdict, runbook, run, refusals, problems, lock, sentences)
    reasons = [str(reason) for reason in probe.get("reasons") or ()] if verdict not in GOOD_VERDICTS else []
    said = str(result.get("reason") or "")
    if said and said != "; ".join(reasons) and said != headline:
        reasons.insert(0, said)
    notes = [*(str(note) for note in probe.get("notes") or ()), *(n for n in state.notes if n != said)]
    if run.history_problem:
        notes.append(f"what the prober left cannot be read: {run.history_problem}")
    return Page(
        title=_title(runbook, estate, switchover, result.get("drill")),
        hosts=_hosts(run),
        runbook=runbook,
        estate=estate,
        run_id=str(result.get("run_id") or state.run_id or run.folder),
        started=_moment(str(result.get("started_at") or state.started_at)),
        seconds=duration(seconds),
        verdict=verdict,
        verdict_word=VERDICT_WORDS.get(verdict, verdict.capitalize()),
        tone="good" if verdict in GOOD_VERDICTS else "open" if verdict in UNDECIDED_VERDICTS else "bad",
        headline=headline,
        sentences=tuple(sentence.replace("http ", "HTTP ", 1) for sentence in sentences if sentence != headline),
        reasons=tuple(reasons),
        notes=tuple(notes),
        tiles=_tiles(writes, http, switchover, state, seconds),
        objectives=_objectives(probe),
        phases=_phases(result, state),
        steps=_steps(switchover, state),
        switchover=switchover,
        failures=_failures(result, state),
        refusals=refusals,
        problems=problems,
        lock=lock,
        writes=writes,
        http=http,
        nodes=tuple(_mappings(probe.get("nodes"))),
        primary=str(probe["primary"]) if probe.get("primary") else None,
        self_check=_self_check(_mapping(probe.get("prober"))),
        facts=_facts(run, runbook, estate, seconds),
        following=tuple(str(command) for command in result.get("next") or ()),
    )


def _hosts(run: Run) -> frozenset[str]:
    """Return every host's name, which no sentence may begin with a capital."""
    named = {host for phase in run.state.phases for host in phase.hosts}
    if run.history is not None:
        named |= {*run.history.meta.sampled, *run.history.meta.final_expected}
    return frozenset(named)


def _title(runbook: str, estate: str, switchover: Mapping[str, Any] | None, drill: object = None) -> str:
    if isinstance(drill, Mapping) and drill.get("title"):
        return f"{drill['title']}: drill of {estate}" if estate else str(drill["title"])
    name = runbook.replace("_", " ").capitalize()
    title = f"{name} of {estate}" if estate else name
    if switchover and switchover.get("from") and switchover.get("to"):
        title += f": {switchover['from']} to {switchover['to']}"
    return title


def _headline(
    verdict: str,
    runbook: str,
    run: Run,
    refusals: Sequence[Mapping[str, Any]],
    problems: Sequence[Mapping[str, Any]],
    lock: Mapping[str, Any] | None,
    sentences: Sequence[str],
) -> str:
    if verdict == "refused" and refusals:
        return f"{refusals[0].get('message', 'A safety gate refused')}. Nothing was changed."
    if verdict == "locked" and lock:
        return f"{lock.get('owner', 'another run')} runs {lock.get('runbook', 'a runbook')}. Nothing was changed."
    if verdict == "invalid" and problems:
        return f"{count(len(problems), 'problem')} in the configuration. Nothing was changed."
    if verdict == "running":
        return "This run has no end: it still goes on, or its process was killed."
    if sentences and verdict in ("pass", "fail", "unknown"):
        return sentences[0]
    failures = run.state.failures
    if verdict in ("failed", "unreachable") and failures:
        return f"{failures[0].host}: {failures[0].title}"
    if verdict == "ok":
        return _work_done(runbook, run.state)
    return str(run.result.get("reason") or f"{runbook} ended with the verdict {verdict}")


def _work_done(runbook: str, state: RunState) -> str:
    hosts = {host for phase in state.phases for host in phase.hosts}
    if not hosts:
        return f"{runbook} is complete."
    done = f"{count(state.changed, 'change')} on {count(len(hosts), 'host')}" if state.changed else "Nothing to change"
    where = "" if state.changed else f" on {count(len(hosts), 'host')}"
    return f"{done}{where}."


def _tiles(
    writes: Mapping[str, Any] | None,
    http: Mapping[str, Any] | None,
    switchover: Mapping[str, Any] | None,
    state: RunState,
    seconds: float,
) -> tuple[Tile, ...]:
    tiles = []
    if writes:
        value, unit = _split(duration(float(writes.get("paused_seconds") or 0.0)))
        tiles.append(Tile("Writes paused", value, unit, _outages_remark(writes)))
        lost = writes.get("lost")
        tiles.append(
            Tile(
                "Writes lost",
                "?" if lost is None else str(lost),
                remark=f"of {writes.get('acknowledged', 0)} acknowledged",
                tone="bad" if lost else "open" if lost is None else "",
            )
        )
    if http:
        value, unit = _split(duration(float(http.get("paused_seconds") or 0.0)))
        remark = f"{http.get('failed', 0)} of {http.get('attempted', 0)} requests failed"
        tiles.append(Tile("HTTP outage", value, unit, remark))
    if switchover and switchover.get("critical_ms") is not None:
        value, unit = _split(milliseconds(float(switchover["critical_ms"])))
        tiles.append(Tile("Critical section", value, unit, "in which no host accepts writes"))
    if not tiles and state.phases:
        hosts = {host for phase in state.phases for host in phase.hosts}
        tasks = sum(phase.tasks for phase in state.phases)
        value, unit = _split(duration(seconds))
        if seconds >= 60:
            value, unit = f"{round(seconds) // 60}:{round(seconds) % 60:02d}", "min"
        tiles = [
            Tile("Duration", value, unit, count(len(state.phases), "phase")),
            Tile("Hosts", str(len(hosts))),
            Tile("Changes", str(state.changed), remark=f"in {count(tasks, 'task')}"),
        ]
    return tuple(tiles)


def _outages_remark(availability: Mapping[str, Any]) -> str:
    outages = len(availability.get("outages") or ())
    if outages > 1:
        pauses = [float(o.get("paused_seconds") or 0.0) for o in _mappings(availability.get("outages"))]
        return f"{outages} outages, the longest {duration(max(pauses, default=0.0))}"
    hung = int(availability.get("hung") or 0)
    return f"{count(hung, 'client')} hung" if hung else "no client hung"


def _split(text: str) -> tuple[str, str]:
    number, _, unit = text.partition(" ")
    return number, unit


_OBJECTIVES: Mapping[str, str] = {
    "writes RTO": "Time without writes (RTO)",
    "http RTO": "Time without pages (RTO)",
    "RPO": "Loss of acknowledged writes (RPO)",
}


def _objectives(probe: Mapping[str, Any]) -> tuple[Objective, ...]:
    found = []
    for item in _mappings(probe.get("objectives")):
        limit, measured = float(item.get("limit") or 0.0), float(item.get("measured") or 0.0)
        share = 1.0 if measured > limit else measured / limit if limit else 0.0
        met = item.get("met")
        found.append(
            Objective(
                name=_OBJECTIVES.get(str(item.get("name")), str(item.get("name", ""))),
                limit="none" if limit == 0 else f"at most {_seconds(limit)}",
                measured=_seconds(measured),
                share=share,
                met=met if isinstance(met, bool) else None,
            )
        )
    return tuple(found)


def _seconds(value: float) -> str:
    return duration(value) if value < 60 and value != int(value) else f"{value:g} s"


def _phases(result: Mapping[str, Any], state: RunState) -> Waterfall | None:
    phases = state.phases or tuple(
        PhaseState(
            str(step.get("phase", "")),
            str(step.get("title", "")),
            started=0.0,
            outcome=str(step.get("outcome", "")),
            seconds=step.get("seconds"),
        )
        for step in _mappings(result.get("steps"))
    )
    if not phases:
        return None
    ends = [phase.started + (phase.seconds or 0.0) for phase in phases]
    total = max(*ends, state.seconds, 0.001)
    refused = str(result.get("verdict") or state.verdict) in ("refused", "locked")
    bars = []
    for phase in phases:
        seconds = phase.seconds if phase.seconds is not None else max(0.0, total - phase.started)
        bars.append(
            Bar(
                label=phase.title,
                value="" if phase.outcome == "skipped" else duration(seconds),
                left=100 * phase.started / total,
                width=100 * seconds / total,
                outcome=_outcome(phase.outcome, refused=refused),
                group=phase.phase,
                detail=_work(phase),
            )
        )
    return Waterfall(tuple(bars), _ticks(total, lambda value: f"{value:g} s"))


def _outcome(outcome: str, *, refused: bool) -> str:
    if outcome == "failed" and refused:
        return "refused"
    return "cut short" if outcome == "running" else outcome


def _work(phase: PhaseState) -> str:
    cells = list(phase.hosts.values())
    if not cells:
        return ""
    parts = [count(len(cells), "host")]
    for name in ("changed", "failed", "unreachable"):
        number = sum(int(getattr(cell, name)) for cell in cells)
        if number:
            parts.append(f"{number} {name}")
    return ", ".join(parts)


def _steps(switchover: Mapping[str, Any] | None, state: RunState) -> Waterfall | None:
    steps = [
        (str(s.get("name", "")), str(s.get("title", "")), float(s.get("at") or 0.0), float(s.get("ms") or 0.0), s)
        for s in _mappings((switchover or {}).get("steps"))
    ]
    outcomes = [str(s.get("outcome", "")) for *_, s in steps]
    if not steps:
        steps = [(s.name, s.title, s.at_ms, s.ms, {}) for s in state.steps]
        outcomes = [s.outcome for s in state.steps]
    if not steps:
        return None
    named = {name: (at, at + ms) for name, _, at, ms, _ in steps}
    last = max(at + ms for _, _, at, ms, _ in steps)
    start = end = 0.0
    if "fence" in named and "promote" in named:
        start, end = named["fence"][0], named["promote"][1]
    # The axis begins where writes stop: what is done before costs nobody anything.
    total = max(last - start, 0.1)
    bars = []
    for (_, title, at, ms, _), outcome in zip(steps, outcomes, strict=True):
        before = at + ms <= start
        left = max(0.0, at - start)
        bars.append(
            Bar(
                label=title,
                value=f"{milliseconds(ms)}, while writes go on" if before else milliseconds(ms),
                left=100 * left / total,
                width=0.0 if before else 100 * (at + ms - start - left) / total,
                outcome=outcome,
                critical=start <= at < end,
                before=before,
            )
        )
    band = (0.0, 100 * (end - start) / total) if end > start else None
    label = f"no host accepts writes: {milliseconds(end - start)}" if band else ""
    return Waterfall(tuple(bars), _ticks(total, lambda value: f"{value:g} ms"), band, label)


def _ticks(total: float, text: Any) -> tuple[tuple[float, str], ...]:
    return tuple((100 * value / total, text(value)) for value in nice_ticks(0.0, total, 5))


def nice_ticks(low: float, high: float, wanted: int) -> list[float]:
    """Return about ``wanted`` round values from ``low`` to ``high``: steps of 1, 2 or 5 times 10^n."""
    span = high - low
    if span <= 0 or wanted < 1:
        return [low]
    magnitude = 10.0 ** math.floor(math.log10(span / wanted))
    step = next(magnitude * factor for factor in (1, 2, 5, 10) if span / (magnitude * factor) <= wanted)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


def _failures(result: Mapping[str, Any], state: RunState) -> tuple[Mapping[str, Any], ...]:
    if state.failures:
        return tuple({"host": t.host, "task": t.title, "message": t.message} for t in state.failures)
    return tuple(_mappings(result.get("failures")))


def _self_check(prober: Mapping[str, Any]) -> tuple[tuple[str, str, bool | None], ...]:
    if not prober:
        return ()
    late = _mapping(prober.get("late_ms"))
    stalled, skipped = int(prober.get("stalled") or 0), int(prober.get("skipped") or 0)
    missing = int(prober.get("missing") or 0)
    step = float(prober.get("wall_step_seconds") or 0.0)
    seconds = float(prober.get("duration_seconds") or 0.0)
    cpu = float(prober.get("cpu_seconds") or 0.0)
    rows: list[tuple[str, str, bool | None]] = [
        ("Ran to its end", "yes" if prober.get("finished") else "no", bool(prober.get("finished")))
    ]
    if late:
        text = " / ".join(milliseconds(float(late.get(name) or 0.0)) for name in ("p50", "p99", "max"))
        rows.append(("Operations left late by (median / p99 / max)", text, not stalled))
    rows += [
        ("Later than 200 ms, or not sent at all", str(stalled + skipped), not stalled and not skipped),
        ("Operations without a recorded end", str(missing), not missing),
        ("Wall clock moved against the monotonic clock", f"{step * 1000:+.0f} ms", abs(step) <= 0.05),
        ("Most operations in flight in one stream", str(prober.get("max_in_flight", 0)), None),
    ]
    if seconds > 0:
        rows.append(("Processor time", f"{cpu:.1f} s in {duration(seconds)}", None))
    return tuple(rows)


def _facts(run: Run, runbook: str, estate: str, seconds: float) -> tuple[tuple[str, str], ...]:
    request, result, meta = run.state.request, run.result, run.history.meta if run.history else None
    parameters = _mapping(request.get("parameters"))
    inventory = request.get("inventory")
    listed = [str(item) for item in inventory] if isinstance(inventory, list | tuple) else []
    command = request.get("command")
    rows = [
        ("Run", str(result.get("run_id") or run.state.run_id or run.folder)),
        ("Runbook", str(request.get("playbook") or runbook)),
        ("Estate", estate),
        ("Command", " ".join(str(word) for word in command) if isinstance(command, list | tuple) else ""),
        ("Parameters", ", ".join(f"{key}={value}" for key, value in sorted(parameters.items()))),
        ("Inventory", ", ".join(listed)),
        ("Inventory hash", str(request.get("inventory_sha256") or "")),
        ("Started by", str(request.get("owner") or "")),
        ("Started", _moment(str(result.get("started_at") or run.state.started_at))),
        ("Finished", _moment(str(result.get("finished_at") or run.state.finished_at))),
        ("Duration", duration(seconds)),
        ("failoverctl", str(request.get("version") or (meta.version if meta else ""))),
    ]
    if request.get("check") or result.get("check"):
        rows.append(("Mode", "check: nothing was to be changed"))
    if meta is not None:
        load = [f"{meta.rate_hz:g} operations a second and stream"]
        if meta.writers:
            load.append(count(meta.writers, "writer"))
        if meta.http:
            load.append("one HTTP stream, a new connection each")
        rows.append(("Load", ", ".join(load)))
        rows.append(("Good means", f"acknowledged within {meta.good_ms:g} ms; time-out {meta.timeout_ms:g} ms"))
    return tuple((name, value) for name, value in rows if value)


def _moment(text: str) -> str:
    """Return a UTC time stamp for people, to the second."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: object) -> Iterable[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []
