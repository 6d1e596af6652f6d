"""The command: ``python -m bench [PART...]``, from the checkout, as root.

Measures the parts it is told, or all, and writes every single run into the results file as soon as it
is over. Then prints the figures. Labs are taken down in the end, also after Ctrl-C, unless --keep.

Exit status: 0 everything was measured and every goal of what was measured is reached, 1 not so, 2 wrong
usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import signal
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from failoverctl.lab.errors import LabError

from bench import beds, figures, own, results, table
from bench.beds import BenchError
from bench.machine import ROOT
from bench.peers import handmade, keepalived, patroni
from bench.recorder import Recorder

FOLDER = ROOT / "build" / "bench"
PUBLISHED = ROOT / "docs" / "reference" / "benchmarks.json"
PAGE = ROOT / "docs" / "reference" / "benchmarks.md"
_LOCK = Path("/run/failoverctl-bench.lock")


@dataclass(frozen=True)
class Options:
    """What the operator asked for. ``runs`` replaces the number of runs of every part."""

    folder: Path
    runs: int | None
    keep: bool

    def count(self, default: int) -> int:
        """Return how many runs a part makes."""
        return default if self.runs is None else self.runs


def _help(record: Recorder, options: Options) -> None:
    own.help_text(record, options.folder / "help", options.count(20))


def _setup(record: Recorder, options: Options) -> None:
    own.setups(record, options.folder / "own", options.count(3), record.say)


def _status(record: Recorder, options: Options) -> None:
    own.status(record, own.estate(options.folder / "own", record.say), options.count(10))


def _rest(record: Recorder, options: Options) -> None:
    own.rest(record, own.estate(options.folder / "own", record.say), options.count(10))


def _switchover(record: Recorder, options: Options) -> None:
    own.switchovers(record, own.estate(options.folder / "own", record.say), options.count(20))


def _power(record: Recorder, options: Options) -> None:
    own.power_losses(record, own.estate(options.folder / "own", record.say), options.count(10))


def _patroni(record: Recorder, options: Options) -> None:
    with _peers(record, options, "patroni") as bed:
        patroni.measure_switchovers(record, bed, options.count(10))
        patroni.measure_power_losses(record, bed, options.count(10))


def _keepalived(record: Recorder, options: Options) -> None:
    with _peers(record, options, "keepalived") as bed:
        keepalived.measure_moves(record, bed, options.count(10))


def _handmade(record: Recorder, options: Options) -> None:
    with _peers(record, options, "handmade") as bed:
        handmade.measure_switchovers(record, bed, options.count(10))


@contextmanager
def _peers(record: Recorder, options: Options, name: str) -> Iterator[beds.Bed]:
    with beds.fresh(beds.PEERS, options.folder / name, record.say, keep=options.keep) as bed:
        yield bed


OWN_PARTS: Mapping[str, Callable[[Recorder, Options], None]] = {
    "help": _help,
    "setup": _setup,
    "status": _status,
    "rest": _rest,
    "switchover": _switchover,
    "power": _power,
}
PEER_PARTS: Mapping[str, Callable[[Recorder, Options], None]] = {
    "patroni": _patroni,
    "keepalived": _keepalived,
    "handmade": _handmade,
}
OTHERS = ("show", "publish")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    known = ["all", *OWN_PARTS, *PEER_PARTS, *OTHERS]
    parser.add_argument(
        "parts",
        nargs="*",
        default=["all"],
        metavar="PART",
        help=f"{', '.join(known[:-2])}; show prints the file's figures again, publish puts them into the docs",
    )
    parser.add_argument("--runs", type=int, metavar="N", help="runs of each part, instead of 3 to 20")
    parser.add_argument("--folder", type=Path, default=FOLDER, metavar="DIR", help="work folder [build/bench]")
    parser.add_argument("--results", type=Path, metavar="FILE", help="results file [DIR/results.json]")
    parser.add_argument("--keep", action="store_true", help="leave the labs up")
    asked = parser.parse_args(arguments)
    unknown = [part for part in asked.parts if part not in known]
    if unknown or (asked.runs is not None and asked.runs < 1):
        parser.error(f"unknown part {unknown[0]!r}; use {', '.join(known)}" if unknown else "--runs must be 1 or more")
    options = Options(asked.folder.absolute(), asked.runs, asked.keep)
    file = asked.results.absolute() if asked.results else options.folder / "results.json"
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if "publish" in asked.parts:
            _publish(results.read(file))
        elif "show" in asked.parts:
            print(table.terminal(results.read(file)), end="")
        else:
            with _alone():
                return _measure(asked.parts, file, options)
    except (BenchError, LabError, results.ResultsError) as error:
        _say(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; what was measured is in the results file")
        return 130
    return 0


def _measure(parts: Sequence[str], file: Path, options: Options) -> int:
    """Measure parts, each whatever became of the ones before it; print the figures."""
    if os.geteuid() != 0:
        raise BenchError("the bench needs root: it boots hosts with `failoverctl lab`")
    if "all" in parts:
        file.unlink(missing_ok=True)
        parts = [*OWN_PARTS, *PEER_PARTS]
    options.folder.mkdir(parents=True, exist_ok=True)
    record = Recorder(file, _say)
    failed = False
    # Ours first and then down, so that every part has the machine for itself.
    for group in (OWN_PARTS, PEER_PARTS):
        try:
            for name in (name for name in group if name in parts):
                _say(f"--- {name}")
                try:
                    group[name](record, options)
                except (BenchError, LabError) as error:
                    failed = True
                    _say(f"{name} cannot be measured further: {error}")
        finally:
            if group is OWN_PARTS and not options.keep:
                beds.down(beds.OWN)
    print(table.terminal(record.results), end="")
    _say(f"every run is in {file}")
    reached = all(figure.reached is not False for figure in figures.figures(record.results))
    return 0 if reached and not failed else 1


def _publish(found: results.Results) -> None:
    """Make these results those of the documentation."""
    results.write(PUBLISHED, found)
    PAGE.write_text(table.page(found), encoding="utf-8")
    _say(f"written: {PAGE.relative_to(ROOT)}, {PUBLISHED.relative_to(ROOT)}")


@contextmanager
def _alone() -> Iterator[None]:
    """Be the only bench on this machine: names and addresses of its labs are fixed."""
    with _LOCK.open("w", encoding="ascii") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise BenchError("another bench is running on this machine") from error
        yield


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
