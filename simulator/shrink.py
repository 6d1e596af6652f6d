# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Makes a schedule that breaks something shorter, as long as it still breaks the same thing.

Delta debugging (Zeller and Hildebrandt, "Simplifying and isolating failure-inducing input", 2002) on the events, then
on their options. Every candidate is a run of its own with the same seed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from simulator.schedule import Event, Schedule

_DETAIL = re.compile(r"www\d|\d[\d.:TZ-]*|'[^']*'|\([^()]*\)")
#: Options that may be left out.
_OPTIONAL = {"skip", "one_way", "ports", "seconds"}


def kind(violation: str) -> str:
    """What was broken, without names and numbers."""
    return _DETAIL.sub("#", violation)[:60]


def shrink(schedule: Schedule, broken: Callable[[Schedule], str], tries: int = 400) -> Schedule:
    """The shortest schedule found within so many tries for which ``broken`` says the same kind of thing."""
    wanted = kind(broken(schedule))
    left = [tries]

    def still(candidate: Schedule) -> bool:
        left[0] -= 1
        return left[0] >= 0 and kind(broken(candidate)) == wanted

    schedule = _fewer(schedule, still)
    for simpler in (_two_hosts, _rounder, _plainer):
        schedule = simpler(schedule, still)
    return _fewer(schedule, still)


def _fewer(schedule: Schedule, still: Callable[[Schedule], bool]) -> Schedule:
    """ddmin: leave out halves, quarters, and so on, as long as something can be left out."""
    parts = 2
    while len(schedule.events) >= 1:
        events = schedule.events
        size = max(1, len(events) // parts)
        for start in range(0, len(events), size):
            candidate = schedule.with_events(events[:start] + events[start + size :])
            if still(candidate):
                schedule, parts = candidate, max(2, parts - 1)
                break
        else:
            if size == 1:
                return schedule
            parts = min(len(events), parts * 2)
    return schedule


def _two_hosts(schedule: Schedule, still: Callable[[Schedule], bool]) -> Schedule:
    candidate = replace(schedule, hosts=("www1", "www2"))
    if len(schedule.hosts) > 2 and "www3" not in str(candidate) and still(candidate):
        return candidate
    return schedule


def _rounder(schedule: Schedule, still: Callable[[Schedule], bool]) -> Schedule:
    """Times with fewer digits."""
    for index, event in enumerate(schedule.events):
        for digits in (0, 1):
            candidate = _with(schedule, index, replace(event, at=round(event.at, digits)))
            if event.at != round(event.at, digits) and still(candidate):
                schedule = candidate
                break
    return schedule


def _plainer(schedule: Schedule, still: Callable[[Schedule], bool]) -> Schedule:
    """Without options that do not matter."""
    for index in range(len(schedule.events)):
        for key, _value in schedule.events[index].options:
            if key in _OPTIONAL:
                event = schedule.events[index]
                options = tuple(pair for pair in event.options if pair[0] != key)
                candidate = _with(schedule, index, replace(event, options=options))
                if still(candidate):
                    schedule = candidate
    return schedule


def _with(schedule: Schedule, index: int, event: Event) -> Schedule:
    events = list(schedule.events)
    events[index] = event
    return schedule.with_events(sorted(events, key=lambda each: each.at))
