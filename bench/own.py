"""The figures of failoverctl itself."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import beds, measure
from bench.beds import Bed, BenchError, Done, Say, last_line
from bench.figures import HELP, SETUP, SETUP_AGAIN, STATUS, SWITCHOVER
from bench.machine import now, own_versions, package_versions
from bench.recorder import Recorder
from bench.results import Move, Timing

_PACKAGES = ("etcd-server", "keepalived", "mariadb-server", "nginx", "nginx-light", "php-fpm")


def help_text(record: Recorder, folder: Path, runs: int) -> None:
    """Time `failoverctl --help`. The first run, which compiles the program's files, is not counted."""
    words = [beds.program("failoverctl"), "--help"]
    folder.mkdir(parents=True, exist_ok=True)
    beds.run(words, folder, {})
    with record.part(HELP, {"command": "failoverctl --help"}, own_versions()) as part:
        for number in range(1, runs + 1):
            part.timing(_timing(number, now(), beds.run(words, folder, {})))


def status(record: Recorder, bed: Bed, runs: int) -> None:
    """Time `failoverctl status` on an estate that is well."""
    with record.part(STATUS, {"command": "failoverctl status"}, own_versions()) as part:
        for number in range(1, runs + 1):
            part.timing(_timing(number, now(), bed.failoverctl("status")))


def setups(record: Recorder, folder: Path, runs: int, say: Say) -> Bed:
    """Time `failoverctl setup` on fresh hosts, and again where nothing is left to do.

    Returns the last estate, which is up then.
    """
    bed: Bed | None = None
    settings = {"command": "failoverctl setup --yes", "layout": beds.LAYOUT, "packages cached": True}
    with (
        record.part(SETUP, settings, own_versions()) as fresh,
        record.part(SETUP_AGAIN, settings, own_versions()) as again,
    ):
        for number in range(1, runs + 1):
            beds.down(beds.OWN)
            bed = beds.up(beds.OWN, folder, say)
            first = fresh.timing(_setup(bed, number))
            if first.error is not None:
                raise BenchError(f"setup failed: {first.error}")
            again.timing(_setup(bed, number))
    if bed is None:
        raise BenchError("no estate: at least one setup has to run")
    return bed


def estate(folder: Path, say: Say) -> Bed:
    """Return an estate that is set up, making it where it is not. Raises BenchError."""
    bed = beds.up(beds.OWN, folder, say)
    if bed.failoverctl("status").status != 0:
        say("setting the estate up")
        timing = _setup(bed, 1)
        if timing.error is not None:
            raise BenchError(f"setup failed: {timing.error}")
    return bed


def switchovers(record: Recorder, bed: Bed, runs: int) -> None:
    """Measure planned switchovers there and back, by `failoverctl switchover` under load."""
    command = ["switchover", "--yes", "--json", "--writers", str(measure.WRITERS)]
    settings = {"command": " ".join(["failoverctl", *command]), **measure.LOAD}
    versions = {**own_versions(), **package_versions(bed, beds.DATA_HOSTS[0], _PACKAGES)}
    with record.part(SWITCHOVER, settings, versions) as part:
        for number in range(1, runs + 1):
            source = primary(bed)
            target = next(host for host in beds.DATA_HOSTS if host != source)
            at = now()
            done = bed.failoverctl(*command, "--baseline", f"{measure.BASELINE_SECONDS:g}s", "--to", target)
            part.move(switched(number, at, source, target, done))
            _tidy(bed)


def switched(number: int, at: str, source: str, target: str, done: Done) -> Move:
    """Return the run that `failoverctl switchover --json` told of."""
    result = _document(done)
    probe: Mapping[str, Any] | None = result.get("probe")
    told: Mapping[str, Any] = result.get("switchover") or {}
    error = None
    if told.get("result") != "switched" or probe is None:
        error = str(result.get("reason") or told.get("error") or last_line(done.errors))
    detail = {key: told.get(key) for key in ("critical_ms", "steps", "term_after")}
    return measure.observed(number, at, source, target, done.seconds, probe or {}, error=error, detail=detail)


def primary(bed: Bed) -> str:
    """Return the primary of an estate, once all is well. Raises BenchError when that takes too long."""
    found: list[str] = []

    def well() -> bool:
        done = bed.failoverctl("status", "--json")
        if done.status == 0:
            found.append(str(_document(done)["primary"]))
        return bool(found)

    beds.until(well, 60.0, "the estate is not healthy again", every=1.0)
    return found[0]


def _setup(bed: Bed, number: int) -> Timing:
    at = now()
    done = bed.failoverctl("setup", "--yes", "--json")
    result = _document(done)
    error = None
    if done.status != 0:
        error = str(result.get("reason") or last_line(done.errors))
    steps = [{key: step[key] for key in ("title", "seconds")} for step in result.get("steps", ())]
    return _timing(number, at, done, error, result.get("changed"), {"steps": steps})


def _timing(
    number: int,
    at: str,
    done: Done,
    error: str | None = None,
    changed: int | None = None,
    detail: Mapping[str, Any] | None = None,
) -> Timing:
    if error is None and done.status != 0:
        error = f"exit {done.status}: {last_line(done.errors)}"
    return Timing(number, at, round(done.seconds, 3), round(done.cpu_seconds, 3), changed, error, detail or {})


def _document(done: Done) -> dict[str, Any]:
    try:
        found = json.loads(done.output)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _tidy(bed: Bed) -> None:
    """Throw away the recordings of finished runs: the checker has read them, and they are large."""
    for probe in bed.folder.glob("state/runs/*/probe"):
        shutil.rmtree(probe)
