"""Plays a scenario: lock, steady state, baseline, method, heal, settle, final reads, rollbacks, verdict.

Whatever happens in between, also Ctrl-C, an abort and a bug, everything that was done is undone: the
faults are healed, the rollbacks played, the steady state looked at again and the lock given back.
What this process can no longer undo because it was killed, the dead-men on the hosts undo.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from failoverctl import runs
from failoverctl.conduct import Outcome, View, on_interrupt, owner, result_document
from failoverctl.config import Settings
from failoverctl.drill import gates, history, marks, phases, rows
from failoverctl.drill import verdict as verdicts
from failoverctl.drill.edges import Edges, Fault, Injected, InsideWriters, Prober, Recorder, Running, Targets
from failoverctl.drill.nested import Done
from failoverctl.drill.plan import (
    AGAIN,
    BASELINE,
    BASELINE_SLACK_SECONDS,
    DECIDE,
    HEAL,
    LOCK,
    OBSERVE,
    READ,
    STEADY,
    WHOLE,
    Planned,
    plan,
    title_of,
    unrolled,
)
from failoverctl.drill.result import Broken, Told, document
from failoverctl.drill.samples import read_samples
from failoverctl.drill.scenario import (
    CommandStep,
    FaultStep,
    HealStep,
    KillEachStep,
    Scenario,
    Step,
    WaitForStep,
    WaitStep,
    longest_of,
)
from failoverctl.drill.watch import Tail, Watcher
from failoverctl.drill.world import Condition, World, judge, resolve, unmet
from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.estate import Estate
from failoverctl.journal import (
    Act,
    Journal,
    Locked,
    Note,
    PhaseFinished,
    PhaseStarted,
    ProbeEvent,
    Record,
    Refused,
    RunFinished,
    RunStarted,
    RunState,
    apply,
)
from failoverctl.paths import runs_directory
from failoverctl.probe import History, ProbeError, ProbeFilesError, ProbeResult, TargetError, parse_target
from failoverctl.probe.checker import GOOD_RUN
from failoverctl.transcript import Verdict

#: The exit status that goes with each verdict of a drill. Unknown is no failure, and no pass either.
EXIT_CODES: Mapping[str, ExitCode] = {
    "pass": ExitCode.OK,
    "fail": ExitCode.FAILED,
    "unknown": ExitCode.DEGRADED,
    "refused": ExitCode.REFUSED,
    "locked": ExitCode.LOCKED,
    "interrupted": ExitCode.INTERRUPTED,
    "failed": ExitCode.FAILED,
}

#: A file of this name in the folder of the run ends the drill, as Ctrl-C does.
KILL_SWITCH = "abort"

#: The dead-man of a fault waits for so much longer than the fault is meant to last.
DEADMAN_SLACK_SECONDS = 30.0

_TICK_SECONDS = 0.1

#: What clients are told of is known only when it comes to its time-out, and is told twice a second.
_SHORTEST_LOOK_SECONDS = 3.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What the operator asked for. ``target`` is what to measure, without schema and run_id."""

    scenario: Scenario
    settings: Settings
    estate: Estate
    target: Mapping[str, Any] | None
    confirmed: str = ""
    number: int = 1
    of: int = 1


class _StopError(Exception):
    """The method is not played any further. ``kind`` is aborted, interrupted or impossible."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind
        self.reason = reason


def play(order: Order, edges: Edges, view: View, following: Callable[[str, RunState], Sequence[str]]) -> Outcome:
    """Play a scenario once, to its end whatever that is, and write its folder.

    :raises FailoverctlError: when the folder cannot be written: then nothing was done.
    """
    request = request_document(order, edges.faults)
    folder = runs.create(runs_directory(order.settings.state_directory.value), history.RUNBOOK, request)
    drill = _Drill(order, edges, folder, view)
    with on_interrupt(drill.interrupt):
        try:
            verdict = drill.run()
        except BaseException as error:
            known = isinstance(error, FailoverctlError)
            code = error.exit_code if isinstance(error, FailoverctlError) else ExitCode.BUG
            text = str(error) if known else f"a bug in failoverctl: {error!r}"
            drill.finish(Verdict("failed", code, text), following)
            raise
        return drill.finish(verdict, following)


def request_document(order: Order, faults: Mapping[str, Fault]) -> dict[str, Any]:
    """Return what request.json and the first record of the journal say about a drill."""
    import sys

    return {
        "playbook": None,
        "parameters": {"scenario": order.scenario.ident, "number": order.number, "of": order.of},
        "estate": order.estate.name,
        "inventory": list(order.settings.inventory.value),
        "check": False,
        "diff": False,
        "measured": order.target is not None,
        "owner": owner(),
        "phases": [{"phase": item.phase, "title": item.title} for item in plan(order.scenario, faults)],
        "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
    }


@dataclass
class _Made:
    """A fault that was made, and when it is to be undone; ``due`` is None until it is told."""

    ident: str
    title: str
    hosts: tuple[str, ...]
    injected: Injected
    due: float | None
    healed: bool = False
    fired: bool = False


@dataclass
class _Phase:
    """A phase under way; set ``failed`` when it did not bring what it should."""

    failed: bool = False


class _Drill:
    """The moving parts of one drill."""

    def __init__(self, order: Order, edges: Edges, folder: runs.RunFolder, view: View) -> None:
        self._order = order
        self._scenario = order.scenario
        self._edges = edges
        self._folder = folder
        self._view = view
        self._journal = Journal(folder.journal_path)
        self._state = RunState()
        self._told = Told()
        self._made: list[_Made] = []
        self._ahead: list[Step] = []
        self._counts: dict[str, int] = {}
        self._interrupts = 0
        self._undoing = False
        self._inside = False
        self._method_began: float | None = None
        self._served_at = edges.clock()
        self._touched = edges.clock()
        self._probe: Prober | None = None
        self._sampler: Recorder | None = None
        self._writers: InsideWriters | None = None
        self._targets: Targets | None = None
        self._watcher = Watcher(order.estate, edges.ask, folder.path / "world.jsonl")
        self._tail = Tail(folder.path / "probe" / "samples.jsonl")
        self._zero: float | None = None
        self._found: ProbeResult | None = None
        self._timeline = phases.Timeline()
        self._judgement: verdicts.Judgement | None = None

    def interrupt(self) -> None:
        """End the method and undo everything; the second time, wait for nothing. Called from a signal handler."""
        self._interrupts += 1

    def run(self) -> Verdict:
        """Play the scenario; return the verdict."""
        self._write(RunStarted(runbook=history.RUNBOOK, run_id=self._folder.run_id, request=self._folder.request()))
        # Before any host hears of it.
        found = gates.refusals(
            self._scenario,
            self._order.estate,
            self._edges.faults,
            lab=self._edges.in_lab(),
            confirmed=self._order.confirmed,
            today=datetime.now(UTC).date(),
        )
        if found:
            return self._refused(found)
        refused = self._lock()
        if refused is not None:
            return refused
        try:
            return self._locked()
        finally:
            if not self._edges.unlock(self._folder.run_id):
                self._write(Note(text="the estate lock could not be given back; it ends by itself"))

    def finish(self, verdict: Verdict, following: Callable[[str, RunState], Sequence[str]]) -> Outcome:
        """Write the end of the journal and result.json."""
        if verdict.reason and verdict.word != "pass":
            self._write(Note(text=verdict.reason))
        self._write(RunFinished(verdict=verdict.word, exit_code=int(verdict.exit_code)))
        self._journal.close()
        probe = self._found.as_dict() if self._found is not None else None
        result = result_document(self._state, verdict, probe, following(verdict.word, self._state))
        result["drill"] = self._document()
        runs.write_json(self._folder.path / "result.json", result)
        self._view.close(self._state)
        return Outcome(self._folder, result)

    # -- the phases -----------------------------------------------------------------------------

    def _lock(self) -> Verdict | None:
        """Take the lock; return the verdict when that cannot be."""
        with self._phase(LOCK) as phase:
            answer = self._edges.lock(self._folder.run_id, self._scenario.longest_seconds)
            if answer.acquired:
                return None
            phase.failed = True
        if answer.held is not None:
            self._write(Locked(lock=dict(answer.held)))
            who = answer.held.get("owner", "somebody")
            return Verdict("locked", EXIT_CODES["locked"], f"the estate lock is held by {who}")
        reason = gates.Refusal(
            "no_lock",
            "the estate lock cannot be taken",
            answer.error,
            "an agent that answers, and a majority of etcd members",
            "failoverctl status",
        )
        return self._refused([reason])

    def _locked(self) -> Verdict:
        with contextlib.ExitStack() as stack:
            self._targets = self._edges.targets()
            stack.callback(self._targets.close)
            not_steady = self._steady()
            if not_steady:
                return self._refused(not_steady)
            self._watcher.start()
            stack.callback(self._watcher.stop)
            return self._measured(stack)

    def _steady(self) -> list[gates.Refusal]:
        """Look at the agents; return why the drill may not start."""
        with self._phase(STEADY) as phase:
            health = self._watcher.look()
            self._told.began_primary = health.primary
            self._told.began_term = health.term
            # What clients see is known when the prober runs.
            asked = [item for item in self._scenario.steady_state if item.word not in _SAMPLED]
            broken = unmet(asked, self._world())
            if not broken:
                rows = self._compare_rows()
                if rows is not None and rows.same is not True:
                    broken.append(f"the same rows of the prober on every data host: {rows.observed}")
            phase.failed = bool(broken)
        return [
            gates.Refusal(
                "not_steady",
                f"the steady state does not hold: {text}",
                text.partition(": ")[2],
                text.partition(": ")[0],
                "failoverctl status; a drill on an estate that is not whole proves nothing.",
            )
            for text in broken
        ]

    def _measured(self, stack: contextlib.ExitStack) -> Verdict:
        """Measure, play, undo, judge."""
        try:
            refused = self._start_measuring(stack)
        except _StopError as stop:
            return Verdict("interrupted", EXIT_CODES["interrupted"], stop.reason)
        if refused:
            return self._refused(refused)
        try:
            self._play_method()
        finally:
            # Everything from here on is played whatever happened before.
            self._undo()
        with self._phase(DECIDE):
            return self._decide()

    def _start_measuring(self, stack: contextlib.ExitStack) -> list[gates.Refusal]:
        place = self._folder.path / "probe"
        place.mkdir(mode=0o700)
        if self._order.target is None:
            self._told.doubts.append("nothing was measured: the inventory has nothing to write to or to request")
            return []
        load = self._scenario.load
        values = {
            **self._order.target,
            "writers": load.writers,
            "rate_hz": load.rate_hz,
            "good_ms": load.good_ms,
            "timeout_ms": load.timeout_ms,
        }
        if not load.http and values.get("write") is not None:
            values["http"] = None
        try:
            probe = self._edges.probe(parse_target({"schema": 1, "run_id": self._folder.run_id, **values}), place)
            probe.start()
        except (TargetError, ProbeError) as error:
            return [gates.Refusal("not_measurable", f"the measurement cannot start: {error}")]
        self._probe = probe
        stack.callback(self._stop_probe)
        self._zero = _zero_of(place)
        self._write(ProbeEvent(event="started"))
        if self._targets is not None:
            self._sampler = self._edges.sampler(self._targets, self._folder.path / "samples.jsonl")
            self._sampler.start()
            stack.callback(self._stop_sampler)
            write = values.get("write")
            if load.direct and isinstance(write, Mapping):
                password = str(write["password"])
                self._writers = self._edges.writers(self._targets, self._folder.run_id, password)
                self._writers.start()
                stack.callback(self._writers.stop)
        with self._phase(BASELINE) as phase:
            calm = self._until(
                lambda: self._progress_steady() >= load.baseline_seconds, load.baseline_seconds + BASELINE_SLACK_SECONDS
            )
            broken = unmet(self._scenario.steady_state, self._world())
            phase.failed = not calm or bool(broken)
        if calm and not broken:
            return []
        if not calm:
            seen = f"served well for {self._progress_steady():.1f} s at a stretch"
            limit = f"{load.baseline_seconds:g} s"
            return [gates.Refusal("no_baseline", "clients are not served well before anything was broken", seen, limit)]
        return [gates.Refusal("not_steady", f"the steady state does not hold: {text}") for text in broken]

    def _play_method(self) -> None:
        self._method_began = self._edges.clock()
        self._served_at = self._method_began
        try:
            steps = list(unrolled(self._scenario.method))
            for position, step in enumerate(steps, start=1):
                self._ahead = steps[position:]
                self._play(step)
            with self._phase(OBSERVE) as phase:
                phase.failed = not self._observe()
        except _StopError as stop:
            self._stopped(stop)
        finally:
            self._look_before_healing()

    def _observe(self) -> bool:
        """Wait until what is expected has come about, clients are served and nothing is left to end by itself.

        What changes nothing at once may do so later, when a lease runs out: it is watched for a
        while, unless the move that is expected has come. Returns whether all of it came about.
        """
        began = self._edges.clock()
        expect = self._scenario.expect
        waits = bool(self._made) and expect.primary != "moves"
        linger = max(_SHORTEST_LOOK_SECONDS, self._scenario.linger_seconds if waits else 0.0)

        def done() -> bool:
            now = self._edges.clock()
            pending = any(made.due is not None and not made.healed for made in self._made)
            watched = now - began >= _SHORTEST_LOOK_SECONDS and now - self._touched >= linger
            if pending or expect.writes == "stopped" or not watched:
                return False
            return (expect.writes == "any" or self._is_served()) and self._has_come()

        return self._until(done, self._scenario.observe_seconds) or expect.writes == "stopped"

    def _has_come(self) -> bool:
        """Whether everything that the scenario expects before the healing has been seen."""
        world, expect = self._world(), self._scenario.expect
        moved = [host for host in world.primaries if host != world.began_primary]
        if expect.primary == "moves" and len(moved) != 1:
            return False
        grown = (world.term or 0) - (world.began_term or 0)
        if expect.terms is not None and grown < expect.terms[0]:
            return False
        return set(expect.problems) <= self._watcher.codes and not unmet(expect.holds, world)

    def _look_before_healing(self) -> None:
        """What the scenario demands of the estate while it is broken, seen once and late."""
        with contextlib.suppress(Exception):
            self._watcher.look()
        world = self._world()
        self._told.served = self._is_served()
        self._told.observed_primary = next(iter(world.primaries), "")
        self._told.unmet = unmet(self._scenario.expect.holds, world)

    def _undo(self) -> None:
        """Heal, settle, read, roll back, look again: each whatever became of the one before."""
        self._undoing = True
        try:
            with self._phase(HEAL) as phase:
                phase.failed = not self._heal_all()
                if (self._world().term or 0) > (self._told.began_term or 0):
                    self._acknowledge()
            healed = self._edges.clock()
            with self._phase(WHOLE) as phase:
                phase.failed = not self._settle(healed)
            with self._phase(READ) as phase:
                self._stop_probe()
                self._told.rows = self._compare_rows()
                phase.failed = self._told.rows is not None and self._told.rows.same is not True
        finally:
            self._roll_back()
            with self._phase(AGAIN) as phase:
                phase.failed = not self._look_again()
                if not phase.failed:
                    self._acknowledge()

    def _acknowledge(self) -> None:
        """What the drill made the estate do must not count in earnest: neither failovers (anti-flap), nor that replicas
        left the sync set and came again.
        """
        if self._made and not self._edges.acknowledge(self._folder.run_id):
            self._write(Note(text="this drill could not be acknowledged: what it made the estate do counts against it"))

    def _compare_rows(self) -> rows.Compared | None:
        """Whether all data hosts hold the same rows, those of earlier runs included; None where nobody writes any."""
        target = self._order.target
        if target is None or target.get("write") is None or self._targets is None:
            return None
        hosts = [host.name for host in self._order.estate.in_role("database")]
        return rows.read(self._said, hosts, clock=self._edges.clock, pause=self._edges.pause)

    def _said(self, host: str, argv: Sequence[str]) -> str:
        """What a command on a host printed; empty when it failed."""
        if self._targets is None:
            return ""
        try:
            return str(self._targets.run(host, argv, timeout_seconds=20.0).stdout)
        except FailoverctlError:
            return ""

    def _settle(self, healed: float) -> bool:
        """Wait until the steady state holds by a look that began after the healing."""

        def whole() -> bool:
            return (
                self._watcher.looked > healed
                and self._is_served()
                and not unmet(self._scenario.steady_state, self._world())
            )

        if self._until(whole, self._scenario.settle_seconds):
            self._told.whole_seconds = self._edges.clock() - healed
            return True
        world = self._world()
        self._told.not_whole = unmet(self._scenario.steady_state, world)
        if not self._is_served():
            self._told.not_whole.append("clients are not served steadily")
        return False

    def _roll_back(self) -> None:
        for step in unrolled(self._scenario.rollbacks):
            try:
                self._play(step)
            except (FailoverctlError, _StopError) as error:
                self._told.doubts.append(f"a rollback was not played to its end: {error}")
        if not self._heal_all():
            self._told.doubts.append("not everything could be undone")

    def _look_again(self) -> bool:
        try:
            health = self._watcher.look()
        except Exception as error:
            self._told.doubts.append(f"the estate could not be looked at again: {error}")
            return False
        self._told.ended_term = health.term
        asked = [item for item in self._scenario.steady_state if item.word not in _SAMPLED]
        broken = unmet(asked, replace(self._world(), samples={}))
        if broken and self._told.whole_seconds is not None:
            self._told.failures += [f"the steady state held and was lost again: {text}" for text in broken]
        return not broken

    # -- the steps ------------------------------------------------------------------------------

    def _play(self, step: Step) -> None:
        """Play one step. :raises _StopError: nothing more is to be played."""
        world = self._world()
        faults = self._edges.faults
        match step:
            case FaultStep():
                found = self._resolved(step, world)
                planned = Planned("Act", title_of(found, faults, found.hosts))
                with self._phase(planned):
                    self._inject(step, found, planned.title)
            case WaitStep():
                with self._phase(Planned("Act", title_of(step, faults, ()))):
                    self._until(lambda: False, step.seconds)
            case WaitForStep():
                with self._phase(Planned("Act", title_of(step, faults, ()))) as phase:
                    phase.failed = not self._wait_for(step)
            case CommandStep():
                words = [_with_hosts(word, world) for word in step.words]
                planned = Planned("Act", title_of(step, faults, (), words))
                with self._phase(planned) as phase:
                    phase.failed = not self._command(step, words, planned.title)
            case KillEachStep():
                words = [_with_hosts(word, world) for word in step.words]
                with self._phase(Planned("Act", title_of(step, faults, (), words))) as phase:
                    phase.failed = not self._kill_each(step)
            case HealStep():
                with self._phase(Planned("Act", title_of(step, faults, ()))) as phase:
                    chosen = [made for made in self._made if step.what in ("all", made.ident)]
                    phase.failed = not self._heal_each(chosen)

    def _resolved(self, step: FaultStep, world: World) -> FaultStep:
        """Return a fault with the names of hosts in place of what the scenario calls them."""

        def names(selectors: object) -> tuple[str, ...]:
            listed = selectors if isinstance(selectors, list | tuple) else [selectors]
            return tuple(dict.fromkeys(name for item in listed for name in resolve(str(item), world)))

        options = {key: names(value) if key in step.selecting else value for key, value in step.options.items()}
        return replace(step, hosts=names(step.hosts), options=options)

    def _inject(self, step: FaultStep, found: FaultStep, title: str) -> None:
        hosts = found.hosts
        options = dict(found.options)
        options |= {"hosts": hosts, "run_id": self._folder.run_id, "deadman_seconds": self._deadman_seconds(step)}
        try:
            if step.hosts and not hosts:
                raise FailoverctlError(f"there is no {' or '.join(step.hosts)} at the moment")
            injected = self._edges.faults[step.fault].inject(self._targets, options)
        except FailoverctlError as error:
            now = self._edges.clock()
            self._act("fault", step.ident, title, "failed", now, now, hosts, str(error))
            raise _StopError("impossible", f"{title}: {error}") from error
        hosts = hosts or tuple(options.get("from") or ())
        self._touched = injected.done
        due = None if step.seconds is None else injected.began + step.seconds
        self._made.append(_Made(step.ident, title, hosts, injected, due))
        self._act("fault", step.ident, title, "begun", injected.began, injected.done, hosts)

    def _deadman_seconds(self, step: FaultStep) -> float:
        """After how long a host undoes a fault by itself: a little later than this drill would at the latest."""
        if step.seconds is not None:
            return step.seconds + DEADMAN_SLACK_SECONDS
        seconds = DEADMAN_SLACK_SECONDS
        for following in self._ahead:
            if isinstance(following, HealStep) and following.what in ("all", step.ident):
                return seconds
            seconds += longest_of(following)
        return seconds + self._scenario.observe_seconds

    def _wait_for(self, step: WaitForStep) -> bool:
        if self._until(lambda: judge(step.condition, self._world()).holds, step.limit_seconds):
            return True
        observed = judge(step.condition, self._world()).observed
        self._told.failures.append(f"{step.condition.text}: not within {step.limit_seconds:g} s; {observed}")
        return False

    def _kill_each(self, step: KillEachStep) -> bool:
        """Kill a command at one entry of its journal after the other; return whether every killed run was finished."""
        deadline = self._edges.clock() + step.limit_seconds
        entry, failures = 1, len(self._told.failures)
        while True:
            then = step.then[(entry - 1) // step.every % len(step.then)]
            self._within(step.before, (CommandStep(step.words), CommandStep(then), *step.after))
            words = [_with_hosts(word, self._world()) for word in step.words]
            title = f"failoverctl {' '.join(words)}"
            ident, began = self._unique("command"), self._edges.clock()
            self._act("command", ident, title, "begun", began, began)
            running = self._edges.killed(words, entry, self._folder.run_id, self._folder.path / "commands")
            done = self._ended(running, max(1.0, deadline - self._edges.clock()))
            now = self._edges.clock()
            if done is None:
                return self._say_failed(ident, title, f"not over after {step.limit_seconds:g} s")
            if not done.killed:
                text = "" if done.exit_code == 0 else f"ended with {done.exit_code} when it was not killed"
                if text:
                    return self._say_failed(ident, title, text)
                self._act(
                    "command",
                    ident,
                    title,
                    "ended",
                    now,
                    now,
                    (),
                    f"it was killed {(entry - 1) // step.every} times before",
                )
                self._within(step.after)
                return len(self._told.failures) == failures
            where = f"{title}, killed at {done.killed_at!r}"
            self._act("command", ident, where, "killed", now, now)
            self._within((CommandStep(then),), step.after)
            self._within(step.after)
            if len(self._told.failures) > failures:
                # What the next run finds is no longer what it is to be tried on.
                self._told.failures.append(f"{where}: what came after it is not as it should be")
                return False
            entry += step.every

    def _within(self, steps: Sequence[Step], following: Sequence[Step] = ()) -> None:
        """Play steps as part of the one that is played; ``following`` are played after them."""
        ahead, self._inside = self._ahead, True
        try:
            listed = list(unrolled(steps))
            for position, step in enumerate(listed, start=1):
                self._ahead = [*listed[position:], *following, *ahead]
                self._play(step)
        finally:
            self._ahead, self._inside = ahead, False

    def _say_failed(self, ident: str, title: str, text: str) -> bool:
        now = self._edges.clock()
        self._act("command", ident, title, "failed", now, now, (), text)
        self._told.failures.append(f"{title}: {text}")
        return False

    def _ended(self, running: Running, limit_seconds: float) -> Done | None:
        """Wait until a command has ended and return how; None when it had to be killed after the limit."""
        ended: list[Done] = []

        def over() -> bool:
            done = running.poll()
            ended.extend([done] if done is not None else [])
            return bool(ended)

        try:
            self._until(over, limit_seconds)
        except _StopError:
            running.interrupt()
            deadline = self._edges.clock() + 60.0
            while not over() and self._edges.clock() < deadline and self._interrupts < 2:
                self._edges.pause(_TICK_SECONDS)
            raise
        finally:
            if not ended:
                running.kill()
        return ended[0] if ended else None

    def _command(self, step: CommandStep, words: Sequence[str], title: str) -> bool:
        began = self._edges.clock()
        ident = self._unique("command")
        self._act("command", ident, title, "begun", began, began)
        running = self._edges.command(step, words, self._folder.run_id, self._folder.path / "commands")
        text = self._complaint(step, self._ended(running, step.limit_seconds))
        event = "failed" if text else "ended"
        self._act("command", ident, title, event, self._edges.clock(), self._edges.clock(), (), text)
        if text:
            self._told.failures.append(f"{title}: {text}")
        return not text

    def _complaint(self, step: CommandStep, done: Done | None) -> str:
        """Return how a command ended otherwise than it should; empty when it did not."""
        if done is None:
            return f"not over after {step.limit_seconds:g} s"
        if step.kill_at:
            return "" if done.killed else f"ended with {done.exit_code} before {step.kill_at} was reached"
        if done.exit_code not in step.expect_exit:
            wanted = " or ".join(map(str, step.expect_exit))
            last = [line for line in done.output.splitlines() if line.strip()][-1:]
            return f"ended with {done.exit_code}, not {wanted}" + (f" ({last[0].strip()[:200]})" if last else "")
        missing = set(step.expect_codes) - done.codes
        if missing:
            return f"did not name {', '.join(sorted(missing))}, but {', '.join(sorted(done.codes)) or 'nothing'}"
        return ""

    def _heal_all(self) -> bool:
        return self._heal_each(self._made)

    def _heal_each(self, chosen: Sequence[_Made]) -> bool:
        """Undo faults, the last one first, each whatever became of the others; return whether all are undone."""
        healed = [self._heal(made) for made in reversed(chosen)]
        return all(healed)

    def _heal(self, made: _Made) -> bool:
        """Undo one fault; return whether it is undone."""
        if made.healed:
            return True
        began = self._edges.clock()
        try:
            with contextlib.suppress(FailoverctlError):
                made.fired = made.fired or made.injected.fired()
            made.injected.revert()
            # A host that could not be reached tells only now.
            made.fired = made.fired or made.injected.fired()
        except Exception as error:  # The other faults have to be undone too, whatever this one came across.
            self._act("heal", made.ident, made.title, "failed", began, self._edges.clock(), made.hosts, str(error))
            self._told.doubts.append(f"{made.title}: could not be undone: {error}")
            made.due = None
            return False
        made.healed = True
        self._touched = self._edges.clock()
        if made.fired:
            self._told.doubts.append(f"{made.title}: undone by its dead-man on the host, and not when it should be")
        self._act("heal", made.ident, made.title, "healed", began, self._edges.clock(), made.hosts)
        return True

    # -- looking and waiting --------------------------------------------------------------------

    def _until(self, condition: Callable[[], bool], limit_seconds: float) -> bool:
        """Wait until a condition holds; return whether it came about within the limit.

        Faults that are due are healed meanwhile. While the method is played an abort condition or an
        interrupt ends it; afterwards only a second interrupt ends a wait.
        """
        deadline = self._edges.clock() + limit_seconds
        while True:
            self._tick()
            if condition():
                return True
            if self._edges.clock() >= deadline or (self._undoing and self._interrupts > 1):
                return False
            self._edges.pause(_TICK_SECONDS)

    def _tick(self) -> None:
        now = self._edges.clock()
        if self._progress_steady() > 0 or self._probe is None:
            self._served_at = now
        for made in self._made:
            if made.due is not None and now >= made.due and not made.healed:
                self._heal(made)
        self._view.tick(self._state, self._journal.seconds)
        if self._undoing:
            return
        if self._interrupts:
            raise _StopError("interrupted", "interrupted by the operator")
        if (self._folder.path / KILL_SWITCH).exists():
            raise _StopError("interrupted", f"the file {KILL_SWITCH} is in the folder of the run")
        if self._method_began is not None:
            world = self._world()
            for condition in self._scenario.abort_when:
                answer = judge(condition, world)
                if answer.holds:
                    raise _StopError("aborted", condition.text)

    def _stopped(self, stop: _StopError) -> None:
        if stop.kind == "interrupted":
            self._told.interrupted = stop.reason
        elif stop.kind == "aborted":
            self._told.aborted = stop.reason
        else:
            self._told.doubts.append(stop.reason)
        self._write(Note(text=f"{stop.reason}: everything is undone now"))

    def _world(self) -> World:
        now = self._edges.clock()
        return World(
            estate=self._order.estate,
            began_primary=self._told.began_primary,
            began_term=self._told.began_term,
            health=self._watcher.health,
            samples=self._tail.read() if self._zero is not None else {},
            now=now - (self._zero or 0.0),
            steady_seconds=self._progress_steady(),
            paused_seconds=max(0.0, now - self._served_at),
            elapsed_seconds=now - self._method_began if self._method_began is not None else 0.0,
        )

    def _progress_steady(self) -> float:
        progress = self._probe.progress if self._probe is not None else None
        if progress is None or self._zero is None:
            return 0.0
        old = self._edges.clock() - self._zero - progress.t > 2.0
        return 0.0 if old else progress.steady_seconds

    def _is_served(self) -> bool:
        """Whether 20 operations of each client in a row were good, and one host is primary and holds the address."""
        if self._probe is None:
            return True
        steady = self._progress_steady() >= GOOD_RUN / self._scenario.load.rate_hz
        return steady and not unmet(_SERVED, self._world())

    # -- the end --------------------------------------------------------------------------------

    def _stop_probe(self) -> None:
        """Stop whoever writes, and wait for the final read of the rows."""
        if self._writers is not None:
            self._writers.stop()
        if self._probe is not None and self._state.probe == "started":
            try:
                self._probe.stop()
            finally:
                self._write(ProbeEvent(event="stopped"))

    def _stop_sampler(self) -> None:
        if self._sampler is not None:
            self._sampler.stop()
            self._sampler = None

    def _refused(self, found: Sequence[gates.Refusal]) -> Verdict:
        self._write(Refused(refusals=tuple(refusal.as_dict() for refusal in found)))
        text = "; ".join(refusal.message for refusal in found)
        return Verdict("refused", EXIT_CODES["refused"], text)

    def _decide(self) -> Verdict:
        self._stop_sampler()
        outside, sampled = self._analyse() if self._probe is not None else ([], None)
        told = self._told
        findings = verdicts.Findings(
            probe=self._found,
            timeline=self._timeline,
            began_primary=told.began_primary,
            began_term=told.began_term,
            observed_primary=told.observed_primary,
            ended_term=told.ended_term,
            served=told.served,
            unmet=told.unmet,
            problems_seen=self._watcher.codes,
            whole_seconds=told.whole_seconds,
            not_whole=told.not_whole,
            failures=told.failures,
            doubts=told.doubts,
            aborted=told.aborted,
            outside=outside,
            sampled=sampled,
            rows=told.rows,
        )
        self._judgement = verdicts.decide(self._scenario, findings)
        if told.interrupted:
            return Verdict("interrupted", EXIT_CODES["interrupted"], told.interrupted)
        word = self._judgement.word
        return Verdict(word, EXIT_CODES[word], "; ".join(self._judgement.reasons))

    def _analyse(self) -> tuple[list[str], verdicts.Sampled | None]:
        """Judge what was recorded; return proofs that the probe does not have, and what the samples say."""
        from failoverctl.probe.checker import check, find_two_holders, find_two_writers

        place = self._folder.path / "probe"
        try:
            recorded = self._edges.load(place)
            if self._writers is not None:
                self._writers.write(place, recorded.meta)
                recorded = self._edges.load(place)
        except ProbeFilesError as error:
            self._told.doubts.append(f"what the prober left cannot be read: {error}")
            return [], None
        zero = recorded.meta.monotonic_zero
        inside = read_samples(self._folder.path / "samples.jsonl", zero)
        promised = self._order.estate.objectives
        limits = verdicts.objectives(
            self._scenario, _seconds(promised.get("rto_seconds")), _seconds(promised.get("rpo_seconds"))
        )
        self._found = check(recorded, limits, broken_at=self._method_began)
        seen = replace(recorded, samples=inside) if inside else recorded
        self._timeline = phases.measure(seen, self._state.acts, self._marks(recorded))
        proofs, doubts, notes = find_two_writers(recorded.ops, seen.samples)
        if not self._order.estate.with_database:
            proofs = (*proofs, *find_two_holders(seen.samples))
        self._told.doubts += doubts
        hosts = sorted({sample.host for sample in seen.samples})
        known = {*self._found.reasons}
        return [text for text in proofs if text not in known], verdicts.Sampled(
            tuple(hosts), len(seen.samples), proofs, notes
        )

    def _marks(self, recorded: History) -> tuple[phases.Mark, ...]:
        """What the agents logged meanwhile, in the prober's time."""
        targets = self._targets
        if targets is None:
            return ()
        lab = bool(targets.lab)
        ahead = {} if lab else dict(self._edges.ahead())
        offset = time.time() - time.monotonic()
        zero = recorded.meta.monotonic_zero
        hosts = [host.name for host in self._order.estate.in_role("database") if lab or host.name in ahead]

        return marks.read(
            self._said,
            hosts,
            zero + offset - 5.0,
            lambda host, epoch: epoch - ahead.get(host, (0.0, 0.0))[0] - offset - zero,
            {host: found[1] for host, found in ahead.items()},
        )

    def _document(self) -> dict[str, Any]:
        """Return what result.json has under ``drill``."""
        order = self._order
        earlier = history.read(
            runs_directory(order.settings.state_directory.value),
            estate=order.estate.name,
            scenario=order.scenario.ident,
            before=self._folder.run_id,
        )
        return document(
            order.scenario,
            environment=order.estate.environment,
            number=(order.number, order.of),
            told=self._told,
            problems=self._watcher.codes,
            judgement=self._judgement,
            timeline=self._timeline,
            faults=[Broken(made.ident, made.title, made.hosts, made.healed, made.fired) for made in self._made],
            earlier=earlier,
        )

    # -- the journal ----------------------------------------------------------------------------

    @contextmanager
    def _phase(self, planned: Planned) -> Iterator[_Phase]:
        if self._inside:
            yield _Phase()
            return
        self._write(PhaseStarted(phase=planned.phase, title=planned.title))
        began = self._edges.clock()
        phase = _Phase()
        try:
            yield phase
        except BaseException:
            phase.failed = True
            raise
        finally:
            outcome = "failed" if phase.failed else "ok"
            seconds = round(self._edges.clock() - began, 3)
            self._write(PhaseFinished(phase=planned.phase, title=planned.title, outcome=outcome, seconds=seconds))

    def _act(
        self,
        what: str,
        ident: str,
        title: str,
        event: str,
        clock: float,
        done: float,
        hosts: tuple[str, ...] = (),
        detail: str = "",
    ) -> None:
        self._write(
            Act(what=what, ident=ident, title=title, event=event, clock=clock, done=done, hosts=hosts, detail=detail)
        )

    def _unique(self, ident: str) -> str:
        self._counts[ident] = self._counts.get(ident, 0) + 1
        return f"{ident}-{self._counts[ident]}"

    def _write(self, record: Record) -> None:
        written = self._journal.write(record)
        before, self._state = self._state, apply(self._state, written)
        self._view.show(before, written, self._state)


#: What must hold, besides good operations, before clients count as served.
_SERVED = (Condition("one_primary"), Condition("vip_on_primary"))

#: Conditions that only the prober answers.
_SAMPLED = frozenset({"clients_served", "clients_paused", "writes_paused_seconds", "elapsed_seconds"})


def _with_hosts(word: str, world: World) -> str:
    """Return a word of a command with the names of hosts in place of their selectors."""
    for selector in ("primary", "old_primary", "replica", "witness"):
        mark = "{" + selector + "}"
        if mark in word:
            word = word.replace(mark, next(iter(resolve(selector, world)), ""))
    return word


def _zero_of(folder: Path) -> float | None:
    """The zero of the prober's plan on CLOCK_MONOTONIC, from its meta.json; None when it is not there."""
    try:
        return float(json.loads((folder / "meta.json").read_text(encoding="utf-8"))["monotonic_zero"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _seconds(value: object) -> float | None:
    return float(value) if isinstance(value, int | float) else None
