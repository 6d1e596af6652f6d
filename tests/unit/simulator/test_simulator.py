# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Schedules, runs, shrinking, mutations: the simulator itself."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from failover_agent.policy import Policy

from simulator import faults, mutations
from simulator.campaign import campaign, quiet
from simulator.run import run
from simulator.schedule import Event, Schedule, ScheduleError, generate, parse
from simulator.shrink import kind, shrink

ROOT = Path(__file__).resolve().parents[3]
#: Mutations that are found within a few hundred schedules, for a test that takes seconds.
QUICK = ("keep_never", "no_kill", "fence_margin")


@pytest.fixture(autouse=True)
def silence() -> Iterator[None]:
    with quiet():
        yield


@pytest.mark.parametrize("seed", range(40))
def test_a_schedule_survives_being_text(seed: int) -> None:
    schedule = generate(seed)
    assert parse(str(schedule)) == schedule
    assert {event.word for event in schedule.events} <= set(faults.words())


def test_a_text_that_is_no_schedule_names_the_line() -> None:
    with pytest.raises(ScheduleError, match="line 2"):
        parse("seed 1\nsoon kill_process host=www1\n")


def test_the_same_seed_gives_the_same_run_in_every_process() -> None:
    program = (
        "import logging; logging.disable(logging.CRITICAL)\n"
        "from simulator.run import run\nfrom simulator.schedule import generate\n"
        "print([run(generate(seed)).trace for seed in (3, 4, 5)])"
    )
    traces = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": str(number), "PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}"},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for number in (1, 2)
    }
    assert traces == {f"{[run(generate(seed)).trace for seed in (3, 4, 5)]}\n"}
    assert run(generate(3)).trace != run(generate(4)).trace


def test_a_quiet_day() -> None:
    outcome = run(Schedule(1, ("www1", "www2", "www3"), "www2", ()))
    assert outcome.violation == ""
    assert outcome.acknowledged > 20
    assert outcome.longest_pause < 3.0


@pytest.mark.parametrize("word", faults.words())
def test_every_word_does_something_and_is_survived(word: str) -> None:
    options = {
        "kill_process": (("host", "www1"), ("process", "mariadbd")),
        "freeze_process": (("host", "www1"), ("process", "failover-agent"), ("seconds", "8.0")),
        "cut": (("from", "www1"), ("to", "all"), ("seconds", "12.0")),
        "flap_link": (("from", "www1"), ("to", "www2"), ("on", "2.0"), ("off", "2.0"), ("times", "3")),
        "slow_link": (("host", "www1"), ("delay_ms", "200"), ("loss_percent", "5"), ("seconds", "5.0")),
        "strike": (("host", "www1"), ("operation", "sql"), ("how", "CRASH_AFTER")),
        "step_clock": (("host", "www1"), ("by", "3600")),
    }.get(word, (("host", "www1"), ("seconds", "9.0")))
    outcome = run(Schedule(5, ("www1", "www2"), "www1", (Event(4.0, word, options),)))
    assert outcome.violation == ""


@pytest.mark.parametrize("process", ["mariadbd", "failover-agent", "failover-guard", "etcd", "keepalived"])
def test_every_process_can_be_killed_and_stopped(process: str) -> None:
    for word in ("kill_process", "freeze_process"):
        event = Event(4.0, word, (("host", "www1"), ("process", process), ("seconds", "6.0")))
        assert run(Schedule(6, ("www1", "www2"), "www1", (event,))).violation == ""


@pytest.mark.parametrize(
    ("fault", "least"),
    [
        # Without the question whether the link works, and without waiting for a link that comes and goes, these were
        # half as many, or less: each time the replica was waited for, writes stood still until it was given up.
        ("3.0 cut from=www1 to=www2 ports=database seconds=60", 300),
        ("3.0 flap_link from=www1 to=www2 ports=database on=5 off=5 times=18", 800),
        ("3.0 freeze_process host=www2 process=mariadbd seconds=60", 250),
        ("3.0 write_on_replica host=www2", 45),
    ],
)
def test_a_replica_that_is_no_help_does_not_hold_up_the_primary(fault: str, least: int) -> None:
    """Eight writers wrote about five rows a second all the time, the time after the fault included."""
    outcome = run(parse(f"seed 1\nhosts www1 www2\nprimary www1\n{fault}\n"), policy=Policy())
    assert (outcome.violation, outcome.longest_pause < 7.0) == ("", True)
    assert outcome.acknowledged > least


def test_a_small_campaign_finds_nothing() -> None:
    tally = campaign(500_000, 100, jobs=1)
    assert tally.found == []
    assert tally.schedules == 100


@pytest.mark.parametrize("name", QUICK)
def test_a_missing_guard_is_found(name: str) -> None:
    tally = campaign(0, 1500, jobs=1, mutation=name, enough=1)
    assert tally.found, f"{mutations.BY_NAME[name].what}: nothing found"


def test_mutations_end_with_their_block() -> None:
    schedule = generate(3)
    before = run(schedule).trace
    for mutation in mutations.MUTATIONS:
        with mutations.applied(mutation.name):
            pass
    assert run(schedule).trace == before


def test_a_violation_is_made_small_and_says_the_same() -> None:
    mutation = "keep_never"
    with mutations.applied(mutation):
        seed = next(seed for seed in range(3000) if run(generate(seed)).violation)
        whole = generate(seed)
        small = shrink(whole, lambda candidate: run(candidate).violation)
        assert len(small.events) <= len(whole.events)
        assert kind(run(small).violation) == kind(run(whole).violation)
        assert run(parse(str(small))).violation == run(small).violation
    assert run(small).violation == ""
