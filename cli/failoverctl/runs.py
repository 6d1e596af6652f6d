"""The folders of runs: making one, listing them, and what earlier runs teach.

A run is one folder ``<UTC time>-<runbook>-<4 hex>`` under the runs directory with request.json,
journal.jsonl, ansible/, probe/, result.json and report.html. Only its owner may read it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from failoverctl.errors import ExitCode, FailoverctlError
from failoverctl.journal import RunState, fold, read_journal

SCHEMA = 1

_NAME = re.compile(r"^(?P<at>\d{8}T\d{6}Z)-(?P<runbook>[a-z_]+)-[0-9a-f]{4}$")


@dataclass(frozen=True)
class RunFolder:
    """One run on disk. Everything is read when asked for; a torn or absent file reads as empty."""

    path: Path

    @property
    def run_id(self) -> str:
        """The name of the folder, which is the id of the run everywhere."""
        return self.path.name

    @property
    def runbook(self) -> str:
        """The runbook, from the name of the folder."""
        matched = _NAME.match(self.path.name)
        return matched["runbook"] if matched else ""

    @property
    def started_at(self) -> datetime:
        """When it started, from the name of the folder, to the second."""
        matched = _NAME.match(self.path.name)
        begun = matched["at"] if matched else "19700101T000000Z"
        return datetime.strptime(begun, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)

    @property
    def journal_path(self) -> Path:
        """The file journal.jsonl."""
        return self.path / "journal.jsonl"

    @property
    def report_path(self) -> Path:
        """The file report.html."""
        return self.path / "report.html"

    def request(self) -> Mapping[str, Any]:
        """Return request.json."""
        return _read_json(self.path / "request.json")

    def result(self) -> Mapping[str, Any]:
        """Return result.json; empty while the run goes on, and for ever when it died."""
        return _read_json(self.path / "result.json")

    def closed(self) -> Mapping[str, Any]:
        """Return closed.json: how a run without a good end was finished or undone later; empty if it was not."""
        return _read_json(self.path / "closed.json")

    def close(self, how: str, by: str | None, now: datetime | None = None) -> None:
        """Note that nothing is left to do for this run.

        :param how: ``resumed`` or ``rolled back``.
        :param by: the run that did it, None when there was nothing to do.
        """
        at = (now or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="milliseconds")
        write_json(self.path / "closed.json", {"schema": SCHEMA, "run_id": self.run_id, "how": how, "by": by, "at": at})

    def state(self) -> RunState:
        """Return the fold of the journal."""
        path = self.journal_path
        return fold(read_journal(path)) if path.exists() else RunState()

    def verdict(self) -> str:
        """Return the verdict of the result, or ``running``, or ``died`` without one.

        A run died when it has no result and the process that ran it is gone.
        """
        verdict = str(self.result().get("verdict", ""))
        if verdict:
            return verdict
        return "running" if _alive(self.request().get("process")) else "died"


def create(
    directory: Path,
    runbook: str,
    request: Mapping[str, Any],
    *,
    now: datetime | None = None,
) -> RunFolder:
    """Make the folder of a new run and write its request.json.

    :param directory: the runs directory; it is made when it is not there.
    :param request: what the run was asked to do; ``schema``, ``run_id``, ``runbook`` and
        ``process`` are added.
    :raises FailoverctlError: when the folder cannot be written.
    """
    moment = (now or datetime.now(UTC)).astimezone(UTC)
    name = f"{moment:%Y%m%dT%H%M%SZ}-{runbook}-{secrets.token_hex(2)}"
    path = directory / name
    document = {
        "schema": SCHEMA,
        "run_id": name,
        "runbook": runbook,
        "process": _process(os.getpid()),
        **request,
    }
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path.mkdir(mode=0o700)
        write_json(path / "request.json", document)
    except OSError as error:
        raise FailoverctlError(
            f"the folder of the run cannot be written: {path}: {error.strerror}.",
            why="every run keeps its journal, so that it can be understood afterwards.",
            fix="make the state directory writable, or choose another with --state-directory.",
            exit_code=ExitCode.USAGE,
        ) from error
    return RunFolder(path)


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a document so that a reader sees the old file or the whole new one, mode 0600."""
    part = path.with_name(f".{path.name}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(document, file, indent=2, ensure_ascii=False, default=str)
        file.write("\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


def list_runs(directory: Path) -> list[RunFolder]:
    """Return all runs, the oldest first. A directory that is not there holds none."""
    if not directory.is_dir():
        return []
    found = (RunFolder(path) for path in directory.iterdir() if _NAME.match(path.name))
    return sorted((run for run in found if run.path.is_dir()), key=_order)


def find(directory: Path, name: str | None) -> RunFolder:
    """Return the run of that id, or of an unambiguous beginning or end of it; None is the last.

    :raises FailoverctlError: when there is none, or more than one.
    """
    runs = list_runs(directory)
    if name is None:
        matching = runs[-1:]
    else:
        matching = [run for run in runs if run.run_id == name]
        matching = matching or [run for run in runs if run.run_id.startswith(name) or run.run_id.endswith(name)]
    if len(matching) == 1:
        return matching[0]
    if not matching:
        raise FailoverctlError(
            f"there is no run {name!r} in {directory}." if name else f"no run yet in {directory}.",
            fix="failoverctl runs list",
            exit_code=ExitCode.USAGE,
        )
    raise FailoverctlError(
        f"{name!r} fits {len(matching)} runs: " + ", ".join(run.run_id for run in matching),
        fix="give more of the name.",
        exit_code=ExitCode.USAGE,
    )


#: Runbooks that change nothing and so are never left half-way.
_READING = ("check", "status")

#: Runs that ended so have changed nothing.
_NOT_BEGUN = ("locked", "refused", "invalid")


def unfinished(directory: Path, estate: str, verdicts: tuple[str, ...] = ("died", "interrupted")) -> RunFolder | None:
    """Return the last run of an estate that changes something, if it ended so and nobody has seen to it since."""
    for run in reversed(list_runs(directory)):
        request = run.request()
        if str(request.get("estate", "")) != estate or run.runbook in _READING or request.get("check"):
            continue
        verdict = run.verdict()
        if verdict in _NOT_BEGUN:
            continue
        # A drill undoes everything that it did, however it ends; unless it is killed.
        left = verdict in verdicts and (run.runbook != "drill" or verdict == "died")
        return run if left and not run.closed() else None
    return None


@dataclass(frozen=True)
class Figures:
    """Median and worst of `count` earlier runs, in the unit of what was measured."""

    count: int
    median: float
    worst: float


@dataclass(frozen=True)
class History:
    """What earlier successful runs of one runbook on one estate measured.

    Durations and outages are in seconds. None means that no earlier run measured it.
    """

    duration: Figures | None
    writes_outage: Figures | None
    http_outage: Figures | None
    lost_writes: int | None
    acknowledged_writes: int | None


def history(directory: Path, runbook: str, estate: str) -> History:
    """Return what the earlier runs teach. Runs with --check, and runs that failed, do not count."""
    results = [
        run.result()
        for run in list_runs(directory)
        if run.runbook == runbook and str(run.request().get("estate", "")) == estate and not run.request().get("check")
    ]
    done = [result for result in results if result.get("verdict") in ("ok", "pass", "fail")]
    writes = [_probe(result, "writes") for result in done if _probe(result, "writes")]
    http = [_probe(result, "http") for result in done if _probe(result, "http")]
    return History(
        duration=_figures(result.get("seconds") for result in done),
        writes_outage=_figures(map(paused_seconds, writes)),
        http_outage=_figures(map(paused_seconds, http)),
        lost_writes=sum(int(item.get("lost") or 0) for item in writes) if writes else None,
        acknowledged_writes=(sum(int(item.get("acknowledged") or 0) for item in writes) if writes else None),
    )


def paused_seconds(part: Mapping[str, Any]) -> float | None:
    """Return for how long clients were not served, from ``writes`` or ``http`` of a probe."""
    for key in ("paused_seconds", "outage_seconds"):
        if isinstance(part.get(key), int | float):
            return float(part[key])
    return None


def _figures(values: Iterable[object]) -> Figures | None:
    numbers = [float(value) for value in values if isinstance(value, int | float)]
    if not numbers:
        return None
    return Figures(len(numbers), round(median(numbers), 3), round(max(numbers), 3))


def _probe(result: Mapping[str, Any], part: str) -> Mapping[str, Any]:
    probe = result.get("probe")
    found = probe.get(part) if isinstance(probe, dict) else None
    return found if isinstance(found, dict) else {}


def _order(run: RunFolder) -> tuple[datetime, float, str]:
    """Runs of one second are ordered by when their folder was made."""
    try:
        made = (run.path / "request.json").stat().st_mtime
    except OSError:
        made = 0.0
    return run.started_at, made, run.run_id


def _read_json(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def _process(pid: int) -> dict[str, Any]:
    """Return what identifies a process for ever: its id, its start time and the boot it is of."""
    return {"pid": pid, "started_ticks": _started_ticks(pid), "boot_id": _boot_id()}


def _alive(process: object) -> bool:
    if not isinstance(process, dict) or process.get("boot_id") != _boot_id():
        return False
    ticks = _started_ticks(int(process.get("pid") or 0))
    return bool(ticks) and ticks == process.get("started_ticks")


def _started_ticks(pid: int) -> int:
    """Clock ticks from boot to the start of the process (proc(5), field 22); 0 if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return 0
    values = stat.rpartition(")")[2].split()
    return 0 if values[0] == "Z" else int(values[19])


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
