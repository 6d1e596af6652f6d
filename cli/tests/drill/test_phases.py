"""Phases of made-up failovers, of which it is known what happened when."""

from __future__ import annotations

from dataclasses import replace

import pytest
from failoverctl.drill.phases import Mark, measure
from failoverctl.journal import Act
from failoverctl.probe.checker import History
from failoverctl.probe.model import Meta
from hypothesis import given, settings
from hypothesis import strategies as st

from .story import Story, record


def fault(at: float, zero: float = 1000.0) -> Act:
    """The fault of a story, as the journal has it."""
    return Act(
        what="fault",
        ident="off",
        title="Cut the power",
        event="begun",
        clock=zero + at,
        done=zero + at + 0.01,
        hosts=("www1",),
    )


STORIES = st.builds(
    Story,
    fault_at=st.floats(5.0, 15.0),
    promoted_after=st.floats(0.5, 9.0),
    vip_after=st.floats(0.5, 9.0),
    served_after=st.floats(0.5, 12.0),
    page_after=st.floats(0.5, 12.0),
    seed=st.integers(0, 1000),
)


@settings(max_examples=20, deadline=None)
@given(STORIES)
def test_each_phase_is_found_where_it_was(story: Story) -> None:
    assert story.fault_at is not None
    found = measure(record(story), [fault(story.fault_at)])
    assert found.at("inject") == pytest.approx(story.fault_at)
    error, first, promote = found.at("first_error"), found.at("first_write"), found.at("promote")
    assert error is not None
    assert 0 <= error - story.fault_at <= 0.051
    assert first is not None
    assert -0.001 <= first - (story.fault_at + story.served_after) <= 0.08
    assert promote is not None
    # Sampled ten times a second: never seen before it was so, and at most an interval later.
    assert 0 <= promote - (story.fault_at + story.promoted_after) <= 0.13
    moment = next(item for item in found.moments if item.phase == "promote")
    assert moment.earliest is not None
    assert moment.earliest - 0.03 <= story.fault_at + story.promoted_after
    steady = found.at("steady")
    assert steady is not None
    assert 0.9 <= steady - first <= 1.1
    assert [item.at for item in found.moments] == sorted(item.at for item in found.moments)


@settings(max_examples=20, deadline=None)
@given(STORIES)
def test_the_outage_is_bracketed(story: Story) -> None:
    found = measure(record(story), [fault(story.fault_at or 0.0)])
    assert found.rto_from_error is not None
    assert found.at_least <= story.served_after <= found.at_most
    assert found.at_least <= found.rto_from_error <= found.at_most
    assert found.at_most - found.at_least <= 0.2
    assert found.rto_from_inject is not None
    assert found.rto_from_inject >= found.rto_from_error - 1e-9
    assert found.http_after_write is not None
    wanted = max(0.0, story.page_after - story.served_after)
    assert found.http_after_write == pytest.approx(wanted, abs=0.08)


def test_an_agent_that_tells_is_believed_when_it_noticed() -> None:
    early = Mark("detect", 3.0, "www2", "an election of yesterday")
    seen = Mark("detect", 12.0, "www2", "begins the election for term 4")
    found = measure(record(Story()), [fault(10.0)], [early, seen])
    moment = next(item for item in found.moments if item.phase == "detect")
    assert (moment.at, moment.host) == (12.0, "www2")
    assert "election for term 4" in moment.source


def test_without_a_pause_there_is_only_the_fault() -> None:
    found = measure(record(Story(fault_at=None)), [fault(10.0)])
    assert [item.phase for item in found.moments] == ["inject"]
    assert (found.outage, found.rto_from_error, found.kind) == (None, 0.0, "")
    assert found.as_dict()["rto_from_error_seconds"] == 0.0


def test_an_outage_without_an_end_has_no_recovery() -> None:
    found = measure(record(Story(returns=False)), [fault(10.0)])
    assert found.rto_from_error is None
    assert found.rto_from_inject is None
    assert found.at("first_write") is None
    assert found.http_after_write is None


def test_the_last_thing_done_before_the_pause_is_its_cause() -> None:
    late = replace(fault(9.9), title="Stop the replica", ident="late")
    after = replace(fault(11.5), title="Too late", ident="after")
    found = measure(record(Story()), [fault(3.0), late, after])
    moment = next(item for item in found.moments if item.phase == "inject")
    assert moment.source == "Stop the replica"


def test_where_only_pages_paused_it_is_told_so() -> None:
    history = record(Story())
    pages = replace(history, ops=tuple(op for op in history.ops if op.kind == "http"))
    found = measure(pages, [fault(10.0)])
    assert found.kind == "http"
    assert found.at("first_page") is not None


def test_nothing_recorded_is_nothing_found() -> None:
    meta = Meta("run", "2026-11-23T05:00:00Z", 0.0, 20.0, 1, 250.0, 1000.0, writes=True, http=True)
    found = measure(History(meta))
    assert found.moments == ()
    assert found.as_dict()["phases"] == []
