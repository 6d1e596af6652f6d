"""MariaDB with GTID replication and keepalived, switched over by a playbook with one task a step."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from failoverctl.probe import Target
from failoverctl.probe.model import HttpTarget, Reader, WriteTarget

from bench import beds, measure
from bench.beds import DATA_HOSTS, Bed
from bench.figures import HANDMADE
from bench.machine import own_versions, package_versions
from bench.measure import Plan
from bench.peers import keepalived, provision
from bench.recorder import Recorder

_PLAYBOOK = Path(__file__).with_name("handmade.yml")
_SWITCHOVER = Path(__file__).with_name("handmade_switchover.yml")
_PACKAGES = ("keepalived", "mariadb-server", "nginx-light")
_ACCOUNT = "failover_probe"


def measure_switchovers(record: Recorder, bed: Bed, runs: int) -> None:
    """Provision the peer, then measure switchovers there and back."""
    provisioned = provision.timed(bed, _PLAYBOOK, _PACKAGES)
    source, target = DATA_HOSTS
    beds.until(partial(ready, bed, source, target), 30.0, f"{target} does not replicate from {source}")
    settings = {"command": f"ansible-playbook {_SWITCHOVER.name}", **measure.LOAD}
    versions = {**own_versions(), **package_versions(bed, source, _PACKAGES)}
    with record.part(HANDMADE, settings, versions) as part:
        part.timing(provisioned)
        for number in range(1, runs + 1):
            plan = Plan(number, source, target, partial(_switch, bed, source, target))
            part.move(measure.move(plan, _load(bed, number), bed.folder))
            source, target = target, source


def ready(bed: Bed, primary: str, replica: str) -> bool:
    """Say whether the replica follows and the primary has the virtual IP."""
    answer = bed.shell(replica, "mariadb", "--execute", "SHOW SLAVE STATUS\\G")
    return follows(answer, bed.addresses[primary]) and keepalived.holders(bed) == [primary]


def follows(status: str, address: str) -> bool:
    """Say whether `SHOW SLAVE STATUS\\G` tells of a replica of ``address`` whose threads run."""
    values = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in status.splitlines())}
    running = values.get("Slave_IO_Running") == "Yes" and values.get("Slave_SQL_Running") == "Yes"
    return running and values.get("Master_Host") == address


def _switch(bed: Bed, source: str, target: str) -> Mapping[str, Any]:
    bed.playbook(_SWITCHOVER, handmade_old=source, handmade_new=target)
    beds.until(partial(ready, bed, target, source), 30.0, f"{source} does not replicate from {target}")
    return {}


def _load(bed: Bed, number: int) -> Target:
    password = str(bed.variables["mariadb_probe_password"])
    return Target(
        run_id=f"handmade-{number}",
        rate_hz=measure.RATE_HZ,
        writers=measure.WRITERS,
        write=WriteTarget(bed.vip, 3306, _ACCOUNT, password, _ACCOUNT),
        http=HttpTarget(bed.vip, 80, bed.vip, "/"),
        readers=tuple(Reader(host, bed.addresses[host], 3306) for host in DATA_HOSTS),
    )
