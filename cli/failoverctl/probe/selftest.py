"""Measures the prober: ``python -m failoverctl.probe.selftest --windows 200``.

Servers of its own fail in programmed windows; the prober measures them as it would measure an
estate, and the difference of each pause to the truth is its error. Output: mean, 95th percentile
and worst absolute error, and the bias. Exit code 0 when the mean is below the limit and no window
was missed, 1 when not, 3 when the prober was disturbed and the figures prove nothing.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from failoverctl.probe.checker import ProbeResult
from failoverctl.probe.fake import (
    ADDRESS,
    FakeDatabase,
    FakeHttp,
    FakeMysql,
    FakeServer,
    Servers,
    Window,
    WindowKind,
    text_page,
)
from failoverctl.probe.files import analyse
from failoverctl.probe.model import HttpTarget, Reader, Target, WriteTarget
from failoverctl.probe.process import Probe, child_environment

LIMIT_SECONDS = 0.050
SHORTEST_SECONDS = 0.2
LONGEST_SECONDS = 3.0
# Longer than the run of good operations that ends an outage, so that windows stay apart.
_GAP_SECONDS = 1.4
_LEAD_SECONDS = 2.5


@dataclass(frozen=True, slots=True)
class WindowError:
    """One window and what the prober made of it; seconds."""

    stream: str
    kind: WindowKind
    truth: float
    measured: float

    @property
    def error(self) -> float:
        """Measured minus true length in seconds."""
        return self.measured - self.truth


@dataclass(frozen=True, slots=True)
class Accuracy:
    """The errors of all windows. ``disturbed`` names what spoils them."""

    errors: tuple[WindowError, ...]
    disturbed: tuple[str, ...]

    @property
    def mean(self) -> float:
        """Mean absolute error in seconds."""
        return sum(abs(e.error) for e in self.errors) / len(self.errors)

    @property
    def bias(self) -> float:
        """Mean error in seconds; positive means outages are measured too long."""
        return sum(e.error for e in self.errors) / len(self.errors)

    @property
    def missed(self) -> int:
        """Windows in which no outage was seen."""
        return sum(1 for e in self.errors if e.measured == 0.0)

    def percentile(self, share: float) -> float:
        """Absolute error in seconds that ``share`` of the windows do not exceed (nearest rank)."""
        values = sorted(abs(e.error) for e in self.errors)
        return values[max(0, math.ceil(share * len(values)) - 1)]

    def lines(self) -> list[str]:
        """Return the figures as text."""
        lines = [_figures("all", self)]
        for stream, kind in sorted({(e.stream, e.kind) for e in self.errors}):
            chosen = tuple(e for e in self.errors if (e.stream, e.kind) == (stream, kind))
            lines.append(_figures(f"{stream} {kind}", Accuracy(chosen, ())))
        return lines + [f"disturbed: {text}" for text in self.disturbed]


def _figures(name: str, accuracy: Accuracy) -> str:
    return (
        f"{name:<14} n={len(accuracy.errors):<4} mean {accuracy.mean * 1000:5.1f} ms   "
        f"p95 {accuracy.percentile(0.95) * 1000:5.1f} ms   "
        f"worst {accuracy.percentile(1.0) * 1000:5.1f} ms   "
        f"bias {accuracy.bias * 1000:+5.1f} ms   missed {accuracy.missed}"
    )


def plan_windows(count: int, kinds: Sequence[WindowKind], start: float, chance: random.Random) -> tuple[Window, ...]:
    """Return ``count`` windows of uniform length with a little chance between them."""
    windows = []
    at = start
    for number in range(count):
        at += chance.uniform(0.0, 0.1)
        seconds = chance.uniform(SHORTEST_SECONDS, LONGEST_SECONDS)
        windows.append(Window(at, seconds, kinds[number % len(kinds)]))
        at += seconds + _GAP_SECONDS
    return tuple(windows)


def match(stream: str, result: ProbeResult, windows: Sequence[Window], zero: float) -> tuple[WindowError, ...]:
    """Return each window with the sum of the pauses that overlap it."""
    availability = result.writes if stream == "write" else result.http
    outages = availability.outages if availability is not None else ()
    if availability is not None and availability.stall is not None:
        outages = (*outages, availability.stall)
    errors = []
    for window in windows:
        start, end = window.start - zero, window.end - zero
        measured = sum(
            outage.paused_seconds
            for outage in outages
            if outage.start <= end + 0.2 and (outage.end or math.inf) >= start - 0.2
        )
        errors.append(WindowError(stream, window.kind, window.seconds, measured))
    return tuple(errors)


def measure(
    windows: int,
    *,
    lanes: int,
    seed: int,
    folder: Path,
    kinds: Sequence[WindowKind] = ("refuse", "silent"),
) -> Accuracy:
    """Run ``windows`` outages in ``lanes`` probes side by side and return the prober's errors.

    Each lane measures a database and a web server that fail independently of each other. Takes
    about 3 s for every 2 windows of a lane. The servers run in a process of their own, as in real
    life.
    """
    chance = random.Random(seed)
    each = math.ceil(windows / (2 * lanes))
    start = time.monotonic() + _LEAD_SECONDS + 0.3 * lanes
    plans = [
        {
            "write": plan_windows(each, kinds, start, chance),
            # A web server cannot be read-only.
            "http": plan_windows(each, [k for k in kinds if k != "read_only"] or ["refuse"], start, chance),
        }
        for _ in range(lanes)
    ]
    errors: list[WindowError] = []
    disturbed: list[str] = []
    lock = threading.Lock()

    def run(number: int, ports: Mapping[str, int]) -> None:
        plan = plans[number]
        lane = folder / f"lane{number}"
        target = Target(
            run_id=f"selftest-{number}",
            write=WriteTarget(ADDRESS, ports["write"], "probe", "probe", "failover_probe"),
            http=HttpTarget(ADDRESS, ports["http"], "fake.example.org", "/"),
            readers=(Reader("fake", ADDRESS, ports["write"]),),
        )
        with Probe(target, lane):
            end = max(window.end for windows in plan.values() for window in windows)
            time.sleep(max(0.0, end + _GAP_SECONDS - time.monotonic()))
        result = analyse(lane)
        zero = json.loads((lane / "meta.json").read_text(encoding="utf-8"))["monotonic_zero"]
        with lock:
            for stream in ("write", "http"):
                errors.extend(match(stream, result, plan[stream], zero))
            late = result.prober.late_ms
            if result.prober.stalled or result.prober.skipped:
                disturbed.append(
                    f"lane {number}: {result.prober.stalled + result.prober.skipped} operations left "
                    f"late, the latest by {0.0 if late is None else late.max:.0f} ms"
                )

    with subprocess.Popen(
        [sys.executable, "-m", "failoverctl.probe.selftest", "--serve"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=child_environment(),
        text=True,
    ) as servers:
        try:
            if servers.stdin is None or servers.stdout is None:
                raise RuntimeError("the servers have no pipes")
            spec = [{name: [asdict(w) for w in ws] for name, ws in plan.items()} for plan in plans]
            servers.stdin.write(json.dumps(spec) + "\n")
            servers.stdin.flush()
            ports = json.loads(servers.stdout.readline())
            threads = [threading.Thread(target=run, args=(number, ports[number])) for number in range(lanes)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            servers.terminate()
    return Accuracy(tuple(errors), tuple(disturbed))


def _serve() -> int:
    """Run the servers described by one JSON line on stdin, print their ports, stay until killed."""
    spec: list[dict[str, list[dict[str, Any]]]] = json.loads(sys.stdin.readline())
    lanes: list[dict[str, FakeServer]] = [
        {
            "write": FakeMysql(FakeDatabase("fake"), [Window(**w) for w in lane["write"]]),
            "http": FakeHttp(lambda _path: text_page("fake"), [Window(**w) for w in lane["http"]]),
        }
        for lane in spec
    ]
    with Servers([server for lane in lanes for server in lane.values()]):
        print(json.dumps([{n: s.port for n, s in lane.items()} for lane in lanes]), flush=True)
        sys.stdin.read()
    return 0


def main(arguments: list[str] | None = None) -> int:
    """Run the self-test; return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m failoverctl.probe.selftest", description="Measure the prober's own error."
    )
    parser.add_argument("--windows", type=int, default=200, help="outages to measure")
    parser.add_argument("--lanes", type=int, default=4, help="probes side by side")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--kinds",
        default="refuse,silent",
        help="kinds of outage, separated by commas: " + ", ".join(get_args(WindowKind)),
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.serve:
        return _serve()
    kinds = options.kinds.split(",")
    unknown = [kind for kind in kinds if kind not in get_args(WindowKind)]
    if unknown or options.windows < 1 or options.lanes < 1:
        parser.error(f"unknown kinds {unknown}" if unknown else "expected at least one window")
    with tempfile.TemporaryDirectory(prefix="failoverctl-selftest-") as folder:
        accuracy = measure(
            options.windows,
            lanes=options.lanes,
            seed=options.seed,
            folder=Path(folder),
            kinds=kinds,
        )
    if options.json:
        print(
            json.dumps(
                {
                    "schema": 1,
                    "windows": len(accuracy.errors),
                    "mean_ms": round(accuracy.mean * 1000, 1),
                    "p95_ms": round(accuracy.percentile(0.95) * 1000, 1),
                    "worst_ms": round(accuracy.percentile(1.0) * 1000, 1),
                    "bias_ms": round(accuracy.bias * 1000, 1),
                    "missed": accuracy.missed,
                    "limit_ms": LIMIT_SECONDS * 1000,
                    "disturbed": list(accuracy.disturbed),
                }
            )
        )
    else:
        print("\n".join(accuracy.lines()))
    if accuracy.disturbed:
        return 3
    return 0 if accuracy.mean < LIMIT_SECONDS and not accuracy.missed else 1


if __name__ == "__main__":
    sys.exit(main())
