"""Settings of the machine's kernel that labs need, and their return to what they were.

Hosts under systemd-nspawn share the kernel's limits: with the usual 128 inotify instances the
fourth lab of four hosts hangs half booted ("Failed to create inotify object").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from failoverctl.lab.state import write_file

#: Path below /proc/sys and the least value that labs need.
NEEDED = {"net/ipv4/ip_forward": 1, "fs/inotify/max_user_instances": 1024}
_SYSTEM = Path("/proc/sys")


def raise_limits(marker: Path, needed: Mapping[str, int] = NEEDED, system: Path = _SYSTEM) -> None:
    """Set what is too low; what it was before goes to the file `marker` first."""
    low = {name: value for name in needed if (value := _read(system / name)) < needed[name]}
    if not low:
        return
    before: dict[str, int] = json.loads(marker.read_text(encoding="ascii")) if marker.exists() else {}
    write_file(marker, json.dumps({**low, **before}) + "\n")
    for name in low:
        (system / name).write_text(str(needed[name]), encoding="ascii")


def restore(marker: Path, system: Path = _SYSTEM) -> None:
    """Undo `raise_limits`, if it ever changed anything."""
    if not marker.exists():
        return
    for name, value in json.loads(marker.read_text(encoding="ascii")).items():
        (system / name).write_text(str(value), encoding="ascii")
    marker.unlink()


def _read(path: Path) -> int:
    return int(path.read_text(encoding="ascii"))
