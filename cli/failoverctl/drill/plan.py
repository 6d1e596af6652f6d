"""What a drill will do, phase by phase, in the words that the operator reads. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from failoverctl.drill.scenario import (
    CommandStep,
    FaultStep,
    HealStep,
    KillEachStep,
    RepeatStep,
    Scenario,
    Step,
    WaitForStep,
    WaitStep,
)

#: How long clients may take to be served well for the length of the baseline, beyond that length.
BASELINE_SLACK_SECONDS = 15.0


class Optional(Protocol):
    """An option of a fault as far as a plan knows it."""

    @property
    def default(self) -> Any:
        """What it is when a scenario does not say."""
        ...


class Named(Protocol):
    """A fault as far as a plan knows it."""

    @property
    def summary(self) -> str:
        """What it does, with {hosts} and the names of its options."""
        ...

    @property
    def options(self) -> Mapping[str, Optional]:
        """Its options."""
        ...


#: How a selector is called in a sentence.
SPOKEN: Mapping[str, str] = {
    "primary": "the primary",
    "old_primary": "the old primary",
    "replica": "the replica",
    "witness": "the witness",
    "all_data": "all data hosts",
    "all": "all hosts",
}


#: How they are called where one of them is meant already: nobody is cut off from himself.
_OTHERS: Mapping[str, str] = {"all_data": "all other data hosts", "all": "all other hosts"}


@dataclass(frozen=True)
class Planned:
    """One phase of a drill before it is played: its kind, its sentence, and how long it takes at most, in seconds."""

    phase: str
    title: str
    at_most_seconds: float | None = None


LOCK = Planned("Lock", "One run at a time")
STEADY = Planned("Preflight", "Does the steady state hold?")
BASELINE = Planned("Preflight", "Are clients served well?")
OBSERVE = Planned("Verify", "Wait until clients are served steadily")
HEAL = Planned("Act", "Undo what was broken")
WHOLE = Planned("Verify", "Wait until the estate is whole")
READ = Planned("Verify", "Read the rows of every host")
AGAIN = Planned("Verify", "Does the steady state hold again?")
DECIDE = Planned("Journal", "Judge what was recorded")


def plan(scenario: Scenario, faults: Mapping[str, Named]) -> tuple[Planned, ...]:
    """Return the phases of a drill in their order; what repeats is there as often as it is played."""
    return (
        LOCK,
        STEADY,
        replace(BASELINE, at_most_seconds=scenario.load.baseline_seconds + BASELINE_SLACK_SECONDS),
        *(_planned(step, faults) for step in unrolled(scenario.method)),
        replace(OBSERVE, at_most_seconds=scenario.observe_seconds),
        HEAL,
        replace(WHOLE, at_most_seconds=scenario.settle_seconds),
        READ,
        *(_planned(step, faults) for step in unrolled(scenario.rollbacks)),
        AGAIN,
        DECIDE,
    )


def unrolled(steps: Iterable[Step]) -> Iterator[Step]:
    """Yield the steps as they are played: those that repeat, several times."""
    for step in steps:
        if isinstance(step, RepeatStep):
            for _ in range(step.times):
                yield from unrolled(step.steps)
        else:
            yield step


def _planned(step: Step, faults: Mapping[str, Named]) -> Planned:
    limit = step.limit_seconds if isinstance(step, WaitForStep | CommandStep | KillEachStep) else None
    words = [_without_marks(word) for word in step.words] if isinstance(step, CommandStep | KillEachStep) else ()
    return Planned("Act", title_of(step, faults, list(step.hosts) if isinstance(step, FaultStep) else [], words), limit)


def title_of(step: Step, faults: Mapping[str, Named], hosts: Sequence[str], words: Sequence[str] = ()) -> str:
    """Return the sentence of a step.

    :param hosts: the hosts it is done to, or what a scenario calls them.
    :param words: the words of a command with the names of hosts in them.
    """
    match step:
        case FaultStep():
            return _fault(step, faults, hosts)
        case WaitStep():
            return f"Wait {step.seconds:g} s"
        case WaitForStep():
            return f"Wait for {step.condition.text}"
        case CommandStep():
            ending = f", killed at {step.kill_at}" if step.kill_at else ""
            return "failoverctl " + " ".join(words or step.words) + ending
        case KillEachStep():
            entries = "every entry" if step.every == 1 else f"every {ordinal(step.every)} entry"
            ways = " or ".join(then[0] for then in step.then)
            named = " ".join(words or step.words)
            return f"failoverctl {named}, killed at {entries} of its journal in turn, each finished by {ways}"
        case HealStep():
            return "Undo everything" if step.what == "all" else f"Undo {step.what}"
        case RepeatStep():
            return f"{step.times} times"


def ordinal(number: int) -> str:
    """Return a number as the place in a row: 2nd, 3rd, 11th."""
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def _fault(step: FaultStep, faults: Mapping[str, Named], hosts: Sequence[str]) -> str:
    fault = faults.get(step.fault)
    lasting = f" for {step.seconds:g} s" if step.seconds is not None else ""
    if fault is None:
        return step.fault + lasting
    words = _Words({key: _spoken(option.default) for key, option in fault.options.items()})
    words["to"] = "everybody"
    words |= {key: _spoken(value) for key, value in step.options.items()}
    one, to = step.options.get("from"), step.options.get("to")
    if isinstance(one, tuple) and isinstance(to, tuple) and set(to) - set(one):
        words["to"] = _spoken(tuple(host for host in to if host not in one))
    elif isinstance(to, str) and to in _OTHERS:
        words["to"] = _OTHERS[to]
    words["hosts"] = _spoken(hosts)
    return fault.summary.format_map(words).rstrip(".") + lasting


class _Words(dict[str, str]):
    """What is not known has no word."""

    def __missing__(self, key: str) -> str:
        return ""


def _spoken(value: object) -> str:
    """Return a value as a sentence has it: selectors in words; a tuple is of hosts that are known, by their names."""
    if value is None:
        return ""
    if isinstance(value, tuple | list):
        words = [str(item) if isinstance(value, tuple) else _spoken(item) for item in value]
        return " and ".join(filter(None, [", ".join(words[:-1]), *words[-1:]]))
    return SPOKEN.get(str(value), str(value))


def _without_marks(word: str) -> str:
    """Return a word of a command with selectors as they are spoken of."""
    for selector, spoken in SPOKEN.items():
        word = word.replace("{" + selector + "}", f"<{spoken}>")
    return word
