"""Runs the project's checks stage by stage, with time limits, and says at the end how each went.

All stages are run, even when one fails. Labs that stages make are taken down before and after: also after a failure,
Ctrl-C or SIGTERM. Exit status: 0 all passed, 1 a stage failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

TOP = Path(__file__).resolve().parent.parent
#: Held by whoever tests with labs: two runs at once would take each other's hosts away.
LOCK = Path("/run/failoverctl-test.lock")
#: Seconds in which an interrupted command has to clean up after itself, before it is killed.
GRACE_SECONDS = 90.0

Command = tuple[str, ...]


@dataclass(frozen=True)
class Stage:
    """Commands that belong together: all are run, within the limit, and the stage fails if one does.

    ``labs`` are the names of the labs it makes, which are its own: they are removed before and after. A stage that
    needs root for labs with names of their own, which it removes itself, has only ``needs_root``.
    """

    name: str
    what: str
    limit_seconds: float
    commands: Callable[[], Iterable[Command]]
    needs_root: bool = False
    labs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """How a stage went. ``problems`` are the commands that failed, each with how it ended."""

    stage: Stage
    seconds: float
    problems: tuple[str, ...]


def lint() -> Iterable[Command]:
    """Style, types, and what the linter of each language says."""
    yield "ruff", "check", "."
    yield "ruff", "format", "--check", "."
    yield "mypy", "bench", "cli", "plugins", "roles/agent/files", "scripts", "simulator", "tests"
    yield "yamllint", "--strict", "."
    yield "ansible-lint", "--offline"
    yield "antsibull-changelog", "lint"
    yield "shellcheck", *shell_scripts()


def shell_scripts() -> Iterable[str]:
    """The files that sh or bash runs."""
    for pattern in (".ci/*", "scripts/*", "roles/*/files/**/*"):
        for path in sorted(TOP.glob(pattern)):
            if path.is_file() and re.match(rb"#!.*\b(ba)?sh\b", path.read_bytes()):
                yield str(path.relative_to(TOP))


def pytest(marker: str = "") -> Callable[[], Iterable[Command]]:
    """One run of pytest: the tests with a marker, or those that need none of what the markers stand for, on all cores.

    Hypothesis plays the same examples each time; ``pytest`` by hand looks for new ones.
    """
    chosen = ("-m", marker) if marker else ("--numprocesses=auto", "--dist=worksteal")
    return lambda: [("pytest", "--hypothesis-profile=ci", *chosen)]


def molecule() -> Iterable[Command]:
    """Each scenario by itself, so that it begins with bare hosts."""
    for path in sorted(TOP.glob("molecule/*/molecule.yml")):
        if path.parent.name != "default":
            yield "molecule", "test", "--no-command-borders", "--scenario-name", path.parent.name


def simulate() -> Iterable[Command]:
    """Ten thousand schedules find nothing; without one of the agent's guards they do."""
    yield sys.executable, "-m", "simulator", "--count", "10000"
    yield sys.executable, "-m", "simulator", "mutations"


STAGES = (
    Stage("lint", "style and types", 300, lint),
    Stage("unit", "what needs no hosts", 600, pytest()),
    Stage("simulate", "the agents against faults in any order, and without each guard", 900, simulate),
    Stage("packaging", "wheel and collection, installed elsewhere", 300, pytest("packaging")),
    Stage("sanity", "ansible-test on the collection as published", 420, lambda: [("scripts/sanity",)]),
    Stage("lab", "real hosts on this machine", 420, pytest("lab"), needs_root=True),
    Stage("molecule", "each role on bare hosts", 1200, molecule, True, ("molecule",)),
    Stage("e2e", "from bare hosts to measured switchovers", 1680, pytest("e2e"), True, ("ci",)),
)


def environment() -> dict[str, str]:
    """Return the environment of all commands: the tools of .venv, and nothing of Ansible's in the home folder."""
    cache = TOP / ".cache"
    plain = {} if sys.stdout.isatty() else {"NO_COLOR": "1"}
    return os.environ | {
        "PATH": f"{TOP / '.venv' / 'bin'}:{os.environ['PATH']}",
        "ANSIBLE_HOME": str(cache / "ansible"),
        "MOLECULE_GLOB": "molecule/*/molecule.yml",
        "XDG_STATE_HOME": str(cache / "state"),
        **plain,
    }


def run(command: Command, limit_seconds: float) -> str:
    """Run a command in a process group of its own and return what was wrong, nothing if it passed.

    :raises KeyboardInterrupt: after the command was interrupted, too, and has ended.
    """
    say(f"$ {' '.join(command)}")
    process = subprocess.Popen(command, cwd=TOP, env=environment(), stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        status = process.wait(max(limit_seconds, 0.0))
    except subprocess.TimeoutExpired:
        end(process)
        return "ran out of time"
    except KeyboardInterrupt:
        end(process)
        raise
    return f"exit status {status}" if status else ""


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process group: as Ctrl-C would, so that it cleans up, then without mercy."""
    for number, seconds in ((signal.SIGINT, GRACE_SECONDS), (signal.SIGTERM, 5.0), (signal.SIGKILL, 5.0)):
        try:
            os.killpg(process.pid, number)
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            continue
        except ProcessLookupError:
            return


def run_stage(stage: Stage) -> Outcome:
    """Run all commands of a stage within its time limit."""
    say(f"\n=== {stage.name}: {stage.what}")
    begun = time.monotonic()
    problems = []
    for command in stage.commands():
        problem = run(command, stage.limit_seconds - (time.monotonic() - begun))
        if problem:
            problems.append(f"{' '.join(command)[:100]}: {problem}")
            say(f"!!! {problems[-1]}")
    return Outcome(stage, time.monotonic() - begun, tuple(problems))


def take_down(labs: Iterable[str]) -> None:
    """Remove labs, if they are there."""
    for lab in labs:
        done = subprocess.run(
            [sys.executable, "-m", "failoverctl.lab", "--name", lab, "down"],
            cwd=TOP,
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode != 0:
            say(done.stderr)


def table(outcomes: Sequence[Outcome]) -> str:
    """Return how each stage went; the last line is one that readers of CI know."""
    lines = [f"{'stage':<10} {'result':<7} {'time':>6}  {'limit':>6}"]
    for outcome in outcomes:
        result = "failed" if outcome.problems else "passed"
        took, limit = clock(outcome.seconds), clock(outcome.stage.limit_seconds)
        lines.append(f"{outcome.stage.name:<10} {result:<7} {took:>6}  {limit:>6}")
        lines += [f"  {problem}" for problem in outcome.problems]
    failed = sum(bool(outcome.problems) for outcome in outcomes)
    total = clock(sum(outcome.seconds for outcome in outcomes))
    return "\n".join([*lines, f"{'all':<18} {total:>6}", "", f"{len(outcomes) - failed} passed, {failed} failed"])


def clock(seconds: float) -> str:
    """Return a duration as minutes and seconds."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02}"


def say(line: str) -> None:
    """Print a line before what the next command prints."""
    print(line, flush=True)


def interrupt(_number: int, _frame: FrameType | None) -> None:
    """Handle the first SIGINT or SIGTERM; later ones must not stop the cleaning up."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    say("\ninterrupted; what runs may clean up after itself")
    raise KeyboardInterrupt


def main() -> int:
    """Run the stages named on the command line and return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [stage.name for stage in STAGES]
    parser.add_argument("stages", nargs="*", metavar="STAGE", help=f"of {', '.join(names)}; all if none is named")
    wanted = parser.parse_args().stages or names
    unknown = sorted(set(wanted) - set(names))
    if unknown:
        parser.error(f"no stage {', '.join(unknown)}; there are {', '.join(names)}")
    stages = [stage for stage in STAGES if stage.name in wanted]
    labs = [lab for stage in stages for lab in stage.labs]
    if any(stage.needs_root for stage in stages) and os.geteuid() != 0:
        others = [stage.name for stage in STAGES if not stage.needs_root]
        parser.error(f"labs need root; without it there are {', '.join(others)}")
    if labs:
        lock = LOCK.open("w")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            parser.error("another test run on this machine uses the labs; let it end first")
    signal.signal(signal.SIGINT, interrupt)
    signal.signal(signal.SIGTERM, interrupt)
    outcomes = []
    try:
        take_down(labs)
        for stage in stages:
            outcomes.append(run_stage(stage))
    except KeyboardInterrupt:
        return 130
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        take_down(labs)
        say(f"\n{table(outcomes)}")
    return 1 if any(outcome.problems for outcome in outcomes) else 0


if __name__ == "__main__":
    sys.exit(main())
