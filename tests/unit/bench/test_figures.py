"""Figures: medians and worst cases, and when a goal counts as reached."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.figures import (
    HELP,
    KEEPALIVED_STOP,
    PATRONI,
    PATRONI_POWER,
    POWER,
    REST,
    SETUP,
    SETUP_AGAIN,
    STATUS,
    SWITCHOVER,
    Figure,
    figures,
    is_disturbed,
    seconds,
    summarise,
    tally,
)
from bench.results import Move, Part, Results, Seen, Timing


def seen(paused: float, *, lost: int | None = 0, hung: int = 0) -> Seen:
    return Seen(paused, paused, 100, 90, 4, 6, hung, lost, 0, 0, 0)


def part(name: str, moves: Sequence[Move] = (), timings: Sequence[Timing] = ()) -> Part:
    return Part(
        name, "abc", "2026-01-01T00:00:00Z", "2026-01-01T00:01:00Z", (0.1, 0.2), {}, {}, tuple(moves), tuple(timings)
    )


def move(number: int, writes: Seen | None, http: Seen | None = None, error: str | None = None) -> Move:
    return Move(number, "2026-01-01T00:00:00Z", "www1", "www2", 9.0, "pass", (), writes, http, 5.0, error)


def timing(number: int, wall: float, cpu: float = 0.1, changed: int | None = None) -> Timing:
    return Timing(number, "2026-01-01T00:00:00Z", wall, cpu, changed)


def find(parts: Sequence[Part]) -> Mapping[str, Figure]:
    found = Results({})
    for each in parts:
        found = found.with_part(each)
    return {figure.goal.short: figure for figure in figures(found)}


@given(st.lists(st.floats(0, 1e6), min_size=1))
def test_the_median_lies_among_the_values_and_the_worst_is_the_largest(values: list[float]) -> None:
    found = summarise(values)
    assert found is not None
    assert min(values) <= found.median <= found.worst == max(values)
    assert found.n == len(values)


def test_nothing_has_no_median() -> None:
    assert summarise([]) is None


def test_nothing_measured_reaches_nothing() -> None:
    assert [figure.reached for figure in find([]).values()] == [None] * 10


def test_counts_of_all_runs_add_up() -> None:
    total = tally(
        part(SWITCHOVER, [move(1, seen(0.1), seen(0.2)), move(2, seen(0.3), seen(0.0)), move(3, None, error="no")])
    )
    assert (total.runs, total.errors, total.attempted, total.failed, total.unknown) == (3, 1, 200, 8, 12)
    assert (total.lost, total.hung) == (0, 0)
    assert total.writes == summarise([0.1, 0.3])
    assert total.http == summarise([0.2, 0.0])


def test_pages_are_counted_where_nothing_is_written() -> None:
    total = tally(part(KEEPALIVED_STOP, [move(1, None, seen(0.6, lost=None))]))
    assert (total.writes, total.lost, total.attempted) == (None, None, 100)


@pytest.mark.parametrize(
    ("runs", "reached"),
    [
        ([seen(0.2), seen(0.25), seen(0.5)], True),
        ([seen(0.2), seen(0.26), seen(0.3)], False),  # the median
        ([seen(0.2), seen(0.2), seen(0.51)], False),  # the worst
        ([seen(0.2), seen(0.2, lost=1)], False),
        ([seen(0.2), seen(0.2, lost=None)], False),  # nobody knows
        ([seen(0.2), seen(0.2, hung=1)], False),
        ([seen(0.2), None], False),  # a run that gave no figure
    ],
)
def test_the_pause_of_writes(runs: list[Seen | None], reached: bool) -> None:
    moves = [move(number, writes, seen(0.0)) for number, writes in enumerate(runs)]
    assert find([part(SWITCHOVER, moves)])["writes paused, switchover"].reached is reached


@pytest.mark.parametrize(
    ("runs", "reached"),
    [
        ([seen(5.1), seen(5.6), seen(7.9)], True),
        ([seen(5.1), seen(6.1), seen(6.2)], False),  # the median
        ([seen(5.1), seen(5.1), seen(8.1)], False),  # the worst
        ([seen(5.1, lost=1)], False),
        ([seen(5.1, lost=None)], False),
    ],
)
def test_the_pause_when_the_power_is_lost(runs: list[Seen], reached: bool) -> None:
    parts = [
        part(POWER, [move(number, writes, seen(5.0)) for number, writes in enumerate(runs)]),
        part(PATRONI_POWER, [move(1, seen(28.0)), move(2, seen(37.0))]),
    ]
    figure = find(parts)["writes paused, power off"]
    assert figure.reached is reached
    assert figure.peer == "Patroni 32.50 s / 37.00 s, n=2"


def test_unknown_losses_are_shown_as_such() -> None:
    figure = find([part(SWITCHOVER, [move(1, seen(0.1, lost=None))])])["writes paused, switchover"]
    assert figure.found == "lost ?, hung 0"


def test_a_second_setup_changes_nothing() -> None:
    runs = [timing(1, 40.0, changed=0), timing(2, 50.0, changed=0)]
    assert find([part(SETUP_AGAIN, timings=runs)])["second setup"].reached is True
    runs.append(timing(3, 50.0, changed=2))
    figure = find([part(SETUP_AGAIN, timings=runs)])["second setup"]
    assert (figure.reached, figure.found) == (False, "changed 0, 0, 2")


def test_help_is_judged_by_its_cpu_time() -> None:
    assert find([part(HELP, timings=[timing(1, 9.0, cpu=0.14)])])["failoverctl --help"].reached is True
    assert find([part(HELP, timings=[timing(1, 0.1, cpu=0.16)])])["failoverctl --help"].reached is False


def test_the_agent_at_rest_is_judged_on_every_host() -> None:
    runs = [
        replace(timing(1, 60.0, cpu=cpu), detail={"memory_bytes": memory * 2**20, "guard_bytes": 9 * 2**20})
        for cpu, memory in ((0.3, 38), (0.6, 39))
    ]
    found = find([part(REST, timings=runs)])
    assert found["agent's memory, at rest"].reached is True
    assert found["agent's CPU, at rest"].measured == summarise([0.5, 1.0])
    assert found["guard's memory, at rest"].measured == summarise([9.0, 9.0])
    more = {"memory_bytes": 41 * 2**20, "guard_bytes": 11 * 2**20}
    runs.append(replace(timing(1, 60.0, cpu=0.66), detail=more))
    found = find([part(REST, timings=runs)])
    assert found["guard's memory, at rest"].reached is False
    assert found["agent's memory, at rest"].reached is False
    assert found["agent's CPU, at rest"].reached is False


def test_a_command_that_fails_reaches_no_goal() -> None:
    runs = [timing(1, 1.0), replace(timing(2, 1.0), error="exit 5")]
    figure = find([part(STATUS, timings=runs)])["failoverctl status"]
    assert figure.measured == summarise([1.0])
    assert figure.reached is False


def test_peers_stand_beside_the_figure_they_compare_with() -> None:
    parts = [
        part(SETUP, timings=[timing(1, 200.0)]),
        part(SWITCHOVER, [move(1, seen(0.1), seen(0.1))]),
        part(PATRONI, [move(1, seen(1.5)), move(2, seen(2.5))], [timing(1, 100.0)]),
        part(KEEPALIVED_STOP, [move(1, None, seen(0.6))]),
    ]
    found = find(parts)
    assert found["writes paused, switchover"].peer == "Patroni 2.00 s / 2.50 s, n=2"
    assert found["HTTP outage, same runs"].peer == "keepalived 0.600 s / 0.600 s, n=1"
    assert found["fresh setup"].peer == "plain playbooks: Patroni 100 s"


@pytest.mark.parametrize(
    ("value", "text"), [(0.0, "0.000 s"), (0.1874, "0.187 s"), (2.314, "2.31 s"), (99.99, "99.99 s"), (186.6, "187 s")]
)
def test_seconds_have_the_digits_that_count(value: float, text: str) -> None:
    assert seconds(value) == text


def test_a_late_prober_is_a_disturbed_run() -> None:
    assert not is_disturbed(move(1, None))
    assert is_disturbed(replace(move(1, None), prober_late_ms=101.0))
