"""Conditions and selectors, on looks at an estate."""

from __future__ import annotations

from typing import Any

import pytest
from failoverctl.drill.world import CONDITIONS, SELECTORS, Condition, World, judge, resolve, unmet
from failoverctl.health import HostReport
from failoverctl.health import judge as judge_health
from failoverctl.probe.model import Sample
from hypothesis import given
from hypothesis import strategies as st

from .story import ESTATE, healthy, status


def world(*reports: HostReport, samples: tuple[Sample, ...] = (), **changes: Any) -> World:
    """A look at the estate; without reports nobody was asked."""
    health = judge_health(ESTATE, reports) if reports else None
    given: dict[str, Any] = {"began_primary": "www1", "began_term": 3, "now": 100.0, **changes}
    return World(ESTATE, health=health, samples={sample.host: sample for sample in samples}, **given)


def sample(host: str, role: str | None = "primary", at: float = 99.9, vips: tuple[str, ...] = ()) -> Sample:
    """A fresh sample of a host."""
    return Sample(host, at, at, role, 4, writable=role == "primary", vips=vips)


def holds(word: str, look: World, value: Any = None) -> bool:
    """Whether a condition holds; when it does not, it must say what it observed."""
    answer = judge(Condition(word, value), look)
    assert answer.holds or answer.observed
    return answer.holds


def test_a_whole_estate() -> None:
    look = world(*healthy(), steady_seconds=3.0, elapsed_seconds=9.0)
    for word in (
        "healthy",
        "one_primary",
        "replicas_whole",
        "sync_strict",
        "quorum",
        "vip_on_primary",
        "old_primary_back",
    ):
        assert holds(word, look), word
    for word in ("no_primary", "new_primary", "sync_degraded", "no_quorum"):
        assert not holds(word, look), word
    assert holds("clients_served", look)
    assert not holds("clients_served", look, 5.0)
    assert not holds("clients_paused", look)
    assert holds("elapsed_seconds", look, 9.0)
    assert unmet([Condition("healthy"), Condition("no_primary")], look) == ["no_primary: primary is www1"]


def test_fresh_samples_are_believed_more_than_old_answers() -> None:
    look = world(*healthy(), samples=(sample("www2", vips=("site",)), sample("www1", None)))
    assert look.primaries == ("www2",)
    assert look.term == 4
    assert holds("new_primary", look)
    assert holds("vip_on_primary", look)
    stale = world(*healthy(), samples=(sample("www2", at=90.0),))
    assert stale.primaries == ("www1",)
    two = world(*healthy(), samples=(sample("www1", vips=("site",)), sample("www2", vips=("site",))))
    assert not holds("one_primary", two)
    assert not holds("vip_on_primary", two)
    astray = world(*healthy(), samples=(sample("www1"), sample("www2", "replica", vips=("site",))))
    assert judge(Condition("vip_on_primary"), astray).observed == "site is held by www2"


def test_what_is_broken_is_named() -> None:
    broken = status("replica", "www2", database={"io_running": False, "sql_running": True, "error": "1236"})
    look = world(status("primary", "www1"), broken)
    assert not holds("healthy", look)
    assert not holds("replicas_whole", look)
    assert holds("problem", look, "replication_stopped")
    assert judge(Condition("problem", "x"), look).observed == "problems are replication_stopped"
    silent = world(status("primary", "www1"), HostReport("www2", error="off", reached=False))
    assert not holds("role", silent, {"host": "replica", "is": "replica"})
    assert holds("role", silent, {"host": "old_primary", "is": "primary"})
    cut = world(status("primary", "www1", etcd={"reachable": False}), status("replica", "www2"))
    assert holds("no_quorum", cut)
    assert not holds("quorum", cut)


def test_the_old_primary_is_back_as_what_it_may_be() -> None:
    assert holds("old_primary_back", world(*healthy("www2", 4)))
    stopped = {"io_running": False, "sql_running": True, "error": ""}
    look = world(status("replica", "www1", "www2", database=stopped), status("primary", "www2", "www2"))
    assert judge(Condition("old_primary_back"), look).observed == "www1 is replica and does not replicate"
    gone = world(HostReport("www1", error="off", reached=False), status("primary", "www2", "www2"))
    assert judge(Condition("old_primary_back"), gone).observed == "www1 does not answer"


@pytest.mark.parametrize("word", [word for word in CONDITIONS if not CONDITIONS[word].takes])
def test_where_nobody_was_asked_no_condition_raises(word: str) -> None:
    holds(word, world())


def test_selectors() -> None:
    look = world(*healthy("www2", 4))
    assert {name: resolve(name, look) for name in SELECTORS} == {
        "primary": ("www2",),
        "old_primary": ("www1",),
        "replica": ("www1",),
        "witness": ("vote",),
        "all_data": ("www1", "www2"),
        "all": ("www1", "www2", "vote"),
    }
    assert resolve("vote", look) == ("vote",)
    assert resolve("nobody", look) == ()
    assert resolve("primary", world()) == ()
    assert resolve("replica", world()) == ("www2",)


ROLES = st.sampled_from(["primary", "replica", "fenced", None])
SAMPLES = st.lists(
    st.builds(
        Sample,
        st.sampled_from(["www1", "www2"]),
        st.floats(90, 100),
        st.floats(90, 100),
        ROLES,
        st.one_of(st.none(), st.integers(1, 9)),
        st.booleans(),
        st.sampled_from([(), ("site",)]),
    ),
    max_size=4,
).map(tuple)


@given(SAMPLES, st.booleans())
def test_every_look_is_judged(samples: tuple[Sample, ...], asked: bool) -> None:
    look = world(*(healthy() if asked else ()), samples=samples)
    values = {"seconds": 1.0, "seconds?": None, "text": "x", "role": {"host": "primary", "is": "primary"}, "": None}
    for word, kind in CONDITIONS.items():
        holds(word, look, values[kind.takes])
    assert holds("one_primary", look) == (len(look.primaries) == 1)
