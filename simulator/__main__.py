# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""The command: ``python -m simulator``, from the checkout.

  python -m simulator [--first N] [--count N] [--jobs N]   play the schedules of that many seeds
  python -m simulator replay FILE | --seed N [--log] [--without NAME]
                                                           play one of them again, perhaps without a guard
  python -m simulator mutations [NAME...] [--count N]      remove one guard after the other: each must be found

A violation is printed with its seed and the shortest schedule that still shows it; ``replay`` takes that text.

Exit status: 0 nothing was found (mutations: all were), 1 something was, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from simulator import mutations
from simulator.campaign import Tally, campaign, quiet
from simulator.run import run
from simulator.schedule import Schedule, ScheduleError, generate, parse
from simulator.shrink import shrink

FOLDER = Path("build/simulate")
PROGRESS_SECONDS = 10.0


class Progress:
    """A line now and then on stderr."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._last = time.monotonic()

    def __call__(self, tally: Tally, seconds: float) -> None:
        if time.monotonic() - self._last < PROGRESS_SECONDS:
            return
        self._last = time.monotonic()
        rate = tally.schedules / max(seconds, 0.001)
        left = (self._count - tally.schedules) / max(rate, 0.001)
        say(f"{tally.schedules} of {self._count} schedules, {rate:.0f} a second, {clock(left)} left")


def say(line: str) -> None:
    """Talk."""
    print(line, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, or hours and minutes."""
    whole = round(seconds)
    return f"{whole // 3600} h {whole % 3600 // 60:02} min" if whole >= 3600 else f"{whole // 60}:{whole % 60:02}"


def play(first: int, count: int, jobs: int) -> int:
    """Play many; 1 when something was found."""
    began = time.monotonic()
    tally = campaign(first, count, jobs=jobs, progress=Progress(count))
    for seed, violation in tally.found[:3]:
        report(generate(seed), violation)
    seconds = time.monotonic() - began
    print(
        f"{tally.schedules} schedules of seeds {first} to {first + tally.schedules - 1} in {clock(seconds)}"
        f" ({tally.schedules / seconds:.0f} a second): {tally.simulated_seconds / 3600:.0f} simulated hours,"
        f" {tally.acknowledged} acknowledged writes, {len(tally.found)} violations"
    )
    return 1 if tally.found else 0


def report(schedule: Schedule, violation: str) -> None:
    """Print a violation, and the shortest schedule that shows it; keep it as a file."""
    print(f"seed {schedule.seed}: {violation}")
    with quiet():
        small = shrink(schedule, lambda candidate: run(candidate).violation)
        again = run(small).violation
    path = FOLDER / f"{schedule.seed}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"# {again}\n{small}", encoding="utf-8")
    print(f"shortest schedule, to be played again with `python -m simulator replay {path}`:")
    print("".join(f"  {line}\n" for line in str(small).splitlines()), flush=True)


def replay(schedule: Schedule, *, log: bool) -> int:
    """Play one; 1 when something was found."""
    print(schedule, end="")
    if log:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        outcome = run(schedule, log=say)
    else:
        with quiet():
            outcome = run(schedule)
    print(
        f"{outcome.violation or 'nothing is wrong'}\n"
        f"{outcome.seconds:.0f} simulated seconds, {outcome.acknowledged} acknowledged writes,"
        f" longest pause {outcome.longest_pause:.1f} s, trace {outcome.trace}"
    )
    return 1 if outcome.violation else 0


def mutate(names: Sequence[str], count: int, jobs: int) -> int:
    """Look for every mutation; 1 when one was not found."""
    missed = 0
    print(f"{'mutation':<22} {'found at':>8}  what the simulator saw")
    for name in names or list(mutations.BY_NAME):
        known = mutations.BY_NAME[name].seed
        tally = campaign(known, 1, jobs=1, mutation=name) if 0 < known < count else Tally()
        if not tally.found:
            tally = campaign(0, count, jobs=jobs, mutation=name, enough=1, progress=Progress(count))
        missed += not tally.found
        seed, violation = tally.found[0] if tally.found else (-1, f"nothing in {count} schedules")
        print(f"{name:<22} {seed + 1 if tally.found else '-':>8}  {violation[:110]}", flush=True)
    return 1 if missed else 0


def main() -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, metavar="N", help="first seed")
    parser.add_argument("--count", type=int, default=10_000, metavar="N", help="number of seeds")
    parser.add_argument("--jobs", type=int, default=0, metavar="N", help="processes; all cores by default")
    commands = parser.add_subparsers(dest="command")
    again = commands.add_parser("replay", help="play one schedule")
    again.add_argument("file", nargs="?", type=Path)
    again.add_argument("--seed", type=int)
    again.add_argument("--without", default="", choices=list(mutations.BY_NAME), help="remove this guard")
    again.add_argument("--log", action="store_true", help="tell what agents say and do")
    less = commands.add_parser("mutations", help="remove one guard after the other")
    less.add_argument("names", nargs="*", metavar="NAME", choices=[[], *mutations.BY_NAME])
    less.add_argument("--count", type=int, default=10_000, metavar="N", dest="mutation_count")
    options = parser.parse_args()
    try:
        match options.command:
            case "replay":
                if (options.file is None) == (options.seed is None):
                    parser.error("replay wants either a file or --seed")
                try:
                    schedule = parse(options.file.read_text("utf-8")) if options.file else generate(options.seed)
                except (OSError, ScheduleError) as error:
                    parser.error(str(error))
                with mutations.applied(options.without):
                    return replay(schedule, log=options.log)
            case "mutations":
                return mutate(options.names, options.mutation_count, options.jobs)
        return play(options.first, options.count, options.jobs)
    except KeyboardInterrupt:
        say("interrupted")
        return 130


if __name__ == "__main__":
    os.nice(5)
    sys.exit(main())
