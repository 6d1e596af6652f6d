"""Undoes what a drill left behind that was killed: at once what its dead-men would have undone later.

It needs nothing of the dead drill: whatever any drill can leave on a host is found by its name.
"""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from failoverctl.errors import FailoverctlError

if TYPE_CHECKING:
    from failoverctl.drill.targets import Targets

#: Lets every dead-man of a host act now (systemctl(1): a unit that a timer has loaded can be started).
DEADMEN = (
    "systemctl list-units --all --plain --no-legend 'failover-drill-deadman-*.timer' | while read -r timer _; do "
    'systemctl start "${timer%.timer}.service"; systemctl stop "$timer"; done'
)


def mend(targets: Targets) -> list[str]:
    """Undo everything that drills may have left on the hosts; return what could not be undone.

    In a lab the hosts that are off are switched on and those that are frozen go on, whoever did that.
    """
    problems = _lab(targets)

    def act(host: str) -> None:
        try:
            targets.run(host, ["sh", "-c", DEADMEN], timeout_seconds=60.0)
        except FailoverctlError as error:
            problems.append(f"{host}: {error.what}")

    with ThreadPoolExecutor(max_workers=max(1, len(targets.hosts))) as pool:
        list(pool.map(act, targets.hosts))
    from failoverctl.drill.faults import heal_everything

    return list(dict.fromkeys([*problems, *heal_everything(targets)]))


def _lab(targets: Targets) -> list[str]:
    """Switch on and thaw the hosts of a lab."""
    lab = targets.laboratory
    if lab is None:
        return []
    from failoverctl.lab import LabError

    problems: list[str] = []
    for host in lab.status().hosts:
        try:
            if host.frozen:
                lab.thaw(host.name)
            if not host.on:
                lab.power_on(host.name)
        except LabError as error:
            problems.append(f"{host.name}: {error.what}")
    with contextlib.suppress(LabError):
        lab.heal()
    return problems
