"""The figures of failoverctl itself."""

from __future__ import annotations

import json
import os
import secrets
import time
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from failoverctl.measure import AGENT_PORT, HTTP_PORT, MARIADB_PORT, PROBE_USER
from failoverctl.probe import Target
from failoverctl.probe.model import HttpTarget, Reader, RoleSource, WriteTarget

from bench import beds, measure
from bench.beds import Bed, BenchError, Done, Say, last_line
from bench.figures import HELP, POWER, REST, SETUP, SETUP_AGAIN, STATUS, SWITCHOVER
from bench.machine import now, own_versions, package_versions
from bench.measure import Plan
from bench.recorder import Recorder
from bench.results import Timing

AGENT_UNITS = ("failover-agent.service", "failover-guard.service")
REST_SECONDS = 60.0
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


def rest(record: Recorder, bed: Bed, runs: int) -> None:
    """Look what the agent uses on each data host while nothing happens: memory and, over a minute, CPU time.

    Memory is what is resident of the agent, and what its guard adds to that.
    """
    versions = {**own_versions(), **package_versions(bed, beds.DATA_HOSTS[0], ("python3",))}
    with record.part(REST, {"seconds": REST_SECONDS, "units": AGENT_UNITS}, versions) as part:
        for number in range(1, runs + 1):
            before, began, at = {host: used(bed, host) for host in beds.DATA_HOSTS}, time.monotonic(), now()
            time.sleep(REST_SECONDS)
            for host, (cpu, *_memory) in before.items():
                cpu_now, memory, guard = used(bed, host)
                took = time.monotonic() - began
                detail = {"host": host, "memory_bytes": memory, "guard_bytes": guard}
                part.timing(Timing(number, at, round(took, 3), round(cpu_now - cpu, 3), detail=detail))


def used(bed: Bed, host: str) -> tuple[float, int, int]:
    """Return CPU seconds so far, with those of ended children; the agent's resident bytes, and those of its guard.

    What the guard has of the same files as the agent, such as Python itself, is no more for its being there.
    """
    shown = bed.shell(host, "systemctl", "show", "--property=MainPID", "--value", *AGENT_UNITS)
    cpu = 0
    held: list[tuple[int, Counter[str]]] = []
    for pid in shown.split():
        stat = bed.shell(host, "cat", f"/proc/{pid}/stat").rpartition(")")[2].split()
        cpu += sum(int(ticks) for ticks in stat[11:15])
        held.append(resident(bed.shell(host, "cat", f"/proc/{pid}/smaps")))
    (agent, files), (guard, more) = held
    return cpu / os.sysconf("SC_CLK_TCK"), agent + files.total(), guard + (more - files).total()


def resident(smaps: str) -> tuple[int, Counter[str]]:
    """Return the resident bytes of a process that are its own, and those of each file (smaps of proc(5))."""
    own, files, path = 0, Counter[str](), ""
    for line in smaps.splitlines():
        words = line.split()
        if not words[0].endswith(":"):
            path = words[5] if len(words) > 5 else ""
        elif words[0] == "Rss:":
            files[path] += int(words[1]) * 1024
        elif words[0] == "Anonymous:":
            own += int(words[1]) * 1024
            files[path] -= int(words[1]) * 1024
    return own, files


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
    settings = {"command": "failoverctl switchover --yes", **measure.LOAD}
    versions = {**own_versions(), **package_versions(bed, beds.DATA_HOSTS[0], _PACKAGES)}
    with record.part(SWITCHOVER, settings, versions) as part:
        for number in range(1, runs + 1):
            source = primary(bed)
            target = beds.other(source)
            plan = Plan(number, source, target, partial(_switch, bed, target))
            part.move(measure.move(plan, load(bed, number), bed.folder))


def power_losses(record: Recorder, bed: Bed, runs: int) -> None:
    """Measure how the estate goes on by itself when the primary's host loses its power."""
    versions = {**own_versions(), **package_versions(bed, beds.DATA_HOSTS[0], _PACKAGES)}
    with record.part(POWER, {"command": "none", **measure.LOAD}, versions) as part:
        for number in range(1, runs + 1):
            source = primary(bed)
            target = beds.other(source)
            answer = f"http://{bed.addresses[target]}:{AGENT_PORT}/primary"
            act = partial(measure.lose_power, bed, source, answer, partial(whole, bed))
            plan = Plan(number, source, target, act)
            part.move(measure.move(plan, load(bed, number), bed.folder, objectives=measure.SUDDEN))
            # Several failovers an hour would be held back, and a person be asked: that is another drill.
            bed.failoverctl("resume-automation", "--yes")


def whole(bed: Bed) -> bool:
    """Return whether nothing is wrong any more but that another failover within the minute would be held back."""
    done = bed.failoverctl("status", "--json")
    return done.status in (0, 5) and {each["code"] for each in json.loads(done.output)["problems"]} <= {"anti_flap"}


def load(bed: Bed, number: int) -> Target:
    """Return the load of a move: as `failoverctl switchover --writers 8`."""
    site = bed.variables["web_sites"][0]["domain"]
    password = str(bed.variables["mariadb_probe_password"])
    hosts = [(host, bed.addresses[host]) for host in beds.DATA_HOSTS]
    return Target(
        run_id=f"move-{number}-{secrets.token_hex(2)}",
        rate_hz=measure.RATE_HZ,
        writers=measure.WRITERS,
        write=WriteTarget(bed.vip, MARIADB_PORT, PROBE_USER, password, PROBE_USER),
        http=HttpTarget(bed.vip, HTTP_PORT, site, "/"),
        sample=tuple(RoleSource(host, f"http://{address}:{AGENT_PORT}/role") for host, address in hosts),
        readers=tuple(Reader(host, address, MARIADB_PORT) for host, address in hosts),
    )


def _switch(bed: Bed, target: str) -> Mapping[str, Any]:
    return switched(bed.failoverctl("switchover", "--yes", "--no-measure", "--json", "--to", target))


def switched(done: Done) -> Mapping[str, Any]:
    """Return what is worth keeping of `failoverctl switchover --json`. Raises BenchError if it failed."""
    result = _document(done)
    told: Mapping[str, Any] = result.get("switchover") or {}
    if done.status != 0 or told.get("result") != "switched":
        raise BenchError(str(result.get("reason") or told.get("error") or last_line(done.errors)))
    return {key: told[key] for key in ("critical_ms", "steps", "term_after")}


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
    journal = bed.folder / "state" / "runs" / str(result.get("run_id")) / "journal.jsonl"
    detail = {"steps": steps, "changed": changed_tasks(journal.read_text(encoding="utf-8")) if journal.exists() else []}
    return _timing(number, at, done, error, result.get("changed"), detail)


def changed_tasks(journal: str) -> list[str]:
    """Return the tasks that changed something, as `host: title`, from the text of a run's journal."""
    records = [json.loads(line) for line in journal.splitlines()]
    return [
        f"{record['host']}: {record['title']}"
        for record in records
        if record["kind"] == "task" and record["outcome"] == "changed"
    ]


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
