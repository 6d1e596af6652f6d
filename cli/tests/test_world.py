"""What is kept of the agents' words, and what differs from it later."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from failoverctl import world
from failoverctl.health import HostReport
from failoverctl.world import COMPARED, Difference
from hypothesis import given
from hypothesis import strategies as st


@pytest.fixture
def entry(fixtures: Path) -> dict[str, dict[str, Any]]:
    """The facts of two real agents."""
    answers = json.loads((fixtures / "status.json").read_text())
    return {host: world.facts(status) for host, status in answers.items()}


def test_the_facts_of_a_real_agent(entry: dict[str, dict[str, Any]]) -> None:
    assert entry["www2"] == {
        "role": "primary",
        "term": 3,
        "primary": "www2",
        "leader": "www2",
        "writable": True,
        "replicates_from": None,
        "sync": "strict, www1",
        "vips": ["site"],
        "automation": None,
        "lock": None,
        "position": "0-3325256764-814",
    }
    assert entry["www1"]["writable"] is False


def test_nothing_differs_from_itself(entry: dict[str, dict[str, Any]]) -> None:
    assert world.diff(entry, entry) == []


def test_a_position_is_not_compared(entry: dict[str, dict[str, Any]]) -> None:
    now = {host: {**facts, "position": "0-1-9999"} for host, facts in entry.items()}
    assert world.diff(entry, now) == []


def test_what_differs_is_told_host_by_host(entry: dict[str, dict[str, Any]]) -> None:
    now = {"www1": {**entry["www1"], "role": "primary", "term": 4, "vips": ["site"], "writable": True}}
    found = world.diff(entry, now)
    assert found == [
        Difference("www1", "role", "replica", "primary"),
        Difference("www1", "term", 3, 4),
        Difference("www1", "writable", False, True),
        Difference("www1", "vips", [], ["site"]),
        Difference("www2", "answers", True, False),
    ]
    assert [item.sentence() for item in found] == [
        "www1: role was replica, is primary",
        "www1: term was 3, is 4",
        "www1: database takes writes was no, is yes",
        "www1: virtual IPs was none, is site",
        "www2: answers was yes, is no",
    ]
    assert found[1].as_dict() == {"host": "www1", "what": "term", "before": 3, "now": 4}


def test_a_host_that_was_not_known_is_no_difference(entry: dict[str, dict[str, Any]]) -> None:
    assert world.diff({}, entry) == []
    assert world.diff({"www1": {}}, entry) == []


def test_only_those_who_answer_have_facts() -> None:
    reports = [HostReport("www1", error="off"), HostReport("www2", status={"role": "replica"})]
    assert list(world.facts_of(reports)) == ["www2"]


def test_an_agent_of_another_version_has_facts_too() -> None:
    assert set(world.facts({"database": 1, "vips": [], "sync": "x"})) == {*COMPARED, "position"}


VALUES = st.one_of(st.none(), st.booleans(), st.integers(0, 9), st.sampled_from(["www1", "www2"]))
WORLDS = st.dictionaries(
    st.sampled_from(["www1", "www2", "www3"]), st.dictionaries(st.sampled_from(list(COMPARED)), VALUES)
)


@given(before=WORLDS, now=WORLDS)
def test_every_difference_is_one(before: dict[str, dict[str, Any]], now: dict[str, dict[str, Any]]) -> None:
    for item in world.diff(before, now):
        assert item.host in before
        assert item.before != item.now
        assert item.sentence()
    patched = {host: {**facts, **before.get(host, {})} for host, facts in now.items()}
    assert all(item.what == "answers" for item in world.diff(before, patched))
