"""What result.json says of a drill. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from failoverctl.drill import history
from failoverctl.drill.history import DrillRun
from failoverctl.drill.phases import Timeline
from failoverctl.drill.rows import Compared
from failoverctl.drill.scenario import Scenario
from failoverctl.drill.verdict import Judgement

#: So many runs before this one are listed; the figures are of all.
EARLIER_RUNS = 20


@dataclass
class Told:
    """What the phases have found out so far; the findings are made of it."""

    began_primary: str = ""
    began_term: int | None = None
    observed_primary: str = ""
    ended_term: int | None = None
    served: bool = False
    unmet: list[str] = field(default_factory=list)
    whole_seconds: float | None = None
    not_whole: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    aborted: str = ""
    interrupted: str = ""
    rows: Compared | None = None


@dataclass(frozen=True)
class Broken:
    """A fault that was made, where, and how it ended."""

    id: str
    title: str
    hosts: tuple[str, ...]
    healed: bool
    deadman_fired: bool


def document(
    scenario: Scenario,
    *,
    environment: str,
    number: tuple[int, int],
    told: Told,
    problems: Iterable[str],
    judgement: Judgement | None,
    timeline: Timeline,
    faults: Sequence[Broken],
    earlier: Sequence[DrillRun],
) -> dict[str, Any]:
    """Return what result.json has under ``drill``; the keys do not depend on what happened.

    :param environment: that of the estate.
    :param number: which run of how many this is.
    :param problems: the codes of everything that was wrong meanwhile, by the agents.
    :param judgement: None when it did not come to one.
    :param earlier: the finished runs of the scenario before this one, the oldest first.
    """
    return {
        "scenario": scenario.ident,
        "title": scenario.title,
        "description": scenario.description,
        "risks": list(scenario.risks),
        "environment": environment,
        "approval": None if scenario.approval is None else scenario.approval.by,
        "number": number[0],
        "of": number[1],
        "began": {"primary": told.began_primary or None, "term": told.began_term},
        "observed_primary": told.observed_primary or None,
        "ended_term": told.ended_term,
        "whole_seconds": None if told.whole_seconds is None else round(told.whole_seconds, 2),
        "aborted": told.aborted or told.interrupted or None,
        "problems_seen": sorted(problems),
        "expectations": [item.as_dict() for item in judgement.expectations] if judgement is not None else [],
        "reasons": list(judgement.reasons) if judgement is not None else [],
        "timeline": timeline.as_dict(),
        "faults": [{**asdict(fault), "hosts": list(fault.hosts)} for fault in faults],
        "earlier": history.summarise(scenario.ident, earlier).as_dict(),
        "earlier_runs": [run.as_dict() for run in earlier[-EARLIER_RUNS:]],
    }
