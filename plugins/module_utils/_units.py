# Copyright (c) the failoverctl founders
# GNU General Public License v3.0+ (see COPYING or https://www.gnu.org/licenses/gpl-3.0.txt)
"""What several systemd units are, should be, and what has to be done about it.

PRIVATE to the collection. States and properties: systemd's manual org.freedesktop.systemd1(5).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

ARGUMENT_SPEC: dict[str, Any] = {
    "units": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "name": {"type": "str", "required": True},
            "enabled": {"type": "bool"},
            "state": {"type": "str", "choices": ["started", "stopped"]},
            "restart_on": {"type": "list", "elements": "str", "default": []},
            "reload_on": {"type": "list", "elements": "str", "default": []},
        },
    },
    "changed_files": {"type": "list", "elements": "str", "default": []},
    "timeout_seconds": {"type": "int", "default": 90},
}

PROPERTIES = (
    "Id",
    "LoadState",
    "ActiveState",
    "SubState",
    "UnitFileState",
    "NeedDaemonReload",
    "DropInPaths",
    "InactiveExitTimestamp",
    "StateChangeTimestamp",
)
DROP_IN_ROOT = Path("/etc/systemd/system")
ENABLED_STATES = frozenset({"enabled", "enabled-runtime", "alias", "static", "indirect", "generated"})
RUNNING_STATES = frozenset({"active", "activating", "reloading"})


class UnitsError(Exception):
    """systemd said something unexpected; the text holds it."""


@dataclass(frozen=True)
class UnitState:
    """One unit as systemd sees it.

    ``started_at`` is when its last start began, ``changed_at`` when it last became active, was
    reloaded or stopped: microseconds since the epoch, 0 for never. ``drop_ins`` are the paths of the
    drop-ins that systemd has read.
    """

    name: str
    load: str
    active: str
    unit_file: str
    needs_daemon_reload: bool
    started_at: int
    changed_at: int
    drop_ins: tuple[str, ...] = ()


@dataclass(frozen=True)
class WantedUnit:
    """One unit as it should be; None leaves a property alone."""

    name: str
    enabled: bool | None = None
    running: bool | None = None
    restart_on: tuple[str, ...] = ()
    reload_on: tuple[str, ...] = ()


@dataclass(frozen=True)
class Step:
    """One call of systemctl: its verb, the unit (empty for daemon-reload), and the reason."""

    verb: str
    unit: str
    reason: str


def full_name(name: str) -> str:
    """Return the name of a unit with its suffix, ``.service`` where none is given."""
    suffixes = (".service", ".socket", ".target", ".timer", ".path", ".mount", ".slice")
    return name if name.endswith(suffixes) else f"{name}.service"


def parse_timestamp(text: str) -> int:
    """Return microseconds since the epoch from ``@1700000000.123456``, 0 for an empty text.

    The format is that of ``systemctl --timestamp=us+utc`` or ``unix``: systemd before 256 prints
    ``unix`` in whole seconds only, so the callers ask for ``us+utc``
    (``Sun 2026-11-22 23:04:05.123456 UTC``). Raises ``UnitsError`` for anything else.
    """
    if text in ("", "n/a", "0"):
        return 0
    parts = text.split()
    if len(parts) != 4 or parts[3] != "UTC":
        raise UnitsError(f"systemctl printed the time {text!r}; expected microseconds in UTC")
    moment = datetime.strptime(f"{parts[1]} {parts[2]} +0000", "%Y-%m-%d %H:%M:%S.%f %z")
    return round(moment.timestamp() * 1_000_000)


def parse_show(text: str, names: Iterable[str]) -> tuple[UnitState, ...]:
    """Return the states from the output of ``systemctl show`` for ``names``, in their order.

    Raises ``UnitsError`` when the number of blocks differs from the number of names.
    """
    blocks = [
        dict(line.partition("=")[::2] for line in block.splitlines())
        for block in text.strip("\n").split("\n\n")
        if block.strip()
    ]
    asked = tuple(names)
    if len(blocks) != len(asked):
        raise UnitsError(f"systemctl show answered for {len(blocks)} of {len(asked)} units: {text!r}")
    return tuple(
        UnitState(
            name=name,
            load=block.get("LoadState", ""),
            active=block.get("ActiveState", ""),
            unit_file=block.get("UnitFileState", ""),
            needs_daemon_reload=block.get("NeedDaemonReload") == "yes",
            started_at=parse_timestamp(block.get("InactiveExitTimestamp", "")),
            changed_at=parse_timestamp(block.get("StateChangeTimestamp", "")),
            drop_ins=tuple(block.get("DropInPaths", "").split()),
        )
        for name, block in zip(asked, blocks, strict=True)
    )


def read_states(module: Any, names: list[str]) -> dict[str, UnitState]:
    """Return the state of each unit by its name; ``module`` is an AnsibleModule.

    Raises ``UnitsError`` for an answer that is not understood.
    """
    command = ["systemctl", "show", "--timestamp=us+utc", f"--property={','.join(PROPERTIES)}", "--", *names]
    code, out, err = module.run_command(command)
    if code != 0:
        raise UnitsError(f"systemctl show exited with {code}: {err.strip()}")
    return {state.name: state for state in parse_show(out, names)}


def read_modified(paths: set[str]) -> dict[str, int]:
    """Return the modification time of each existing path in microseconds since the epoch.

    That of a directory is that of the youngest file below it. Its own is no help: Python's cache of byte code is made
    in it while the service runs, so ``__pycache__`` is passed over.
    """
    found: dict[str, int] = {}
    for path in map(Path, paths):
        if path.is_dir():
            files = (item for item in path.rglob("*") if "__pycache__" not in item.parts and item.is_file())
            times = [item.stat().st_mtime_ns for item in files]
        else:
            times = [path.stat().st_mtime_ns] if path.exists() else []
        if times:
            found[str(path)] = max(times) // 1000
    return found


def read_drop_ins(names: Iterable[str]) -> dict[str, list[str]]:
    """Return the paths of the drop-ins that /etc has for each unit. A link to /dev/null masks one, it is none."""
    folders = {name: DROP_IN_ROOT / f"{name}.d" for name in names}
    return {name: [str(path) for path in folder.glob("*.conf") if path.is_file()] for name, folder in folders.items()}


def find_newer(paths: Iterable[str], since: int, changed: Iterable[str], modified_at: Mapping[str, int]) -> str | None:
    """Return the first path that changed in this play, or after ``since``, else None.

    ``modified_at`` maps existing paths to their modification time; ``since`` and these are
    microseconds since the epoch.
    """
    now_changed = set(changed)
    for path in paths:
        inside = any(item == path or item.startswith(f"{path.rstrip('/')}/") for item in now_changed)
        if inside or modified_at.get(path, 0) > since:
            return path
    return None


def _decide_activity(
    want: WantedUnit, state: UnitState, changed: Iterable[str], modified_at: Mapping[str, int]
) -> Step | None:
    running = state.active in RUNNING_STATES
    if want.running is False:
        return Step("stop", want.name, f"it is {state.active}") if running else None
    if not running:
        return Step("start", want.name, f"it is {state.active}") if want.running else None
    newer = find_newer(want.restart_on, state.started_at, changed, modified_at)
    if newer is not None:
        return Step("restart", want.name, f"{newer} is newer than its start")
    newer = find_newer(want.reload_on, state.changed_at, changed, modified_at)
    if newer is not None:
        return Step("reload", want.name, f"{newer} is newer than its last reload")
    return None


def decide_steps(
    wanted: Iterable[WantedUnit],
    states: Mapping[str, UnitState],
    changed: Iterable[str] = (),
    modified_at: Mapping[str, int] | None = None,
    drop_ins: Mapping[str, Iterable[str]] | None = None,
) -> tuple[Step, ...]:
    """Return the calls of systemctl that bring the units to what is wanted, with their reasons.

    A watched path (``restart_on``, ``reload_on``) counts as new when it is in ``changed`` or was
    modified after the unit started or reloaded. So a change is not lost when a run broke off
    between the file and the restart. A stopped unit that is only watched stays stopped.
    ``modified_at`` holds microseconds since the epoch by path. ``drop_ins`` are the paths of drop-ins
    on disk by unit: systemd 252 (Debian 12) remembers which directories exist, so it neither reads
    the first drop-in of a unit nor says NeedDaemonReload.
    """
    items = tuple(wanted)
    changed = tuple(changed)
    on_disk = drop_ins or {}
    steps: list[Step] = []
    stale = [
        item.name
        for item in items
        if states[item.name].needs_daemon_reload
        or not set(on_disk.get(item.name, ())) <= set(states[item.name].drop_ins)
    ]
    if stale:
        steps.append(Step("daemon-reload", "", f"the unit file of {stale[0]} changed"))
    for item in items:
        state = states[item.name]
        is_enabled = state.unit_file in ENABLED_STATES
        if item.enabled is True and not is_enabled:
            steps.append(Step("enable", item.name, f"it is {state.unit_file or 'not known'}"))
        elif item.enabled is False and state.unit_file in ("enabled", "enabled-runtime"):
            steps.append(Step("disable", item.name, f"it is {state.unit_file}"))
        activity = _decide_activity(item, state, changed, modified_at or {})
        if activity is not None:
            steps.append(activity)
    return tuple(steps)
