"""Undoes what a drill left behind that was killed: at once what its dead-men would have undone later.

It needs nothing of the dead drill: whatever any drill can leave on a host is found by its name.
"""

from __future__ import annotations

import contextlib
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from failoverctl.errors import FailoverctlError

if TYPE_CHECKING:
    from failoverctl.drill.targets import Targets

#: Lets every dead-man of a host act now (systemctl(1): a unit that a timer has loaded can be started).
DEADMEN = (
    "systemctl list-units --all --plain --no-legend 'failover-drill-deadman-*.timer' | while read -r timer _; do "
    'systemctl start "${timer%.timer}.service"; systemctl stop "$timer"; done'
)

#: The files by which dead-men of this machine say that they acted begin so (drill/deadman.py).
MARK = "failoverctl-deadman-"


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


def _end_deadmen(lab: str, processes: Path = Path("/proc")) -> None:
    """End the dead-men of this machine that wait for a lab: what they would do is done now, and not once more later."""
    for entry in processes.iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().decode("utf-8", "replace").split("\0")
            waits = words[:2] == ["sh", "-c"] and any(MARK in word for word in words[3:])
            if waits and f"--name {lab} " in words[2]:
                os.killpg(int(entry.name), signal.SIGKILL)


def _lab(targets: Targets) -> list[str]:
    """Switch on and thaw the hosts of a lab."""
    lab = targets.laboratory
    if lab is None:
        return []
    from failoverctl.lab import LabError

    _end_deadmen(lab.name)
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
