"""Verdicts on made-up drills into which faults were seeded: none of them may pass."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from failoverctl.drill.phases import measure
from failoverctl.drill.scenario import Expect, Promises, Scenario, WaitStep
from failoverctl.drill.verdict import Findings, Judgement, Sampled, decide, objectives
from failoverctl.drill.world import Condition
from failoverctl.probe.checker import check
from hypothesis import given, settings
from hypothesis import strategies as st

from .story import Story, record
from .test_phases import fault

SCENARIO = Scenario(
    "power",
    "The primary loses its power",
    "",
    (WaitStep(1.0),),
    Path("power.yml"),
    promises=Promises(rto_seconds=8.0, rto_of_estate=False, http_after_write_seconds=1.0, whole_seconds=60.0),
    expect=Expect(primary="moves", terms=(1, 1), clients_may_hang=True, holds=(Condition("one_primary"),)),
)
GOOD = Findings(
    began_primary="www1",
    began_term=3,
    observed_primary="www2",
    ended_term=4,
    served=True,
    whole_seconds=12.0,
    sampled=Sampled(("www1", "www2"), 240),
)


def judged(story: Story, scenario: Scenario = SCENARIO, findings: Findings = GOOD) -> Judgement:
    """Return the verdict on a story."""
    history = record(story)
    limits = objectives(scenario, 30.0, 0.0)
    acts = [fault(story.fault_at)] if story.fault_at is not None else []
    return decide(scenario, replace(findings, probe=check(history, limits), timeline=measure(history, acts)))


def test_a_drill_that_kept_all_promises_passes() -> None:
    found = judged(Story())
    assert (found.word, found.reasons) == ("pass", ())
    assert all(item.met for item in found.expectations)
    assert [item.name for item in found.expectations] == [
        "the primary",
        "new terms",
        "clients before healing",
        "one_primary",
        "pages after the first write",
        "the estate after healing",
        "hosts that take writes at once",
    ]


@pytest.mark.parametrize(
    ("story", "word", "reason"),
    [
        (Story(lost=3), "fail", "acknowledged writes are lost"),
        (Story(unexpected=2), "fail", "rows were never written by the probe"),
        (Story(served_after=9.0, page_after=9.0), "fail", "writes not served for"),
        (Story(page_after=6.5), "fail", "pages after the first write"),
        (Story(returns=False), "fail", "did not come back"),
        (Story(split=5.0), "unknown", ""),
        (Story(unread="www2"), "unknown", "www2 could not be read"),
        (Story(idle=True), "unknown", "fewer than 20 prove nothing"),
        (Story(bad_baseline=True), "unknown", "no good baseline"),
        (Story(stalled=True), "unknown", "the prober itself stalled"),
        (Story(wall_step=2.0), "unknown", "the clock of this machine jumped"),
    ],
)
def test_what_went_wrong_is_no_pass(story: Story, word: str, reason: str) -> None:
    found = judged(story)
    if story.split:
        # Two hosts that say they are writable are proof only if both acknowledge; here one does.
        assert found.word == "pass"
        return
    assert found.word == word, found.reasons
    assert any(reason in text for text in found.reasons), found.reasons


@pytest.mark.parametrize(
    ("changes", "word", "reason"),
    [
        ({"observed_primary": "www1"}, "fail", "the primary: expected another than www1, observed www1"),
        ({"observed_primary": ""}, "fail", "observed nobody"),
        ({"ended_term": 5}, "fail", "new terms: expected 1, observed 2"),
        ({"ended_term": None}, "unknown", "new terms is not known"),
        ({"served": False}, "fail", "clients before healing: expected served"),
        ({"unmet": ["one_primary: primary is www1 and www2"]}, "fail", "primary is www1 and www2"),
        ({"whole_seconds": None, "not_whole": ["healthy: www1 is stopped"]}, "fail", "healthy: www1 is stopped"),
        ({"whole_seconds": 61.0}, "fail", "whole after 61.0 s"),
        ({"failures": ["new_primary: not within 20 s"]}, "fail", "not within 20 s"),
        ({"aborted": "writes_paused_seconds 180"}, "fail", "aborted: writes_paused_seconds 180"),
        ({"outside": ["www1 acknowledged a write"]}, "fail", "www1 acknowledged a write"),
        ({"doubts": ["Cut the power: undone by its dead-man, before it should"]}, "unknown", "dead-man"),
        ({"sampled": None}, "unknown", "hosts that take writes at once is not known"),
        ({"sampled": Sampled()}, "unknown", "hosts that take writes at once is not known"),
        (
            {"sampled": Sampled(("www1",), 9, ("www1 and www2 were both writable for at least 0.20 s",))},
            "fail",
            "www1 and www2 were both writable",
        ),
    ],
)
def test_what_was_found_besides_is_no_pass(changes: dict[str, object], word: str, reason: str) -> None:
    found = judged(Story(), findings=replace(GOOD, **changes))  # type: ignore[arg-type]
    assert found.word == word
    assert any(reason in text for text in found.reasons), found.reasons


def test_nothing_measured_is_unknown() -> None:
    found = decide(SCENARIO, GOOD)
    assert found.word == "unknown"
    assert any("nothing was measured" in reason for reason in found.reasons)


def test_a_scenario_may_demand_that_writes_stay_stopped() -> None:
    scenario = replace(SCENARIO, expect=Expect(writes="stopped", clients_may_hang=True), promises=Promises())
    assert objectives(scenario, 8.0, 0.0).rto_seconds is None
    assert judged(Story(served_after=25.0, page_after=25.0), scenario, replace(GOOD, served=False)).word == "pass"
    assert judged(Story(), scenario, GOOD).word == "fail"


def test_a_problem_that_must_be_named() -> None:
    scenario = replace(SCENARIO, expect=replace(SCENARIO.expect, problems=("sync_degraded",)))
    assert judged(Story(), scenario).word == "fail"
    assert judged(Story(), scenario, replace(GOOD, problems_seen=frozenset({"sync_degraded"}))).word == "pass"


SEEDED = st.one_of(
    st.builds(Story, lost=st.integers(1, 20), seed=st.integers(0, 99)),
    st.builds(Story, unexpected=st.integers(1, 5), seed=st.integers(0, 99)),
    st.builds(Story, served_after=st.floats(8.1, 20.0), page_after=st.just(8.0), seed=st.integers(0, 99)),
    st.builds(Story, unread=st.sampled_from(["www1", "www2"])),
    st.builds(Story, idle=st.just(True), seed=st.integers(0, 99)),
    st.builds(Story, stalled=st.just(True), seed=st.integers(0, 99)),
    st.builds(Story, wall_step=st.floats(0.6, 3600.0)),
    st.builds(Story, returns=st.just(False)),
)


@settings(max_examples=25, deadline=None)
@given(SEEDED)
def test_no_seeded_fault_passes(story: Story) -> None:
    found = judged(story)
    assert found.word != "pass"
    assert found.reasons


@settings(max_examples=15, deadline=None)
@given(st.floats(0.3, 7.5), st.floats(0.0, 0.8), st.integers(0, 1000))
def test_what_was_good_passes(served: float, later: float, seed: int) -> None:
    story = Story(
        promoted_after=served * 0.8,
        vip_after=served * 0.9,
        served_after=served,
        page_after=min(served + later, 7.5),
        seed=seed,
    )
    found = judged(story)
    assert (found.word, found.reasons) == ("pass", ())
