"""Pass, fail or unknown: what a drill proved. Pure.

``fail`` needs a proof. ``pass`` needs that everything was measured and nothing failed. All else is
unknown, which is never a pass: an idle prober, a bad baseline, a host that could not be read, a
fault that ended by its dead-man, a clock that jumped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from failoverctl.drill.phases import Timeline
from failoverctl.drill.rows import Compared
from failoverctl.drill.scenario import Scenario
from failoverctl.probe.checker import Objectives, ProbeResult

Word = Literal["pass", "fail", "unknown"]

#: A wall clock that jumped by more than this makes what the agents say of their times worthless.
CLOCK_STEP_SECONDS = 0.5


@dataclass(frozen=True)
class Sampled:
    """What the samples of the hosts say about two that take writes at once.

    ``proofs`` are of two that did, ``notes`` of two that were writable together while at most one acknowledged.
    """

    hosts: tuple[str, ...] = ()
    count: int = 0
    proofs: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Findings:
    """Everything the engine found out.

    ``failures`` are proofs that came up while the method was played (a condition that did not come
    about, a command that ended otherwise), ``doubts`` what could not be done or seen. ``whole_seconds``
    is how long after the healing the steady state held again; None when it did not.
    """

    probe: ProbeResult | None = None
    timeline: Timeline = field(default_factory=Timeline)
    began_primary: str = ""
    began_term: int | None = None
    observed_primary: str = ""
    ended_term: int | None = None
    served: bool = False
    unmet: Sequence[str] = ()
    problems_seen: frozenset[str] = frozenset()
    whole_seconds: float | None = None
    not_whole: Sequence[str] = ()
    failures: Sequence[str] = ()
    doubts: Sequence[str] = ()
    aborted: str = ""
    outside: Sequence[str] = ()
    sampled: Sampled | None = None
    rows: Compared | None = None


@dataclass(frozen=True)
class Expectation:
    """One thing that was expected; ``met`` is None when it is not known."""

    name: str
    expected: str
    observed: str
    met: bool | None

    def as_dict(self) -> dict[str, Any]:
        """Return the form used in result.json."""
        return {"name": self.name, "expected": self.expected, "observed": self.observed, "met": self.met}


@dataclass(frozen=True)
class Judgement:
    """The verdict, why it is no pass, and every expectation."""

    word: Word
    reasons: tuple[str, ...]
    expectations: tuple[Expectation, ...]


def objectives(scenario: Scenario, promised_rto: float | None, promised_rpo: float | None) -> Objectives:
    """Return what the checker holds the measurement against: the scenario's limits, else the estate's."""
    promises = scenario.promises
    rto = promised_rto if promises.rto_of_estate else promises.rto_seconds
    return Objectives(
        rto_seconds=rto if scenario.expect.writes == "served" else None,
        rpo_seconds=promised_rpo,
        hung_allowed=scenario.expect.clients_may_hang,
    )


def decide(scenario: Scenario, found: Findings) -> Judgement:
    """Return the verdict on a drill."""
    expectations = tuple(_expectations(scenario, found))
    failures = [
        f"{item.name}: expected {item.expected}, observed {item.observed}" for item in expectations if item.met is False
    ]
    doubts = [f"{item.name} is not known" for item in expectations if item.met is None]
    probe = found.probe
    if probe is None:
        doubts.append("nothing was measured: what clients saw is not known")
    elif probe.verdict == "fail":
        failures = [*probe.reasons, *failures]
    elif probe.verdict == "unknown":
        doubts = [*probe.reasons, *doubts]
    failures += [*found.outside, *found.failures]
    if found.aborted:
        failures.append(f"aborted: {found.aborted}")
    doubts += found.doubts
    if probe is not None and abs(probe.prober.wall_step_seconds) > CLOCK_STEP_SECONDS:
        doubts.append(f"the clock of this machine jumped by {probe.prober.wall_step_seconds:+.1f} s meanwhile")
    word: Word = "fail" if failures else "unknown" if doubts else "pass"
    return Judgement(word, tuple(dict.fromkeys([*failures, *doubts])), expectations)


def _expectations(scenario: Scenario, found: Findings) -> Iterable[Expectation]:
    expect, promises, timeline = scenario.expect, scenario.promises, found.timeline
    if expect.primary != "any":
        now = found.observed_primary
        moved = None if not found.began_primary else now != found.began_primary
        met = None if moved is None else bool(now) and moved == (expect.primary == "moves")
        wanted = f"another than {found.began_primary}" if expect.primary == "moves" else found.began_primary
        yield Expectation("the primary", wanted or "known", now or "nobody", met)
    if expect.terms is not None:
        least, most = expect.terms
        text = str(least) if least == most else f"{least} to {most}"
        grown = None if found.began_term is None or found.ended_term is None else found.ended_term - found.began_term
        met = None if grown is None else least <= grown <= most
        yield Expectation("new terms", text, "?" if grown is None else str(grown), met)
    if expect.writes == "served":
        said = "served" if found.served else "not served steadily"
        yield Expectation("clients before healing", "served", said, found.served)
    elif expect.writes == "stopped":
        said = "served" if found.served else "stopped"
        yield Expectation("clients before healing", "stopped", said, not found.served)
    for condition in expect.holds:
        broken = next((text for text in found.unmet if text.startswith(f"{condition.text}: ")), None)
        observed = "so it was" if broken is None else broken.removeprefix(f"{condition.text}: ")
        yield Expectation(condition.text, "before healing", observed, broken is None)
    for code in expect.problems:
        seen = code in found.problems_seen
        yield Expectation(f"problem {code}", "reported", "reported" if seen else "not reported", seen)
    limit = promises.http_after_write_seconds
    if limit is not None:
        value = timeline.http_after_write
        told = "?" if value is None else f"{value:.2f} s"
        yield Expectation(
            "pages after the first write", f"within {limit:g} s", told, None if value is None else value <= limit
        )
    yield _wholeness(promises.whole_seconds, found)
    yield _alone(found.sampled)
    if found.rows is not None:
        yield Expectation("rows of all runs", "the same on every host", found.rows.observed, found.rows.same)


def _alone(sampled: Sampled | None) -> Expectation:
    """Never may two hosts take writes; what nobody watched is not known."""
    name, wanted = "hosts that take writes at once", "never two"
    if sampled is None or not sampled.count:
        return Expectation(name, wanted, "no host was sampled", None)
    if sampled.proofs:
        return Expectation(name, wanted, "; ".join(sampled.proofs), False)
    told = f"never two, by {sampled.count} samples of {' and '.join(sampled.hosts)}"
    return Expectation(name, wanted, "; ".join([told, *sampled.notes]), True)


def _wholeness(limit: float | None, found: Findings) -> Expectation:
    """After the healing the steady state must hold again, and within the limit if there is one."""
    wanted = "whole again" if limit is None else f"whole again within {limit:g} s"
    if found.whole_seconds is None:
        return Expectation("the estate after healing", wanted, "; ".join(found.not_whole) or "not whole", False)
    met = limit is None or found.whole_seconds <= limit
    return Expectation("the estate after healing", wanted, f"whole after {found.whole_seconds:.1f} s", met)
