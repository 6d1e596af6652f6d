"""The journal of a run: append-only JSON lines, and the state of the run folded out of them.

Live view, replay, `runs show` and the report all read the same records, so they cannot disagree.
A record is one JSON object a line with ``schema``, ``at`` (UTC, ISO 8601, milliseconds), ``t``
(seconds since the run started, monotonic clock), ``kind`` and the fields of that kind.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar, TypeAlias

SCHEMA = 1

#: The five kinds of phase a runbook has; the names of its plays begin with one of them.
PHASES = ("Lock", "Preflight", "Act", "Verify", "Journal")

#: How a task may end on a host, the worst first.
TASK_OUTCOMES = ("unreachable", "failed", "changed", "ok", "skipped")


@dataclass(frozen=True, kw_only=True)
class _Record:
    """What every record has: when it was written."""

    at: str = ""
    t: float = 0.0


@dataclass(frozen=True, kw_only=True)
class RunStarted(_Record):
    """The run exists. ``request`` is what request.json holds."""

    kind: ClassVar[str] = "run_started"
    runbook: str
    run_id: str
    request: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class PhaseStarted(_Record):
    """A play of the runbook began. ``phase`` is one of :data:`PHASES`, ``title`` its sentence."""

    kind: ClassVar[str] = "phase_started"
    phase: str
    title: str


@dataclass(frozen=True, kw_only=True)
class PhaseFinished(_Record):
    """A play ended after ``seconds`` with ``outcome`` ok, failed or skipped."""

    kind: ClassVar[str] = "phase_finished"
    phase: str
    title: str
    outcome: str
    seconds: float


@dataclass(frozen=True, kw_only=True)
class TaskStarted(_Record):
    """A task was sent to the hosts of its phase."""

    kind: ClassVar[str] = "task_started"
    phase: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Task(_Record):
    """A task ended on one host: ok, changed, failed, skipped or unreachable, after ``seconds``.

    ``message`` is what the host answered where it failed, else empty. ``diff`` is what was changed,
    as a unified diff, if the run was asked for it.
    """

    kind: ClassVar[str] = "task"
    phase: str
    title: str
    host: str
    outcome: str
    seconds: float
    message: str = ""
    diff: str = ""


@dataclass(frozen=True, kw_only=True)
class Step(_Record):
    """One step inside the agent's switchover: it began at ``at_ms`` after its start, took ``ms``."""

    kind: ClassVar[str] = "step"
    name: str
    title: str
    ms: float
    outcome: str
    at_ms: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Switchover(_Record):
    """The whole result of the module that switched over."""

    kind: ClassVar[str] = "switchover"
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Answer(_Record):
    """The whole result of the module ``module`` (failover, rejoin or automation), and ``host``, where it ran."""

    kind: ClassVar[str] = "answer"
    module: str
    result: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Begun(_Record):
    """A task is about to be sent to the hosts of its play.

    It is on disk before the task is sent, and is written by the process that sends it, so that it is there however the
    run ends.
    """

    kind: ClassVar[str] = "begun"
    play: str
    title: str


@dataclass(frozen=True, kw_only=True)
class Facts(_Record):
    """What the agent of ``host`` told of it at that moment; see `world.facts`."""

    kind: ClassVar[str] = "facts"
    host: str
    facts: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Refused(_Record):
    """A safety gate refused; each refusal has code, message, observed, limit and fix."""

    kind: ClassVar[str] = "refused"
    refusals: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class Locked(_Record):
    """Another run holds the estate lock: owner, run_id, runbook, acquired_at, age_seconds."""

    kind: ClassVar[str] = "locked"
    lock: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Problems(_Record):
    """The configuration or the hosts are not as they must be; see `sources` for file and line."""

    kind: ClassVar[str] = "problems"
    problems: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True, kw_only=True)
class ProbeEvent(_Record):
    """The prober started or stopped."""

    kind: ClassVar[str] = "probe"
    event: str
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Act(_Record):
    """Something a drill did to the estate: a fault or its end, a command, a healing.

    ``what`` is fault, command or heal, ``event`` is begun, ended, healed or failed. ``clock`` and
    ``done`` are CLOCK_MONOTONIC of this machine, in seconds, just before and just after.
    """

    kind: ClassVar[str] = "act"
    what: str
    ident: str
    title: str
    event: str
    clock: float
    done: float
    hosts: tuple[str, ...] = ()
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class Note(_Record):
    """Something the operator should read that is not an outcome."""

    kind: ClassVar[str] = "note"
    text: str


@dataclass(frozen=True, kw_only=True)
class RunFinished(_Record):
    """The run ended with this verdict and this exit status."""

    kind: ClassVar[str] = "run_finished"
    verdict: str
    exit_code: int


Record: TypeAlias = (
    RunStarted
    | PhaseStarted
    | PhaseFinished
    | TaskStarted
    | Task
    | Step
    | Switchover
    | Answer
    | Begun
    | Facts
    | Refused
    | Locked
    | Problems
    | ProbeEvent
    | Act
    | Note
    | RunFinished
)

_KINDS: dict[str, type[Record]] = {
    record.kind: record
    for record in (
        RunStarted,
        PhaseStarted,
        PhaseFinished,
        TaskStarted,
        Task,
        Step,
        Switchover,
        Answer,
        Begun,
        Facts,
        Refused,
        Locked,
        Problems,
        ProbeEvent,
        Act,
        Note,
        RunFinished,
    )
}


def encode(record: Record) -> str:
    """Return the record as one line of JSON, without the newline."""
    document = {"schema": SCHEMA, "at": record.at, "t": record.t, "kind": record.kind}
    return json.dumps(document | asdict(record), ensure_ascii=False, default=str)


def decode(line: str) -> Record | None:
    """Return the record of one line, or None for a line that is torn or of an unknown kind.

    The last line of a journal may be torn when the process was killed in the middle of it, and a
    newer `failoverctl` may know more kinds; neither must make a run unreadable.
    """
    try:
        document = json.loads(line)
    except ValueError:
        return None
    if not isinstance(document, dict):
        return None
    record_type = _KINDS.get(str(document.get("kind")))
    if record_type is None:
        return None
    known = {item.name for item in fields(record_type)}
    values = {key: value for key, value in document.items() if key in known}
    for key in ("refusals", "problems", "hosts"):
        if isinstance(values.get(key), list):
            values[key] = tuple(values[key])
    try:
        return record_type(**values)
    except TypeError:
        return None


#: Records that survive a power loss of this machine from the moment they were written.
_KEPT = (RunStarted, PhaseStarted, PhaseFinished, Switchover, Answer, Facts, RunFinished)


class Journal:
    """Writes the journal of one run. Every record is on disk when :meth:`write` returns."""

    def __init__(
        self,
        path: Path,
        *,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Open the file for appending.

        :param path: the file; its folder must exist.
        :param clock: monotonic seconds, for ``t``.
        :param now: the wall clock, for ``at``.
        """
        self._clock = clock
        self._now = now
        self._begin = clock()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def write(self, record: Record) -> Record:
        """Stamp the record, append it, and return it as it was written."""
        stamped = replace(record, at=timestamp(self._now()), t=round(self._clock() - self._begin, 3))
        os.write(self._file, (encode(stamped) + "\n").encode())
        if isinstance(stamped, _KEPT):
            os.fsync(self._file)
        return stamped

    @property
    def seconds(self) -> float:
        """Seconds since the journal was opened."""
        return self._clock() - self._begin

    @property
    def zero(self) -> float:
        """The reading of the clock from which ``t`` counts."""
        return self._begin

    def close(self) -> None:
        """Close the file; further writes are an error."""
        os.close(self._file)


def read_journal(path: Path) -> Iterator[Record]:
    """Yield the readable records of a journal file in the order they were written.

    :raises OSError: when the file cannot be read.
    """
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            record = decode(line)
            if record is not None:
                yield record


def timestamp(moment: datetime) -> str:
    """Return a moment as UTC ISO 8601 with milliseconds, as all files of a run have it."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


@dataclass(frozen=True)
class HostCell:
    """What one host did in one phase: how many tasks ended how, and its last outcome."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    skipped: int = 0
    unreachable: int = 0
    last: str = ""

    @property
    def outcome(self) -> str:
        """The outcome worth showing: the worst one."""
        return next((outcome for outcome in TASK_OUTCOMES if getattr(self, outcome)), "")


@dataclass(frozen=True)
class PhaseState:
    """One phase of the run as far as it has come."""

    phase: str
    title: str
    started: float
    outcome: str = "running"
    seconds: float | None = None
    task: str = ""
    tasks: int = 0
    hosts: Mapping[str, HostCell] = field(default_factory=dict)


@dataclass(frozen=True)
class RunState:
    """Everything a view of the run may show; the fold of its journal.

    ``facts`` is the last that was told of each host, ``facts_before`` the last before anything was changed; ``begun``
    is the last task that was sent, and ``ended_on`` the hosts on which it has ended.
    """

    run_id: str = ""
    runbook: str = ""
    request: Mapping[str, Any] = field(default_factory=dict)
    started_at: str = ""
    finished_at: str = ""
    seconds: float = 0.0
    phases: tuple[PhaseState, ...] = ()
    steps: tuple[Step, ...] = ()
    failures: tuple[Task, ...] = ()
    refusals: tuple[Mapping[str, Any], ...] = ()
    problems: tuple[Mapping[str, Any], ...] = ()
    lock: Mapping[str, Any] | None = None
    switchover: Mapping[str, Any] | None = None
    answers: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    facts_before: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    begun: Begun | None = None
    ended_on: tuple[str, ...] = ()
    probe: str = ""
    acts: tuple[Act, ...] = ()
    notes: tuple[str, ...] = ()
    verdict: str = "running"
    exit_code: int | None = None

    @property
    def name(self) -> str:
        """What is run, as a person calls it: the runbook; of a drill its scenario, too, and which run it is."""
        parameters = self.request.get("parameters")
        given = parameters if isinstance(parameters, Mapping) else {}
        number, of = given.get("number"), given.get("of")
        several = f" {number}/{of}" if isinstance(of, int) and of > 1 else ""
        return f"{self.runbook} {given['scenario']}{several}" if given.get("scenario") else self.runbook

    @property
    def finished(self) -> bool:
        """True when the run wrote its last record."""
        return self.exit_code is not None

    @property
    def acted(self) -> bool:
        """True when a task of an Act may have been sent: what the agents tell since may be its doing."""
        begun = self.begun is not None and self.begun.play.startswith("Act")
        return begun or any(phase.phase == "Act" for phase in self.phases)

    @property
    def changed(self) -> int:
        """How many tasks changed something, over all hosts."""
        return sum(cell.changed for phase in self.phases for cell in phase.hosts.values())

    @property
    def current(self) -> PhaseState | None:
        """The phase that runs now, or None between phases and after the end."""
        if self.phases and self.phases[-1].outcome == "running" and not self.finished:
            return self.phases[-1]
        return None


def fold(records: Iterable[Record], state: RunState | None = None) -> RunState:
    """Return the state after the records, beginning with `state` or with nothing."""
    current = state or RunState()
    for record in records:
        current = apply(current, record)
    return current


def apply(state: RunState, record: Record) -> RunState:
    """Return the state after one more record. It is total: no record makes it raise."""
    state = replace(state, seconds=max(state.seconds, record.t))
    match record:
        case RunStarted():
            return replace(
                state,
                run_id=record.run_id,
                runbook=record.runbook,
                request=record.request,
                started_at=record.at,
            )
        case PhaseStarted():
            phase = PhaseState(record.phase, record.title, started=record.t)
            return replace(state, phases=(*state.phases, phase))
        case PhaseFinished():
            return _in_phase(
                state,
                record,
                lambda phase: replace(phase, outcome=record.outcome, seconds=record.seconds, task=""),
            )
        case TaskStarted():
            return _in_last(state, lambda phase: replace(phase, task=record.title))
        case Task():
            return _after_task(state, record)
        case Step():
            return replace(state, steps=(*state.steps, record))
        case Switchover():
            return replace(state, switchover=record.result)
        case Answer():
            return replace(state, answers={**state.answers, record.module: record.result})
        case Begun():
            return replace(state, begun=record, ended_on=())
        case Facts():
            known = {**state.facts, record.host: record.facts}
            return replace(state, facts=known, facts_before=state.facts_before if state.acted else known)
        case Refused():
            return replace(state, refusals=(*state.refusals, *record.refusals))
        case Locked():
            return replace(state, lock=record.lock)
        case Problems():
            return replace(state, problems=(*state.problems, *record.problems))
        case ProbeEvent():
            return replace(state, probe=record.event)
        case Act():
            return replace(state, acts=(*state.acts, record))
        case Note():
            return replace(state, notes=(*state.notes, record.text))
        case RunFinished():
            return replace(
                state,
                verdict=record.verdict,
                exit_code=record.exit_code,
                finished_at=record.at,
                seconds=record.t,
            )


def _after_task(state: RunState, record: Task) -> RunState:
    def count(phase: PhaseState) -> PhaseState:
        cell = phase.hosts.get(record.host, HostCell())
        if record.outcome in TASK_OUTCOMES:
            number = getattr(cell, record.outcome) + 1
            cell = replace(cell, last=record.outcome, **{record.outcome: number})
        return replace(phase, tasks=phase.tasks + 1, hosts={**phase.hosts, record.host: cell})

    state = _in_last(state, count)
    if state.begun is not None and state.begun.title == record.title:
        state = replace(state, ended_on=tuple(dict.fromkeys((*state.ended_on, record.host))))
    if record.outcome in ("failed", "unreachable"):
        return replace(state, failures=(*state.failures, record))
    return state


def _in_last(state: RunState, change: Callable[[PhaseState], PhaseState]) -> RunState:
    if not state.phases:
        return state
    return replace(state, phases=(*state.phases[:-1], change(state.phases[-1])))


def _in_phase(state: RunState, record: PhaseFinished, change: Callable[[PhaseState], PhaseState]) -> RunState:
    """Change the last phase of that name which still runs; a stray record changes nothing."""
    for index in range(len(state.phases) - 1, -1, -1):
        phase = state.phases[index]
        if (phase.phase, phase.title, phase.outcome) == (record.phase, record.title, "running"):
            return replace(
                state,
                phases=(*state.phases[:index], change(phase), *state.phases[index + 1 :]),
            )
    return state
