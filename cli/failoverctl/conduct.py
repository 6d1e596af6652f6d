"""Conducts one run: its folder, its playbooks, its measurement, its interruption, its result.

The commands say what is to be run and how it is shown; what is safe, the collection decides.
"""

from __future__ import annotations

import getpass
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

from failoverctl import runs, world
from failoverctl.config import Settings
from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.estate import Estate, inventory_sha256
from failoverctl.health import HostReport, unreached
from failoverctl.journal import (
    Facts,
    Journal,
    Note,
    ProbeEvent,
    Problems,
    Record,
    RunFinished,
    RunStarted,
    RunState,
    apply,
)
from failoverctl.paths import runs_directory
from failoverctl.runbooks import CATALOGUE, Danger, Runbook, phases
from failoverctl.runner import Ended, Output, Request, Run, Tick
from failoverctl.transcript import EXIT_CODES, Transcript, Verdict

#: How long the estate must look undisturbed after a runbook before the measurement ends.
STEADY_SECONDS = 2.0

#: How long to wait for that. What is still disturbed then is part of the result.
SETTLE_TIMEOUT_SECONDS = 20.0


#: Set for commands that a drill runs: the run whose lock they share. They measure nothing themselves.
WITHIN = "FAILOVERCTL_WITHIN_RUN"


class View(Protocol):
    """Shows a run while it goes on. Everything it may show is in the state."""

    def show(self, before: RunState, record: Record, after: RunState) -> None:
        """Show what one more record changed."""

    def tick(self, state: RunState, seconds: float) -> None:
        """Show that time passed; `seconds` is the age of the run."""

    def raw(self, text: str) -> None:
        """Show what ansible-playbook printed, for those who asked for it."""

    def close(self, state: RunState) -> None:
        """Show the end and leave the terminal as it was found."""


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the operator asked for.

    ``locate`` adds file and line to a problem of the inventory; ``problems`` are those that were
    found before, without asking a host: a run that has any is invalid. ``seen`` is what the agents
    told before the run; ``resumes`` is the run that this one finishes or undoes.
    """

    runbook: Runbook
    settings: Settings
    estate: Estate
    parameters: Mapping[str, Any] = field(default_factory=dict)
    check: bool = False
    diff: bool = False
    verbosity: int = 0
    locate: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict
    problems: Sequence[Mapping[str, Any]] = ()
    seen: Sequence[HostReport] = ()
    resumes: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of it: the folder, and the document that result.json holds."""

    folder: runs.RunFolder
    result: Mapping[str, Any]

    @property
    def exit_code(self) -> ExitCode:
        """The exit status of the process."""
        return ExitCode(self.result["exit_code"])


def conduct(
    order: Order,
    view: View,
    following: Callable[[str, RunState], Sequence[str]],
    *,
    target: Mapping[str, Any] | None = None,
    baseline_seconds: float = 0.0,
) -> Outcome:
    """Run a runbook to its end, whatever that is, and write its folder.

    :param following: returns the commands worth typing next, for a verdict.
    :param target: what to measure (target.json of the prober, without schema and run_id), or None.
    :param baseline_seconds: how long to measure before the runbook begins.
    :raises FailoverctlError: when the run cannot begin: then nothing was done on any host.
    """
    target = None if os.environ.get(WITHIN) else target
    folder = runs.create(
        runs_directory(order.settings.state_directory.value),
        order.runbook.name,
        request_document(order, measured=target is not None),
    )
    conductor = _Conductor(order, folder, view)
    with on_interrupt(conductor.interrupt):
        try:
            verdict, probe = conductor.run(target, baseline_seconds)
        except BaseException as error:
            known = isinstance(error, FailoverctlError)
            code = error.exit_code if isinstance(error, FailoverctlError) else ExitCode.BUG
            text = str(error) if known else f"a bug in failoverctl: {error!r}"
            conductor.finish(Verdict("failed", code, text), None, following)
            raise
        return conductor.finish(verdict, probe, following)


def request_document(order: Order, *, measured: bool) -> dict[str, Any]:
    """Return what request.json and the first record of the journal say about an order."""
    return {
        "playbook": order.runbook.playbook,
        "parameters": dict(order.parameters),
        "estate": order.estate.name,
        "inventory": list(order.settings.inventory.value),
        "inventory_sha256": inventory_sha256(order.settings),
        "check": order.check,
        "diff": order.diff,
        "measured": measured,
        "owner": owner(),
        "resumes": order.resumes or None,
        "phases": [{"phase": phase.phase, "title": phase.title} for phase in phases(order.runbook)],
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


def owner() -> str:
    """Return who runs this, as ``user@host``, for the lock and the journal."""
    return f"{getpass.getuser()}@{socket.gethostname()}"


def ask_by_playbook(settings: Settings, estate: Estate) -> tuple[HostReport, ...]:
    """Return what each data host answers to the playbook ``hosting.failover.status``.

    It is the slow way, for hosts that :mod:`failoverctl.estate_query` cannot ask.
    """
    import tempfile

    reports: dict[str, HostReport] = {}
    with tempfile.TemporaryDirectory(prefix="failoverctl-") as temporary:
        request = Request(
            playbook=CATALOGUE["status"].playbook,
            inventory=settings.inventory.value,
            folder=Path(temporary),
            ident="status",
            directory=settings.root,
            vault_ids=settings.vault_ids.value,
        )
        transcript = Transcript(time.monotonic)
        for event in Run(request):
            for _ in transcript.feed(event):
                pass
        for result in transcript.results():
            host = str(result["failoverctl_host"])
            if isinstance(result.get("estate"), dict):
                reports[host] = HostReport(host, status=result["estate"])
            elif result.get("unreachable") is True:
                error = str(result.get("msg", "no answer"))
                reports[host] = HostReport(host, error=error, reached=False)
            elif "available" in result:
                reports.setdefault(host, HostReport(host, error=str(result.get("reason", ""))))
    missing = "the playbook told nothing of it"
    return tuple(
        reports.get(host.name, HostReport(host.name, error=missing, reached=False))
        for host in estate.in_role("database")
    )


class _Conductor:
    """The moving parts of one run."""

    def __init__(self, order: Order, folder: runs.RunFolder, view: View) -> None:
        self._order = order
        self._folder = folder
        self._view = view
        self._journal = Journal(folder.journal_path)
        self._state = RunState()
        self._run: Run | None = None
        self._interrupts = 0

    def interrupt(self) -> None:
        """Stop after the current task; the second time, now. Called from a signal handler."""
        self._interrupts += 1
        run = self._run
        if run is None:
            return
        if self._interrupts == 1:
            run.stop()
        else:
            run.kill()

    def run(
        self, target: Mapping[str, Any] | None, baseline_seconds: float
    ) -> tuple[Verdict, Mapping[str, Any] | None]:
        """Run the playbook, measured or not; return the verdict and what the probe found."""
        request = self._folder.request()
        self._write(RunStarted(runbook=self._order.runbook.name, run_id=self._folder.run_id, request=request))
        for report in self._order.seen:
            if report.status is not None:
                self._write(Facts(host=report.host, facts=world.facts(report.status)))
        if self._order.problems:
            self._write(Problems(problems=tuple(self._order.problems)))
        if target is None:
            return self._playbook(), None
        return self._measured(target, baseline_seconds)

    def finish(
        self,
        verdict: Verdict,
        probe: Mapping[str, Any] | None,
        following: Callable[[str, RunState], Sequence[str]],
    ) -> Outcome:
        """Write the end of the journal, result.json and the report."""
        verdict = with_probe(verdict, probe)
        if verdict.reason and verdict.word != "ok":
            self._write(Note(text=verdict.reason))
        self._write(RunFinished(verdict=verdict.word, exit_code=int(verdict.exit_code)))
        self._journal.close()
        result = result_document(self._state, verdict, probe, following(verdict.word, self._state))
        runs.write_json(self._folder.path / "result.json", result)
        self._view.close(self._state)
        return Outcome(self._folder, result)

    def _playbook(self) -> Verdict:
        order = self._order
        if self._interrupts:
            return Verdict("interrupted", ExitCode.INTERRUPTED, "before anything was done")
        request = Request(
            playbook=order.runbook.playbook,
            inventory=order.settings.inventory.value,
            folder=self._folder.path / "ansible",
            ident=order.runbook.name,
            directory=order.settings.root,
            variables={**_identity(self._folder.run_id), **_known(order), **order.parameters},
            vault_ids=order.settings.vault_ids.value,
            check=order.check,
            diff=order.diff,
            verbosity=max(0, order.verbosity - 1),
            journal=self._folder.journal_path,
            journal_zero=self._journal.zero,
        )
        request.folder.mkdir(mode=0o700)
        transcript = Transcript(time.monotonic, check=order.check, diff=order.diff)
        self._run = Run(request)
        told = 0
        ended = Ended(return_code=1, stopped=False, killed=False)
        for event in self._run:
            for record in transcript.feed(event):
                self._write(record)
            if told < self._interrupts:
                told = self._interrupts
                self._write(Note(text=_INTERRUPT_NOTES[min(told, 2) - 1]))
            if isinstance(event, Tick):
                self._view.tick(self._state, self._journal.seconds)
            elif isinstance(event, Output) and event.level == "raw":
                self._view.raw(event.text)
            elif isinstance(event, Ended):
                ended = event
        self._run = None
        if ended.return_code != 0 and not ended.killed and order.runbook.danger is not Danger.NONE:
            self._give_lock_back()
        for record in transcript.closing(ended):
            if isinstance(record, Problems):
                record = Problems(problems=tuple(map(order.locate, record.problems)))
            self._write(record)
        verdict = transcript.verdict(ended)
        if order.problems and verdict.word in ("ok", "failed", "unreachable"):
            return Verdict("invalid", ExitCode.USAGE, f"{len(self._state.problems)} problems")
        return verdict

    def _give_lock_back(self) -> None:
        """A run that was stopped or failed half-way may have kept its lock, and the next one waits.

        Not after a kill: what was killed may still be at work on a host, and the lock says so until
        it ends by itself.
        """
        from failoverctl.estate_query import release_lock

        if os.environ.get(WITHIN):
            return
        order = self._order
        if release_lock(order.settings, order.estate, self._folder.run_id, unreached(order.seen)):
            self._write(Note(text="the estate lock of this run was given back"))

    def _measured(self, values: Mapping[str, Any], baseline_seconds: float) -> tuple[Verdict, Mapping[str, Any] | None]:
        from failoverctl.probe import (
            BROKEN_BEFORE,
            Objectives,
            Probe,
            ProbeError,
            ProbeFilesError,
            TargetError,
            analyse,
            parse_target,
        )

        place = self._folder.path / "probe"
        place.mkdir(mode=0o700)
        try:
            target = parse_target({"schema": 1, "run_id": self._folder.run_id, **values})
            probe = Probe(target, place)
            probe.start()
        except (TargetError, ProbeError) as error:
            text = f"the measurement cannot start: {error}"
            self._write(Note(text=text))
            return Verdict("failed", ExitCode.FAILED, text), None
        self._write(ProbeEvent(event="started"))
        locked = False
        try:
            calm = self._until_steady(probe, baseline_seconds, baseline_seconds + 10.0)
            if not calm and not self._interrupts:
                self._write(Note(text="clients are not served well before the runbook begins"))
            began = time.monotonic()
            verdict = self._playbook()
            locked = verdict.word == "locked"
            if not self._interrupts and not locked:
                self._until_steady(probe, STEADY_SECONDS, SETTLE_TIMEOUT_SECONDS)
        finally:
            probe.stop(final_read=not locked)
        self._write(ProbeEvent(event="stopped"))
        if locked:
            # What clients saw is the doing of the run that holds the lock, and no word about this one.
            return verdict, None
        promised = self._order.estate.objectives
        unplanned = self._order.runbook.unplanned
        unasked = BROKEN_BEFORE if unplanned else None
        try:
            found = analyse(
                place,
                Objectives(
                    rto_seconds=_seconds(promised.get("rto_seconds")),
                    rpo_seconds=_seconds(promised.get("rpo_seconds")),
                    # A host that is off resets no connection.
                    hung_allowed=unplanned,
                ),
                broken_at=began if baseline_seconds else unasked,
            )
        except ProbeFilesError as error:
            return verdict, {
                "verdict": "unknown",
                "writes": None,
                "http": None,
                "reasons": [f"what the prober left cannot be read: {error}"],
            }
        return verdict, found.as_dict()

    def _until_steady(self, probe: Any, seconds: float, timeout_seconds: float) -> bool:
        """Wait until clients were served well for so long; an interrupt or the limit ends it."""
        deadline = time.monotonic() + timeout_seconds
        while time.monotonic() < deadline and not self._interrupts:
            if probe.wait_steady(seconds, timeout_seconds=0.25):
                return True
            self._view.tick(self._state, self._journal.seconds)
        return False

    def _write(self, record: Record) -> None:
        written = self._journal.write(record)
        before, self._state = self._state, apply(self._state, written)
        self._view.show(before, written, self._state)


def _identity(run_id: str) -> dict[str, Any]:
    """Return the variables that say who runs this; within a drill, its lock is shared and kept."""
    within = os.environ.get(WITHIN, "")
    found: dict[str, Any] = {"failover_run_id": within or run_id, "failover_owner": owner()}
    return {**found, "failover_lock_kept": True} if within else found


def _known(order: Order) -> dict[str, Any]:
    """Return the variable that names the hosts which nobody has to wait for once more.

    Where no agent answered, all are asked again: the runbook then says what is wrong.
    """
    hosts = unreached(order.seen)
    answered = any(report.status is not None for report in order.seen)
    if not hosts or not answered or "failover_unreached" not in order.runbook.parameters:
        return {}
    return {"failover_unreached": hosts}


_INTERRUPT_NOTES = (
    "interrupted: the current task is let finish; Ctrl-C again to kill",
    "interrupted again: killing ansible-playbook",
)


def with_probe(verdict: Verdict, probe: Mapping[str, Any] | None) -> Verdict:
    """Return the verdict of a run whose runbook ended with `verdict` and was measured so.

    The measurement decides only about a runbook that went well; unknown is never a pass.
    """
    if probe is None or verdict.word != "ok":
        return verdict
    word = str(probe.get("verdict", "unknown"))
    reasons = "; ".join(str(reason) for reason in probe.get("reasons") or ())
    return Verdict(word, EXIT_CODES.get(word, ExitCode.FAILED), reasons if word != "pass" else "")


def result_document(
    state: RunState,
    verdict: Verdict,
    probe: Mapping[str, Any] | None,
    following: Sequence[str],
) -> dict[str, Any]:
    """Return what result.json holds; the keys do not depend on what happened."""
    return {
        "schema": runs.SCHEMA,
        "run_id": state.run_id,
        "runbook": state.runbook,
        "estate": state.request.get("estate"),
        "check": bool(state.request.get("check")),
        "started_at": state.started_at,
        "finished_at": state.finished_at,
        "seconds": state.seconds,
        "verdict": verdict.word,
        "exit_code": int(verdict.exit_code),
        "reason": verdict.reason or None,
        "changed": state.changed,
        "steps": [
            {
                "phase": phase.phase,
                "title": phase.title,
                "outcome": "failed" if phase.outcome == "running" else phase.outcome,
                "seconds": phase.seconds,
            }
            for phase in state.phases
        ],
        "failures": [
            {"host": task.host, "task": task.title, "outcome": task.outcome, "message": task.message}
            for task in state.failures
        ],
        "refusals": list(state.refusals),
        "problems": list(state.problems),
        "lock": state.lock,
        "probe": probe,
        "switchover": state.switchover,
        **{module: state.answers.get(module) for module in ("failover", "rejoin", "automation")},
        "drill": None,
        "next": list(following),
    }


@contextmanager
def on_interrupt(interrupt: Callable[[], None]) -> Iterator[None]:
    """Call `interrupt` for Ctrl-C, for SIGTERM, and for a terminal that went away."""

    def handle(number: int, frame: FrameType | None) -> None:
        del number, frame
        interrupt()

    # What the parent ignores stays ignored: SIGHUP under nohup, SIGINT of a shell's background job.
    before = {
        number: signal.signal(number, handle)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None


def require_terminal(what: str, flag: str) -> None:
    """Refuse to ask when nobody can answer.

    :param what: what would be asked for.
    :param flag: the flag that answers it.
    :raises FailoverctlError: without a terminal on standard input.
    """
    if not sys.stdin.isatty():
        raise FailoverctlError(
            f"{what} needs an answer, and standard input is no terminal.",
            fix=f"add {flag} to answer yes.",
            exit_code=ExitCode.USAGE,
        )
