"""Patroni in synchronous mode, clients that know all hosts: `patronictl switchover`, and power losses."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from failoverctl.probe import Target
from failoverctl.probe.model import Reader, WriteTarget

from bench import beds, measure, postgres
from bench.beds import DATA_HOSTS, Bed
from bench.figures import PATRONI, PATRONI_POWER
from bench.machine import package_versions
from bench.measure import Plan
from bench.peers import provision
from bench.recorder import Recorder

_PLAYBOOK = Path(__file__).with_name("patroni.yml")
_PACKAGES = ("etcd-server", "patroni", "postgresql-17")
_CACHED = ("etcd-server", "etcd-client", "postgresql-common", "postgresql-17", "patroni", "python3-etcd")
_CONFIG = "/etc/patroni/config.yml"
_ACCOUNT = "failover_probe"


def measure_switchovers(record: Recorder, bed: Bed, runs: int) -> None:
    """Provision the peer, then measure switchovers there and back."""
    password = str(bed.variables["mariadb_probe_password"])
    provisioned = provision.timed(bed, _PLAYBOOK, _CACHED)
    _make_account(bed, leader(bed), password)
    settings = {"command": "patronictl switchover --force", "synchronous_mode": True, **measure.LOAD}
    with record.part(PATRONI, settings, package_versions(bed, DATA_HOSTS[0], _PACKAGES)) as part:
        part.timing(provisioned)
        for number in range(1, runs + 1):
            source = leader(bed)
            target = beds.other(source)
            plan = Plan(number, source, target, partial(_switch, bed, source, target))
            part.move(measure.move(plan, _load(bed, password, number), bed.folder, module="bench.prober"))


def measure_power_losses(record: Recorder, bed: Bed, runs: int) -> None:
    """Measure how the cluster of :func:`measure_switchovers` goes on when the leader's host loses its power."""
    password = str(bed.variables["mariadb_probe_password"])
    settings = {"command": "none", "synchronous_mode": True, **measure.LOAD}
    with record.part(PATRONI_POWER, settings, package_versions(bed, DATA_HOSTS[0], _PACKAGES)) as part:
        for number in range(1, runs + 1):
            source = leader(bed)
            target = beds.other(source)
            # Patroni's REST API answers this with success on the leader only.
            answer = f"http://{bed.addresses[target]}:8008/primary"
            act = partial(measure.lose_power, bed, source, answer, partial(in_step, bed, target))
            plan, load = Plan(number, source, target, act), _load(bed, password, runs + number)
            moved = measure.move(plan, load, bed.folder, module="bench.prober", objectives=measure.SUDDEN)
            part.move(moved)


def members(bed: Bed, asked: str = DATA_HOSTS[0]) -> Sequence[Mapping[str, Any]]:
    """Return what `patronictl list` says of the members, on the host ``asked``."""
    found = json.loads(bed.shell(asked, "patronictl", "-c", _CONFIG, "list", "--format", "json"))
    return list(found)


def in_step(bed: Bed, asked: str = DATA_HOSTS[0]) -> bool:
    """Return whether the cluster is settled, as the host ``asked`` sees it."""
    return settled(members(bed, asked)) is not None


def settled(listed: Sequence[Mapping[str, Any]]) -> str | None:
    """Return the leader when the others replicate in step with it, one of them synchronously, else None."""
    leaders = [member for member in listed if member["Role"] == "Leader" and member["State"] == "running"]
    others = [member for member in listed if member["Role"] != "Leader"]
    if len(leaders) != 1 or not others:
        return None
    streaming = all(member["State"] == "streaming" and member.get("Lag in MB") == 0 for member in others)
    synchronous = any(member["Role"] == "Sync Standby" for member in others)
    return str(leaders[0]["Member"]) if streaming and synchronous else None


def leader(bed: Bed) -> str:
    """Return the leader, once the cluster is settled. Raises BenchError when that takes too long."""
    found: list[str] = []

    def well() -> bool:
        found.extend(name for name in [settled(members(bed))] if name)
        return bool(found)

    beds.until(well, 90.0, "Patroni's members are not in step, one of them synchronous")
    return found[0]


def _switch(bed: Bed, source: str, target: str) -> Mapping[str, Any]:
    words = ["patronictl", "-c", _CONFIG, "switchover", "bench", "--leader", source, "--candidate", target, "--force"]
    bed.shell(target, *words)
    # Seldom: patronictl takes most of a second of CPU from the hosts that are measured.
    beds.until(lambda: settled(members(bed)) == target, 60.0, f"{target} is not leader with a standby", every=4.0)
    return {}


def _make_account(bed: Bed, primary: str, password: str) -> None:
    role = f"CREATE ROLE {_ACCOUNT} LOGIN PASSWORD '{password}'"
    _sql(bed, primary, "postgres", role)
    _sql(bed, primary, "postgres", f"CREATE DATABASE {_ACCOUNT} OWNER {_ACCOUNT}")
    _sql(bed, primary, _ACCOUNT, f"SET ROLE {_ACCOUNT}; {postgres.CREATE_TABLE}")


def _sql(bed: Bed, host: str, database: str, statement: str) -> None:
    words = ["runuser", "-u", "postgres", "--", "psql", "--set=ON_ERROR_STOP=1", "--quiet", "--dbname", database]
    bed.lab.exec(host, words, stdin=statement, check=True)


def _load(bed: Bed, password: str, number: int) -> Target:
    addresses = [bed.addresses[host] for host in DATA_HOSTS]
    return Target(
        run_id=f"patroni-{number}",
        rate_hz=measure.RATE_HZ,
        writers=measure.WRITERS,
        write=WriteTarget(",".join(addresses), 5432, _ACCOUNT, password, _ACCOUNT),
        readers=tuple(Reader(host, bed.addresses[host], 5432) for host in DATA_HOSTS),
    )
