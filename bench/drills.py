"""The drill matrix: ``python -m bench.drills [SCENARIO...]``, from the checkout, as root.

Plays every shipped scenario, or those that are named, several times each on a lab of its own, and
prints one table. Every run is written into the results file as soon as its scenario is through.
With --go-on, the runs of an earlier results file count, and only what is missing is played; with
--more, they are kept and do not count.
With --over-ssh, the hosts of the lab are treated as hosts of which nothing is known but how to
reach them by ssh, and what only a lab can do to a host is left out.
The lab is taken down in the end, also after Ctrl-C, unless --keep.

Exit status: 0 all passed, 1 any failed, 5 none failed and some are unknown or were refused, 2 wrong
usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Network
from operator import eq
from pathlib import Path
from typing import Any

from failoverctl.drill import history, scenario
from failoverctl.drill.faults import CATALOGUE
from failoverctl.drill.history import DrillRun, Summary, summarise
from failoverctl.drill.scenario import Scenario
from failoverctl.lab.errors import LabError
from failoverctl.render.table import short

from bench import beds
from bench.beds import Bed, BenchError
from bench.machine import ROOT, alike, commit, facts, load, memory_mib, now, own_versions, package_versions
from bench.table import aligned, markdown

FOLDER = ROOT / "build" / "drills"
FOLDER_OVER_SSH = ROOT / "build" / "drills-over-ssh"
PUBLISHED = ROOT / "docs" / "reference" / "drills.json"
PUBLISHED_OVER_SSH = ROOT / "docs" / "reference" / "drills-over-ssh.json"
PAGE = ROOT / "docs" / "reference" / "drills.md"
MATRIX = ("matrix", IPv4Network("198.18.0.128/26"))
"""Name and network of the lab; the range is RFC 2544's, for benchmarks."""
STRANGERS = "strangers"
"""Name of an estate whose hosts are not known to be those of a lab."""
SCHEMA = 1
_PACKAGES = ("mariadb-server", "etcd-server", "keepalived", "nginx")
_HEAD = (
    "scenario",
    "n",
    "pass",
    "fail",
    "unknown",
    "other",
    "writes paused",
    "worst",
    "HTTP outage",
    "lost",
    "whole after",
)

_PAGE_HEAD = """# Drills, measured

Every shipped [scenario](scenarios.md), played by `make drill-matrix` on a lab: real Debian hosts under systemd-nspawn,
the prober outside of them. *Writes paused* is from the first bad operation to the first acknowledgement after it,
median and worst of all runs that measured it; *lost* counts acknowledged writes of all runs; *whole after* is how long
the estate took, after it was healed, until nothing was wrong by `failoverctl status`. What was expected of each
scenario is on [its page](scenarios.md). Every single run is in [drills.json](drills.json)."""

_OVER_SSH_HEAD = """## Over ssh

The same, with hosts of which nothing is known but how to reach them by ssh, as drills on real ones are: without the
scenarios that need a lab. Every single run is in [drills-over-ssh.json](drills-over-ssh.json)."""


@dataclass(frozen=True)
class Matrix:
    """Everything that was drilled on one machine. ``others`` are runs without a verdict of pass, fail or unknown."""

    machine: Mapping[str, Any]
    commit: str
    started_at: str
    finished_at: str = ""
    load: tuple[float, float] = (0.0, 0.0)
    layout: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)
    runs: tuple[DrillRun, ...] = ()
    others: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """The scenarios that were played, by name."""
        return sorted({*(run.scenario for run in self.runs), *self.others})


def as_document(matrix: Matrix) -> dict[str, Any]:
    """Return what the results file holds; figures of all runs of a scenario are in it for those who read only it."""
    return {
        "schema": SCHEMA,
        "machine": dict(matrix.machine),
        "commit": matrix.commit,
        "started_at": matrix.started_at,
        "finished_at": matrix.finished_at,
        "load": list(matrix.load),
        "layout": matrix.layout,
        "versions": dict(matrix.versions),
        "summaries": [summarise(name, matrix.runs).as_dict() for name in matrix.names],
        "runs": [{"scenario": run.scenario, **run.as_dict()} for run in matrix.runs],
        "others": {name: dict(counts) for name, counts in matrix.others.items()},
    }


def parse(document: Mapping[str, Any]) -> Matrix:
    """Return the matrix in a parsed results file. Raises BenchError when it is none."""
    try:
        if document["schema"] != SCHEMA:
            raise BenchError(f"not a results file of schema {SCHEMA}")
        before, after = document["load"]
        return Matrix(
            machine=document["machine"],
            commit=document["commit"],
            started_at=document["started_at"],
            finished_at=document["finished_at"],
            load=(before, after),
            layout=document["layout"],
            versions=document["versions"],
            runs=tuple(_run(item) for item in document["runs"]),
            others=document["others"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise BenchError(f"damaged results file: {error!r}") from error


def _run(item: Mapping[str, Any]) -> DrillRun:
    return DrillRun(
        run_id=item["run_id"],
        scenario=item["scenario"],
        estate="",
        at=item["at"],
        verdict=item["verdict"],
        reason=item["reason"] or "",
        paused_seconds=item["paused_seconds"],
        rto_from_inject=item["rto_from_inject_seconds"],
        http_seconds=item["http_seconds"],
        lost=item["lost"],
        acknowledged=item["acknowledged"],
        whole_seconds=item["whole_seconds"],
        phases=item["phases"],
        seconds=item["seconds"],
    )


def exit_code(matrix: Matrix) -> int:
    """Return the exit status: unknown is no pass, and neither is a run that was refused."""
    words = {run.verdict for run in matrix.runs} | {word for counts in matrix.others.values() for word in counts}
    if {"fail", "failed"} & words:
        return 1
    return 0 if words <= {"pass"} and words else 5


def rows(matrix: Matrix) -> list[Sequence[str]]:
    """Return the rows of the one table, with their sum last."""
    found = [_row(summarise(name, matrix.runs), matrix.others.get(name, {})) for name in matrix.names]
    total = Counter(run.verdict for run in matrix.runs)
    other = sum(sum(counts.values()) for counts in matrix.others.values())
    lost = str(sum(run.lost or 0 for run in matrix.runs))
    counted = (len(matrix.runs) + other, total["pass"], total["fail"], total["unknown"], other)
    return [*found, ("all", *map(str, counted), "", "", "", lost, "")]


def _row(summary: Summary, others: Mapping[str, int]) -> Sequence[str]:
    other = sum(others.values())
    paused = summary.paused
    return (
        summary.scenario,
        str(summary.runs + other),
        str(summary.passed),
        str(summary.failed),
        str(summary.unknown),
        str(other),
        "-" if paused is None else short(paused.median),
        "-" if paused is None else short(paused.worst),
        "-" if summary.http is None else short(summary.http.median),
        str(summary.lost) if summary.measured_runs else "-",
        "-" if summary.whole is None else short(summary.whole.median),
    )


def not_passed(matrix: Matrix) -> list[str]:
    """Return one line for each run that did not pass, with the reason."""
    lines = [f"{run.scenario}: {run.verdict}: {run.reason}" for run in matrix.runs if run.verdict != "pass"]
    lines += [f"{name}: {number} {word}" for name, counts in matrix.others.items() for word, number in counts.items()]
    return list(dict.fromkeys(lines))


def page(matrix: Matrix, over_ssh: Matrix | None = None) -> str:
    """Return docs/reference/drills.md."""
    parts = [_PAGE_HEAD, *_section(matrix)]
    if over_ssh is not None:
        parts += [_OVER_SSH_HEAD, *_section(over_ssh)]
    return "\n\n".join(parts) + "\n"


def _section(matrix: Matrix) -> list[str]:
    machine = matrix.machine
    told = not_passed(matrix)
    when = " to ".join(dict.fromkeys(moment[:10] for moment in (matrix.started_at, matrix.finished_at) if moment))
    described = (
        f"Measured {when}, commit {matrix.commit}, layout `{matrix.layout}`, on "
        f"{machine.get('cpus')} CPUs ({machine.get('cpu_model')}) with {memory_mib(machine)} MiB, {machine.get('os')}, "
        f"Linux {machine.get('kernel')}; load average {matrix.load[0]:.1f} before and {matrix.load[1]:.1f} after. "
        + ", ".join(f"{name} {version}" for name, version in matrix.versions.items())
        + "."
    )
    parts = [markdown(_HEAD, rows(matrix)), described]
    losing = sum(bool(run.lost) for run in matrix.runs)
    measured = sum(run.lost is not None for run in matrix.runs)
    if measured and not losing:
        share = f"with 95 % confidence fewer than {min(1.0, 3 / measured):.1%} of runs lose any (three over n)"
        parts.insert(1, f"No acknowledged write was lost in {measured} runs: {share}.")
    if told:
        parts += ["### Not passed", "\n".join(f"- {line}" for line in told)]
    return parts


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.drills", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help="or show, or publish; by default all")
    parser.add_argument("--runs", type=int, default=3, metavar="N", help="runs of each [3]")
    parser.add_argument("--folder", type=Path, metavar="DIR", help="work folder [build/drills, or drills-over-ssh]")
    parser.add_argument("--layout", default="drill", help="of the lab [drill]")
    parser.add_argument("--over-ssh", action="store_true", help="break the hosts as one breaks real ones")
    parser.add_argument("--keep", action="store_true", help="leave the lab up")
    earlier = parser.add_mutually_exclusive_group()
    earlier.add_argument("--go-on", action="store_true", help="keep the runs of the results file, play what is missing")
    earlier.add_argument("--more", action="store_true", help="keep the runs of the results file, play N more of each")
    asked = parser.parse_args(arguments)
    folder = (asked.folder or (FOLDER_OVER_SSH if asked.over_ssh else FOLDER)).absolute()
    known = scenario.load([], scenario.vocabulary())
    unknown = [name for name in asked.scenarios if name not in {*known, "show", "publish"}]
    if unknown or asked.runs < 1:
        parser.error(f"unknown scenario {unknown[0]!r}" if unknown else "--runs must be 1 or more")
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        if asked.scenarios == ["publish"]:
            return _publish(folder, FOLDER_OVER_SSH)
        if asked.scenarios == ["show"]:
            return _show(_read(folder / "results.json"))
        before = _read(folder / "results.json") if asked.go_on or asked.more else None
        asked_for = dict.fromkeys(asked.scenarios or playable(known, over_ssh=asked.over_ssh), asked.runs)
        left = missing(asked_for, before if asked.go_on else None)
        if before is not None and not left:
            return _show(before)
        return _play(left, before, folder, asked.layout, over_ssh=asked.over_ssh, keep=asked.keep)
    except (BenchError, LabError) as error:
        _say(f"Error: {error}")
        return 1
    except KeyboardInterrupt:
        _say("interrupted; what was drilled is in the results file")
        return 130


def playable(known: Mapping[str, Scenario], *, over_ssh: bool) -> list[str]:
    """Return the names of the scenarios that can be played; over ssh, those without a fault that needs a lab."""
    return [
        name
        for name, one in known.items()
        if not over_ssh or not any(CATALOGUE[step.fault].lab_only for step in one.faults)
    ]


def missing(wanted: Mapping[str, int], before: Matrix | None) -> dict[str, int]:
    """Return how many runs of each scenario are still to be played; those of which there are enough are left out."""
    have = Counter(run.scenario for run in before.runs) if before else Counter()
    return {name: runs - have[name] for name, runs in wanted.items() if runs > have[name]}


def gone_on(before: Matrix | None, here: Matrix) -> Matrix:
    """Return the matrix that runs made ``here`` are added to.

    :raises BenchError: the runs before were made on another machine, layout, or versions of what is tested.
    """
    if before is None:
        return here
    for name, same in (("machine", alike), ("layout", eq), ("versions", eq)):
        old, new = getattr(before, name), getattr(here, name)
        if not same(old, new):
            raise BenchError(f"--go-on or --more: {name} in the results file: {old}; here: {new}")
    commits = before.commit if here.commit in before.commit.split(", ") else f"{before.commit}, {here.commit}"
    return replace(before, commit=commits)


def _play(
    runs: Mapping[str, int], before: Matrix | None, folder: Path, layout: str, *, over_ssh: bool, keep: bool
) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        estate = STRANGERS if over_ssh else ""
        bed = beds.up(MATRIX, folder / "estate", _say, layout=layout, estate=estate)
        _say("setup")
        done = bed.failoverctl("setup", "--yes")
        if done.status != 0:
            raise BenchError(f"setup failed: {beds.last_line(done.errors)}")
        fresh = Matrix(
            machine=facts(),
            commit=commit(),
            started_at=now(),
            load=(load(), 0.0),
            layout=f"{layout} over ssh" if over_ssh else layout,
            versions={**own_versions(), **package_versions(bed, beds.DATA_HOSTS[0], _PACKAGES)},
        )
        matrix = gone_on(before, fresh)
        for name, number in runs.items():
            matrix = _drill(bed, name, number, matrix)
            _write(folder / "results.json", matrix)
        return _show(matrix)
    finally:
        if not keep:
            beds.down(MATRIX)


def _drill(bed: Bed, name: str, runs: int, matrix: Matrix) -> Matrix:
    """Play a scenario and return the matrix with its runs; an estate that is broken is mended before."""
    if bed.failoverctl("status").status != 0:
        _say(f"{name}: the estate is not whole; setting it up again")
        bed.failoverctl("resume-automation", "--yes")
        bed.failoverctl("setup", "--yes")
    done = bed.failoverctl("drill", "run", name, "--repeat", str(runs), "--yes", "--json")
    try:
        document = json.loads(done.output)
    except ValueError as error:
        raise BenchError(f"{name}: {beds.last_line(done.errors)}") from error
    ended = [item for item in document["runs"] if item["verdict"] in history.VERDICTS]
    others = Counter(str(item["verdict"]) for item in document["runs"] if item["verdict"] not in history.VERDICTS)
    words = Counter(str(item["verdict"]) for item in document["runs"])
    _say(f"{name}: " + ", ".join(f"{number} {word}" for word, number in words.items()))
    for item in document["runs"]:
        if item["verdict"] != "pass":
            _say(f"  {item['run_id']}: {item['verdict']}: {item['reason']}")
    others.update(matrix.others.get(name, {}))
    return replace(
        matrix,
        finished_at=now(),
        load=(matrix.load[0], load()),
        runs=(*matrix.runs, *map(history.of_result, ended)),
        others={**matrix.others, **({name: dict(others)} if others else {})},
    )


def _show(matrix: Matrix) -> int:
    print(aligned(_HEAD, rows(matrix)))
    for line in not_passed(matrix):
        print(line)
    return exit_code(matrix)


def _publish(folder: Path, over_ssh: Path) -> int:
    """Make the results in these folders those of the documentation."""
    matrix = _read(folder / "results.json")
    _write(PUBLISHED, matrix)
    strangers = _read(over_ssh / "results.json") if (over_ssh / "results.json").exists() else None
    if strangers is not None:
        _write(PUBLISHED_OVER_SSH, strangers)
    elif PUBLISHED_OVER_SSH.exists():
        strangers = _read(PUBLISHED_OVER_SSH)
    PAGE.write_text(page(matrix, strangers), encoding="utf-8")
    _say(f"written: {PAGE.relative_to(ROOT)}, {PUBLISHED.relative_to(ROOT)}")
    return 0


def _read(path: Path) -> Matrix:
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as error:
        raise BenchError(f"{path}: {error}") from error


def _write(path: Path, matrix: Matrix) -> None:
    staged = path.with_name(f"{path.name}.new")
    staged.write_text(json.dumps(as_document(matrix), indent=1) + "\n", encoding="utf-8")
    shutil.move(staged, path)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
