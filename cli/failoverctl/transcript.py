"""From what ansible-playbook did to what the journal says about it, and to the verdict.

Pure: events of `failoverctl.runner` in, records of `failoverctl.journal` out. The knowledge of
the collection that lives here is how its plays are named (``Phase: Sentence``) and the keys by
which its modules say that they refused.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from difflib import unified_diff
from typing import Any

from failoverctl import journal, runner, world
from failoverctl.errors import ExitCode

#: The modules whose whole result is worth keeping, and with which results something happened.
ANSWERS: dict[str, frozenset[str]] = {
    "hosting.failover.switchover": frozenset({"switched", "undone", "failed"}),
    "hosting.failover.failover": frozenset({"promoted", "failed"}),
    "hosting.failover.rejoin": frozenset({"attached", "flashed_back", "recloned", "failed"}),
    "hosting.failover.automation": frozenset(),
}


@dataclass(frozen=True)
class Verdict:
    """How a run ended: the word for result.json, the exit status, and why in one sentence."""

    word: str
    exit_code: ExitCode
    reason: str = ""


#: The exit status that goes with each verdict.
EXIT_CODES: dict[str, ExitCode] = {
    "ok": ExitCode.OK,
    "pass": ExitCode.OK,
    "fail": ExitCode.FAILED,
    "unknown": ExitCode.FAILED,
    "failed": ExitCode.FAILED,
    "refused": ExitCode.REFUSED,
    "locked": ExitCode.LOCKED,
    "unreachable": ExitCode.UNREACHABLE,
    "invalid": ExitCode.USAGE,
    "interrupted": ExitCode.INTERRUPTED,
}


#: What only leads to other tasks, and is no work on a host by itself.
STEERING = frozenset({"ansible.builtin.include_role", "ansible.builtin.include_tasks"})


def split_name(play: str) -> tuple[str, str]:
    """Return phase and sentence of a play's name; a play of no known phase is an Act."""
    phase, colon, title = play.partition(":")
    if colon and phase.strip() in journal.PHASES:
        return phase.strip(), title.strip()
    return "Act", play.strip()


class Transcript:
    """Follows one ansible-playbook. Feed it every event, then ask for the :meth:`verdict`."""

    def __init__(self, clock: Callable[[], float], *, check: bool = False, diff: bool = False) -> None:
        """Begin with no play.

        :param clock: monotonic seconds, for how long phases take.
        :param check: the playbook runs in check mode and changes nothing, whatever its tasks say.
        :param diff: keep what tasks changed; some modules tell it unasked.
        """
        self._clock = clock
        self._diff = diff
        self._check = check
        self._play: tuple[str, str] | None = None
        self._play_began = 0.0
        self._outcomes: dict[str, str] = {}
        self._worked = False
        self._acted = False
        self._ended_badly = False
        self._answers = _Answers()
        self._recap: runner.Recap | None = None
        self._errors: list[str] = []
        self._causes: list[tuple[str, str, str]] = []
        self._results: list[Mapping[str, Any]] = []

    def feed(self, event: runner.Event) -> Iterator[journal.Record]:
        """Yield the records that one event stands for, without time stamps."""
        match event:
            case runner.PlayStarted():
                yield from self._close_play()
                self._play = split_name(event.name)
                self._play_began = self._clock()
                yield journal.PhaseStarted(phase=self._play[0], title=self._play[1])
            case runner.TaskStarted():
                phase, _ = self._play or ("Act", "")
                yield journal.TaskStarted(phase=phase, title=event.name)
            case runner.TaskEnded():
                yield from self._task(event)
            case runner.Recap():
                self._recap = event
            case runner.Output(level="error"):
                self._errors.append(event.text)
            case runner.Ended():
                self._ended_badly = event.return_code != 0
                yield from self._close_play()

    def results(self) -> tuple[Mapping[str, Any], ...]:
        """Return what every module returned, with its host under the key ``failoverctl_host``."""
        return tuple(self._results)

    def verdict(self, ended: runner.Ended) -> Verdict:
        """Return how the playbook ended. What was refused counts only if the playbook failed."""
        if ended.return_code == 0:
            return Verdict("ok", ExitCode.OK)
        word, reason = self._judge(ended)
        timed_out = word == "failed" and self._answers.timed_out
        return Verdict(word, ExitCode.TIMED_OUT if timed_out else EXIT_CODES[word], reason)

    def closing(self, ended: runner.Ended) -> Iterator[journal.Record]:
        """Yield the machine-readable reasons of a playbook that failed."""
        if ended.return_code == 0:
            return
        if self._answers.lock is not None:
            yield journal.Locked(lock=self._answers.lock)
        if self._answers.refusals:
            yield journal.Refused(refusals=tuple(self._answers.refusals))
        if self._answers.problems:
            yield journal.Problems(problems=tuple(self._answers.problems))

    def _judge(self, ended: runner.Ended) -> tuple[str, str]:
        answers = self._answers
        cause, reason = self._cause()
        if self._acted and not ended.stopped:
            # "Refused" and "locked" promise that nothing was changed.
            return "failed", reason or f"ansible-playbook ended with status {ended.return_code}"
        if answers.lock is not None:
            return "locked", f"the estate lock is held by {answers.lock.get('owner', 'somebody')}"
        if answers.refusals:
            return "refused", "; ".join(str(item.get("message", "")) for item in answers.refusals)
        if answers.problems:
            count = len(answers.problems)
            if all(item.get("code") == "unreachable" for item in answers.problems):
                return "unreachable", "; ".join(str(item.get("message")) for item in answers.problems)
            return "invalid", "1 problem" if count == 1 else f"{count} problems"
        if ended.stopped:
            return "interrupted", "killed" if ended.killed else "stopped between two tasks"
        if cause:
            return cause, reason
        text = " ".join(self._errors)
        word = "invalid" if any(sign in text.lower() for sign in _CONFIGURATION) else "failed"
        return word, text or f"ansible-playbook ended with status {ended.return_code}"

    def _cause(self) -> tuple[str, str]:
        """Return why the playbook failed: ``failed`` or ``unreachable``, and the words; empty when it is not known.

        The first is the cause: what follows gives the lock back and ends the run. A host that did not answer and was
        to be ignored is not in the recap.
        """
        counted = None if self._recap is None else self._recap.unreachable
        found = [
            (kind, text) for kind, host, text in self._causes if kind == "failed" or counted is None or host in counted
        ]
        if not found:
            return "", ""
        kind, text = found[0]
        if kind == "unreachable":
            text = "; ".join(text for other, text in found if other == kind)
        return kind, text

    def _task(self, event: runner.TaskEnded) -> Iterator[journal.Record]:
        phase, _ = self._play or ("Act", "")
        steering = event.action in STEERING and event.outcome == "ok"
        message = ""
        if event.outcome in ("failed", "unreachable"):
            message = message_of(event.result)
        if not event.ignored:
            self._outcomes[event.host] = event.outcome
            self._worked = self._worked or (event.outcome != "skipped" and not steering)
            self._acted = self._acted or (phase == "Act" and event.outcome == "changed" and not self._check)
            if event.outcome == "failed":
                self._causes.append(("failed", event.host, f"{event.host}: {event.name}: {message}"))
            elif event.outcome == "unreachable":
                self._causes.append(("unreachable", event.host, f"{event.host}: {message}"))
            if event.outcome == "failed":
                self._answers.collect(event.result)
        if steering:
            return
        self._results.append({**event.result, "failoverctl_host": event.host})
        yield journal.Task(
            phase=phase,
            title=event.name,
            host=event.host,
            outcome="ok" if event.ignored and event.outcome == "failed" else event.outcome,
            seconds=event.seconds,
            message=message,
            diff=diff_of(event.result) if self._diff and event.outcome == "changed" else "",
        )
        estate = event.result.get("estate")
        if isinstance(estate, dict) and isinstance(estate.get("host"), str):
            yield journal.Facts(host=estate["host"], facts=world.facts(estate))
        if event.action in ANSWERS and event.outcome not in ("skipped", "unreachable"):
            yield from _answer(event.action, event.host, event.result)

    def _close_play(self) -> Iterator[journal.Record]:
        if self._play is None:
            return
        phase, title = self._play
        self._play = None
        yield journal.PhaseFinished(
            phase=phase,
            title=title,
            outcome=self._play_outcome(),
            seconds=round(self._clock() - self._play_began, 3),
        )
        self._outcomes, self._worked = {}, False

    def _play_outcome(self) -> str:
        """The outcome of the play that ends.

        A host whose last task failed has failed, unless the recap of a playbook that went well says
        that Ansible rescued it; a failure followed by further tasks on that host was rescued. The
        recap alone is not enough: a host that did not answer and was to be ignored is not in it, and
        may still have ended the playbook.
        """
        lost = ("failed", "unreachable")
        failed = {host for host, outcome in self._outcomes.items() if outcome in lost}
        if self._recap is not None:
            counted = {*self._recap.failures, *self._recap.unreachable}
            known = {host for host in self._outcomes if host in counted}
            failed = known | failed if self._ended_badly else known
        if failed:
            return "failed"
        return "ok" if self._worked else "skipped"


#: What ansible-core says, in lower case, when not the hosts but the configuration is at fault.
_CONFIGURATION = ("decrypt", "vault", "could not be found", "unable to parse", "yaml")


class _Answers:
    """The machine-readable reasons that modules of the collection give for a failure."""

    def __init__(self) -> None:
        self.lock: Mapping[str, Any] | None = None
        self.refusals: list[Mapping[str, Any]] = []
        self.problems: list[Mapping[str, Any]] = []
        self.timed_out = False

    def collect(self, result: Mapping[str, Any]) -> None:
        for item in (result, *_mappings(result.get("results"))):
            if item.get("failover_locked") is True:
                lock = item.get("lock")
                self.lock = lock if isinstance(lock, dict) else {}
            if item.get("failover_refused") is True:
                _extend(self.refusals, item.get("refusals"), message_of(item))
            if item.get("failover_problems"):
                _extend(self.problems, item.get("failover_problems"), message_of(item))
            if item.get("failover_timed_out") is True:
                self.timed_out = True


def _extend(found: list[Mapping[str, Any]], items: object, message: str) -> None:
    """Add what is not there yet; every host may report the same problem."""
    for item in _mappings(items) or [{"code": "unspecified", "message": message}]:
        if item not in found:
            found.append(item)


def _mappings(items: object) -> list[Mapping[str, Any]]:
    return [item for item in items if isinstance(item, dict)] if isinstance(items, list) else []


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def _answer(action: str, host: str, result: Mapping[str, Any]) -> Iterator[journal.Record]:
    # A check of the gates has a step too, but nothing happened in it.
    happened = result.get("result") in ANSWERS[action]
    for step in _mappings(result.get("steps")) if happened else []:
        yield journal.Step(
            name=str(step.get("name", "")),
            title=str(step.get("title", "")),
            ms=_number(step.get("ms")),
            outcome=str(step.get("outcome", "")),
            at_ms=_number(step.get("at")),
        )
    hidden = ("invocation", "_ansible_no_log", "_ansible_verbose_always")
    kept = {key: value for key, value in result.items() if key not in hidden}
    module = action.rpartition(".")[2]
    if module == "switchover":
        yield journal.Switchover(result=kept)
    else:
        yield journal.Answer(module=module, result={"host": host, **kept})


def message_of(result: Mapping[str, Any]) -> str:
    """Return the one message that says why a task failed, on one line or several."""
    failed = [item for item in _mappings(result.get("results")) if item.get("failed")]
    if failed:
        return "; ".join(dict.fromkeys(message_of(item) for item in failed))
    parts = [str(result.get(key) or "").strip() for key in ("msg", "stderr", "reason")]
    text = "\n".join(dict.fromkeys(part for part in parts if part))
    return text or str(result.get("stdout") or "").strip() or "no message"


def diff_of(result: Mapping[str, Any]) -> str:
    """Return what a task changed as a unified diff; empty when the module shows none.

    The forms are those of the Ansible developer guide, "Diff mode": ``before`` and ``after``, or
    ``prepared``, in one dictionary or in a list of them, also inside the items of a loop.
    """
    parts = [_one_diff(item) for item in _diffs(result)]
    parts += [diff_of(item) for item in _mappings(result.get("results"))]
    return "\n".join(part for part in parts if part)


def _diffs(result: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    found = result.get("diff")
    return [found] if isinstance(found, dict) else _mappings(found)


def _one_diff(item: Mapping[str, Any]) -> str:
    if item.get("prepared"):
        return str(item["prepared"]).rstrip()
    if item.get("before") == item.get("after"):
        return ""
    lines = unified_diff(
        _diff_lines(item.get("before")),
        _diff_lines(item.get("after")),
        f"before: {item['before_header']}" if item.get("before_header") else "before",
        f"after: {item['after_header']}" if item.get("after_header") else "after",
        lineterm="",
    )
    return "\n".join(lines)


def _diff_lines(value: object) -> list[str]:
    if isinstance(value, dict | list):
        return json.dumps(value, indent=2, sort_keys=True, default=str, ensure_ascii=False).splitlines()
    return str(value or "").splitlines()
